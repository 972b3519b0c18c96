"""Criteria as an expression: read into the tree of criteria.py, and written out again.

    tier = 'gold' and count(event 'purchase' where (price > 10) within 30 days) >= 2
    (email exists or mobile_number exists) and device.platform = 'iOS' exclude audience 'staff'

Texts stand in single quotes (a quote in it is doubled), numbers bare, days and times as
'2024-01-31' or '2024-01-31T12:00Z'. In words:

    TESTS       NAME = != 'text'         NAME in ('a', 'b')      NAME contains | starts with | ends with 'text'
                NAME = != < <= > >= 3    NAME between 1 and 9    NAME matches 'a*b?'
    DATES       NAME before | after | on '2024-01-31'    NAME between '2024-01-01' and '2024-01-31'
                NAME within 30 days      NAME over 2 weeks ago
    LISTS       NAME includes 'entry'    NAME includes part 'ntr'
    PRESENCE    NAME exists              NAME is empty           NAME is not empty
    EVENTS      event 'purchase'         event screen_view 'Home'        event session_start        event
                ... where (price > 10)   ... within 30 days, or another test of DATES
                count(event ...) >= 2    = != < <= > >= between
    THE PERSON  first_seen, last_seen: a test of DATES           environment = 'production'
                consent gdpr.marketing is granted | denied | unknown
                device.platform          attribution.campaign    audience 'vip'
                location within 10 km of 52.52, 13.405

NAME is an attribute (`tier`, `$City`, `"Favourite colour"`), calculated or not, or an identity type
(`email`). `not` stands before any of it, and before the words of a test (`not contains`); `and`
binds closer than `or`, and `exclude` less than both: A or B exclude C is (A or B) and not C. Words
may be in upper case.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

from profilectl.codes import UsageError
from profilectl.rules.criteria import tree as criteria
from profilectl.rules.criteria.tree import (
    BY_NAME,
    All,
    AnyOf,
    Comparison,
    Consent,
    Criterion,
    CriterionFault,
    CriterionField,
    EventCount,
    InAudience,
    Near,
    Not,
    Operand,
    digits_of,
)
from profilectl.rules.event.condition import condition_text
from profilectl.rules.event.event import EVENT_TYPES
from profilectl.rules.text.moments import Days, Moment, days_of, moment_of

WORDS = (
    "and",
    "or",
    "not",
    "exclude",
    "in",
    "is",
    "contains",
    "starts",
    "ends",
    "with",
    "matches",
    "between",
    "before",
    "after",
    "on",
    "within",
    "over",
    "ago",
    "includes",
    "part",
    "exists",
    "empty",
    "event",
    "count",
    "where",
    "audience",
    "consent",
    "device",
    "attribution",
    "first_seen",
    "last_seen",
    "environment",
    "location",
    "of",
)
"""The words of the language: an attribute of such a name is written in double quotes."""

_NOT_A_WORD = rf"(?!({'|'.join(WORDS)})(?![\w$]))"
_BARE = rf"{_NOT_A_WORD}[^\W\d][\w.$]*|\$[\w.$]+"
_bare = re.compile(_BARE, re.IGNORECASE)

GRAMMAR = rf"""
start: excluding
excluding: any (_EXCLUDE any)*
any: all (_OR all)*
all: one (_AND one)*
?one: _NOT one                                              -> negation
    | "(" excluding ")"
    | field _tail                                           -> tested
    | field _NOT _word                                      -> tested_not
    | event                                                 -> happened
    | _COUNT "(" event ")" (compared | between)             -> counted
    | _AUDIENCE STRING                                      -> audience
    | _CONSENT NAME _IS NAME                                -> consent
    | _CONSENT NAME _IS _NOT NAME                           -> consent_not
    | _LOCATION _WITHIN DISTANCE _OF NUMBER "," NUMBER      -> near
field: NAME                                                 -> named
    | _DEVICE "." NAME                                      -> device
    | _ATTRIBUTION "." NAME                                 -> attribution
    | _FIRST_SEEN                                           -> first_seen
    | _LAST_SEEN                                            -> last_seen
    | _ENVIRONMENT                                          -> environment
