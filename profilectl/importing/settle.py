"""Rows that were decided -> their profiles, what these gained, and what is worth knowing.

The end of resolving (resolve.py): what a key, the interpreter and the harmless components say of
the sharing rows is put together. A row that shares nothing is in no table: the view
`lone_row` has it, so that a first load writes down nothing of most of its rows. relations.py says
what a row of each relation is.
"""

from __future__ import annotations

from dataclasses import dataclass

from profilectl.importing.mpids import give_mpids
from profilectl.importing.relations import Relations, fill, fixed_columns, only_row, union_of
from profilectl.importing.sift import Frame
from profilectl.importing.stage.staged import Staged
from profilectl.rules.counts import Counts
from profilectl.rules.feed import PROTECTIONS
from profilectl.rules.identity import CODE, Rules
from profilectl.rules.resolution import MADE_KNOWN

# 7. Who belongs to whom. A row with a known key belongs to its holder; one that is not the founder
# of an unknown key goes where the founder went; an open row without a link stands alone. A new
# profile is named by the arrival of its founder.
KEYED_KNOWN = "select seq, known as profile, false as created from keyed where known is not null"
# Without $first nobody is founded.
KEYED_UNKNOWN = """
select seq, coalesce(profile, founder + $first::bigint) as profile,
       $first::bigint is not null and coalesce(created, profile is null and founder = seq)
       as created
from (
  select sharing.seq,
         coalesce(
           decided_row.profile, founder.profile, harmless_row.profile, harmless_founder.profile
         ) as profile,
         decided_row.created as created,
         coalesce(
           harmless_row.founder, harmless_founder.founder, keyed.founder, sharing.seq
         ) as founder
  from (
    select seq
    from sharing_row
    where seq not in (select seq from keyed where known is not null)
  ) as sharing
  left join (select seq, founder from keyed where known is null) as keyed
    on keyed.seq = sharing.seq
  left join decided_row on decided_row.seq = sharing.seq
  left join decided_row as founder
    on founder.seq = keyed.founder and keyed.founder <> sharing.seq
  left join harmless_row on harmless_row.seq = sharing.seq
  left join harmless_row as harmless_founder
    on harmless_founder.seq = keyed.founder and keyed.founder <> sharing.seq
)
"""
HARMLESS_ROW = """
select row_label.seq, harmless.profile,
       min(row_label.seq) over (partition by row_label.component) as founder
from row_label
join harmless on harmless.component = row_label.component
where row_label.seq not in (select seq from turn_row)
union all
select seq, profile, founder from turn_row
"""
# In the general case: what the interpreter decided, then the harmless components, then the rest.
CREATING = """
select sharing.seq,
       case when decided_row.seq is not null then decided_row.profile
            else coalesce(
              harmless_row.profile, coalesce(harmless_row.founder, sharing.seq) + $first
            )
       end as profile,
       case when decided_row.seq is not null then decided_row.created
            else harmless_row.profile is null
                 and coalesce(harmless_row.founder, sharing.seq) = sharing.seq
       end as created
from sharing_row as sharing
left join decided_row on decided_row.seq = sharing.seq
left join harmless_row on harmless_row.seq = sharing.seq
"""
UPDATING = """
select sharing.seq,
       case when decided_row.seq is not null then decided_row.profile
            else harmless_row.profile
       end as profile,
       case when decided_row.seq is not null then decided_row.created else false end as created
from sharing_row as sharing
left join decided_row on decided_row.seq = sharing.seq
left join harmless_row on harmless_row.seq = sharing.seq
"""

# A row that shares nothing founds a profile, or is nobody's. It has all its identities.
LONE_ROW = """
select seq{columns}
from usable_hash
where get_bit((select bits from company_bits)[(seq >> 16) + 1], (seq & 65535)::integer) = 0
"""
BIT = "(h{place} is not null)::bigint * {bit}"
NO_LONE_ROW = "select null::bigint as seq, null::bigint as added where false"
FOUNDER = """
select seq from row_profile where created
union all
select distinct founder as seq from alike_value
union all
select seq from lone_row
"""

