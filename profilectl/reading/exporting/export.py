"""Write what a store holds as JSON lines, Parquet or CSV, in a stream of any size.

Profiles are read a stretch at a time, so that memory does not grow with the store.
"""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from profilectl.audiences.barred import in_force
from profilectl.codes import UsageError
from profilectl.files import progress as at_work
from profilectl.files.sinks import (
    Parquet,
    Parts,
    RowWriter,
    TextLines,
    folder_of,
    packed,
    parts_in,
    suffix_of,
    writer_of,
)
from profilectl.files.whole_file import whole_file
from profilectl.profiles.read_model import Profiles, profiles_of
from profilectl.reading.exporting.csv_text import csv_line
from profilectl.reading.exporting.exported_fields import filled, narrowed
from profilectl.reading.exporting.extract import (
    OWN,
    Extract,
    extract_of,
    import_extract,
    import_rows,
)
from profilectl.reading.exporting.how_far import AMONG_CHOSEN, told
from profilectl.reading.exporting.long_texts import LongTexts, TextForm
from profilectl.reading.exporting.retold_sql import Telling
from profilectl.reading.exporting.single_rows import tell_others
from profilectl.reading.where import condition_of
from profilectl.rules.feed import ENVIRONMENTS
from profilectl.rules.sql.held_values import held_as_cell
from profilectl.rules.sql.identities import environment_name
from profilectl.rules.sql.quoting import quote_identifier
from profilectl.rules.text.naming import no_such
from profilectl.store.definitions import audience_defined
from profilectl.store.engine import relation_of
from profilectl.store.history import as_of, import_numbered
from profilectl.store.segments import known_mpids
from profilectl.store.statements import over_each, reading, union
from profilectl.store.store import OpenStore

KINDS = ("profiles", "identities", "attributes", "batches", "imports")
STRETCH_CELLS = 3_000_000
"""How many cells are folded at once, as far as can be told beforehand."""
STRETCHES = (10_000, 200_000)
"""How many profiles are folded at once: at least, and at most."""
WIDE_CELLS = 10_000_000
"""How many cells are folded at once at most, even if these are of fewer profiles than at least."""
BLOCK = 50_000
"""How many rows are fetched at once."""
TEXTS_AT_ONCE = 4_000
"""How many texts are written at once: few enough to lie in the cache of a processor."""
CELLS_OF_A_TEXT = 3
"""How many cells take as much memory as one that is part of a text."""
ANY_ARRIVAL = 2**62
"""An arrival after all others."""

# The order in which rows, and lines, of each kind leave.
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
# A CSV line of each row, with what it is sorted by.
CSV_LINES = "select _mpid, {columns} as _line from exported"
NO_ROWS = "select * from exported limit 0"
WITHOUT_GROUP = "select *, null as _group from exported"
IN_GROUPS = """
select exported.*, parted.value as _group
from exported
left join parted on parted.profile = exported._profile
"""
GROUP_VALUES = "select profile, {columns} as value from folded"

# Profiles are chosen one condition after another.
CHOSEN = "select profile from candidate where profile in (select profile from matching)"
OF_ENVIRONMENT = "select profile from named where environment = $environment"
ROWS_BETWEEN = "select profile from stored where arrival >= $start and arrival < $end"
REMOVALS_BETWEEN = """
select profile
from store.removed
where arrival >= $start and arrival < $end
"""
# An alias counts if it was asked for since then, or has taken effect since then.
ALIASED_SINCE = """
select destination as profile
from store.alias
where arrival >= $start
   or (
    due_ms > coalesce(
        (select max(finished_ms) from store.import where first_arrival < $start), 0
    )
    and destination in (select unnest($destinations::bigint[]))
   )
"""


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """A request for an export: of what, and in which form."""

    kind: str = "profiles"
    """One of KINDS."""
    format: str = "jsonl"
    """jsonl, csv or parquet."""
    where: str | None = None
    """A condition on profiles (where.py)."""
    fields: tuple[str, ...] = ()
    """The identities and attributes that leave; all, where it is empty."""
    environment: str | None = None
    """Only profiles of this environment."""
    since: int | None = None
    """Only profiles touched after this import."""
    touched_by: int | None = None
    """Only profiles touched by this import."""
    in_order: bool = False
    """Whether it is sorted by MPID."""
    provenance: bool = False
    """Whether each attribute has where it came from."""
    whole: bool = False
    """Whether each profile also has where it stands: opt-out, memberships, consent, devices."""
    safe: bool = False
    """Whether a spreadsheet that opens the CSV must run nothing of it."""
    with_mpid: bool = True
    """Whether batches name the MPID, so that they make the same profiles again."""
    opt_outs: bool = True
    """Whether batches say who has opted out."""
    partition_by: str | None = None
    """An attribute or "environment", whose values become folders."""
    max_rows: int | None = None
    """How many rows a file has at most: further rows go into further files of a folder."""
    compression: str | None = None
    """How the file is packed."""
    audience: str | None = None
    """Only members of this audience."""

    def telling(self, *, times: bool = True) -> Telling:
        """Return how batches of it leave."""
        return Telling(
            mpid=self.with_mpid, times=times, opt_outs=self.opt_outs, all_of_it=not self.fields
        )


