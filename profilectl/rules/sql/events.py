"""Events as SQL: the values at a path of an event's text, digit for digit, and conditions on it.

It is the set-based twin of event/field.py and event/condition.py. DuckDB takes JSON apart quickly,
but spells some numbers anew (1.10 becomes 1.1, 1e2 becomes 100.0, -0 becomes 0). So there are three
ways to read a number, the cheapest first:

    1. as DuckDB has it, if it cannot have been changed: it is a short whole number, or the whole
       event, written anew, is the text that it was (`same`);
    2. from the text itself, if its key stands there only once;
    3. from a copy of the text with all its numbers in quotes, which costs ten times as much.
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
    Tested,
    condition_read,
)
from profilectl.rules.event.field import Path, caseless
from profilectl.rules.sql.quoting import quote_text
from profilectl.rules.text.numbers import FARTHEST, LONGEST_EXPONENT, NUMBER, Quantity, quantity

PLAIN = "[+-]?[0-9]+([.][0-9]+)?([eE][+-]?[0-9]{1,3})?"
"""The pattern of a number to compute with (event.field.number_of); numbers.NUMBER is that of a
number to compare.
"""
_SHORT = "[+-]?[0-9]{1,18}([.][0-9]{1,18})?"
_PLACES = 18
_LOOKS_LIKE_A_NUMBER = re.compile(r"[-+.0-9e]+")
# A string or a number, whichever comes first: a number within a string is passed over with it.
_TOKEN = r'("(?:[^"\\]|\\.)*")|(-?[0-9][-+.0-9eE]*)'
_MARKED = r"\1" + "\x1e" + r"\2" + "\x1f"
"""Marks around each number. They are control characters, which JSON never has unescaped; after a
string, where no number was found, the pair is empty and is taken out again.
"""


def condition_sql(text: str, column: str) -> str:
    """Return the SQL of whether a condition holds, which is never null.

    column: the SQL of an event's compact JSON text. Raises UsageError if the text is no condition.
    """
    return EventSql(column).condition(condition_read(text))


def definite(test: str) -> str:
    """Return the SQL of a test that is false instead of null."""
    return f"coalesce({test}, false)"


class EventSql:
    """Writes SQL over one event.

    column: the SQL of its compact JSON text. parts, same: columns that hold part(path) and `same`
    already (taking, taken), so that many expressions share one reading of the text.
    """

    def __init__(
        self, column: str, parts: Mapping[Path, str] | None = None, same: str = ""
    ) -> None:
        self._column, self._parts, self._is_taken = column, parts or {}, bool(same)
        self._same = same or f"(json_extract({column}, '$')::varchar = {column})"

    def part(self, path: Path) -> str:
        """Return the SQL of the JSON text at a path that does not walk.

        Numbers may be spelled anew.
        """
        return self._parts.get(path) or f"{_extracted(self._column, path)}::varchar"

    @property
    def same(self) -> str:
        """The SQL of whether DuckDB writes the event as it is, and so changes no number of it."""
        return self._same

    def spelled(self, path: Path) -> str:
        """Return the SQL of the number or boolean at a path, as it is spelled there."""
        part, name = self.part(path), path.steps[-1]
        key = quote_text(json.dumps(name, ensure_ascii=False) + ":")
        # The text after the key's first place, and after its second: empty if there is no second.
        after_key, after_next = (f"split_part({self._column}, {key}, {place})" for place in (2, 3))
        quoted = (
            f"json_extract_string({quoted_numbers(self._column)}, {quote_text(json_path(path))})"
        )
        # The cheaper test first: `same` is a comparison of two columns once both are taken.
        tests = (self._same, unchanged(part)) if self._is_taken else (unchanged(part), self._same)
        return (
            f"case when {tests[0]} then {part}"
            f" when {tests[1]} or {part} in ('true', 'false') then {part}"
            f" when ({after_key} <> '' and {after_next} = '')"
            f" then regexp_extract({after_key}, '^[-+.0-9eE]+') else {quoted} end"
        )

    def text(self, path: Path) -> str:
        """Return the SQL of the text of the one scalar at a path that does not walk, or null."""
        return scalar_text(self.part(path), self.spelled(path))

    def texts(self, path: Path) -> str:
        """Return the SQL of the list of the texts of all scalars at a path."""
        return f"list_transform({self.values(path)}, lambda scalar: scalar.text)"

    def values(self, path: Path) -> str:
        """Return the SQL of the list of all scalars at a path, in order: {text, kind}.

        `kind` is the first character of the JSON: ", t or f; for a number it is n.
        """
        exact = (
            f"case when {self._same} then {self._column} else {quoted_numbers(self._column)} end"
        )
        return scalars(_values_at(self._column, path), _values_at(f"({exact})", path))

    def condition(self, condition: EventCondition) -> str:
        """Return the SQL of whether a condition holds, which is never null."""
        return self._node(condition.node)

    def _node(self, node: Node) -> str:
        match node:
            case AnyCondition(parts):
                return "(" + " or ".join(self._node(part) for part in parts) + ")"
            case AllOf(parts):
                return "(" + " and ".join(self._node(part) for part in parts) + ")"
            case NotCondition(part):
                return f"(not {self._node(part)})"
            case Exists(path):
                return self._stands(path, lambda part: f"{part} <> 'null'")
            case Filled(path):
                return self._stands(
                    path, lambda part: f"{part} not in ('null', '\"\"', '[]', '{{}}')"
                )
        return self._value_test(node)

    def _value_test(self, node: Compared | Contains | Matches | Tested) -> str:
        """Return the SQL of a test that one of the values must pass."""
        match node:
            case Compared(path, _, literal) if literal.number:
                return self._any(path, self._test_of_number(node))
            case Compared(path, sign, literal):
                folded = caseless(literal.text)
                # If no number can be equal to the text, the spelling of numbers does not matter.
                needs_exact = sign != "=" or _LOOKS_LIKE_A_NUMBER.fullmatch(folded)
                return self._any(
                    path,
                    lambda text: f"lower({text}) {sign} {quote_text(folded)}",
                    text=None if needs_exact else self._text_unless_number(path),
                )
            case Contains(path, literal):
                within = quote_text(caseless(literal.text))
                return self._any(path, lambda text: f"contains(lower({text}), {within})")
            case Tested(path):
                return self._any(path, _test_of_text(node))
            case Matches(path, pattern):
                pattern_text = quote_text(like(caseless(pattern)))
                return self._any(path, lambda text: f"lower({text}) like {pattern_text} escape '!'")

    def _stands(self, path: Path, test: Callable[[str], str]) -> str:
        if not path.walks:
            return definite(test(self.part(path)))
        return _some(_values_at(self._column, path), test)

    def _any(self, path: Path, test: Callable[[str], str], text: str | None = None) -> str:
        """Return the SQL of whether a value at a path passes a test.

        text: the SQL of the text of the only value, if there is a cheaper one.
        """
        many = self._many(path, test)
        if path.walks:
            return definite(many)
        single = definite(test(text or self.text(path)))
        return f"case when starts_with({self.part(path)}, '[') then {many} else {single} end"

    def _many(self, path: Path, test: Callable[[str], str]) -> str:
        """Return the SQL of whether one of all values at a path passes a test."""
        return _some(self.texts(path), test)

    def _test_of_number(self, node: Compared) -> Callable[[str], str]:
        """Return the SQL of how a text compares with the number of a test."""
        number = quantity(node.literal.text)
        return lambda text: number_compared(text, node.operator, number)

    def _text_unless_number(self, path: Path) -> str:
        """Return the SQL of the text of a scalar that need not be exact if it is a number."""
        part = self.part(path)
        return (
            f"case when starts_with({part}, '\"') then {string(part)}"
            f" when left({part}, 1) not in ('{{', 'n') then {part} end"
        )


def _test_of_text(node: Tested) -> Callable[[str], str]:
    """Return the SQL of how a text passes a test that values of people have too."""
    from profilectl.rules.sql.values import passes  # which writes events' numbers itself

    return lambda text: passes(text, node.operator, operands=node.operands, now_ms=0)


def _some(values: str, test: Callable[[str], str]) -> str:
    """Return the SQL of whether an entry of a list passes a test."""
    return f"(len(list_filter({values}, lambda entry: {test('entry')})) > 0)"


def taking(column: str, paths: Sequence[Path], *, whole: bool = True) -> str:
    """Return the SQL of a list of the whole event (or null) and the text at each path.

    None of the paths walks.
    """
    # A path that no event has keeps the place of the whole event, as null.
    listed = [
        "'$'" if whole else "'$.nothing.at.all'",
        *(quote_text(json_path(path)) for path in paths),
    ]
    return f"json_extract({column}, [{', '.join(listed)}])::varchar[]"


def taken(column: str, paths: Sequence[Path], listed: str) -> tuple[dict[Path, str], str]:
    """Return the SQL of each path's part and of `same`, from the list that taking made."""
    parts = {path: f"{listed}[{place}]" for place, path in enumerate(paths, start=2)}
    return parts, f"({listed}[1] = {column})"


