"""Segments laid together, so that few have to be read; no row is lost.

The newest imports keep segments of their own, so that they can be undone: the setting history.keep
says how many. Corrections made since do not count. Those between two imports are laid together
among themselves, and each can be taken out of their segment again.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from profilectl.rules.identity import BY_NAME, CODE
from profilectl.rules.sql import identities as identity_sql
from profilectl.rules.sql.identities import environment_name, identity_hash
from profilectl.store.copies import rewrite_store
from profilectl.store.opening import once_done, open_store
from profilectl.store.scratch import Scratch
from profilectl.store.segments import (
    MANY_SEGMENTS,
    Segment,
    both,
    is_final,
    known_identities,
    known_mpids,
    write_table,
)
from profilectl.store.statements import count_rows, is_in, numbers, reading, rows_of, select, union
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


# Corrections: of attributes (a content about whom somebody named), of identities, aliases, and what
# has only its name left, because it was of somebody who was erased.
CORRECTIONS = """
select number
from store.import
where number in (select unnest($numbers::integer[]))
  and (
    (request->>'modify') is not null
    or (request->>'alias') is not null
    or ((request->>'who') is not null and (request->>'content') is not null)
    or ((request->>'erased') is not null and (request->>'$.paths[0]') like '(%)')
  )
"""
IN_FORCE = """
select number
from store.import
where number >= $oldest and number <= $newest and undone_ms is null
order by number
"""
# An import that was made again has the arrivals that it had before.
TAKE_OUT = """
delete from {table}
where exists (
    select 1
    from store.import
    where number = $number
      and arrival >= first_arrival
      and arrival < first_arrival + arrivals
)
"""
CHANGE_SEGMENT = "update store.segment set tables = $tables, rows = $rows where number = $number"
RUN_ROOM = 3
"""How many segments the corrections between two imports may have before they are laid together:
each time writes all of them again.
"""


class Laid(NamedTuple):
    """Segments that are to become one."""

    neighbours: Sequence[Segment]
    """The segments, oldest first; fewer than two: nothing is to be done."""
    by_hand: bool
    """Whether all of them are of corrections: then each can still be undone."""


@dataclass(frozen=True, slots=True)
class StoreLayout:
    """The segments of a store, oldest first, cut where the imports begin that can be undone."""

    old: Sequence[Segment]
    """The segments before the newest imports."""
    recent: Sequence[Segment]
    """Those of the newest imports, and of the corrections since."""
    corrections: Collection[int]
    """The numbers of the segments that are of corrections only."""

    @property
    def runs(self) -> list[list[Segment]]:
        """Return the corrections between the newest imports, as far as they follow each other."""
        grouped = groupby(self.recent, key=lambda segment: segment.number in self.corrections)
        return [list(run) for is_of_corrections, run in grouped if is_of_corrections]

    @property
    def is_crowded(self) -> bool:
        """Return whether there are more segments than are read together without strain."""
        runs = self.runs
        apart = len(self.recent) - sum(map(len, runs)) + len(runs)
        most = max(MANY_SEGMENTS, apart + 2 + (RUN_ROOM if runs else 0))
        return len(self.old) + len(self.recent) > most

    def due(self) -> Laid:
        """Return the neighbours to be laid together, if there are too many segments.

        Corrections come first, because nothing becomes final by that. Neighbours are taken from the
        newest on, as long as the next is not far larger, so that a row is written again only a few
        times in its life.
        """
        if not self.is_crowded:
            return Laid([], by_hand=False)
        longest = max(self.runs, key=len, default=[])
        by_hand = len(longest) > 1
        older = list(longest if by_hand else self.old)
        neighbours: list[Segment] = []
        while older and (
            len(neighbours) < 2 or older[-1].rows <= 4 * sum(segment.rows for segment in neighbours)
        ):
            neighbours.insert(0, older.pop())
        return Laid(neighbours, by_hand=by_hand)


def layout_of(
    store: OpenStore, *, keep: int | None = None, more: Sequence[Segment] = ()
) -> StoreLayout:
    """Return the layout of a store.

    keep: how many of the last imports can be undone; None: as many as history.keep says.
    more: segments of imports that are not written yet.
    """
    segments = store.segments()
    own = [segment for segment in segments if segment.first_import == segment.last_import]
    numbers_of_own = [segment.first_import for segment in own]
    rows = store.scratch.rows(CORRECTIONS, {"numbers": numbers_of_own})
    by_hand = {number for (number,) in rows}
    corrections = {
        segment.number
        for segment in segments
        if segment.by_hand
        or (segment.first_import == segment.last_import and segment.first_import in by_hand)
    }
    corrections.update(segment.number for segment in more if segment.by_hand)
    most = store.settings().keep_imports if keep is None else keep
    segments += more
    places = [place for place, segment in enumerate(segments) if segment.number not in corrections]
    start = len(segments) if not most else places[-most] if len(places) >= most else 0
    return StoreLayout(segments[:start], segments[start:], corrections)


# The entry of an index for each identity of a row.
ENTRIES = """
select hash, profile, type, arrival, last_import
from (select {columns} from stored)
where value is not null
"""
NO_ENTRIES = """
select null::uhugeint as hash, null::bigint as profile, null::utinyint as type,
       null::bigint as arrival, null::integer as last_import
