"""A sample of what is computed, held against a computation anew, person by person (check.py).

The twins for one person (calculated.value_of, membership.holds) are the definition of right; what
the store has comes from their set-based forms. Compared is what the last refresh left, as of its
time: real-time audiences and calculated attributes. A workspace that a refresh has something to
make up for in is left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from profilectl.audiences.one_person import ages_out_ms, person_of
from profilectl.audiences.refresh import is_up_to_date, people_of, refreshed_ms
from profilectl.profiles.played import activities
from profilectl.rules.calculated import value_of
from profilectl.rules.membership import holds
from profilectl.rules.retention import clocks_of
from profilectl.store.definitions import audiences, calculations, workspaces_defined
from profilectl.store.store import OpenStore

SAMPLE = 200
"""So many profiles of each workspace are computed anew."""


def differences(store: OpenStore) -> Iterator[tuple[str, str, int]]:
    """Yield what the store has computed otherwise than a computation anew gives it: the workspace,
    the name of the calculated attribute or the audience, and of how many profiles of the sample.
    """
    for workspace in workspaces_defined(store):
        at_ms = refreshed_ms(store, workspace)
        if at_ms is not None and is_up_to_date(store, workspace):
            for name, count in sorted(_differing(store, workspace, at_ms).items()):
                yield workspace, name, count


def _sample(store: OpenStore, seen: str) -> list[int]:
    """Return some profiles of those that a workspace has seen: the same each time, those first of
    whom anything is computed.
    """
    rows = store.scratch.rows(
        "select profile from (select distinct profile from store.calculated union select distinct profile from store.membership)"
        f" where profile in ({seen}) order by hash(profile), profile limit {SAMPLE // 2}"
    )
    others = store.scratch.rows(
        f"select distinct profile from ({seen}) order by hash(profile), profile limit {SAMPLE - len(rows)}"
    )
    return sorted({profile for (profile,) in (*rows, *others)})


def _differing(store: OpenStore, workspace: str, at_ms: int) -> Counter[str]:
    """Return of how many profiles of the sample each attribute or audience differs."""
    profiles = people_of(store, workspace, now_ms=at_ms)
    sample = _sample(store, profiles.seen())
    defined = [
        each.definition
        for each in calculations(store)
        if each.definition.workspace == workspace
        and not each.definition.draft
        and each.filled_ms is not None
    ]
    evaluated = [
        each
        for each in audiences(store)
        if each.audience.workspace == workspace
        and each.audience.kind == "real-time"
        and each.filled_ms is not None
    ]
    where = profiles.where(sample)
    values: dict[tuple[int, str], str] = {
        (profile, name): held
        for profile, name, held in store.scratch.rows(
            f"select profile, name, held from store.calculated {where}"
        )
    }
    members: dict[int, list[str]] = {}
    for profile, name in store.scratch.rows(
        f"select profile, audience.name from (select * from store.membership {where}) as membership"
        " join store.audience on audience.number = membership.audience"
    ):
        members.setdefault(profile, []).append(name)
    differing: Counter[str] = Counter()
    clocks = clocks_of(store.settings().stated)
    for activity in activities(profiles, sample, placed=False):
        awake = not activity.dormant
        held = {
            each.name: value_of(each, activity.counted(), at_ms) if awake else None
            for each in defined
        }
        differing.update(
            name for name, value in held.items() if values.get((activity.profile, name)) != value
        )
        ends_ms = ages_out_ms(profiles, activity, clocks)
        if ends_ms is not None and ends_ms <= at_ms:
            # the lifetime may have been set since: no door tells of such a membership (barred.py)
            continue
        person = person_of(activity, held)
        person.audiences = members.get(activity.profile, [])
        differing.update(
            each.name
            for each in evaluated
            if (awake and holds(each.audience.tree, person, at_ms, each.audience.lookback))
            != (each.name in person.audiences)
        )
    return differing
