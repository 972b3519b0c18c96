"""The command line: parses, calls, renders. It holds no rules and no SQL; one file a command."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from profilectl.cli import complete
from profilectl.cli.command_list import Commands, Interrupted, ReaderLeft
from profilectl.codes import Exit, ProfilectlError
from profilectl.files.ending import end_on_signals, ended_by, leave_signals
from profilectl.files.leftovers import sweep
from profilectl.files.suppression_key import choose_key
from profilectl.rules.text.terminal import guard
from profilectl.rules.workspace import choose_workspace
from profilectl.store.store_key import MODULE, choose_store_key
from profilectl.version import __version__

app = typer.Typer(
    name="profilectl",
    cls=Commands,
    help="A customer profile store on your own machine, with the rules of a customer data platform.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@dataclass(slots=True)
class GlobalOptions:
    """The options of every command."""

    store: Path
    quiet: bool


def options_of(context: typer.Context) -> GlobalOptions:
    found = context.find_object(GlobalOptions)
    assert found is not None
    return found


def tell_unknown(context: typer.Context, wanted: Any, workspace: str, wait_s: float) -> None:
    """Say which names in criteria, or in a definition, nobody has (unknown_names.py)."""
    from profilectl.audiences.unknown_names import unknown_in
    from profilectl.render import screen as render_screen

    options = options_of(context)
    if not options.quiet:
        for sentence in unknown_in(options.store, wanted, workspace, wait_s=wait_s):
            render_screen.notice(sentence)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"profilectl {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    context: typer.Context,
    store: Annotated[
        Path,
        typer.Option(
            "--store", envvar="PROFILECTL_STORE", help="The store: a file, made on first use."
        ),
    ] = Path("profiles.duckdb"),
    workspace: Annotated[
        str | None,
        typer.Option(
            "--workspace",
            envvar="PROFILECTL_WORKSPACE",
            metavar="NAME",
            help="The workspace that is meant, where the store has several.",
            autocompletion=complete.workspaces,
        ),
    ] = None,
    store_key: Annotated[
        Path | None,
        typer.Option(
            "--store-key",
            metavar="FILE",
            help="A file of mode 0600 with the key of a store that DuckDB encrypts; else the variable PROFILECTL_STORE_KEY names it.",
        ),
    ] = None,
    suppression_key: Annotated[
        Path | None,
        typer.Option(
            "--suppression-key",
            envvar="PROFILECTL_SUPPRESSION_KEY",
            metavar="FILE",
            help="The key by which whoever was erased stays out, where it is not beside the store.",
        ),
    ] = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="No progress and no notices.")
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    choose_workspace(workspace)
    choose_store_key(store_key)
    choose_key(suppression_key)
    sweep(store.absolute().parent)  # what killed commands have left, whatever they were about
    context.obj = GlobalOptions(store, quiet)


def file_or_stdout(output: Path | None) -> Path | None:
    """Return the file that -o names: none for "-", which is standard output."""
    return None if output is None or str(output) == "-" else output


WaitOption = Annotated[
    float,
    typer.Option("--wait", metavar="SECONDS", min=0, help="How long to wait for a busy store."),
]
ServersOption = Annotated[
    float,
    typer.Option(
        "--wait-servers",
        metavar="SECONDS",
        min=0,
        help="How long to wait until no running server tells of them any more; those that do are named.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]


FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""What a stream fails with (then no file is named) where its end has no room or is broken: what was
done is done, its output is cut; and what a disk fails with.
"""
UNUSABLE = (
    # what DuckDB says where the machine or the file is at fault: words, message, hint; the first
    # that fits
    (("No space left", "Out of Memory", "failed to allocate", "File too large", "Could not write"),
     "", "make room on the disk or give --memory-limit more; the store is as before"),
    ((MODULE,),
     "the store is encrypted, and DuckDB can read such files here, not write them: ", "give --memory-limit more, so that nothing has to be spilled; or install DuckDB's httpfs"),
    (("fsync failed", "has been invalidated", "CHECKPOINT during DETACH failed"),
     "the disk did not take what was written: ", "mend the disk, then profilectl check; profilectl imports list tells whether an import is made"),
    (("Corrupt", "checksum", "IO Error", "Serialization Error"),
     "the store cannot be read: ", "restore a backup; profilectl check says what of it is readable"),
)  # fmt: skip


def main() -> None:
    """Run the command line; every failure a person can cause ends in words and an exit status."""
    # whatever is made, also by DuckDB and by processes that this one begins, is for its owner only
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
        app()
    except ProfilectlError as error:
        _say(error.message, error.hint)
        sys.exit(error.exit)
    except (KeyboardInterrupt, Interrupted):
        _say_interrupted()
        number = ended_by()
        sys.exit(Exit.INTERRUPTED if number is None else 128 + number)
    except (BrokenPipeError, ReaderLeft):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except (MemoryError, OSError) as error:
        if isinstance(error, OSError) and error.errno in FULL and not error.filename:
            _say(
                f"{error.strerror}: where the output goes",
                "make room and give the command again; profilectl imports list tells whether an import is made",
            )
            sys.exit(Exit.UNFINISHED)
        if isinstance(error, OSError) and error.errno in FULL:
            _say(
                f"{error.strerror}: {error.filename}",
                "make room, or mend the disk, and give the command again; profilectl imports list tells whether an import is made",
            )
            sys.exit(Exit.UNUSABLE)
        if isinstance(error, OSError) and error.strerror:
            _say(f"{error.strerror}: {error.filename or 'where the output goes'}", "")
        else:
            _say(str(error), "")
        sys.exit(Exit.FAULT)
    except Exception as error:
        if type(error).__module__.lstrip("_").startswith("duckdb"):
            for words, message, hint in UNUSABLE:
                if any(word in str(error) for word in words):
                    _say(message + str(error).splitlines()[0][:300], hint)
                    sys.exit(Exit.UNUSABLE)
        if os.environ.get("PROFILECTL_TRACEBACK"):
            raise
        _say(
            f"a fault in profilectl: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}",
            "please report it, with the output under PROFILECTL_TRACEBACK=1; the store is as before",
        )
        sys.exit(Exit.FAULT)


def _say_interrupted() -> None:
    """Say so, unless the terminal is gone; then nothing more is written to it."""
    try:
        _say(
            "interrupted",
            "what was being written is there whole or not at all; of an import, profilectl imports list tells",
        )
        sys.stdout.flush()
    except OSError:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _show_warning(message: Warning | str, *rest: object) -> None:
    """A notice from below, such as that a store was upgraded."""
    from profilectl.render.screen import notice

    notice(str(message))


def _say(message: str, hint: str) -> None:
    from profilectl.render.screen import error

    error(message, hint)