def json_path(path: Path, root: str = "$.data") -> str:
    """Return a path as DuckDB's JSON functions take it: below `data`, or another root."""
    steps = (
        '."' + step.replace("\\", "\\\\").replace('"', '\\"') + '"' if step is not None else "[*]"
        for step in path.steps
    )
    return root + "".join(steps)


def _extracted(column: str, path: Path) -> str:
    return f"json_extract({column}, {quote_text(json_path(path))})"


def quoted_numbers(column: str) -> str:
    """Return the SQL of a JSON text with its numbers in quotes, spelled as they were."""
    marked = f"regexp_replace({column}, {quote_text(_TOKEN)}, {quote_text(_MARKED)}, 'g')"
    return (
        f"replace(replace(replace({marked}, chr(30) || chr(31), ''), chr(30), '\"'), chr(31), '\"')"
    )


def unchanged(part: str) -> str:
    """Return the SQL of whether DuckDB cannot have changed a number that it took out of JSON."""
    return f"regexp_full_match({part}, '-?[1-9][0-9]{{0,17}}')"


def scalar_text(part: str, spelled: str) -> str:
    """Return the SQL of the text of a JSON text, or null if that is no scalar.

    One CASE, the most frequent first: each costs a copy. spelled: the SQL of a number or boolean.
    """
    return (
        f"case when starts_with({part}, '\"') and not contains({part}, '\\') then ({part})[2:-2]"
        f" when {part} is null or left({part}, 1) in ('[', '{{', 'n') then null"
        f" when starts_with({part}, '\"') then json_extract_string({part}, '$')"
        f" else {spelled} end"
    )


