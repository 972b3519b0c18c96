"""Usable rows -> one profile each.

The rules are sequential (row N sees what row N-1 did); the work is not. Rows that share no identity
with another, or share it harmlessly, are resolved in closed form; the rest, the entangled rows, are
decided by the interpreter in row order, on just the profiles they touch (design.md 3).

Relations made here (besides the steps, which are named where they are made):

    hit        hash, type, profile         an identity that rows claim, and a profile that has it already: by value, never row
                                           by holder, because many rows and many profiles may share one value
    link_hit   hash, type, profile         of those the ones that can lead a row to a profile
    entangled  seq, component              rows that the closed form must not decide
    resolved   seq, profile, created, added, mpid, code
               the profile of each row (null where nobody was found and none may be made), whether the
               row founded it, which of its identities are new to the profile (one bit for each staged
               identity column), the MPID of a founder, the code of a dropped row
    taken      profile, type, hash, arrival    identities that profiles lost
    fleeting   profile, type, seq, until   identities that profiles had for a while within this import: from the row that
               brought them to the one that took them away
    warned     seq, code
    unheld     seq, type, hash, profile    identities that profiles gained
    gain, loss  hash, profile              who holds more and less than before the import: without what a profile lost and gained again

A profile is named by its arrival: of this import's, first_arrival + seq of the row that founds it.
"""

from __future__ import annotations

from dataclasses import dataclass

from profilectl.importing.entangled import _Slow
from profilectl.importing.mpids import _mpids, _name_mpids
from profilectl.importing.sift import Frame
from profilectl.importing.stage.run import Staged
from profilectl.rules.counts import Counts
from profilectl.rules.feed import PROTECTIONS, Effect
from profilectl.rules.identity import CODE, Rules
from profilectl.rules.resolution import MADE_KNOWN
from profilectl.rules.sql.identities import MPID_TYPE
from profilectl.store.scratch import Scratch

# 1. Rows that name one known person. Where one type alone names a known profile (Rules.sole_key), a
# row that has it belongs to whoever holds it: a profile of the store, or the first row that has it.
# The first row is the `founder`; only it can still meet an anonymous profile through its other
# identities.
KEYED = """
select claim.seq, claim.hash, hit.profile as known, min(claim.seq) over (partition by claim.hash) as founder
from claim
left join hit on hit.hash = claim.hash and hit.type = $key
where claim.type = $key
"""

# 2. A value is live when somebody without a login identity has it, in the store or in this import:
# only then can it lead a row to a profile. (Who has one is protected: domain.md 4.2.)
LIVE = """
select distinct claim.hash
from claim
where claim.type <> $key and claim.type in (select type from lookup_type)
  and claim.seq not in (select seq from keyed)
union
select hash from anonymous_hit
"""

OPEN_HIT = """
select hash, type, profile
from hit
where type <> $key and type in (select type from lookup_type)
  and hash in (select hash from claim where seq in (select seq from open_row))
"""
ANONYMOUS_HIT = """
select open_hit.hash, open_hit.type, open_hit.profile
from open_hit
anti join (
  select profile from known_identity where type = $key and profile in (select profile from open_hit)
) as known using (profile)
"""

# 3. The rows that are still open: without the key, or with a key that nobody has. Where nobody may
# be created, each row of an unknown key is open, because the first may be dropped.
OPEN_CREATING = "select seq from usable where seq not in (select seq from keyed where known is not null or founder <> seq)"
OPEN_UPDATING = (
    "select seq from usable where seq not in (select seq from keyed where known is not null)"
)

# 4. Open rows are linked by a live value that two of them have, or that an anonymous profile has.
OPEN_LINK = """
select claim.seq, claim.type, claim.hash
from claim
where claim.seq in (select seq from open_row)
  and (claim.hash in (select hash from live) or claim.type = $key)
"""

