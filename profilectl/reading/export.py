"""What a store holds, written as JSON lines, Parquet or CSV: streaming, of any size (design.md 4).

Profiles are read a stretch at a time, so that memory does not grow with the store.
"""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from profilectl.audiences.barred import in_force
from profilectl.codes import UsageError
from profilectl.files.sinks import Parquet, Parts, folder_of, packed, suffix_of, writer_of
from profilectl.files.whole_file import whole_file
from profilectl.profiles.read_model import Profiles, profiles_of
from profilectl.reading.extract import OWN, Extract, csv_line, extract_of, filled, narrowed
from profilectl.reading.retold_sql import Telling
from profilectl.reading.where import condition_of
from profilectl.rules.feed import ENVIRONMENTS
from profilectl.rules.sql.identities import environment_name
from profilectl.rules.sql.quoting import quote_identifier
from profilectl.rules.sql.values import held_as_cell
from profilectl.rules.text.naming import no_such
from profilectl.store.definitions import audience_defined
from profilectl.store.history import as_of, history_of, import_numbered
from profilectl.store.scratch import Scratch
from profilectl.store.segments import known_mpids
from profilectl.store.store import OpenStore

KINDS = ("profiles", "identities", "attributes", "batches", "imports")
STRETCH_CELLS = 3_000_000
"""So many cells, as far as can be told beforehand, are folded at once ..."""
STRETCHES = (10_000, 200_000)
"""... of so many profiles at least, and at most ..."""
WIDE_CELLS = 10_000_000
"""... but never more cells than these."""
BLOCK = 50_000
IMPORT_COLUMNS = (
    "import",
    "feed",
    "source",
    "protection",
    "environment",
    "started_ms",
    "finished_ms",
    "made_by",
    "undone_ms",
    "rows",
    "applied",
    "dropped",
    "rejected",
    "files",
)
IMPORT_NUMBERS = (
    "import",
    "started_ms",
    "finished_ms",
    "undone_ms",
    "rows",
    "applied",
    "dropped",
    "rejected",
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be exported, and how.

    where: a condition on profiles; fields: identities and attributes, all where empty; since:
    profiles touched after this import; touched_by: by this one; in_order: by MPID; partition_by: an
    attribute or "environment", whose values become folders; whole: also where each stands (opt-out,
    memberships, consent, devices); safe: a spreadsheet that opens the CSV runs nothing of it;
    with_mpid: batches name the MPID, so that they make the same profiles again; opt_outs: they say
    who has opted out; audience: only its members.
    """

    kind: str = "profiles"
    format: str = "jsonl"
    where: str | None = None
    fields: tuple[str, ...] = ()
    environment: str | None = None
    since: int | None = None
    touched_by: int | None = None
    in_order: bool = False
    provenance: bool = False
    whole: bool = False
    safe: bool = False
    with_mpid: bool = True
    opt_outs: bool = True
    partition_by: str | None = None
    max_rows: int | None = None
    compression: str | None = None
    audience: str | None = None

    def telling(self, *, times: bool = True) -> Telling:
        """Return how batches of it leave."""
        return Telling(self.with_mpid, times, self.opt_outs, not self.fields)


def check_wanted(wanted: Wanted) -> None:
    """Raise UsageError for what does not go together."""
    if wanted.kind not in KINDS:
        raise UsageError(
            f"{wanted.kind} is nothing that is exported", "what is: " + ", ".join(KINDS)
        )
    if wanted.provenance and (wanted.kind, wanted.format) != ("profiles", "jsonl"):
        raise UsageError(
            "--provenance goes with --format jsonl", "a CSV or Parquet cell holds the value alone"
        )
    if wanted.whole and (wanted.kind, wanted.format) != ("profiles", "jsonl"):
        raise UsageError("--whole goes with --format jsonl", "a cell holds no list of devices")
    if wanted.safe and wanted.format != "csv":
        raise UsageError("--safe-for-spreadsheets goes with --format csv")
    if wanted.kind == "batches" and wanted.format != "jsonl":
        raise UsageError("batches are JSON: --format jsonl")
    if wanted.fields and wanted.kind == "imports":
        raise UsageError("--fields goes with what people have, not with imports")
    if wanted.kind != "profiles" and set(OWN).intersection(wanted.fields):
        own = next(one for one in wanted.fields if one in OWN)
        raise UsageError(
            f"--fields {own}: is of every one of the {wanted.kind}",
            "name identities and attributes",
        )
    if wanted.in_order and (wanted.partition_by or wanted.max_rows):
        raise UsageError("--sorted goes with one file")


def export_to(
    store: OpenStore,
    wanted: Wanted,
    output: BinaryIO | Path,
    *,
    progress: Callable[[int], None] = lambda rows: None,
) -> int:
    """Write an export to a stream, a file, or (partition_by, max_rows) a folder; return how many
    rows or lines.

    Raises UsageError for what a format cannot hold, InputRefused where the path cannot be written.
    """
    check_wanted(wanted)
    if wanted.kind == "imports":
        return _export_imports(store, wanted, output)
    # Identities are the same in all workspaces: which is meant matters where one is named, or
    # something else is read as well.
    profiles = profiles_of(
        store,
        every=wanted.kind == "identities"
        and store.workspace is None
        and not (wanted.where or wanted.fields or wanted.partition_by),
    )
    profiles.only_seen = True
    profiles.tell_several()
    choose(profiles, wanted)
    if wanted.partition_by is not None:  # the folders have the attribute's own name
        wanted = replace(
            wanted, partition_by=profiles.meant(wanted.partition_by) or wanted.partition_by
        )
    group = _group(profiles, wanted)
    if wanted.fields:
        profiles = narrowed(profiles, wanted.fields)
    elif wanted.kind == "profiles" and wanted.format != "jsonl":  # a column is of what somebody has
        chosen = (
            "where profile in (select profile from chosen)" if store.scratch.has("chosen") else ""
        )
        profiles = filled(profiles, chosen, functools.partial(stretches, profiles))
    own = [one for one in OWN if one in wanted.fields] or OWN
    extract = extract_of(
        wanted.kind,
        profiles,
        provenance=wanted.provenance,
        whole=wanted.whole,
        telling=wanted.telling(),
        own=own,
    )
    if wanted.partition_by is None and wanted.max_rows is None:
        with _one(output, wanted, extract) as writer:
            return _pour(profiles, extract, wanted, writer, progress)
    if not isinstance(output, Path):
        raise UsageError("--partition-by and --max-rows-per-file write a folder", "name it with -o")
    parts = Parts(
        output,
        wanted.kind,
        wanted.max_rows,
        lambda stream: _writing(stream, wanted, extract),
        suffix_of(wanted.format, wanted.compression),
    )
    try:
        count = _pour_parts(profiles, extract, wanted, parts, group, progress)
        parts.finish()
    except BaseException:
        parts.abandon()
        raise
    return count


@contextlib.contextmanager
def _one(output: BinaryIO | Path, wanted: Wanted, extract: Extract) -> Iterator[Any]:
    if isinstance(output, Path):
        with whole_file(output) as stream, _writing(stream, wanted, extract) as writer:
            yield writer
    else:
        with _writing(output, wanted, extract) as writer:
            yield writer


@contextlib.contextmanager
def _writing(stream: BinaryIO, wanted: Wanted, extract: Extract) -> Iterator[Any]:
    with packed(stream, wanted.format, wanted.compression) as out:
        writer = writer_of(
            wanted.format, out, extract.columns, extract.numbers, compression=wanted.compression
        )
        try:
            yield writer
        finally:
            writer.close()


def choose(profiles: Profiles, wanted: Wanted) -> None:
    """Make `chosen`, the profiles that are wanted, where not all are."""
    scratch, tests = profiles.store.scratch, []
    scratch.drop("chosen")
    if wanted.environment:
        tests.append(
            f"profile in (select profile from ({known_mpids(profiles.segments)}) where environment = {ENVIRONMENTS.index(wanted.environment)})"
        )
    for first, end in touched_in(profiles.store, wanted):
        there = f"where arrival >= {first}" + (f" and arrival < {end}" if end is not None else "")
        touched = " union all ".join(
            f"select profile from {one.table('row')} {there}"
            for one in profiles.segments
            if "row" in one.tables
        )
        tests.append(
            f"profile in ({touched or 'select null'} union all select profile from store.removed {there} union all {_aliased(profiles, wanted, first)})"
        )
    if wanted.audience is not None:
        audience = audience_defined(profiles.store, wanted.audience)
        members = in_force(
            profiles,
            time.time_ns() // 1_000_000,
            f"where audience = {audience.number}",
            wanted=[audience],
        )
        tests.append(f"profile in (select profile from ({members}))")
    if wanted.where is not None:
        condition = condition_of(wanted.where, profiles)
        met = [
            f"select profile from ({profiles.folded(condition.keys, stretch)}) where {condition.sql}"
            for stretch in stretches(profiles, len(condition.keys) + len(profiles.identities))
        ]
        scratch.load("met", [("profile", "bigint")], [])
        for select in met:
            scratch.run(f"insert into met {select}")
        tests.append("profile in (select profile from met)")
    if tests:
        scratch.make(
            "chosen",
            f"select profile from ({known_mpids(profiles.segments)}) where {' and '.join(tests)}",
        )


def touched_in(store: OpenStore, wanted: Wanted) -> list[tuple[int, int | None]]:
    """Return the arrivals, from one to before another, that a profile must have been touched by.

    Raises InputRefused.
    """
    found: list[tuple[int, int | None]] = []
    if wanted.since is not None:
        found.append((as_of(store, str(wanted.since)), None))
    if wanted.touched_by is not None:
        end = as_of(store, str(wanted.touched_by))
        found.append((import_numbered(store, wanted.touched_by).first_arrival, end))
    return found


def _aliased(profiles: Profiles, wanted: Wanted, first: int) -> str:
    """Return the SELECT of the profiles that an alias has changed since an import: it was asked for
    since, or has taken effect since.
    """
    if wanted.since is None:
        return "select null"
    done_ms = (
        f"coalesce((select max(finished_ms) from store.import where first_arrival < {first}), 0)"
    )
    in_force = ", ".join(str(one.destination) for one in profiles.aliases if one.in_force) or "null"
    return f"select destination from store.alias where arrival >= {first} or (due_ms > {done_ms} and destination in ({in_force}))"


def _group(profiles: Profiles, wanted: Wanted) -> Callable[[str], str] | None:
    """Return the SELECT of (profile, value) that parts an export into folders."""
    key = wanted.partition_by
    if key is None:
        return None
    if key == "environment":
        return lambda where: (
            f"select profile, {environment_name()} as value from ({profiles.folded([], where)})"
        )
    if not profiles.has(key):
        known = (*profiles.names(), "environment")
        raise no_such("attribute", key, known, option="--partition-by", lists="profilectl stats")
    return lambda where: (
        f"select profile, {held_as_cell('v0')} as value from ({profiles.folded([key], where)})"
    )


def stretches(
    profiles: Profiles, cells: int, begin: int = 0, end: int | None = None
) -> Iterator[str]:
    """Return conditions that part the profiles into stretches, oldest first.

    cells: so many a profile may have; begin, end: only profiles from the one and before the other.
    """
    if end is None:
        _, end = profiles.store.next_import()
    chosen = (
        " and profile in (select profile from chosen)"
        if profiles.store.scratch.has("chosen")
        else ""
    )
    least, most = STRETCHES
    least = min(least, WIDE_CELLS // max(cells, 1))
    size = min(max(STRETCH_CELLS // max(cells, 1), least, 1), most)
    for start in range(begin, end, size):
        yield f"where profile between {start} and {min(start + size, end) - 1}{chosen}"


def _select(extract: Extract, wanted: Wanted, where: str) -> tuple[str, int]:
    """Return the SELECT of a stretch, and how many of its columns leave."""
    if wanted.format == "jsonl":
        return extract.lines(where), 1
    assert extract.rows is not None
    if wanted.format == "csv":
        line = csv_line(extract.in_sql, extract.numbers, safe=wanted.safe, listed=extract.listed)
        return (
            f"select _mpid, {ORDER[wanted.kind]}, {line} as _line from ({extract.rows(where)})",
            1,
        )
    return extract.rows(where), len(extract.columns)


def _leaving(extract: Extract, wanted: Wanted) -> str:
    if wanted.format == "csv":
        return "_line"
    return "line" if wanted.format == "jsonl" else ", ".join(map(quote_identifier, extract.in_sql))


ORDER = {
    "profiles": "_profile",
    "identities": "_profile, type, value",
    "attributes": "_profile, attribute",
    "batches": "_profile, _arrival",
}
ORDER_OF_LINES = {
    "profiles": "_profile",
    "identities": "_profile, line",
    "attributes": "_profile, line",
    "batches": "_profile, _arrival",
}


def _pour(
    profiles: Profiles,
    extract: Extract,
    wanted: Wanted,
    writer: Any,
    progress: Callable[[int], None],
) -> int:
    scratch, count = profiles.store.scratch, 0
    leaving = _leaving(extract, wanted)
    order = (ORDER_OF_LINES if wanted.format == "jsonl" else ORDER)[wanted.kind]
    if wanted.in_order:
        for place, where in enumerate(stretches(profiles, extract.cells)):
            select, _ = _select(extract, wanted, where)
            if not place:
                scratch.make("export_row", f"select * from ({select}) limit 0")
            scratch.run(f"insert into export_row {select}")
        if not scratch.has("export_row"):
            return 0
        by = order.replace(
            "_profile",
            "_mpid, "
            + ("line" if wanted.format == "jsonl" and wanted.kind != "batches" else "_profile"),
        )
        count = _drain(
            scratch, f"select {leaving} from export_row order by {by}", writer, progress, 0
        )
        scratch.drop("export_row")
        return count
    for where in stretches(profiles, extract.cells):
        select, _ = _select(extract, wanted, where)
        count = _drain(
            scratch, f"select {leaving} from ({select}) order by {order}", writer, progress, count
        )
    return count


def _drain(
    scratch: Scratch, select: str, writer: Any, progress: Callable[[int], None], count: int
) -> int:
    if isinstance(writer, Parquet):
        relation = scratch.connection.sql(select)
        if len(relation.columns) == writer.width:
            count += writer.write_table(relation.to_arrow_table())
            progress(count)
            return count
    cursor = scratch.connection.execute(select)
    while block := cursor.fetchmany(BLOCK):
        writer.write(block)
        count += len(block)
        progress(count)
    return count


def _pour_parts(
    profiles: Profiles,
    extract: Extract,
    wanted: Wanted,
    parts: Parts,
    group: Callable[[str], str] | None,
    progress: Callable[[int], None],
) -> int:
    scratch, count = profiles.store.scratch, 0
    leaving = _leaving(extract, wanted)
    order = (ORDER_OF_LINES if wanted.format == "jsonl" else ORDER)[wanted.kind]
    for where in stretches(profiles, extract.cells):
        select, _ = _select(extract, wanted, where)
        if group is None:
            rows = f"select {leaving}, null as _group from ({select}) order by {order}"
        else:
            rows = f"select {leaving}, _value as _group from ({select}) left join (select profile as _p, value as _value from ({group(where)})) on _p = _profile order by _value nulls last, {order}"
        cursor = scratch.connection.execute(rows)
        while block := cursor.fetchmany(BLOCK):
            start = 0
            for place in range(1, len(block) + 1):
                if place == len(block) or block[place][-1] != block[start][-1]:
                    value = block[start][-1]
                    parts.write(
                        [row[:-1] for row in block[start:place]],
                        folder_of(str(wanted.partition_by), value) if group else "",
                    )
                    start = place
            count += len(block)
            progress(count)
    return count


def _export_imports(store: OpenStore, wanted: Wanted, output: BinaryIO | Path) -> int:
    """Write the history: one line or row for each import."""
    rows: list[list[Any]] = []
    if wanted.since:
        import_numbered(store, wanted.since)
    for past in history_of(store):
        if wanted.since is not None and past.number <= wanted.since:
            continue
        if wanted.format == "jsonl":
            rows.append([orjson.dumps(past.as_json()).decode()])
            continue
        counts = past.report["rows"]
        cells = (
            past.number, past.feed, past.source, past.protection, past.environment, past.started_ms, past.finished_ms, past.made_by, past.undone_ms,
            counts["read"], counts["applied"], counts["dropped"], counts["rejected"], "\n".join(file["path"] for file in past.report["files"]),
        )  # fmt: skip
        rows.append(list(cells))
    if wanted.format == "csv":
        store.scratch.load(
            "past",
            [
                ("place", "BIGINT"),
                *(
                    (name, "BIGINT" if name in IMPORT_NUMBERS else "VARCHAR")
                    for name in IMPORT_COLUMNS
                ),
            ],
            [[place, *row] for place, row in enumerate(rows)],
        )
        line = csv_line(IMPORT_COLUMNS, IMPORT_NUMBERS, safe=wanted.safe)
        rows = [list(row) for row in store.scratch.rows(f"select {line} from past order by place")]
    with _one(
        output, wanted, Extract(IMPORT_COLUMNS, None, lambda where: where, IMPORT_NUMBERS)
    ) as writer:
        writer.write(rows)
    return len(rows)
