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
# Each founder with the MPID it names, or with the first number of our making (rules: mpid_for).
FOUNDER_NUMBER = """
select row_profile.seq, named_mpid.mpid as fixed, named_mpid.mpid is not null as named,
       md5_number_lower($secret || ':' || (row_profile.seq + $first)::varchar || ':0') as number
from row_profile
left join named_mpid on named_mpid.seq = row_profile.seq
where row_profile.created
"""
# The bits of a number, read as a signed one; 0 is no MPID (domain.md 2.3).
FOUNDER_MPID = """
select seq,
       coalesce(
         fixed,
         case when number = 0 then 1
              when number >= 9223372036854775808
                then (number::hugeint - 18446744073709551616)::bigint
              else number::bigint
         end
       ) as mpid,
       named
from founder_number
"""
# Two profiles with one MPID. Two numbers of our making hardly ever meet, but rows may name any.
CLASHING_MPID = """
select seq
from founder_mpid
where not named
  and (
    mpid in (select mpid from known_mpid)
    or mpid in (select mpid from founder_mpid group by mpid having count(*) > 1)
  )
"""
# The MPID of somebody erased is never used again, in no environment.
ERASED_MPID = """
select seq
from (select seq{columns} from founder_mpid where not named)
where hash in (select hash from suppressed where type = $mpid_type)
"""
# The next number of our making for those that clash; the others keep theirs.
NEXT_FOUNDER_NUMBER = """
select founder_mpid.seq,
       case when clashing_mpid.seq is null then founder_mpid.mpid end as fixed,
       founder_mpid.named,
       md5_number_lower(
         $secret || ':' || (founder_mpid.seq + $first)::varchar || ':' || $attempt
       ) as number
from founder_mpid
left join clashing_mpid on clashing_mpid.seq = founder_mpid.seq
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
    relations.make("founder_number", FOUNDER_NUMBER, bound)
    relations.make("founder_mpid", FOUNDER_MPID)
    attempt = 0
    while _has_clash(relations, frame):
        attempt += 1
        relations.make("founder_number", NEXT_FOUNDER_NUMBER, {**bound, "attempt": str(attempt)})
        relations.make("founder_mpid", FOUNDER_MPID)


def _has_clash(relations: Relations, frame: Frame) -> bool:
    """Make `clashing_mpid`, and return whether any number of our making is not free."""
    selects, bound = [CLASHING_MPID], {}
    if frame.guard is not None:
        bound["mpid_type"] = MPID_TYPE
        for environment in ENVIRONMENTS:
            digest = mpid_hash(frame.secret, quote_text(environment), "mpid::varchar")
            selects.append(ERASED_MPID.format(columns=f", {frame.guard.sql(digest)} as hash"))
    relations.make("clashing_mpid", " union ".join(selects), bound)
    return bool(relations.count("clashing_mpid"))
