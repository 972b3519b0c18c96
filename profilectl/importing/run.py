"""An import from beginning to end: stage, sift, resolve, merge, commit, report; also as a dry run.

    file -> staged rows -> usable rows -> resolved rows -> outcomes -> one commit -> report

Files are read and staged while the store is open to everybody. Deciding needs to read the store,
and others may read it meanwhile. Only the commit shuts everybody out: it copies what is ready. If
somebody else committed in between, the import is decided again.
"""

from __future__ import annotations

import contextlib
import io
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from profilectl.codes import ProfilectlError
from profilectl.files import progress
from profilectl.files.leftovers import private_files, unwritable
from profilectl.files.whole_file import LOG
from profilectl.importing.answers.advice import advise
from profilectl.importing.answers.examples import Decided, examples_of, without_mpids
from profilectl.importing.answers.outcomes import outcomes_of
from profilectl.importing.columns.tables import check_columns, check_staged
from profilectl.importing.commit import Prepared, prepare, warn_of_names, write
from profilectl.importing.content import (
    FIRST_WAIT_S,
    FileContents,
    Overtaken,
    contents_of,
    remembered_reading,
    report_imported,
    with_reading,
)
from profilectl.importing.decide import DecidedImport, decide, feed_of, latest_of
from profilectl.importing.leaving import leaving_from
from profilectl.importing.listed_relations import ListedRelations
from profilectl.importing.rejects import deliver_rejects, trace_import
from profilectl.importing.request import (
    ImportJob,
    ImportRequest,
    check_options,
    rejects_path,
)
from profilectl.importing.stage.columns import Manifest, read_manifest, read_map
from profilectl.importing.stage.mendable import Mendable, mendable
from profilectl.importing.stage.options import ReadingOptions
from profilectl.importing.stage.run import head_of, stage_files
from profilectl.importing.stage.source.files import (
    InputFile,
    Named,
    Opened,
    name_files,
    open_files,
)
from profilectl.importing.stage.staged import Rejects
from profilectl.importing.suppression import guard_of
from profilectl.rules.batch_fields import BatchField
from profilectl.rules.counts import ImportReport
from profilectl.rules.event.event import added_event
from profilectl.rules.feed import ACCOUNT, ENVIRONMENTS, Feed, meaning_of
from profilectl.rules.reimport import worded_reading
from profilectl.rules.sql.quoting import quote_identifier, quote_path
from profilectl.store.attaching import check_path
from profilectl.store.compaction import (
    compaction_due,
    lay_together,
    next_final,
    warn_of_final,
)
from profilectl.store.history import rejects_again
from profilectl.store.opening import UNREFRESHED, once_done, open_store, store_in_memory
from profilectl.store.same_store import is_held
from profilectl.store.scratch import Scratch, may_write_beside, scratch_beside
from profilectl.store.settings import Settings
from profilectl.store.store import OpenStore, State

LATE_WAIT_S = 10.0
"""How long an import waits at least once its files are read, so that the reading is not lost."""
CALCULATING_S = 5.0
"""The seconds that a refresh takes after a million rows (render/progress/works.py)."""
DECIDED_IN_VAIN = 2
"""How often an import is decided while others may commit; then it keeps them out."""

KEPT_TABLES = """
select table_name
from information_schema.tables
where table_catalog = 'temp' and table_type = 'LOCAL TEMPORARY'
"""


