"""Where one person stands: the calculated attributes, the audiences and until when (domain.md 11.2)."""

from __future__ import annotations

from profilectl.activity import Activity, Membership, Standing
from profilectl.attributes import CONSENT_SOURCES
from profilectl.definitions import audiences, calculations
from profilectl.membership import Person, Rest, expires_ms
from profilectl.profile import Profiles


def standing_of(profiles: Profiles, activity: Activity, now_ms: int) -> Standing:
    """Return where a person stands; of the state that `profiles` reads."""
    scratch = profiles.store.scratch
    one = {"profile": activity.profile}
    values = dict(scratch.rows("select name, held from store.calculated where profile = $profile", one)) if profiles.calculated else {}
    calculated = {name: values.get(name) for name in profiles.calculated}
    found = [] if profiles.until is not None else scratch.rows("select audience, since_ms from store.membership where profile = $profile order by audience", one)
    person = person_of(activity, calculated)
    known = {defined.number: defined.audience for defined in audiences(profiles.store)} if found else {}
    person.audiences = [known[number].name for number, _ in found]
    memberships = [
        Membership(number, known[number].name, since_ms, expires_ms(known[number].tree, person, now_ms, known[number].lookback))
        for number, since_ms in found
    ]
    definitions = {one.name: one.definition.as_table() for one in calculations(profiles.store)} if calculated else {}
    return Standing(calculated, definitions, memberships)


def person_of(activity: Activity, calculated: dict[str, str | None]) -> Person:
    """Return a person as audiences see one."""
    held = {key: entry.held for key, entry in activity.attributes.items() if key not in calculated}
    rest = [
        Rest(touch.origin.arrival, touch.origin.at_ms, touch.rest, touch.origin.feed.source in CONSENT_SOURCES)
        for touch in activity.batches() if touch.rest
    ]
    identities: dict[str, list[str]] = {}
    for one in activity.identities:
        identities.setdefault(one.type, []).append(one.value)
    return Person(
        activity.environment, activity.first_seen_ms, activity.last_seen_ms, identities,
        held | {name: value for name, value in calculated.items() if value is not None}, activity.occurred(), rest,
    )
