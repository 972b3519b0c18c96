"""An import from beginning to end: stage, sift, resolve, merge, commit, report; also as a dry run.

    file -> staged rows -> usable rows -> resolved rows -> cells -> one commit -> report

Files are read and staged while the store is open to everybody. Deciding needs to read the store,
and others may read it meanwhile. Only the commit shuts everybody out: it copies what is ready. If
somebody else committed in between, the import is decided again.
"""

from __future__ import annotations

import contextlib
import io
import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from profilectl.codes import InputRefused, ProfilectlError, StoreBusy, Unfinished
from profilectl.files.leftovers import private_files
from profilectl.files.whole_file import LOG, whole_file
from profilectl.importing.commit import Import, Prepared, prepare, warn_of_names, write
from profilectl.importing.consenting import look_at_consent
from profilectl.importing.dependence import rests_on
from profilectl.importing.examples import examples_of, without_mpids
from profilectl.importing.leaving import leaving_from
from profilectl.importing.merge import Merged, merge
from profilectl.importing.outcomes import outcomes_of
from profilectl.importing.request import ImportRequest, _check_options, _most_rejects, remembered
from profilectl.importing.resolve import resolve
from profilectl.importing.sharing import MOST_TOLD, SHARED_BY_MANY, shared_identities
from profilectl.importing.sift import Frame, sift
from profilectl.importing.stage.columns import Manifest, read_manifest, read_map
from profilectl.importing.stage.mendable import Mendable, mendable
from profilectl.importing.stage.original import reject_rows
from profilectl.importing.stage.run import (
    ReadingOptions,
    Staged,
    head_of,
    said_by_path,
    stage_files,
)
from profilectl.importing.stage.source.files import InputFile, Named, name_files, open_files
from profilectl.importing.stage.staged import Rejects
from profilectl.importing.suppression import guard_of
from profilectl.importing.trace import first_rows, trace_rows
from profilectl.rules.batch import BatchField, Reading
from profilectl.rules.counts import Counts, FileReport, ImportReport, names_of
from profilectl.rules.event.event import added_event
from profilectl.rules.feed import ACCOUNT, ENVIRONMENTS, Feed, computed, meaning_of, workspaces_of
from profilectl.rules.reimport import ImportedContent, known_content, way_of
from profilectl.rules.sql.quoting import quote_identifier, quote_path
from profilectl.rules.text.moments import latest_ms
from profilectl.store.attaching import check_path
from profilectl.store.compaction import compact, compaction_due
from profilectl.store.history import rejects_again
from profilectl.store.opening import UNREFRESHED, once_done, open_store, store_in_memory
from profilectl.store.same_store import is_held
from profilectl.store.scratch import Scratch, may_write_beside, scratch_beside, unwritable
from profilectl.store.segments import known_identities, known_mpids
from profilectl.store.store import OpenStore, State, choose_feed

FIRST_WAIT_S = 2.0
"""So long an import waits for the store at its beginning, unasked: a server that serves it takes
moments to copy it and to take batches in.
"""
LATE_WAIT_S = 10.0
"""So long an import waits at least once its files are read: what was read is not thrown away
lightly.
"""
DECIDED_IN_VAIN = 2
"""So often an import is decided while others may commit; then it keeps them out."""


def latest_of(request: ImportRequest, now_ms: int) -> int | None:
    """Return the latest time that the rows of an import may state, None where it may be any."""
    return None if request.any_time else latest_ms(now_ms)


