"""Events as SQL: what stands at a path of an event's text, digit for digit, and conditions on it.

The set-based twin of event/field.py and event/condition.py. DuckDB takes JSON apart quickly but
spells some numbers anew (1.10 becomes 1.1, 1e2 becomes 100.0, -0 becomes 0). So a number is taken
as DuckDB has it only where it cannot have been changed: it is a short whole number, or the whole
event, written anew, is the text it was (`same`). Else it is read from the text itself, where its
key stands only once, and else from a copy of the text whose numbers are all put in quotes, which
costs ten times as much.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence

from profilectl.rules.event.condition import (
    AllOf,
    AnyCondition,
    Compared,
    Contains,
    EventCondition,
    Exists,
    Filled,
    Matches,
    Node,
    NotCondition,
    condition_read,
)
from profilectl.rules.event.field import Path, fold
from profilectl.rules.sql.quoting import quote_text
from profilectl.rules.text.numbers import FARTHEST, LONGEST_EXPONENT, NUMBER, Quantity, quantity

PLAIN = "[+-]?[0-9]+([.][0-9]+)?([eE][+-]?[0-9]{1,3})?"
"""What is a number that is computed with, as event.field.number_of has it; what compares is
numbers.NUMBER.
"""
_SHORT = "[+-]?[0-9]{1,18}([.][0-9]{1,18})?"
_PLACES = 18
_LOOKS_LIKE_A_NUMBER = re.compile(r"[-+.0-9e]+")
# A string, or a number, whichever comes first: a number within a string is passed over with the
# string.
_TOKEN = r'("(?:[^"\\]|\\.)*")|(-?[0-9][-+.0-9eE]*)'
_MARKED = r"\1" + "\x1e" + r"\2" + "\x1f"
"""No control character stands unescaped in JSON: a pair of marks with nothing between followed a
string.
"""


def condition_sql(text: str, column: str) -> str:
    """Return the SQL of whether a condition holds; column: the SQL of an event's compact JSON text.

    Never null. Raises UsageError where the text is no condition.
    """
    return EventSql(column).condition(condition_read(text))


class EventSql:
    """Writes SQL over one event. column: the SQL of its compact JSON text.

    parts, same: columns that already hold part(path) and `same`, so that many expressions share one
    reading of the text; taking() and taken() make them.
    """

    def __init__(
        self, column: str, parts: Mapping[Path, str] | None = None, same: str = ""
    ) -> None:
        self._column, self._parts, self._is_taken = column, parts or {}, bool(same)
        self._same = same or f"(json_extract({column}, '$')::varchar = {column})"

    def part(self, path: Path) -> str:
        """Return the SQL of the JSON text at a path that does not walk; numbers may be spelled
        anew.
        """
        return (
            self._parts.get(path)
            or f"json_extract({self._column}, {quote_text(json_path(path))})::varchar"
        )

    @property
    def same(self) -> str:
        """Return the SQL of whether DuckDB writes the event as it is, so that it changes no number
        of it.
        """
        return self._same

    def spelled(self, path: Path) -> str:
        """Return the SQL of the number, or the boolean, at a path that does not walk, as it is
        spelled in the event.
        """
        part, last = self.part(path), path.steps[-1]
        key = quote_text(json.dumps(last, ensure_ascii=False) + ":")
        once = f"(split_part({self._column}, {key}, 2) <> '' and split_part({self._column}, {key}, 3) = '')"
        quoted = (
            f"json_extract_string({quoted_numbers(self._column)}, {quote_text(json_path(path))})"
        )
        # the cheaper first
        easy = (self._same, unchanged(part)) if self._is_taken else (unchanged(part), self._same)
        return (
            f"case when {easy[0]} then {part} when {easy[1]} or {part} in ('true', 'false') then {part}"
            f" when {once} then regexp_extract(split_part({self._column}, {key}, 2), '^[-+.0-9eE]+') else {quoted} end"
        )

    def text(self, path: Path) -> str:
        """Return the SQL of the text of the one scalar at a path that does not walk; null where
        none is there.
        """
        return scalar_text(self.part(path), self.spelled(path))

    def texts(self, path: Path) -> str:
        """Return the SQL of the list of the texts of all scalars at a path."""
        return f"list_transform({self.values(path)}, lambda one: one.text)"

    def values(self, path: Path) -> str:
        """Return the SQL of the list of all scalars at a path, in order: {text, kind}; kind: ", n,
        t or f as JSON begins.
        """
        exact = (
            f"case when {self._same} then {self._column} else {quoted_numbers(self._column)} end"
        )
        return scalars(_found(self._column, path), _found(f"({exact})", path))

    def condition(self, condition: EventCondition) -> str:
        """Return the SQL of whether a condition holds; never null."""
        return self._node(condition.node)

    def _node(self, node: Node) -> str:
        match node:
            case AnyCondition(parts) | AllOf(parts):
                return (
                    "("
                    + (" or " if isinstance(node, AnyCondition) else " and ").join(
                        self._node(part) for part in parts
                    )
                    + ")"
                )
            case NotCondition(part):
                return f"(not {self._node(part)})"
            case Exists(path):
                return self._stands(path, lambda part: f"{part} <> 'null'")
            case Filled(path):
                return self._stands(
                    path, lambda part: f"{part} not in ('null', '\"\"', '[]', '{{}}')"
                )
            case Compared(path, sign, literal) if literal.number:
                number = quantity(literal.text)
                return self._any(path, lambda text: number_compared(text, sign, number))
            case Compared(path, sign, literal):
                folded = quote_text(fold(literal.text))
                if sign == "=" and not _LOOKS_LIKE_A_NUMBER.fullmatch(fold(literal.text)):
                    return self._any(
                        path,
                        lambda text: f"lower({text}) = {folded}",
                        text=self._text_unless_number(path),
                    )
                return self._any(path, lambda text: f"lower({text}) {sign} {folded}")
            case Contains(path, literal):
                return self._any(
                    path, lambda text: f"contains(lower({text}), {quote_text(fold(literal.text))})"
                )
            case Matches(path, pattern):
                return self._any(
                    path,
                    lambda text: f"lower({text}) like {quote_text(like(fold(pattern)))} escape '!'",
                )

    def _stands(self, path: Path, test: Callable[[str], str]) -> str:
        if not path.walks:
            return f"coalesce({test(self.part(path))}, false)"
        return f"(len(list_filter({_found(self._column, path)}, lambda one: {test('one')})) > 0)"

    def _any(self, path: Path, test: Callable[[str], str], text: str | None = None) -> str:
        """Return the SQL of whether a value at a path passes a test.

        text: the SQL of the only one, where it is cheaper.
        """
        many = f"(len(list_filter({self.texts(path)}, lambda one: {test('one')})) > 0)"
        if path.walks:
            return f"coalesce({many}, false)"
        return f"case when starts_with({self.part(path)}, '[') then {many} else coalesce({test(text or self.text(path))}, false) end"

    def _text_unless_number(self, path: Path) -> str:
        """Return the SQL of the text of a scalar that need not be exact if it is a number."""
        part = self.part(path)
        return f"case when starts_with({part}, '\"') then {string(part)} when left({part}, 1) not in ('{{', 'n') then {part} end"


def taking(column: str, paths: Sequence[Path], *, whole: bool = True) -> str:
    """Return the SQL of a list that holds the whole event (or null) and what stands at each path;
    none of them walks.
    """
    listed = [
        "'$'" if whole else "'$.nothing.at.all'",
        *(quote_text(json_path(path)) for path in paths),
    ]
    return f"json_extract({column}, [{', '.join(listed)}])::varchar[]"


def taken(column: str, paths: Sequence[Path], listed: str) -> tuple[dict[Path, str], str]:
    """Return the SQL of each path's part and of `same`, of the list that taking made."""
    return {
        path: f"{listed}[{place}]" for place, path in enumerate(paths, start=2)
    }, f"({listed}[1] = {column})"


