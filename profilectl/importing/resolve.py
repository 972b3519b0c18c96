"""Usable rows -> one profile each.

The rules are sequential (row N sees what row N-1 did); the work is not. A row that shares no
identity is alone: there is nothing to decide. Of the sharing rows those that share harmlessly are
resolved in closed form; the rest, the entangled rows, are decided by the interpreter in row order,
on just the profiles they touch (design.md 3).

The SELECTs below are the story, in their order; settle.py has its end. relations.py says what a row
of each is.
"""

from __future__ import annotations

import itertools

from profilectl.importing.alike import find_alike
from profilectl.importing.entangled import decide_entangled, load_decisions
from profilectl.importing.mpids import name_mpids
from profilectl.importing.relations import (
    Relations,
    fill,
    fixed_columns,
    make_bits,
    make_empty,
    only_row,
    union_of,
)
from profilectl.importing.settle import Resolution, settle
from profilectl.rules.counts import Counts
from profilectl.rules.identity import CODE, Rules
from profilectl.rules.sql.identities import HASH_BITS, MPID_TYPE

# 0. By value, not each row with each holder: many rows and many profiles may share a value. Where
# one row claims it, the row is known from here on: to find it again by the hash took 0.2 s of a
# million rows.
HELD_VALUE = """
select known_identity.hash, known_identity.type, known_identity.profile, value.seq
from known_identity
join (
  select hash, seq
  from claim
  where hash >= {start} and hash < {end}
    and hash not in (select hash from shared_value where hash >= {start} and hash < {end})
  union all
  select hash, null as seq from shared_value where hash >= {start} and hash < {end}
) as value on value.hash = known_identity.hash
where known_identity.hash >= {start} and known_identity.hash < {end}
"""
MANY_CLAIMS = 500_000
"""From this many claims on they are looked up in parts."""
PARTS = 4
"""In how many: the table of a part fits better into the caches of a processor. Of 2.7M claims and
13.8M identities that takes 0.41 CPU s, and 0.53 in one; in 2 or 8 parts 0.44.
"""
IDENTITY_MATCH = "select hash, type, profile from held_value"

# Most rows of a first load are alone. All that follows is about the others.
SHARING_ROW = """
select seq
from claim
where hash in (select hash from shared_value where hash not in (select hash from alike_value))
union
select seq from held_value where seq is not null
union
select seq from named_mpid
"""
ALL_SHARING = "select seq from usable"
SHARING_CLAIM = """
select seq, type, hash
from claim
where get_bit((select bits from sharing_bits)[(seq >> 16) + 1], (seq & 65535)::integer) = 1
"""
SHARING_OR_ALIKE = "select seq from sharing_row union all select seq from alike_row"
SAME_BITS = "select bits from sharing_bits"

# 1. Rows that name one known person. Where one type alone names a known profile (Rules.sole_key), a
# row that has it belongs to its holder: a profile of the store, or the first row that has it. The
# first row is the `founder`; only it can still meet an anonymous profile through its other
# identities.
KEYED = """
select claim.seq, claim.hash, identity_match.profile as known,
       coalesce(shared_value.seq, claim.seq) as founder
from sharing_claim as claim
left join identity_match on identity_match.hash = claim.hash and identity_match.type = $key
left join shared_value on shared_value.hash = claim.hash and shared_value.type = $key
where claim.type = $key
"""

# 2. A value is live when somebody without a login identity has it, in the store or in this import:
# only then can it lead a row to a profile. (A profile with one is protected: domain.md 4.2.)
LIVE = """
select distinct claim.hash
from sharing_claim as claim
where claim.type <> $key and claim.type in (select type from lookup_type)
  and get_bit((select bits from keyed_bits)[(seq >> 16) + 1], (seq & 65535)::integer) = 0
union
select hash from anonymous_match
"""
OPEN_MATCH = """
select hash, type, profile
from identity_match
where type <> $key and type in (select type from lookup_type)
  and hash in (select hash from sharing_claim where seq in (select seq from open_row))
"""
ANONYMOUS_MATCH = """
select open_match.hash, open_match.type, open_match.profile
from open_match
anti join (
  select profile
  from known_identity
  where type = $key and profile in (select profile from open_match)
) as login_holder using (profile)
"""

# 3. The rows that are still open: without the key, or with a key that nobody has. Where nobody may
# be created, each row of an unknown key is open, because the first may be dropped.
OPEN_CREATING = """
select seq
from sharing_row
where seq not in (select seq from keyed where known is not null or founder <> seq)
"""
OPEN_UPDATING = """
select seq
from sharing_row
where seq not in (select seq from keyed where known is not null)
"""

