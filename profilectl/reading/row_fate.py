"""The fate of a row of a file: the profile that it was applied to, or why it was not applied."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from profilectl.codes import InputRefused, sentence
from profilectl.profiles.activity import Activity, Touch
from profilectl.profiles.played import activities
from profilectl.profiles.read_model import Profiles
from profilectl.reading.identity_chain import Passed, passed_over
from profilectl.rules.identity import NAME
from profilectl.rules.text.naming import instead
from profilectl.store.segments import IMPORT_FILES, known_mpids
from profilectl.store.statements import reading, rows_of

NO_ROW = "no row begins there: the header, a blank line, the middle of a row, or past the end"
COUNTED_ROW = "; or it was rejected, and the import kept no rejects (--rejects none)"
ERASED_ROW = "the row was of a person who was erased"
MOST_OF_A_LINE = 20
"""How many rows of one line are shown."""

# The files that have a name: the whole path as the history has it, or the end of that.
FILES_NAMED = """
select file.import, feed.name, file.path, file.unit, file.first_arrival,
       file.first_arrival + file.arrivals
from file
join store.import as import on import.number = file.import
join store.feed as feed on feed.number = import.feed
where exists (
    select 1
    from (select unnest($names::varchar[]) as name)
    where file.path = name or ends_with(file.path, '/' || name)
)
order by file.import, file.place
"""
PATHS = "select distinct path from file"
REJECTS_OF_LINE = """
select code, message, raw
from store.reject
where import = $number and file = $path and line = $line
limit $most
"""
# Whether an import counted its rejects, and kept none.
COUNTS_ONLY = """
select 1
from store.import
where number = $number and json_extract_string(request, '$.rejects') = 'none'
"""
# A run of lines has a row on each; it ends where the next begins.
ARRIVALS_OF_LINE = """
select first_arrival + $line - first_line as arrival
from (
    select *, coalesce(lead(first_arrival) over (order by first_arrival), $end) as until
    from store.line_run
    where first_arrival >= $start and first_arrival < $end
)
where first_line <= $line
  and first_arrival + $line - first_line < until
