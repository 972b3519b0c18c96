"""The MPIDs of new profiles: what a row names, else a number of our making that is free.

A number of our making is a mix of the arrival (rules/mpid.py), and the store need not hold it. A
segment holds the MPIDs of all its profiles where a row names any, where a number is taken, and
where the arrivals are of an import that an older version made first.
"""

from __future__ import annotations

from profilectl.importing.relations import Relations, make_empty, only_row
from profilectl.importing.sift import Frame, environment_of
from profilectl.importing.stage.staged import Staged
from profilectl.rules.feed import ENVIRONMENTS
from profilectl.rules.mpid import mix_of
from profilectl.rules.sql.identities import MPID_TYPE, mpid_hash
from profilectl.rules.sql.mpids import mpid_of
from profilectl.rules.sql.quoting import quote_text
from profilectl.store.segments import MANY_ROWS

# The MPID a row names, and a hash for it that no identity has: above 2^96 (ABOVE_HASHES).
NAMED_MPID = """
select seq, mpid, environment::utinyint as environment,
       (
         mpid::hugeint + 9223372036854775808 + 18446744073709551616 * environment
         + 79228162514264337593543950336
       )::uhugeint as hash
from (select seq, mpid{columns} from usable where mpid is not null)
"""
# The MPIDs of founders where none is named and none is taken.
MIXED_MPID = """
select seq, mpid, false as named
from (select seq{columns} from founder)
"""
# A count of all founders would read all rows.
SOME_FOUNDERS = "select count(*) from (select 1 from founder limit $most)"
# Numbers of our making that are taken: somebody named them before.
TAKEN_MIX = "select count(*) from held_mpid where mpid in (select mpid from founder_mpid)"
ERASED_MIX = """
select count(*)
from (select seq{columns} from founder_mpid)
where hash in (select hash from suppressed where type = $mpid_type)
"""
# Each founder, with the MPID that it names, else with the first number of our making.
FOUNDER_WISH = """
select founder.seq, coalesce(named_mpid.mpid, founder.mpid) as fixed,
       named_mpid.mpid is not null as named
from (select seq{columns} from founder) as founder
left join named_mpid on named_mpid.seq = founder.seq
"""
# Those that clash wish for the next number of our making; the others keep theirs.
NEXT_FOUNDER_WISH = """
select founder_mpid.seq,
       case when clashing_mpid.seq is null then founder_mpid.mpid end as fixed,
       founder_mpid.named
from founder_mpid
left join clashing_mpid on clashing_mpid.seq = founder_mpid.seq
"""
# A number in the place of a mix that is taken (mpid.digested): the bits of an MD5, read as a signed
# number; 0 is no MPID (domain.md 2.3). Its second half is taken by hand: md5_number_lower takes
# four times as long.
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
NO_NUMBER = ", null::bigint as mpid"
KEPT_MPID = "select * from founder_mpid"
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
    """Make `founder_mpid`: the MPID of each row that founds a profile.

    `kept_mpid` has the same where the segment has to hold them.
    """
    # An import that is decided again finds the relations of the first time.
    relations.drop("kept_mpid")
    if frame.mixes_mpids and not relations.count("named_mpid") and _mix(relations, frame):
        return
    bound = {"secret": frame.secret, "first": frame.first_arrival}
    number = _mixed(frame) if frame.mixes_mpids else NO_NUMBER
    relations.make("founder_wish", FOUNDER_WISH.format(columns=number), keep=False)
    relations.make("founder_mpid", FOUNDER_MPID, {**bound, "attempt": "0"})
    attempt = 0
    while _has_clash(relations, frame):
        attempt += 1
        relations.make("founder_wish", NEXT_FOUNDER_WISH, keep=False)
        relations.make("next_founder_mpid", FOUNDER_MPID, {**bound, "attempt": str(attempt)})
        relations.rename("next_founder_mpid", "founder_mpid")
    relations.make("kept_mpid", KEPT_MPID, keep=False)


def _mix(relations: Relations, frame: Frame) -> bool:
    """Make `founder_mpid` of mixes alone; return whether all of them are free."""
    (founders,) = only_row(relations, SOME_FOUNDERS, {"most": MANY_ROWS + 1})
    select = MIXED_MPID.format(columns=_mixed(frame))
    # DuckDB plans a mix for two milliseconds, each time that it is read. A few MPIDs are made once;
    # many would take memory, and beside them the planning is nothing.
    relations.make("founder_mpid", select, keep=founders <= MANY_ROWS)
    if not founders:
        return True
    if relations.has("held_mpid") and only_row(relations, TAKEN_MIX)[0]:
        return False
    return not any(
        only_row(relations, erased_mix, {"mpid_type": MPID_TYPE})[0]
        for erased_mix in _erased(ERASED_MIX, frame)
    )


def _mixed(frame: Frame) -> str:
    """Return the column of the mix of a founder's arrival."""
    return f", {mpid_of(mix_of(frame.secret), f'(seq + {frame.first_arrival})')} as mpid"


def _erased(statement: str, frame: Frame) -> list[str]:
    """Return a statement for each environment in which somebody erased may have had an MPID."""
    if frame.guard is None:
        return []
    digests = (
        mpid_hash(frame.secret, quote_text(environment), "mpid::varchar")
        for environment in ENVIRONMENTS
    )
    return [statement.format(columns=f", {frame.guard.sql(digest)} as hash") for digest in digests]


def _has_clash(relations: Relations, frame: Frame) -> bool:
    """Make `clashing_mpid`, and return whether any number of our making is not free."""
    erased = _erased(ERASED_MPID, frame)
    bound = {"mpid_type": MPID_TYPE} if erased else {}
    selects = [CLASHING_MPID, TWICE_MADE_MPID, *erased]
    relations.make("clashing_mpid", " union ".join(selects), bound)
    return bool(relations.count("clashing_mpid"))
