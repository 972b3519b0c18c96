"""An audience as the configuration has it: name, kind, criteria and look-back window.

Sources: domain.md 11.2, 2.1 (limits).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from profilectl.codes import UsageError
from profilectl.rules.criteria.text import criterion_of, expression
from profilectl.rules.criteria.toml import COMBINATIONS, criterion_in
from profilectl.rules.criteria.tree import Criterion, check_depth
from profilectl.rules.feed import DEFAULT_WORKSPACE
from profilectl.rules.text.moments import Days, days_of
from profilectl.rules.text.naming import instead

# fmt: off
KINDS: dict[str, str] = {
    "real-time": "evaluated by every import, over the look-back window",
    "standard":  "evaluated when it is refreshed, over all events that are kept",
}
# fmt: on
LOOKBACK = "90 days"
"""The default look-back window of a real-time audience (domain.md 11.2)."""
LONGEST_NAME = 100
KEYS = ("criteria", "kind", "lookback", "workspace")


@dataclass(frozen=True, slots=True)
class Audience:
    """An audience."""

    name: str
    """Its name."""
    kind: str
    """Its kind, one of KINDS."""
    tree: Criterion
    """Its criteria."""
    lookback: Days | None
    """The age from which events do not count; None: all that are kept count."""
    workspace: str = DEFAULT_WORKSPACE
    """The workspace that it belongs to."""

    @property
    def criteria(self) -> str:
        """The criteria as an expression."""
        return expression(self.tree)

    def as_table(self) -> dict[str, object]:
        """Return the audience as a table of the configuration: the opposite of audience_of."""
        table: dict[str, object] = {"criteria": self.criteria}
        if self.workspace != DEFAULT_WORKSPACE:
            table["workspace"] = self.workspace
        if self.kind != "real-time":
            return table | {"kind": self.kind}
        if self.lookback is None or self.lookback == days_of(LOOKBACK):
            return table
        return table | {"lookback": f"{self.lookback.count} days"}


def audience_of(name: str, table: object) -> Audience:
    """Read an audience from its table of the configuration.

    The table has the keys KEYS. The criteria are an expression or a table; instead of the key
    criteria there may be all, any and exclude (criteria/toml.py).

    Raises UsageError, which names the key or the character.
    """
    title = f"audience {name}"
    if not name.strip() or len(name) > LONGEST_NAME:
        raise UsageError(f"{title}: a name has 1 to {LONGEST_NAME} characters")
    if not isinstance(table, Mapping):
        raise UsageError(f"{title} must be a section", f'[audiences.{name}] with criteria = "..."')
    for key in table:
        if key not in (*KEYS, *COMBINATIONS):
            raise UsageError(
                f"{title}: there is no key {key}",
                instead(
                    key,
                    (*KEYS, *COMBINATIONS),
                    f"an audience has {', '.join(KEYS)}, or instead of criteria"
                    f" {', '.join(COMBINATIONS)}",
                ),
            )
    combined = {key: table[key] for key in COMBINATIONS if key in table}
    if combined and "criteria" in table:
        raise UsageError(
            f"{title}: criteria and {next(iter(combined))} both say who is in it", "leave one out"
        )
    kind = table.get("kind", "real-time")
    if not isinstance(kind, str) or kind not in KINDS:
        raise UsageError(f"{title}: kind = {kind!r}", "it is one of " + ", ".join(KINDS))
    if kind == "standard" and "lookback" in table:
        raise UsageError(
            f"{title}: a standard audience has no look-back",
            "leave it out: all events that are kept count",
        )
    lookback = _lookback(table.get("lookback", LOOKBACK), title)
    workspace = table.get("workspace", DEFAULT_WORKSPACE)
    if not isinstance(workspace, str) or not workspace:
        raise UsageError(f"{title}: workspace must be a text")
    # A standard audience counts all events that are kept (domain.md 11.2), so it has no window.
    return Audience(
        name=name,
        kind=kind,
        tree=_criteria(combined or table.get("criteria"), title),
        lookback=lookback if kind == "real-time" else None,
        workspace=workspace,
    )


def _lookback(text: object, title: str) -> Days:
    lookback = days_of(text) if isinstance(text, str) else None
    if lookback is None:
        raise UsageError(f"{title}: lookback = {text!r}", 'for example lookback = "90 days"')
    return lookback


def _criteria(criteria: object, title: str) -> Criterion:
    try:
        if isinstance(criteria, str):
            tree = criterion_of(criteria)
        elif isinstance(criteria, Mapping):
            tree = criterion_in(criteria)
        else:
            raise UsageError("needs criteria", "criteria = \"tier = 'gold'\"")
        check_depth(tree)
    except UsageError as error:
        raise UsageError(f"{title}: {error.message}", error.hint) from None
    except ValueError as error:  # a CriterionFault of check_depth
        raise UsageError(f"{title}: {error}") from None
    return tree