def import_files(store_path: Path, request: ImportRequest) -> ImportReport:
    """Import files as one transaction and return what happened, or with dry_run what would.

    Raises InputRefused and UsageError for the files and options, StoreBusy and StoreUnusable for
    the store; then nothing was written.
    """
    began = time.monotonic()
    now_ms = request.now_ms if request.now_ms is not None else time.time_ns() // 1_000_000
    check_path(store_path)
    if not request.dry_run and not may_write_beside(store_path):
        raise unwritable(store_path, "it is read-only for you")  # now, not when the files are read
    manifest = read_manifest(request.manifest) if request.manifest else None
    mapped = read_map(request.mapped)
    named = name_files(request.paths) if request.content is None else [Named("-")]
    _check_options(request, [one.path for one in named])
    with (
        _nothing_left(store_path),
        scratch_beside(store_path, request.memory_limit) as scratch,
        contextlib.ExitStack() as kept,
    ):
        stdin = request.stdin if request.content is None else io.BytesIO(request.content.encode())
        opened = open_files(
            named,
            format=request.format,
            encoding=request.encoding,
            spill=scratch.folder,
            stdin=stdin,
            encoding_errors=request.encoding_errors,
            max_unpacked=request.max_unpacked,
        )
        files = opened.files
        scratch.reads += [file.local for file in files]
        scratch.reads += (
            [Path(f"{request.keep_scratch}{end}") for end in ("", *LOG)]
            if request.keep_scratch
            else []
        )
        if request.stdin_name is not None:
            files = [replace(file, name=request.stdin_name) for file in files]
        if request.content is not None:
            files = [
                replace(file, name=name) for file, name in zip(files, request.paths, strict=True)
            ]
        with _first_look(scratch, store_path, request) as store:
            settings = store.settings()
            feed = _feed(store, request)
            fresh, reports, notices = _fresh(store, feed, files, request)
            if fresh:
                # refused before the files are read, where who was erased could not be kept out
                guard_of(store)
            state = store.state()
            if not fresh and request.rejects and not request.dry_run:
                notices += rejects_again(
                    store,
                    max(file.already_imported or 0 for file in reports),
                    Path(request.rejects),
                )
        report = ImportReport(
            None,
            feed.name,
            feed.source,
            request.protection or feed.protection,
            request.environment or ENVIRONMENTS[0],
            reports,
            feed_registered=not feed.number,
            dry_run=request.dry_run,
            notices=([] if feed.number else [meaning_of(feed.source)]) + opened.notices + notices,
        )
        request.opened(report, state)
        if not fresh:
            _already(report, max(file.already_imported or 0 for file in reports))
            request.checked(report, state)
            return _caught_up(scratch, store_path, report, request)
        rejects = kept.enter_context(
            contextlib.closing(
                Rejects(scratch.folder / "rejects.jsonl", [file.name for file in fresh])
            )
        )
        workspace = None if feed.source == ACCOUNT else feed.workspace
        options = _reading_options(
            request,
            replace(settings.reading, workspace=workspace, latest_ms=latest_of(request, now_ms)),
            manifest,
            mapped,
        )
        others = [
            file
            for file, one in zip(files, reports, strict=True)
            if one.already_imported is not None
        ]
        mend = None
        if request.rejects_as_input:
            mend = mendable(
                Path(request.rejects_as_input),
                fresh,
                request.encoding,
                lambda file: head_of(file, options),
            )
        staged = stage_files(
            scratch, fresh, options, rejects, lambda rows: request.progress("reading", rows), others
        )
        report.notices += dict.fromkeys(notice for file in staged.files for notice in file.notices)
        run = _ImportRun(
            scratch,
            store_path,
            staged,
            rejects,
            request,
            report,
            now_ms,
            state.settings,
            fresh,
            mend,
        )
        try:
            if request.dry_run:
                run.look()
            else:
                run.do()
        except _Overtaken as other:
            return _already(report, other.number)
        run.finish(began)
    if run.defined and request.refreshes:
        report.audiences = refresh_after(store_path, report, request)
        report.elapsed_ms = round((time.monotonic() - began) * 1000)
    return report


def _reading_options(
    request: ImportRequest,
    reading: Reading,
    manifest: Manifest | None,
    mapped: Mapping[str, BatchField],
) -> ReadingOptions:
    """Return how the files of an import are to be read."""
    return ReadingOptions(
        manifest=manifest,
        mapped=mapped,
        delimiter=request.delimiter,
        empty=request.empty,
        reading=replace(
            reading,
            added=added_event(request.event) if request.event else None,
            nulls=frozenset(request.nulls),
            judging=replace(reading.judging, allow_spoiled=request.allow_spoiled),
            unknown=request.unknown,
        ),
        quote=request.quote,
        escape=request.escape,
        skip_lines=request.skip_lines,
        ragged=request.ragged,
        encoding_errors=request.encoding_errors,
        path_columns=request.path_columns,
        binary_as_text=request.binary_as_text,
    )


def _caught_up(
    scratch: Scratch, store_path: Path, report: ImportReport, request: ImportRequest
) -> ImportReport:
    """Make up for a refresh that an import before did not come to, killed after its commit."""
    from profilectl.audiences.refresh import unseen

    if not request.dry_run and store_path.exists():
        with open_store(scratch, store_path, wait_s=request.wait_s) as store:
            behind = unseen(store)
        if behind:
            asking = replace(report, number=behind[0] if len(behind) == 1 else None)
            report.audiences = refresh_after(store_path, asking, request)
    return report