# 4. Open rows are linked by a live value that two of them have, or that an anonymous profile has. A
# key links the rows that have it only if one of them touches a live value.
OPEN_LINK = """
select claim.seq, claim.type, claim.hash
from sharing_claim as claim
where claim.seq in (select seq from open_row)
  and (claim.hash in (select hash from live_value) or claim.type = $key)
"""
LINK_KEYED = """
select seq, type, hash
from open_link
where type <> $key
   or hash in (
     select hash
     from open_link
     where type = $key and seq in (select seq from open_link where type <> $key)
   )
"""
LINK_MATCH_KEYED = "select hash, type, profile from anonymous_match"

# In the general case every value that can lead a row somewhere links: all of them, or, where a row
# with a login identity is looked up by that alone, the login values and those of rows without one.
LINK_ALL = """
select seq, type, hash
from sharing_claim
where type in (select type from lookup_type)
"""
LINK_LOGIN_DECIDES = """
select seq, type, hash
from sharing_claim
where type in (select type from lookup_type)
  and (
    type in (select type from login_type)
    or hash in (
      select hash
      from sharing_claim
      where type in (select type from lookup_type)
        and seq not in (
          select seq from sharing_claim where type in (select type from login_type)
        )
    )
  )
"""
LINK_MATCH = "select hash, type, profile from identity_match where hash in (select hash from link)"
# An MPID that a row names links it like an identity, and may tie an anonymous profile to anything:
# then every value links.
LINK_MPID = "select seq, 0::utinyint as type, hash from named_mpid"
LINK_MATCH_MPID = """
select distinct named_mpid.hash, 0::utinyint as type, named_holder.profile
from named_mpid
join named_holder
  on named_holder.mpid = named_mpid.mpid and named_holder.environment = named_mpid.environment
"""

# A link counts when a second row or a profile is at its other end. The nodes are values, not rows:
# a million rows of a thousand people have few. Two values are tied by a row, or by a profile, that
# has both: each to the first value of the row, which makes a star, not a mesh.
TIED_VALUE = """
select hash, row_number() over (order by hash) as node
from (
  select hash from link group by hash having count(*) > 1
  union
  select hash from link_match
)
"""
TIE = """
select link.seq, tied_value.node
from link
join tied_value on tied_value.hash = link.hash
"""
EDGE = """
select distinct first_node as node, node as neighbour
from (select node, min(node) over (partition by seq) as first_node from tie)
where node <> first_node
union
select distinct first_node as node, node as neighbour
from (
  select tied_value.node, min(tied_value.node) over (partition by link_match.profile) as first_node
  from link_match
  join tied_value on tied_value.hash = link_match.hash
)
where node <> first_node
"""

# 5. Connected components: every node takes the smallest label among its neighbours', then the label
# of its label, until nothing moves.
LABEL_START = "select node, node as label from tied_value"
LABEL_NEXT = """
select node, min(label) as label
from (
  select node, label from label
  union all
  select edge.node, label.label from edge join label on label.node = edge.neighbour
  union all
  select edge.neighbour as node, label.label from edge join label on label.node = edge.node
  union all
  select low.node, high.label from label as low join label as high on high.node = low.label
)
group by node
"""
LABEL_SUM = "select count(*), sum(label) from label"
ROW_LABEL = """
select tie.seq, any_value(label.label) as component
from tie
join label on label.node = tie.node
group by tie.seq
"""
PROFILE_LABEL = """
select distinct link_match.profile, label.label as component
from link_match
join tied_value on tied_value.hash = link_match.hash
join label on label.node = tied_value.node
"""
# A logout may found a profile, no matter who has its identities: all rows are one component. They
# are few.
ONE_COMPONENT = "select seq, 0::bigint as component from sharing_row"

