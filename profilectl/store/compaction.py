"""Segments laid together, so that few have to be read; no row is lost.

The newest imports keep segments of their own, so that they can be undone: the setting history.keep
says how many.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from profilectl.rules.identity import CODE
from profilectl.store.copies import rewrite_store
from profilectl.store.opening import once_done, open_store
from profilectl.store.scratch import Scratch
from profilectl.store.segments import (
    MANY_SEGMENTS,
    Segment,
    both,
    known_identities,
    known_mpids,
    write_table,
)
from profilectl.store.statements import is_in, numbers, select
from profilectl.store.store import OpenStore

ORDER = {
    "row": "profile, arrival",
    "mpid": "mpid",
    "loose": "profile, arrival",
    "blocked": "profile, arrival",
    "blocked_loose": "profile, arrival",
    "rest": "profile, arrival",
    "event": "profile, arrival, place",
}
"""The order of the rows of each kind of table; an index is in the order of its hashes."""

COLUMNS = """
select column_name
from duckdb_columns()
where database_name = 'store' and table_name = $table
"""


def compaction_due(store: OpenStore) -> bool:
    """Return whether there are more segments than are read together without strain."""
    return len(store.segments()) > max(MANY_SEGMENTS, store.settings().keep_imports + 2)


def next_final(store: OpenStore) -> int | None:
    """Return the import that the next one lays together with others; None: it lays none together.

    It and those before it cannot be undone after that.
    """
    keep, segments = store.settings().keep_imports, store.segments()
    if compaction_due(store) or len(segments) + 1 <= max(MANY_SEGMENTS, keep + 2):
        return None
    # The next import has a segment too, which is among those that keep their own.
    segment = segments[len(segments) - keep]
    return segment.last_import if segment.first_import == segment.last_import else None


def compact(store: OpenStore) -> int:
    """Lay neighbouring segments together if there are many; return how many were laid together.

    Neighbours are taken from the newest on, as long as the next is not far larger, so that a row is
    written again only a few times in its life.
    """
    if not compaction_due(store):
        return 0
    old = store.segments()[: -store.settings().keep_imports]
    # Without the segments of the newest imports, which can still be undone.
    neighbours = [old.pop()]
    while old and (
        old[-1].rows <= 4 * sum(segment.rows for segment in neighbours) or len(neighbours) < 2
    ):
        neighbours.insert(0, old.pop())
    with store.transaction():
        _lay_together(store, neighbours)
    return len(neighbours)


def lay_together(scratch: Scratch, path: Path, change: str) -> None:
    """Lay older segments together after a change, so that later commands read fewer.

    Nothing is lost if there is no time for it. change: what was committed, for the message.
    """
    with (
        once_done(
            f"{change} is done",
            "older imports could not be laid together",
            "profilectl compact tries again",
            busy=True,
        ),
        open_store(scratch, path, write=True) as store,
    ):
        compact(store)


def to_lay_together(segments: Sequence[Segment], keep: int) -> Sequence[Segment]:
    """Return the segments that rewrite_compact lays together: all but the newest `keep`.

    A single segment is as it would be: it stays, and with it the undo of its import.
    """
    older = segments[: max(len(segments) - keep, 0)]
    return older if len(older) > 1 else ()


def rewrite_compact(
    store: OpenStore, keep: int, folder: Path, stays: Mapping[str, str]
) -> tuple[Path, list[Segment]]:
    """Write the store anew, with all segments but the newest `keep` laid together.

    Return the new file, which is in the folder, and its segments. `stays` is that of
    rewrite_store. The store itself is not touched: if this cannot be finished, imports can be
    undone as before. Raises StoreUnusable.
    """
    scratch, segments = store.scratch, store.segments()
    neighbours = to_lay_together(segments, keep)
    if not neighbours:
        return rewrite_store(scratch, store.path, folder, stays=stays or None), segments
    together, tables = _laid_together(store, neighbours)
    old = numbers(segment.number for segment in neighbours)

    def write_laid() -> None:
        for kind, rows in tables.items():
            write_table(
                scratch,
                f"rewritten.{kind}_{together.number}",
                kind=kind,
                rows=rows,
                size=together.rows,
            )
        store.put_segment(together, into="rewritten")

    remaining = select("*", "store.segment", both("", is_in("number not", old)))
    rewritten = rewrite_store(
        scratch,
        store.path,
        folder,
        stays={**stays, "segment": remaining},
        left_out=[f"{kind}_{segment.number}" for segment in neighbours for kind in segment.tables],
        more=write_laid,
    )
    return rewritten, [together, *segments[len(neighbours) :]]


def _lay_together(store: OpenStore, neighbours: Sequence[Segment]) -> None:
    together, tables = _laid_together(store, neighbours)
    for kind, rows in tables.items():
        write_table(store.scratch, together.table(kind), kind=kind, rows=rows, size=together.rows)
    for segment in neighbours:
        store.drop_segment(segment)
    store.put_segment(together)


def _laid_together(
    store: OpenStore, neighbours: Sequence[Segment]
) -> tuple[Segment, dict[str, str]]:
    """Return the segment that neighbours become, and the SELECT of each of its tables."""
    kinds = {kind for segment in neighbours for kind in segment.identities}
    together = Segment(
        number=store.next_segment(),
        first_import=neighbours[0].first_import,
        last_import=neighbours[-1].last_import,
        rows=sum(segment.rows for segment in neighbours),
        tables=tuple(dict.fromkeys(table for segment in neighbours for table in segment.tables)),
        # In the order of the types, as in the segment of an import.
        identities=tuple(kind for kind in CODE if kind in kinds),
        keys=tuple(dict.fromkeys(key for segment in neighbours for key in segment.keys)),
        mix=neighbours[0].mix,
    )
    tables = {}
    for kind, order in ORDER.items():
        if kind == "mpid" and together.holds_mpids:
            tables[kind] = select("*", f"({known_mpids(neighbours)})", f"order by {order}")
        elif kind in together.tables:
            parts = [
                f"({_renamed(store, segment, kind, together=together)})"
                for segment in neighbours
                if kind in segment.tables
            ]
            rows = " union all by name ".join(parts)
            tables[kind] = select("*", f"({rows})", f"order by {order}")
    if "index" in together.tables:
        # What a later import took away stays in the index: that import may be undone.
        identities = known_identities(
            neighbours, removals=store.removals(), until=together.last_import
        )
        tables["index"] = select("hash, profile, type", f"({identities})", "order by hash")
    return together, tables


def _renamed(store: OpenStore, segment: Segment, kind: str, together: Segment) -> str:
    """Return the SELECT of a segment's table with its attribute columns under the new names."""
    if kind not in ("row", "blocked"):
        return select("*", segment.table(kind))
    source = segment.table(kind)
    if kind == "row" and together.holds_mpids:
        source = f"({segment.stored_rows})"
    # A `blocked` table that was laid together has columns only for those segments in which cells
    # were refused.
    rows = store.scratch.rows(COLUMNS, {"table": f"{kind}_{segment.number}"})
    columns = {name for (name,) in rows}
    places = {
        f"a{place}": f"a{together.keys.index(key)}"
        for place, key in enumerate(segment.keys)
        if f"a{place}" in columns
    }
    if not places:
        return select("*", source)
    renamed = [f"{old} as {new}" for old, new in places.items()]
    return select([f"* exclude ({', '.join(places)})", *renamed], source)
