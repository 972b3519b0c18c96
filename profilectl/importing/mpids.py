"""TODO importing.mpids (split off importing.resolve)."""

from __future__ import annotations

from profilectl.importing.sift import Frame, environment_of
from profilectl.importing.stage.run import Staged
from profilectl.rules.feed import ENVIRONMENTS
from profilectl.rules.sql.identities import MPID_TYPE, mpid_hash
from profilectl.rules.sql.quoting import quote_text
from profilectl.store.scratch import Scratch


def _name_mpids(scratch: Scratch, staged: Staged, frame: Frame) -> None:
    """Make `named_mpid`: the MPID a row names, and a hash for it that no identity has."""
    if "mpid" not in staged.plain:
        scratch.load(
            "named_mpid",
            [
                ("seq", "BIGINT"),
                ("mpid", "BIGINT"),
                ("environment", "UTINYINT"),
                ("hash", "UHUGEINT"),
            ],
            [],
        )
        return
    environment = f"case {environment_of(staged, frame)} when 'production' then 0 else 1 end"
    scratch.make(
        "named_mpid",
        f"select seq, mpid, {environment}::utinyint as environment,"
        f" (mpid::hugeint + 9223372036854775808 + 18446744073709551616 * {environment})::uhugeint as hash"
        " from usable where mpid is not null",
    )


def _mpids(scratch: Scratch, frame: Frame, first_arrival: int) -> None:
    """Make `founder_mpid` (seq, mpid): the MPID a founder names, else one of our making that is
    free.
    """
    bound = {"secret": frame.secret, "first": first_arrival}
    attempt = 0
    scratch.make(
        "founder_mpid",
        f"select seq, coalesce(named, {_SIGNED}) as mpid, named is not null as named from"
        f" (select belonging.seq, named_mpid.mpid as named, {_number('belonging.seq', attempt)} as number"
        " from belonging left join named_mpid on named_mpid.seq = belonging.seq where created)",
        bound,
    )
    erased = ""
    if frame.guard is not None:
        # The MPID of somebody erased is never used again, in no environment.
        erased = "".join(
            f" or {frame.guard.sql(mpid_hash(frame.secret, quote_text(one), 'mpid::varchar'))} in (select hash from store.suppressed where type = {MPID_TYPE})"
            for one in ENVIRONMENTS
        )
    while True:
        # Two profiles with one MPID: as good as impossible for ours, but rows may name any number.
        clash = scratch.rows(
            "select seq from founder_mpid where not named and (mpid in (select mpid from known_mpid)"
            f" or mpid in (select mpid from founder_mpid group by mpid having count(*) > 1){erased})"
        )
        if not clash:
            return
        attempt += 1
        scratch.run(
            f"update founder_mpid set mpid = {_SIGNED} from (select seq as place, {_number('seq', attempt)} as number"
            " from founder_mpid where seq in (select unnest($clash::bigint[]))) where founder_mpid.seq = place",
            {**bound, "clash": [seq for (seq,) in clash]},
        )


def _number(seq: str, attempt: int) -> str:
    """Return the SQL of the 64 bits that identity.mpid_for takes."""
    return f"md5_number_lower($secret || ':' || ({seq} + $first)::varchar || ':{attempt}')"


# The same bits read as a signed number, and never 0.
_SIGNED = (
    "case when number = 0 then 1 when number >= 9223372036854775808"
    " then (number::hugeint - 18446744073709551616)::bigint else number::bigint end"
)