# In the general case every value that can lead a row somewhere links: all of them, or, where a row
# with a login identity is looked up by that alone, the login values and those of rows without one.
LINK_ALL = "select seq, type, hash from claim where type in (select type from lookup_type)"
LINK_LOGIN_DECIDES = """
select seq, type, hash
from claim
where type in (select type from lookup_type)
  and (type in (select type from login_type)
       or hash in (select hash from claim
                   where type in (select type from lookup_type)
                     and seq not in (select seq from claim where type in (select type from login_type))))
"""

# A link counts when a second row or a profile is at its other end. Rows and profiles that share a
# value are tied to the first row that has it: a star, not a mesh. Profiles are named -1 - profile,
# so that they are no row.
EDGE = """
select link.seq as one, shared.first as other
from link
join (select hash, min(seq) as first from link group by hash having count(*) > 1) as shared using (hash)
union
select held.first as one, -1 - link_hit.profile as other
from link_hit
join (select hash, min(seq) as first from link group by hash) as held using (hash)
"""

# 5. Connected components: every node takes the smallest label among its neighbours', then the label
# of its label, until nothing moves. A node is a row or a profile.
LABEL_START = """
select node, min(label) as label
from (
  select one as node, least(one, other) as label from edge
  union all
  select other as node, least(one, other) as label from edge
)
group by node
"""
LABEL_NEXT = """
select node, min(label) as label
from (
  select node, label from label
  union all
  select edge.one as node, label.label from edge join label on label.node = edge.other
  union all
  select edge.other as node, label.label from edge join label on label.node = edge.one
  union all
  select low.node, high.label from label as low join label as high on high.node = low.label
)
group by node
"""

# 6. A component is harmless when one value is carried by all its rows, of a type that no protection
# stands before, when at most one profile of the store is in it and that profile has the value too,
# and when no unique type has two values in it. Then the first row founds (or finds) the profile and
# every later row finds the same.
HARMLESS = """
select member.component, min(member.profile) as profile
from (
  select row_label.component, link.hash, link.type, count(*) as rows,
         min(holder.profile) as profile
  from link
  join row_label on row_label.seq = link.seq
  left join (select hash, min(profile) as profile from link_hit group by hash) as holder on holder.hash = link.hash
  group by row_label.component, link.hash, link.type
) as member
join component on component.component = member.component
where member.rows = component.rows
  and (component.profiles = 0 or component.profiles = 1 and member.profile is not null)
  and not component.contradiction
  and (member.type in (select type from pivot_type) or component.free and component.profiles = 0)
  and (not component.has_mpid or member.type = 0)
group by member.component
"""
COMPONENT = """
select row_label.component, count(distinct row_label.seq) as rows,
       (select count(*) from label where label.label = row_label.component and label.node < 0) as profiles,
       bool_or(link.type = 0) as has_mpid,
       bool_and(link.type not in (select type from login_type)) as free,
       (count(distinct case when link.type in (select type from unique_type) then link.hash end)
        > count(distinct case when link.type in (select type from unique_type) then link.type end))
       or bool_or(link.type in (select type from unique_type) and link.hash not in (select hash from link_hit)
                  and exists (select 1 from label where label.label = row_label.component and label.node < 0))
         as contradiction
from row_label
join link on link.seq = row_label.seq
group by row_label.component
"""


# 7. Of the rows that the interpreter does not decide only those that name an MPID can make an
# anonymous profile known: what else they are found by is of a type that no protection stands
# before. The first login identity of a profile counts.
MADE_KNOWN_BY_MPID = f"""
insert into warned
select first.seq, '{MADE_KNOWN}'
from (
  select profile, min(seq) as seq from unheld where type in (select type from login_type) group by profile
) as first
join belonging on belonging.seq = first.seq
where not belonging.created
  and first.seq not in (select seq from decided)
  and first.profile not in (select profile from known_identity where type in (select type from login_type))
"""


@dataclass(slots=True)
class Resolution:
    """What resolving found: rows that went the slow way, and whether identities were taken away."""

    slow_path_rows: int = 0
    taken: bool = False


