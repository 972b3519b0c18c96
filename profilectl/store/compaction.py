"""Segments laid together, so that few are read; nothing is forgotten, rows stay rows.

The newest imports keep segments of their own, so that they can be taken back: the setting
history.keep says how many.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from profilectl.rules.identity import CODE
from profilectl.store.copies import rewrite_store
from profilectl.store.segments import Segment, known_identities, write_table
from profilectl.store.store import OpenStore

MANY_SEGMENTS = 12
"""So many segments are read together without strain; beyond, small neighbours are laid together."""
ORDER = {
    "row": "profile, arrival",
    "mpid": "mpid",
    "loose": "profile, arrival",
    "blocked": "profile, arrival",
    "blocked_loose": "profile, arrival",
    "rest": "profile, arrival",
    "event": "profile, arrival, place",
}
"""How the rows of each kind of table lie; an index lies by hash."""


def compaction_due(store: OpenStore) -> bool:
    """Say whether there are more segments than are read together without strain."""
    return len(store.segments()) > max(MANY_SEGMENTS, store.settings().keep_imports + 2)


def compact(store: OpenStore) -> int:
    """Lay neighbouring segments together where there are many; return how many were laid together.

    Neighbours are taken from the newest on, as long as the next is not far larger, so that a row is
    written again only a few times in its life.
    """
    if not compaction_due(store):
        return 0
    old = store.segments()[: -store.settings().keep_imports]
    taken = [old.pop()]
    while old and (old[-1].rows <= 4 * sum(one.rows for one in taken) or len(taken) < 2):
        taken.insert(0, old.pop())
    with store.transaction():
        _lay_together(store, taken)
    return len(taken)


def rewrite_compact(
    store: OpenStore, keep: int, folder: Path, stays: Mapping[str, str]
) -> tuple[Path, list[Segment]]:
    """Write the store anew in a folder, with all segments but the newest `keep` laid together;
    return the new file, and its segments. stays: as rewrite_store has it.

    The store itself is not touched: what cannot be written to its end has taken nothing from those
    who may want to undo. Raises StoreUnusable.
    """
    scratch, segments = store.scratch, store.segments()
    taken = segments[: max(len(segments) - keep, 0)]
    if len(taken) < 2:
        return rewrite_store(scratch, store.path, folder, stays or None), segments
    made, tables = _laid_together(store, taken)
    numbers = ", ".join(str(one.number) for one in taken)

    def write_laid() -> None:
        for kind, select in tables.items():
            write_table(scratch, f"rewritten.{kind}_{made.number}", kind, select)
        store.put_segment(made, into="rewritten")

    rewritten = rewrite_store(
        scratch,
        store.path,
        folder,
        {**stays, "segment": f"select * from store.segment where number not in ({numbers})"},
        gone=[f"{kind}_{one.number}" for one in taken for kind in one.tables],
        more=write_laid,
    )
    return rewritten, [made, *segments[len(taken) :]]


def _lay_together(store: OpenStore, taken: Sequence[Segment]) -> None:
    made, tables = _laid_together(store, taken)
    for kind, select in tables.items():
        write_table(store.scratch, made.table(kind), kind, select)
    for one in taken:
        store.drop_segment(one)
    store.put_segment(made)


def _laid_together(store: OpenStore, taken: Sequence[Segment]) -> tuple[Segment, dict[str, str]]:
    """Return the segment that others become, and the SELECT of each of its tables."""
    there = {kind for one in taken for kind in one.identities}
    # in their own order, as an import has them
    identities = tuple(kind for kind in CODE if kind in there)
    keys = tuple(dict.fromkeys(key for one in taken for key in one.keys))
    tables = tuple(dict.fromkeys(table for one in taken for table in one.tables))
    made = Segment(
        store.next_segment(),
        taken[0].first_import,
        taken[-1].last_import,
        sum(one.rows for one in taken),
        tables,
        identities,
        keys,
    )
    selects = {}
    for kind, order in ORDER.items():
        if kind in tables:
            parts = [_renamed(store, one, kind, made) for one in taken if kind in one.tables]
            selects[kind] = f"select * from ({' union all by name '.join(parts)}) order by {order}"
    if "index" in tables:
        # What a later import took away stays in the index: that import may be taken back.
        known = known_identities(taken, removals=store.removals(), until=made.last_import)
        selects["index"] = f"select hash, profile, type from ({known}) order by hash"
    return made, selects


def _renamed(store: OpenStore, one: Segment, kind: str, made: Segment) -> str:
    """Return the SELECT of a segment's table with its attribute columns under the new names."""
    if kind not in ("row", "blocked"):
        return f"(select * from {one.table(kind)})"
    # A table of refused cells that was laid together has the columns of those segments alone that
    # refused any.
    there = {
        name
        for (name,) in store.scratch.rows(
            "select column_name from duckdb_columns() where database_name = 'store' and table_name = $table",
            {"table": f"{kind}_{one.number}"},
        )
    }
    places = {
        f"a{place}": f"a{made.keys.index(key)}"
        for place, key in enumerate(one.keys)
        if f"a{place}" in there
    }
    if not places:
        return f"(select * from {one.table(kind)})"
    renamed = ", ".join(f"{old} as {new}" for old, new in places.items())
    return f"(select * exclude ({', '.join(places)}), {renamed} from {one.table(kind)})"
