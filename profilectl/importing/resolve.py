"""Usable rows -> one profile each.

The rules are sequential (row N sees what row N-1 did); the work is not. Rows that share no identity
with another, or share it harmlessly, are resolved in closed form; the rest, the entangled rows, are
decided by the interpreter in row order, on just the profiles they touch (design.md 3).

The SELECTs below are the story, in their order. relations.py says what a row of each is.
"""

from __future__ import annotations

from dataclasses import dataclass

from profilectl.importing.entangled import decide_entangled, load_decisions
from profilectl.importing.mpids import give_mpids, name_mpids
from profilectl.importing.relations import Relations, make_empty, only_row, union_of
from profilectl.importing.sift import Frame
from profilectl.importing.stage.staged import Staged
from profilectl.rules.counts import Counts
from profilectl.rules.feed import PROTECTIONS, Effect
from profilectl.rules.identity import CODE, Rules
from profilectl.rules.resolution import MADE_KNOWN
from profilectl.rules.sql.identities import MPID_TYPE

# 0. By value, not each row with each holder: many rows and many profiles may share a value.
IDENTITY_MATCH = """
select hash, type, profile
from known_identity
where hash in (select hash from claim)
"""

# 1. Rows that name one known person. Where one type alone names a known profile (Rules.sole_key), a
# row that has it belongs to its holder: a profile of the store, or the first row that has it. The
# first row is the `founder`; only it can still meet an anonymous profile through its other
# identities.
KEYED = """
select claim.seq, claim.hash, identity_match.profile as known,
       min(claim.seq) over (partition by claim.hash) as founder
from claim
left join identity_match on identity_match.hash = claim.hash and identity_match.type = $key
where claim.type = $key
"""

# 2. A value is live when somebody without a login identity has it, in the store or in this import:
# only then can it lead a row to a profile. (A profile with one is protected: domain.md 4.2.)
LIVE = """
select distinct claim.hash
from claim
where claim.type <> $key and claim.type in (select type from lookup_type)
  and claim.seq not in (select seq from keyed)
union
select hash from anonymous_match
"""
OPEN_MATCH = """
select hash, type, profile
from identity_match
where type <> $key and type in (select type from lookup_type)
  and hash in (select hash from claim where seq in (select seq from open_row))
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
from usable
where seq not in (select seq from keyed where known is not null or founder <> seq)
"""
OPEN_UPDATING = """
select seq
from usable
where seq not in (select seq from keyed where known is not null)
"""

# 4. Open rows are linked by a live value that two of them have, or that an anonymous profile has. A
# key links the rows that have it only if one of them touches a live value.
OPEN_LINK = """
select claim.seq, claim.type, claim.hash
from claim
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
LINK_ALL = "select seq, type, hash from claim where type in (select type from lookup_type)"
LINK_LOGIN_DECIDES = """
select seq, type, hash
from claim
where type in (select type from lookup_type)
  and (
    type in (select type from login_type)
    or hash in (
      select hash
      from claim
      where type in (select type from lookup_type)
        and seq not in (select seq from claim where type in (select type from login_type))
    )
  )
"""
LINK_MATCH = "select hash, type, profile from identity_match where hash in (select hash from link)"
# An MPID that a row names links it like an identity, and may tie an anonymous profile to anything:
# then every value links.
LINK_MPID = "select seq, 0::utinyint as type, hash from named_mpid"
LINK_MATCH_MPID = """
select distinct named_mpid.hash, 0::utinyint as type, known_mpid.profile
from named_mpid
join known_mpid
  on known_mpid.mpid = named_mpid.mpid and known_mpid.environment = named_mpid.environment