def resolve(
    scratch: Scratch, staged: Staged, frame: Frame, rules: Rules, first_arrival: int, counts: Counts
) -> Resolution:
    """Make `resolved`, `taken`, `unheld` and count what happened to identities.

    The store is attached as `store`, and `known_identity` (hash, profile, type) and `known_mpid`
    (mpid, profile) are made.
    """
    create = PROTECTIONS[frame.protection].unknown_user is Effect.CREATE
    _load_types(scratch, rules)
    scratch.make(
        "hit",
        "select hash, type, profile from known_identity where hash in (select hash from claim)",
    )
    _name_mpids(scratch, staged, frame)
    key = rules.sole_key
    one_by_one = rules.leads(frame.call) != "identify"
    keyed = key is not None and "mpid" not in staged.plain and not one_by_one
    if keyed:
        assert key is not None
        _link_keyed(scratch, CODE[key], create=create)
    else:
        _link_all(scratch, staged, rules, devices=one_by_one)
    _components(scratch)
    slow = _Slow(scratch, staged, frame, rules, first_arrival, create)
    if one_by_one:
        _entangle(scratch)
    elif not keyed:
        _harmless(scratch)
    slow.run(harmless=not keyed)
    _resolved(scratch, first_arrival, keyed=keyed, create=create)
    _gains(scratch, staged, first_arrival, keyed=keyed)
    _warn(scratch, staged, keyed=keyed, create=create)
    _finish(scratch, staged, frame, first_arrival)
    _count(scratch, frame, counts)
    return Resolution(slow.rows, bool(scratch.count("taken")))


def _load_types(scratch: Scratch, rules: Rules) -> None:
    lookup = [CODE[name] for name in rules.hierarchy]
    pivot = set(rules.hierarchy)
    if rules.login:
        pivot &= rules.login
    if rules.immutable:
        pivot &= rules.immutable
    for name, types in (
        ("lookup_type", lookup),
        ("login_type", [CODE[one] for one in rules.login]),
        ("unique_type", [CODE[one] for one in rules.unique]),
        ("pivot_type", [MPID_TYPE, *(CODE[one] for one in pivot)]),
    ):
        scratch.load(name, [("type", "UTINYINT")], [(one,) for one in types])


def _link_keyed(scratch: Scratch, key: int, *, create: bool) -> None:
    """Leave open only the rows that their key does not decide, and link those."""
    scratch.make("keyed", KEYED, {"key": key})
    scratch.make("open_row", OPEN_CREATING if create else OPEN_UPDATING)
    scratch.make("open_hit", OPEN_HIT, {"key": key})
    scratch.make("anonymous_hit", ANONYMOUS_HIT, {"key": key})
    scratch.make("live", LIVE, {"key": key})
    scratch.make("open_link", OPEN_LINK, {"key": key})
    # A key links the rows that have it only where one of them touches a live value.
    scratch.make(
        "link",
        "select seq, type, hash from open_link where type <> $key or hash in"
        " (select hash from open_link where type = $key and seq in (select seq from open_link where type <> $key))",
        {"key": key},
    )
    scratch.make("link_hit", "select hash, type, profile from anonymous_hit", keep=False)


def _link_all(scratch: Scratch, staged: Staged, rules: Rules, *, devices: bool) -> None:
    """devices: a row is looked up by them even where it has a login identity."""
    select = LINK_LOGIN_DECIDES if rules.login_decides and not devices else LINK_ALL
    hits = "select hash, type, profile from hit where hash in (select hash from link)"
    if "mpid" in staged.plain:
        # An MPID that a row names links it like an identity, and may tie an anonymous profile to
        # anything: then every value links.
        select = LINK_ALL + " union all select seq, 0::utinyint as type, hash from named_mpid"
        hits += (
            " union all select distinct named_mpid.hash, 0::utinyint as type, known_mpid.profile"
            " from named_mpid join known_mpid"
            " on known_mpid.mpid = named_mpid.mpid and known_mpid.environment = named_mpid.environment"
        )
    scratch.make("link", select)
    scratch.make("link_hit", hits)


