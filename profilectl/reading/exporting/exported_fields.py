"""The identities and attributes of an export: those that were named, or that somebody has."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

from profilectl.profiles.read_model import Profiles
from profilectl.reading.exporting.extract import OWN
from profilectl.rules.batch_fields import field_named
from profilectl.rules.fields import UnusableRow
from profilectl.rules.sql.held_values import DELETED
from profilectl.rules.text.naming import no_such
from profilectl.store.segments import both, known_loose
from profilectl.store.statements import reading

AT_ONCE = 100
"""How many columns are looked at in one statement."""

ROWS_SEEN = "select * from arrived where profile in (select profile from seen)"
COMPUTED_NAMES = "select distinct name from computed"
# For each attribute without a column: whether a row sets it, and whether one deletes it.
LOOSE_KEYS = """
select key, bool_or(value <> deleted), bool_or(value = deleted)
from (select key, value, chr(31) as deleted from loose)
group by key
"""
FILLED_CELLS = "select {columns} from stored"


class _Attributes(NamedTuple):
    """The attributes that rows speak of."""

    certain: set[str]
    """Somebody has them: a row sets them and none deletes them."""
    doubtful: list[str]
    """A row sets them and a row deletes them: only folding tells whether somebody has them."""


def narrowed(profiles: Profiles, fields: Sequence[str]) -> Profiles:
    """Return the read model of some identities and attributes only.

    The profile's own columns are neither. Raises UsageError for a field that nobody has.
    """
    identities, keys = set(), set()
    for name in fields:
        if name in OWN:
            continue
        try:
            column = field_named(name)
        except UnusableRow:
            column = None
        key = column.name if column and column.kind == "attribute" else name
        if column and column.kind == "identity" and column.name in profiles.identities:
            identities.add(column.name)
        elif profiles.has(key):
            keys.add(key)
        else:
            names = (*profiles.identities, *profiles.names())
            raise no_such(
                "identity or attribute", name, names, option="--fields", lists="profilectl stats"
            )
    return _only(profiles, identities, keys)


def _only(profiles: Profiles, identities: set[str], keys: set[str]) -> Profiles:
    return replace(
        profiles,
        identities=[kind for kind in profiles.identities if kind in identities],
        keys=[key for key in profiles.keys if key in keys],
        loose_keys=[key for key in profiles.loose_keys if key in keys],
        calculated=[key for key in profiles.calculated if key in keys],
    )


def filled(
    profiles: Profiles, condition: str, stretches: Callable[[int], Iterable[str]]
) -> Profiles:
    """Return the read model of the identities and attributes that somebody has.

    `condition` is the WHERE clause of the profiles that are exported. `stretches` takes the number
    of cells that a profile may have, and returns the clauses of one part of them after another.
    """
    identities = _identities_held(profiles, condition)
    stored = [
        key
        for key in dict.fromkeys((*profiles.keys, *profiles.loose_keys))
        if key not in profiles.calculated
    ]
    attributes = _attributes_set(profiles, stored, condition)
    keys = attributes.certain
    # folding is dear: it is done for the doubtful only
    for some in _parts(attributes.doubtful):
        for stretch in stretches(len(some)):
            columns = [f"v{place}" for place in range(len(some))]
            keys |= _filled(profiles, some, columns, rows=profiles.folded(some, stretch))
    computed = f"select * from ({profiles.calculated_values}) {condition}"
    names = profiles.store.scratch.rows(reading(COMPUTED_NAMES, computed=computed))
    keys |= {name for (name,) in names if name in profiles.calculated}
    return _only(profiles, identities, keys)


def _parts(keys: Sequence[str]) -> Iterable[Sequence[str]]:
    return [keys[start : start + AT_ONCE] for start in range(0, len(keys), AT_ONCE)]


def _identities_held(profiles: Profiles, condition: str) -> set[str]:
    rows = profiles.rows([], condition)
    if profiles.only_seen and profiles.feeds:
        rows = reading(ROWS_SEEN, arrived=rows, seen=profiles.seen(condition))
    columns = [f"i_{kind}" for kind in profiles.identities]
    return _filled(profiles, profiles.identities, columns, rows=rows)


def _attributes_set(profiles: Profiles, keys: Sequence[str], condition: str) -> _Attributes:
    """Return the attributes that rows set, and whether a row deletes them too."""
    loose = known_loose(profiles.segments, where=both(condition, profiles.feeds))
    loose_keys = profiles.store.scratch.rows(reading(LOOSE_KEYS, loose=loose))
    being_set = {key for key, is_set, _ in loose_keys if is_set}
    being_deleted = {key for key, _, is_deleted in loose_keys if is_deleted}
    for some in _parts(keys):
        rows = profiles.rows(some, condition)
        places = range(len(some))
        being_set |= _filled(
            profiles, some, [f"nullif(b{place}, {DELETED})" for place in places], rows=rows
        )
        being_deleted |= _filled(
            profiles, some, [f"if(b{place} = {DELETED}, true, null)" for place in places], rows=rows
        )
    return _Attributes(
        certain={key for key in keys if key in being_set - being_deleted},
        doubtful=[key for key in keys if key in being_set & being_deleted],
    )


def _filled(
    profiles: Profiles, names: Sequence[str], columns: Sequence[str], *, rows: str
) -> set[str]:
    """Return the names whose columns are filled in any of the rows."""
    if not names:
        return set()
    counts = ", ".join(f"count({column})" for column in columns)
    numbers = profiles.store.scratch.row(reading(FILLED_CELLS.format(columns=counts), stored=rows))
    return {name for name, number in zip(names, numbers, strict=True) if number}
