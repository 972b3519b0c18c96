"""The MPIDs of new profiles: what a row names, else a number of our making that is free."""

from __future__ import annotations

from profilectl.importing.relations import Relations, make_empty
from profilectl.importing.sift import Frame, environment_of
from profilectl.importing.stage.staged import Staged
from profilectl.rules.feed import ENVIRONMENTS
from profilectl.rules.sql.identities import MPID_TYPE, mpid_hash
from profilectl.rules.sql.quoting import quote_text

# The MPID a row names, and a hash for it that no identity has: below 2^66.
NAMED_MPID = """
select seq, mpid, environment::utinyint as environment,
       (
         mpid::hugeint + 9223372036854775808 + 18446744073709551616 * environment
       )::uhugeint as hash
from (select seq, mpid{columns} from usable where mpid is not null)
"""
# Each founder, with the MPID that it names.
FOUNDER_WISH = """
select founder.seq, named_mpid.mpid as fixed, named_mpid.mpid is not null as named
from founder
left join named_mpid on named_mpid.seq = founder.seq
"""
FOUNDER_WITHOUT_WISH = "select seq, null::bigint as fixed, false as named from founder"
# Those that clash wish for the next number of our making; the others keep theirs.
NEXT_FOUNDER_WISH = """
select founder_mpid.seq,
       case when clashing_mpid.seq is null then founder_mpid.mpid end as fixed,
       founder_mpid.named
from founder_mpid
left join clashing_mpid on clashing_mpid.seq = founder_mpid.seq
"""
# A number of our making (mpid_for): the bits of an MD5, read as a signed number; 0 is no MPID
# (domain.md 2.3). Its second half is taken by hand: md5_number_lower takes four times as long.
FOUNDER_MPID = """
select seq,
       case when fixed is not null then fixed
            when half = 0 then 1
            when half >= 9223372036854775808
              then (half - 9223372036854775808)::bigint - 9223372036854775807 - 1
            else half::bigint
       end as mpid,
       named
from (
  select seq, fixed, named,
         (
           md5_number($secret || ':' || (seq + $first)::varchar || ':' || $attempt) >> 64
         )::ubigint as half
  from founder_wish
)
"""
# Two profiles with one MPID. Two numbers of our making hardly ever meet, but rows may name any.
CLASHING_MPID = """
select seq
from founder_mpid
where not named and mpid in (select mpid from known_mpid)
"""
TWICE_MADE_MPID = """
select seq
from founder_mpid
where not named
  and mpid in (select mpid from founder_mpid group by mpid having count(*) > 1)
"""
# The MPID of somebody erased is never used again, in no environment.
ERASED_MPID = """
select seq
from (select seq{columns} from founder_mpid where not named)
where hash in (select hash from suppressed where type = $mpid_type)
"""


def name_mpids(relations: Relations, staged: Staged, frame: Frame) -> None:
    """Make `named_mpid`: the MPIDs that rows name."""
    if "mpid" not in staged.plain:
        make_empty(relations, "named_mpid")
        return
    environment = environment_of(staged, frame)
    code = f", case {environment} when 'production' then 0 else 1 end as environment"
    relations.make("named_mpid", NAMED_MPID.format(columns=code))


def give_mpids(relations: Relations, frame: Frame) -> None:
    """Make `founder_mpid`: the MPID of each row that founds a profile."""
    bound = {"secret": frame.secret, "first": frame.first_arrival}
    wish = FOUNDER_WISH if relations.count("named_mpid") else FOUNDER_WITHOUT_WISH
    relations.make("founder_wish", wish, keep=False)
    relations.make("founder_mpid", FOUNDER_MPID, {**bound, "attempt": "0"})
    attempt = 0
    while _has_clash(relations, frame):
        attempt += 1
        relations.make("founder_wish", NEXT_FOUNDER_WISH, keep=False)
        relations.make("next_founder_mpid", FOUNDER_MPID, {**bound, "attempt": str(attempt)})
        relations.rename("next_founder_mpid", "founder_mpid")


def _has_clash(relations: Relations, frame: Frame) -> bool:
    """Make `clashing_mpid`, and return whether any number of our making is not free."""
    selects, bound = [CLASHING_MPID, TWICE_MADE_MPID], {}
    if frame.guard is not None:
        bound["mpid_type"] = MPID_TYPE
        for environment in ENVIRONMENTS:
            digest = mpid_hash(frame.secret, quote_text(environment), "mpid::varchar")
            selects.append(ERASED_MPID.format(columns=f", {frame.guard.sql(digest)} as hash"))
    relations.make("clashing_mpid", " union ".join(selects), bound)
    return bool(relations.count("clashing_mpid"))
