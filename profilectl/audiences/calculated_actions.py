"""The calculated attributes of a store, from outside: open it, define, look, compute, close it
again.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from profilectl.audiences.calculated_sql import compute
from profilectl.audiences.people import awake_only, people_of
from profilectl.audiences.refresh import RefreshRequest, refresh_once_done, refresh_store
from profilectl.codes import InputRefused
from profilectl.rules.batch import attribute_key
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
from profilectl.store.store import OpenStore

FEW = 5
"""So many profiles and values are shown of a calculated attribute."""


def calculated_in(path: Path, *, wait_s: float = 0) -> list[dict[str, Any]]:
    """Return the calculated attributes, by name: definition, state, when it was computed, how many
    profiles have a value.
    """
    with scratch_beside(path) as scratch, open_store(scratch, path, wait_s=wait_s) as store:
        check_workspace(store)
        filled = dict(
            scratch.rows(
                "select name, count(*) from store.calculated where held <> $nothing group by name",
                {"nothing": NOTHING},
            )
        )
        return [
            _described(one, filled.get(one.name, 0))
            for one in calculations(store)
            if store.means(one.definition.workspace)
        ]


def _described(one: Calculation, profiles: int) -> dict[str, Any]:
    table = one.definition.as_table()
    state = "draft" if table.pop("draft", False) else "active"
    return {
        "name": one.name,
        "state": state,
        **table,
        "format": TYPES[one.definition.type].format,
        "profiles": profiles,
        "computed_ms": one.filled_ms,
    }


def calculated_named(path: Path, name: str, *, wait_s: float = 0) -> dict[str, Any]:
    """Return one calculated attribute with some of its values.

    Raises UsageError where there is none of that name.
    """
    with scratch_beside(path) as scratch, open_store(scratch, path, wait_s=wait_s) as store:
        one = _known(store, name)
        scratch.make(
            "shown",
            "select profile, name, held from store.calculated where name = $name",
            {"name": one.name},
        )
        return {**_described(one, _filled(store, "shown")), **_sample(store, "shown")}


def _filled(store: OpenStore, relation: str) -> int:
    """Return how many profiles have a value; `-` is none."""
    return int(
        store.scratch.row(
            f"select count(*) from {relation} where held <> $nothing", {"nothing": NOTHING}
        )[0]
    )


def _known(store: OpenStore, name: str) -> Calculation:
    known = {one.name: one for one in calculations(store)}
    found = known.get(name) or known.get(attribute_key(name))
    if found is None:
        there = [one.name for one in known.values() if store.means(one.definition.workspace)]
        raise no_such("calculated attribute", name, there, lists="profilectl calculated list")
    check_meant(store, f"calculated attribute {name}", found.definition.workspace)
    return found


def _sample(store: OpenStore, relation: str) -> dict[str, Any]:
    """Return the most frequent values of a relation (profile, name, held), and some profiles that
    have one.
    """
    scratch = store.scratch
    values = scratch.rows(
        f"select held, count(*) as n from {relation} group by held order by n desc, held limit {FEW}"
    )
    people = scratch.rows(
        f"select mpid.mpid::varchar, one.held from {relation} as one join ({known_mpids(store.segments())}) as mpid on mpid.profile = one.profile"
        f" order by one.profile limit {FEW}"
    )
    return {
        "most_frequent": [{"value": _value(held), "profiles": count} for held, count in values],
        "sample": [{"mpid": mpid, "value": _value(held)} for mpid, held in people],
    }


def _value(held: str) -> Any:
    """Return a held value for JSON: numbers as the text that they are."""
    value = parse_json(held_json(held))
    return to_json(value) if not isinstance(value, str | list | bool | None) else value


def add_calculated(
    path: Path, definition: Definition, *, replaces: bool = False, wait_s: float = 0
) -> dict[str, Any]:
    """Define a calculated attribute; one that is no draft is computed at once.

    Raises InputRefused for a name that is taken.
    """
    now_ms = time.time_ns() // 1_000_000
    with (
        scratch_beside(path) as scratch,
        open_store(scratch, path, write=True, create=True, wait_s=wait_s) as store,
    ):
        known = next((one for one in calculations(store) if one.name == definition.name), None)
        if known and not replaces:
            raise InputRefused(
                f"there is a calculated attribute {definition.name} already",
                "--replace gives it another definition",
            )
        if known:
            check_meant(
                store, f"calculated attribute {definition.name}", known.definition.workspace
            )
        with store.transaction():
            put_calculation(
                store,
                replace(definition, workspace=workspace_for(store, definition.workspace)),
                now_ms,
            )
    refresh_once_done(path, f"the calculated attribute {definition.name} is defined", wait_s=wait_s)
    return calculated_named(path, definition.name, wait_s=wait_s)


def preview_calculated(
    path: Path, wanted: Definition | str, *, now_ms: int | None = None, wait_s: float = 0
) -> dict[str, Any]:
    """Compute a definition, or one that is known by its name, for everybody, without keeping
    anything.
    """
    at_ms = now_ms if now_ms is not None else time.time_ns() // 1_000_000
    with scratch_beside(path) as scratch, open_store(scratch, path, wait_s=wait_s) as store:
        definition = _known(store, wanted).definition if isinstance(wanted, str) else wanted
        profiles = people_of(
            store,
            definition.workspace
            if isinstance(wanted, str)
            else workspace_for(store, definition.workspace),
        )
        scratch.make("event", profiles.counted(profiles.happened(awake_only(profiles))), keep=False)
        compute(scratch, [replace(definition, draft=False)], at_ms, into="previewed")
        table = definition.as_table()
        table.pop("draft", None)
        return {
            "name": definition.name,
            **table,
            "profiles": _filled(store, "previewed"),
            **_sample(store, "previewed"),
        }


def set_state(path: Path, name: str, *, active: bool, wait_s: float = 0) -> dict[str, Any]:
    """Make a calculated attribute active, and compute it; or a draft, which has no values and masks
    nothing.
    """
    with (
        scratch_beside(path) as scratch,
        open_store(scratch, path, write=True, wait_s=wait_s) as store,
    ):
        known = _known(store, name)
        with store.transaction():
            put_calculation(
                store, replace(known.definition, draft=not active), time.time_ns() // 1_000_000
            )
    refresh_once_done(
        path,
        f"the calculated attribute {name} is {'active' if active else 'a draft'}",
        wait_s=wait_s,
    )
    return calculated_named(path, name, wait_s=wait_s)


def remove_calculated(path: Path, name: str, *, wait_s: float = 0) -> None:
    """Forget a calculated attribute; what it masked is there again.

    Raises UsageError where there is none.
    """
    with (
        scratch_beside(path) as scratch,
        open_store(scratch, path, write=True, wait_s=wait_s) as store,
    ):
        known = _known(store, name)
        with store.transaction():
            drop_calculation(store, known.name)
    refresh_once_done(path, f"the calculated attribute {name} is removed", wait_s=wait_s)


def recalculate(
    path: Path, names: Sequence[str], *, now_ms: int | None = None, wait_s: float = 0
) -> list[dict[str, Any]]:
    """Compute calculated attributes (all, where no names are given) for everybody anew.

    now_ms: as of that time.
    """
    with scratch_beside(path) as scratch, open_store(scratch, path, wait_s=wait_s) as store:
        wanted = [_known(store, name).name for name in names] or [
            one.name for one in calculations(store) if store.means(one.definition.workspace)
        ]
    refresh_store(
        path, now_ms=now_ms, wait_s=max(wait_s, 10), asked=RefreshRequest(calculated=wanted)
    )
    return [one for one in calculated_in(path, wait_s=wait_s) if one["name"] in wanted]