# 8. What profiles gained, and by which row: an identity that a profile does not have, by the first
# row that brings it. The interpreter has counted the gains of its own rows already. (As `not
# exists` DuckDB makes of the anti join a join more: 0.4 s of a million rows, not 0.2.)
CONTESTED_PROFILE = """
select profile
from row_profile
where profile is not null
group by profile
having count(*) > 1 or not bool_or(created)
union all
select distinct founder + first_arrival as profile
from alike_value
cross join import_start
"""
COUNTED_ALL = "select seq, profile from row_profile where profile is not null"
COUNTED = """
select seq, profile
from row_profile
where profile is not null and seq not in (select seq from decided_row)
"""
SETTLED_GAIN = """
select min(seq) as seq, type, hash, profile
from (
  select claim.seq, claim.type, claim.hash, counted_row.profile
  from sharing_claim as claim
  join counted_row on counted_row.seq = claim.seq
)
anti join identity_match using (hash, profile)
group by type, hash, profile
union all
select seq, type, hash, profile from decided_gain
union all
select founder as seq, type, hash, founder + first_arrival as profile
from alike_value
cross join import_start
"""
LONE_GAIN = """
select seq, type, hash, seq + first_arrival as profile
from claim
cross join import_start
where get_bit((select bits from company_bits)[(seq >> 16) + 1], (seq & 65535)::integer) = 0
"""
NO_LONE_GAIN = "select seq, type, hash, null::bigint as profile from claim where false"
GAINED_IDENTITY = """
select seq, type, hash, profile from settled_gain
union all
select seq, type, hash, profile from lone_gain
"""
# What each profile has more, or less, than before the import: a loss that is regained is neither.
ALL_GAINED = "select hash, profile from settled_gain"
ALL_LOST = "select hash, profile from lost_identity"
NET_GAIN = "select hash, profile from settled_gain anti join lost_identity using (profile, hash)"
NET_LOSS = "select hash, profile from lost_identity anti join settled_gain using (profile, hash)"

# 9. What is worth knowing of rows. PROTECTED_MATCH: nobody was found, though somebody has an
# identity of the row, an earlier row or the store. Where a key decides, this SELECT alone says so.
# (Each of the two for itself: with `or` DuckDB makes a table of all identities that match, 0.1 CPU
# s of a million rows and not 0.05.)
WARNED_BY_INTERPRETER = "select seq, code from decided_warning"
WARNED_BUT_PROTECTED = "select seq, code from decided_warning where code <> 'PROTECTED_MATCH'"
FINDABLE_CREATING = """
select hash, seq
from shared_value
where type in (select type from lookup_type)
"""
FINDABLE_UPDATING = """
select hash, min(claim.seq) as seq
from sharing_claim as claim
join row_profile on row_profile.seq = claim.seq
where row_profile.profile is not null and claim.type in (select type from lookup_type)
group by hash
"""
PROTECTED_MATCH = """
select seq, 'PROTECTED_MATCH' as code
from (
  with unmatched as materialized (
    select claim.seq, claim.hash
    from sharing_claim as claim
    join row_profile on row_profile.seq = claim.seq
    where (row_profile.created or row_profile.profile is null)
      and claim.type in (select type from lookup_type)
  )
  select unmatched.seq
  from unmatched
  join findable_value on findable_value.hash = unmatched.hash
  where findable_value.seq < unmatched.seq
  union
  select seq from unmatched where hash in (select hash from identity_match)
)
"""
# Of the rows that the interpreter does not decide only those that name an MPID can make an
# anonymous profile known: what else they are found by is of an unprotected type. The first login
# identity of a profile counts.
MADE_KNOWN_BY_MPID = """
select login_gain.seq, $made_known as code
from (
  select profile, min(seq) as seq
  from settled_gain
  where type in (select type from login_type)
  group by profile
) as login_gain
join row_profile on row_profile.seq = login_gain.seq
where not row_profile.created
  and login_gain.seq not in (select seq from decided_row)
  and login_gain.profile not in (
    select profile
    from known_identity
    where type in (select type from login_type)
      and profile in (select profile from settled_gain)
  )
"""
MADE_KNOWN_BY_TURN = """
select seq, $made_known as code
from turn_row
where has_key and (profile is not null or founder <> seq)
"""
# A new profile that nobody can be found by.
NOT_IN_HIERARCHY = """
select seq, 'IDENTITY_NOT_IN_HIERARCHY' as code
from founder
where seq not in (select seq from claim where type in (select type from lookup_type))
  and seq not in (select seq from decided_row)
  and seq not in (select seq from named_mpid)
"""
WARNINGS_BY_CODE = "select code, count(*) from warning group by code"

# 10. The outcome: each row with its profile, and which of its identities the profile gained by it.
SETTLED = """
select row_profile.seq, row_profile.profile, row_profile.created,
       coalesce(added_bits.added, 0) as added,
       case when row_profile.profile is null then $code end as code
from row_profile
left join (
  select settled_gain.seq, sum(identity_bit.bit)::bigint as added
  from settled_gain
  join identity_bit using (type)
  group by settled_gain.seq
) as added_bits on added_bits.seq = row_profile.seq
union all
select seq, founder + first_arrival as profile, seq = founder as created, added, null as code
from alike_row
cross join import_start
"""
RESOLVED_CREATING = """
select seq, profile, created, added, code from settled
union all
select seq, seq + first_arrival as profile, true as created, added, null as code
from lone_row
cross join import_start
"""
RESOLVED_UPDATING = """
select seq, profile, created, added, code from settled
union all
select seq, null as profile, false as created, 0 as added, import_start.code
from usable_hash
cross join import_start
where seq not in (select seq from sharing_row)
"""
MOVED_AND_REMOVED = """
select count(distinct hash) filter (hash in (select hash from net_gain)),
       count(*) filter (hash not in (select hash from net_gain))
from net_loss
"""
ALIKE_CLAIMS = "select coalesce(sum(rows), 0)::bigint from alike_value"
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
    one_by_one: bool
    """Whether the interpreter decides every row."""

    @property
    def creates(self) -> bool:
        """Return whether a row that finds nobody may found a profile."""
        return self.frame.creates

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
            one_by_one=one_by_one,
        )