"""

# A link counts when a second row or a profile is at its other end. Rows and profiles that share a
# value are tied to the first row that has it: a star, not a mesh. Profiles are named -1 - profile,
# so that they are no row.
EDGE = """
select node, neighbour
from (
  select link.seq as node, shared.first_seq as neighbour
  from link
  join (
    select hash, min(seq) as first_seq from link group by hash having count(*) > 1
  ) as shared using (hash)
  union
  select linked.first_seq as node, -1 - link_match.profile as neighbour
  from link_match
  join (select hash, min(seq) as first_seq from link group by hash) as linked using (hash)
)
where node <> neighbour
"""

# 5. Connected components: every node takes the smallest label among its neighbours', then the label
# of its label, until nothing moves. A node is a row or a profile.
LABEL_START = """
select node, min(label) as label
from (
  select node, least(node, neighbour) as label from edge
  union all
  select neighbour as node, least(node, neighbour) as label from edge
)
group by node
"""
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
ROW_LABEL = "select node as seq, label as component from label where node >= 0"
# A logout may found a profile, no matter who has its identities: all rows are one component. They
# are few.
ONE_COMPONENT = "select seq, 0::bigint as component from usable"

# 6. A component is harmless if all of these hold: (a) some value of an unprotected type occurs in
# every row; (b) at most one stored profile belongs to it, and has that value too; (c) no unique
# type occurs with two values. Then every row finds the profile that the first row found or made.
# (`contradiction` is against (c), `free` says that no login value links.)
COMPONENT = """
select row_label.component, count(distinct row_label.seq) as rows,
       (
         select count(*)
         from label
         where label.label = row_label.component and label.node < 0
       ) as profiles,
       bool_or(link.type = 0) as has_mpid,
       bool_and(link.type not in (select type from login_type)) as free,
       (
         count(distinct case when link.type in (select type from unique_type) then link.hash end)
         > count(distinct case when link.type in (select type from unique_type) then link.type end)
       )
       or bool_or(
         link.type in (select type from unique_type)
         and link.hash not in (select hash from link_match)
         and exists (
           select 1 from label where label.label = row_label.component and label.node < 0
         )
       ) as contradiction
from row_label
join link on link.seq = row_label.seq
group by row_label.component
"""
HARMLESS = """
select member.component, min(member.profile) as profile
from (
  select row_label.component, link.hash, link.type, count(*) as rows,
         min(holder.profile) as profile
  from link
  join row_label on row_label.seq = link.seq
  left join (
    select hash, min(profile) as profile from link_match group by hash
  ) as holder on holder.hash = link.hash
  group by row_label.component, link.hash, link.type
) as member
join component on component.component = member.component
where member.rows = component.rows
  and (component.profiles = 0 or component.profiles = 1 and member.profile is not null)
  and not component.contradiction
  and (
    member.type in (select type from pivot_type)
    or component.free and component.profiles = 0
  )
  and (not component.has_mpid or member.type = 0)
group by member.component
"""
# The rows of all other components go to the interpreter (entangled.py).
ENTANGLED_KEYED = "select seq, component from row_label"
ENTANGLED = """
select seq, component
from row_label
where component not in (select component from harmless)
"""

# 7. Who belongs to whom. A row with a known key belongs to its holder; one that is not the founder
# of an unknown key goes where the founder went; an open row without a link stands alone. A new
# profile is named by the arrival of its founder.
KEYED_ROW = """
select usable.seq,
       coalesce(keyed.known, decided_row.profile, founder.profile) as profile,
       decided_row.created as created,
       coalesce(keyed.founder, usable.seq) as founder
from usable
left join keyed on keyed.seq = usable.seq
left join decided_row on decided_row.seq = usable.seq
left join decided_row as founder
  on founder.seq = keyed.founder and keyed.founder <> usable.seq
"""
KEYED_CREATING = """
select seq,
       case when profile is not null then profile else founder + $first end as profile,
       coalesce(created, profile is null and founder = seq) as created
from keyed_row
"""
KEYED_UPDATING = "select seq, profile, false as created from keyed_row"
# In the general case: what the interpreter decided, then the harmless components, then the rest.
HARMLESS_ROW = """
select row_label.seq, harmless.profile,
       min(row_label.seq) over (partition by row_label.component) as founder
