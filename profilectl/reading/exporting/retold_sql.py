"""Batches of the people who have more than a row holds: devices, consent, attribution, opt-out.

SQL finds them all at once. Each is then written again by rules/leaving/retelling.py, from the line
of `export profiles --whole`. All others leave without being looked at one by one (extract.batches).
"""

from __future__ import annotations

from dataclasses import dataclass

from profilectl.audiences.everybody import NOTHING, tell_odd, whole_members
from profilectl.profiles.read_model import Profiles
from profilectl.rules.batch_limits import LIMITS
from profilectl.rules.identity import BY_NAME
from profilectl.rules.leaving.retelling import RetellingManner, RetoldBatch, document_of, retold
from profilectl.rules.sql.quoting import quote_text
from profilectl.rules.text.values import parse_json, to_json
from profilectl.store.segments import both
from profilectl.store.statements import reading, union

COLUMNS = [("_profile", "BIGINT"), ("_mpid", "BIGINT"), ("_arrival", "BIGINT"), ("line", "VARCHAR")]
BLOCK = 10_000
"""How many people are told again at once."""
# The other fields of a batch have one of these texts if they hold anything that leaves again.
MARKS = ('"device_info":{', '"consent_state":', '"partner_identities":{', '"attribution_info":{')
OPT_OUT = "type = 'opt_out'"
AMONG = "profile in (select profile from more_said)"

PEOPLE = "select profile from stored"
ALIASED = "select profile from (select {columns}) as alias"
DISTINCT_PEOPLE = "select distinct profile from person"
# The line that a whole export has of each, and whether somebody else has an identity of theirs.
WHOLE_LINES = """
select document.profile, document.mpid, {columns}
from document
left join whole on whole.profile = document.profile
"""
NEXT_LINES = """
select profile, mpid, apart, line
from whole_line
where profile > $after
order by profile
limit $block
"""


@dataclass(frozen=True, slots=True)
class Telling:
    """How batches leave."""

    mpid: bool = True
    """Whether they name the MPID, so that they make the same profiles again. Then tell_sharing must
    have been called before.
    """
    times: bool = True
    """Whether they state their times."""
    opt_outs: bool = True
    """Whether opt-outs leave, as events."""
    all_of_it: bool = True
    """Whether everything about a person leaves; False: only the chosen identities and attributes,
    with consent and opt-out.
    """

    def manner(self, profiles: Profiles) -> RetellingManner:
        """Return how one profile is written again."""
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


def tell_more(profiles: Profiles, condition: str, telling: Telling) -> str | None:
    """Make `told_again`: batches of the profiles of a condition that have more than a row holds.

    Returns the condition on a profile that it is one of these; None: there are none.
    """
    scratch = profiles.store.scratch
    scratch.make("more_said", _more_said(profiles, condition))
    if not scratch.count("more_said"):
        return None
    chosen = both(condition, AMONG)
    tell_odd(profiles, chosen)
    scratch.make("whole_line", _lines(profiles, chosen, telling))
    scratch.load("told_again", COLUMNS, [])
    manner = telling.manner(profiles)
    after = -1
    while block := scratch.rows(NEXT_LINES, {"after": after, "block": BLOCK}):
        rows = [
            (profile, mpid, place, line)
            for profile, mpid, apart, text in block
            for place, line in _retold(text, telling, manner, mpid=mpid, apart=apart)
        ]
        if rows:
            scratch.append("told_again", COLUMNS, rows)
        after = block[-1][0]
    return AMONG


def _more_said(profiles: Profiles, condition: str) -> str:
    """Return the SELECT of the profiles of a condition that have more than a row holds.

    The ids of devices of a profile with one row do not count as more: they leave with its other
    identities.
    """
    holds_mark = " or ".join(f"contains(rest, {quote_text(mark)})" for mark in MARKS)
    events = profiles.events(both(condition, OPT_OUT), ("profile", "type"))
    parts = [reading(PEOPLE, stored=events)]
    several = f"profile in (select profile from {profiles.several})" if profiles.several else "true"
    for segment in profiles.segments:
        has_device = " or ".join(
            f"i_{kind} is not null" for kind in segment.identities if BY_NAME[kind].device
        )
        conditions = {}
        if has_device:
            conditions["row"] = f"({has_device}) and {several}"
        conditions["rest"] = f"({holds_mark})"
        for kind, test in conditions.items():
            if kind in segment.tables:
                stored = f"select * from {segment.table(kind)} {both(condition, test)}"
                parts.append(reading(PEOPLE, stored=stored))
    parts += [
        f"{ALIASED.format(columns=f'{alias.destination}::bigint as profile')} {condition}"
        for alias in profiles.aliases
        if alias.in_force and alias.attribution
    ]
    return reading(DISTINCT_PEOPLE, person=union(parts))


def _lines(profiles: Profiles, condition: str, telling: Telling) -> str:
    """Return the SELECT of profile, mpid, apart, and the line that a whole export has of each.

    The column apart is true where another profile has one of its identities too.
    """
    apart = "document.profile in (select profile from sharing)" if telling.mpid else "false"
    columns = (
        f"{apart} as apart, left(line, length(line) - 1) || ','"
        f" || ifnull(whole.members, {quote_text(NOTHING)}) || '}}' as line"
    )
    return reading(
        WHOLE_LINES.format(columns=columns),
        document=profiles.json_lines(condition),
        whole=whole_members(profiles, condition),
    )


def _retold(
    text: str, telling: Telling, manner: RetellingManner, *, mpid: int, apart: bool
) -> list[tuple[int, str]]:
    """Return the batches of a person: the place and the text of each."""
    profile = parse_json(text)
    assert isinstance(profile, dict)
    parts = retold(profile, manner)
    if not telling.mpid and not any(part.identities or part.device for part in parts):
        return []  # nobody would be found by them
    # the number 0 is that of the batch which has the MPID alone (extract)
    begin = 0 if apart else 1
    if apart:
        parts = [RetoldBatch(parts[0].at_ms), *parts]
    return [
        (
            begin + place,
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