def _components(scratch: Scratch) -> None:
    """Make `label` (node, label) and `row_label` (seq, component) of the rows that are linked."""
    scratch.make("edge", f"select one, other from ({EDGE}) where one <> other")
    scratch.make("label", LABEL_START)
    before = scratch.row("select count(*), sum(label) from label")
    while True:
        scratch.make("next_label", LABEL_NEXT)
        scratch.rename("next_label", "label")
        after = scratch.row("select count(*), sum(label) from label")
        if after == before:
            break
        before = after
    scratch.make("row_label", "select node as seq, label as component from label where node >= 0")


def _harmless(scratch: Scratch) -> None:
    """Make `harmless` (component, profile): the components in which every row finds the same
    profile.
    """
    scratch.make("component", COMPONENT)
    scratch.make("harmless", HARMLESS)


def _entangle(scratch: Scratch) -> None:
    """Leave every row to the interpreter: a logout may found a profile, whoever has its identities.
    They are few.
    """
    scratch.make("row_label", "select seq, 0::bigint as component from usable")
    scratch.load("harmless", [("component", "BIGINT"), ("profile", "BIGINT")], [])


def _resolved(scratch: Scratch, first_arrival: int, *, keyed: bool, create: bool) -> None:
    """Put together who belongs to whom: the interpreter's rows, the keyed ones, the harmless, the
    rest.
    """
    bound = {"first": first_arrival}
    if keyed:
        # A row with a known key belongs to its holder; one that is not the founder of an unknown
        # key goes where the founder went; an open row without a link stands alone.
        scratch.make(
            "alone",
            "select usable.seq, coalesce(keyed.known, decided.profile, founder.profile) as profile,"
            " decided.created as created,"
            " coalesce(keyed.founder, usable.seq) as founder"
            " from usable left join keyed on keyed.seq = usable.seq"
            " left join decided on decided.seq = usable.seq"
            " left join decided as founder on founder.seq = keyed.founder and keyed.founder <> usable.seq",
        )
        if create:
            select = (
                "select seq, case when profile is not null then profile else founder + $first end as profile,"
                " coalesce(created, profile is null and founder = seq) as created from alone"
            )
        else:
            select, bound = "select seq, profile, false as created from alone", {}
    else:
        scratch.make(
            "pivoted",
            "select row_label.seq, harmless.profile, min(row_label.seq) over (partition by row_label.component) as founder"
            " from row_label join harmless on harmless.component = row_label.component",
        )
        made = "coalesce(pivoted.founder, usable.seq) + $first" if create else "null::bigint"
        bound = bound if create else {}
        select = (
            f"select usable.seq, case when decided.seq is not null then decided.profile else coalesce(pivoted.profile, {made}) end as profile,"
            " case when decided.seq is not null then decided.created"
            f" else {str(create).lower()} and pivoted.profile is null and coalesce(pivoted.founder, usable.seq) = usable.seq end as created"
            " from usable left join decided on decided.seq = usable.seq left join pivoted on pivoted.seq = usable.seq"
        )
    scratch.make("belonging", select, bound)


def _gains(scratch: Scratch, staged: Staged, first_arrival: int, *, keyed: bool) -> None:
    """Make `unheld`: each identity that a profile gained, and the row that brought it."""
    # A profile founded by the only row that belongs to it gains all that the row claims; for the
    # others the first row that brings an identity the profile does not have counts.
    scratch.make(
        "crowd",
        "select profile from belonging where profile is not null group by profile having count(*) > 1 or not bool_or(created)",
    )
    others = "" if keyed else " and belonging.seq not in (select seq from decided)"
    scratch.make(
        "unheld",
        "select claim.seq, claim.type, claim.hash, belonging.profile from claim join belonging on belonging.seq = claim.seq"
        f" where belonging.profile is not null and belonging.profile not in (select profile from crowd){others}"
        " union all "
        "select min(claim.seq) as seq, claim.type, claim.hash, belonging.profile from claim"
        " join belonging on belonging.seq = claim.seq"
        f" where belonging.profile in (select profile from crowd){others}"
        " and not exists (select 1 from hit where hit.hash = claim.hash and hit.profile = belonging.profile)"
        " group by claim.type, claim.hash, belonging.profile"
        + ("" if keyed else " union all select seq, type, hash, profile from gained"),
    )
    again = " anti join {} using (profile, hash)" if scratch.count("taken") else ""
    for name, relation, counterpart in (("gain", "unheld", "taken"), ("loss", "taken", "unheld")):
        scratch.make(
            name,
            f"select hash, profile from {relation}{again.format(counterpart)}",
            keep=bool(again),
        )


