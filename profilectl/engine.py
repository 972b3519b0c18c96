"""An import from beginning to end: stage, sift, resolve, merge, commit, report.

    file -> staged rows -> usable rows -> resolved rows -> cells -> one commit -> report
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

import orjson

from profilectl.codes import InputRefused, ProfilectlError, UsageError
from profilectl.feed import ENVIRONMENTS, Feed
from profilectl.identity import NAME
from profilectl.merge import Merged, merge
from profilectl.report import FileReport, ImportReport
from profilectl.resolve import Resolution, resolve
from profilectl.scratch import Scratch, quote_identifier, quote_text, scratch_beside
from profilectl.segments import Segment, known_identities, known_mpids
from profilectl.sift import Frame, sift
from profilectl.stage import Options, Staged, stage_files
from profilectl.stage.columns import read_manifest, read_map
from profilectl.stage.files import InputFile, expand, open_files
from profilectl.stage.original import reject_rows
from profilectl.stage.staged import Rejects
from profilectl.store import Store, choose_feed, open_store

SHARED_BY_MANY = 100
"""An identity that more rows than this have is reported (design.md R14)."""


@dataclass(frozen=True, slots=True)
class ImportRequest:
    """What an import is asked to do. None: not stated. wait_s: for another process that holds the store."""

    paths: Sequence[str]
    feed: str
    protection: str | None = None
    source: str | None = None
    partner: str | None = None
    format: str | None = None
    manifest: str | None = None
    mapped: Sequence[str] = ()
    delimiter: str | None = None
    encoding: str | None = None
    empty: str = "ignore"
    environment: str | None = None
    rejects: str | None = None
    again: bool = False
    max_shared: int | None = None
    memory_limit: str | None = None
    keep_scratch: str | None = None
    wait_s: float = 0
    now_ms: int | None = None
    stdin: BinaryIO | None = None
    progress: Callable[[str, int], None] = field(default=lambda step, rows: None)


def import_files(store_path: Path, request: ImportRequest) -> ImportReport:
    """Import files as one transaction and return what happened.

    Raises InputRefused and UsageError for the files and options, StoreBusy and StoreUnusable for the
    store; then nothing was written.
    """
    began = time.monotonic()
    now_ms = request.now_ms if request.now_ms is not None else time.time_ns() // 1_000_000
    manifest = read_manifest(request.manifest) if request.manifest else None
    mapped = read_map(request.mapped)
    paths = expand(request.paths)
    _check_names(request)
    with scratch_beside(store_path, request.memory_limit) as scratch:
        files = open_files(
            paths, format=request.format, encoding=request.encoding, spill=scratch.folder, stdin=request.stdin
        )
        rejects = Rejects(scratch.folder / "rejects.jsonl")
        with open_store(scratch, store_path, create=True, wait_s=request.wait_s) as store:
            settings = store.settings()
            feed = _feed(store, request)
            fresh, reports = _fresh(store, feed, files, again=request.again)
        report = ImportReport(
            None, feed.name, feed.source, request.protection or feed.protection,
            request.environment or ENVIRONMENTS[0], reports, feed_registered=not feed.number,
        )
        if not fresh:
            report.already_imported = max(file.already_imported or 0 for file in reports)
            report.feed_registered = False
            return report
        options = Options(manifest, mapped, request.delimiter, request.empty, settings.reading)
        staged = stage_files(scratch, fresh, options, rejects, lambda rows: request.progress("reading", rows))
        with open_store(scratch, store_path, write=True, wait_s=request.wait_s) as store:
            run = _Run(scratch, store, staged, rejects, request, report, now_ms)
            run.decide()
            run.commit(fresh)
            run.finish(began)
            store.compact()
        return report


def _check_names(request: ImportRequest) -> None:
    """Refuse, before anything is read, what could only fail after the commit."""
    if not request.feed.strip():
        raise UsageError("a feed needs a name")
    if request.rejects is not None:
        target = Path(request.rejects)
        if target.is_dir() or not target.absolute().parent.is_dir():
            raise UsageError(f"--rejects {request.rejects}: not a file that can be written", "name a file in a folder that exists")


def _feed(store: Store, request: ImportRequest) -> Feed:
    return choose_feed(
        store.feed(request.feed), request.feed, request.source, request.protection, request.partner
    )


def _fresh(
    store: Store, feed: Feed, files: Sequence[InputFile], *, again: bool
) -> tuple[list[InputFile], list[FileReport]]:
    """Return the files whose content the feed has not brought yet (design.md R11), and a report of each."""
    fresh: list[InputFile] = []
    reports = []
    for file in files:
        number = store.imported_as(feed, file.sha256) if feed.number and not again else None
        reports.append(FileReport(file.name, file.sha256, 0, already_imported=number))
        if number is None:
            fresh.append(file)
    return fresh, reports


class _Run:
    """One import on an open store."""

    def __init__(
        self,
        scratch: Scratch,
        store: Store,
        staged: Staged,
        rejects: Rejects,
        request: ImportRequest,
        report: ImportReport,
        now_ms: int,
    ) -> None:
        self.scratch, self.store, self.staged, self.rejects = scratch, store, staged, rejects
        self.request, self.report, self.now_ms = request, report, now_ms
        self.settings = store.settings()
        self.feed = _feed(store, request)
        self.number, self.first = store.next_import()
        self.segments = store.segments()
        self.merged: Merged
        self.resolution: Resolution

    def decide(self) -> None:
        """Run the steps up to the write."""
        scratch, counts = self.scratch, self.report.counts
        frame = Frame(
            self.feed, self.report.protection, self.report.environment, self.request.environment is not None,
            self.settings.rules.placeholders, self.store.meta("secret"), self.now_ms,
        )
        self.request.progress("deciding", 0)
        removals = self.store.removals()
        scratch.make("known_identity", known_identities(self.segments, removals=removals), keep=False)
        scratch.make("known_mpid", known_mpids(self.segments), keep=False)
        touches = " union all ".join(f"select profile, arrival from {one.table('row')}" for one in self.segments)
        scratch.make("known_touch", touches or "select null::bigint as profile, null::bigint as arrival where false", keep=False)
        sift(scratch, self.staged, frame, counts)
        self._shared()
        self.resolution = resolve(scratch, self.staged, frame, self.settings.rules, self.first, counts)
        feeds = self.store.feeds()
        self.merged = merge(
            scratch, self.staged, frame, feeds, self.settings.priority, self.segments, self.first, counts
        )
        self._reject()
        self.report.slow_path_rows = self.resolution.slow_path_rows
        staged_rows = scratch.count("staged")
        counts.rows["rejected"] = len(self.rejects)
        counts.codes.update(self.rejects.counts)
        counts.rows["read"] = staged_rows + len(self.rejects) - scratch.count("rejected")
        counts.rows["applied"] = counts.rows["read"] - counts.rows["dropped"] - counts.rows["rejected"]

    def _shared(self) -> None:
        """Look for identities that many rows share, before anything is written (design.md R14)."""
        most = self.request.max_shared or SHARED_BY_MANY
        found = self.scratch.rows(
            "select type, seq, rows from value where rows > $most order by rows desc, seq limit 20", {"most": most},
        )
        for kind, seq, rows in found:
            value = self.scratch.row(f"select i_{NAME[kind]} from staged where seq = $seq", {"seq": seq})[0]
            self.report.shared.append((f"{NAME[kind]} {value}", rows))
        if found and self.request.max_shared:
            worst, rows = self.report.shared[0]
            raise InputRefused(f"{rows:,} rows share the {worst!r}; --max-shared {most}", "mend the rows, or make it a placeholder")

    def _reject(self) -> None:
        """Write down the rows that were rejected after staging, with their original text."""
        if self.scratch.count("rejected"):
            reject_rows(self.scratch, self.staged, self.rejects)

    def commit(self, files: Sequence[InputFile]) -> None:
        """Write the segment and the history in one transaction."""
        self.request.progress("writing", 0)
        self.rejects.close()
        self.report.number = self.number
        with self.store.transaction():
            if not self.feed.number:
                self.feed = self.store.put_feed(self.feed)
                self.scratch.make("new_feed", f"select {self.feed.number} as number")
            tables = self._write_segment()
            self._write_history(files, tables)

    def _write_segment(self) -> list[str]:
        number = self.store.next_segment()
        tables: list[str] = []

        def write(kind: str, select: str, *, always: bool = False) -> None:
            self.scratch.run(f"create table store.{kind}_{number} as {select}", step=f"write {kind}")
            if not always and not self.scratch.row(f"select count(*) from store.{kind}_{number}")[0]:
                self.scratch.run(f"drop table store.{kind}_{number}")
            else:
                tables.append(kind)

        applied = self.scratch.row("select count(*) from resolved where profile is not null")[0]
        if not applied:
            return tables
        write("row", self._with_feed(self.merged.row), always=True)
        write("index", "select hash, profile, type from unheld order by hash")
        environment = f"select profile, environment, mpid from store.row_{number} where mpid is not null"
        write("mpid", f"select mpid, environment, profile from ({environment}) order by mpid")
        blocked = " union all ".join(self.merged.blocked.values())
        write("blocked", f"select * from ({self._with_feed(blocked)}) order by profile, arrival")
        if self.merged.loose:
            cells = f"select profile, seq + {self.first} as arrival, {self.feed.number}::usmallint as feed"
            write("loose", f"{cells}, key, value from loose_cell where coalesce(w, 'SET') = 'SET' order by profile, arrival")
            write("blocked_loose", f"{cells}, w as code, key, value from loose_cell where w <> 'SET' order by profile, arrival")
        if "rest" in self.staged.plain:
            write("rest", f"select resolved.profile, usable.seq + {self.first} as arrival, usable.rest from usable"
                  " join resolved on resolved.seq = usable.seq where usable.rest is not null and resolved.profile is not null"
                  " order by resolved.profile, arrival")
        self.store.put_segment(
            Segment(number, self.number, self.number, applied, tuple(tables), tuple(self.staged.identities),
                    tuple(self.staged.keys))
        )
        return tables

    def _with_feed(self, select: str) -> str:
        """A feed that is registered by this import had no number yet when the SELECT was written."""
        return select.replace("0::usmallint as feed", f"{self.feed.number}::usmallint as feed")

    def _write_history(self, files: Sequence[InputFile], tables: Sequence[str]) -> None:
        scratch, bound = self.scratch, {"import": self.number}
        scratch.run(
            f"insert into store.removed select profile, type, hash, arrival, {self.number} from taken"
        )
        scratch.run(f"insert into store.dropped select seq + {self.first}, code from dropped union all"
                    f" select seq + {self.first}, code from resolved where code is not null")
        if "request" in self.staged.plain and self.report.protection != "read-only":
            scratch.run(
                f"insert into store.request select {self.feed.number}, request, {self.now_ms}, {self.number} from usable"
                " where request is not null"
            )
        if len(self.rejects):
            scratch.run(
                "insert into store.reject select $import, file, line, code, message, raw from"
                " read_ndjson($path, columns = {file: 'VARCHAR', line: 'BIGINT', code: 'VARCHAR', message: 'VARCHAR', raw: 'VARCHAR'},"
                " maximum_object_size = 134217728)",
                {**bound, "path": str(self.rejects.path)},
            )
        for place, (file, offset) in enumerate(zip(self.staged.files, self.staged.offsets, strict=True)):
            scratch.run(
                "insert into store.import_file values ($import, $place, $path, $sha256, $unit, $first, $arrivals)",
                {**bound, "place": place, "path": file.name, "sha256": file.sha256, "unit": file.unit,
                 "first": self.first + offset, "arrivals": file.span},
            )
            self._write_lines(file.lines, file.first_line, self.first + offset, file.span)
        self._report_files()
        scratch.run(
            "insert into store.import values ($number, $feed, $source, $protection, $environment, $started, $finished,"
            " $first, $arrivals, $report)",
            {"number": self.number, "feed": self.feed.number, "source": self.feed.source,
             "protection": self.report.protection, "environment": self.report.environment, "started": self.now_ms,
             "finished": time.time_ns() // 1_000_000, "first": self.first, "arrivals": self.staged.span,
             "report": _document(self.report)},
        )

    def _write_lines(self, lines: str | None, first_line: int, first: int, span: int) -> None:
        """Keep where each row stands in its file, as runs of rows that follow each other line by line."""
        if not span:
            return
        if lines is None:
            self.scratch.run("insert into store.line_run values ($first, $line)", {"first": first, "line": first_line})
            return
        low, high = self.scratch.row(f"select min(line - seq), max(line - seq) from {lines}")
        if low == high:
            self.scratch.run("insert into store.line_run values ($first, $line)", {"first": first, "line": low})
            return
        self.scratch.run(
            f"insert into store.line_run select seq + {first}, line from"
            f" (select seq, line, line - seq as shift, lag(line - seq) over (order by seq) as before from {lines})"
            " where before is null or before <> shift"
        )

    def _report_files(self) -> None:
        staged = {file.name: file for file in self.staged.files}
        self.report.files = [
            replace(one, rows=staged[one.path].rows + self.rejects_after_staging(one.path), columns=staged[one.path].meaning)
            if one.already_imported is None else one
            for one in self.report.files
        ]

    def rejects_after_staging(self, name: str) -> int:
        """Return the rows of a file that never were staged."""
        return self.rejects.early[name]

    def finish(self, began: float) -> None:
        """Put the rejects where the user wants them and complete the report."""
        if len(self.rejects):
            self.report.rejects = str(self._place_rejects())
        if self.request.keep_scratch:
            self._keep_scratch(self.request.keep_scratch)
        self.report.steps = self.scratch.steps
        self.report.elapsed_ms = round((time.monotonic() - began) * 1000)

    def _place_rejects(self) -> Path:
        """Put the rejects beside the first file that has some, or where the user said; else in this folder."""
        first = next((one.path for one in self.report.files if self.rejects.by_file[one.path]), "-")
        wanted = self.request.rejects or f"{_plain_name(first)}.rejects.jsonl"
        for target in (Path(wanted), Path(f"{Path(_plain_name(first)).name}.rejects.jsonl")):
            try:
                handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
            except OSError:
                continue
            with os.fdopen(handle, "wb") as out, self.rejects.path.open("rb") as written:
                os.fchmod(handle, 0o600)
                shutil.copyfileobj(written, out)
            return target
        raise ProfilectlError(
            f"import {self.number} is done, but its rejects could not be written to {wanted}", "the store keeps them: store.reject"
        )

    def _keep_scratch(self, path: str) -> None:
        self.scratch.run(f"attach {quote_text(path)} as kept")
        for (name,) in self.scratch.rows("select table_name from information_schema.tables where table_catalog = 'temp' and table_type = 'LOCAL TEMPORARY'"):
            self.scratch.run(f"create or replace table kept.{quote_identifier(name)} as select * from temp.{quote_identifier(name)}")
        self.scratch.run("detach kept")


def _plain_name(path: str) -> str:
    return "stdin" if path == "-" else path


def _document(report: ImportReport) -> str:
    return orjson.dumps(report.as_json()).decode()