event: _EVENT [NAME] [STRING] [_WHERE CONDITION] [recency]
_tail: compared | empty | filled | _word
_word: among | words | between | when
?recency: when | between
compared: COMPARISON _literal
empty: _IS _EMPTY
filled: _IS _NOT _EMPTY
among: _IN "(" _literal ("," _literal)* ")"
between: _BETWEEN _literal _AND _literal
words: _CONTAINS STRING                                     -> contains
    | _STARTS _WITH STRING                                  -> starts
    | _ENDS _WITH STRING                                    -> ends
    | _MATCHES STRING                                       -> matches
    | _INCLUDES _literal                                    -> includes
    | _INCLUDES _PART STRING                                -> part
    | _EXISTS                                               -> exists
when: _BEFORE STRING                                        -> before
    | _AFTER STRING                                         -> after
    | _ON STRING                                            -> on
    | _WITHIN SPAN                                          -> within
    | _OVER SPAN _AGO                                       -> ago
_literal: STRING | NUMBER
COMPARISON: "=" | "!=" | "<>" | "<=" | ">=" | "<" | ">"
NUMBER: /[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)(?![\w.])/
SPAN: /[0-9]+\s*[a-z]+/i
DISTANCE: /[0-9]+(\.[0-9]+)?\s*[a-z]+/i
STRING: /'([^']|'')*'/
CONDITION: /\(\uE000*\)/
NAME: /"([^"]|"")+"|{_BARE}/i
%ignore /\s+/
""" + "".join(rf"_{word.upper()}: /{word}(?![\w$])/i" + "\n" for word in WORDS)


def criterion_of(text: str) -> Criterion:
    """Read an expression. Raises UsageError, with a mark at the character that is wrong."""
    from lark.exceptions import UnexpectedEOF, UnexpectedInput, UnexpectedToken

    try:
        shaped, conditions = _without_conditions(text)
        tree = _Reader(text, conditions).tree(_parser().parse(shaped))
        criteria.check_depth(tree)
    except UnexpectedInput as error:
        ended = isinstance(error, UnexpectedEOF) or (
            isinstance(error, UnexpectedToken) and error.token.type == "$END"
        )
        at = len(text) if ended else int(error.pos_in_stream or 0)
        raise misread(text, at, _advice(text, at)) from None
    except _Wrong as error:
        raise misread(text, error.at, str(error)) from None
    except CriterionFault as error:
        raise UsageError(f"the criteria cannot be: {error}") from None
    except RecursionError:
        raise UsageError("the criteria are nested too deep", "take brackets away") from None
    return tree


def misread(text: str, at: int, what: str) -> UsageError:
    """Return the error of an expression; at: the place of the character that is wrong."""
    return UsageError(
        f"the criteria are not understood at character {at + 1}: {marked(text, at)}",
        what or "for example tier = 'gold' and count(event 'purchase' within 30 days) >= 2",
    )


def marked(text: str, at: int) -> str:
    """Return an expression with a mark at a character, what is far from it left out."""
    return f"{_shortened(text[:at], head=False)}>>>{_shortened(text[at:], head=True)}"


def _shortened(text: str, *, head: bool, longest: int = 60) -> str:
    if len(text) <= longest:
        return text
    return f"{text[:longest]}..." if head else f"...{text[-longest:]}"


def _advice(text: str, at: int) -> str:
    """Say what is likely meant, where it can be told."""
    before, after = text[:at].rstrip(), text[at:]
    if re.match(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)e[+-]?[0-9]", after, re.IGNORECASE):
        return "a number is written out, without an exponent: 1000"
    if re.search(
        r"(=|<|>|\b(contains|with|matches|includes|part|before|after|on|audience))$",
        before,
        re.IGNORECASE,
    ) and re.match(r'[\w"]', after):
        return "a text stands in single quotes: 'gold'"
    if re.search(r"\bwhere$", before, re.IGNORECASE):
        return "the condition on an event stands in brackets: where (price > 10)"
    word = re.match(r"\w+", after)
    if (
        word
        and word[0].lower() in WORDS
        and re.search(r"(^|\(|\b(and|or|not|exclude))$", before, re.IGNORECASE)
    ):
        return (
            f'{word[0]} is a word of the language: an attribute of that name is written "{word[0]}"'
        )
    return ""


@functools.cache
def _parser() -> Any:
    from lark import Lark

    return Lark(GRAMMAR, parser="lalr", maybe_placeholders=True, propagate_positions=True)


class _Wrong(CriterionFault):
    """A fault at a character."""

    def __init__(self, at: int, what: str) -> None:
        super().__init__(what)
        self.at = at


_pieces = re.compile(r"""'(?:[^']|'')*'|"(?:[^"]|"")+"|\bwhere\s*\(|[()]""", re.IGNORECASE)