where false
"""
INDEX = "select hash, profile, type from entry"
# An identity that an import of the segment took away again is not in its index.
INDEX_OF_SEVERAL_IMPORTS = """
select hash, profile, type
from entry
where not exists (
    select 1
    from store.removed
    where removed.hash = entry.hash
      and removed.profile = entry.profile
      and removed.import <= entry.last_import
      and removed.arrival > entry.arrival
)
"""


def compaction_due(store: OpenStore) -> bool:
    """Return whether segments are to be laid together."""
    return len(store.segments()) > MANY_SEGMENTS and len(layout_of(store).due().neighbours) > 1


def next_final(store: OpenStore) -> int | None:
    """Return the newest import that the next one makes final; None: it makes none so.

    It and those before it cannot be undone after that.
    """
    if compaction_due(store):
        return None
    return max(final_after_import(store), default=None)


def compact(store: OpenStore) -> int:
    """Lay neighbouring segments together if there are many; return how many were laid together."""
    laid = layout_of(store).due()
    if len(laid.neighbours) < 2:
        return 0
    with store.transaction():
        _lay_together(store, laid)
    return len(laid.neighbours)


def final_after_import(store: OpenStore, *, by_hand: bool = False) -> list[int]:
    """Return the imports that an import more makes final: those that cannot be undone after it.

    by_hand: whether it is a correction.
    """
    segments = store.segments()
    # Its rows do not count: what is laid together is older, but for corrections.
    if len(segments) < MANY_SEGMENTS:
        return []
    number, _ = store.next_import()
    coming = replace(
        segments[-1],
        number=store.next_segment(),
        first_import=number,
        last_import=number,
        rows=1,
        by_hand=by_hand,
    )
    return _made_final(store, layout_of(store, more=[coming]).due())


def final_after_compaction(store: OpenStore, keep: int | None) -> list[int]:
    """Return the imports that `compact --keep` makes final; keep: as in layout_of."""
    return _made_final(store, Laid(layout_of(store, keep=keep).old, by_hand=False))


class BecomesFinal(UserWarning):
    """The warning that imports cannot be undone any more, before that is so."""


def warn_of_final(store: OpenStore, *, by_hand: bool = False) -> None:
    """Warn with BecomesFinal if an import more makes others final; called before it is written.

    by_hand: as in final_after_import.
    """
    final = final_after_import(store, by_hand=by_hand)
    if final:
        warnings.warn(
            f"{worded(final)} cannot be undone any more after this"
            f" (history.keep = {store.settings().keep_imports})",
            BecomesFinal,
            stacklevel=2,
        )


def worded(imports: Sequence[int]) -> str:
    """Return the numbers of imports for a sentence: "imports 1 to 3 and 5"."""
    spans: list[list[int]] = []
    for number in imports:
        if spans and number == spans[-1][-1] + 1:
            spans[-1].append(number)
        else:
            spans.append([number])
    parts = [
        f"{span[0]} to {span[-1]}" if len(span) > 2 else " and ".join(map(str, span))
        for span in spans
    ]
    listed = ", ".join(parts[:-1]) + f" and {parts[-1]}" if len(parts) > 1 else "".join(parts)
    return f"import{'s' if len(imports) > 1 else ''} {listed}"


def _made_final(store: OpenStore, laid: Laid) -> list[int]:
    """Return the imports in force that can be undone until some segments are laid together."""
    if len(laid.neighbours) < 2 or laid.by_hand:
        return []
    ends = {"oldest": laid.neighbours[0].first_import, "newest": laid.neighbours[-1].last_import}
    numbers_in_force = [number for (number,) in store.scratch.rows(IN_FORCE, ends)]
    return [number for number in numbers_in_force if not is_final(store.segments(), number)]


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


def rewrite_compact(
    store: OpenStore, keep: int | None, folder: Path, stays: Mapping[str, str]
) -> tuple[Path, list[Segment]]:
    """Write the store anew, with all segments before the newest `keep` imports laid together.

    Corrections between those imports are laid together among themselves. Return the new file, which
    is in the folder, and its segments. `stays` is that of rewrite_store. The store itself is not
    undone as before. Raises StoreUnusable.
    """
    scratch, layout = store.scratch, layout_of(store, keep=keep)
    every = [Laid(layout.old, by_hand=False), *(Laid(run, by_hand=True) for run in layout.runs)]
    every = [laid for laid in every if len(laid.neighbours) > 1]
    segments = store.segments()
    if not every:
        return rewrite_store(scratch, store.path, folder, stays=stays or None), segments
    number = store.next_segment()
    written = [_laid_together(store, laid, number=number + n) for n, laid in enumerate(every)]
    replaced = [segment for laid in every for segment in laid.neighbours]

    def write_laid() -> None:
        for together, tables in written:
            for kind, rows in tables.items():
                write_table(
                    scratch,
                    f"rewritten.{kind}_{together.number}",
                    kind=kind,
                    rows=rows,
                    size=together.rows,
                )
            store.put_segment(together, into="rewritten")

    old = numbers(segment.number for segment in replaced)
    remaining = select("*", "store.segment", both("", is_in("number not", old)))
    rewritten = rewrite_store(
        scratch,
        store.path,
        folder,
        stays={**stays, "segment": remaining},
        left_out=[f"{kind}_{segment.number}" for segment in replaced for kind in segment.tables],
        more=write_laid,
    )
    numbers_gone = {segment.number for segment in replaced}
    stay = [segment for segment in segments if segment.number not in numbers_gone]
    after = [*stay, *(together for together, _ in written)]
    return rewritten, sorted(after, key=lambda segment: segment.first_import)


def _lay_together(store: OpenStore, laid: Laid) -> None:
    together, tables = _laid_together(store, laid, number=store.next_segment())
    for kind, rows in tables.items():
        write_table(store.scratch, together.table(kind), kind=kind, rows=rows, size=together.rows)
    for segment in laid.neighbours:
        store.drop_segment(segment)
    store.put_segment(together)


def _laid_together(store: OpenStore, laid: Laid, *, number: int) -> tuple[Segment, dict[str, str]]:
    """Return the segment that neighbours become, and the SELECT of each of its tables."""
    neighbours = laid.neighbours
    kinds = {kind for segment in neighbours for kind in segment.identities}
    together = Segment(
        number=number,
        first_import=neighbours[0].first_import,
        last_import=neighbours[-1].last_import,
        rows=sum(segment.rows for segment in neighbours),
        tables=tuple(dict.fromkeys(table for segment in neighbours for table in segment.tables)),
        # In the order of the types, as in the segment of an import.
        identities=tuple(kind for kind in CODE if kind in kinds),
        keys=tuple(dict.fromkeys(key for segment in neighbours for key in segment.keys)),
        mix=neighbours[0].mix,
        by_hand=laid.by_hand,
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


def index_select(store: OpenStore, segment: Segment) -> str:
    """Return the SELECT of the index that a segment's rows make: hash, profile, type."""
    secret, environment = store.meta("secret"), environment_name()
    parts = [NO_ENTRIES]
    for kind in segment.identities:
        key = identity_sql.key(BY_NAME[kind], f"i_{kind}")
        columns = [
            f"{identity_hash(secret, environment, kind, key=key)} as hash",
            "profile",
            f"{CODE[kind]}::utinyint as type",
            "arrival",
            f"{segment.last_import} as last_import",
            f"i_{kind} as value",
        ]
        select = ENTRIES.format(columns=", ".join(columns))
        parts.append(reading(select, stored=rows_of(f"row_{segment.number}")))
    holds_several = segment.first_import != segment.last_import and store.removals()
    return reading(INDEX_OF_SEVERAL_IMPORTS if holds_several else INDEX, entry=union(parts))