def _warn(scratch: Scratch, staged: Staged, *, keyed: bool, create: bool) -> None:
    """Complete `warned`: rows that protection kept from a profile, rows nobody can be found by."""
    if keyed:
        # Nobody was found, though somebody has an identity of the row: an earlier row, or the
        # store.
        scratch.run("delete from warned where code = 'PROTECTED_MATCH'")
        if create:
            scratch.make(
                "seen",
                "select hash, seq from value where type in (select type from lookup_type)",
                keep=False,
            )
        else:
            scratch.make(
                "seen",
                "select hash, min(claim.seq) as seq from claim join belonging on belonging.seq = claim.seq"
                " where belonging.profile is not null and claim.type in (select type from lookup_type) group by hash",
            )
        scratch.run(
            "insert into warned select distinct claim.seq, 'PROTECTED_MATCH' from claim"
            " join belonging on belonging.seq = claim.seq"
            " left join seen on seen.hash = claim.hash"
            " where (belonging.created or belonging.profile is null) and claim.type in (select type from lookup_type)"
            " and (seen.seq < claim.seq or claim.hash in (select hash from hit))"
        )
    if "mpid" in staged.plain:
        scratch.run(MADE_KNOWN_BY_MPID)
    lookup = {name for (name,) in scratch.rows("select type from lookup_type")}
    if create and not {CODE[name] for name in staged.identities} <= lookup:
        scratch.run(
            "insert into warned select seq, 'IDENTITY_NOT_IN_HIERARCHY' from belonging where created"
            " and seq not in (select seq from claim where type in (select type from lookup_type))"
            " and seq not in (select seq from decided) and seq not in (select seq from named_mpid)"
        )


def _finish(scratch: Scratch, staged: Staged, frame: Frame, first_arrival: int) -> None:
    """Make `resolved` of who belongs to whom and of what was gained."""
    bits = {CODE[name]: 1 << place for place, name in enumerate(staged.identities)}
    scratch.load("bit", [("type", "UTINYINT"), ("bit", "BIGINT")], list(bits.items()))
    code = PROTECTIONS[frame.protection].code
    _mpids(scratch, frame, first_arrival)
    scratch.make(
        "added",
        "select unheld.seq, sum(bit.bit)::bigint as added from unheld join bit using (type) group by unheld.seq",
    )
    scratch.make(
        "resolved",
        "select belonging.seq, belonging.profile, belonging.created, coalesce(added.added, 0) as added,"
        f" founder_mpid.mpid, case when belonging.profile is null then '{code}' end as code"
        " from belonging left join added on added.seq = belonging.seq"
        " left join founder_mpid on founder_mpid.seq = belonging.seq",
    )


def _count(scratch: Scratch, frame: Frame, counts: Counts) -> None:
    """Count what became of identities (identity.identity_counts, in sets), and what was warned of."""
    gained, moved, removed = scratch.count("gain"), 0, 0
    if scratch.count("loss"):
        moved, removed = scratch.row(
            "select count(distinct hash) filter (hash in (select hash from gain)),"
            " count(*) filter (hash not in (select hash from gain)) from loss"
        )
    counts.identities.update(added=gained - moved, moved=moved, removed=removed)
    for code, number in scratch.rows("select code, count(*) from warned group by code"):
        counts.codes[code] += number
    dropped = scratch.row("select count(*) from resolved where code is not null")[0]
    counts.rows["dropped"] += dropped
    if dropped:
        counts.codes[PROTECTIONS[frame.protection].code] += dropped