# 6. A component is harmless if all of these hold: (a) some value of an unprotected type occurs in
# every row; (b) at most one stored profile belongs to it, and has that value too; (c) no unique
# type occurs with two values. Then every row finds the profile that the first row found or made.
# (`contradiction` is against (c).) Where nobody in the component has a login or immutable identity
# it is `free`: no value is protected. So the rows of one address, of a newsletter, are one person.
COMPONENT = """
select row_label.component, count(distinct row_label.seq) as rows,
       coalesce(any_value(stored.profiles), 0) as profiles,
       bool_or(link.type = 0) as has_mpid,
       bool_and(guarded_row.seq is null) and not coalesce(bool_or(stored.guarded), false) as free,
       (
         count(distinct case when link.type in (select type from unique_type) then link.hash end)
         > count(distinct case when link.type in (select type from unique_type) then link.type end)
       )
       or bool_or(
         link.type in (select type from unique_type)
         and link.hash not in (select hash from link_match)
         and stored.profiles is not null
       ) as contradiction
from row_label
join link on link.seq = row_label.seq
left join (
  select distinct seq from sharing_claim where type in (select type from guard_type)
) as guarded_row on guarded_row.seq = row_label.seq
left join (
  select component, count(*) as profiles, bool_or(guarded_profile.profile is not null) as guarded
  from profile_label
  left join (
    select distinct profile
    from known_identity
    where type in (select type from guard_type) and profile in (select profile from link_match)
  ) as guarded_profile on guarded_profile.profile = profile_label.profile
  group by component
) as stored on stored.component = row_label.component
group by row_label.component
"""
COMPONENT_VALUE = """
select row_label.component, link.hash, link.type, count(*) as rows,
       min(holder.profile) as profile
from link
join row_label on row_label.seq = link.seq
left join (
  select hash, min(profile) as profile from link_match group by hash
) as holder on holder.hash = link.hash
group by row_label.component, link.hash, link.type
"""
HARMLESS = """
select component.component, min(value.profile) as profile
from component
join component_value as value
  on value.component = component.component and value.rows = component.rows
where (component.profiles = 0 or component.profiles = 1 and value.profile is not null)
  and not component.contradiction
  and (value.type in (select type from pivot_type) or component.free)
  and (not component.has_mpid or value.type = 0)
group by component.component
"""
# Where a key decides, most components have a value that is in every row. All rows with the value
# and without a key are one person, until a row with a key comes: it makes that person known, and
# known people are protected. So each row with a key ends a turn. The rows of a turn belong to the
# first of them, and those of the first turn to the profile of the store that has the value.
TURN_ROW = """
select seq, has_key, case when keys_before = 0 then profile end as profile,
       min(seq) over (partition by component, keys_before) as founder
from (
  select row_label.seq, row_label.component, turn_component.profile,
         keyed.seq is not null as has_key,
         count(keyed.seq) over (
           partition by row_label.component
           order by row_label.seq
           rows between unbounded preceding and 1 preceding
         ) as keys_before
  from row_label
  join (
    select value.component, min(value.profile) as profile
    from component_value as value
    join (select component, count(*) as rows from row_label group by component) as whole
      on whole.component = value.component and whole.rows = value.rows
    left join (
      select component, count(*) as profiles from profile_label group by component
    ) as stored on stored.component = value.component
    where value.type <> $key
      and (stored.profiles is null or stored.profiles = 1 and value.profile is not null)
    group by value.component
  ) as turn_component on turn_component.component = row_label.component
  left join keyed on keyed.seq = row_label.seq
)
"""
# The rows of all other components go to the interpreter (entangled.py).
ENTANGLED = """
select seq, component
from row_label
where component not in (select component from harmless)
  and seq not in (select seq from turn_row)
"""


def resolve(relations: Relations, how: Resolution, *, counts: Counts) -> int:
    """Make `resolved`, `gained_identity`, `lost_identity`, `warning`; count what they say.

    The relations of known.py and sift are made. Return how many rows the interpreter decided.
    """
    _load_types(relations, how.rules)
    bits = [(CODE[name], 1 << place) for place, name in enumerate(how.staged.identities)]
    relations.load("identity_bit", fixed_columns("identity_bit"), bits)
    relations.make("held_value", _held_value(relations))
    relations.make("identity_match", IDENTITY_MATCH, keep=False)
    name_mpids(relations, how.staged, how.frame)
    # A call or an MPID may lead each of alike rows elsewhere.
    is_plain = not how.one_by_one and "mpid" not in how.staged.plain
    find_alike(relations, how.staged, creates=how.creates and is_plain)
    relations.make("sharing_row", ALL_SHARING if how.one_by_one else SHARING_ROW)
    _mark_sharing(relations, how.staged.span)
    relations.make("sharing_claim", SHARING_CLAIM)
    if how.key is not None:
        _link_keyed(relations, how.key, creates=how.creates, span=how.staged.span)
    else:
        _link_all(relations, how)
    relations.make("tied_value", TIED_VALUE)
    empty: tuple[str, ...] = ("harmless", "turn_row")
    if how.one_by_one:
        relations.make("row_label", ONE_COMPONENT)
    elif relations.count("tied_value"):
        _label_components(relations)
        empty = (_find_harmless(relations, how),)
    else:
        empty = (*empty, "row_label", "entangled_row")
    for relation in empty:
        make_empty(relations, relation)
    if "entangled_row" not in empty:
        relations.make("entangled_row", ENTANGLED)
    decisions = decide_entangled(relations, how.frame, how.rules, creates=how.creates)
    load_decisions(relations, decisions, gains=how.key is None)
    settle(relations, how, counts=counts)
    return len(decisions.rows)