order by arrival
limit $most
"""
REMARKS_ON_ROW = """
select code, attribute, type, value
from store.remark
where arrival = $arrival
order by code, attribute, type
"""
DROPPED_ROW = "select code from store.dropped where arrival = $arrival"
ROW_ERASED = """
select 1
from store.erased_row
where arrival = $arrival and import = $number
"""
PROFILE_OF_ROW = "select profile from stored where arrival = $arrival"
# The identities that a row took from profiles other than its own.
TAKEN_FROM = """
select removed.type, named.mpid
from store.removed as removed
join named on named.profile = removed.profile
where removed.arrival = $arrival and removed.profile <> $profile
order by removed.type, named.mpid
"""


@dataclass(frozen=True, slots=True)
class Remarked:
    """A remark on a row: something was left out of it, or is worth knowing."""

    code: str
    """The code of the remark."""
    attribute: str | None
    """The attribute that it is about."""
    type: str | None
    """The type of the identity that it is about ..."""
    value: str | None
    """... and the identity, as the row states it."""


@dataclass(frozen=True, slots=True)
class RowFate:
    """The fate of a row in one import."""

    import_number: int
    """The number of the import."""
    feed: str
    """The name of its feed."""
    file: str
    """The path of the file, as the import named it."""
    line: int
    """The line or row."""
    code: str = ""
    """Why it was not applied."""
    message: str = ""
    """The reason as a sentence."""
    raw: str = ""
    """The text of a row that was rejected."""
    activity: Activity | None = None
    """The profile that it was applied to."""
    touch: Touch | None = None
    """What it did to the profile."""
    taken_from: Sequence[tuple[str, int]] = ()
    """Type and MPID of the identities that it took from other profiles."""
    unit: str = "line"
    """What the number counts: line or row."""
    remarks: Sequence[Remarked] = ()
    """What was left out of it, and what is worth knowing."""
    passed: Passed = field(default_factory=Passed)
    """The profiles that it did not find."""


class _Line(NamedTuple):
    """A line of a file that an import brought."""

    fate: RowFate
    """What is the same for all rows of the line."""
    start: int
    """The first arrival of the file."""
    end: int
    """The arrival after its last."""


def explain_row(profiles: Profiles, file: str, line: int) -> list[RowFate]:
    """Return what became of a row in every import in force that brought its file, oldest first.

    `file` is the name that the import gave it, the end of that, or another way to the same file
    from here. Raises InputRefused where no import in force brought that file, or no row begins
    there.
    """
    normal, absolute = os.path.normpath(file), os.path.normpath(Path(file).absolute())
    files = profiles.store.scratch.rows(
        reading(FILES_NAMED, file=IMPORT_FILES),
        {"names": [file, normal, os.path.relpath(file), absolute]},
    )
    if not files:
        raise _no_file(profiles, file)
    fates = [
        fate
        for number, feed, path, unit, start, end in files
        for fate in _fates(
            profiles,
            _Line(
                RowFate(import_number=number, feed=feed, file=path, line=line, unit=unit),
                start,
                end,
            ),
        )
    ]
    if all(fate.message == NO_ROW for fate in fates):
        counts_only = any(
            profiles.store.scratch.rows(COUNTS_ONLY, {"number": fate.import_number})
            for fate in fates
        )
        raise InputRefused(f"{file}:{line}: {NO_ROW}{COUNTED_ROW if counts_only else ''}")
    return fates


def _no_file(profiles: Profiles, file: str) -> InputRefused:
    """Return the refusal of a file that no import brought, with the nearest that one did."""
    paths = [path for (path,) in profiles.store.scratch.rows(reading(PATHS, file=IMPORT_FILES))]
    names = [path if "/" in file else path.rpartition("/")[2] for path in paths]
    return InputRefused(
        f"no import in force brought a file {file}",
        instead(file, dict.fromkeys(names), "profilectl imports list names the files"),
    )


def _fates(profiles: Profiles, line: _Line) -> list[RowFate]:
    """Return what became of the rows of a file that begin at a line.

    There is one row, except in a JSON document, which may have many in a line.
    """
    scratch, fate = profiles.store.scratch, line.fate
    rejects = scratch.rows(
        REJECTS_OF_LINE,
        {
            "number": fate.import_number,
            "path": fate.file,
            "line": fate.line,
            "most": MOST_OF_A_LINE,
        },
    )
    arrivals = scratch.rows(
        ARRIVALS_OF_LINE,
        {"line": fate.line, "start": line.start, "end": line.end, "most": MOST_OF_A_LINE},
    )
    applied = [_fate_of_arrival(profiles, fate, arrival) for (arrival,) in arrivals]
    rejected = [
        replace(fate, code=code, message=message, raw=raw) for code, message, raw in rejects
    ]
    # A row that was rejected has an arrival too, and no other fate.
    fates = [
        *rejected,
        *(
            applied_fate
            for applied_fate in applied
            if not rejected or applied_fate.message != NO_ROW
        ),
    ]
    return fates or [replace(fate, message=NO_ROW)]


def _fate_of_arrival(profiles: Profiles, fate: RowFate, arrival: int) -> RowFate:
    """Return what became of a row, with the remarks on it and the profiles that it passed over."""
    remarks = [
        Remarked(code, attribute, type=NAME[kind] if kind else None, value=value)
        for code, attribute, kind, value in profiles.store.scratch.rows(
            REMARKS_ON_ROW, {"arrival": arrival}
        )
    ]
    passed = passed_over(profiles, arrival, profiles.store.settings().rules)
    return replace(_applied(profiles, fate, arrival), remarks=remarks, passed=passed)


def _applied(profiles: Profiles, fate: RowFate, arrival: int) -> RowFate:
    """Return where a row was applied, or why it was not."""
    scratch, row = profiles.store.scratch, {"arrival": arrival}
    for (code,) in scratch.rows(DROPPED_ROW, row):
        return replace(fate, code=code, message=sentence(code))
    number = fate.import_number
    if scratch.rows(ROW_ERASED, {**row, "number": number}):
        return replace(fate, message=ERASED_ROW)
    for alias in profiles.aliases:
        if alias.arrival == arrival:
            return _with_touch(profiles, fate, profile=alias.destination, arrival=arrival)
    for segment in profiles.segments:
        if "row" in segment.tables and segment.first_import <= number <= segment.last_import:
            select = reading(PROFILE_OF_ROW, stored=rows_of(f"row_{segment.number}"))
            for (profile,) in scratch.rows(select, row):
                taken_from = scratch.rows(
                    reading(TAKEN_FROM, named=known_mpids(profiles.segments)),
                    {**row, "profile": profile},
                )
                return replace(
                    _with_touch(profiles, fate, profile=profile, arrival=arrival),
                    taken_from=[(NAME[code], mpid) for code, mpid in taken_from],
                )
    return replace(fate, message=NO_ROW)


def _with_touch(profiles: Profiles, fate: RowFate, *, profile: int, arrival: int) -> RowFate:
    """Return the fate of a row that was applied to a profile."""
    (activity,) = activities(profiles, [profile])
    touch = next(touch for touch in activity.every() if touch.origin.arrival == arrival)
    return replace(fate, activity=activity, touch=touch)