def _without_conditions(text: str) -> tuple[str, dict[int, str]]:
    """Blank out what stands in the brackets of `where (...)`, which has a grammar of its own: the
    text, as long as before, and the conditions by the place of their opening bracket. Raises
    Fault where a bracket is not closed.
    """
    shaped, conditions = text, {}
    opened, depth = -1, 0
    for piece in _pieces.finditer(text):
        word = piece[0]
        if word.endswith("(") and word[0] not in "'\"":
            if opened < 0 and word != "(":
                opened, depth = piece.end() - 1, 0
            depth += 1
        elif word == ")" and opened >= 0:
            depth -= 1
            if not depth:
                conditions[opened] = text[opened + 1 : piece.start()]
                shaped = (
                    shaped[: opened + 1]
                    + "\ue000" * (piece.start() - opened - 1)
                    + shaped[piece.start() :]
                )
                opened = -1
    if opened >= 0:
        raise _Wrong(opened, "this bracket is not closed")
    return shaped, conditions


class _Reader:
    """Makes the tree of criteria.py of what the grammar found."""

    def __init__(self, text: str, conditions: dict[int, str]) -> None:
        self.text = text
        self.conditions = conditions

    def tree(self, found: Any) -> Criterion:
        match found.data:
            case "start":
                return self.tree(found.children[0])
            case "excluding":
                first, *others = map(self.tree, found.children)
                return criteria.all_of([first, *map(criteria.not_, others)]) if others else first
            case "any":
                return criteria.any_of(map(self.tree, found.children))
            case "all":
                return criteria.all_of(map(self.tree, found.children))
            case "negation":
                return criteria.not_(self.tree(found.children[0]))
            case "tested":
                return self._test(*found.children)
            case "tested_not":
                return criteria.not_(self._test(*found.children))
            case "happened":
                return self._event(found.children[0])
            case "counted":
                return self._counted(*found.children)
            case "audience":
                return InAudience(_unquoted(found.children[0]))
            case "consent" | "consent_not":
                purpose, state = found.children
                made = self._made(purpose, criteria.consent, _unquoted(purpose), str(state).lower())
                return criteria.not_(made) if found.data == "consent_not" else made
        return self._near(*found.children)

    def _made(self, at: Any, make: Callable[..., Any], *arguments: Any) -> Any:
        """Make something; what is wrong with it is wrong at this token.

        at: a token, or those of the operands.
        """
        try:
            return make(*arguments)
        except _Wrong:
            raise
        except CriterionFault as error:
            token = at[error.operand] if isinstance(at, list) else at
            raise _Wrong(int(token.start_pos), str(error)) from None

    def _test(self, field: Any, tail: Any) -> Criterion:
        tested = self._field(field)
        operator, negated = str(tail.data), False
        tokens = list(tail.children)
        if operator == "compared":
            operator, negated = _comparison(tokens.pop(0))
        elif operator == "empty":
            operator, negated = "filled", True
        given = [self._operand(one, operator) for one in tokens]
        made = self._made(tokens or field.meta, criteria.comparison, tested, operator, given)
        return criteria.not_(made) if negated else made

    def _field(self, found: Any) -> CriterionField:
        if not found.children:
            return CriterionField(str(found.data))
        name = found.children[0]
        make = {
            "named": criteria.field_of,
            "device": criteria.device_field,
            "attribution": criteria.attribution_field,
        }[str(found.data)]
        made: CriterionField = self._made(name, make, _unquoted(name))
        return made

    def _operand(self, token: Any, operator: str) -> Operand:
        if token.type == "NUMBER":
            return Decimal(str(token))
        if token.type == "SPAN":
            return self._span(token)
        text = _unquoted(token)
        return (
            self._moment(token, text)
            if "time" in BY_NAME[operator].takes or "day" in BY_NAME[operator].takes
            else text
        )

    def _moment(self, token: Any, text: str) -> Moment:
        moment = moment_of(text)
        if moment is None:
            raise _Wrong(
                token.start_pos, "a day is written '2024-01-31', a time '2024-01-31T12:00Z'"
            )
        return moment

    def _span(self, token: Any) -> Days:
        span = days_of(str(token))
        if span is None:
            raise _Wrong(token.start_pos, "a span is written 30 days, 30d or 2 weeks")
        return span

    def _event(
        self, found: Any, operator: str = "at_least", counts: Sequence[int] = (1,)
    ) -> EventCount:
        kind, name, condition, recency = found.children
        if kind is not None and _unquoted(kind).lower() not in EVENT_TYPES:
            raise _Wrong(
                kind.start_pos,
                f"{kind} is no type of event ({', '.join(EVENT_TYPES)}); the name of an event stands in single quotes",
            )
        where = self._condition(condition) if condition is not None else ""
        when = None
        if recency is not None:
            operands = tuple(self._operand(one, str(recency.data)) for one in recency.children)
            when = self._made(list(recency.children), criteria.when, str(recency.data), operands)
        made: EventCount = criteria.happened(
            _unquoted(kind).lower() if kind is not None else None,
            _unquoted(name) if name is not None else None,
            where,
            when,
            operator,
            tuple(counts),
        )
        return made

    def _condition(self, token: Any) -> str:
        """Return the condition in the brackets at a token; what is wrong in it is wrong at that
        character.
        """
        text = self.conditions[token.start_pos]
        try:
            return condition_text(text)
        except UsageError as error:
            at = re.search("at character ([0-9]+):", error.message)
            raise _Wrong(
                token.start_pos + (int(at[1]) if at else 1),
                f"in the condition on the event: {error.hint}",
            ) from None

    def _counted(self, event: Any, tail: Any) -> Criterion:
        tokens, operator, negated = list(tail.children), str(tail.data), False
        if operator == "compared":
            operator, negated = _comparison(tokens.pop(0))
        for token in tokens:
            if not re.fullmatch("[0-9]{1,18}", str(token)):
                raise _Wrong(token.start_pos, "events are counted in whole numbers")
        made = self._made(tokens, self._event, event, operator, [int(token) for token in tokens])
        return criteria.not_(made) if negated else made

    def _near(self, distance: Any, latitude: Any, longitude: Any) -> Criterion:
        found = re.match(r"([0-9.]+)\s*(.+)", str(distance))
        assert found is not None
        made: Near = self._made(
            [distance, latitude, longitude],
            criteria.near,
            Decimal(found[1]),
            found[2].lower(),
            Decimal(str(latitude)),
            Decimal(str(longitude)),
        )
        return made


