"""The store as an import sees it: views of what earlier imports left, for the steps to read.

Only this file of the steps names the tables of the store. A view holds no rows: the store is read
when a step reads the view, and it is attached as `store` then.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple

from profilectl.importing.relations import Relations, fill, make_empty, only_row, union_of
from profilectl.rules.sql.quoting import quote_text
from profilectl.store.segments import (
    Segment,
    held_mpids,
    holders_of,
    known_events,
    known_identities,
    known_loose,
    known_mpids,
    known_rows,
)
from profilectl.store.store import OpenStore

# Requests that earlier batches carried.
SEEN_REQUEST = "select feed, request, at_ms, import, arrival from store.request"
# Identities that earlier imports took from profiles.
LOST_BEFORE = "select profile, hash, import from store.removed"
# Hashes of erased people, and until which arrival they stay out.
SUPPRESSED = "select hash, type, until from store.suppressed"
# Arrivals of rows that were erased themselves.
ERASED_ROW = "select arrival from store.erased_row"
# Hashes of those erased people who stay out when an import begins at an arrival.
SUPPRESSED_HASH = """
select distinct hash, type
from suppressed
where until is null or until > $first
"""
# Cells of an attribute that has no column in this import, but one in an earlier segment.
CELLS_OF_COLUMN = """
select profile, arrival, feed, {segment} as segment, {key} as key, {column} as value
from {table}
where {column} is not null
"""
OF_TYPES_AND_FEEDS = "where type in ({types}) and feed in ({feeds})"
LEFT_TRACE = "select 1 from {table} where profile in (select profile from {profiles}) limit 1"
ROWS_WITH_ARRIVALS = "select {columns} from {table} where arrival in ({arrivals})"
SUPPRESSED_COUNT = "select count(*) from store.suppressed"
SUPPRESSED_LIST = "select * from store.suppressed"
"""The list of those who stay out, for a store that is written anew."""
SUPPRESSED_TYPES = "select distinct type from suppressed_hash order by type"
NAMED = "select distinct mpid from usable where mpid is not null"
META = "select value from store.meta where name = $name"


class Trace(Enum):
    """What an earlier import did to a profile, by the table of its segment that has it."""

    FOUNDED = "mpid"
    """It founded the profile."""
    GAVE_IDENTITY = "index"
    """It gave an identity to the profile."""
    TOUCHED = "row"
    """A row of it belongs to the profile."""


def know_store(relations: Relations, store: OpenStore) -> None:
    """Make the views of identities, MPIDs, touches, requests and losses.

    known_identity, known_mpid, known_touch, seen_request, lost_before.
    """
    segments = store.segments()
    identities = known_identities(segments, removals=store.removals())
    relations.make("known_identity", identities, keep=False)
    relations.make("known_mpid", known_mpids(segments), keep=False)
    if any(segment.holds_mpids for segment in segments):
        relations.make("held_mpid", held_mpids(segments), keep=False)
    else:
        relations.drop("held_mpid")
    if segments:
        touches = [f"select profile, arrival from {segment.table('row')}" for segment in segments]
        relations.make("known_touch", union_of(touches), keep=False)
    else:
        make_empty(relations, "known_touch")
    relations.make("seen_request", SEEN_REQUEST, keep=False)
    relations.make("lost_before", LOST_BEFORE, keep=False)


def know_holders(relations: Relations, segments: Sequence[Segment]) -> None:
    """Make `named_holder`: the profiles whose MPIDs rows name."""
    relations.make("named_holder", holders_of(segments, NAMED), keep=False)


def know_erased(relations: Relations) -> None:
    """Make the views `suppressed` and `erased_row`."""
    relations.make("suppressed", SUPPRESSED, keep=False)
    relations.make("erased_row", ERASED_ROW, keep=False)


def know_cells(relations: Relations, segments: Sequence[Segment], keys: Sequence[str]) -> bool:
    """Make `known_row`, the rows of the store with the cells of some attributes, and `known_loose`.

    Return whether any attribute of the store has no column of its own.
    """
    relations.make("known_row", known_rows(segments, (), keys), keep=False)
    has_loose = any("loose" in segment.tables for segment in segments)
    if has_loose:
        relations.make("known_loose", known_loose(segments), keep=False)
    else:
        make_empty(relations, "known_loose")
    return has_loose


def know_loose_cells(
    relations: Relations, segments: Sequence[Segment], keys: Sequence[str]
) -> None:
    """Make `known_loose_cell`: the cells of some attributes, whether they had a column or not."""
    has_loose = any("loose" in segment.tables for segment in segments)
    selects = [known_loose(segments)] if has_loose else []
    selects += [
        fill(
            CELLS_OF_COLUMN,
            segment=segment.number,
            key=quote_text(key),
            column=segment.attribute(key),
            table=segment.table("row"),
        )
        for segment in segments
        for key in set(segment.keys).intersection(keys)
    ]
    if selects:
        relations.make("known_loose_cell", union_of(selects), keep=False)
    else:
        make_empty(relations, "known_loose_cell")


def know_event_names(
    relations: Relations, store: OpenStore, workspace: str, *, types: Sequence[str]
) -> None:
    """Make `known_event_name`: a row for each event of a workspace that is of one of some types."""
    feeds = [str(feed.number) for feed in store.feeds() if feed.seen_in(workspace)]
    # `in (null)` is true of no row; an empty list would be no SQL.
    condition = fill(
        OF_TYPES_AND_FEEDS,
        types=", ".join(map(quote_text, types)),
        feeds=", ".join(feeds) or "null",
    )
    select = known_events(store.segments(), where=condition, columns=("name",))
    relations.make("known_event_name", select, keep=False)


def know_suppressed(relations: Relations, first_arrival: int) -> None:
    """Make `suppressed_hash`: who stays out of what arrives from `first_arrival` on."""
    relations.make("suppressed_hash", SUPPRESSED_HASH, {"first": first_arrival})


def suppressed_types(relations: Relations) -> list[int]:
    """Return the codes of the identity types that `suppressed_hash` has."""
    return [code for (code,) in relations.rows(SUPPRESSED_TYPES)]


def store_suppresses(relations: Relations) -> bool:
    """Return whether anybody was erased from the attached store.

    If not, no row need be held against the list.
    """
    return bool(only_row(relations, SUPPRESSED_COUNT)[0])


def meta_of(relations: Relations, name: str) -> str | None:
    """Return what the attached store says of itself under a name; None: nothing."""
    return next((str(value) for (value,) in relations.rows(META, {"name": name})), None)


def left_trace(relations: Relations, segment: Segment, trace: Trace, profiles: str) -> bool:
    """Return whether an import did something to any of some profiles.

    segment: of the import; profiles: the relation that lists them.
    """
    if trace.value not in segment.tables:
        return False
    select = fill(LEFT_TRACE, table=segment.table(trace.value), profiles=profiles)
    return bool(relations.rows(select))


class KnownRow(NamedTuple):
    """A row of an earlier import."""

    arrival: int
    """Its arrival."""
    profile: int
    """The profile that it belongs to."""
    identities: list[str]
    """The types of the identities that the profile gained by it."""


def rows_with_arrivals(
    relations: Relations, segments: Sequence[Segment], arrivals: Sequence[int]
) -> list[KnownRow]:
    """Return the rows of earlier imports that have some arrivals."""
    listed = ", ".join(map(str, arrivals))
    rows: list[KnownRow] = []
    for segment in segments if listed else ():
        columns = ", ".join(["arrival", "profile", *(f"i_{kind}" for kind in segment.identities)])
        table = segment.table("row")
        select = fill(ROWS_WITH_ARRIVALS, columns=columns, table=table, arrivals=listed)
        for arrival, profile, *values in relations.rows(select):
            kinds = zip(segment.identities, values, strict=True)
            rows.append(
                KnownRow(arrival, profile, [kind for kind, value in kinds if value is not None])
            )
    return rows
