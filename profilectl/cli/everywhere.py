"""The options that every command has: they may stand before it or after it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from profilectl.cli.registry import option

VARIABLES = {
    "--store": "PROFILECTL_STORE",
    "--workspace": "PROFILECTL_WORKSPACE",
    "--suppression-key": "PROFILECTL_SUPPRESSION_KEY",
}
"""The variables of the environment that give an option where it is not given."""
StoreOption = Annotated[
    Path | None,
    option(
        "--store",
        metavar="FILE",
        help="The store: a file (default: PROFILECTL_STORE, else profiles.duckdb).",
    ),
]
WorkspaceOption = Annotated[
    str | None,
    option(
        "--workspace",
        metavar="NAME",
        help="The workspace to use, if the store has several (default: PROFILECTL_WORKSPACE).",
        completion="workspaces",
    ),
]
StoreKeyOption = Annotated[
    Path | None,
    option(
        "--store-key",
        metavar="FILE",
        help=(
            "A file of mode 0600 with the key of an encrypted store (default:"
            " PROFILECTL_STORE_KEY)."
        ),
    ),
]
SuppressionKeyOption = Annotated[
    Path | None,
    option(
        "--suppression-key",
        metavar="FILE",
        help=(
            "The key that keeps the erased out, if not beside the store"
            " (default: PROFILECTL_SUPPRESSION_KEY)."
        ),
    ),
]
QuietOption = Annotated[bool, option("--quiet", "-q", help="Print no progress and no notices.")]


@dataclass(frozen=True, kw_only=True)
class EverywhereOptions:
    """The options of every command."""

    store: StoreOption = None
    workspace: WorkspaceOption = None
    store_key: StoreKeyOption = None
    suppression_key: SuppressionKeyOption = None
    quiet: QuietOption = False
