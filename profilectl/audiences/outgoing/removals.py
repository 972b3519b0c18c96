"""Profiles removed from outputs because the store loses them, by the identities they had there."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

from profilectl.audiences.outgoing.routes import Route, audience_routes
from profilectl.profiles.read_model import Profiles, profiles_of
from profilectl.rules.identity import BY_NAME, key_of
from profilectl.rules.leaving.audience_connection import DELETE, identities_sent
from profilectl.rules.leaving.output import WAITING
from profilectl.rules.sql.identities import ENVIRONMENT_NAME, hash_of
from profilectl.store.scratch import Bound
from profilectl.store.segments import both, known_identities
from profilectl.store.statements import among, is_in, reading, select
from profilectl.store.store import OpenStore

COLUMNS = (
    ("message", "VARCHAR"), ("number", "BIGINT"), ("output", "VARCHAR"), ("audience", "INTEGER"),
    ("profile", "BIGINT"), ("mpid", "BIGINT"), ("environment", "UTINYINT"), ("action", "VARCHAR"),
    ("since_ms", "BIGINT"), ("at_ms", "BIGINT"), ("state", "VARCHAR"), ("begun", "BOOLEAN"),
    ("attributes", "VARCHAR"), ("identities", "VARCHAR"), ("why", "VARCHAR"),
    ("failed_ms", "BIGINT"),
)  # fmt: skip
"""The columns of audience_outbox."""

# The memberships that outputs know of profiles that leave the store.
TOLD_OF_LEAVING = """
select output, audience, profile, mpid, environment, since_ms
from store.audience_told
where told and profile in (select profile from leaving)
order by all
"""
LAST_NUMBER = "select coalesce(max(number), 0) from store.audience_outbox"
NEW_ID = "select uuid()::varchar"

# Those of some identities that somebody else at the output has too: a profile that stays in the
# store. A removal by such an identity would hit that profile as well.
HELD_THERE = """
select distinct hash::varchar
from known_identity
where profile in (
    select profile
    from store.audience_told
    where output = $output and audience = $audience
    union all
    select profile
    from store.audience_outbox
    where output = $output and audience = $audience and action = 'add'
)
  and profile not in (select profile from leaving)
"""

# The profiles that outputs know, and that the imports of an undo founded: a profile's number is the
# arrival of its founding row.
UNDONE = """
select distinct at_output.profile
from store.audience_told as at_output
join store.import
  on at_output.profile >= import.first_arrival
 and at_output.profile < import.first_arrival + import.arrivals
