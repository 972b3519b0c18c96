"""What every command has before its own options: the store, the workspace, the keys."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from profilectl.files.leftovers import sweep
from profilectl.files.suppression_key import choose_key
from profilectl.rules.workspace import choose_workspace
from profilectl.store.store_key import choose_store_key

if TYPE_CHECKING:
    from profilectl.rules.calculated import Definition
    from profilectl.rules.criteria.tree import Criterion

T = TypeVar("T")
DEFAULT_STORE = "profiles.duckdb"


class Context(Protocol):
    """What a command gets first: of Typer's context, what commands use."""

    def find_object(self, object_type: type[T]) -> T | None:
        """Return the object of a type that stands in the context."""


@dataclass(slots=True)
class GlobalOptions:
    """The options of every command."""

    store: Path
    """The store file."""
    quiet: bool
    """Whether to print no progress and no notices."""


def options_of(context: Context) -> GlobalOptions:
    """Return the options before the command."""
    options = context.find_object(GlobalOptions)
    assert options is not None
    return options


def choose(
    store: Path,
    *,
    workspace: str | None,
    store_key: Path | None,
    suppression_key: Path | None,
    quiet: bool,
) -> GlobalOptions:
    """Make the choices of the options before the command; return the other ones."""
    choose_workspace(workspace)
    choose_store_key(store_key)
    choose_key(suppression_key)
    sweep(store.absolute().parent)  # removes the files of killed commands
    return GlobalOptions(store, quiet)


def tell_unknown(
    context: Context, definition: Criterion | Definition, workspace: str, *, wait_s: float
) -> None:
    """Print the names in criteria, or in a definition, that no profile or event has."""
    from profilectl.audiences.unknown_names import unknown_in
    from profilectl.render import screen

    options = options_of(context)
    if not options.quiet:
        for sentence in unknown_in(options.store, definition, workspace, wait_s=wait_s):
            screen.notice(sentence)
