"""Compare a sample of computed values with a computation anew, person by person (check.py).

The rules for one person (calculated.value_of, membership.holds) are the definition of right; the
store's values come from their twins in SQL. The calculated attributes and real-time audiences that
the last refresh left are compared, as of its time. A workspace for which a refresh still has to
make up is left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from profilectl.audiences.one_person import ages_out_ms, person_of
from profilectl.audiences.people import people_of
from profilectl.audiences.refresh_marks import is_up_to_date, refreshed_ms
from profilectl.profiles.activity import Activity
from profilectl.profiles.played import activities
from profilectl.profiles.read_model import Profiles
from profilectl.rules.audience import Audience
from profilectl.rules.calculated import Definition, value_of
from profilectl.rules.membership import holds
from profilectl.rules.retention import Clocks, clocks_of
from profilectl.store.definitions import audiences, calculations, workspaces_defined
from profilectl.store.statements import reading
from profilectl.store.store import OpenStore

SAMPLE = 200
"""How many profiles of each workspace are computed anew at most."""

# One half of the sample has something computed. The hash mixes the profiles, the same each time.
COMPUTED_SAMPLE = """
select profile
from (
    select distinct profile from store.calculated
    union
    select distinct profile from store.membership
)
where profile in (select profile from seen)
order by hash(profile), profile
limit $number
"""
ANY_SAMPLE = """
select distinct profile
from seen
order by hash(profile), profile
limit $number
"""
VALUES = """
select profile, name, held
from store.calculated
where profile in (select unnest($profiles::bigint[]))
"""
MEMBERSHIPS = """
select membership.profile, audience.name
from store.membership
join store.audience on audience.number = membership.audience
where membership.profile in (select unnest($profiles::bigint[]))
"""


class Difference(NamedTuple):
    """A calculated attribute or an audience whose results differ from a computation anew."""

    workspace: str
    """The workspace."""
    name: str
    """The calculated attribute or the audience."""
    profiles: int
    """How many profiles of the sample it differs for."""


def differences(store: OpenStore) -> Iterator[Difference]:
    """Yield the differences between the store and a computation anew."""
    for workspace in workspaces_defined(store):
        at_ms = refreshed_ms(store, workspace)
        if at_ms is not None and is_up_to_date(store, workspace):
            for name, count in sorted(_differing(store, workspace, at_ms).items()):
                yield Difference(workspace, name, count)


def _sample(store: OpenStore, people: str) -> list[int]:
    """Return some of the profiles that a workspace has seen: the same each time."""
    computed = store.scratch.rows(reading(COMPUTED_SAMPLE, seen=people), {"number": SAMPLE // 2})
    number = SAMPLE - len(computed)
    filling = store.scratch.rows(reading(ANY_SAMPLE, seen=people), {"number": number})
    return sorted({profile for (profile,) in (*computed, *filling)})


def _differing(store: OpenStore, workspace: str, at_ms: int) -> Counter[str]:
    """Return how many profiles of the sample each attribute or audience differs for."""
    profiles = people_of(store, workspace, now_ms=at_ms)
    sample = _sample(store, profiles.seen())
    bound = {"profiles": sample}
    values: dict[int, dict[str, str]] = {profile: {} for profile in sample}
    for profile, name, value in store.scratch.rows(VALUES, bound):
        values[profile][name] = value
    members: dict[int, list[str]] = {profile: [] for profile in sample}
    for profile, name in store.scratch.rows(MEMBERSHIPS, bound):
        members[profile].append(name)
    comparison = _Comparison(
        profiles,
        at_ms=at_ms,
        clocks=clocks_of(store.settings().stated),
        calculations=[
            calculation.definition
            for calculation in calculations(store)
            if calculation.definition.workspace == workspace
            and not calculation.definition.draft
            and calculation.filled_ms is not None
        ],
        audiences=[
            defined.audience
            for defined in audiences(store)
            if defined.audience.workspace == workspace
            and defined.audience.kind == "real-time"
            and defined.filled_ms is not None
        ],
    )
    differing: Counter[str] = Counter()
    for activity in activities(profiles, sample, placed=False):
        person = activity.profile
        differing.update(comparison.of(activity, values[person], members[person]))
    return differing


class _Comparison(NamedTuple):
    """All that is needed to compute the people of a workspace anew."""

    profiles: Profiles
    """The read model of the workspace."""
    at_ms: int
    """The time of the last refresh."""
    clocks: Clocks
    """The clocks of retention in force."""
    calculations: list[Definition]
    """The calculated attributes that were computed."""
    audiences: list[Audience]
    """The real-time audiences that were evaluated."""

    def of(self, activity: Activity, values: dict[str, str], members: list[str]) -> Iterator[str]:
        """Yield the names of the values and audiences that differ for one person.

        `values` are the calculated values that the store has; `members` are the audiences in which
        it has the person.
        """
        at_ms, awake = self.at_ms, not activity.dormant
        computed = {
            calculation.name: value_of(calculation, activity.counted(), at_ms) if awake else None
            for calculation in self.calculations
        }
        yield from (name for name, value in computed.items() if values.get(name) != value)
        ends_ms = ages_out_ms(self.profiles, activity, self.clocks)
        if ends_ms is not None and ends_ms <= at_ms:
            # The lifetime may have been set since: nothing shows such a membership (barred.py).
            return
        person = person_of(activity, computed)
        person.audiences = members
        for audience in self.audiences:
            belongs = awake and holds(audience.tree, person, at_ms, lookback=audience.lookback)
            if belongs != (audience.name in members):
                yield audience.name
