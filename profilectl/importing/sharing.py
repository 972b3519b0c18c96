"""Identities that many rows and profiles share: often a mark of nothing (design.md R14).

They are looked for by value, in what resolving has made already, and counted row by row only for
the few that many share.
"""

from __future__ import annotations

from collections.abc import Sequence

from profilectl.importing.relations import Relations, make_empty
from profilectl.rules.counts import SharedIdentity
from profilectl.rules.identity import NAME, looks_like_nothing

SHARED_BY_MANY = 10
"""An identity is reported if at least this many rows and other profiles share it."""
MOST_TOLD = 20
"""How many shared identities are reported at most."""
LOOKED_AT = 1_000
"""How many of the most shared identities are looked at for marks of nothing."""

# Of those who share a value either at least half are rows, or at least half are profiles. How many
# rows have it is counted already where several do (shared_value): a union, because both may hold.
CROWDED_VALUE = """
select hash, type, seq, rows from shared_value where rows >= $half
union
select held.hash, held.type, coalesce(shared_value.seq, held.seq) as seq,
       coalesce(shared_value.rows, 1) as rows
from (
  select distinct hash, type, seq
  from held_value
  where hash in (select hash from held_value group by hash having count(*) >= $half)
) as held
left join shared_value on shared_value.hash = held.hash
"""
# A profile that has one of the rows is not shared with it.
CROWDED_CLAIM = """
select seq, hash
from claim
where hash in (select hash from crowded_value) and hash in (select hash from identity_match)
"""
OTHER_HOLDER = """
select hash, profile
from identity_match
where hash in (select hash from crowded_value)
except
select hash, profile
from crowded_claim
join settled on settled.seq = crowded_claim.seq
"""
MOST_SHARED = """
select type, seq, rows, coalesce(profiles, 0) as profiles
from crowded_value
left join (select hash, count(*) as profiles from other_holder group by hash) using (hash)
where rows + coalesce(profiles, 0) >= $least
order by rows + coalesce(profiles, 0) desc, seq, type
limit $most
"""
# A value as the first row states it.
TEXTS = "select seq, {columns} from staged where seq in (select unnest($seqs::bigint[]))"


def shared_identities(relations: Relations, max_shared: int | None) -> Sequence[SharedIdentity]:
    """Return the most shared identities, those that look like a mark of nothing first.

    max_shared: an identity that more share is among them too, however few these are. The relations
    shared_value, claim, held_value, identity_match and settled are made.
    """
    least = SHARED_BY_MANY if max_shared is None else min(SHARED_BY_MANY, max_shared + 1)
    relations.make("crowded_value", CROWDED_VALUE, {"half": (least + 1) // 2})
    if not relations.count("crowded_value"):
        return ()
    relations.make("crowded_claim", CROWDED_CLAIM)
    if relations.count("crowded_claim"):
        relations.make("other_holder", OTHER_HOLDER, keep=False)
    else:
        make_empty(relations, "other_holder")
    most_shared = relations.rows(MOST_SHARED, {"least": least, "most": LOOKED_AT})
    texts: dict[tuple[int, int], str] = {}
    for kind in {row[0] for row in most_shared}:
        seqs = [seq for type_, seq, *_ in most_shared if type_ == kind]
        select = TEXTS.format(columns=f"i_{NAME[kind]}")
        texts |= {(kind, seq): text for seq, text in relations.rows(select, {"seqs": seqs})}
    shared = [
        SharedIdentity(NAME[kind], texts[kind, seq], rows=rows, profiles=profiles)
        for kind, seq, rows, profiles in most_shared
    ]
    return sorted(
        shared, key=lambda identity: not looks_like_nothing(identity.type, identity.value)
    )
