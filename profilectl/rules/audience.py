"""An audience: its name, kind, criteria and look-back window, as the configuration has them.

Sources: domain.md 11.2, 2.1 (limits).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from profilectl.codes import UsageError
from profilectl.rules.criteria.text import criterion_of, expression
from profilectl.rules.criteria.toml import COMBINATIONS, criterion_in
from profilectl.rules.criteria.tree import Criterion, check_depth
from profilectl.rules.feed import DEFAULT_WORKSPACE
from profilectl.rules.text.moments import Days, days_of

# fmt: off
KINDS: dict[str, str] = {
    "real-time": "evaluated by every import, over the look-back window",
    "standard":  "evaluated when it is refreshed, over all events that are kept",
}
# fmt: on
LOOKBACK = "90 days"
"""How far back the events of a real-time audience count, where it does not say (domain.md 11.2)."""
LONGEST_NAME = 100
KEYS = ("criteria", "kind", "lookback", "workspace")


@dataclass(frozen=True, slots=True)
class Audience:
    """An audience. lookback: how far back events count; None: as far as they are kept."""

    name: str
    kind: str
    tree: Criterion
    lookback: Days | None
    workspace: str = DEFAULT_WORKSPACE

    @property
    def criteria(self) -> str:
        """The criteria as an expression."""
        return expression(self.tree)

    def as_table(self) -> dict[str, Any]:
        """Return the audience as the configuration has it: what audience_of reads as the same."""
        table: dict[str, Any] = {"criteria": self.criteria}
        if self.workspace != DEFAULT_WORKSPACE:
            table["workspace"] = self.workspace
        if self.kind != "real-time":
            return table | {"kind": self.kind}
        standing = days_of(LOOKBACK)
        return (
            table
            if self.lookback == standing or self.lookback is None
            else table | {"lookback": f"{self.lookback.count} days"}
        )


def audience_of(name: str, table: object) -> Audience:
    """Read an audience of the configuration: {criteria, kind, lookback}; criteria an expression or
    a table, or instead of it all, any and exclude (criteria/toml.py).

    Raises UsageError, naming the key or the character.
    """
    where = f"audience {name}"
    if not name.strip() or len(name) > LONGEST_NAME:
        raise UsageError(f"{where}: a name has 1 to {LONGEST_NAME} characters")
    if not isinstance(table, Mapping):
        raise UsageError(f"{where} must be a section", f'[audiences.{name}] with criteria = "..."')
    for key in table:
        if key not in (*KEYS, *COMBINATIONS):
            raise UsageError(
                f"{where}: there is no key {key}",
                f"an audience has {', '.join(KEYS)}, or instead of criteria {', '.join(COMBINATIONS)}",
            )
    combined = {key: table[key] for key in COMBINATIONS if key in table}
    if combined and "criteria" in table:
        raise UsageError(
            f"{where}: criteria and {next(iter(combined))} both say who is in it", "leave one out"
        )
    kind = table.get("kind", "real-time")
    if not isinstance(kind, str) or kind not in KINDS:
        raise UsageError(f"{where}: kind = {kind!r}", "it is one of " + ", ".join(KINDS))
    if kind == "standard" and "lookback" in table:
        raise UsageError(
            f"{where}: a standard audience has no look-back",
            "leave it out: all events that are kept count",
        )
    stated = table.get("lookback", LOOKBACK)
    lookback = days_of(stated) if isinstance(stated, str) else None
    if lookback is None:
        raise UsageError(f"{where}: lookback = {stated!r}", 'for example lookback = "90 days"')
    workspace = table.get("workspace", DEFAULT_WORKSPACE)
    if not isinstance(workspace, str) or not workspace:
        raise UsageError(f"{where}: workspace must be a text")
    return Audience(
        name,
        kind,
        _criteria(combined or table.get("criteria"), where),
        lookback if kind == "real-time" else None,
        workspace,
    )


def _criteria(stated: object, where: str) -> Criterion:
    try:
        if isinstance(stated, str):
            tree = criterion_of(stated)
        elif isinstance(stated, Mapping):
            tree = criterion_in(stated)
        else:
            raise UsageError("needs criteria", "criteria = \"tier = 'gold'\"")
        check_depth(tree)
    except UsageError as error:
        raise UsageError(f"{where}: {error.message}", error.hint) from None
    except ValueError as error:
        raise UsageError(f"{where}: {error}") from None
    return tree
