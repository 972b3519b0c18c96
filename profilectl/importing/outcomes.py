"""What an import makes of each of its rows: the profile, and by which identities it was found.

For whoever is answered row by row (serve, IDSync). Read from the relations of a decision that is
not written yet, so that the answer is of this import, whatever others commit after it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from profilectl.importing.stage.run import Staged
from profilectl.rules.identity import CODE, NAME
from profilectl.store.scratch import Scratch
from profilectl.store.segments import Segment
from profilectl.store.store import OpenStore

# Every row with its profile.
ROWS = """
select staged.seq, resolved.profile, coalesce(rejected.code, dropped.code, resolved.code) as code
from staged
left join resolved on resolved.seq = staged.seq
left join dropped on dropped.seq = staged.seq
left join rejected on rejected.seq = staged.seq
order by staged.seq
"""
# Rows that repeat a request are of whomever the first of them is of; its arrival.
REPEATED = """
select staged.seq, coalesce(earlier.arrival, same.seq + $first) as arrival
from staged
join dropped on dropped.seq = staged.seq and dropped.code = 'DUPLICATE_REQUEST'
left join (
  select request, max(arrival) as arrival
  from store.request
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
MPIDS = """
select profile, mpid from known_mpid where profile in (select profile from told_profile)
union all
select profile, mpid from resolved where created and profile in (select profile from told_profile)
"""
# What the profiles have in the end, of what rows say and of what makes a profile known.
HELD = """
select profile, type, to_hex(hash)
from (
  select profile, type, hash from known_identity where profile in (select profile from told_profile)
  except
  select profile, type, hash from taken
  union
  select profile, type, hash from unheld where profile in (select profile from told_profile)
)
"""


@dataclass(slots=True)
class RowOutcome:
    """What becomes of one row."""

    row: int
    """Its place in its file, from 0."""
    code: str | None
    """Why it is not applied, or None."""
    mpid: int | None = None
    """The MPID of its profile, or None where there is nobody."""
    matched: tuple[str, ...] = ()
    """The types of its identities that the profile had before the row."""
    held: tuple[str, ...] = ()
    """The types of its identities that the profile has after it."""
    holds: frozenset[str] = field(default_factory=frozenset)
    """The types of all identities that the profile has after it."""


def outcomes_of(store: OpenStore, staged: Staged, first: int, feed: int) -> list[RowOutcome]:
    """Return what becomes of each row, in their order. The relations of sift and resolve are made.

    first: the arrival of the first row; feed: the number of the feed.
    """
    scratch = store.scratch
    rows = [(seq, profile, code) for seq, profile, code in scratch.rows(ROWS)]
    repeated = (
        dict(scratch.rows(REPEATED, {"first": first, "feed": feed}))
        if "request" in staged.plain
        else {}
    )
    brought: dict[int, set[int]] = {}
    for seq, kind in scratch.rows("select seq, type from unheld"):
        brought.setdefault(seq + first, set()).add(kind)
    founders = _earlier(scratch, store.segments(), repeated.values(), brought)
    founders |= {seq + first: profile for seq, profile, _ in rows if profile is not None}
    of_row = {
        seq: profile if profile is not None else founders.get(repeated.get(seq, -1))
        for seq, profile, _ in rows
    }
    mpids, held = _people(scratch, of_row.values())
    claims = _claims(scratch, staged)
    told = []
    for seq, _, code in rows:
        profile = of_row[seq]
        if profile is None:
            told.append(RowOutcome(seq, code))
            continue
        has = {kind for kind, digest in claims.get(seq, ()) if (kind, digest) in held[profile]}
        new = brought.get(repeated.get(seq, seq + first), set())
        told.append(
            RowOutcome(
                seq,
                code,
                mpids[profile],
                _names(has - new),
                _names(has),
                frozenset(NAME[kind] for kind, _ in held[profile]),
            )
        )
    return told


def _people(
    scratch: Scratch, profiles: Iterable[int | None]
) -> tuple[dict[int, int], dict[int, set[tuple[int, str]]]]:
    """Return the MPIDs of profiles, and what they have in the end."""
    people = sorted({profile for profile in profiles if profile is not None})
    scratch.load("told_profile", [("profile", "BIGINT")], [(profile,) for profile in people])
    held: dict[int, set[tuple[int, str]]] = {profile: set() for profile in people}
    for profile, kind, digest in scratch.rows(HELD):
        held[profile].add((kind, digest))
    return dict(scratch.rows(MPIDS)), held


def _names(kinds: Iterable[int]) -> tuple[str, ...]:
    return tuple(NAME[kind] for kind in sorted(kinds))


def _claims(scratch: Scratch, staged: Staged) -> Mapping[int, list[tuple[int, str]]]:
    """Return the identities that each row states, as type and hash; those kept out too."""
    found: dict[int, list[tuple[int, str]]] = {}
    for place, name in enumerate(staged.identities):
        for seq, digest in scratch.rows(
            f"select seq, to_hex(h{place}) from identity_hash where h{place} is not null"
        ):
            found.setdefault(seq, []).append((CODE[name], digest))
    return found


def _earlier(
    scratch: Scratch,
    segments: Sequence[Segment],
    arrivals: Iterable[int],
    brought: dict[int, set[int]],
) -> dict[int, int]:
    """Return the profiles of rows of earlier imports, by their arrivals; put into `brought` the
    types that they brought.
    """
    listed = ", ".join(str(arrival) for arrival in sorted({*arrivals}))
    found: dict[int, int] = {}
    for segment in segments if listed else ():
        columns = ", ".join(["arrival", "profile", *(f"i_{kind}" for kind in segment.identities)])
        for arrival, profile, *values in scratch.rows(
            f"select {columns} from {segment.table('row')} where arrival in ({listed})"
        ):
            found[arrival] = profile
            kinds = (
                kind
                for kind, value in zip(segment.identities, values, strict=True)
                if value is not None
            )
            brought[arrival] = {CODE[kind] for kind in kinds}
    return found
