"""Rows of few people: rows with the same identities, which no other row and no profile has.

Where a file has many rows of each person (clicks, orders, a newsletter), most rows claim just what
an earlier row claims. If nobody else has any of it, there is nothing to decide: the rows are of the
profile that the first of them founds. To link and label them like others took 1.8 of 5.3 CPU s of a
million clicks of 3,000 people. relations.py says what a row of each relation is.
"""

from __future__ import annotations

from profilectl.importing.relations import Relations, make_empty, only_row
from profilectl.importing.stage.staged import Staged

MANY_ALIKE = 4
"""How many rows must share a value on average, so that alike rows are looked for."""

SHARED_SIZES = "select count(*), coalesce(sum(rows), 0) from shared_value"
# By the texts, which are read where they lie: rows that spell an identity in two ways are not alike
# here, and are decided like others.
ALIKE_GROUP = """
select min(seq) as founder, count(*) as rows
from usable
group by {columns}
having count(*) > 1
"""
# A group is by itself if each of its values is in no other row, and no profile has one. That its
# rows find the profile of the first asks for what makes a component harmless (resolve.py): a value
# without a protection, or that nothing protects the profile.
ALIKE_VALUE = """
with group_value as materialized (
  select alike_group.founder, claim.type, claim.hash, alike_group.rows
  from claim
  join alike_group on alike_group.founder = claim.seq
)
select founder, type, hash, rows
from group_value
where founder in (
  select value.founder
  from group_value as value
  left join shared_value on shared_value.hash = value.hash and shared_value.rows = value.rows
  left join (select distinct hash from identity_match) as match on match.hash = value.hash
  group by value.founder
  having count(*) = count(shared_value.hash) and count(match.hash) = 0
     and (
       bool_or(value.type in (select type from pivot_type))
       or bool_or(value.type in (select type from lookup_type))
          and not bool_or(value.type in (select type from guard_type))
     )
)
"""
# A group is named by any of its values. Its first row brings all that it claims.
ALIKE_ROW = """
select claim.seq, alike.founder, case when claim.seq = alike.founder then alike.added else 0
       end as added
from claim
join (
  select founder, min(hash) as hash, sum(bit)::bigint as added
  from alike_value
  join identity_bit using (type)
  group by founder
) as alike on alike.hash = claim.hash
"""


def find_alike(relations: Relations, staged: Staged, *, creates: bool) -> None:
    """Make `alike_value` and `alike_row`. The relations of sift and of the types are made.

    creates: whether a row that finds nobody founds a profile. Without that, and where people have
    few rows each, there are no alike rows.
    """
    values, rows = only_row(relations, SHARED_SIZES) if creates else (0, 0)
    if not values or rows < MANY_ALIKE * values:
        for relation in ("alike_value", "alike_row"):
            make_empty(relations, relation)
        return
    columns = [f"i_{kind}" for kind in staged.identities]
    columns += [name for name in ("environment",) if name in staged.plain]
    relations.make("alike_group", ALIKE_GROUP.format(columns=", ".join(columns)))
    relations.make("alike_value", ALIKE_VALUE)
    relations.make("alike_row", ALIKE_ROW)
