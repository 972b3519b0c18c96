"""The entry of the command line: where it begins, and how it ends.

It loads what every command needs, and no more: Typer only where door.py does not open.
"""

from __future__ import annotations

import os
import sys
import warnings

from profilectl.cli import door
from profilectl.cli.ends import Interrupted, ReaderLeft
from profilectl.codes import Exit, ProfilectlError
from profilectl.files.ending import end_on_signals, ended_by, leave_signals
from profilectl.rules.text.terminal import guard


def main() -> None:
    """Run the command line. A failure that a person can cause ends in a message and a status."""
    # All files, also those of DuckDB and of child processes, are readable for their owner only.
    os.umask(0o077)
    guard()
    end_on_signals()
    try:
        _run()
    finally:
        leave_signals()


def _run() -> None:
    warnings.showwarning = _show_warning  # type: ignore[assignment]
    try:
        _command()
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


def _command() -> None:
    """Run the command by the fast door, or else by Typer; end the process with its status."""
    called = door.called(sys.argv[1:])
    if called is not None:
        called.run()
        sys.exit(0)
    from profilectl.cli.app import app

    app()


def _show_warning(message: Warning | str, *_details: object) -> None:
    """Print a warning of a lower layer, such as that a store was upgraded."""
    from profilectl.render.screen import notice

    notice(str(message))


def _say(message: str, hint: str) -> None:
    from profilectl.render.screen import error

    error(message, hint)