def scalar_held(part: str, spelled: str) -> str:
    """Return the SQL of the held value (values.hold) of a JSON text, or null if it is no scalar.

    A string that begins with MARK has a backslash in its JSON text. spelled: as in scalar_text.
    """
    text = f"json_extract_string({part}, '$')"
    return (
        f"case when starts_with({part}, '\"') and not contains({part}, '\\') then ({part})[2:-2]"
        f" when {part} is null or left({part}, 1) in ('[', '{{', 'n') then null"
        f" when starts_with({part}, '\"') then case when starts_with({text}, chr(31))"
        f" then chr(31) || '''' || {text} else {text} end"
        f" else chr(31) || {spelled} end"
    )


def string(part: str) -> str:
    """Return the SQL of the text in a JSON string."""
    return (
        f"case when contains({part}, '\\') then json_extract_string({part}, '$')"
        f" else ({part})[2:-2] end"
    )


def scalars(texts: str, exact: str) -> str:
    """Return the SQL of the list of scalars {text, kind} in a list of JSON texts, also in lists.

    texts: the list as DuckDB takes it. exact: the same list from a text with numbers in quotes, or
    texts itself.
    """
    paired = (
        f"list_transform({_flat(texts)}, lambda entry, place:"
        f" {{'kind': left(entry, 1), 'entry': entry, 'exact': ({_flat(exact)})[place]}})"
    )
    text = (
        f"case when pair.kind = '\"' then {string('pair.entry')}"
        " when starts_with(pair.exact, '\"') then (pair.exact)[2:-2] else pair.exact end"
    )
    return (
        f"list_transform(list_filter({paired}, lambda pair: pair.kind not in ('[', '{{', 'n')),"
        f" lambda pair: {{'text': {text},"
        " 'kind': case when pair.kind in ('\"', 't', 'f') then pair.kind else 'n' end})"
    )