def take_out(store: OpenStore, segment: Segment, numbers_out: Sequence[int]) -> None:
    """Take corrections out of a segment of corrections; called within a transaction.

    numbers_out: of the corrections, which are undone already: what they removed is there again.
    """
    scratch, there = store.scratch, segment.tables
    counts: dict[str, int] = {}
    for kind in there:
        if kind in ("index", "mpid"):
            continue
        for number in numbers_out:
            scratch.run(TAKE_OUT.format(table=segment.table(kind)), {"number": number})
        counts[kind] = count_rows(scratch, rows_of(f"{kind}_{segment.number}"))
    if not counts["row"]:
        store.drop_segment(segment)
        return
    for kind in there:
        if kind == "index" or not counts.get(kind, 1):
            scratch.run(f"drop table {segment.table(kind)}")
    tables = [kind for kind in there if counts.get(kind, kind == "mpid")]
    if segment.identities:
        index = select("*", f"({index_select(store, segment)})", "order by hash")
        with scratch.ordered():
            scratch.run(f"create table {segment.table('index')} as {index}")
        if count_rows(scratch, rows_of(f"index_{segment.number}")):
            tables.append("index")
        else:
            scratch.run(f"drop table {segment.table('index')}")
    bound = {"number": segment.number, "tables": tables, "rows": counts["row"]}
    scratch.run(CHANGE_SEGMENT, bound)