def settle(relations: Relations, how: Resolution, *, counts: Counts) -> None:
    """Make `resolved`, `gained_identity`, `warning`, and what they are made of; count.

    The relations of resolve.py are made, and those of what the interpreter decided.
    """
    start = (how.frame.first_arrival, PROTECTIONS[how.frame.protection].code)
    relations.load("import_start", fixed_columns("import_start"), [start])
    lone_claims = _lone_claims(relations) if how.creates else 0
    _give_profiles(relations, how, lone_claims=lone_claims)
    _gain(relations, how, lone_claims=lone_claims)
    _warn(relations, how)
    _finish(relations, how)
    _count(relations, how.frame, counts, lone_claims=lone_claims)


def _give_profiles(relations: Relations, how: Resolution, *, lone_claims: int) -> None:
    """Make `row_profile`: the profile of each sharing row, and whether the row founded it.

    `lone_row` and `founder` are views.
    """
    relations.make("harmless_row", HARMLESS_ROW)
    bound = {"first": how.frame.first_arrival if how.creates else None}
    if how.key is not None:
        select = union_of([KEYED_KNOWN, KEYED_UNKNOWN])
        relations.make("row_profile", select, bound)
    elif how.creates:
        relations.make("row_profile", CREATING, bound)
    else:
        relations.make("row_profile", UPDATING)
    lone = NO_LONE_ROW
    # Where no row is lone, to look for them nine times would take 0.3 s for a million rows.
    if lone_claims:
        places = range(len(how.staged.identities))
        bits = " + ".join(fill(BIT, place=place, bit=1 << place) for place in places)
        lone = LONE_ROW.format(columns=f", {bits or '0::bigint'} as added")
    relations.make("lone_row", lone, keep=False)
    relations.make("founder", FOUNDER, keep=False)


def _lone_claims(relations: Relations) -> int:
    """Return how many identities the lone rows claim; each claims at least one.

    To count them by a join takes 0.13 s for a million rows.
    """
    (alike,) = only_row(relations, ALIKE_CLAIMS)
    return relations.count("claim") - relations.count("sharing_claim") - int(alike)


def _gain(relations: Relations, how: Resolution, *, lone_claims: int) -> None:
    """Make `settled_gain` and `lone_gain`, and `net_gain` and `net_loss`."""
    relations.make("contested_profile", CONTESTED_PROFILE)
    relations.make("counted_row", COUNTED if how.key is None else COUNTED_ALL, keep=False)
    relations.make("settled_gain", SETTLED_GAIN)
    lone = LONE_GAIN if lone_claims else NO_LONE_GAIN
    relations.make("lone_gain", lone, keep=False)
    relations.make("gained_identity", GAINED_IDENTITY, keep=False)
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
        selects = [WARNED_BUT_PROTECTED, PROTECTED_MATCH, MADE_KNOWN_BY_TURN]
        bound["made_known"] = MADE_KNOWN
    else:
        selects = [WARNED_BY_INTERPRETER]
    # Where nobody gained anything, as by `set`, this would read the whole index: half a second.
    if "mpid" in how.staged.plain and relations.count("settled_gain"):
        selects.append(MADE_KNOWN_BY_MPID)
        bound["made_known"] = MADE_KNOWN
    types = {CODE[name] for name in how.staged.identities}
    if how.creates and not types <= {CODE[name] for name in how.rules.hierarchy}:
        selects.append(NOT_IN_HIERARCHY)
    relations.make("warning", union_of(selects), bound)


def _finish(relations: Relations, how: Resolution) -> None:
    """Make `resolved` of who belongs to whom and of what was gained."""
    give_mpids(relations, how.frame)
    code = PROTECTIONS[how.frame.protection].code
    relations.make("settled", SETTLED, {"code": code})
    select = RESOLVED_CREATING if how.creates else RESOLVED_UPDATING
    relations.make("resolved", select, keep=False)


def _count(relations: Relations, frame: Frame, counts: Counts, *, lone_claims: int) -> None:
    """Count what became of identities (resolution.identity_counts, in sets), and the warnings."""
    gained = relations.count("net_gain") + lone_claims
    moved = removed = 0
    if relations.count("net_loss"):
        moved, removed = only_row(relations, MOVED_AND_REMOVED)
    counts.identities.update(added=gained - moved, moved=moved, removed=removed)
    for code, number in relations.rows(WARNINGS_BY_CODE):
        counts.codes[code] += number
    (dropped,) = only_row(relations, UNRESOLVED)
    counts.rows["dropped"] += dropped
    if dropped:
        counts.codes[PROTECTIONS[frame.protection].code] += dropped
