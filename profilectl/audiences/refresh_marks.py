"""Up to where each workspace was refreshed, as the store remembers it."""

from __future__ import annotations

from typing import NamedTuple

from profilectl.rules.feed import DEFAULT_WORKSPACE
from profilectl.store.definitions import (
    Calculation,
    Defined,
    audiences,
    calculations,
    workspaces_defined,
)
from profilectl.store.scratch import Scratch
from profilectl.store.store import OpenStore, State

LATER_IMPORTS = "select number from store.import where number > $seen order by number"
NEWEST_IMPORT = "select coalesce(max(number), 0) from store.import"
STALE = "select count(*) from store.stale"
MARKS = "select value from store.meta where name like 'refreshed%'"
MARK = "select value from store.meta where name = $name"
DROP_MARK = "delete from store.meta where name = $name"
PUT_MARK = "insert into store.meta values ($name, $value)"


class Marks(NamedTuple):
    """Up to where a workspace was refreshed."""

    last_import: int
    """The newest import that was looked at."""
    last_ms: int
    """The time of the last refresh, 0 for none."""
    barring_ms: int
    """The `changed_ms` of the plan by which members were last barred; -1 for never."""


class RefreshDefinitions(NamedTuple):
    """What a refresh computes, as the store has it now."""

    calculations: list[Calculation]
    """The calculated attributes, by name."""
    audiences: list[Defined]
    """The audiences, by number."""

    def workspaces(self) -> list[str]:
        """Return the workspaces that have some of them, sorted."""
        return sorted(
            {
                *(each.definition.workspace for each in self.calculations),
                *(audience.audience.workspace for audience in self.audiences),
            }
        )


class Stamp(NamedTuple):
    """The state that a decision rests on: while it is the same, the decision can be written."""

    state: State
    """The imports, settings, feeds and erasures."""
    calculations: list[tuple[str, int]]
    """The names of the calculated attributes, and when each was changed."""
    audiences: list[tuple[str, int]]
    """The names of the audiences, and when each was changed."""
    marks: list[tuple[str]]
    """Up to where the workspaces were refreshed."""


def definitions_of(store: OpenStore) -> RefreshDefinitions:
    """Return what a refresh computes: read once each time that the store is opened."""
    return RefreshDefinitions(calculations(store), audiences(store))


def stamp_of(store: OpenStore, defined: RefreshDefinitions) -> Stamp:
    """Return the state that a decision rests on."""
    return Stamp(
        state=store.state(),
        calculations=[(each.name, each.changed_ms) for each in defined.calculations],
        audiences=[(each.name, each.changed_ms) for each in defined.audiences],
        marks=[(value,) for (value,) in store.scratch.rows(MARKS)],
    )


def marks_of(store: OpenStore, workspace: str) -> Marks:
    """Return up to where a workspace was refreshed."""
    return Marks(
        last_import=int(_mark(store.scratch, "import", workspace) or 0),
        last_ms=int(_mark(store.scratch, "ms", workspace) or 0),
        barring_ms=int(_mark(store.scratch, "barring", workspace) or -1),
    )


def put_marks(store: OpenStore, workspace: str, marks: Marks) -> None:
    """Write down up to where a workspace was refreshed; within a transaction."""
    for kind, value in (
        ("import", marks.last_import),
        ("ms", marks.last_ms),
        ("barring", marks.barring_ms),
    ):
        name = _name(kind, workspace)
        store.scratch.run(DROP_MARK, {"name": name})
        store.scratch.run(PUT_MARK, {"name": name, "value": str(value)})


def unseen(store: OpenStore) -> list[int]:
    """Return the imports that some definition has not been brought up to date with.

    There are such imports where a refresh was killed or failed.
    """
    looked_at = [marks_of(store, workspace).last_import for workspace in workspaces_defined(store)]
    if not looked_at:
        return []
    rows = store.scratch.rows(LATER_IMPORTS, {"seen": min(looked_at)})
    return [number for (number,) in rows]


def refreshed_ms(store: OpenStore, workspace: str) -> int | None:
    """Return the time of the last refresh of a workspace; None: there was none."""
    at_ms = _mark(store.scratch, "ms", workspace)
    return int(at_ms) if at_ms else None


def is_up_to_date(store: OpenStore, workspace: str) -> bool:
    """Return whether nothing that computed values rest on has changed since the last refresh."""
    newest = store.scratch.row(NEWEST_IMPORT)[0]
    if marks_of(store, workspace).last_import < newest:
        return False
    return not store.scratch.row(STALE)[0]


def evaluated_ms(scratch: Scratch, audience: Defined) -> int | None:
    """Return when the members of an audience were last decided; None: never.

    Every refresh looks at a real-time audience, if only at those whose values may have changed.
    """
    if audience.filled_ms is None or audience.audience.kind != "real-time":
        return audience.filled_ms
    at_ms = _mark(scratch, "ms", audience.audience.workspace)
    return max(audience.filled_ms, int(at_ms or 0))


def _mark(scratch: Scratch, kind: str, workspace: str) -> str:
    rows = scratch.rows(MARK, {"name": _name(kind, workspace)})
    return str(rows[0][0]) if rows else ""


def _name(kind: str, workspace: str) -> str:
    """Return the name of a mark in store.meta."""
    return f"refreshed_{kind}" + ("" if workspace == DEFAULT_WORKSPACE else f":{workspace}")