def check_wanted(request: ExportRequest) -> None:
    """Check that the parts of a request go together. Raises UsageError."""
    if request.kind not in KINDS:
        raise UsageError(
            f"{request.kind} is nothing that is exported", "what is: " + ", ".join(KINDS)
        )
    _check_format(request)
    if request.fields and request.kind == "imports":
        raise UsageError("--fields goes with what people have, not with imports")
    if request.kind != "profiles" and set(OWN).intersection(request.fields):
        own = next(name for name in request.fields if name in OWN)
        raise UsageError(
            f"--fields {own}: is of every one of the {request.kind}",
            "name identities and attributes",
        )
    if request.in_order and (request.partition_by or request.max_rows):
        raise UsageError("--sorted goes with one file")


def _check_format(request: ExportRequest) -> None:
    is_document = (request.kind, request.format) == ("profiles", "jsonl")
    if request.provenance and not is_document:
        raise UsageError(
            "--provenance goes with --format jsonl", "a CSV or Parquet cell holds the value alone"
        )
    if request.whole and not is_document:
        raise UsageError("--whole goes with --format jsonl", "a cell holds no list of devices")
    if request.safe and request.format != "csv":
        raise UsageError("--safe-for-spreadsheets goes with --format csv")
    if request.kind == "batches" and request.format != "jsonl":
        raise UsageError("batches are JSON: --format jsonl")


def export_to(
    store: OpenStore,
    request: ExportRequest,
    output: BinaryIO | Path,
    *,
    progress: Callable[[int], None] = lambda rows: None,
) -> int:
    """Write an export, and return how many rows or lines it has.

    It goes to a stream or a file, with partition_by or max_rows to a folder. Raises UsageError for
    what a format cannot hold, InputRefused where the path cannot be written.
    """
    check_wanted(request)
    if request.kind == "imports":
        rows = import_rows(store, since=request.since, format=request.format, safe=request.safe)
        with _one_file(output, request, import_extract()) as writer:
            writer.write(rows)
        return len(rows)
    at_work.step("choosing")
    profiles = _profiles_to_export(store, request)
    if request.partition_by is not None:  # the folders have the attribute's own name
        key = profiles.meant(request.partition_by) or request.partition_by
        request = replace(request, partition_by=key)
    group = _group(profiles, request)
    if request.fields:
        profiles = narrowed(profiles, request.fields)
    elif request.kind == "profiles" and request.format != "jsonl":
        # There is a column only for what somebody has.
        is_chosen = "where profile in (select profile from chosen)"
        condition = is_chosen if store.scratch.has("chosen") else ""
        profiles = filled(profiles, condition, functools.partial(stretches, profiles))
    extract = extract_of(
        request.kind,
        profiles,
        provenance=request.provenance,
        whole=request.whole,
        telling=request.telling(),
        own=[name for name in OWN if name in request.fields] or OWN,
    )
    pouring = _Pouring(profiles, extract, request, progress=_Progress(progress))
    at_work.step("exporting")
    if request.partition_by is None and request.max_rows is None:
        with _one_file(output, request, extract) as writer:
            return pouring.into(writer)
    if not isinstance(output, Path):
        raise UsageError("--partition-by and --max-rows-per-file write a folder", "name it with -o")
    return _into_folder(pouring, output, group)