def json_path(path: Path, root: str = "$.data") -> str:
    """Return a path as DuckDB's JSON functions take it: below `data`, or another root."""
    steps = (
        '."' + step.replace("\\", "\\\\").replace('"', '\\"') + '"' if step is not None else "[*]"
        for step in path.steps
    )
    return root + "".join(steps)


def quoted_numbers(column: str) -> str:
    """Return the SQL of a JSON text whose numbers stand in quotes, spelled as they were."""
    marked = f"regexp_replace({column}, {quote_text(_TOKEN)}, {quote_text(_MARKED)}, 'g')"
    return (
        f"replace(replace(replace({marked}, chr(30) || chr(31), ''), chr(30), '\"'), chr(31), '\"')"
    )


def unchanged(part: str) -> str:
    """Return the SQL of whether a number that DuckDB took out of a JSON text can only be as it was."""
    return f"regexp_full_match({part}, '-?[1-9][0-9]{{0,17}}')"


def scalar_text(part: str, spelled: str) -> str:
    """Return the SQL of the text of a JSON text that is a scalar, null where it is none; spelled:
    the SQL of it if it is no string.

    One CASE, the most frequent first: each costs a copy.
    """
    return (
        f"case when starts_with({part}, '\"') and not contains({part}, '\\') then ({part})[2:-2]"
        f" when {part} is null or left({part}, 1) in ('[', '{{', 'n') then null"
        f" when starts_with({part}, '\"') then json_extract_string({part}, '$') else {spelled} end"
    )