def _comparison(token: Any) -> tuple[str, bool]:
    """Return the operator that a sign means, and whether it is turned around."""
    sign = "!=" if token == "<>" else str(token)
    return next(
        (one.name, one.word != sign)
        for one in criteria.OPERATORS
        if sign in (one.word, one.negated)
    )


def _unquoted(token: Any) -> str:
    text = str(token)
    if text[0] in "'\"":
        return text[1:-1].replace(text[0] * 2, text[0])
    return text


def expression(tree: Criterion) -> str:
    """Write criteria out as an expression in its usual form: read again, it is the same tree."""
    if isinstance(tree, All):
        heads = list(tree.parts)
        tails: list[Criterion] = []
        while len(heads) > 1 and isinstance(heads[-1], Not) and not _has_a_word(heads[-1].part):
            tails.insert(0, heads.pop())
        return "".join(
            [
                " and ".join(map(_bound, heads)),
                *(f" exclude {_bound(one.part)}" for one in tails if isinstance(one, Not)),
            ]
        )
    if isinstance(tree, AnyOf):
        return " or ".join(_bound(one, within=AnyOf) for one in tree.parts)
    return _bound(tree)


def _has_a_word(tree: Criterion) -> bool:
    """Say whether the opposite of a criterion has a word of its own: it is told so, not with
    `exclude`.
    """
    return isinstance(tree, Consent) or (
        isinstance(tree, Comparison | EventCount)
        and _counts_or_tests(tree)
        and bool(BY_NAME[tree.operator].negated)
    )


