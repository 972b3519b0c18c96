"""TODO profiles.played (split off profiles.activity)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from profilectl.codes import NobodyFound, UsageError
from profilectl.profiles.activity import (
    Activity,
    AttributeChange,
    Carried,
    HeldIdentity,
    Origin,
    SeenEvent,
    Touch,
)
from profilectl.profiles.aliases import Alias
from profilectl.profiles.ended_lifetimes import FORGOTTEN, RETIRED
from profilectl.profiles.read_model import Profiles
from profilectl.rules.event.event import Occurred
from profilectl.rules.feed import Feed
from profilectl.rules.identity import BY_NAME, NAME, key_of
from profilectl.rules.sql.identities import ENVIRONMENT_NAME, hash_of
from profilectl.rules.text.values import DELETED, parse_json
from profilectl.store.segments import IMPORT_FILES, known_events, known_mpids

NOWHERE = (0, "", "line", 0, "")
"""The origin of a row whose place was not asked for, as origins_of has it."""


_SEEN = ("profile", "arrival", "place", "type", "name", "at_ms", "session", "event")


def activities(profiles: Profiles, found: Sequence[int], *, placed: bool = True) -> list[Activity]:
    """Return the activity of some profiles, in the order given; of the state that `profiles` reads.

    placed: with the import, file and line of each origin, and with what was blocked; that takes as
    long as all the rest, for a single profile.
    """
    raw = _Raw(profiles, found, placed)
    return [one for profile in found if (one := _played(profiles, profile, raw))]


def one_meant(
    profiles: Profiles,
    who: tuple[str, str],
    pick: int | None = None,
    environment: str | None = None,
) -> Activity:
    """Return the one profile that is meant.

    who: an identity type (or mpid, any) and value; pick: which of several, from 1; environment: in
    that one only. Raises NobodyFound, and UsageError where several are meant.
    """
    found = [
        one
        for one in activities(profiles, profiles.find(*who))
        if environment in (None, one.environment)
    ]
    if not found:
        raise NobodyFound(
            f"nobody has the {'identity or MPID' if who[0] == 'any' else who[0]} {who[1]}"
        )
    if pick is None and len(found) > 1:
        listed = ", ".join(f"{one.mpid} ({one.environment})" for one in found[:5])
        pick_one = "--pick N, in the order of `profilectl show`"
        by_mpid = who[0] != "mpid" and len({one.mpid for one in found}) == len(found)
        raise UsageError(
            f"{len(found)} profiles have the {who[0]} {who[1]}: {listed}",
            f"name one by --mpid, or by {pick_one}" if by_mpid else pick_one,
        )
    if pick is not None and not 1 <= pick <= len(found):
        raise UsageError(f"--pick {pick}: there are {len(found)}")
    return found[(pick or 1) - 1]


def meant_again(profiles: Profiles, who: tuple[str, str], mpid: str, environment: str) -> Activity:
    """Return the profile that a change by hand was about, for making it again: of those that `who`
    names now the one with the MPID it had, or the only one. Raises NobodyFound, UsageError.
    """
    found = [
        one for one in activities(profiles, profiles.find(*who)) if one.environment == environment
    ]
    same = [one for one in found if str(one.mpid) == mpid]
    return same[0] if same else one_meant(profiles, who, environment=environment)


class _Raw:
    """The rows of some profiles as they lie in the segments."""

    def __init__(self, profiles: Profiles, found: Sequence[int], placed: bool) -> None:
        self.scratch = profiles.store.scratch
        self.feeds = {feed.number: feed for feed in profiles.store.feeds()}
        self.secret = profiles.store.meta("secret")
        where = profiles.where(found)
        self.rows: dict[int, list[tuple[Any, ...]]] = {}
        self.cells: dict[tuple[int, int], list[tuple[str, str, str]]] = {}
        self.rest: dict[tuple[int, int], str] = {}
        self.events: dict[tuple[int, int], list[SeenEvent]] = {}
        for segment in profiles.segments:
            if "row" not in segment.tables:
                continue
            identities = ", ".join(f"i_{kind}" for kind in segment.identities)
            cells = ", ".join(f"a{n}" for n in range(len(segment.keys)))
            for profile, arrival, founded, environment, feed, at_ms, ids, values in self._ask(
                f"select profile, arrival, mpid, environment, feed, at_ms, [{identities}]::varchar[], [{cells}]::varchar[]"
                f" from {segment.table('row')} {where}"
            ):
                named = [
                    (kind, value)
                    for kind, value in zip(segment.identities, ids, strict=True)
                    if value is not None
                ]
                self.rows.setdefault(profile, []).append(
                    (arrival, founded, environment, feed, at_ms, named)
                )
                self._keep(profile, arrival, segment.keys, values, "")
            if "loose" in segment.tables:
                for profile, arrival, key, value in self._ask(
                    f"select profile, arrival, key, value from {segment.table('loose')} {where}"
                ):
                    self._keep(profile, arrival, [key], [value], "")
            if "blocked" in segment.tables and placed:
                # It has the columns of those attributes only that something was refused of.
                none = "".join(f", null::varchar as a{n}" for n in range(len(segment.keys)))
                shaped = f"select null::bigint as profile, null::bigint as arrival, null::varchar as code{none} where false"
                for profile, arrival, code, values in self._ask(
                    f"select profile, arrival, code, [{cells}]::varchar[] from ({shaped} union all by name select * from {segment.table('blocked')} {where})"
                ):
                    self._keep(profile, arrival, segment.keys, values, code)
            if "blocked_loose" in segment.tables and placed:
                for profile, arrival, code, key, value in self._ask(
                    f"select profile, arrival, code, key, value from {segment.table('blocked_loose')} {where}"
                ):
                    self._keep(profile, arrival, [key], [value], code)
            if "rest" in segment.tables:
                for profile, arrival, rest in self._ask(
                    f"select profile, arrival, rest from {segment.table('rest')} {where}"
                ):
                    self.rest[profile, arrival] = rest
        for profile, arrival, *event in self._ask(
            f"select * from ({known_events(profiles.segments, where=where, columns=_SEEN)}) order by profile, arrival, place"
        ):
            self.events.setdefault((profile, arrival), []).append(SeenEvent(*event[1:]))
        self.removed = (
            self._ask(f"select profile, type, hash, arrival from store.removed {where}")
            if profiles.removals
            else []
        )
        self.takers = self._takers(
            profiles,
            {arrival for *_, arrival in self.removed}
            - {row[0] for rows in self.rows.values() for row in rows},
        )
        self.aged: dict[int, list[int]] = {}
        listed = ", ".join(map(str, found)) or "null"
        for profile, at_ms in self._ask(
            f"select aged.profile, erasure.at_ms from store.aged join store.erasure on erasure.number = aged.erasure where aged.profile in ({listed}) order by 2"
        ):
            self.aged.setdefault(profile, []).append(at_ms)
        self.forgotten: dict[int, int] = dict(
            self._ask(f"select profile, before from ({FORGOTTEN}) where profile in ({listed})")
        )
        retired = self._ask(
            f"select profile, aged_ms, before from ({RETIRED}) where profile in ({listed})"
        )
        self.retired: dict[int, tuple[int, int | None]] = {
            profile: (aged_ms, before) for profile, aged_ms, before in retired
        }
        self.aliases = [
            one for one in profiles.aliases if {one.source, one.destination} & set(found)
        ]
        # alias -> row, place in it and feed of an event, and the event
        self.carried: dict[int, list[tuple[int, int, int, SeenEvent]]] = {}
        for one in profiles.carrying():
            if one.destination in found:
                happened = known_events(
                    profiles.segments, where=one.where, columns=(*_SEEN, "feed")
                )
                for _, arrival, position, *event, feed in self._ask(
                    f"select * from ({happened}) order by at_ms, arrival, place"
                ):
                    self.carried.setdefault(one.before, []).append(
                        (arrival, position, feed, SeenEvent(*event))
                    )
        self.mpids: dict[int, int] = {}
        self.sources: set[int] = set()  # of aliases: those that the workspace has seen
        self.asked: dict[int, tuple[int, int]] = {}
        if self.aliases:
            sides = ", ".join(
                str(side) for one in self.aliases for side in (one.source, one.destination)
            )
            self.sources = {source for (source,) in self._ask(profiles.sources_seen())}
            self.mpids = dict(
                self._ask(
                    f"select profile, mpid from ({known_mpids(profiles.segments)}) where profile in ({sides})"
                )
            )
            rows = self._ask(
                "select alias.arrival, import.feed, import.started_ms from store.alias join store.import on import.number = alias.import"
            )
            self.asked = {arrival: (feed, at_ms) for arrival, feed, at_ms in rows}
        arrivals = (
            {row[0] for rows in self.rows.values() for row in rows}
            | {one.arrival for one in self.aliases}
            | {*self.takers}
        )
        self.origins = (
            origins_of(profiles, sorted(arrivals)) if placed else dict.fromkeys(arrivals, NOWHERE)
        )

    def _takers(self, profiles: Profiles, arrivals: set[int]) -> dict[int, tuple[int, int, int]]:
        """Return whose rows some are: arrival -> (MPID, feed, time)."""
        if not arrivals:
            return {}
        listed = f"where arrival in ({', '.join(map(str, sorted(arrivals)))})"
        rows = " union all ".join(
            f"select profile, arrival, feed, at_ms from {one.table('row')} {listed}"
            for one in profiles.segments
            if "row" in one.tables
        )
        found = self._ask(
            f"select row.arrival, named.mpid, row.feed, row.at_ms from ({rows}) as row join ({known_mpids(profiles.segments)}) as named on named.profile = row.profile"
        )
        return {arrival: (mpid, feed, at_ms) for arrival, mpid, feed, at_ms in found}

    def _ask(self, select: str) -> list[tuple[Any, ...]]:
        return self.scratch.rows(select)

    def _keep(
        self,
        profile: int,
        arrival: int,
        keys: Sequence[str],
        values: Sequence[str | None],
        code: str,
    ) -> None:
        cells = self.cells.setdefault((profile, arrival), [])
        cells += [
            (key, value, code) for key, value in zip(keys, values, strict=True) if value is not None
        ]


def origins_of(
    profiles: Profiles, arrivals: Sequence[int]
) -> dict[int, tuple[int, str, str, int, str]]:
    """Return where rows stand: arrival -> (import, file, unit, line or row, protection)."""
    if not arrivals:
        return {}
    rows = profiles.store.scratch.rows(
        "select one.arrival, import.number, import_file.path, import_file.unit, line_run.first_line + one.arrival - line_run.first_arrival,"
        f" import.protection from (select unnest($arrivals::bigint[]) as arrival) as one asof join ({IMPORT_FILES}) as import_file"
        " on one.arrival >= import_file.first_arrival asof join store.line_run as line_run on one.arrival >= line_run.first_arrival"
        " join store.import as import on import.number = import_file.import",
        {"arrivals": list(arrivals)},
    )
    return {arrival: tuple(rest) for arrival, *rest in rows}


def _played(profiles: Profiles, profile: int, raw: _Raw) -> Activity | None:
    """Play the rows of a profile through in order."""
    rows = sorted(raw.rows.get(profile, ()))
    if not rows:
        return None
    feeds, secret = raw.feeds, raw.secret
    mpid = next(row[1] for row in rows if row[1] is not None)
    environment = ENVIRONMENT_NAME[rows[0][2]]
    gone: dict[tuple[str, int], list[int]] = {}
    for owner, code, digest, arrival in raw.removed:
        if owner == profile:
            gone.setdefault((NAME[code], digest), []).append(arrival)
    found = Activity(
        mpid,
        environment,
        profile,
        min(row[4] for row in rows),
        max(row[4] for row in rows),
        [],
        [],
        {},
        {},
        [],
        workspace=profiles.workspace,
    )
    owners: dict[str, Origin] = {}
    for arrival, founded, _, feed, at_ms, identities in rows:
        number, file, unit, place, protection = raw.origins[arrival]
        origin = Origin(arrival, number, feeds[feed], protection, file, unit, place, at_ms)
        here = profiles.workspace is None or feeds[feed].seen_in(profiles.workspace)
        rest = raw.rest.get((profile, arrival))
        touch = Touch(
            origin,
            founded is not None,
            events=raw.events.get((profile, arrival), []),
            rest=_rest(rest) if rest else {},
        )
        for kind, value in identities:
            digest = hash_of(secret, environment, kind, key_of(BY_NAME[kind], value))
            lost = min((one for one in gone.get((kind, digest), ()) if one > arrival), default=None)
            identity = HeldIdentity(kind, value, origin, lost)
            touch.added.append(identity)
            (found.identities if lost is None else found.lost).append(identity)
        for key, held, code in sorted(raw.cells.get((profile, arrival), ())):
            if not here and not code:
                owners[key] = origin
            elif not here:
                continue
            elif (
                code or held != DELETED or key in found.attributes
            ):  # deleting what is not there does nothing
                touch.entries.append(_entry(found, key, held, code, origin, owners.get(key)))
        (found.touches if here else found.elsewhere).append(touch)
    _carry(profiles, found, raw, feeds)
    found.aged_ms, found.forgotten = raw.aged.get(profile, []), raw.forgotten.get(profile, 0)
    aged_ms, before = raw.retired.get(profile, (None, None))
    found.dormant = aged_ms is not None and (
        rows[-1][0] < before if before is not None else max(row[4] for row in rows) <= aged_ms
    )
    by_arrival = {touch.origin.arrival: touch for touch in found.every()}
    for one in found.lost:
        if one.lost in raw.takers and one.lost not in by_arrival:
            mpid, feed, at_ms = raw.takers[one.lost]
            number, file, unit, place, protection = raw.origins[one.lost]
            by_arrival[one.lost] = Touch(
                Origin(one.lost, number, feeds[feed], protection, file, unit, place, at_ms),
                False,
                taker=mpid,
            )
            found.taken.append(by_arrival[one.lost])
        if one.lost in by_arrival:
            by_arrival[one.lost].removed.append(one)
    return found


def _carry(profiles: Profiles, found: Activity, raw: _Raw, feeds: dict[int, Feed]) -> None:
    """Add the aliases of a profile to its activity, and what they carried over."""
    carried = profiles.carried(found.profile)
    if carried:
        later = (
            touch.origin.at_ms for touch in found.every() if touch.origin.arrival > carried.arrival
        )
        found.first_seen_ms = min((carried.first_seen_ms, *later))
    for one in raw.aliases:
        if found.profile not in (one.source, one.destination):
            continue
        number, file, unit, place, protection = raw.origins[one.arrival]
        taken = one.in_force and found.profile == one.destination
        attribution = profiles.attribution_carried(one) if taken else {}
        feed, at_ms = raw.asked[one.arrival]
        origin = Origin(one.arrival, number, feeds[feed], protection, file, unit, place, at_ms)
        here, every = _events_carried(found, raw, feeds, one)
        found.carried += [(one.arrival, event) for event in every]
        seen = one.source in raw.sources
        (found.touches if seen else found.elsewhere).append(
            Touch(
                origin,
                False,
                events=here,
                rest={"attribution_info": attribution} if attribution else {},
                alias=Carried(
                    raw.mpids[one.source],
                    raw.mpids[one.destination],
                    one.start_ms,
                    one.end_ms,
                    one.due_ms,
                    one.first_seen_ms,
                    one.in_force,
                ),
            )
        )
    found.touches.sort(key=lambda touch: touch.origin.arrival)
    found.elsewhere.sort(key=lambda touch: touch.origin.arrival)


def _events_carried(
    found: Activity, raw: _Raw, feeds: dict[int, Feed], alias: Alias
) -> tuple[list[SeenEvent], list[Occurred]]:
    """Return the events that an alias carries over to a profile: those of its workspace, and with
    them the opt-outs of all.
    """
    here: list[SeenEvent] = []
    every: list[Occurred] = []
    for arrival, place, feed, event in (
        raw.carried.get(alias.arrival, ()) if found.profile == alias.destination else ()
    ):
        seen = found.workspace is None or feeds[feed].seen_in(found.workspace)
        if seen:
            here.append(event)
        if (seen or event.type == "opt_out") and isinstance(document := event.document, dict):
            every.append(
                Occurred(
                    event.type, event.name, event.at_ms, arrival, place, event.session, document
                )
            )
    return here, every


def _rest(text: str) -> dict[str, Any]:
    found = parse_json(text)
    return found if isinstance(found, dict) else {}


def _entry(
    found: Activity, key: str, held: str, code: str, origin: Origin, elsewhere: Origin | None
) -> AttributeChange:
    """Apply one cell to the profile as it was, and say what it did.

    elsewhere: who owns the attribute in another workspace, which only an account feed can be
    refused for.
    """
    before = found.attributes.get(key)
    had = before.held if before else None
    kind = (
        "blocked"
        if code
        else "deleted"
        if held == DELETED
        else "set"
        if had is None
        else "unchanged"
        if had == held
        else "changed"
    )
    entry = AttributeChange(
        key, kind, held, had, before.origin if before else elsewhere if code else None, origin, code
    )
    found.history.setdefault(key, []).append(entry)
    if kind == "deleted":
        found.attributes.pop(key, None)
    elif kind != "blocked":
        found.attributes[key] = entry
    return entry
