"""Where one person stands: the calculated attributes, the audiences and until when (domain.md
11.2).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from profilectl.profiles.activity import Activity, AudienceMembership, Standing, Touch
from profilectl.profiles.played import activities
from profilectl.profiles.read_model import Profiles, profiles_of
from profilectl.rules.audience import Audience
from profilectl.rules.calculated import Definition, value_of
from profilectl.rules.criteria import tree as criteria
from profilectl.rules.event.event import Occurred
from profilectl.rules.feed import workspaces_of
from profilectl.rules.identity import BY_NAME
from profilectl.rules.membership import PersonFacts, Rest, barred, expires_ms
from profilectl.rules.priority import CONSENT_SOURCES
from profilectl.rules.retention import Clocks, clocks_of
from profilectl.rules.text.values import Value
from profilectl.store.definitions import Defined, audiences, calculations
from profilectl.store.store import OpenStore


@dataclass(frozen=True, slots=True)
class Definitions:
    """What a store defines, read: audiences by number, the tables of the calculated attributes by
    name; windowed: those whose values change as time passes.
    """

    audiences: dict[int, Defined]
    definitions: dict[str, dict[str, object]]
    windowed: Sequence[Definition] = ()


def known_to(store: OpenStore) -> Definitions:
    """Return what a store defines."""
    every = [one.definition for one in calculations(store)]
    windowed = [one for one in every if one.within_ms is not None and not one.draft]
    return Definitions(
        {one.number: one for one in audiences(store)},
        {one.name: one.as_table() for one in every},
        windowed,
    )


def standing_of(profiles: Profiles, activity: Activity, now_ms: int) -> Standing:
    """Return where a person stands; of the state that `profiles` reads."""
    return standings_of(profiles, [activity], now_ms)[0]


def standings_of(
    profiles: Profiles, people: Sequence[Activity], now_ms: int, known: Definitions | None = None
) -> list[Standing]:
    """Return where each of some people stands; of the state that `profiles` reads.

    known: what its store defines, if it is known.
    """
    scratch = profiles.store.scratch
    where = profiles.where([one.profile for one in people]).partition(" and arrival")[0]
    values: dict[int, dict[str, str | None]] = {}
    if profiles.store.calculated():
        for profile, name, held in scratch.rows(
            f"select profile, name, held from store.calculated {where}"
        ):
            values.setdefault(profile, {})[name] = held
    found: dict[int, list[tuple[int, int]]] = {}
    if profiles.until is None:
        for profile, number, since_ms in scratch.rows(
            f"select profile, audience, since_ms from store.membership {where} order by audience"
        ):
            found.setdefault(profile, []).append((number, since_ms))
    if known is None:
        known = known_to(profiles.store) if found or profiles.calculated else Definitions({}, {})
    standings = []
    clocks = clocks_of(profiles.store.settings().stated)
    elsewhere = _elsewhere(profiles, [one for one in people if one.profile in found], known, values)
    for activity in people:
        calculated = {
            name: values.get(activity.profile, {}).get(name) for name in profiles.calculated
        }
        in_them = found.get(activity.profile, [])
        memberships = []
        out_ms = ages_out_ms(profiles, activity, clocks)
        if in_them and (out_ms is None or out_ms > now_ms):
            person = person_of(activity, calculated), activity
            seen_in = {
                one.audience.workspace: elsewhere.get(
                    (one.audience.workspace, activity.profile), person
                )
                for one in known.audiences.values()
            }
            kept_out = _kept_out(
                known, {workspace: of_it for workspace, (of_it, _) in seen_in.items()}
            )
            in_them = [(number, since_ms) for number, since_ms in in_them if number not in kept_out]
            for number, since_ms in in_them:
                audience = known.audiences[number].audience
                asked, seen = seen_in[audience.workspace]  # whose events and attributes it is about
                asked.audiences = [known.audiences[each].name for each, _ in in_them]
                windowed = [
                    one
                    for one in known.windowed
                    if one.workspace == audience.workspace
                    and one.name in criteria.reads(audience.tree).attributes
                ]
                # Time alone moves nobody out of a standard audience: it is as it was found when it
                # was evaluated.
                moves_ms = (
                    _ends_ms(audience, asked, seen.counted() if windowed else (), windowed, now_ms)
                    if audience.kind == "real-time"
                    else None
                )
                memberships.append(
                    AudienceMembership(
                        number,
                        audience.name,
                        since_ms,
                        min((one for one in (moves_ms, out_ms) if one is not None), default=None),
                    )
                )
        standings.append(Standing(calculated, known.definitions if calculated else {}, memberships))
    return standings


def _kept_out(known: Definitions, people: Mapping[str, PersonFacts]) -> set[int]:
    """Return the audiences, by number, that a person may not be in (barred.py says it of
    everybody). people: the person as each workspace sees it.
    """
    refers = {
        number: bool(criteria.reads(one.audience.tree).audiences)
        for number, one in known.audiences.items()
    }
    found: dict[int, str] = {}
    # those that refer to others come last
    for number in sorted(known.audiences, key=lambda number: refers[number]):
        one = known.audiences[number]
        if barred(one.audience.tree, people[one.audience.workspace], found.values()):
            found[number] = one.name
    return set(found)


def _ends_ms(
    audience: Audience,
    person: PersonFacts,
    counted: Sequence[Occurred],
    windowed: Sequence[Definition],
    now_ms: int,
) -> int | None:
    """Return when a membership ends as time passes; windowed: the calculated attributes it rests on
    that change as well; counted: the events that those rest on.
    """
    if not windowed:
        return expires_ms(audience.tree, person, now_ms, audience.lookback)

    def at(moment_ms: int) -> PersonFacts:
        values = {one.name: value_of(one, counted, moment_ms) for one in windowed}
        stay = {key: held for key, held in person.attributes.items() if key not in values}
        return replace(
            person,
            attributes=stay | {name: held for name, held in values.items() if held is not None},
        )

    turns = {
        event.at_ms + span
        for event in counted
        for one in windowed
        for span in (0, one.within_ms or 0)
    }
    return expires_ms(audience.tree, person, now_ms, audience.lookback, turns=turns, at=at)


def ages_out_ms(profiles: Profiles, activity: Activity, clocks: Clocks) -> int | None:
    """Return the first millisecond at which a profile is beyond its lifetime
    (retention.Clocks.stage).
    """
    carried = profiles.carried(activity.profile)
    last_ms = max(activity.last_seen_ms, carried.due_ms if carried else activity.last_seen_ms)
    lives = [period for period in (clocks.lifetime_ms, clocks.retention_ms) if period is not None]
    return last_ms + min(lives) + 1 if lives else None


def _elsewhere(
    profiles: Profiles,
    members: Sequence[Activity],
    known: Definitions,
    values: dict[int, dict[str, str | None]],
) -> dict[tuple[str, int], tuple[PersonFacts, Activity]]:
    """Return the people who are in audiences of other workspaces, as those see them: (workspace,
    profile) -> person, activity.
    """
    store = profiles.store
    others = {one.audience.workspace for one in known.audiences.values()} & set(
        workspaces_of(store.feeds())
    ) - {profiles.workspace}
    return {
        (workspace, one.profile): (
            person_of(
                one, {name: values.get(one.profile, {}).get(name) for name in other.calculated}
            ),
            one,
        )
        for workspace in sorted(others)
        if members
        for other in [profiles_of(store, workspace=workspace)]
        for one in activities(other, [one.profile for one in members], placed=False)
    }


def person_of(activity: Activity, calculated: dict[str, str | None]) -> PersonFacts:
    """Return a person as real-time audiences see one."""
    held = {key: entry.held for key, entry in activity.attributes.items() if key not in calculated}
    rest = [
        Rest(
            touch.origin.arrival,
            touch.origin.at_ms,
            document,
            touch.origin.feed.source in CONSENT_SOURCES,
        )
        for touch in activity.touches
        for document in (touch.rest, device_rest(touch))
        if document
    ]
    identities: dict[str, list[str]] = {}
    for one in activity.identities:
        identities.setdefault(one.type, []).append(one.value)
    return PersonFacts(
        activity.environment,
        activity.first_seen_ms,
        activity.last_seen_ms,
        identities,
        held | {name: value for name, value in calculated.items() if value is not None},
        activity.counted(),
        rest,
    )


def device_rest(touch: Touch) -> dict[str, Value]:
    """Return what a row says of a device that only its columns name, as a batch would say it; of a
    batch that states one: nothing.
    """
    ids: dict[str, Value] = {one.type: one.value for one in touch.added if BY_NAME[one.type].device}
    if not ids or isinstance(touch.rest.get("device_info"), dict):
        return {}
    stamp = {name: ids.pop(name) for name in ("mp_deviceid",) if name in ids}
    return {**stamp, "device_info": ids}
