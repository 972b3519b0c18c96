"""How many events of each kind every profile has.

What is cheap is tested first (type, name, time): a scan of those columns costs so little that every
kind has its own, which is twice as fast as one with a test for each. Kinds that differ in their
conditions only share it, and read the JSON of an event once. Times are milliseconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from profilectl.rules.criteria.tree import EventCount
from profilectl.rules.event.condition import Compared, Node, condition_read
from profilectl.rules.event.field import Path, fold
from profilectl.rules.sql.events import EventSql, json_path, number_compared
from profilectl.rules.sql.quoting import quote_text
from profilectl.rules.sql.values import by_double, time_passes
from profilectl.rules.text.moments import Days
from profilectl.rules.text.numbers import quantity

Kind = tuple[EventCount, Days | None]
"""Events that are counted together, and how far back they count."""


def alike(kinds: Sequence[Kind]) -> list[list[Kind]]:
    """Return the kinds in groups that differ in their conditions only."""
    found: dict[Kind, list[Kind]] = {}
    for happened, lookback in kinds:
        found.setdefault((replace(happened, where=""), lookback), []).append((happened, lookback))
    return list(found.values())


def counted(kinds: Sequence[Kind], events: str, now_ms: int, *, once: bool = False) -> str:
    """Return the SELECT of profile, e0, e1, ...: how many events of each kind; profiles without any
    may be missing.

    kinds: differing in their conditions only. events: the SQL of the relation of
    audience_sql.Relations. once: of the one kind, whose number nobody asks for: the profile of each
    event alone.
    """
    cheap = _cheap(*kinds[0], now_ms)
    conditions = [condition_read(kind.where) if kind.where else None for kind, _ in kinds]
    if not any(conditions):
        return f"select profile{'' if once else ', count(*) as e0'} from {events} where {cheap}{'' if once else ' group by profile'}"
    paths = list(
        dict.fromkeys(path for one in conditions if one for path in one.paths() if not path.walks)
    )
    listed = ", ".join(quote_text(json_path(path)) for path in paths)
    parts = f", json_extract(event, [{listed}])::varchar[] as parts" if paths else ""
    written = _Conditions({path: f"parts[{place}]" for place, path in enumerate(paths, start=1)})
    tests = ", ".join(
        f"{written.condition(one) if one else 'true'} as k{place}"
        for place, one in enumerate(conditions)
    )
    tested = (
        f"select profile, {tests} from (select profile, event{parts} from {events} where {cheap})"
    )
    if len(kinds) == 1:
        return f"select profile{'' if once else ', count(*) as e0'} from ({tested}) where k0{'' if once else ' group by profile'}"
    counts = ", ".join(
        f"count(*) filter (where k{place}) as e{place}" for place in range(len(kinds))
    )
    found = " or ".join(f"k{place}" for place in range(len(kinds)))
    return f"select profile, {counts} from ({tested}) where {found} group by profile"


def opted_out(events: str) -> str:
    """Return the SELECT of the profiles that said last, by the time of the event, then by arrival,
    to be out (domain.md 14).
    """
    return (
        f"select profile from {events} where type = 'opt_out' group by profile"
        " having arg_max(coalesce(json_extract_string(event, '/data/is_opted_out') = 'true', false), (at_ms, arrival, place))"
    )


def opt_outs(events: str) -> str:
    """Return the SELECT of what everybody said last of it: profile, out, at_ms. Who never said
    anything is not in it.
    """
    last = "arg_max({'out': coalesce(json_extract_string(event, '/data/is_opted_out') = 'true', false), 'at_ms': at_ms}, (at_ms, arrival, place))"
    return f"select profile, unnest({last}) from {events} where type = 'opt_out' group by profile"


def _cheap(kind: EventCount, lookback: Days | None, now_ms: int) -> str:
    """Return the SQL of whether an event may be of a kind, by its columns; never null."""
    tests = []
    if kind.type is not None:
        tests.append(f"type = {quote_text(kind.type)}")
    if kind.name is not None:
        tests.append(f"coalesce(lower(name) = {quote_text(fold(kind.name))}, false)")
    if kind.when:
        tests.append(time_passes("at_ms", kind.when.operator, kind.when.operands, now_ms))
    if lookback:
        tests.append(f"at_ms > {now_ms - lookback.ms}")
    return f"({' and '.join(tests) or 'true'})"


class _Conditions(EventSql):
    """Conditions on the column `event`, of which the parts they need are taken out already."""

    def __init__(self, parts: Mapping[Path, str]) -> None:
        super().__init__("event")
        self.parts = parts

    def part(self, path: Path) -> str:
        return self.parts.get(path) or super().part(path)

    def _node(self, node: Node) -> str:
        if isinstance(node, Compared) and node.literal.number and not node.path.walks:
            # Whatever is clear as a double needs not be spelled out: digits are compared where the
            # doubles are the same.
            part, number = self.part(node.path), quantity(node.literal.text)
            exact = number_compared(self.spelled(node.path), node.operator, number)
            return f"case when regexp_matches({part}, '^[-0-9]') then {by_double(part, node.operator, number, exact)} else {super()._node(node)} end"
        return super()._node(node)