def refresh_after(
    store_path: Path, report: ImportReport, request: ImportRequest
) -> dict[str, dict[str, int]] | None:
    """Bring calculated attributes and audiences up to date after an import; return who entered and
    left which audience, None where it could not be: the next refresh makes up for it.
    """
    from profilectl.audiences.refresh import refresh_store

    request.progress("calculating", 0)
    done = None
    with once_done(
        f"import {report.number} is done",
        UNREFRESHED,
        "the next import tries again, as does profilectl audiences refresh",
        busy=True,
    ):
        # one that is played again is of today all the same
        now_ms = request.now_ms if request.first_arrival is None else None
        done = refresh_store(
            store_path,
            now_ms=now_ms,
            wait_s=max(request.wait_s, LATE_WAIT_S),
            memory_limit=request.memory_limit,
            number=report.number,
        )
    return None if done is None else done.moved()


@contextlib.contextmanager
def _nothing_left(path: Path) -> Iterator[None]:
    """Take away again a store that only an import which failed has made: it holds nothing."""
    was_there = os.path.lexists(path)
    try:
        yield
    except BaseException:
        if not was_there and not is_held(path) and path.exists():
            with (
                contextlib.suppress(ProfilectlError),
                scratch_beside(path) as scratch,
                open_store(scratch, path, write=True) as store,
            ):
                state = store.state()
                if not state.imports and not state.feeds and not state.settings:
                    path.unlink()  # while nobody else can open it
        raise


@contextlib.contextmanager
def _first_look(
    scratch: Scratch, path: Path, request: ImportRequest, *, wait_s: float | None = None
) -> Iterator[OpenStore]:
    """Open the store for reading; a dry run makes none where there is none."""
    check_path(path)
    if request.dry_run and not path.exists():
        with store_in_memory(scratch, path) as store:
            yield store
    else:
        wait = max(request.wait_s, FIRST_WAIT_S) if wait_s is None else wait_s
        with open_store(
            scratch, path, create=True, wait_s=wait, upgrade=not request.dry_run
        ) as store:
            yield store


def _feed(store: OpenStore, request: ImportRequest) -> Feed:
    return choose_feed(
        store.feed(request.feed),
        request.feed,
        request.source,
        request.protection,
        request.partner,
        request.workspace or store.workspace,
    )


def _fresh(
    store: OpenStore, feed: Feed, files: Sequence[InputFile], request: ImportRequest
) -> tuple[list[InputFile], list[FileReport], list[str]]:
    """Return the files whose content the feed has not brought yet (design.md R11), a report of
    each, and what is to be said of those that are imported although their content is known.
    """
    fresh: list[InputFile] = []
    reports, notices = [], []
    for file in files:
        known = _known(store, feed, file, request)
        reports.append(FileReport(file.name, file.sha256, 0, already_imported=known.already))
        if known.already is None:
            fresh.append(file)
        if known.notice:
            notices.append(f"{file.name}: {known.notice}")
    return fresh, reports, notices


def _known(
    store: OpenStore, feed: Feed, file: InputFile, request: ImportRequest
) -> ImportedContent:
    """Return what a feed knows of a content, to be read as the request says.

    Under a path that says something else of the rows it is another content.
    """
    if request.again or not feed.number:
        return ImportedContent()
    way = way_of(remembered(request), request.protection or feed.protection)
    says = said_by_path(file.name, folders=request.path_columns)
    guard = guard_of(store)
    brought = store.brought(feed, file.sha256)
    if guard is not None and guard.key is not None:  # of a file of which a row was erased since
        brought = sorted(
            [*brought, *store.brought(feed, guard.text(file.sha256))], key=lambda one: -one.number
        )
    same = [one for one in brought if said_by_path(one.path, folders=request.path_columns) == says]
    return known_content(way, same)


