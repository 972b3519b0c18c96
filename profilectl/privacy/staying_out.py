"""Who was erased and stays out, asked for by an identity; and let in again."""

from __future__ import annotations

from collections.abc import Sequence

from profilectl.importing.suppression import DIGITS_TYPE, FINGERPRINT, guard_of, is_keyed
from profilectl.privacy.erased import Meant, load_hashes
from profilectl.privacy.rewriting import write_anew
from profilectl.rules.feed import ENVIRONMENTS
from profilectl.rules.identity import BY_NAME, display, key_of
from profilectl.rules.sql.identities import MPID_TYPE, hash_of, mpid_hash_of
from profilectl.rules.sql.quoting import quote_text
from profilectl.store.store import OpenStore, who


def lift(store: OpenStore, kind: str, value: str, *, now_ms: int) -> int:
    """Let people who were erased come back, in one transaction; return how many identities were
    lifted.

    Their rows that have arrived already stay out, should they be made again; their MPIDs are not
    used again.
    """
    guard = guard_of(store)
    if guard is None:
        return 0
    hashes = {guard.of(digest) for digest in _hashes_of(store.meta("secret"), kind, value)}
    scratch = store.scratch
    load_hashes(scratch, "lifted", [(0, 0, one) for one in hashes])
    theirs = f"type <> {MPID_TYPE} and until is null and (person, erasure) in (select (person, erasure) from store.suppressed where hash in (select hash from lifted))"
    count = int(
        scratch.row(
            f"select count(distinct hash) from store.suppressed where {theirs} and type <> {DIGITS_TYPE}"
        )[0]
    )
    if count:
        with store.transaction():
            scratch.run(
                f"update store.suppressed set until = {store.next_import()[1]} where {theirs}"
            )
            scratch.run(
                "insert into store.erasure values ($number, 'lifted', $at, $who, 0, 0)",
                {"number": store.next_erasure(), "at": now_ms, "who": who()},
            )
    return count


def lift_everybody(store: OpenStore, *, now_ms: int) -> int:
    """Write a store that is attached for writing anew without the list of those who stay out, and
    without a need of its key; return how many identities it had. Raises StoreUnusable; then the
    store is as before.
    """
    count = int(
        store.scratch.row(
            f"select count(distinct hash) from store.suppressed where until is null and type not in ({MPID_TYPE}, {DIGITS_TYPE})"
        )[0]
    )
    made_by = quote_text(who())
    stays = {
        "suppressed": "select * from store.suppressed where false",
        "meta": f"select * from store.meta where name <> {quote_text(FINGERPRINT)}",
        "erasure": f"select * from store.erasure union all select {store.next_erasure()}, 'lifted', {now_ms}, {made_by}, 0, 0",
    }
    write_anew(store, stays, {"meta": int(is_keyed(store))})
    return count


def suppressed_among(store: OpenStore, asked: Sequence[Meant]) -> list[Meant]:
    """Return those identities and MPIDs that are of somebody erased, who stays out.

    Raises StoreUnusable as guard_of does.
    """
    guard, secret = guard_of(store), store.meta("secret")
    if guard is None:
        return []
    rows = [
        (place, 0, guard.of(digest))
        for place, one in enumerate(asked)
        for digest in _hashes_of(secret, one.kind, one.value)
    ]
    load_hashes(store.scratch, "asked_hash", rows)
    found = store.scratch.rows(
        "select distinct profile from asked_hash where hash in (select hash from store.suppressed where until is null) order by profile"
    )
    return [asked[place] for (place,) in found]


def _hashes_of(secret: str, kind: str, value: str) -> set[int]:
    """Return the hashes of an identity or an MPID ("any": of each type) in every environment."""
    kinds = [kind] if kind in BY_NAME else list(BY_NAME) if kind == "any" else []
    found = {
        hash_of(secret, environment, one, key_of(BY_NAME[one], display(value)))
        for environment in ENVIRONMENTS
        for one in kinds
    }
    if kind == "mpid" or (kind == "any" and value.removeprefix("-").isdecimal()):
        found |= {mpid_hash_of(secret, environment, int(value)) for environment in ENVIRONMENTS}
    return found