def _profiles_to_export(store: OpenStore, request: ExportRequest) -> Profiles:
    """Return the read model of an export, and choose the profiles that are wanted.

    Identities are the same in all workspaces: it matters which workspace it is only where one is
    named, or something else is read as well.
    """
    reads_more = bool(request.where or request.fields or request.partition_by)
    profiles = profiles_of(
        store, every=request.kind == "identities" and store.workspace is None and not reads_more
    )
    profiles.only_seen = True
    tell_others(profiles)
    choose(profiles, request)
    return profiles


@contextlib.contextmanager
def _one_file(
    output: BinaryIO | Path, request: ExportRequest, extract: Extract
) -> Iterator[RowWriter]:
    if isinstance(output, Path):
        with whole_file(output) as stream, _writing(stream, request, extract) as writer:
            yield writer
    else:
        with _writing(output, request, extract) as writer:
            yield writer


@contextlib.contextmanager
def _writing(stream: BinaryIO, request: ExportRequest, extract: Extract) -> Iterator[RowWriter]:
    with packed(stream, request.format, request.compression) as out:
        writer = writer_of(
            request.format,
            out,
            columns=extract.columns,
            numbers=extract.numbers,
            compression=request.compression,
        )
        try:
            yield writer
        finally:
            writer.close()


def choose(profiles: Profiles, request: ExportRequest) -> None:
    """Make `chosen`, the profiles that are wanted, unless all are."""
    scratch = profiles.store.scratch
    scratch.drop("chosen")
    if request.environment:
        named = reading(OF_ENVIRONMENT, named=known_mpids(profiles.segments))
        _narrow(profiles, named, {"environment": ENVIRONMENTS.index(request.environment)})
    for start, end in touched_in(profiles.store, request):
        _choose_touched(profiles, start, end, aliases=request.since is not None)
    if request.audience is not None:
        audience = audience_defined(profiles.store, request.audience)
        of_audience = f"where audience = {audience.number}"
        now_ms = time.time_ns() // 1_000_000
        _narrow(profiles, in_force(profiles, now_ms, of_audience, wanted=[audience]))
    if request.where is not None:
        condition = condition_of(request.where, profiles)
        scratch.load("met", [("profile", "bigint")], [])
        cells = len(condition.keys) + len(profiles.identities)
        for stretch in list(stretches(profiles, cells)):
            folded = profiles.folded(condition.keys, stretch)
            select = f"select profile from ({folded}) where {condition.sql}"
            scratch.run(f"insert into met {select}")
        _narrow(profiles, "select profile from met")


def _narrow(profiles: Profiles, matching: str, bound: dict[str, object] | None = None) -> None:
    """Narrow `chosen`, or all profiles, to those of a SELECT."""
    scratch = profiles.store.scratch
    is_narrowed = scratch.has("chosen")
    candidate = "select profile from chosen" if is_narrowed else known_mpids(profiles.segments)
    scratch.make("newly_chosen", reading(CHOSEN, candidate=candidate, matching=matching), bound)
    scratch.rename("newly_chosen", "chosen")


def _choose_touched(profiles: Profiles, start: int, end: int | None, *, aliases: bool) -> None:
    """Narrow `chosen` to the profiles that were touched from an arrival to before another.

    `aliases` is whether the destinations of aliases since then count as well.
    """
    bound: dict[str, object] = {"start": start, "end": ANY_ARRIVAL if end is None else end}
    tables = [f"row_{segment.number}" for segment in profiles.segments if "row" in segment.tables]
    # a profile that lost an identity to another was touched too
    touched = [over_each(ROWS_BETWEEN, tables, nothing=REMOVALS_BETWEEN)]
    if aliases:
        touched.append(ALIASED_SINCE)
        bound["destinations"] = [alias.destination for alias in profiles.aliases if alias.in_force]
    _narrow(profiles, union(touched), bound)


def touched_in(store: OpenStore, request: ExportRequest) -> list[tuple[int, int | None]]:
    """Return the spans of arrivals in each of which a profile must have been touched.

    A span is from an arrival to before another; None: without end. Raises UsageError, InputRefused.
    """
    spans: list[tuple[int, int | None]] = []
    if request.since is not None:
        spans.append((as_of(store, str(request.since)), None))
    if request.touched_by is not None:
        end = as_of(store, str(request.touched_by))
        spans.append((import_numbered(store, request.touched_by).first_arrival, end))
    return spans


