"""Batches of those people of whom more is to be said than one row can: devices, consent, partner
identities, attribution, opt-out.

Who they are is told by sets; each of them is told again by retelling.py, from the line that
`export profiles --whole` has. All
others leave without having been looked at one by one (extract.batches).
"""

from __future__ import annotations

from dataclasses import dataclass

from profilectl.audiences.everybody import NOTHING, tell_odd, whole_members
from profilectl.profiles.read_model import Profiles
from profilectl.rules.batch import LIMITS
from profilectl.rules.identity import BY_NAME
from profilectl.rules.leaving.retelling import RetellingManner, RetoldBatch, document_of, retold
from profilectl.rules.sql.quoting import quote_text
from profilectl.rules.text.values import parse_json, to_json
from profilectl.store.segments import both

COLUMNS = [("_profile", "BIGINT"), ("_mpid", "BIGINT"), ("_arrival", "BIGINT"), ("line", "VARCHAR")]
BLOCK = 10_000
"""So many people are told again at once."""
SAYS = ('"device_info":{', '"consent_state":', '"partner_identities":{', '"attribution_info":{')
"""What the other fields of a batch have where they say anything that leaves again."""


@dataclass(frozen=True, slots=True)
class Telling:
    """How batches leave."""

    mpid: bool = True
    """Whether they name the MPID, so that they make the same profiles again; tell_sharing was
    called."""
    times: bool = True
    """Whether they say when they are of."""
    opt_outs: bool = True
    """Whether opt-outs leave, as events."""
    all_of_it: bool = True
    """Whether all that is said of a person leaves; False: chosen identities and attributes, with
    consent and opt-out."""

    def manner(self, profiles: Profiles) -> RetellingManner:
        """Return how one profile is told again."""
        judging = profiles.store.settings().reading.judging
        return RetellingManner(
            times=self.times,
            again=not self.mpid,
            mpid=self.mpid,
            opt_outs=self.opt_outs,
            all_of_it=self.all_of_it,
            attributes=LIMITS["attributes"],
            judging=judging,
        )


def tell_more(profiles: Profiles, where: str, telling: Telling) -> str | None:
    """Make `told_again`: the batches of the profiles of `where` of whom more is to be said; return
    the condition on the profiles
    that are among them, None where nobody is."""
    scratch = profiles.store.scratch
    scratch.make("more_said", _more_said(profiles, where))
    if not scratch.count("more_said"):
        return None
    among = "profile in (select profile from more_said)"
    chosen = both(where, among)
    tell_odd(profiles, chosen)
    scratch.make("whole_line", _lines(profiles, chosen, telling))
    scratch.load("told_again", COLUMNS, [])
    manner = telling.manner(profiles)
    last = -1
    while block := scratch.rows(
        f"select * from whole_line where profile > {last} order by profile limit {BLOCK}"
    ):
        rows = [
            (profile, mpid, place, line)
            for profile, mpid, apart, text in block
            for place, line in _told(text, mpid, telling, manner, apart=apart)
        ]
        if rows:
            scratch.append("told_again", COLUMNS, rows)
        last = block[-1][0]
    return among


def _more_said(profiles: Profiles, where: str) -> str:
    """Return the SELECT of the profiles of whom more is to be said. The identities of a device
    leave with all else where they
    are of one row, and nothing is said of the device."""
    says = " or ".join(f"contains(rest, {quote_text(one)})" for one in SAYS)
    parts = [f"select profile from ({profiles.events(both(where, _OPT_OUT), ('profile', 'type'))})"]
    several = f"profile in (select profile from {profiles.several})" if profiles.several else "true"
    for one in profiles.segments:
        devices = " or ".join(
            f"i_{kind} is not null" for kind in one.identities if BY_NAME[kind].device
        )
        if "row" in one.tables and devices:
            parts.append(
                f"select profile from {one.table('row')}"
                f" {both(where, f'({devices}) and {several}')}"
            )
        if "rest" in one.tables:
            parts.append(f"select profile from {one.table('rest')} {both(where, f'({says})')}")
    parts += [
        f"select profile from (select {one.destination}::bigint as profile) {where}"
        for one in profiles.aliases
        if one.in_force and one.attribution
    ]
    return f"select distinct profile from ({' union all '.join(parts)})"


_OPT_OUT = "type = 'opt_out'"


def _lines(profiles: Profiles, where: str, telling: Telling) -> str:
    """Return the SELECT of profile, mpid, apart, and the line that a whole export has of each;
    apart: somebody else has one of
    its identities too."""
    apart = "one.profile in (select profile from sharing)" if telling.mpid else "false"
    members = f"coalesce(whole.members, {quote_text(NOTHING)})"
    whole = f"({whole_members(profiles, where)}) as whole on whole.profile = one.profile"
    return (
        f"select one.profile, one.mpid, {apart} as apart,"
        f" left(line, length(line) - 1) || ',' || {members} || '}}' as line"
        f" from ({profiles.json_lines(where)}) as one left join {whole}"
    )


def _told(
    text: str, mpid: int, telling: Telling, manner: RetellingManner, *, apart: bool
) -> list[tuple[int, str]]:
    """Return the batches of a person: the place and the text of each."""
    profile = parse_json(text)
    assert isinstance(profile, dict)
    parts = retold(profile, manner)
    if not telling.mpid and not any(part.identities or part.device for part in parts):
        return []  # nobody would be found by them
    first = 0 if apart else 1
    if apart:
        parts = [RetoldBatch(parts[0].at_ms), *parts]
    return [
        (
            first + place,
            to_json(
                document_of(
                    part,
                    environment=profile["environment"],
                    mpid=str(mpid) if telling.mpid else None,
                    times=telling.times,
                )
            ),
        )
        for place, part in enumerate(parts)
    ]