from row_label
join harmless on harmless.component = row_label.component
"""
CREATING = """
select usable.seq,
       case when decided_row.seq is not null then decided_row.profile
            else coalesce(
              harmless_row.profile, coalesce(harmless_row.founder, usable.seq) + $first
            )
       end as profile,
       case when decided_row.seq is not null then decided_row.created
            else harmless_row.profile is null
                 and coalesce(harmless_row.founder, usable.seq) = usable.seq
       end as created
from usable
left join decided_row on decided_row.seq = usable.seq
left join harmless_row on harmless_row.seq = usable.seq
"""
UPDATING = """
select usable.seq,
       case when decided_row.seq is not null then decided_row.profile
            else harmless_row.profile
       end as profile,
       case when decided_row.seq is not null then decided_row.created else false end as created
from usable
left join decided_row on decided_row.seq = usable.seq
left join harmless_row on harmless_row.seq = usable.seq
"""

# 8. What profiles gained, and by which row. A profile founded by the only row that belongs to it
# gains all that the row claims. Others gain an identity that they do not have by the first row that
# brings it. The interpreter has counted the gains of its own rows already.
CONTESTED_PROFILE = """
select profile
from row_profile
where profile is not null
group by profile
having count(*) > 1 or not bool_or(created)
"""
COUNTED_ALL = "select seq, profile from row_profile where profile is not null"
COUNTED = """
select seq, profile
from row_profile
where profile is not null and seq not in (select seq from decided_row)
"""
GAINED_IDENTITY = """
select claim.seq, claim.type, claim.hash, counted_row.profile
from claim
join counted_row on counted_row.seq = claim.seq
where counted_row.profile not in (select profile from contested_profile)
union all
select min(claim.seq) as seq, claim.type, claim.hash, counted_row.profile
from claim
join counted_row on counted_row.seq = claim.seq
where counted_row.profile in (select profile from contested_profile)
  and not exists (
    select 1
    from identity_match
    where identity_match.hash = claim.hash and identity_match.profile = counted_row.profile
  )
group by claim.type, claim.hash, counted_row.profile
union all
select seq, type, hash, profile from decided_gain
"""
# What each profile has more, or less, than before the import: a loss that is regained is neither.
ALL_GAINED = "select hash, profile from gained_identity"
ALL_LOST = "select hash, profile from lost_identity"
NET_GAIN = "select hash, profile from gained_identity anti join lost_identity using (profile, hash)"
NET_LOSS = "select hash, profile from lost_identity anti join gained_identity using (profile, hash)"

# 9. What is worth knowing of rows. PROTECTED_MATCH: nobody was found, though somebody has an
# identity of the row, an earlier row or the store. Where a key decides, this SELECT alone says so.
WARNED_BY_INTERPRETER = "select seq, code from decided_warning"
WARNED_BUT_PROTECTED = "select seq, code from decided_warning where code <> 'PROTECTED_MATCH'"
FINDABLE_CREATING = """
select hash, seq
from shared_value
where type in (select type from lookup_type)
"""
FINDABLE_UPDATING = """
select hash, min(claim.seq) as seq
from claim
join row_profile on row_profile.seq = claim.seq
where row_profile.profile is not null and claim.type in (select type from lookup_type)
group by hash
"""
PROTECTED_MATCH = """
select distinct claim.seq, 'PROTECTED_MATCH' as code
from claim
join row_profile on row_profile.seq = claim.seq
left join findable_value on findable_value.hash = claim.hash
where (row_profile.created or row_profile.profile is null)
  and claim.type in (select type from lookup_type)
  and (findable_value.seq < claim.seq or claim.hash in (select hash from identity_match))
"""
# Of the rows that the interpreter does not decide only those that name an MPID can make an
# anonymous profile known: what else they are found by is of an unprotected type. The first login
# identity of a profile counts.
MADE_KNOWN_BY_MPID = """
select login_gain.seq, $made_known as code
from (
  select profile, min(seq) as seq
  from gained_identity
  where type in (select type from login_type)
  group by profile
) as login_gain
join row_profile on row_profile.seq = login_gain.seq
where not row_profile.created
  and login_gain.seq not in (select seq from decided_row)
  and login_gain.profile not in (
    select profile from known_identity where type in (select type from login_type)
  )