def scalar_held(part: str, spelled: str) -> str:
    """Return the SQL of a JSON text that is a scalar as it is held (values.hold), null where it is
    none; as scalar_text.

    A string that begins with MARK has a backslash in its JSON text.
    """
    said = f"json_extract_string({part}, '$')"
    return (
        f"case when starts_with({part}, '\"') and not contains({part}, '\\') then ({part})[2:-2]"
        f" when {part} is null or left({part}, 1) in ('[', '{{', 'n') then null"
        f" when starts_with({part}, '\"') then case when starts_with({said}, chr(31)) then chr(31) || '''' || {said} else {said} end"
        f" else chr(31) || {spelled} end"
    )


def string(part: str) -> str:
    """Return the SQL of what a JSON string says."""
    return f"case when contains({part}, '\\') then json_extract_string({part}, '$') else ({part})[2:-2] end"


def scalars(found: str, exact: str) -> str:
    """Return the SQL of the list of scalars {text, kind} in a list of JSON texts, those of lists
    one by one.

    found: the list as DuckDB takes it; exact: the same list of a text whose numbers stand in
    quotes, or found itself.
    """
    paired = f"list_transform({_flat(found)}, lambda one, place: {{'kind': left(one, 1), 'one': one, 'exact': ({_flat(exact)})[place]}})"
    return (
        f"list_transform(list_filter({paired}, lambda it: it.kind not in ('[', '{{', 'n')), lambda it: {{'text': case when it.kind = '\"'"
        f" then {string('it.one')} when starts_with(it.exact, '\"') then (it.exact)[2:-2] else it.exact end,"
        " 'kind': case when it.kind in ('\"', 't', 'f') then it.kind else 'n' end})"
    )


def _flat(found: str) -> str:
    return f"flatten(list_transform({found}, lambda one: case when starts_with(one, '[') then json_extract(one, '$[*]')::varchar[] else [one] end))"


def _found(column: str, path: Path) -> str:
    """Return the SQL of the list of JSON texts that stand at a path."""
    if path.walks:
        return f"json_extract({column}, {quote_text(json_path(path))})::varchar[]"
    return f"list_filter([json_extract({column}, {quote_text(json_path(path))})::varchar], lambda one: one is not null)"


def like(pattern: str) -> str:
    """Return a pattern of * and ? as LIKE has it, with ! as its escape."""
    return (
        re.sub(r"[!%_]", lambda found: "!" + found[0], pattern).replace("*", "%").replace("?", "_")
    )


def number_compared(text: str, sign: str, number: Quantity) -> str:
    """Return the SQL of how a text compares with a number, null where it is none.

    Short numbers as DECIMAL(38, 18); others by their sign, their magnitude and their digits,
    however many.
    """
    order = f"{_order('t', number)} {sign} 0"
    literal = number.written_out(_PLACES)
    if literal is not None:
        order = f"case when regexp_full_match(t, '{_SHORT}') then t::decimal(38, 18) {sign} {literal}::decimal(38, 18) else {order} end"
    return f"list_transform([{text}], lambda t: case when regexp_full_match(t, '{NUMBER}') then {order} end)[1]"


def _order(text: str, number: Quantity) -> str:
    """Return the SQL of -1, 0 or 1: how a text that is a number compares with another, exactly."""
    mine, magnitude, told = number.sign, number.magnitude, number.digits
    power = "ltrim(regexp_extract(u, '[eE][+-]?([0-9]+)$', 1), '0')"
    size = f"case when len({power}) > {LONGEST_EXPONENT} then {FARTHEST}::hugeint else coalesce(try_cast({power} as hugeint), 0) end"
    exponent = f"case when regexp_matches(u, '[eE]-') then -1 else 1 end * {size}"
    parts = (
        f"list_transform([{text}], lambda u: {{'n': starts_with(u, '-'), 'w': regexp_extract(u, '^[+-]?([0-9]+)', 1),"
        f" 'f': regexp_extract(u, '[.]([0-9]+)', 1), 'e': case when contains(lower(u), 'e') then {exponent} else 0::hugeint end}})"
    )
    shaped = (
        f"list_transform({parts}, lambda p: {{'s': case when trim(p.w || p.f, '0') = '' then 0 when p.n then -1 else 1 end,"
        " 'm': strlen(ltrim(p.w || p.f, '0')) - strlen(p.f) + p.e, 'd': trim(p.w || p.f, '0')})"
    )
    return (
        f"list_transform({shaped}, lambda p: case when p.s <> {mine} then sign(p.s - {mine}) when p.s = 0 then 0"
        f" when p.m <> {magnitude}::hugeint then p.s * sign(p.m - {magnitude}::hugeint) when p.d = '{told}' then 0 when p.d < '{told}' then -p.s else p.s end)[1]"
    )