class _Overtaken(Exception):
    """Another process imported the same content in the meantime."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def _already(report: ImportReport, number: int) -> ImportReport:
    """Make a report say that nothing was to be imported: import `number` brought it."""
    report.already_imported, report.feed_registered, report.number, report.counts = (
        number,
        False,
        None,
        Counts(),
    )
    report.files = [
        replace(file, rows=0, already_imported=file.already_imported or number)
        for file in report.files
    ]
    return report


class _ImportRun:
    """One import whose rows are staged: decided on the open store, then committed to it."""

    def __init__(
        self,
        scratch: Scratch,
        path: Path,
        staged: Staged,
        rejects: Rejects,
        request: ImportRequest,
        report: ImportReport,
        now_ms: int,
        settings: dict[str, Any],
        fresh: Sequence[InputFile],
        mend: Mendable | None,
    ) -> None:
        self.scratch, self.path, self.staged, self.rejects = scratch, path, staged, rejects
        self.request, self.report, self.now_ms = request, report, now_ms
        self.staged_under, self.fresh, self.mend = settings, fresh, mend
        self.files = self.report.files
        self.late = self.defined = False
        self.state: State
        self.made: Import
        self.merged: Merged

    def look(self) -> None:
        """Decide without a commit: a dry run."""
        with _first_look(self.scratch, self.path, self.request, wait_s=self._wait_s()) as store:
            self._decide(store)
            self.report.examples = examples_of(
                self.scratch, self.staged, self.report, self.merged, self.made, store, self.rejects
            )
            if not self.path.exists():
                without_mpids(self.report.examples)
            self.request.checked(self.report, self.state)
            self._trace()

    def do(self) -> None:
        """Decide and commit; again, where another process committed in between."""
        done = due = False
        for _ in range(DECIDED_IN_VAIN):
            with open_store(self.scratch, self.path, wait_s=self._wait_s()) as store:
                prepared = self._prepare(store)
            with open_store(self.scratch, self.path, write=True, wait_s=self._wait_s()) as store:
                began = time.monotonic()
                done = store.state() == self.state
                if done:
                    write(store, prepared, self.made, self.staged, self.report)
                    due, self.defined = compaction_due(store), store.has_definitions()
            if done:
                break
        else:
            with open_store(self.scratch, self.path, write=True, wait_s=self._wait_s()) as store:
                began = time.monotonic()
                write(store, self._prepare(store), self.made, self.staged, self.report)
                due, self.defined = compaction_due(store), store.has_definitions()
        self.report.locked_ms = round((time.monotonic() - began) * 1000)
        # Whoever comes next reads fewer segments; not having had the time for it loses nothing.
        if due:
            with (
                once_done(
                    f"import {self.made.number} is done",
                    "older imports could not be laid together",
                    "profilectl compact tries again",
                    busy=True,
                ),
                open_store(self.scratch, self.path, write=True) as store,
            ):
                compact(store)

    def _prepare(self, store: OpenStore) -> Prepared:
        self._decide(store)
        self.request.checked(self.report, self.state)
        if self.request.outcomes:
            self.request.outcomes(
                outcomes_of(store, self.staged, self.made.first, self.made.feed.number)
            )
        self.request.progress("writing", 0)
        self._trace()
        leaves = tuple(leaving_from(store, self.made.feed.name))
        prepared = prepare(
            self.scratch,
            self.staged,
            self.merged,
            self.rejects,
            self.made,
            self.report.protection,
            self.report.environment,
            leaves,
        )
        if "event" in prepared.kinds:
            warn_of_names(store, self.made.feed, self.report)
        return prepared

    def _wait_s(self) -> float:
        return max(self.request.wait_s, LATE_WAIT_S)

    def _decide(self, store: OpenStore) -> None:
        """Run the steps up to the write on the open store."""
        scratch, counts = self.scratch, Counts()
        self.report.counts, self.report.shared = counts, []
        self.state = store.state()
        settings = store.settings()
        if self.state.settings != self.staged_under:
            raise StoreBusy(
                "the configuration was changed while the files were read", "run the import again"
            )
        feed = _feed(store, self.request)
        self._check_overtaken(store, feed)
        registers = not feed.number
        if registers:
            feed = replace(feed, number=store.next_feed())
        number, first = store.next_import()
        if self.request.first_arrival is not None:
            first = self.request.first_arrival
        segments = store.segments()
        frame = Frame(
            feed,
            self.report.protection,
            self.report.environment,
            self.request.environment is not None,
            replace(settings.rules.judging, allow_spoiled=self.request.allow_spoiled),
            store.meta("secret"),
            self.now_ms,
            first,
            latest_of(self.request, self.now_ms),
            guard_of(store),
            self.request.first_arrival is not None,
            self.request.call,
        )
        self.request.progress("deciding", 0)
        scratch.make(
            "known_identity", known_identities(segments, removals=store.removals()), keep=False
        )
        scratch.make("known_mpid", known_mpids(segments), keep=False)
        touches = " union all ".join(
            f"select profile, arrival from {one.table('row')}" for one in segments
        )
        scratch.make(
            "known_touch",
            touches or "select null::bigint as profile, null::bigint as arrival where false",
            keep=False,
        )
        sift(scratch, self.staged, frame, counts)
        resolution = resolve(scratch, self.staged, frame, settings.rules, first, counts)
        self._shared()
        feeds = [*store.feeds(), feed] if registers else store.feeds()
        refused = computed(feed, store.calculated_by_workspace(), workspaces_of(feeds))
        self.merged = merge(
            scratch,
            self.staged,
            frame,
            feeds,
            settings.priority,
            segments,
            first,
            counts,
            sorted(refused),
        )
        needs = rests_on(scratch, self.staged, segments, feed.number, loose=self.merged.loose)
        if self.staged.events:
            counts.events["added"] = scratch.row(
                "select count(*) from staged_event where seq in (select seq from resolved where profile is not null)"
            )[0]
        if "rest" in self.staged.plain:
            self.report.notices += look_at_consent(scratch, self.staged, frame, counts)
        self.made = Import(
            number,
            first,
            feed,
            registers,
            self.now_ms,
            remembered(self.request),
            needs,
            frame.judging,
            frame.guard,
        )
        self._reject()
        self.report.slow_path_rows = resolution.slow_path_rows
        counts.rows["rejected"] = len(self.rejects)
        counts.codes.update(self.rejects.counts)
        counts.rows["read"] = (
            scratch.count("staged") + len(self.rejects) - scratch.count("rejected")
        )
        counts.rows["applied"] = (
            counts.rows["read"] - counts.rows["dropped"] - counts.rows["rejected"]
        )
        self.report.number = None if self.request.dry_run else number
        self.report.feed_registered = registers
        self._report_files()
        self._check_rejects()
        self._check_strict()

    def _check_overtaken(self, store: OpenStore, feed: Feed) -> None:
        """Look again whether the content was imported, now by another process (design.md R11)."""
        numbers = [_known(store, feed, file, self.request).already for file in self.fresh]
        found = [number for number in numbers if number is not None]
        if len(found) == len(numbers):
            raise _Overtaken(max(found))
        if found:
            raise StoreBusy(
                f"another process imported some of the files meanwhile, as {max(found)}",
                "run the import again: it takes the others",
            )

    def _shared(self) -> None:
        """Look for identities that many share, before anything is written (design.md R14)."""
        shared, most = (
            shared_identities(self.scratch, self.request.max_shared),
            self.request.max_shared,
        )
        self.report.shared = [one for one in shared if one.rows + one.profiles >= SHARED_BY_MANY][
            :MOST_TOLD
        ]
        if most is not None and shared:
            one = max(shared, key=lambda one: one.rows + one.profiles)
            if one.rows + one.profiles > most:
                raise InputRefused(
                    f"{one.told()}, more than --max-shared {most}",
                    "mend the rows, or make it a placeholder",
                )

    def _reject(self) -> None:
        """Write down the rows that were rejected after staging, with their original text.

        They are the same whatever the store holds.
        """
        if not self.late and self.scratch.count("rejected"):
            reject_rows(self.scratch, self.staged, self.rejects)
        self.late = True
        self.rejects.close()

    def _check_rejects(self) -> None:
        """Refuse the import where more rows are rejected than may be."""
        rejected, read = len(self.rejects), self.report.counts.rows["read"]
        most = _most_rejects(self.request.max_rejects, read)
        if most is None or rejected <= most:
            return
        where = (
            ""
            if self.request.dry_run and not self.request.rejects
            else f"; they are in {self._place_rejects()}"
        )
        self._trace()
        if self.mend:
            self.mend.write(self.scratch, self.staged, self.rejects)
            where += f", and to mend in {self.mend.path}"
        why = ", ".join(f"{number:,} {code}" for code, number in self.rejects.counts.most_common())
        raise InputRefused(
            f"{rejected:,} of {read:,} rows would be rejected ({why}), more than --max-rejects {self.request.max_rejects}{where}",
            "mend them, or allow more; nothing was imported",
        )

    def _check_strict(self) -> None:
        """Refuse a strict import of which something would be left out, or is worth knowing."""
        odd = self.report.counts.odd if self.request.strict else []
        if not odd:
            return
        self._trace()
        places = first_rows(self.scratch, self.staged, self.merged)
        listed = "; ".join(self._odd(code, places.get(code)) for code in odd)
        raise InputRefused(
            f"--strict: the import would be refused: {listed}",
            "mend the rows, or leave out --strict; nothing was imported",
        )

    def _odd(self, code: str, place: str | None) -> str:
        """Say how often a code was said, of which attributes, and where first."""
        details = [
            names_of(self.report.counts.left_out_of(code)),
            f"first at {place}" if place else "",
        ]
        detail = "; ".join(filter(None, details))
        return f"{self.report.counts.codes[code]:,} {code}" + (f" ({detail})" if detail else "")

    def _report_files(self) -> None:
        staged = {file.name: file for file in self.staged.files}
        named = Counter(one.path for one in self.files if one.already_imported is None)
        rows = self.rejects.early.copy()
        for file in self.staged.files:
            rows[file.name] += file.rows
        self.report.files = [
            replace(one, rows=rows[one.path] // named[one.path], columns=staged[one.path].meaning)
            if one.already_imported is None
            else one
            for one in self.files
        ]

    def _trace(self) -> None:
        """Write a line for each row and code, where that was asked for."""
        if self.request.explain_rows:
            path = Path(self.request.explain_rows)
            with whole_file(path, "--explain-rows") as out:
                trace_rows(self.scratch, self.staged, self.rejects, self.merged, out)
            self.report.explained_rows = str(path)

    def finish(self, began: float) -> None:
        """Put the rejects where the user wants them and complete the report."""
        if len(self.rejects) and (self.request.rejects or not self.request.dry_run):
            self.report.rejects = str(self._place_rejects())
        elif not self.request.dry_run:
            self.report.notices += _stale_rejects(self.report.files)
        if self.mend and len(self.rejects):
            try:
                self.mend.write(self.scratch, self.staged, self.rejects)
            except (OSError, InputRefused) as error:
                done = f"import {self.report.number} is done, but " if self.report.number else ""
                why = (
                    error.message
                    if isinstance(error, InputRefused)
                    else f"{self.mend.path} could not be written: {error.strerror}"
                )
                raise Unfinished(
                    f"{done}the rows to mend are not written: {why}",
                    "make room, then the same with --again --dry-run writes them",
                ) from None
            self.report.rejects_as_input = str(self.mend.path)
        if self.request.keep_scratch:
            self._keep_scratch(self.request.keep_scratch)
        self.report.steps = self.scratch.steps
        self.report.elapsed_ms = round((time.monotonic() - began) * 1000)

    def _place_rejects(self) -> Path:
        """Put the rejects beside the first file that has some, or where the user said; else in this
        folder.
        """
        first = next((one.path for one in self.report.files if self.rejects.by_file[one.path]), "-")
        wanted = self.request.rejects or f"{_plain_name(first)}.rejects.jsonl"
        for target in (Path(wanted), Path(f"{Path(_plain_name(first)).name}.rejects.jsonl")):
            with contextlib.suppress(OSError, InputRefused):
                with (
                    whole_file(target, "--rejects") as out,
                    self.rejects.path.open("rb") as written,
                ):
                    while block := written.read(1 << 20):
                        out.write(block)
                return target
        if self.report.number:
            raise Unfinished(
                f"import {self.report.number} is done, but its rejects could not be written to {wanted}",
                "make room; given again with --rejects FILE the same import writes them",
            )
        raise InputRefused(
            f"the rejects could not be written to {wanted}",
            "make room, or name another file with --rejects",
        )

    def _keep_scratch(self, path: str) -> None:
        with private_files():
            self._copy_scratch(path)

    def _copy_scratch(self, path: str) -> None:
        self.scratch.run(f"attach {quote_path(Path(path))} as kept")
        for (name,) in self.scratch.rows(
            "select table_name from information_schema.tables where table_catalog = 'temp' and table_type = 'LOCAL TEMPORARY'"
        ):
            self.scratch.run(
                f"create or replace table kept.{quote_identifier(name)} as select * from temp.{quote_identifier(name)}"
            )
        self.scratch.run("detach kept")


def _stale_rejects(files: Sequence[FileReport]) -> list[str]:
    """Say which files of rejects beside the files of an import without any are an earlier import's."""
    names = (f"{_plain_name(file.path)}.rejects.jsonl" for file in files)
    return [
        f"{name} is of an earlier import: this one rejected nothing"
        for name in dict.fromkeys(names)
        if Path(name).exists()
    ]


def _plain_name(path: str) -> str:
    return "stdin" if path == "-" else path