"""
# A new profile that nobody can be found by.
NOT_IN_HIERARCHY = """
select seq, 'IDENTITY_NOT_IN_HIERARCHY' as code
from row_profile
where created
  and seq not in (select seq from claim where type in (select type from lookup_type))
  and seq not in (select seq from decided_row)
  and seq not in (select seq from named_mpid)
"""
WARNINGS_BY_CODE = "select code, count(*) from warning group by code"

# 10. The outcome: each row with its profile, and which of its identities the profile gained by it.
ADDED_BITS = """
select gained_identity.seq, sum(identity_bit.bit)::bigint as added
from gained_identity
join identity_bit using (type)
group by gained_identity.seq
"""
RESOLVED = """
select row_profile.seq, row_profile.profile, row_profile.created,
       coalesce(added_bits.added, 0) as added, founder_mpid.mpid,
       case when row_profile.profile is null then $code end as code
from row_profile
left join added_bits on added_bits.seq = row_profile.seq
left join founder_mpid on founder_mpid.seq = row_profile.seq
"""
MOVED_AND_REMOVED = """
select count(distinct hash) filter (hash in (select hash from net_gain)),
       count(*) filter (hash not in (select hash from net_gain))
from net_loss
"""
UNRESOLVED = "select count(*) from resolved where code is not null"


@dataclass(frozen=True, slots=True)
class Resolution:
    """How the rows of an import are resolved."""

    staged: Staged
    """The staged rows."""
    frame: Frame
    """The frame that they are read against."""
    rules: Rules
    """The identity rules in force."""
    key: int | None
    """The code of the type that alone names a known profile; None: no type does."""
    creates: bool
    """Whether a row that finds nobody may found a profile."""
    one_by_one: bool
    """Whether the interpreter decides every row."""

    @classmethod
    def of(cls, staged: Staged, frame: Frame, rules: Rules) -> Resolution:
        """Return how rows are resolved under some rules."""
        one_by_one = rules.leads(frame.call) != "identify"
        has_key = rules.sole_key is not None and "mpid" not in staged.plain and not one_by_one
        return cls(
            staged=staged,
            frame=frame,
            rules=rules,
            key=CODE[rules.sole_key] if has_key and rules.sole_key else None,
            creates=PROTECTIONS[frame.protection].unknown_user is Effect.CREATE,
            one_by_one=one_by_one,
        )


def resolve(relations: Relations, how: Resolution, *, counts: Counts) -> int:
    """Make `resolved`, `gained_identity`, `lost_identity`, `warning`; count what they say.

    The relations of known.py and sift are made. Return how many rows the interpreter decided.
    """
    _load_types(relations, how.rules)
    relations.make("identity_match", IDENTITY_MATCH)
    name_mpids(relations, how.staged, how.frame)
    if how.key is not None:
        _link_keyed(relations, how.key, creates=how.creates)
    else:
        _link_all(relations, how)
    _label_components(relations)
    if how.one_by_one:
        relations.make("row_label", ONE_COMPONENT)
        make_empty(relations, "harmless")
    elif how.key is None:
        relations.make("component", COMPONENT)
        relations.make("harmless", HARMLESS)
    relations.make("entangled_row", ENTANGLED if how.key is None else ENTANGLED_KEYED)
    decisions = decide_entangled(relations, how.frame, how.rules, creates=how.creates)
    load_decisions(relations, decisions, gains=how.key is None)
    _give_profiles(relations, how)
    _gain(relations, how)
    _warn(relations, how)
    _finish(relations, how)
    _count(relations, how.frame, counts)
    return len(decisions.rows)


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
        "unique_type": [CODE[name] for name in rules.unique],
        "pivot_type": [MPID_TYPE, *(CODE[name] for name in pivots)],
    }
    for relation, codes in types.items():
        relations.load(relation, [("type", "UTINYINT")], [(code,) for code in codes])


def _link_keyed(relations: Relations, key: int, *, creates: bool) -> None:
    """Leave open only the rows that their key does not decide, and link those."""
    bound = {"key": key}
    relations.make("keyed", KEYED, bound)
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
    """Make `label` and `row_label`: in which component each linked row and profile is."""
    relations.make("edge", EDGE)
    relations.make("label", LABEL_START)
    before = only_row(relations, LABEL_SUM)
    while True:
        relations.make("next_label", LABEL_NEXT)
        relations.rename("next_label", "label")
        after = only_row(relations, LABEL_SUM)
        if after == before:
            break
        before = after
    relations.make("row_label", ROW_LABEL)


def _give_profiles(relations: Relations, how: Resolution) -> None:
    """Make `row_profile`: the profile of each row, and whether the row founded it."""
    if how.key is not None:
        relations.make("keyed_row", KEYED_ROW)
        select = KEYED_CREATING if how.creates else KEYED_UPDATING
    else:
        relations.make("harmless_row", HARMLESS_ROW)
        select = CREATING if how.creates else UPDATING
    bound = {"first": how.frame.first_arrival} if how.creates else None
    relations.make("row_profile", select, bound)


def _gain(relations: Relations, how: Resolution) -> None:
    """Make `gained_identity`, and `net_gain` and `net_loss`."""
    relations.make("contested_profile", CONTESTED_PROFILE)
    relations.make("counted_row", COUNTED if how.key is None else COUNTED_ALL, keep=False)
    relations.make("gained_identity", GAINED_IDENTITY)
    if relations.count("lost_identity"):
        relations.make("net_gain", NET_GAIN)
        relations.make("net_loss", NET_LOSS)
    else:
        relations.make("net_gain", ALL_GAINED, keep=False)
        relations.make("net_loss", ALL_LOST, keep=False)


def _warn(relations: Relations, how: Resolution) -> None:
    """Make `warning`: rows that protection kept from a profile, rows nobody can be found by."""
    bound: dict[str, object] = {}
    if how.key is not None:
        relations.make(
            "findable_value",
            FINDABLE_CREATING if how.creates else FINDABLE_UPDATING,
            keep=not how.creates,
        )
        selects = [WARNED_BUT_PROTECTED, PROTECTED_MATCH]
    else:
        selects = [WARNED_BY_INTERPRETER]
    if "mpid" in how.staged.plain:
        selects.append(MADE_KNOWN_BY_MPID)
        bound["made_known"] = MADE_KNOWN
    types = {CODE[name] for name in how.staged.identities}
    if how.creates and not types <= {CODE[name] for name in how.rules.hierarchy}:
        selects.append(NOT_IN_HIERARCHY)
    relations.make("warning", union_of(selects), bound)


def _finish(relations: Relations, how: Resolution) -> None:
    """Make `resolved` of who belongs to whom and of what was gained."""
    bits = [(CODE[name], 1 << place) for place, name in enumerate(how.staged.identities)]
    relations.load("identity_bit", [("type", "UTINYINT"), ("bit", "BIGINT")], bits)
    give_mpids(relations, how.frame)
    relations.make("added_bits", ADDED_BITS)
    relations.make("resolved", RESOLVED, {"code": PROTECTIONS[how.frame.protection].code})


def _count(relations: Relations, frame: Frame, counts: Counts) -> None:
    """Count what became of identities (resolution.identity_counts, in sets), and the warnings."""
    gained, moved, removed = relations.count("net_gain"), 0, 0
    if relations.count("net_loss"):
        moved, removed = only_row(relations, MOVED_AND_REMOVED)
    counts.identities.update(added=gained - moved, moved=moved, removed=removed)
    for code, number in relations.rows(WARNINGS_BY_CODE):
        counts.codes[code] += number
    (dropped,) = only_row(relations, UNRESOLVED)
    counts.rows["dropped"] += dropped
    if dropped:
        counts.codes[PROTECTIONS[frame.protection].code] += dropped
