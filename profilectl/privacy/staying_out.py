"""People who were erased and stay out: finding them by an identity, and letting them in again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from profilectl.importing.suppression import DIGITS_TYPE, FINGERPRINT, guard_of
from profilectl.privacy.erased import load_hashes
from profilectl.privacy.meant import Meant
from profilectl.privacy.rewriting import write_anew
from profilectl.privacy.stays import Rewriting, Stays
from profilectl.rules.feed import ENVIRONMENTS
from profilectl.rules.identity import BY_NAME, display, key_of
from profilectl.rules.sql.identities import MPID_TYPE, digest_of, mpid_hash_of
from profilectl.store.scratch import Scratch
from profilectl.store.store import OpenStore, who

LIFTED = "lifted"
"""What the history calls it when people are let in again."""
ACT = [("number", "INTEGER"), ("kind", "VARCHAR"), ("at_ms", "BIGINT"), ("made_by", "VARCHAR")]
NAMES = [("name", "VARCHAR")]

# All identities of the people that have a lifted one; their MPIDs stay out for good.
LIFTED_ROWS = """
select rowid as place, hash, type
from store.suppressed
where type <> $mpid
  and until is null
  and (person, erasure) in (
    select (person, erasure)
    from store.suppressed
    where hash in (select hash from lifted)
  )
"""
LIFTED_IDENTITIES = """
select count(distinct hash)
from lifted_row
where type <> $digits
"""
# Rows that arrive from now on come in again; earlier ones stay out.
LIFT = """
update store.suppressed
set until = $until
where rowid in (select place from lifted_row)
"""
WRITE_DOWN = """
insert into store.erasure
values ($number, $kind, $at_ms, $made_by, 0, 0)
"""

IDENTITIES_OUT = """
select count(distinct hash)
from store.suppressed
where until is null and type not in ($mpid, $digits)
"""
NOBODY_OUT = "select * from stored where false"
META_WITHOUT_KEY = "select * from stored where name not in (select name from forgotten_meta)"
WITH_LIFTING = """
select * from stored
union all
select act.number, act.kind, act.at_ms, act.made_by, 0, 0
from this_lifting as act
"""

SUPPRESSED_AMONG = """
select distinct profile
from asked_hash
where hash in (select hash from store.suppressed where until is null)
order by profile
"""


def lift(store: OpenStore, kind: str, value: str, *, now_ms: int) -> int:
    """Let people who were erased come back, in one transaction.

    Rows of theirs that have arrived already stay out, even if an import is made again; their MPIDs
    are not used again. Return how many identities were lifted.
    """
    guard = guard_of(store)
    if guard is None:
        return 0
    scratch = store.scratch
    hashes = {guard.of(digest) for digest in _hashes_of(store.meta("secret"), kind, value)}
    load_hashes(scratch, "lifted", [(0, 0, digest) for digest in hashes])
    scratch.make("lifted_row", LIFTED_ROWS, {"mpid": MPID_TYPE})
    count = int(scratch.row(LIFTED_IDENTITIES, {"digits": DIGITS_TYPE})[0])
    if count:
        act = {"number": store.next_erasure(), "kind": LIFTED, "at_ms": now_ms, "made_by": who()}
        with store.transaction():
            scratch.run(LIFT, {"until": store.next_import()[1]})
            scratch.run(WRITE_DOWN, act)
    return count


def identities_out(scratch: Scratch) -> int:
    """Return how many identities a store keeps out."""
    types = {"mpid": MPID_TYPE, "digits": DIGITS_TYPE}
    return int(scratch.row(IDENTITIES_OUT, types)[0])


def lift_everybody(store: OpenStore, *, now_ms: int) -> int:
    """Write a store anew without the list of those who stay out; its key is not needed.

    The store is attached for writing. Return how many identities the list had. Raises
    StoreUnusable; then the store is as before.
    """
    scratch = store.scratch
    count = identities_out(scratch)
    scratch.load("this_lifting", ACT, [(store.next_erasure(), LIFTED, now_ms, who())])
    scratch.load("forgotten_meta", NAMES, [(FINGERPRINT,)])
    rewriting = Rewriting(scratch)
    rewriting.add(
        [
            Stays("suppressed", NOBODY_OUT),
            Stays("meta", META_WITHOUT_KEY),
            Stays("erasure", WITH_LIFTING, rows_lost=0),
        ]
    )
    write_anew(store, rewriting)
    return count


def suppressed_among(store: OpenStore, names: Sequence[Meant]) -> list[Meant]:
    """Return those of some identities and MPIDs that belong to somebody erased who stays out.

    Raises StoreUnusable as guard_of does.
    """
    guard, secret = guard_of(store), store.meta("secret")
    if guard is None:
        return []
    rows = [
        (place, 0, guard.of(digest))
        for place, name in enumerate(names)
        for digest in _hashes_of(secret, name.kind, name.value)
    ]
    load_hashes(store.scratch, "asked_hash", rows)
    return [names[place] for (place,) in store.scratch.rows(SUPPRESSED_AMONG)]


def _hashes_of(secret: str, kind: str, value: str) -> set[int]:
    """Return the hashes of an identity or an MPID ("any": of each type) in every environment."""
    kinds: Iterable[str] = [kind] if kind in BY_NAME else list(BY_NAME) if kind == "any" else []
    hashes = {
        digest_of(secret, environment, name, key=key_of(BY_NAME[name], display(value)))
        for environment in ENVIRONMENTS
        for name in kinds
    }
    if kind == "mpid" or (kind == "any" and value.removeprefix("-").isdecimal()):
        hashes |= {mpid_hash_of(secret, environment, int(value)) for environment in ENVIRONMENTS}
    return hashes
