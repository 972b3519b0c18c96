"""The standing of one person: calculated attributes, audiences and until when (domain.md 11.2)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from profilectl.profiles.activity import Activity, AudienceMembership, Standing, Touch
from profilectl.profiles.played import activities
from profilectl.profiles.read_model import Profiles, profiles_of
from profilectl.rules.audience import Audience
from profilectl.rules.calculated import Definition, value_of
from profilectl.rules.criteria import tree as criteria
from profilectl.rules.event.event import Occurred
from profilectl.rules.feed import workspaces_of
from profilectl.rules.identity import BY_NAME
from profilectl.rules.membership import OtherFields, PersonFacts, barred, expires_ms
from profilectl.rules.priority import CONSENT_SOURCES
from profilectl.rules.retention import Clocks, clocks_of
from profilectl.rules.text.values import Value
from profilectl.store.definitions import Defined, audiences, calculations
from profilectl.store.statements import select
from profilectl.store.store import OpenStore

Values = dict[int, dict[str, str | None]]
"""The held values of calculated attributes, by profile and name."""


@dataclass(frozen=True, slots=True)
class Definitions:
    """The definitions of a store."""

    audiences: dict[int, Defined]
    """The audiences, by number."""
    definitions: dict[str, dict[str, object]]
    """The calculated attributes as the configuration has them, by name."""
    windowed: Sequence[Definition] = ()
    """The calculated attributes whose values change as time passes."""


class _Membership(NamedTuple):
    """A membership, as the store has it."""

    audience: int
    """The number of the audience."""
    since_ms: int
    """Since when."""


class _PersonSeen(NamedTuple):
    """A person, as a workspace sees the person."""

    person: PersonFacts
    """The facts by which audiences are decided."""
    activity: Activity
    """The activity from which that follows."""


def known_to(store: OpenStore) -> Definitions:
    """Return what a store defines."""
    every = [each.definition for each in calculations(store)]
    return Definitions(
        audiences={each.number: each for each in audiences(store)},
        definitions={each.name: each.as_table() for each in every},
        windowed=[each for each in every if each.within_ms is not None and not each.draft],
    )


def standing_of(profiles: Profiles, activity: Activity, now_ms: int) -> Standing:
    """Return the standing of a person, in the state that `profiles` reads."""
    return standings_of(profiles, [activity], now_ms)[0]


def standings_of(
    profiles: Profiles, people: Sequence[Activity], now_ms: int, defined: Definitions | None = None
) -> list[Standing]:
    """Return the standing of each of some people, in the state that `profiles` reads.

    `defined` is what its store defines, if the caller has read it.
    """
    # Without the limit on arrivals: the tables of values and memberships have none.
    clause = profiles.where([person.profile for person in people]).partition(" and arrival")[0]
    values = _values(profiles, clause)
    # a store without audiences has no memberships: the statement would cost as much all the same
    without_audiences = defined is not None and not defined.audiences
    memberships = {} if without_audiences else _memberships(profiles, clause)
    if defined is None:
        needed = memberships or profiles.calculated
        defined = known_to(profiles.store) if needed else Definitions({}, {})
    members = [person for person in people if person.profile in memberships]
    elsewhere = _elsewhere(profiles, members, defined, values=values)
    clocks = clocks_of(profiles.store.settings().stated)
    standings = []
    for activity in people:
        calculated = _calculated(profiles, activity, values)
        out_ms = ages_out_ms(profiles, activity, clocks)
        in_them = memberships.get(activity.profile, [])
        held: list[AudienceMembership] = []
        if in_them and (out_ms is None or out_ms > now_ms):
            own = _PersonSeen(person_of(activity, calculated), activity)
            seen_in = {
                each.audience.workspace: elsewhere.get(
                    (each.audience.workspace, activity.profile), own
                )
                for each in defined.audiences.values()
            }
            held = _in_force(defined, in_them, seen_in, out_ms=out_ms, now_ms=now_ms)
        definitions = defined.definitions if calculated else {}
        standings.append(Standing(calculated, definitions, held))
    return standings


def _values(profiles: Profiles, clause: str) -> Values:
    """Return the calculated values of some profiles."""
    values: Values = {}
    if profiles.store.calculated():
        rows = profiles.store.scratch.rows(
            select("profile, name, held", "store.calculated", clause)
        )
        for profile, name, held in rows:
            values.setdefault(profile, {})[name] = held
    return values


def _memberships(profiles: Profiles, clause: str) -> dict[int, list[_Membership]]:
    """Return the memberships of some profiles; in a state that is past there are none."""
    memberships: dict[int, list[_Membership]] = {}
    if profiles.until is None:
        rows = profiles.store.scratch.rows(
            select("profile, audience, since_ms", "store.membership", f"{clause} order by audience")
        )
        for profile, number, since_ms in rows:
            memberships.setdefault(profile, []).append(_Membership(number, since_ms))
    return memberships


def _calculated(profiles: Profiles, activity: Activity, values: Values) -> dict[str, str | None]:
    of_person = values.get(activity.profile, {})
    return {name: of_person.get(name) for name in profiles.calculated}


def _in_force(
    defined: Definitions,
    memberships: Iterable[_Membership],
    seen_in: Mapping[str, _PersonSeen],
    *,
    out_ms: int | None,
    now_ms: int,
) -> list[AudienceMembership]:
    """Return the memberships of a person that hold, and when each ends.

    `seen_in` is the person as each workspace sees one; `out_ms` is when the profile's lifetime
    ends.
    """
    kept_out = _kept_out(defined, seen_in)
    holding = [each for each in memberships if each.audience not in kept_out]
    names = [defined.audiences[each.audience].name for each in holding]
    in_force = []
    for number, since_ms in holding:
        audience = defined.audiences[number].audience
        # whose events and attributes it is about
        person, activity = seen_in[audience.workspace]
        person.audiences = names
        # Time alone moves nobody out of a standard audience: it is as it was found when it was
        # evaluated.
        moves_ms = None
        if audience.kind == "real-time":
            windowed = [
                each
                for each in defined.windowed
                if each.workspace == audience.workspace
                and each.name in criteria.reads(audience.tree).attributes
            ]
            counted = activity.counted() if windowed else ()
            moves_ms = _ends_ms(audience, person, counted, windowed=windowed, now_ms=now_ms)
        ends = [at_ms for at_ms in (moves_ms, out_ms) if at_ms is not None]
        in_force.append(
            AudienceMembership(
                audience=number,
                name=audience.name,
                since_ms=since_ms,
                expires_ms=min(ends, default=None),
            )
        )
    return in_force


def _kept_out(defined: Definitions, seen_in: Mapping[str, _PersonSeen]) -> set[int]:
    """Return the audiences, by number, that a person may not be in.

    barred.py finds the same for everybody.
    """
    refers = {
        number: bool(criteria.reads(each.audience.tree).audiences)
        for number, each in defined.audiences.items()
    }
    names: dict[int, str] = {}
    # those that refer to others come last
    for number in sorted(defined.audiences, key=lambda number: refers[number]):
        audience = defined.audiences[number]
        person = seen_in[audience.audience.workspace].person
        if barred(audience.audience.tree, person, names.values()):
            names[number] = audience.name
    return set(names)


def _ends_ms(
    audience: Audience,
    person: PersonFacts,
    counted: Sequence[Occurred],
    *,
    windowed: Sequence[Definition],
    now_ms: int,
) -> int | None:
    """Return when a membership ends as time passes.

    `windowed` are the calculated attributes that the membership rests on and that change with time;
    `counted` are the events that these rest on.
    """
    if not windowed:
        return expires_ms(audience.tree, person, now_ms, lookback=audience.lookback)

    def at(moment_ms: int) -> PersonFacts:
        values = {each.name: value_of(each, counted, moment_ms) for each in windowed}
        stay = {key: held for key, held in person.attributes.items() if key not in values}
        now_held = {name: held for name, held in values.items() if held is not None}
        return replace(person, attributes=stay | now_held)

    # An event enters a window at its own time, and leaves it the length of the window later.
    turns = {
        event.at_ms + span_ms
        for event in counted
        for definition in windowed
        for span_ms in (0, definition.within_ms or 0)
    }
    return expires_ms(audience.tree, person, now_ms, lookback=audience.lookback, turns=turns, at=at)


def ages_out_ms(profiles: Profiles, activity: Activity, clocks: Clocks) -> int | None:
    """Return the first millisecond at which a profile is beyond its lifetime.

    The rule is retention.Clocks.stage: on the boundary itself nothing expires yet. None: lifetimes
    do not end.
    """
    carried = profiles.carried(activity.profile)
    # the lifetime of a destination counts from its alias too (domain.md 4.5)
    last_ms = max(activity.last_seen_ms, carried.due_ms if carried else activity.last_seen_ms)
    lives = [period for period in (clocks.lifetime_ms, clocks.retention_ms) if period is not None]
    return last_ms + min(lives) + 1 if lives else None


def _elsewhere(
    profiles: Profiles, members: Sequence[Activity], defined: Definitions, *, values: Values
) -> dict[tuple[str, int], _PersonSeen]:
    """Return people as the workspaces of other audiences see them, by (workspace, profile)."""
    if not members:
        return {}
    store = profiles.store
    defining = {each.audience.workspace for each in defined.audiences.values()}
    workspaces = defining & set(workspaces_of(store.feeds())) - {profiles.workspace}
    by_workspace = {}
    for workspace in sorted(workspaces):
        of_workspace = profiles_of(store, workspace=workspace)
        people = [person.profile for person in members]
        for activity in activities(of_workspace, people, placed=False):
            calculated = _calculated(of_workspace, activity, values)
            by_workspace[workspace, activity.profile] = _PersonSeen(
                person_of(activity, calculated), activity
            )
    return by_workspace


def person_of(activity: Activity, calculated: dict[str, str | None]) -> PersonFacts:
    """Return a person as real-time audiences see one."""
    # a calculated attribute masks the one of its name, even where it has no value
    held = {key: entry.held for key, entry in activity.attributes.items() if key not in calculated}
    batches = [
        OtherFields(
            touch.origin.arrival,
            touch.origin.at_ms,
            document,
            speaks_of_consent=touch.origin.feed.source in CONSENT_SOURCES,
        )
        for touch in activity.touches
        for document in (touch.rest, device_rest(touch))
        if document
    ]
    identities: dict[str, list[str]] = {}
    for identity in activity.identities:
        identities.setdefault(identity.type, []).append(identity.value)
    computed = {name: value for name, value in calculated.items() if value is not None}
    return PersonFacts(
        environment=activity.environment,
        first_seen_ms=activity.first_seen_ms,
        last_seen_ms=activity.last_seen_ms,
        identities=identities,
        attributes=held | computed,
        events=activity.counted(),
        rest=batches,
    )


def device_rest(touch: Touch) -> dict[str, Value]:
    """Return the device that only the columns of a row name, as a batch would state it.

    It is empty for a batch that describes its device itself.
    """
    ids: dict[str, Value] = {
        identity.type: identity.value for identity in touch.added if BY_NAME[identity.type].device
    }
    if not ids or isinstance(touch.rest.get("device_info"), dict):
        return {}
    stamp = {name: ids.pop(name) for name in ("mp_deviceid",) if name in ids}
    return {**stamp, "device_info": ids}
