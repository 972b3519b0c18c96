"""Whom an identity means: the profiles that a request for access or erasure reaches."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from profilectl.codes import UsageError
from profilectl.profiles.read_model import Profiles
from profilectl.rules.identity import BY_NAME, CODE
from profilectl.rules.resolution import reached
from profilectl.store.scratch import Scratch
from profilectl.store.segments import known_identities, known_mpids

HOLDERS_OF_A_LOGIN = """
select distinct holding.profile
from holding
where profile in (select unnest($profiles::bigint[]))
  and type in (select unnest($login::utinyint[]))
"""
ENVIRONMENTS_OF = """
select profile, environment
from named_profile
where profile in (select unnest($profiles::bigint[]))
"""
# An MPID in a text names somebody only if nobody else has it: another environment may use it too.
MPIDS_ALONE = """
select distinct mpid
from named_profile
where profile in (select unnest($profiles::bigint[]))
  and mpid not in (
    select mpid
    from named_profile
    where profile not in (select unnest($profiles::bigint[])) and mpid is not null
  )
order by mpid
"""
PROFILES = [("profile", "BIGINT")]


@dataclass(frozen=True, slots=True)
class Meant:
    """An identity by which somebody was named, and the profiles that it reaches."""

    kind: str
    """An identity type, "mpid" or "any"."""
    value: str
    """The identity as it was written."""
    profiles: tuple[int, ...]
    """The profiles that it reaches."""
    protected: tuple[int, ...] = ()
    """Profiles that have it but are not reached by it (resolution.reached)."""


def name_relations(profiles: Profiles) -> None:
    """Make two views of the store: `named_profile` and `holding`.

    `named_profile` has mpid, environment and profile of every profile, `holding` has hash, profile,
    type and segment of every identity in force.
    """
    scratch = profiles.store.scratch
    scratch.make("named_profile", known_mpids(profiles.segments), keep=False)
    identities = known_identities(profiles.segments, removals=profiles.removals)
    scratch.make("holding", identities, keep=False)


def meant_by(
    profiles: Profiles, kind: str, value: str, *, pick: int | None = None, every: bool = False
) -> Meant:
    """Return whom an identity means.

    kind: an identity type, "mpid" or "any"; pick: which of several, from 1; every: all of them.
    Raises UsageError where several profiles of one environment are meant.
    """
    holders = profiles.find(kind, value)
    types = _types_of(profiles, value) if kind == "any" else {kind}
    devices = bool(types) and all(name != "mpid" and BY_NAME[name].device for name in types)
    if kind == "any":
        # A device type comes last: it is the weakest name for somebody.
        kind = min(sorted(types), key=_is_device, default="any")
    protected = known_among(profiles, holders) if devices else set()
    reach = [
        profile
        for profile in holders
        if not devices or reached(device=True, known=profile in protected)
    ]
    return Meant(
        kind,
        value,
        profiles=tuple(_picked(profiles, reach, (kind, value), pick=pick, every=every)),
        protected=tuple(profile for profile in holders if profile in protected),
    )


def _types_of(profiles: Profiles, value: str) -> set[str]:
    """Return the types as which somebody has a value; "mpid" is one of them."""
    types = [
        name
        for name in (*profiles.identities, "mpid")
        if name != "mpid" or value.removeprefix("-").isdecimal()
    ]
    return {name for name in types if profiles.find(name, value)}


def _is_device(kind: str) -> bool:
    return kind != "mpid" and BY_NAME[kind].device


def _picked(
    profiles: Profiles,
    reach: Sequence[int],
    identity: tuple[str, str],
    *,
    pick: int | None,
    every: bool,
) -> Sequence[int]:
    """Return those of several profiles that are meant. Raises UsageError if it stays open which."""
    if pick is not None:
        if 1 <= pick <= len(reach):
            return [reach[pick - 1]]
        there_are = (
            "there is one profile" if len(reach) == 1 else f"there are {len(reach)} profiles"
        )
        raise UsageError(f"--pick {pick}: {there_are}")
    # One profile in each environment is one person; two in the same need a choice.
    name_relations(profiles)
    environments = dict(profiles.store.scratch.rows(ENVIRONMENTS_OF, {"profiles": list(reach)}))
    if len(set(environments.values())) < len(reach) and not every:
        kind, value = identity
        raise UsageError(
            f"{len(reach)} profiles have the {named(kind)} {value}",
            "name one by --mpid, or --pick N in the order of `profilectl show`;"
            " --all means all of them",
        )
    return reach


def named(kind: str) -> str:
    """Return how a message names an identity of a kind."""
    return "identity or MPID" if kind == "any" else kind


def known_among(profiles: Profiles, candidates: Collection[int]) -> set[int]:
    """Return those of some profiles that hold a login identity."""
    name_relations(profiles)
    login = sorted(CODE[kind] for kind in profiles.store.settings().rules.login)
    rows = profiles.store.scratch.rows(
        HOLDERS_OF_A_LOGIN, {"profiles": list(candidates), "login": login}
    )
    return {profile for (profile,) in rows}


def mpids_alone(profiles: Profiles, people: Iterable[int]) -> list[str]:
    """Return the MPIDs of some profiles that nobody else has: a text with one names them."""
    name_relations(profiles)
    rows = profiles.store.scratch.rows(MPIDS_ALONE, {"profiles": list(people)})
    return [str(mpid) for (mpid,) in rows]


def load_profiles(scratch: Scratch, name: str, profiles: Iterable[int]) -> None:
    """Make a relation (profile) of some profiles."""
    scratch.load(name, PROFILES, [(profile,) for profile in profiles])
