"""Why: which row decided a value, what joined identities to one profile, what became of a row.

Nothing is decided here again. What happened is read from the rows; the rule that decided is looked
up in the tables that the interpreter and the engine use.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from profilectl.codes import InputRefused, sentence
from profilectl.profiles.activity import Activity, AttributeChange, HeldIdentity, Origin, Touch
from profilectl.profiles.played import activities
from profilectl.profiles.read_model import Profiles
from profilectl.rules.feed import PROTECTIONS
from profilectl.rules.identity import BY_NAME, CODE, NAME, Rules, Usable, display, key_of, usable
from profilectl.rules.priority import CALCULATED, OVERWRITE, SET, SOURCES, Owner, standing
from profilectl.rules.resolution import Records, Step, look_up
from profilectl.rules.sql.identities import hash_of
from profilectl.rules.text.moments import written
from profilectl.store.segments import IMPORT_FILES, known_mpids
from profilectl.store.settings import Settings

SAID = {
    # how the incoming source stands to the owner, where it was let through
    "better": "a source of better rank overrides",
    "same unit": "the same source speaks again: the newest value counts",
    "free": "it had been deleted: any source may set it",
}


@dataclass(frozen=True, slots=True)
class Rule:
    """The row of the table of attribute priority that decided (attributes.OVERWRITE).

    standing: free where the attribute had been deleted, so that nobody owned it, and the table was
    not asked.
    """

    priority: str
    incoming: Owner
    owner: Owner
    standing: str
    verdict: str

    @property
    def words(self) -> str:
        if self.standing == "free":
            return SAID[self.standing]
        ranks = f"{self.incoming.unit} (rank {SOURCES[self.incoming.source].rank}) against {self.owner.unit} (rank {SOURCES[self.owner.source].rank})"
        return f"{SAID[self.standing] if self.verdict == SET else sentence(self.verdict)}: {ranks}"


@dataclass(frozen=True, slots=True)
class Loser:
    """A value that is not in force: what the row did, what came over it (None: it was refused), the
    rule.
    """

    entry: AttributeChange
    by: AttributeChange | None
    rule: Rule


@dataclass(frozen=True, slots=True)
class Explained:
    """One attribute. winner: the entry in force, None where the attribute is not there; losers:
    newest first. definition: of the calculated attribute of that name, which masks the winner;
    calculated: its held value; dormant: the profile is beyond its lifetime, so nothing is
    computed of it.
    """

    key: str
    winner: AttributeChange | None
    losers: list[Loser]
    definition: dict[str, object] | None = None
    calculated: str | None = None
    dormant: bool = False


def explain_attribute(activity: Activity, key: str) -> Explained:
    """Say why an attribute has the value it has.

    Raises InputRefused where the profile never had it.
    """
    history = activity.history.get(key, [])
    if not history and key not in activity.calculated():
        gone = (
            f"what it had went with retention on {written(activity.aged_ms[-1], day=True)}"
            if activity.aged_ms
            else ""
        )
        raise InputRefused(
            f"the profile {activity.mpid} has had no attribute {key}"
            + (f"; {gone}" if gone else ""),
            "profilectl show names those it has",
        )
    winner = activity.attributes.get(key)
    losers: list[Loser] = []
    for place, entry in enumerate(history):
        if entry is winner:
            continue
        if entry.kind == "blocked":
            losers.append(Loser(entry, None, _refusal(entry)))
        else:
            later = [one for one in history[place + 1 :] if one.kind != "blocked"]
            if later:  # the newest that was let through is the winner, or deleted it
                rule = _rule(later[0].origin, entry.origin, SET)
                losers.append(
                    Loser(
                        entry,
                        later[0],
                        replace(rule, standing="free") if entry.kind == "deleted" else rule,
                    )
                )
    definition = (
        activity.standing.definitions.get(key)
        if activity.standing and key in activity.calculated()
        else None
    )
    dormant = activity.dormant
    return Explained(key, winner, losers[::-1], definition, activity.calculated().get(key), dormant)


def _refusal(entry: AttributeChange) -> Rule:
    """Return the rule by which a cell was refused."""
    if entry.code == CALCULATED:
        return Rule(
            "rank", entry.origin.feed.owner, Owner("calculated", entry.key), "worse", CALCULATED
        )
    assert entry.owner is not None
    return _rule(entry.origin, entry.owner, entry.code)


def _rule(incoming: Origin, owner: Origin, verdict: str) -> Rule:
    ours, theirs = incoming.feed.owner, owner.feed.owner
    stands = standing(ours, theirs)
    # Under which reading it was decided is in the verdict; today's setting may be another.
    priority = next((name for name, row in OVERWRITE.items() if row[stands] == verdict), "rank")
    return Rule(priority, ours, theirs, stands, verdict)


# Identities


@dataclass(frozen=True, slots=True)
class PassedOver:
    """A profile that a row did not find, though it held an identity of the row, because a
    protection stood before it.
    """

    activity: Activity
    """The profile, as it is now."""
    type: str
    """The type of the identity."""
    value: str
    """The identity, as the profile held it when the row arrived."""
    why: str
    """Which protection it was."""


@dataclass(frozen=True, slots=True)
class Passed:
    """Whom a row passed over."""

    people: Sequence[PassedOver] = ()
    """The oldest of them, MOST_PASSED at most."""
    number: int = 0
    """How many there were: an identity may have very many holders."""


MOST_PASSED = 20
"""So many of those whom one row passed over are named."""


@dataclass(frozen=True, slots=True)
class Link:
    """One row that gave a profile identities.

    before: those by which the row found it: it carried one of them (or the MPID). passed: whom it
    did not find.
    """

    touch: Touch
    before: list[tuple[str, str]]
    passed: Passed = Passed()


@dataclass(frozen=True, slots=True)
class Apart:
    """Two values that are not one profile: each with its profiles, and why."""

    first: list[Activity]
    second: list[Activity]
    reasons: list[str]


def chain(profiles: Profiles, activity: Activity) -> list[Link]:
    """Return the rows that joined the identities of a profile, oldest first.

    A profile with an immutable or a login identity is found by a row that carries one of those, and
    by no other.
    """
    rules = profiles.store.settings().rules
    passed = _warned_among(
        profiles, [touch.origin.arrival for touch in activity.every() if touch.added]
    )
    held: list[tuple[str, str]] = []
    found = []
    for touch in activity.past():
        if touch.added or touch.removed or touch.founded:
            able = [one for one in held if one[0] in rules.hierarchy]
            for guarded in (rules.login, rules.immutable):
                able = [one for one in able if one[0] in guarded] or able
            over = (
                passed_over(profiles, touch.origin.arrival, rules)
                if touch.origin.arrival in passed
                else Passed()
            )
            found.append(Link(touch, [] if touch.taker is not None else able, over))
        for one in touch.removed:
            if (one.type, one.value) in held:
                held.remove((one.type, one.value))
        held += [(one.type, one.value) for one in touch.added]
    return found


def _warned_among(profiles: Profiles, arrivals: Sequence[int]) -> set[int]:
    """Return those of some rows that a protection kept from a profile."""
    select = "select distinct arrival from store.passed_claim where arrival in (select unnest($arrivals::bigint[]))"
    return {
        arrival for (arrival,) in profiles.store.scratch.rows(select, {"arrivals": list(arrivals)})
    }


def passed_over(profiles: Profiles, arrival: int, rules: Rules) -> Passed:
    """Say whom a row did not find though they held an identity of it, and why, by the state when it
    arrived.

    The claims of such rows are kept as hashes; who held them is read from the indexes, and from
    what was taken away since.
    """
    scratch = profiles.store.scratch
    indexes = " union all ".join(
        [
            f"select hash, profile from {one.table('index')}"
            for one in profiles.segments
            if "index" in one.tables
        ]
        + ["select hash, profile from store.removed"]
    )
    candidates = scratch.rows(
        f"select distinct one.profile from ({indexes}) as one where one.profile < $arrival"
        " and one.hash in (select hash from store.passed_claim where arrival = $arrival) order by 1",
        {"arrival": arrival},
    )
    claims = {
        (kind, int(digest, 16))
        for kind, digest in scratch.rows(
            "select type, to_hex(hash) from store.passed_claim where arrival = $arrival",
            {"arrival": arrival},
        )
    }
    named: list[PassedOver] = []
    number = 0
    for start in range(0, len(candidates), MOST_PASSED):
        if len(named) >= MOST_PASSED:
            number += len(candidates) - start
            break
        for one in activities(
            profiles, [profile for (profile,) in candidates[start : start + MOST_PASSED]]
        ):
            over = _passed(one, arrival, claims, profiles.store.meta("secret"), rules)
            number += over is not None
            named += [over] if over else []
    return Passed(named[:MOST_PASSED], number)


def _passed(
    activity: Activity, arrival: int, claims: set[tuple[int, int]], secret: str, rules: Rules
) -> PassedOver | None:
    """Say by which identity of a row, the weightiest, a profile was passed over, and why; None
    where it held none of them then.
    """
    held = [
        one
        for one in (*activity.identities, *activity.lost)
        if one.origin.arrival < arrival and (one.lost is None or one.lost >= arrival)
    ]
    carried = [one for one in held if (CODE[one.type], _digest(activity, one, secret)) in claims]
    if not carried:
        return None
    by = min(
        carried,
        key=lambda one: (
            rules.hierarchy.index(one.type) if one.type in rules.hierarchy else len(rules.hierarchy)
        ),
    )
    shared = {(one.type, one.value) for one in carried}
    for flag, kinds in (("immutable", rules.immutable), ("login", rules.login)):
        guarded = [(one.type, one.value) for one in held if one.type in kinds]
        if guarded and not shared.intersection(guarded):
            return PassedOver(activity, by.type, by.value, not_given(flag, guarded))
    known = any(one.type in rules.login for one in held)
    why = (
        BY_LOGIN
        if rules.login_decides and (known or by.type not in rules.login)
        else NOT_KNOWN
        if rules.login_decides
        else OTHER_RULES
    )
    return PassedOver(activity, by.type, by.value, why)


def _digest(activity: Activity, held: HeldIdentity, secret: str) -> int:
    return hash_of(secret, activity.environment, held.type, key_of(BY_NAME[held.type], held.value))


def not_given(flag: str, guarded: Sequence[tuple[str, str]]) -> str:
    """Say that a profile is protected by identities that a row does not have."""
    return f"its {flag} identity {', '.join(f'{kind} {value}' for kind, value in guarded)} is not among those given"


NOT_KNOWN = "it is not a known user, and a login identity was given"
BY_LOGIN = "a login identity was given, and by that alone a user is found"
OTHER_RULES = "the identity rules of that time protected it; they have been changed since"


def apart(profiles: Profiles, first: tuple[str, str], second: tuple[str, str]) -> Apart:
    """Say why two identities are not one profile (reasons is empty where they are)."""
    rules = profiles.store.settings().rules
    ours, theirs = (activities(profiles, profiles.find(*one)) for one in (first, second))
    reasons = [
        f"nobody has the {kind} {value}"
        for (kind, value), found in ((first, ours), (second, theirs))
        if not found
    ]
    if not reasons and not {one.profile for one in ours} & {one.profile for one in theirs}:
        reasons = list(_why_apart(ours, theirs, first, second, rules))
    return Apart(ours, theirs, reasons)


def _why_apart(
    ours: Sequence[Activity],
    theirs: Sequence[Activity],
    first: tuple[str, str],
    second: tuple[str, str],
    rules: Rules,
) -> Any:
    if not {one.environment for one in ours} & {one.environment for one in theirs}:
        yield f"they are in different environments: {ours[0].environment} and {theirs[0].environment} never share profiles"
        return
    first, second = _held_as(ours[0], first), _held_as(theirs[0], second)
    for one, (kind, value) in ((ours[0], first), (theirs[0], second)):
        origin = next(
            (held.origin for held in one.identities if (held.type, held.value) == (kind, value)),
            one.every()[0].origin,
        )
        yield f"{kind} {value} came to profile {one.mpid} by import {origin.import_number}, {origin.where}"
    for one, (kind, value) in ((ours[0], second), (theirs[0], first)):
        for held in one.lost:
            row = one.taken_by(held)
            if (
                row
                and held.type == kind
                and key_of(BY_NAME[kind], held.value) == key_of(BY_NAME[kind], value)
            ):
                yield f"profile {one.mpid} held {kind} {value} until import {row.import_number}, {row.where}, took it away"
    for one, other in ((ours[0], theirs[0]), (theirs[0], ours[0])):
        for flag, kinds in (("immutable", rules.immutable), ("login", rules.login)):
            guarded = [held for held in one.identities if held.type in kinds]
            if guarded:
                listed = ", ".join(f"{held.type} {held.value}" for held in guarded)
                yield f"profile {one.mpid} holds the {flag} identity {listed}: only a row that carries it, or the MPID, finds this profile (not what profile {other.mpid} holds)"
                break
    known = {
        kind: key_of(BY_NAME[kind], value)
        for kind, value in (first, second)
        if kind in rules.hierarchy
    }
    if len(known) == 2:
        found, _ = look_up(known, records_of([*ours, *theirs]), rules)
        named = next((one.mpid for one in (*ours, *theirs) if one.profile == found), None)
        order = sorted(known, key=rules.hierarchy.index)
        yield (
            f"a row that carries both would go to profile {named}: {order[0]} comes before {order[1]} in the hierarchy, and profiles are never merged"
            if named is not None
            else "a row that carries both would find neither, and found a profile of its own"
        )
    elif first[0] == second[0]:
        yield f"a row carries one {first[0]}: no row can carry both, and nothing else joined them"


@dataclass(frozen=True, slots=True)
class Identified:
    """Where some identities lead: the steps, the profiles that came up, and the one that was found
    (None: nobody). skipped: (type, value, why) of identities that find nobody, whoever has them;
    usable: whether any may be used.
    """

    steps: list[Step]
    people: dict[int, Activity]
    found: int | None
    protected: bool
    rules: Rules
    skipped: list[tuple[str, str, str]]
    usable: bool
    known: Mapping[str, str]
    """The keys that were looked up, by type."""


def _held_as(activity: Activity, asked: tuple[str, str]) -> tuple[str, str]:
    """Return an identity that was asked for as the profile holds it."""
    kind, value = asked
    for held in activity.identities:
        if kind in (held.type, "any") and key_of(BY_NAME[held.type], held.value) == key_of(
            BY_NAME[held.type], display(value)
        ):
            return held.type, held.value
    return ("mpid", str(activity.mpid)) if kind == "any" else asked


def identify(profiles: Profiles, environment: str, identities: Mapping[str, str]) -> Identified:
    """Resolve identities (type -> value) as a batch would, changing nothing (domain.md 4.3)."""
    rules = profiles.store.settings().rules
    known: dict[str, str] = {}
    skipped: list[tuple[str, str, str]] = []
    some = False
    for kind, value in identities.items():
        one = usable(BY_NAME[kind], value, rules.judging)
        if not isinstance(one, Usable):
            skipped.append((kind, value, sentence(one) if one else "the identity is empty"))
            continue
        some = True
        if kind in rules.hierarchy:
            known[kind] = one.key
        else:
            skipped.append(
                (
                    kind,
                    value,
                    "the type is outside the hierarchy: it is kept on a profile and finds nobody",
                )
            )
    candidates = sorted({one for kind in known for one in profiles.find(kind, identities[kind])})
    people = {
        one.profile: one
        for one in activities(profiles, candidates)
        if one.environment == environment
    }
    steps: list[Step] = []
    found, protected = look_up(known, records_of(list(people.values())), rules, steps)
    return Identified(steps, people, found, protected, rules, skipped, some, known)


def records_of(found: Sequence[Activity]) -> Records:
    """Return the identity records of some profiles, for a decision among them."""
    records = Records()
    for one in found:
        if one.profile not in records.record:
            records.record[one.profile] = {}
            records.last[one.profile] = one.batches()[-1].origin.arrival
            for held in one.identities:
                records.add(one.profile, held.type, key_of(BY_NAME[held.type], held.value))
    return records


# Rows


NO_ROW = "no row begins there: the header, a blank line, the middle of a row, or past the end"
ERASED_ROW = "the row was of a person who was erased"


MOST_OF_A_LINE = 20
"""So many rows of one line are told of."""


@dataclass(frozen=True, slots=True)
class RowFate:
    """What became of a row in one import.

    activity and touch: where it was applied; code: where it was not. taken_from: the identities
    (type, MPID) that it took from other profiles. unit: line or row. remarks: what was left out of
    it, and what is worth knowing. passed: whom it did not find.
    """

    import_number: int
    feed: str
    file: str
    line: int
    code: str = ""
    message: str = ""
    raw: str = ""
    activity: Activity | None = None
    touch: Touch | None = None
    taken_from: Sequence[tuple[str, int]] = ()
    unit: str = "line"
    remarks: Sequence[Remarked] = ()
    passed: Passed = Passed()


@dataclass(frozen=True, slots=True)
class Remarked:
    """A code that was said of a row."""

    code: str
    """What was said."""
    attribute: str | None
    """The attribute it was said of."""
    type: str | None
    """The type of the identity it was said of ..."""
    value: str | None
    """... and the identity, as the row states it."""


def explain_row(profiles: Profiles, file: str, line: int) -> list[RowFate]:
    """Say what became of a row, in every import in force that brought its file, oldest first.

    file: as the import named it, the end of that, or another way to the same file from here. Raises
    InputRefused where no import in force brought such a file, or none a row that begins there.
    """
    scratch = profiles.store.scratch
    names = [
        file,
        os.path.normpath(file),
        os.path.relpath(file),
        os.path.normpath(Path(file).absolute()),
    ]
    files = scratch.rows(
        f"select file.import, feed.name, file.path, file.unit, file.first_arrival, file.arrivals from ({IMPORT_FILES}) as file"
        " join store.import as import on import.number = file.import join store.feed as feed on feed.number = import.feed"
        " where exists (select 1 from (select unnest($names::varchar[]) as name) where file.path = name or ends_with(file.path, '/' || name))"
        " order by file.import, file.place",
        {"names": names},
    )
    if not files:
        raise InputRefused(
            f"no import in force brought a file {file}", "profilectl imports list names the files"
        )
    found = [
        replace(fate, unit=unit)
        for number, feed, path, unit, first, arrivals in files
        for fate in _fates(profiles, number, feed, path, line, first, first + arrivals)
    ]
    if all(one.message == NO_ROW for one in found):
        raise InputRefused(f"{file}:{line}: {NO_ROW}")
    return found


def _fates(
    profiles: Profiles, number: int, feed: str, path: str, line: int, first: int, end: int
) -> list[RowFate]:
    """Say what became of the rows of a file that begin at a line: one, but for a JSON document,
    which may have many in a line.
    """
    scratch = profiles.store.scratch
    rejected = scratch.rows(
        f"select code, message, raw from store.reject where import = $number and file = $path and line = $line limit {MOST_OF_A_LINE}",
        {"number": number, "path": path, "line": line},
    )
    arrivals = scratch.rows(
        "select first_arrival + $line - first_line as arrival from (select *, coalesce(lead(first_arrival) over (order by first_arrival), $end) as until"
        " from store.line_run where first_arrival >= $first and first_arrival < $end) where first_line <= $line and first_arrival + $line - first_line < until"
        f" order by arrival limit {MOST_OF_A_LINE}",
        {"line": line, "first": first, "end": end},
    )
    applied = [
        _with_remarks(profiles, _fate(profiles, number, feed, path, line, arrival), arrival)
        for (arrival,) in arrivals
    ]
    refused = [RowFate(number, feed, path, line, *one) for one in rejected]
    # A row that was rejected has an arrival too, and no other fate.
    return [*refused, *(one for one in applied if not refused or one.message != NO_ROW)] or [
        RowFate(number, feed, path, line, "", NO_ROW)
    ]


def _with_remarks(profiles: Profiles, fate: RowFate, arrival: int) -> RowFate:
    """Add what was said of a row, and whom it passed over."""
    rows = profiles.store.scratch.rows(
        "select code, attribute, type, value from store.remark where arrival = $arrival order by code, attribute, type",
        {"arrival": arrival},
    )
    remarks = [
        Remarked(code, attribute, NAME[kind] if kind else None, value)
        for code, attribute, kind, value in rows
    ]
    return replace(
        fate,
        remarks=remarks,
        passed=passed_over(profiles, arrival, profiles.store.settings().rules),
    )


def _fate(
    profiles: Profiles, number: int, feed: str, path: str, line: int, arrival: int
) -> RowFate:
    scratch = profiles.store.scratch
    for (code,) in scratch.rows(
        "select code from store.dropped where arrival = $arrival", {"arrival": arrival}
    ):
        return RowFate(number, feed, path, line, code, sentence(code))
    if scratch.rows(
        "select 1 from store.erased_row where arrival = $arrival and import = $import",
        {"arrival": arrival, "import": number},
    ):
        return RowFate(number, feed, path, line, "", ERASED_ROW)
    for alias in profiles.aliases:
        if alias.arrival == arrival:
            (activity,) = activities(profiles, [alias.destination])
            return RowFate(
                number,
                feed,
                path,
                line,
                activity=activity,
                touch=next(one for one in activity.every() if one.origin.arrival == arrival),
            )
    for segment in profiles.segments:
        if "row" in segment.tables and segment.first_import <= number <= segment.last_import:
            for (profile,) in scratch.rows(
                f"select profile from {segment.table('row')} where arrival = $arrival",
                {"arrival": arrival},
            ):
                (activity,) = activities(profiles, [profile])
                touch = next(one for one in activity.every() if one.origin.arrival == arrival)
                taken = scratch.rows(
                    f"select removed.type, named.mpid from store.removed as removed join ({known_mpids(profiles.segments)}) as named on named.profile = removed.profile"
                    " where removed.arrival = $arrival and removed.profile <> $profile order by 1, 2",
                    {"arrival": arrival, "profile": profile},
                )
                return RowFate(
                    number,
                    feed,
                    path,
                    line,
                    activity=activity,
                    touch=touch,
                    taken_from=[(NAME[code], mpid) for code, mpid in taken],
                )
    return RowFate(number, feed, path, line, "", NO_ROW)


# Rules


def rules_in_force(profiles: Profiles) -> dict[str, Any]:
    """Return the tables in force, for a person and for JSON."""
    settings: Settings = profiles.store.settings()
    rules = settings.rules
    return {
        "identity": {
            "strategy": rules.strategy,
            "hierarchy": list(rules.hierarchy),
            "login": sorted(rules.login),
            "unique": sorted(rules.unique),
            "immutable": sorted(rules.immutable),
            "unique_conflict": rules.unique_conflict,
            "placeholders": rules.judging.listed,
        },
        "attributes": {
            "priority": settings.priority,
            "verdicts": OVERWRITE[settings.priority],
            "sources": [
                {"source": name, "rank": one.rank, "own_unit": one.own_unit}
                for name, one in SOURCES.items()
            ],
        },
        "protection": {
            name: {
                "unknown_user": one.unknown_user.value,
                "known_user": one.known_user.value,
                "code": one.code or None,
            }
            for name, one in PROTECTIONS.items()
        },
        "feeds": [
            {
                "feed": feed.name,
                "unit": feed.owner.unit,
                "rank": SOURCES[feed.source].rank,
                "protection": feed.protection,
            }
            for feed in profiles.store.feeds()
        ],
        "limits": dict(settings.reading.limits),
        "stated": settings.stated,
    }