where list_contains($numbers::integer[], import.number)
"""
# A removal replaces the message that waits about the same member: there is one at most.
DROP_REPLACED = """
delete from store.audience_outbox
where (output, audience, profile) in (select (output, audience, profile) from shared_removal)
"""
PUT_REMOVALS = """
insert into store.audience_outbox
select * from shared_removal order by number
"""


class Removal(NamedTuple):
    """A row of audience_outbox that removes a profile; the fields are the columns."""

    message: str
    """The id under which it is sent."""
    number: int
    """Its place in the order."""
    output: str
    """The output it goes to."""
    audience: int
    """The number of the audience."""
    profile: int | None
    """The profile; None if nothing may say which it was."""
    mpid: int
    """Its MPID."""
    environment: int
    """The code of its environment."""
    action: str
    """Always delete."""
    since_ms: int
    """Since when it was a member."""
    at_ms: int
    """When the row was made."""
    state: str
    """Always waiting."""
    begun: bool = False
    """Whether it was handed over."""
    attributes: str | None = None
    """The fingerprints of its attributes."""
    identities: str | None = None
    """Its identities as they go, as JSON; None: the store keeps them."""
    why: str | None = None
    """Why it failed."""
    failed_ms: int | None = None
    """When it failed."""


class _RemovedIdentities(NamedTuple):
    """The identities of a profile."""

    environment: int
    """The code of its environment."""
    by_type: dict[str, list[str]]
    """The values of each type, in order of arrival."""


class _Lost(NamedTuple):
    """An identity that a profile had once."""

    profile: int
    """The profile."""
    type: str
    """The identity type."""
    value: str
    """The value."""


def removals(
    store: OpenStore, leaving: str, *, erased: bool = False, stay: bool = False, made: int = 0
) -> list[Removal]:
    """Return the rows that remove profiles, which the store is about to lose, from the outputs.

    `leaving` is the relation of these profiles. With `erased`, nothing of a row says which profile
    it was; with `stay`, the store keeps their identities, and the rows have none. `made` is how
    many rows the caller has made before: the numbers go on after them.
    """
    scratch = store.scratch
    rows = scratch.rows(reading(TOLD_OF_LEAVING, leaving=select("profile", leaving)))
    routes = {
        (route.output.name, route.audience.number): route
        for route in (audience_routes(store) if rows else ())
    }
    # where no connection leads any more, nothing can be sent
    rows = [row for row in rows if row[:2] in routes]
    if not rows:
        return []
    places = {} if stay else {row[:2]: routes[row[:2]].place for row in rows}
    by_place = {key: identities_there(store, leaving, place) for key, place in places.items()}
    (last_number,) = scratch.row(LAST_NUMBER)
    now_ms = time.time_ns() // 1_000_000
    listed = []
    for place, row in enumerate(rows, made + 1):
        output, audience, profile, mpid, environment, since_ms = row
        identities = by_place.get((output, audience), {}).get(profile, {})
        listed.append(
            Removal(
                message=scratch.row(NEW_ID)[0],
                number=last_number + place,
                output=output,
                audience=audience,
                profile=None if erased else profile,
                mpid=mpid,
                environment=environment,
                action=DELETE,
                since_ms=since_ms,
                at_ms=now_ms,
                state=WAITING,
                identities=None if stay else _told(routes[output, audience], identities),
            )
        )
    return listed


def _told(route: Route, identities: dict[str, list[str]]) -> str:
    """Return identities as a connection tells them, as JSON.

    An output that gets the whole list each time needs none.
    """
    identities_at_output = (
        [] if route.output.content == "full" else identities_sent(route.connection, identities)
    )
    return json.dumps(identities_at_output, ensure_ascii=False)


def identities_there(
    store: OpenStore, leaving: str, place: Bound
) -> dict[int, dict[str, list[str]]]:
    """Return the identities by which an output may know profiles that leave an audience.

    They are the identities that the profiles have, and those that they had before; without those
    of another profile that stays there. `leaving` is the relation of the profiles that leave;
    `place` has the output and the audience (Route.place).
    """
    profiles = profiles_of(store, every=True)
    current = _identities(profiles, leaving)
    if not profiles.removals:
        return {profile: identities.by_type for profile, identities in current.items()}
    # without removals, a profile has all identities that it ever had
    ever = _identities(replace(profiles, removals=False), leaving)
    there = {
        profile: {
            kind: list(values)
            for kind, values in (current[profile].by_type if profile in current else {}).items()
        }
        for profile in ever
    }
    lost = _lost(store.meta("secret"), ever, there)
    stay = _held_there(profiles, leaving, place, digests=lost)
    for digest, identities in lost.items():
        for identity in identities if digest not in stay else ():
            there[identity.profile].setdefault(identity.type, []).append(identity.value)
    return there


def _lost(
    secret: str, ever: dict[int, _RemovedIdentities], current: dict[int, dict[str, list[str]]]
) -> dict[int, list[_Lost]]:
    """Return the identities that profiles had and do not have any more, by their hashes."""
    lost: dict[int, list[_Lost]] = {}
    for profile, (code, by_type) in ever.items():
        for kind, values in by_type.items():
            keys = {key_of(BY_NAME[kind], value) for value in current[profile].get(kind, ())}
            for value in values:
                if (key := key_of(BY_NAME[kind], value)) not in keys:
                    digest = hash_of(
                        secret=secret, environment=ENVIRONMENT_NAME[code], kind=kind, key=key
                    )
                    lost.setdefault(digest, []).append(_Lost(profile, kind, value))
    return lost


def _held_there(
    profiles: Profiles, leaving: str, place: Bound, *, digests: Iterable[int]
) -> set[int]:
    """Return those of some hashes whose identity is of a profile that stays at the output."""
    hashes = ", ".join(f"'{digest}'::uhugeint" for digest in digests) or "null"
    identities = known_identities(profiles.segments, removals=profiles.removals)
    candidates = select("hash, profile", f"({identities})", both("", is_in("hash", hashes)))
    rows = profiles.store.scratch.rows(
        reading(HELD_THERE, known_identity=candidates, leaving=select("profile", leaving)), place
    )
    return {int(digest) for (digest,) in rows}


def _identities(profiles: Profiles, leaving: str) -> dict[int, _RemovedIdentities]:
    """Return the environment and the identities of profiles."""
    if not profiles.identities:
        return {}
    columns = ", ".join(f"i_{kind}" for kind in profiles.identities)
    folded = profiles.folded([], both("", among(leaving)))
    rows = profiles.store.scratch.rows(
        select(f"profile, environment, [{columns}]::varchar[][]", f"({folded})")
    )
    return {
        profile: _RemovedIdentities(
            code,
            {kind: held for kind, held in zip(profiles.identities, values, strict=True) if held},
        )
        for profile, code, values in rows
    }


def remove_before_undo(store: OpenStore, numbers: Sequence[int]) -> None:
    """Remove from the outputs those profiles that an undo of imports is about to take away.

    This runs within the transaction of the undo, while they still have their identities. If the
    undo makes a profile again, its removal is taken back (outbox.align).
    """
    scratch = store.scratch
    scratch.make("shared_leaving", UNDONE, {"numbers": list(numbers)})
    rows = removals(store, "shared_leaving") if scratch.count("shared_leaving") else []
    if rows:
        scratch.load("shared_removal", COLUMNS, rows)
        scratch.run(DROP_REPLACED)
        scratch.run(PUT_REMOVALS)