def _flat(texts: str) -> str:
    """Return the SQL of a list of JSON texts with the entries of lists in their place."""
    return (
        f"flatten(list_transform({texts}, lambda entry: case when starts_with(entry, '[')"
        " then json_extract(entry, '$[*]')::varchar[] else [entry] end))"
    )


def _values_at(column: str, path: Path) -> str:
    """Return the SQL of the list of JSON texts at a path."""
    if path.walks:
        return f"{_extracted(column, path)}::varchar[]"
    return f"list_filter([{_extracted(column, path)}::varchar], lambda entry: entry is not null)"


def like(pattern: str) -> str:
    """Return a pattern of * and ? as LIKE has it, with ! as its escape."""
    escaped = re.sub(r"[!%_]", lambda match: "!" + match[0], pattern)
    return escaped.replace("*", "%").replace("?", "_")


def number_compared(text: str, sign: str, number: Quantity) -> str:
    """Return the SQL of how a text compares with a number, or null if the text is no number.

    Short numbers compare as DECIMAL(38, 18); others by sign, magnitude and digits, however many.
    """
    test = f"{_order('t', number)} {sign} 0"
    literal = number.written_out(_PLACES)
    # A lambda over a list of one gives the text a name, so that it stands in the SQL only once.
    if literal is not None:
        test = (
            f"case when regexp_full_match(t, '{_SHORT}')"
            f" then t::decimal(38, 18) {sign} {literal}::decimal(38, 18) else {test} end"
        )
    return (
        f"list_transform([{text}], lambda t: case when regexp_full_match(t, '{NUMBER}')"
        f" then {test} end)[1]"
    )


# The digits of the exponent of a number `u`, without noughts before them.
_POWER = "ltrim(regexp_extract(u, '[eE][+-]?([0-9]+)$', 1), '0')"
# The exponent of a number `u`: further than FARTHEST says no more than FARTHEST.
_EXPONENT = (
    "case when regexp_matches(u, '[eE]-') then -1 else 1 end *"
    f" case when len({_POWER}) > {LONGEST_EXPONENT} then {FARTHEST}::hugeint"
    f" else coalesce(try_cast({_POWER} as hugeint), 0) end"
)
# The parts of a number `u`: minus sign, digits before and after the point, exponent.
_NUMBER_PARTS = (
    "{'n': starts_with(u, '-'), 'w': regexp_extract(u, '^[+-]?([0-9]+)', 1),"
    " 'f': regexp_extract(u, '[.]([0-9]+)', 1),"
    f" 'e': case when contains(lower(u), 'e') then {_EXPONENT} else 0::hugeint end}}"
)
# The sign, magnitude and digits (numbers.Quantity) of the parts `p`.
_NUMBER_SHAPE = (
    "{'s': case when trim(p.w || p.f, '0') = '' then 0 when p.n then -1 else 1 end,"
    " 'm': strlen(ltrim(p.w || p.f, '0')) - strlen(p.f) + p.e, 'd': trim(p.w || p.f, '0')}"
)


def _order(text: str, number: Quantity) -> str:
    """Return the SQL of -1, 0 or 1: how a text that is a number compares with another, exactly."""
    sign, magnitude, digits = number.sign, f"{number.magnitude}::hugeint", number.digits
    return (
        f"list_transform(list_transform(list_transform([{text}], lambda u: {_NUMBER_PARTS}),"
        f" lambda p: {_NUMBER_SHAPE}),"
        f" lambda p: case when p.s <> {sign} then sign(p.s - {sign}) when p.s = 0 then 0"
        f" when p.m <> {magnitude} then p.s * sign(p.m - {magnitude})"
        f" when p.d = '{digits}' then 0 when p.d < '{digits}' then -p.s else p.s end)[1]"
    )