def _held_value(relations: Relations) -> str:
    """Return the SELECT of `held_value`: in parts, if there are many claims.

    Claims and indexes lie in the order of the hashes, so that each is read once.
    """
    parts = PARTS if relations.count("claim") >= MANY_CLAIMS else 1
    ends = [(place << HASH_BITS) // parts for place in range(parts + 1)]
    return union_of(
        [fill(HELD_VALUE, start=start, end=end) for start, end in itertools.pairwise(ends)]
    )


def _mark_sharing(relations: Relations, span: int) -> None:
    """Make `sharing_bits` and `company_bits`. span: how many rows the import has."""
    make_bits(relations, "sharing_bits", rows="sharing_row", span=span)
    if relations.count("alike_row"):
        make_bits(relations, "company_bits", rows=f"({SHARING_OR_ALIKE})", span=span)
    else:
        relations.make("company_bits", SAME_BITS, keep=False)


def _find_harmless(relations: Relations, how: Resolution) -> str:
    """Make `harmless`, the components in which every row finds the same profile, or `turn_row`.

    Return which of the two is not made.
    """
    relations.make("profile_label", PROFILE_LABEL)
    relations.make("component_value", COMPONENT_VALUE)
    if how.key is not None and how.creates:
        relations.make("turn_row", TURN_ROW, {"key": how.key})
        return "harmless"
    relations.make("component", COMPONENT)
    relations.make("harmless", HARMLESS)
    return "turn_row"


def _load_types(relations: Relations, rules: Rules) -> None:
    """Make the relations of the types that rows are looked up by, and of those with a flag."""
    # A protected profile is found by its login and immutable identities only (resolution.look_up).
    pivots = set(rules.hierarchy)
    if rules.login:
        pivots &= rules.login
    if rules.immutable:
        pivots &= rules.immutable
    types = {
        "lookup_type": [CODE[name] for name in rules.hierarchy],
        "login_type": [CODE[name] for name in rules.login],
        "guard_type": [CODE[name] for name in rules.login | rules.immutable],
        "unique_type": [CODE[name] for name in rules.unique],
        "pivot_type": [MPID_TYPE, *(CODE[name] for name in pivots)],
    }
    for relation, codes in types.items():
        relations.load(relation, [("type", "UTINYINT")], [(code,) for code in codes])


def _link_keyed(relations: Relations, key: int, *, creates: bool, span: int) -> None:
    """Leave open only the rows that their key does not decide, and link those.

    span: how many rows the import has.
    """
    bound = {"key": key}
    relations.make("keyed", KEYED, bound)
    make_bits(relations, "keyed_bits", rows="keyed", span=span)
    relations.make("open_row", OPEN_CREATING if creates else OPEN_UPDATING)
    relations.make("open_match", OPEN_MATCH, bound)
    relations.make("anonymous_match", ANONYMOUS_MATCH, bound)
    relations.make("live_value", LIVE, bound)
    relations.make("open_link", OPEN_LINK, bound)
    relations.make("link", LINK_KEYED, bound)
    relations.make("link_match", LINK_MATCH_KEYED, keep=False)


def _link_all(relations: Relations, how: Resolution) -> None:
    """Link all rows by the values that can lead them somewhere.

    A call that leads elsewhere than to the profile of its identities (a logout) is looked up by
    devices even if it has a login identity.
    """
    if "mpid" in how.staged.plain:
        relations.make("link", union_of([LINK_ALL, LINK_MPID]))
        relations.make("link_match", union_of([LINK_MATCH, LINK_MATCH_MPID]))
        return
    login_decides = how.rules.login_decides and not how.one_by_one
    relations.make("link", LINK_LOGIN_DECIDES if login_decides else LINK_ALL)
    relations.make("link_match", LINK_MATCH)


def _label_components(relations: Relations) -> None:
    """Make `label` and `row_label`: in which component each tied value, and each row, is."""
    relations.make("tie", TIE)
    relations.make("edge", EDGE)
    relations.make("label", LABEL_START)
    before = only_row(relations, LABEL_SUM)
    has_edges = bool(relations.count("edge"))
    while has_edges:
        relations.make("next_label", LABEL_NEXT)
        relations.rename("next_label", "label")
        after = only_row(relations, LABEL_SUM)
        if after == before:
            break
        before = after
    relations.make("row_label", ROW_LABEL)