def import_files(store_path: Path, request: ImportRequest) -> ImportReport:
    """Import files as one transaction and return what happened, or with dry_run what would.

    Raises InputRefused and UsageError for the files and options, StoreBusy and StoreUnusable for
    the store; then nothing was written.
    """
    began = time.monotonic()
    now_ms = request.now_ms if request.now_ms is not None else time.time_ns() // 1_000_000
    check_path(store_path)
    request = with_reading(store_path, request)
    inputs = _inputs(store_path, request)
    with (
        _without_empty_store(store_path),
        scratch_beside(store_path, request.memory_limit) as scratch,
        contextlib.ExitStack() as at_end,
    ):
        opened = open_inputs(scratch, inputs.named, request)
        is_new = not store_path.exists()
        if is_new:  # before there is a store
            _check_columns(scratch, opened.files, inputs, request=request)
        look = _look(scratch, store_path, opened, request=request)
        report = look.report
        request.opened(report, look.state)
        if not look.contents.fresh:
            report_imported(report, look.contents.newest_import)
            _remember(scratch, store_path, request)
            request.checked(report, look.state)
            return _caught_up(scratch, store_path, report, request=request)
        if look.is_first and not is_new:
            _check_columns(scratch, look.contents.fresh, inputs, request=request)
        names = [file.name for file in look.contents.fresh]
        rejects = Rejects(scratch.folder / "rejects.jsonl", names)
        at_end.callback(rejects.close)
        reading = _reading(request, look, inputs, now_ms=now_ms)
        job = _stage(scratch, look, reading, path=store_path, request=request, rejects=rejects)
        try:
            due = _decide_dry(job) if request.dry_run else _commit(job)
        except Overtaken as error:
            _remember(scratch, store_path, request)
            return report_imported(report, error.number)
        deliver_rejects(job)
        if request.content is None:
            report.advice = advise(job, next_final=due.next_final)
        if request.keep_scratch:
            _keep_scratch(scratch, Path(request.keep_scratch))
        report.steps = scratch.steps
    if due.has_definitions and request.refreshes:
        report.audiences = refresh_after(store_path, report, request)
    report.elapsed_ms = round((time.monotonic() - began) * 1000)
    return report


def _remember(scratch: Scratch, store_path: Path, request: ImportRequest) -> None:
    """Make the reading of an import the feed's, if it is to be, and nothing else is written."""
    reading = remembered_reading(request)
    if reading is not None and not request.dry_run:
        with (
            open_store(scratch, store_path, write=True, wait_s=request.wait_s) as store,
            store.transaction(),
        ):
            store.put_reading(request.feed, reading)


@dataclass(frozen=True, slots=True)
class _Inputs:
    """The files that are read, and the meaning of their columns."""

    named: list[Named]
    """The files."""
    manifest: Manifest | None
    """The meaning of the columns; None: their names say it."""
    mapped: Mapping[str, BatchField]
    """The meaning of single columns (--map)."""


def _inputs(store_path: Path, request: ImportRequest) -> _Inputs:
    """Return what an import reads, and refuse what can be refused before the files are opened."""
    check_path(store_path)
    if not request.dry_run and not may_write_beside(store_path):
        raise unwritable(store_path, "it is read-only for you")
    manifest = read_manifest(request.manifest) if request.manifest else None
    mapped = read_map(request.mapped)
    named = name_files(request.paths) if request.content is None else [Named("-")]
    check_options(request, [file.path for file in named])
    return _Inputs(named, manifest, mapped)


def _check_columns(
    scratch: Scratch, files: Sequence[InputFile], inputs: _Inputs, *, request: ImportRequest
) -> None:
    """Show the columns of files before a first import; refuse a file that names nobody."""
    check_columns(scratch, files, request, manifest=inputs.manifest, mapped=inputs.mapped)


def open_inputs(
    scratch: Scratch, named: Sequence[Named], request: ImportRequest, *, importing: bool = True
) -> Opened:
    """Open the files, unpacked and in UTF-8, and let SQL read them.

    importing: whether they are to be imported, for what a refusal says.
    """
    stdin = request.stdin if request.content is None else io.BytesIO(request.content.encode())
    opened = open_files(
        named,
        format=request.format,
        encoding=request.encoding,
        spill=scratch.folder,
        stdin=stdin,
        encoding_errors=request.encoding_errors,
        max_unpacked=request.max_unpacked,
        importing=importing,
    )
    # SQL opens only what is named before a store is attached (Scratch.confine).
    scratch.reads += [file.local for file in opened.files]
    if request.keep_scratch:
        scratch.reads += [Path(f"{request.keep_scratch}{end}") for end in ("", *LOG)]
    if request.stdin_name is not None:
        opened.files = [replace(file, name=request.stdin_name) for file in opened.files]
    if request.content is not None:
        renamed = zip(opened.files, request.paths, strict=True)
        opened.files = [replace(file, name=name) for file, name in renamed]
    return opened


