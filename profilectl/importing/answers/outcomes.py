"""What an import makes of each of its rows: the profile, and by which identities it was found.

It is for callers who are answered row by row (serve, IDSync). It is read from the relations of a
decision that is not written yet, so that the answer is about this import, even if others commit
something after it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from profilectl.importing.known import rows_with_arrivals
from profilectl.importing.relations import Relations
from profilectl.importing.stage.staged import Staged
from profilectl.rules.identity import CODE, NAME
from profilectl.rules.sql.identities import hash_in
from profilectl.store.segments import Segment

# Every row with its profile.
ROWS = """
select staged.seq, resolved.profile, coalesce(rejected.code, dropped.code, resolved.code) as code
from staged
left join resolved on resolved.seq = staged.seq
left join dropped on dropped.seq = staged.seq
left join rejected on rejected.seq = staged.seq
order by staged.seq
"""
# The arrival of the row whose request a row repeats: the answer names the profile of that one.
REPEATED = """
select staged.seq, coalesce(earlier.arrival, same.seq + $first) as arrival
from staged
join dropped on dropped.seq = staged.seq and dropped.code = 'DUPLICATE_REQUEST'
left join (
  select request, max(arrival) as arrival
  from seen_request
  where feed = $feed and request in (select request from staged)
  group by request
) as earlier on earlier.request = staged.request
left join (
  select request, min(seq) as seq
  from staged
  where seq in (select seq from resolved)
  group by request
) as same on same.request = staged.request
order by staged.seq
"""
BROUGHT_TYPES = "select seq, type from gained_identity"
MPIDS = """
select profile, mpid
from known_mpid
where profile in (select profile from answered_profile)
union all
select resolved.profile, founder_mpid.mpid
from founder_mpid
join resolved on resolved.seq = founder_mpid.seq
where resolved.profile in (select profile from answered_profile)
"""
# The identities that the profiles have in the end.
PROFILE_IDENTITIES = """
select profile, type, to_hex(hash)
from (
  select profile, type, hash
  from known_identity
  where profile in (select profile from answered_profile)
  except
  select profile, type, hash from lost_identity
  union
  select profile, type, hash
  from gained_identity
  where profile in (select profile from answered_profile)
)
"""
CLAIMED = (
    "select seq, to_hex(hash) from (select seq{columns} from identity_hash) where hash is not null"
)

Identities = set[tuple[int, str]]
"""Identities, as type and hash."""


@dataclass(slots=True)
class RowOutcome:
    """What becomes of one row."""

    row: int
    """Its place in the import, from 0."""
    code: str | None
    """Why it is not applied, or None."""
    mpid: int | None = None
    """The MPID of its profile, or None if there is nobody."""
    matched: tuple[str, ...] = ()
    """The types of its identities that the profile had before the row."""
    held: tuple[str, ...] = ()
    """The types of its identities that the profile has after it."""
    holds: frozenset[str] = field(default_factory=frozenset)
    """The types of all identities that the profile has after it."""


@dataclass(frozen=True, slots=True)
class _People:
    """The profiles that answers are about."""

    mpids: Mapping[int, int]
    """Their MPIDs, by profile."""
    identities: Mapping[int, Identities]
    """The identities that they have in the end, by profile."""


@dataclass(frozen=True, slots=True)
class _RowPast:
    """Rows of earlier imports that rows of this one repeat, by arrival."""

    profiles: dict[int, int]
    """Their profiles."""
    brought: dict[int, set[int]]
    """The types of identities that they brought."""


def outcomes_of(
    relations: Relations,
    staged: Staged,
    segments: Sequence[Segment],
    *,
    first_arrival: int,
    feed: int,
) -> list[RowOutcome]:
    """Return what becomes of each row, in their order. The relations of sift and resolve are made.

    segments: of the store; first_arrival: of the first row; feed: the number of the feed.
    """
    rows = [(seq, profile, code) for seq, profile, code in relations.rows(ROWS)]
    repeated: dict[int, int] = {}
    if "request" in staged.plain:
        repeated = dict(relations.rows(REPEATED, {"first": first_arrival, "feed": feed}))
    past = _past_of(relations, segments, repeated.values())
    brought: dict[int, set[int]] = {}
    for seq, kind in relations.rows(BROUGHT_TYPES):
        brought.setdefault(seq + first_arrival, set()).add(kind)
    brought |= past.brought
    # A row may repeat one of this import, or one of an earlier import.
    by_arrival = past.profiles | {
        seq + first_arrival: profile for seq, profile, _ in rows if profile is not None
    }
    profiles = {
        seq: profile if profile is not None else by_arrival.get(repeated.get(seq, -1))
        for seq, profile, _ in rows
    }
    people = _people(relations, profiles.values())
    claims = _claims(relations, staged)
    return [
        _outcome(
            RowOutcome(seq, code),
            profiles[seq],
            people,
            claims=claims.get(seq, set()),
            new=brought.get(repeated.get(seq, seq + first_arrival), set()),
        )
        for seq, _, code in rows
    ]


def _outcome(
    outcome: RowOutcome,
    profile: int | None,
    people: _People,
    *,
    claims: Identities,
    new: set[int],
) -> RowOutcome:
    """Complete the outcome of a row. new: the types of the identities that it brought."""
    if profile is not None:
        has = {kind for kind, _ in claims & people.identities[profile]}
        outcome.mpid = people.mpids[profile]
        outcome.matched, outcome.held = _names(has - new), _names(has)
        outcome.holds = frozenset(NAME[kind] for kind, _ in people.identities[profile])
    return outcome


def _people(relations: Relations, profiles: Iterable[int | None]) -> _People:
    """Return the MPIDs of profiles, and what they have in the end."""
    people = sorted({profile for profile in profiles if profile is not None})
    relations.load("answered_profile", [("profile", "BIGINT")], [(profile,) for profile in people])
    identities: dict[int, Identities] = {profile: set() for profile in people}
    for profile, kind, digest in relations.rows(PROFILE_IDENTITIES):
        identities[profile].add((kind, digest))
    return _People(dict(relations.rows(MPIDS)), identities)


def _names(kinds: Iterable[int]) -> tuple[str, ...]:
    return tuple(NAME[kind] for kind in sorted(kinds))


def _claims(relations: Relations, staged: Staged) -> Mapping[int, Identities]:
    """Return the identities that each row states, a row that is kept out too."""
    claims: dict[int, Identities] = {}
    for place, name in enumerate(staged.identities):
        select = CLAIMED.format(columns=f", {hash_in(f'h{place}')} as hash")
        for seq, digest in relations.rows(select):
            claims.setdefault(seq, set()).add((CODE[name], digest))
    return claims


def _past_of(
    relations: Relations, segments: Sequence[Segment], arrivals: Iterable[int]
) -> _RowPast:
    """Return what earlier rows brought, by their arrivals."""
    past = _RowPast({}, {})
    for row in rows_with_arrivals(relations, segments, sorted({*arrivals})):
        past.profiles[row.arrival] = row.profile
        past.brought[row.arrival] = {CODE[kind] for kind in row.identities}
    return past