def _counts_or_tests(tree: Comparison | EventCount) -> bool:
    return isinstance(tree, Comparison) or tree.operator == "equals"


def _bound(tree: Criterion, within: type[Criterion] = All) -> str:
    """Write a criterion so that nothing beside it binds closer."""
    match tree:
        case All():
            inside = " and ".join(map(_bound, tree.parts))
            return inside if within is AnyOf else f"({inside})"
        case AnyOf():
            return f"({' or '.join(_bound(one, within=AnyOf) for one in tree.parts)})"
        case Not():
            return (
                _leaf(tree.part, negated=True)
                if _has_a_word(tree.part)
                else f"not {_bound(tree.part)}"
            )
    return _leaf(tree, negated=False)


def _leaf(tree: Criterion, *, negated: bool) -> str:
    match tree:
        case Comparison():
            return f"{_field_text(tree.field)} {_tail_text(tree.operator, tree.operands, negated=negated)}"
        case EventCount():
            event = _event_text(tree)
            if (tree.operator, tree.counts) == ("at_least", (1,)):
                return event
            return f"count({event}) {_tail_text(tree.operator, tuple(map(Decimal, tree.counts)), negated=negated)}"
        case Consent():
            return f"consent {_name_text(f'{tree.regulation}.{tree.purpose}')} is {'not ' if negated else ''}{tree.state}"
        case InAudience():
            return f"audience {quoted(tree.name)}"
        case Near():
            return f"location within {digits_of(tree.distance)} {tree.unit} of {digits_of(tree.latitude)}, {digits_of(tree.longitude)}"
    raise AssertionError(tree)


def _event_text(tree: EventCount) -> str:
    parts = [
        "event",
        tree.type or "",
        quoted(tree.name) if tree.name is not None else "",
        f"where ({tree.where})" if tree.where else "",
    ]
    if tree.when:
        parts.append(_tail_text(tree.when.operator, tree.when.operands, negated=False))
    return " ".join(filter(None, parts))


def _tail_text(operator: str, operands: Sequence[Operand], *, negated: bool) -> str:
    rule = BY_NAME[operator]
    word = rule.negated if negated else rule.word
    texts = list(map(_operand_text, operands))
    match operator:
        case "among":
            return f"{word} ({', '.join(texts)})"
        case "between":
            return f"{word} {' and '.join(texts)}"
        case "ago":
            return f"{word} {texts[0]} ago"
    return " ".join([word, *texts])


def _operand_text(operand: Operand) -> str:
    if isinstance(operand, Decimal):
        return digits_of(operand)
    return str(operand) if isinstance(operand, Days) else quoted(str(operand))


def quoted(text: str) -> str:
    """Write a text as the expression has it."""
    return "'" + text.replace("'", "''") + "'"


def _field_text(field: CriterionField) -> str:
    if field.kind in ("device", "attribution"):
        return f"{field.kind}.{_name_text(field.name)}"
    if field.kind == "identity":
        return field.name
    if field.kind != "attribute":
        return field.kind
    try:
        plain = criteria.field_of(field.name) == field
    except CriterionFault:
        plain = False
    return _name_text(field.name if plain else f"user_attributes.{field.name}")


def _name_text(name: str) -> str:
    return name if _bare.fullmatch(name) else '"' + name.replace('"', '""') + '"'