@dataclass(frozen=True, slots=True)
class _Look:
    """What the store says before the files are read."""

    feed: Feed
    """The feed that brings them."""
    settings: Settings
    """The rules in force."""
    state: State
    """The state of the store, which the outcome rests on."""
    contents: FileContents
    """What the feed knows of the files."""
    report: ImportReport
    """The report, as far as it goes."""
    is_first: bool
    """Whether the feed has brought nothing yet."""


def _look(scratch: Scratch, path: Path, opened: Opened, *, request: ImportRequest) -> _Look:
    """Return what the store says before the files are read."""
    wait_s = max(request.wait_s, FIRST_WAIT_S)
    with _open_to_read(scratch, path, request, wait_s=wait_s) as store:
        settings = store.settings()
        feed = feed_of(store, request)
        contents = contents_of(store, feed, opened.files, request=request)
        if contents.fresh:
            # Refuse before the files are read if people who were erased could not be kept out.
            guard_of(store)
        state = store.state()
        is_first = not feed.number or not store.imports_by_feed().get(feed.number)
        if progress.is_watched() and store.has_definitions():
            progress.weigh("calculating", CALCULATING_S)
        named = rejects_path(request)
        if not contents.fresh and named and not request.dry_run:
            rejects = Path(named)
            contents.notices += rejects_again(store, contents.newest_import, rejects)
    # A feed without a number is new: its first report says what its source means.
    meaning = [] if feed.number else [meaning_of(feed.source)]
    # Words that a person must see: how the files are read was not typed.
    taken = (
        [f"as the feed {feed.name} is read: {', '.join(request.taken)}"] if request.taken else []
    )
    report = ImportReport(
        number=None,
        feed=feed.name,
        source=feed.source,
        protection=request.protection or feed.protection,
        environment=request.environment or ENVIRONMENTS[0],
        files=contents.reports,
        feed_registered=not feed.number,
        dry_run=request.dry_run,
        notices=[*meaning, *taken, *_to_remember(request), *opened.notices, *contents.notices],
    )
    return _Look(feed, settings, state, contents=contents, report=report, is_first=is_first)


def _to_remember(request: ImportRequest) -> list[str]:
    """Return the sentence on the reading that becomes the feed's, if one does."""
    reading = remembered_reading(request)
    if reading is None:
        return []
    words = ", ".join(worded_reading(reading)) or "as every file, with no options"
    would = "would be read" if request.dry_run else "are read"
    return [f"the files of the feed {request.feed} {would} like this from now on: {words}"]


@contextlib.contextmanager
def _open_to_read(
    scratch: Scratch, path: Path, request: ImportRequest, *, wait_s: float
) -> Iterator[OpenStore]:
    """Open the store for reading; a dry run makes none if there is none."""
    check_path(path)
    if request.dry_run and not path.exists():
        with store_in_memory(scratch, path) as store:
            yield store
    else:
        # A dry run leaves a store of an older version as it is.
        upgrade = not request.dry_run
        with open_store(scratch, path, create=True, wait_s=wait_s, upgrade=upgrade) as store:
            yield store


@dataclass(frozen=True, slots=True)
class _Reading:
    """How the files are read, and when."""

    options: ReadingOptions
    """How."""
    now_ms: int
    """The time of the import."""


