"""How many events of each kind every profile has.

Cheap tests come first (type, name, time). A scan of those columns costs so little that every kind
has a scan of its own, which is twice as fast as one scan with a test for each. Only kinds that
differ in nothing but their conditions share a scan, and read the JSON of an event once. Times are
in milliseconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from profilectl.audiences.sql.quick_conditions_sql import QuickEventSql, may_hold
from profilectl.rules.criteria.tree import EventCount
from profilectl.rules.event.condition import EventCondition, condition_read
from profilectl.rules.event.field import caseless
from profilectl.rules.sql.events import json_path
from profilectl.rules.sql.quoting import quote_text
from profilectl.rules.sql.values import time_passes
from profilectl.rules.text.moments import Days
from profilectl.store.segments import both
from profilectl.store.statements import in_any, reading, select, texts

Kind = tuple[EventCount, Days | None]
"""Events that are counted together, and how far back they count."""

# How many events of a kind each profile has; of one kind, or of several that share a scan.
COUNT = "select profile, count(*) as e0 from happened group by profile"
COUNTS = "select profile, {columns} from tested group by profile"

OPTED_OUT = """
select profile
from opt_out
group by profile
having arg_max(out, (at_ms, arrival, place))
"""
LAST_OPT_OUT = """
select profile, unnest(arg_max({'out': out, 'at_ms': at_ms}, (at_ms, arrival, place)))
from opt_out
group by profile
"""
# An opt-out event that does not state is_opted_out says false (domain.md 14).
SAYS_OUT = "*, coalesce(json_extract_string(event, '/data/is_opted_out') = 'true', false) as out"


def alike(kinds: Sequence[Kind]) -> list[list[Kind]]:
    """Return the kinds in groups that differ in their conditions only."""
    groups: dict[Kind, list[Kind]] = {}
    for happened, lookback in kinds:
        without = replace(happened, where="")
        groups.setdefault((without, lookback), []).append((happened, lookback))
    return list(groups.values())


def counted(kinds: Sequence[Kind], events: str, now_ms: int, *, once: bool = False) -> str:
    """Return the SELECT of profile, e0, e1, ...: how many events of each kind.

    The kinds differ in their conditions only. Profiles without any event may be missing. `events`
    is the SQL of membership_sql.PeopleRelations.event. With `once`, nobody asks for the number of
    the one kind: then each event gives a row with its profile alone.
    """
    cheap = both("", _cheap(*kinds[0], now_ms))
    conditions = [condition_read(kind.where) if kind.where else None for kind, _ in kinds]
    if not any(conditions):
        return _counted(events, cheap, once=once)
    # read by one json_extract; paths that walk through lists are read where they are compared
    paths = list(
        dict.fromkeys(
            path
            for condition in conditions
            if condition
            for path in condition.paths()
            if not path.walks
        )
    )
    read = ["profile", "event"]
    if paths:
        read.append(f"json_extract(event, [{texts(map(json_path, paths))}])::varchar[] as parts")
    written = QuickEventSql(
        "event", {path: f"parts[{place}]" for place, path in enumerate(paths, start=1)}
    )
    tests = [
        f"{written.condition(condition) if condition else 'true'} as k{place}"
        for place, condition in enumerate(conditions)
    ]
    chosen = both(cheap, _may_be_any(conditions))
    tested = f"({select(['profile', *tests], f'({select(read, events, chosen)})')})"
    if len(kinds) == 1:
        return _counted(tested, "where k0", once=once)
    places = range(len(kinds))
    counts = ", ".join(f"count(*) filter (where k{place}) as e{place}" for place in places)
    any_kind = both("", f"({in_any(f'k{place}' for place in places)})")
    return reading(COUNTS.format(columns=counts), tested=select("*", tested, any_kind))


def _may_be_any(conditions: Sequence[EventCondition | None]) -> str:
    """Return the SQL of whether an event can meet one of some conditions; "": any event can."""
    tests = [may_hold(condition, "event") if condition else "" for condition in conditions]
    return f"({in_any(tests)})" if all(tests) else ""


def _counted(events: str, clause: str, *, once: bool) -> str:
    """Return the SELECT of how many events each profile has; with `once`, of each event."""
    happened = select("profile", events, clause)
    return happened if once else reading(COUNT, happened=happened)


def opted_out(events: str) -> str:
    """Return the SELECT of the profiles whose last opt-out event says that they are out.

    The last is the last by its time, then by arrival (domain.md 14).
    """
    return reading(OPTED_OUT, opt_out=select(SAYS_OUT, events, "where type = 'opt_out'"))


def opt_outs(events: str) -> str:
    """Return the SELECT of the last opt-out event of everybody: profile, out, at_ms.

    Profiles without such an event are not in it.
    """
    return reading(LAST_OPT_OUT, opt_out=select(SAYS_OUT, events, "where type = 'opt_out'"))


def _cheap(kind: EventCount, lookback: Days | None, now_ms: int) -> str:
    """Return the SQL of whether an event may be of a kind, by its columns; never null."""
    tests = []
    if kind.type is not None:
        tests.append(f"type = {quote_text(kind.type)}")
    # some events have no name: the test is false for them, not null
    if kind.name is not None:
        tests.append(f"coalesce(lower(name) = {quote_text(caseless(kind.name))}, false)")
    if kind.when:
        tests.append(
            time_passes(
                "at_ms",
                operator=kind.when.operator,
                operands=kind.when.operands,
                now_ms=now_ms,
            )
        )
    if lookback:
        tests.append(f"at_ms > {now_ms - lookback.ms}")
    return f"({' and '.join(tests) or 'true'})"
