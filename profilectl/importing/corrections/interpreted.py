"""A correction of attributes that the interpreter decides, and that is written in one transaction.

A row that names its profile by MPID, and has nothing but attributes, needs no file, no sort and no
300 statements: the profile is read, the interpreter applies the row to it (the definition of
right), and what came of it is written as all imports are (commit.write). Where a store or a row
asks for more than that, the import of files decides (attributes.correct).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from profilectl.codes import StoreBusy, UsageError
from profilectl.importing.commit import Import, Prepared, write
from profilectl.importing.corrections.correction import NAME, Correction
from profilectl.importing.dependence import ProfileRow, Speaking, rests_on_rows
from profilectl.importing.known import keeps_out_or_hands_on
from profilectl.importing.listed_relations import ListedRelations
from profilectl.importing.relations import Columns, fixed_columns
from profilectl.importing.request import ImportRequest, remembered
from profilectl.importing.stage.staged import WIDE, Staged, StagedFile
from profilectl.profiles.read_model import Profiles, profiles_of
from profilectl.rules.batch import Batch, apply_deletes, read_document
from profilectl.rules.counts import ATTRIBUTES, Counts, FileReport, ImportReport
from profilectl.rules.feed import (
    ACCOUNT,
    ENVIRONMENTS,
    PROTECTIONS,
    Effect,
    Feed,
    computed,
    meaning_of,
    workspaces_of,
)
from profilectl.rules.fields import UnusableRow
from profilectl.rules.interpreter import AttributeValue, InterpretedProfile, Interpreter
from profilectl.rules.resolution import Records
from profilectl.rules.sql.identities import ENVIRONMENT_NAME
from profilectl.rules.text.values import DELETED, NotJson, parse_json
from profilectl.store.opening import open_store
from profilectl.store.scratch import Scratch, may_write_beside, scratch_beside
from profilectl.store.segments import MANY_SEGMENTS, ROW, known_loose, known_rows
from profilectl.store.settings import Settings
from profilectl.store.store import OpenStore, choose_feed

READ_AS_FLAT = (("mpid", "mpid"), ("environment", "environment"))
"""The columns that are reported of a batch that sets nothing: such a file may have flat rows."""
OTHER_CODES = frozenset({"UA_KIND_CHANGED"})
"""The codes about an attribute that was not refused."""


class MoreAsked(Exception):
    """A correction asks for more than is done here; nothing was changed."""


class Unchanged(Exception):
    """A correction changes nothing, so that it is no import; nothing was written."""

    def __init__(self, report: ImportReport) -> None:
        super().__init__(report)
        self.report = report


def changes_of(counts: Counts) -> int:
    """Return how many attributes a correction changes, or may not change."""
    return sum(counts.attributes[name] for name in ("set", "changed", "deleted", "blocked")) + sum(
        counts.rows[name] for name in ("dropped", "rejected")
    )


def is_said(
    keys: Sequence[str], rows: Sequence[ProfileRow], feed: Feed, *, feeds: Mapping[int, Feed]
) -> bool:
    """Return whether attributes of a profile belong already to whom a feed would make them belong.

    If their values are the same too, the feed has nothing to say of them. rows: of the profile,
    with their cells; feeds: by their numbers.
    """
    for key in keys:
        speaking = [
            earlier
            for earlier in rows
            if key in earlier.cells and feed.shares_attributes(feeds[earlier.feed])
        ]
        newest = max(speaking, key=lambda earlier: earlier.arrival, default=None)
        # What is deleted belongs to nobody.
        if newest is None or newest.cells[key] == DELETED:
            continue
        if feeds[newest.feed].owner.unit != feed.owner.unit:
            return False
    return True


class _Person(NamedTuple):
    """The profile that is corrected."""

    profile: int
    """Its number."""
    mpid: int
    """Its MPID."""
    environment: str
    """Its environment."""
    rows: Sequence[ProfileRow]
    """Its rows, with the cells of the attributes that the correction speaks of; in no order."""


class _Corrected(NamedTuple):
    """A correction that is written."""

    report: ImportReport
    """Its report."""
    request: ImportRequest
    """The import that it is."""
    is_compaction_due: bool
    """Whether older segments are to be laid together."""
    has_definitions: bool
    """Whether calculated attributes or audiences are to be brought up to date."""


class _CorrectedRow(NamedTuple):
    """The row that a correction is."""

    batch: Batch
    """What it states."""
    person: _Person
    """The profile that it belongs to."""
    feed: Feed
    """The feed that brings it, with its number."""
    is_new_feed: bool
    """Whether it registers the feed."""
    arrival: int
    """Its arrival."""
    at_ms: int
    """Its time."""

    @property
    def columns(self) -> list[str]:
        """The attributes with a column: those that it sets."""
        return sorted(self.batch.sets)

    @property
    def loose(self) -> list[str]:
        """The attributes without a column: those that it only deletes."""
        return [key for key in self.batch.deletes if key not in self.batch.sets]


class _Outcome(NamedTuple):
    """What came of the row."""

    counts: Counts
    """The counts of the import."""
    refused: Mapping[str, str]
    """The attributes that were refused, and the code of each."""


def correct_at_once(store_path: Path, correction: Correction) -> ImportReport | None:
    """Make a correction; return None where it asks for more than is done here.

    Raises InputRefused and UsageError for its feed, StoreUnusable for the store.
    """
    began = time.monotonic()
    if correction.dry_run or not (os.access(store_path, os.W_OK) and may_write_beside(store_path)):
        return None
    try:
        with scratch_beside(store_path.absolute()) as scratch:
            # With two cores its statements take 7 ms more of 165.
            scratch.is_for_one_row = True
            with _open_if_free(scratch, store_path) as store:
                written = _decide_and_write(store, correction)
            written.report.locked_ms = round((time.monotonic() - began) * 1000)
            if written.is_compaction_due:
                from profilectl.store.compaction import lay_together

                scratch.is_for_one_row = False
                lay_together(scratch, store_path, f"import {written.report.number}")
    except MoreAsked:
        return None
    except Unchanged as unchanged:
        report = unchanged.report
        report.locked_ms = report.elapsed_ms = round((time.monotonic() - began) * 1000)
        return report
    report = written.report
    if written.has_definitions:
        from profilectl.importing.run import refresh_after

        report.audiences = refresh_after(store_path, report, written.request)
    report.elapsed_ms = round((time.monotonic() - began) * 1000)
    return report


@contextlib.contextmanager
def _open_if_free(scratch: Scratch, path: Path) -> Iterator[OpenStore]:
    """Open a store for writing. Raises MoreAsked where somebody must be waited for."""
    with contextlib.ExitStack() as opened:
        try:
            store = opened.enter_context(open_store(scratch, path, write=True))
        except StoreBusy:
            raise MoreAsked from None
        yield store


def _decide_and_write(store: OpenStore, correction: Correction) -> _Corrected:
    """Decide a correction, and write it with its history. Raises MoreAsked before anything is."""
    now_ms = time.time_ns() // 1_000_000
    # What that asks for, only the import of files looks at.
    if keeps_out_or_hands_on(ListedRelations(store.scratch)) or not correction.feed.strip():
        raise MoreAsked
    settings, profiles = store.settings(), profiles_of(store)
    batch = _batch(correction, settings)
    person = _person(profiles, correction, list(apply_deletes(batch)))
    registered = next(
        (feed for feed in profiles.registered() if feed.name == correction.feed), None
    )
    feed = choose_feed(
        known=registered,
        name=correction.feed,
        source=correction.source,
        protection=None,
        partner=None,
        workspace=store.workspace,
    )
    if PROTECTIONS[feed.protection].known_user is Effect.PASS_BY:
        raise MoreAsked
    number, first_arrival = store.next_import()
    row = _CorrectedRow(
        batch=replace(batch, mpid=person.mpid, environment=person.environment),
        person=person,
        feed=feed if registered else replace(feed, number=store.next_feed()),
        is_new_feed=registered is None,
        arrival=first_arrival,
        at_ms=now_ms,
    )
    has_definitions = store.has_definitions()
    calculated = store.calculated_by_workspace() if has_definitions else {}
    outcome = _interpreted(profiles, settings, row, calculated=calculated)
    request = correction.request(person.mpid, person.environment)
    _check_changed(profiles, row, outcome, sha256=_sha256_of(request))
    entry = _entry(request, row, outcome, needs=_needs(profiles, row), number=number)
    _warn_of_final(store, profiles)
    write(store, _prepare(store, row, outcome.refused), entry)
    return _Corrected(
        entry.report,
        request,
        is_compaction_due=len(profiles.segments) >= MANY_SEGMENTS and _is_compaction_due(store),
        has_definitions=has_definitions,
    )


def _check_changed(
    profiles: Profiles, row: _CorrectedRow, outcome: _Outcome, *, sha256: str
) -> None:
    """Raise Unchanged for a row that changes nothing."""
    keys, feeds = list(apply_deletes(row.batch)), profiles.registered()
    if not changes_of(outcome.counts) and is_said(
        keys, row.person.rows, row.feed, feeds={feed.number: feed for feed in feeds}
    ):
        raise Unchanged(_report(row, outcome, sha256=sha256, number=None))


def _sha256_of(request: ImportRequest) -> str:
    """Return the hash of the content of a correction."""
    return hashlib.sha256((request.content or "").encode()).hexdigest()


def _warn_of_final(store: OpenStore, profiles: Profiles) -> None:
    """Warn if older imports cannot be undone any more after this."""
    if len(profiles.segments) < MANY_SEGMENTS:
        return
    from profilectl.store.compaction import warn_of_final

    warn_of_final(store, by_hand=True)


def _is_compaction_due(store: OpenStore) -> bool:
    """Return whether older segments are to be laid together."""
    # Loaded only where there are many segments: compaction takes 2 ms to load.
    from profilectl.store.compaction import compaction_due

    return compaction_due(store)


def _batch(correction: Correction, settings: Settings) -> Batch:
    """Return what a correction states, without the profile. Raises MoreAsked if it cannot be used.

    So it is too if there is anything to say of it.
    """
    try:
        # What it sets does not rest on whose it is: any MPID will do.
        content = correction.request(1, ENVIRONMENTS[0]).content or ""
        batch = read_document(parse_json(content), settings.reading)
    except (NotJson, UnusableRow, UnicodeEncodeError, UsageError):
        raise MoreAsked from None
    if batch.remarks or not apply_deletes(batch) or len(batch.sets) > WIDE:
        raise MoreAsked
    return batch


def _person(profiles: Profiles, correction: Correction, keys: Sequence[str]) -> _Person:
    """Return the profile that is meant. Raises MoreAsked if it is not plain which."""
    numbers = profiles.find(*correction.identity)
    if not numbers:
        raise MoreAsked
    by_profile = rows_of_people(profiles, numbers, keys)
    people = [number for number in numbers if number in by_profile]
    pick = correction.pick or 1
    if len(people) < pick or pick < 1 or (correction.pick is None and len(people) > 1):
        raise MoreAsked
    rows = by_profile[people[pick - 1]]
    mpid = next(row.mpid for row in rows if row.mpid is not None)
    return _Person(people[pick - 1], mpid, ENVIRONMENT_NAME[rows[0].environment], rows=rows)


def rows_of_people(
    profiles: Profiles, numbers: Sequence[int], keys: Sequence[str]
) -> dict[int, list[ProfileRow]]:
    """Return the rows of some profiles by profile, with the cells of some attributes."""
    clause, scratch = profiles.where(numbers), profiles.store.scratch
    by_profile: dict[int, list[ProfileRow]] = {}
    cells: dict[int, dict[str, str]] = {}
    if profiles.loose_keys:
        for _, arrival, _, _, key, value in scratch.rows(
            known_loose(profiles.segments, where=clause)
        ):
            if key in keys:
                cells.setdefault(arrival, {})[key] = value
    start = len(ROW) + 1
    first_cell = start + len(profiles.identities)
    for values in scratch.rows(
        known_rows(profiles.segments, profiles.identities, keys, where=clause)
    ):
        profile, arrival, mpid, environment, feed, at_ms, segment = values[:start]
        own = {
            key: cell
            for key, cell in zip(keys, values[first_cell:], strict=True)
            if cell is not None
        }
        row = ProfileRow(
            arrival=arrival,
            mpid=mpid,
            environment=environment,
            feed=feed,
            at_ms=at_ms,
            segment=segment,
            has_identity=any(value is not None for value in values[start:first_cell]),
            cells=own | cells.get(arrival, {}),
        )
        by_profile.setdefault(profile, []).append(row)
    return by_profile


def _interpreted(
    profiles: Profiles,
    settings: Settings,
    row: _CorrectedRow,
    *,
    calculated: Mapping[str, Sequence[str]],
) -> _Outcome:
    """Return what the interpreter makes of a row. Raises MoreAsked if it does not apply.

    calculated: the calculated attributes of each workspace.
    """
    person, feeds = row.person, {feed.number: feed for feed in profiles.registered()}
    profile = InterpretedProfile(
        person.mpid, person.environment, first_seen_ms=row.at_ms, last_seen_ms=row.at_ms
    )
    for earlier in sorted(person.rows, key=lambda earlier: earlier.arrival):
        feed = feeds[earlier.feed]
        for key, cell in earlier.cells.items():
            profile.latest[None if feed.source == ACCOUNT else feed.workspace, key] = (
                AttributeValue(cell, feed, arrival=earlier.arrival, at_ms=earlier.at_ms)
            )
    workspaces = workspaces_of([*feeds.values(), row.feed])
    interpreter = Interpreter(
        settings.rules,
        priority=settings.priority,
        calculated=computed(row.feed, calculated, workspaces),
        people={person.profile: profile},
        records={person.environment: Records(by_mpid={person.mpid: person.profile})},
        arrivals=row.arrival,
    )
    counts = interpreter.run(row.feed, row.feed.protection, [row.batch], now_ms=row.at_ms)
    if counts.rows["applied"] != 1 or counts.profiles["created"]:
        raise MoreAsked
    # In the order in which reports name them.
    counts.attributes = Counter({name: counts.attributes[name] for name in ATTRIBUTES})
    refused = {key: code for code, key in counts.left_out if code not in OTHER_CODES}
    return _Outcome(counts, refused)


def _needs(profiles: Profiles, row: _CorrectedRow) -> list[int]:
    """Return the numbers of the imports that the row rests on."""
    shares = {feed.number for feed in profiles.registered() if row.feed.shares_attributes(feed)}
    return rests_on_rows(
        ListedRelations(profiles.store.scratch),
        row.person.profile,
        row.person.rows,
        segments=profiles.segments,
        speaking=Speaking(row.columns, feeds=shares, is_loose=bool(row.loose)),
        removals=profiles.removals,
    )


def _prepare(store: OpenStore, row: _CorrectedRow, refused: Mapping[str, str]) -> Prepared:
    """Make the tables that are written: all that commit.prepare makes of such a row."""
    relations, cells = ListedRelations(store.scratch), apply_deletes(row.batch)
    values: dict[str, object] = {
        "profile": row.person.profile,
        "arrival": row.arrival,
        "environment": ENVIRONMENTS.index(row.person.environment),
        "feed": row.feed.number,
        "at_ms": row.at_ms,
    }
    wide = [(f"a{n}", "VARCHAR") for n in range(len(row.columns))]

    def load(kind: str, columns: Columns, parts: Sequence[Mapping[str, object]]) -> None:
        """Make the table of a kind of rows, each with some values of its own."""
        rows = [[{**values, **part}.get(name) for name, _ in columns] for part in parts]
        relations.load(f"ready_{kind}", columns, rows)

    def wide_cells(code: str | None) -> dict[str, object]:
        """Return the cells with a column that have one fate, by their columns."""
        return {
            f"a{n}": cells[key] for n, key in enumerate(row.columns) if refused.get(key) == code
        }

    load("row", [*fixed_columns("ready_row"), *wide], [wide_cells(None)])
    kinds = ["row"]
    blocked = [{"code": code, **wide_cells(code)} for code in sorted({*refused.values()})]
    blocked = [part for part in blocked if len(part) > 1]
    loose = [{"key": key, "value": cells[key], "code": refused.get(key)} for key in row.loose]
    for kind, columns, parts in (
        ("blocked", wide, blocked),
        ("loose", [], [part for part in loose if part["code"] is None]),
        ("blocked_loose", [], [part for part in loose if part["code"] is not None]),
    ):
        if parts:
            load(kind, [*fixed_columns(f"ready_{kind}"), *columns], parts)
            kinds.append(kind)
    relations.load("ready_line_run", fixed_columns("ready_line_run"), [(row.arrival, 1)])
    return Prepared(tuple(kinds), 1)


def _entry(
    request: ImportRequest, row: _CorrectedRow, outcome: _Outcome, *, needs: list[int], number: int
) -> Import:
    """Return the entry of the history, with the report."""
    sha256 = _sha256_of(request)
    report = _report(row, outcome, sha256=sha256, number=number)
    return Import(
        number=number,
        first_arrival=row.arrival,
        feed=row.feed,
        registers=row.is_new_feed,
        started_ms=row.at_ms,
        request=remembered(request),
        needs=needs,
        staged=_staged(sha256, row),
        report=report,
    )


def _report(
    row: _CorrectedRow, outcome: _Outcome, *, sha256: str, number: int | None
) -> ImportReport:
    """Return the report. number: of the import; None: it is none."""
    is_registered = row.is_new_feed and number is not None
    files = [FileReport(NAME, sha256, 1, columns=() if row.columns else READ_AS_FLAT)]
    return ImportReport(
        number=number,
        feed=row.feed.name,
        source=row.feed.source,
        protection=row.feed.protection,
        environment=ENVIRONMENTS[0],
        files=files,
        counts=outcome.counts,
        feed_registered=is_registered,
        # The first report of a feed says what its source means.
        notices=[meaning_of(row.feed.source)] if is_registered else [],
    )


def _staged(sha256: str, row: _CorrectedRow) -> Staged:
    """Return the row as if it were staged from a file with a hash."""
    file = StagedFile(
        name=NAME,
        sha256=sha256,
        format="jsonl",
        select="",
        span=1,
        rows=1,
        columns=[],
        plain=[],
        identities=[],
        path=Path("-"),
    )
    return Staged(
        files=[file],
        offsets=[0],
        span=1,
        plain=[],
        identities=[],
        keys=row.columns,
        loose=bool(row.loose),
        events=False,
    )