def _reading(request: ImportRequest, look: _Look, inputs: _Inputs, *, now_ms: int) -> _Reading:
    """Return how the files of an import are to be read."""
    rules = look.settings.reading
    options = ReadingOptions(
        manifest=inputs.manifest,
        mapped=inputs.mapped,
        delimiter=request.delimiter,
        empty=request.empty,
        reading=replace(
            rules,
            workspace=None if look.feed.source == ACCOUNT else look.feed.workspace,
            latest_ms=latest_of(request, now_ms),
            added=added_event(request.event) if request.event else None,
            nulls=frozenset(request.nulls),
            judging=replace(rules.judging, allow_spoiled=request.allow_spoiled),
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
    return _Reading(options, now_ms)


def _stage(
    scratch: Scratch,
    look: _Look,
    reading: _Reading,
    *,
    path: Path,
    request: ImportRequest,
    rejects: Rejects,
) -> ImportJob:
    """Read the files into staged rows."""
    contents, report = look.contents, look.report
    mend = _mendable(request, contents.fresh, reading.options)
    staged = stage_files(
        scratch,
        files=contents.fresh,
        options=reading.options,
        rejects=rejects,
        progress=lambda rows: request.progress("reading", rows),
        others=contents.brought,
    )
    check_staged(
        scratch,
        contents.fresh,
        staged.files,
        request=request,
        options=reading.options,
        rejects=rejects,
    )
    report.notices += dict.fromkeys(notice for file in staged.files for notice in file.notices)
    return ImportJob(
        store_path=path,
        request=request,
        now_ms=reading.now_ms,
        scratch=scratch,
        relations=ListedRelations(scratch),
        staged=staged,
        rejects=rejects,
        mend=mend,
        settings=look.state.settings,
        fresh=contents.fresh,
        files=report.files,
        report=report,
    )


def _mendable(
    request: ImportRequest, files: list[InputFile], options: ReadingOptions
) -> Mendable | None:
    """Return where rejects go in the format of the input; None: nowhere."""
    if not request.rejects_as_input:
        return None
    target = Path(request.rejects_as_input)

    def head(file: InputFile) -> tuple[object, ...]:
        return head_of(file, options)

    return mendable(target, files, request.encoding, head=head)


@dataclass(frozen=True, slots=True)
class _Due:
    """What is due after an import."""

    has_definitions: bool = False
    """Whether calculated attributes or audiences are to be brought up to date."""
    next_final: int | None = None
    """The import that the next one lays together with others, so that it is final; None: none."""


def _decide_dry(job: ImportJob) -> _Due:
    """Decide without a commit, and find examples; nothing is due after it."""
    wait_s = max(job.request.wait_s, LATE_WAIT_S)
    with _open_to_read(job.scratch, job.store_path, job.request, wait_s=wait_s) as store:
        decided = decide(job, store)
        progress.step("examples")
        examined = Decided(job.staged, rejects=job.rejects, shared=job.report.shared)
        job.report.examples = examples_of(job.relations, examined)
        if not job.store_path.exists():
            without_mpids(job.report.examples)
        job.request.checked(job.report, decided.state)
        trace_import(job)
    return _Due()


@dataclass(frozen=True, slots=True)
class _Ready:
    """An import that can be written."""

    decided: DecidedImport
    """As it was decided."""
    prepared: Prepared
    """The tables to copy."""


@dataclass(frozen=True, slots=True)
class _Written:
    """What is due after an import was written."""

    number: int
    """The number of the import."""
    compaction: bool
    """Whether older segments are to be laid together."""
    has_definitions: bool
    """Whether calculated attributes or audiences are to be brought up to date."""
    next_final: int | None
    """The import that the next one makes final."""


def _commit(job: ImportJob) -> _Due:
    """Decide and commit; again, if another process committed in between."""
    scratch, path = job.scratch, job.store_path
    wait_s = max(job.request.wait_s, LATE_WAIT_S)
    written, began = None, 0.0
    for _ in range(DECIDED_IN_VAIN):
        # The slow part only reads. Another import may commit before this one gets to write.
        with open_store(scratch, path, wait_s=wait_s) as store:
            ready = _prepare(job, store)
        with open_store(scratch, path, write=True, wait_s=wait_s) as store:
            began = time.monotonic()
            if store.state() == ready.decided.state:
                written = _write(store, ready, job.request)
        if written:
            break
    else:
        with open_store(scratch, path, write=True, wait_s=wait_s) as store:
            began = time.monotonic()
            written = _write(store, _prepare(job, store), job.request)
    job.report.locked_ms = round((time.monotonic() - began) * 1000)
    if written.compaction:
        lay_together(scratch, path, f"import {written.number}")
    return _Due(written.has_definitions, written.next_final)


def _prepare(job: ImportJob, store: OpenStore) -> _Ready:
    """Decide, and make the tables that are written."""
    decided = decide(job, store)
    entry, request = decided.entry, job.request
    request.checked(job.report, decided.state)
    if request.outcomes:
        outcomes = outcomes_of(
            job.relations,
            job.staged,
            store.segments(),
            first_arrival=entry.first_arrival,
            feed=entry.feed.number,
        )
        request.outcomes(outcomes)
    request.progress("writing", 0)
    trace_import(job)
    leaves = leaving_from(store, entry.feed.name)
    prepared = prepare(job.relations, store, entry, rejects=job.rejects, leaves=leaves)
    if "event" in prepared.kinds:
        warn_of_names(job.relations, store, entry.feed, report=job.report)
    return _Ready(decided, prepared)


def _write(store: OpenStore, ready: _Ready, request: ImportRequest) -> _Written:
    """Write an import; return what is due after it."""
    # A program that sends batches, such as serve's, has nobody to tell; one that imports files or
    # tables gets a warning of Python.
    is_sent = request.content is not None or (request.stdin is not None and request.stdin_name)
    if ready.prepared.rows and (request.who or not is_sent):
        warn_of_final(store, by_hand=bool(request.who))
    write(store, ready.prepared, ready.decided.entry)
    return _Written(
        ready.decided.entry.number,
        compaction=compaction_due(store),
        has_definitions=store.has_definitions(),
        next_final=next_final(store),
    )


def _caught_up(
    scratch: Scratch, store_path: Path, report: ImportReport, *, request: ImportRequest
) -> ImportReport:
    """Make up for the refresh of an earlier import that was killed after its commit."""
    from profilectl.audiences.refresh_marks import unseen

    if not request.dry_run and store_path.exists():
        with open_store(scratch, store_path, wait_s=request.wait_s) as store:
            behind = unseen(store)
        if behind:
            refreshed = replace(report, number=behind[0] if len(behind) == 1 else None)
            report.audiences = refresh_after(store_path, refreshed, request)
    return report


def refresh_after(
    store_path: Path, report: ImportReport, request: ImportRequest
) -> dict[str, dict[str, int]] | None:
    """Bring calculated attributes and audiences up to date after an import.

    Return how many entered and left each audience; None if it could not be done: the next refresh
    makes up for it.
    """
    from profilectl.audiences.refresh import refresh_store

    request.progress("calculating", 0)
    refreshed = None
    with once_done(
        f"import {report.number} is done",
        UNREFRESHED,
        "the next import tries again, as does profilectl audiences refresh",
        busy=True,
    ):
        # An import that is made again is refreshed as of today all the same.
        now_ms = request.now_ms if request.first_arrival is None else None
        refreshed = refresh_store(
            store_path,
            now_ms=now_ms,
            wait_s=max(request.wait_s, LATE_WAIT_S),
            memory_limit=request.memory_limit,
            number=report.number,
        )
    return None if refreshed is None else refreshed.moved()


@contextlib.contextmanager
def _without_empty_store(path: Path) -> Iterator[None]:
    """Remove the store again if the import fails that made it: it holds nothing."""
    was_there = os.path.lexists(path)
    try:
        yield
    except BaseException:  # Ctrl-C too
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


def _keep_scratch(scratch: Scratch, path: Path) -> None:
    """Copy the relations of the import into a DuckDB file, readable by its owner only."""
    with private_files():
        scratch.run(f"attach {quote_path(path)} as kept")
        for (name,) in scratch.rows(KEPT_TABLES):
            table = quote_identifier(name)
            scratch.run(f"create or replace table kept.{table} as select * from temp.{table}")
        scratch.run("detach kept")
