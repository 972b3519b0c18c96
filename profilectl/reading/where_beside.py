"""What `--where` reads beside the rows of profiles: events, devices, consent, places, audiences.

Each such test is evaluated for everybody as that of an audience is, and its people are named in one
relation. Loaded only where a condition has such a test.
"""

from __future__ import annotations

from collections.abc import Sequence

from profilectl.audiences.barred import in_force
from profilectl.audiences.people import person_relations
from profilectl.audiences.sql.membership_sql import (
    AudienceToEvaluate,
    PeopleRelations,
    members,
    needs,
)
from profilectl.profiles.read_model import Profiles
from profilectl.rules.criteria.tree import Criterion, Reads
from profilectl.rules.event.field import caseless
from profilectl.rules.text.naming import no_such
from profilectl.store.definitions import audience_defined, audiences
from profilectl.store.segments import both
from profilectl.store.statements import is_in, numbers, reading

EVENT_COLUMNS = ("profile", "arrival", "place", "type", "name", "at_ms", "event")
RELATIONS = ("person", "rest", "event", "member")
"""The relations that are made for the evaluation, and dropped after it."""

# Who holds a membership, by the name of the audience.
MEMBER = """
select membership.profile, audience.name as audience
from membership
join store.audience on audience.number = membership.audience
"""
EVENT_NAMES = "select distinct name from happened where name is not null"


def make_met_beside(profiles: Profiles, tests: Sequence[Criterion], now_ms: int) -> None:
    """Make `met_beside`: profile, audience (the place of the test that it passes, as text).

    All events that are kept count, and people who have opted out count too. Raises UsageError for
    an event or an audience that is not there.
    """
    scratch = profiles.store.scratch
    evaluated = [AudienceToEvaluate(str(place), test) for place, test in enumerate(tests)]
    read = needs(evaluated)
    _check_events(profiles, read)
    referred = [_audience(profiles, name) for name in read.audiences]
    clause = both("", is_in("audience", numbers(referred)))
    wanted = [each for each in audiences(profiles.store) if each.number in referred]
    held = in_force(profiles, now_ms, clause, wanted=wanted)
    scratch.make("member", reading(MEMBER, membership=held))
    scratch.make("event", profiles.events(profiles.happened(), EVENT_COLUMNS), keep=False)
    person_relations(profiles, read, "")
    scratch.make("met_beside", members(evaluated, now_ms, PeopleRelations(with_opted_out=True)))
    for name in RELATIONS:
        scratch.drop(name)


def _audience(profiles: Profiles, name: str) -> int:
    """Return the number of an audience, whose name compares without case."""
    for each in audiences(profiles.store):
        if caseless(each.name) == caseless(name):
            return each.number
    return audience_defined(profiles.store, name).number


def _check_events(profiles: Profiles, read: Reads) -> None:
    """Refuse the name of an event that never happened. Raises UsageError."""
    wanted = [test.name for test in read.happened if test.name is not None]
    if not wanted:
        return
    happened = profiles.events(profiles.happened(), ("name", "type", "feed"))
    names = [
        name for (name,) in profiles.store.scratch.rows(reading(EVENT_NAMES, happened=happened))
    ]
    folded = set(map(caseless, names))
    for name in wanted:
        if caseless(name) not in folded:
            raise no_such("event", name, names, option="--where")
