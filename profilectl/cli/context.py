"""What every command has beside its own options: the store, the workspace, the keys."""

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


@dataclass(frozen=True, slots=True)
class CommonValues:
    """The values of the options that may stand before or after every command."""

    store: Path | None = None
    """The value of --store."""
    workspace: str | None = None
    """The value of --workspace."""
    store_key: Path | None = None
    """The value of --store-key."""
    suppression_key: Path | None = None
    """The value of --suppression-key."""
    quiet: bool = False
    """Whether --quiet is given."""

    def over(self, earlier: CommonValues) -> CommonValues:
        """Return these values, and the earlier ones where there are none here."""
        return CommonValues(
            store=earlier.store if self.store is None else self.store,
            workspace=earlier.workspace if self.workspace is None else self.workspace,
            store_key=earlier.store_key if self.store_key is None else self.store_key,
            suppression_key=(
                earlier.suppression_key if self.suppression_key is None else self.suppression_key
            ),
            quiet=self.quiet or earlier.quiet,
        )

    def chosen(self) -> GlobalOptions:
        """Make the choices of these options, and return the other ones."""
        store = Path(DEFAULT_STORE) if self.store is None else self.store
        choose_workspace(self.workspace)
        choose_store_key(self.store_key)
        choose_key(self.suppression_key)
        sweep(store.absolute().parent)  # removes the files of killed commands
        return GlobalOptions(store, self.quiet)


@dataclass(slots=True)
class GlobalOptions:
    """The options of every command."""

    store: Path
    """The store file."""
    quiet: bool
    """Whether to print no progress and no notices."""


def options_of(context: Context) -> GlobalOptions:
    """Return the options that every command has."""
    options = context.find_object(GlobalOptions)
    assert options is not None
    return options


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
