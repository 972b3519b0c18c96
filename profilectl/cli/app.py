"""The command line: it parses, calls and prints, and has no rules and no SQL of its own.

Each command has a file in `commands/`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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

if TYPE_CHECKING:
    from profilectl.rules.calculated import Definition
    from profilectl.rules.criteria.tree import Criterion

app = typer.Typer(
    name="profilectl",
    cls=Commands,
    help=(
        "A customer profile store on your own machine, with the rules of a customer data platform."
    ),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@dataclass(slots=True)
class GlobalOptions:
    """The options of every command."""

    store: Path
    """The store file."""
    quiet: bool
    """Whether to print no progress and no notices."""


def options_of(context: typer.Context) -> GlobalOptions:
    """Return the options before the command."""
    options = context.find_object(GlobalOptions)
    assert options is not None
    return options


def tell_unknown(
    context: typer.Context, definition: Criterion | Definition, workspace: str, *, wait_s: float
) -> None:
    """Print the names in criteria, or in a definition, that no profile or event has."""
    from profilectl.audiences.unknown_names import unknown_in
    from profilectl.render import screen

    options = options_of(context)
    if not options.quiet:
        for sentence in unknown_in(options.store, definition, workspace, wait_s=wait_s):
            screen.notice(sentence)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"profilectl {__version__}")
        raise typer.Exit


StoreOption = Annotated[
    Path,
    typer.Option(
        "--store",
        envvar="PROFILECTL_STORE",
        help="The store: a file. The first command that writes makes it.",
    ),
]
WorkspaceOption = Annotated[
    str | None,
    typer.Option(
        "--workspace",
        envvar="PROFILECTL_WORKSPACE",
        metavar="NAME",
        help="The workspace to use, if the store has several.",
        autocompletion=complete.workspaces,
    ),
]
StoreKeyOption = Annotated[
    Path | None,
    typer.Option(
        "--store-key",
        metavar="FILE",
        help=(
            "A file of mode 0600 with the key of an encrypted store (default: the file"
            " that PROFILECTL_STORE_KEY names)."
        ),
    ),
]
SuppressionKeyOption = Annotated[
    Path | None,
    typer.Option(
        "--suppression-key",
        envvar="PROFILECTL_SUPPRESSION_KEY",
        metavar="FILE",
        help="The key that keeps erased people out, if it is not beside the store.",
    ),
]
QuietOption = Annotated[
    bool, typer.Option("--quiet", "-q", help="Print no progress and no notices.")
]
VersionOption = Annotated[
    bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
]


@app.callback()
def _common(
    context: typer.Context,
    store: StoreOption = Path("profiles.duckdb"),
    workspace: WorkspaceOption = None,
    store_key: StoreKeyOption = None,
    suppression_key: SuppressionKeyOption = None,
    quiet: QuietOption = False,
    version: VersionOption = False,
) -> None:
    choose_workspace(workspace)
    choose_store_key(store_key)
    choose_key(suppression_key)
    sweep(store.absolute().parent)  # removes the files of killed commands
    context.obj = GlobalOptions(store, quiet)


FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""The errors of a full or broken disk or stream.

An error without a file name is of the output: the command's work is complete, its output is not.
"""
LOOK_AT_THE_HISTORY = "profilectl imports list tells whether an import is made"


@dataclass(frozen=True)
class StoreTrouble:
    """A failure of DuckDB that the machine or the file causes, and its remedy."""

    words: tuple[str, ...]
    """Parts of DuckDB's message: one of them is enough."""
    message: str
    """The text before DuckDB's own message."""
    hint: str
    """The remedy."""


UNUSABLE = (
    StoreTrouble(
        words=(
            "No space left",
            "Out of Memory",
            "failed to allocate",
            "File too large",
            "Could not write",
        ),
        message="",
        hint="make room on the disk or give --memory-limit more; the store is as before",
    ),
    StoreTrouble(
        words=(MODULE,),
        message="the store is encrypted, and DuckDB can read such files here, not write them: ",
        hint=(
            "give --memory-limit more, so that nothing has to be spilled;"
            " or install DuckDB's httpfs"
        ),
    ),
    StoreTrouble(
        words=("fsync failed", "has been invalidated", "CHECKPOINT during DETACH failed"),
        message="the disk did not take what was written: ",
        hint=f"mend the disk, then profilectl check; {LOOK_AT_THE_HISTORY}",
    ),
    StoreTrouble(
        words=("Corrupt", "checksum", "IO Error", "Serialization Error"),
        message="the store cannot be read: ",
        hint="restore a backup; profilectl check says what of it is readable",
    ),
)
"""The failures of DuckDB, in the order in which they are tried."""


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
        app()
    except ProfilectlError as error:
        _say(error.message, error.hint)
        sys.exit(error.exit)
    except (KeyboardInterrupt, Interrupted):
        _say_interrupted()
        number = ended_by()
        sys.exit(Exit.INTERRUPTED if number is None else 128 + number)
    except (BrokenPipeError, ReaderLeft):
        # Python flushes stdout once more at its end, which would fail on the broken pipe.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:
        sys.exit(_end_of_system_error(error))
    except MemoryError as error:
        _say(str(error), "")
        sys.exit(Exit.FAULT)
    except Exception as error:  # noqa: BLE001 - the last place that can report the failure
        sys.exit(_end_of_fault(error))


def _end_of_system_error(error: OSError) -> Exit:
    """Print what the system refused, and return the exit status."""
    if error.errno in FULL and not error.filename:
        _say(
            f"{error.strerror}: where the output goes",
            f"make room and give the command again; {LOOK_AT_THE_HISTORY}",
        )
        return Exit.UNFINISHED
    if error.errno in FULL:
        _say(
            f"{error.strerror}: {error.filename}",
            f"make room, or mend the disk, and give the command again; {LOOK_AT_THE_HISTORY}",
        )
        return Exit.UNUSABLE
    if error.strerror:
        _say(f"{error.strerror}: {error.filename or 'where the output goes'}", "")
    else:
        _say(str(error), "")
    return Exit.FAULT


def _end_of_fault(error: Exception) -> Exit:
    """Print what failed, and return the exit status.

    Under PROFILECTL_TRACEBACK the error is raised again, unless the machine or the file caused it.
    """
    first_line = str(error).splitlines()[0] if str(error) else ""
    if type(error).__module__.lstrip("_").startswith("duckdb"):
        for trouble in UNUSABLE:
            if any(word in str(error) for word in trouble.words):
                _say(trouble.message + first_line[:300], trouble.hint)
                return Exit.UNUSABLE
    if os.environ.get("PROFILECTL_TRACEBACK"):
        raise error
    _say(
        f"a fault in profilectl: {type(error).__name__}: {first_line}",
        "please report it, with the output under PROFILECTL_TRACEBACK=1; the store is as before",
    )
    return Exit.FAULT


def _say_interrupted() -> None:
    """Print that the command was interrupted; print nothing if the terminal is gone."""
    try:
        _say(
            "interrupted",
            (
                "what was being written is complete or not there at all; profilectl imports list"
                " shows whether an import is"
            ),
        )
        sys.stdout.flush()
    except OSError:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _show_warning(message: Warning | str, *_details: object) -> None:
    """Print a warning of a lower layer, such as that a store was upgraded."""
    from profilectl.render.screen import notice

    notice(str(message))


def _say(message: str, hint: str) -> None:
    from profilectl.render.screen import error

    error(message, hint)