def _group(profiles: Profiles, request: ExportRequest) -> Callable[[str], str] | None:
    """Return the function that makes the SELECT of (profile, value), the folder of each profile."""
    key = request.partition_by
    if key is None:
        return None
    if key != "environment" and not profiles.has(key):
        names = (*profiles.names(), "environment")
        raise no_such("attribute", key, names, option="--partition-by", lists="profilectl stats")
    keys = [] if key == "environment" else [key]
    value = held_as_cell("v0") if keys else environment_name()
    select = GROUP_VALUES.format(columns=value)
    return lambda condition: reading(select, folded=profiles.folded(keys, condition))


def stretches(
    profiles: Profiles, cells: int, begin: int = 0, end: int | None = None
) -> Iterator[str]:
    """Yield the WHERE clauses that part the profiles into stretches, oldest first.

    `cells` is how many cells a profile may have; only profiles from `begin` to before `end` are in
    the stretches.
    """
    if end is None:
        _, end = profiles.store.next_import()
    chosen = AMONG_CHOSEN if profiles.store.scratch.has("chosen") else ""
    least, most = STRETCHES
    least = min(least, WIDE_CELLS // max(cells, 1))
    size = min(max(STRETCH_CELLS // max(cells, 1), least, 1), most)
    for start in range(begin, end, size):
        yield f"where profile between {start} and {min(start + size, end) - 1}{chosen}"


@dataclass(slots=True)
class _Progress:
    """How many rows of an export have left."""

    report: Callable[[int], None]
    """It is called with the number at each change."""
    rows: int = 0
    """How many have left."""

    def add(self, rows: int) -> None:
        """Count rows that have left."""
        self.rows += rows
        self.report(self.rows)
        at_work.rows(self.rows)


@dataclass(frozen=True)
class _Pouring:
    """An export on its way into a writer, a stretch of profiles at a time."""

    profiles: Profiles
    """The read model."""
    extract: Extract
    """What leaves."""
    request: ExportRequest
    """How it leaves."""
    progress: _Progress
    """How many rows have left."""

    @property
    def _is_lines(self) -> bool:
        return self.request.format == "jsonl"

    @functools.cached_property
    def texts(self) -> LongTexts | None:
        """The texts of whole profiles that leave, where these are quicker than lines."""
        if self.request.format == "parquet" or self.extract.texts is None:
            return None
        form = TextForm(self.request.format, self.request.safe)
        texts = self.extract.texts(form, self._order, self._select)
        return texts if texts.is_quick else None

    @property
    def _leaving(self) -> str:
        """The columns that leave, as SQL lists them."""
        if self.request.format == "csv":
            return "_line"
        if self._is_lines:
            return "line"
        return ", ".join(map(quote_identifier, self.extract.in_sql))

    @property
    def _order(self) -> str:
        return (ORDER_OF_LINES if self._is_lines else ORDER)[self.request.kind]

    @property
    def _order_by_mpid(self) -> str:
        by_line = self._is_lines and self.request.kind != "batches"
        return self._order.replace("_profile", "_mpid, line" if by_line else "_mpid, _profile")

    def _select(self, condition: str) -> str:
        """Return the SELECT of a stretch."""
        if self._is_lines:
            return self.extract.lines(condition)
        assert self.extract.rows is not None
        rows = self.extract.rows(condition)
        if self.request.format != "csv":
            return rows
        line = csv_line(
            self.extract.in_sql,
            self.extract.numbers,
            safe=self.request.safe,
            listed=self.extract.listed,
        )
        columns = f"{ORDER[self.request.kind]}, {line}"
        return reading(CSV_LINES.format(columns=columns), exported=rows)

    def _stretches(self) -> Iterator[str]:
        """Yield the conditions of the stretches that leave as `_whole` has them."""
        cells = self.extract.cells // CELLS_OF_A_TEXT if self.texts else self.extract.cells
        return stretches(self.profiles, cells)

    def _whole(self, condition: str) -> str:
        """Return the SELECT of a stretch for a single file: lines may come as texts of several."""
        return self.texts.select(condition) if self.texts else self._select(condition)

    def _sorted_whole(self, order: str, exported: str) -> str:
        """Return the SELECT of what leaves in order; lines have their ends."""
        columns = self._leaving
        if self.texts:
            columns = "text, rows"
        elif self.request.format != "parquet":
            columns = f"{columns} || chr(10) as text"
        return _sorted(columns, order, exported)

    def _told(self, conditions: Iterable[str], until: float = 1) -> Iterator[str]:
        line_each = self.request.kind == "profiles"
        return told(self.profiles, conditions, until=until, line_each=line_each)

    def into(self, writer: RowWriter) -> int:
        """Write all rows; return how many."""
        if self.request.in_order:
            return self._into_sorted(writer)
        order = "_profile" if self.texts else self._order
        for condition in self._told(self._stretches()):
            _drain(self, self._sorted_whole(order, self._whole(condition)), writer)
        return self.progress.rows

    def _into_sorted(self, writer: RowWriter) -> int:
        """Write all rows in the order of MPIDs, for which all are read before the first leaves."""
        scratch = self.profiles.store.scratch
        for place, condition in enumerate(self._told(self._stretches(), until=0.5)):
            select = self._whole(condition)
            if not place:
                scratch.make("export_row", reading(NO_ROWS, exported=select))
            scratch.run(f"insert into export_row {select}")
        if not scratch.has("export_row"):
            return 0
        order = "_mpid, _profile" if self.texts else self._order_by_mpid
        _drain(self, self._sorted_whole(order, "select * from export_row"), writer)
        scratch.drop("export_row")
        return self.progress.rows

    def into_parts(self, parts: Parts, group: Callable[[str], str] | None) -> int:
        """Write all rows into files of a folder; return how many.

        `group` makes the SELECT of the value that names the folder of each profile.
        """
        order = f"_group nulls last, {self._order}" if group else self._order
        for condition in self._told(stretches(self.profiles, self.extract.cells)):
            rows = self._select(condition)
            if group is None:
                grouped = reading(WITHOUT_GROUP, exported=rows)
            else:
                grouped = reading(IN_GROUPS, exported=rows, parted=group(condition))
            select = _sorted(f"{self._leaving}, _group", order, grouped)
            result = self.profiles.store.scratch.connection.execute(select)
            while block := result.fetchmany(BLOCK):
                for value, rows_of_group in _groups(block):
                    key = str(self.request.partition_by)
                    parts.write(rows_of_group, folder_of(key, value) if group else "")
                self.progress.add(len(block))
        return self.progress.rows


def _drain(pouring: _Pouring, select: str, writer: RowWriter) -> None:
    """Write the rows of a SELECT."""
    connection = pouring.profiles.store.scratch.connection
    if isinstance(writer, TextLines):
        # The texts of 4,000 profiles can be longer than the 2 GB that a small buffer holds.
        pouring.profiles.store.scratch.run("set arrow_large_buffer_size = true")
        for batch in relation_of(connection, select).to_arrow_reader(TEXTS_AT_ONCE):
            writer.write_texts(batch.column(0))
            lines = batch.column(1).sum().as_py() if batch.num_columns > 1 else batch.num_rows
            pouring.progress.add(lines)
        return
    if isinstance(writer, Parquet):
        relation = relation_of(connection, select)
        # with fewer columns than the file, the last is a list of cells: write takes it apart
        if len(relation.columns) == writer.width:
            pouring.progress.add(writer.write_table(relation.to_arrow_table()))
            return
    result = connection.execute(select)
    while block := result.fetchmany(BLOCK):
        writer.write(block)
        pouring.progress.add(len(block))


def _sorted(columns: str, order: str, exported: str) -> str:
    return f"select {columns} from ({exported}) order by {order}"


def _groups(
    block: Sequence[tuple[Any, ...]],
) -> Iterator[tuple[str | None, list[tuple[Any, ...]]]]:
    """Yield each run of rows with the same last cell: that cell, and the rows without it."""
    start = 0
    for place in range(1, len(block) + 1):
        if place == len(block) or block[place][-1] != block[start][-1]:
            yield block[start][-1], [row[:-1] for row in block[start:place]]
            start = place


def _into_folder(pouring: _Pouring, folder: Path, group: Callable[[str], str] | None) -> int:
    """Write an export into files of a folder: all of them, or none."""
    request = pouring.request
    parts = parts_in(
        folder,
        request.kind,
        suffix=suffix_of(request.format, request.compression),
        most_rows=request.max_rows,
        open_writer=lambda stream: _writing(stream, request, pouring.extract),
    )
    try:
        count = pouring.into_parts(parts, group)
        parts.finish()
    except BaseException:
        parts.abandon()
        raise
    return count
