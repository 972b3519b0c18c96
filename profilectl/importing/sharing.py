"""Identities that rows of an import and profiles of the store share: often a mark of nothing
(design.md R14).

Looked for by value, in what resolving has made already, and counted row by row only for the few
that many share.
"""

from __future__ import annotations

from collections.abc import Sequence

from profilectl.rules.counts import Shared
from profilectl.rules.identity import NAME, looks_like_nothing
from profilectl.store.scratch import Scratch

SHARED_BY_MANY = 10
"""An identity that so many rows and other profiles share is reported."""
MOST_TOLD = 20
"""So many shared identities are reported."""
LOOKED_AT = 1_000
"""So many, the most shared, are looked at for marks of nothing."""


def shared_identities(scratch: Scratch, max_shared: int | None) -> Sequence[Shared]:
    """Return the most shared identities, those that look like a mark of nothing first.

    max_shared: where more share one, that counts too, however few they are. The relations value,
    claim, hit and resolved are made.
    """
    least = SHARED_BY_MANY if max_shared is None else min(SHARED_BY_MANY, max_shared + 1)
    # Of so many either the rows are half, or the profiles.
    scratch.make(
        "crowded",
        "select hash from value where rows >= $half union select hash from hit group by hash having count(*) >= $half",
        {"half": (least + 1) // 2},
    )
    if not scratch.count("crowded"):
        return ()
    scratch.make(
        "crowded_claim",
        "select seq, type, hash from claim where hash in (select hash from crowded)",
    )
    found = scratch.rows(
        "select type, seq, rows, profiles from"
        " (select hash, any_value(type) as type, min(seq) as seq, count(*) as rows from crowded_claim group by hash)"
        " left join (select hash, count(*) as holders from"
        # A profile that has one of the rows is not shared with it.
        "  (select hash, profile from hit where hash in (select hash from crowded)"
        "   except select hash, profile from crowded_claim join resolved on resolved.seq = crowded_claim.seq)"
        "  group by hash) as held using (hash)"
        " cross join lateral (select coalesce(holders, 0) as profiles) as counted"
        " where rows + profiles >= $least order by rows + profiles desc, seq, type limit $most",
        {"least": least, "most": LOOKED_AT},
    )
    texts: dict[tuple[int, int], str] = {}
    for kind in {row[0] for row in found}:
        wanted = {"seqs": [seq for other, seq, *_ in found if other == kind]}
        stated = scratch.rows(
            f"select seq, i_{NAME[kind]} from staged where seq in (select unnest($seqs::bigint[]))",
            wanted,
        )
        texts |= {(kind, seq): text for seq, text in stated}
    shared = [
        Shared(NAME[kind], texts[kind, seq], rows, profiles) for kind, seq, rows, profiles in found
    ]
    return sorted(shared, key=lambda one: not looks_like_nothing(one.type, one.value))
