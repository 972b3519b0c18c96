"""The calculated attributes of a store, as commands use them: define, look at, compute."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from profilectl.audiences.people import awake_only, people_of
from profilectl.audiences.refresh import refresh_once_done, refresh_store
from profilectl.audiences.refresh_plan import RefreshRequest
from profilectl.audiences.sql.calculated_sql import compute
from profilectl.codes import InputRefused
from profilectl.rules.batch_fields import attribute_key
from profilectl.rules.calculated import NOTHING, TYPES, Definition
from profilectl.rules.text.naming import no_such
from profilectl.rules.text.values import held_json, parse_json, to_json
from profilectl.store.definitions import (
    Calculation,
    calculations,
    check_meant,
    check_workspace,
    drop_calculation,
    put_calculation,
    workspace_for,
)
from profilectl.store.opening import open_store
from profilectl.store.scratch import scratch_beside
from profilectl.store.segments import known_mpids
from profilectl.store.statements import reading, select
from profilectl.store.store import OpenStore

FEW = 5
"""How many profiles and values of a calculated attribute are shown."""

Document = dict[str, Any]
"""An answer of a command, as its --json prints it."""

# Profiles that have a value: `-` is none (calculated.NOTHING).
FILLED = """
select name, count(*)
from store.calculated
where held <> $nothing
group by name
"""
FILLED_ONE = "select count(*) from valued where held <> $nothing"
SHOWN = "select profile, name, held from store.calculated where name = $name"

MOST_FREQUENT = """
select held, count(*) as profiles
from valued
group by held
order by profiles desc, held
limit $few
"""
SOME_PROFILES = """
select named.mpid::varchar, valued.held
from valued
join named on named.profile = valued.profile
order by valued.profile
limit $few
"""


def calculated_in(path: Path, *, wait_s: float = 0) -> list[Document]:
    """Return the calculated attributes, by name.

    Each has its definition, its state, when it was computed, and how many profiles have a value.
    """
    with scratch_beside(path) as scratch, open_store(scratch, path, wait_s=wait_s) as store:
        check_workspace(store)
        filled = dict(scratch.rows(FILLED, {"nothing": NOTHING}))
        return [
            _described(each, filled.get(each.name, 0))
            for each in calculations(store)
            if store.means(each.definition.workspace)
        ]


def _described(calculation: Calculation, profiles: int) -> Document:
    table = calculation.definition.as_table()
    state = "draft" if table.pop("draft", False) else "active"
    return {
        "name": calculation.name,
        "state": state,
        **table,
        "format": TYPES[calculation.definition.type].format,
        "profiles": profiles,
        "computed_ms": calculation.filled_ms,
    }


def calculated_named(path: Path, name: str, *, wait_s: float = 0) -> Document:
    """Return one calculated attribute with some of its values.

    Raises UsageError where there is none of that name.
    """
    with scratch_beside(path) as scratch, open_store(scratch, path, wait_s=wait_s) as store:
        calculation = _calculation_named(store, name)
        scratch.make("shown", SHOWN, {"name": calculation.name})
        return {**_described(calculation, _filled(store, "shown")), **_sample(store, "shown")}


def _filled(store: OpenStore, relation: str) -> int:
    """Return how many profiles have a value."""
    filled = reading(FILLED_ONE, valued=select("held", relation))
    return int(store.scratch.row(filled, {"nothing": NOTHING})[0])


def _calculation_named(store: OpenStore, name: str) -> Calculation:
    by_name = {each.name: each for each in calculations(store)}
    calculation = by_name.get(name) or by_name.get(attribute_key(name))
    if calculation is None:
        own = [each.name for each in by_name.values() if store.means(each.definition.workspace)]
        raise no_such("calculated attribute", name, own, lists="profilectl calculated list")
    check_meant(store, f"calculated attribute {name}", calculation.definition.workspace)
    return calculation


def _sample(store: OpenStore, relation: str) -> Document:
    """Return the most frequent values of a relation, and some profiles that have one.

    The relation has profile, name and held.
    """
    scratch, valued = store.scratch, select("*", relation)
    values = scratch.rows(reading(MOST_FREQUENT, valued=valued), {"few": FEW})
    named = known_mpids(store.segments())
    people = scratch.rows(reading(SOME_PROFILES, valued=valued, named=named), {"few": FEW})
    return {
        "most_frequent": [{"value": _value(held), "profiles": count} for held, count in values],
        "sample": [{"mpid": mpid, "value": _value(held)} for mpid, held in people],
    }


def _value(held: str) -> object:
    """Return a held value for JSON; a number stays a text, so that no digit is lost."""
    value = parse_json(held_json(held))
    return to_json(value) if not isinstance(value, str | list | bool | None) else value


def add_calculated(
    path: Path, definition: Definition, *, replaces: bool = False, wait_s: float = 0
) -> Document:
    """Define a calculated attribute; one that is no draft is computed at once.

    Raises InputRefused for a name that is taken.
    """
    now_ms = time.time_ns() // 1_000_000
    with (
        scratch_beside(path) as scratch,
        open_store(scratch, path, write=True, create=True, wait_s=wait_s) as store,
    ):
        same = next((each for each in calculations(store) if each.name == definition.name), None)
        if same and not replaces:
            raise InputRefused(
                f"there is a calculated attribute {definition.name} already",
                "--replace gives it another definition",
            )
        if same:
            check_meant(store, f"calculated attribute {definition.name}", same.definition.workspace)
        workspace = workspace_for(store, definition.workspace)
        with store.transaction():
            put_calculation(store, replace(definition, workspace=workspace), now_ms)
    refresh_once_done(path, f"the calculated attribute {definition.name} is defined", wait_s=wait_s)
    return calculated_named(path, definition.name, wait_s=wait_s)


def preview_calculated(
    path: Path, wanted: Definition | str, *, now_ms: int | None = None, wait_s: float = 0
) -> Document:
    """Compute a definition for everybody, without keeping anything.

    `wanted` is the definition, or the name of one that the store has.
    """
    at_ms = now_ms if now_ms is not None else time.time_ns() // 1_000_000
    with scratch_beside(path) as scratch, open_store(scratch, path, wait_s=wait_s) as store:
        if isinstance(wanted, str):
            definition = _calculation_named(store, wanted).definition
            workspace = definition.workspace
        else:
            definition, workspace = wanted, workspace_for(store, wanted.workspace)
        profiles = people_of(store, workspace)
        scratch.make("event", profiles.counted(profiles.happened(awake_only(profiles))), keep=False)
        # a draft would not be computed
        compute(scratch, [replace(definition, draft=False)], at_ms, into="previewed")
        table = definition.as_table()
        table.pop("draft", None)
        return {
            "name": definition.name,
            **table,
            "profiles": _filled(store, "previewed"),
            **_sample(store, "previewed"),
        }


def set_state(path: Path, name: str, *, active: bool, wait_s: float = 0) -> Document:
    """Make a calculated attribute active, and compute it; or make it a draft.

    A draft has no values and masks nothing.
    """
    with (
        scratch_beside(path) as scratch,
        open_store(scratch, path, write=True, wait_s=wait_s) as store,
    ):
        definition = _calculation_named(store, name).definition
        with store.transaction():
            put_calculation(
                store, replace(definition, draft=not active), time.time_ns() // 1_000_000
            )
    refresh_once_done(
        path,
        f"the calculated attribute {name} is {'active' if active else 'a draft'}",
        wait_s=wait_s,
    )
    return calculated_named(path, name, wait_s=wait_s)


def remove_calculated(path: Path, name: str, *, wait_s: float = 0) -> None:
    """Forget a calculated attribute; the attribute that it masked is there again.

    Raises UsageError where there is none of that name.
    """
    with (
        scratch_beside(path) as scratch,
        open_store(scratch, path, write=True, wait_s=wait_s) as store,
    ):
        calculation = _calculation_named(store, name)
        with store.transaction():
            drop_calculation(store, calculation.name)
    refresh_once_done(path, f"the calculated attribute {name} is removed", wait_s=wait_s)


def recalculate(
    path: Path, names: Sequence[str], *, now_ms: int | None = None, wait_s: float = 0
) -> list[Document]:
    """Compute calculated attributes for everybody anew, as of `now_ms`.

    Without names, all are computed.
    """
    with scratch_beside(path) as scratch, open_store(scratch, path, wait_s=wait_s) as store:
        named = [_calculation_named(store, name).name for name in names] or [
            each.name for each in calculations(store) if store.means(each.definition.workspace)
        ]
    refresh_store(
        path, now_ms=now_ms, wait_s=max(wait_s, 10), request=RefreshRequest(calculated=named)
    )
    return [each for each in calculated_in(path, wait_s=wait_s) if each["name"] in named]
