"""The entry of the command line: where it begins, and how it ends.

It loads what every command needs, and no more: Typer only where door.py does not open.
"""

from __future__ import annotations

import gc
import os
import sys

RARELY = (500_000, 20, 100)
"""How seldom Python looks for garbage while modules are loaded: nearly all of it stays, and to look
through it every 700 objects took 15 ms. `set` makes 100,000 objects, and to look once took 5.
"""
SELDOM = (50_000, 20, 100)
"""How seldom it does while an import runs, of which most objects are modules too: 10 ms."""


def program() -> None:
    """Run the command line as the whole of a process, which ends at once when all is written.

    To take DuckDB and Python apart took 8 ms of processor time, after the answer was there.
    """
    try:
        main()
    except SystemExit as end:
        # Only after a command of the fast door: others may leave threads that have to end.
        if end.code != 0 or "typer" in sys.modules:
            raise
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        except OSError:
            raise end from None  # Python says so at its own end
        os._exit(0)


def main() -> None:
    """Run the command line. A failure that a person can cause ends in a message and a status."""
    # All files, also those of DuckDB and of child processes, are readable for their owner only.
    os.umask(0o077)
    usual = gc.get_threshold()
    gc.set_threshold(*RARELY)
    # Imported here, as everything in this module, after that.
    from profilectl.files.ending import end_on_signals, leave_signals
    from profilectl.rules.text.terminal import guard

    guard()
    end_on_signals()
    try:
        _run(usual)
    finally:
        leave_signals()
        gc.set_threshold(*usual)


def _run(collecting: tuple[int, int, int]) -> None:
    import warnings

    from profilectl.cli.ends import Interrupted, ReaderLeft
    from profilectl.codes import Exit, ProfilectlError
    from profilectl.files.ending import ended_by

    warnings.showwarning = _show_warning  # type: ignore[assignment]
    try:
        _command(collecting)
    except ProfilectlError as error:
        _say(error.message, error.hint)
        sys.exit(error.exit)
    except (KeyboardInterrupt, Interrupted):
        from profilectl.cli.faults import say_interrupted

        say_interrupted()
        number = ended_by()
        sys.exit(Exit.INTERRUPTED if number is None else 128 + number)
    except (BrokenPipeError, ReaderLeft):
        # Python flushes stdout once more at its end, which would fail on the broken pipe.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:
        from profilectl.cli.faults import end_of_system_error

        sys.exit(end_of_system_error(error))
    except MemoryError as error:
        _say(str(error), "")
        sys.exit(Exit.FAULT)
    except Exception as error:  # noqa: BLE001 - the last place that can report the failure
        from profilectl.cli.faults import end_of_fault

        sys.exit(end_of_fault(error))


def _command(collecting: tuple[int, int, int]) -> None:
    """Run the command by the fast door, or else by Typer; end the process with its status.

    `collecting` are the thresholds at which commands that take longer look for garbage.
    """
    from profilectl.cli import door

    if door.asks_for_help(sys.argv[1:]):
        from profilectl.cli.ends import telling_ends
        from profilectl.cli.pages import root_page
        from profilectl.render.help import screen_of

        with telling_ends():
            sys.stdout.write(screen_of(root_page()))
        sys.exit(0)
    called = door.called(sys.argv[1:])
    if called is not None:
        if called.takes_long:
            gc.set_threshold(*SELDOM)
        called.run()
        sys.exit(0)
    from profilectl.cli.app import app

    gc.set_threshold(*collecting)
    app(prog_name="profilectl")  # also where it is run as a module


def _show_warning(message: Warning | str, *_details: object) -> None:
    """Print a warning of a lower layer, such as that a store was upgraded."""
    from profilectl.render.screen import notice

    notice(str(message))


def _say(message: str, hint: str) -> None:
    from profilectl.render.screen import error

    error(message, hint)
