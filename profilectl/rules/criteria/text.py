"""Criteria as an expression: read into the tree of tree.py, and written out again.

    tier = 'gold' and count(event 'purchase' where (price > 10) within 30 days) >= 2
    (email exists or mobile_number exists) and device.platform = 'iOS' exclude audience 'staff'

Texts stand in single quotes (a quote in one is doubled), numbers bare, days and times as
'2024-01-31' or '2024-01-31T12:00Z'. In words:

    TESTS       NAME = != 'text'   NAME in ('a', 'b')   NAME contains | starts with | ends with 'x'
                NAME = != < <= > >= 3    NAME between 1 and 9    NAME matches 'a*b?'
    DATES       NAME before | after | on '2024-01-31'
                NAME between '2024-01-01' and '2024-01-31'
                NAME within 30 days      NAME over 2 weeks ago
    LISTS       NAME includes 'entry'    NAME includes part 'ntr'
    PRESENCE    NAME exists              NAME is empty           NAME is not empty
    EVENTS      event 'purchase'         event screen_view 'Home'        event session_start
                event ... where (price > 10)   ... within 30 days, or another test of DATES
                count(event ...) >= 2    = != < <= > >= between
    THE PERSON  first_seen, last_seen: a test of DATES           environment = 'production'
                consent gdpr.marketing is granted | denied | unknown
                device.platform          attribution.campaign    audience 'vip'
                location within 10 km of 52.52, 13.405

NAME is an attribute (`tier`, `$City`, `"Favourite colour"`), calculated or not, or an identity type
(`email`). `not` stands before any of it, and before the words of a test (`not contains`). `and`
binds closer than `or`, and `exclude` less than both: A or B exclude C is (A or B) and not C. Words
may be in upper case.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

from profilectl.codes import UsageError
from profilectl.rules.criteria import tree as criteria
from profilectl.rules.criteria.operators import BY_NAME, OPERATORS
from profilectl.rules.criteria.tree import (
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

if TYPE_CHECKING:
    from lark import Lark

T = TypeVar("T")

# fmt: off
WORDS = (
    "and", "or", "not", "exclude", "in", "is", "contains", "starts", "ends", "with", "matches",
    "between", "before", "after", "on", "within", "over", "ago", "includes", "part", "exists",
    "empty", "event", "count", "where", "audience", "consent", "device", "attribution",
    "first_seen", "last_seen", "environment", "location", "of",
)
# fmt: on
"""The words of the language: an attribute with such a name is written in double quotes."""

_NOT_A_WORD = rf"(?!({'|'.join(WORDS)})(?![\w$]))"
_BARE = rf"{_NOT_A_WORD}[^\W\d][\w.$]*|\$[\w.$]+"
_bare = re.compile(_BARE, re.IGNORECASE)

# A rule that begins with _ has no node of its own: its parts belong to the node above it.
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


# A refresh asks for its audiences each time that it opens the store: 0.5 ms for each expression.
@functools.lru_cache(maxsize=256)
def criterion_of(text: str) -> Criterion:
    """Read an expression. Raises UsageError, with a mark at the character that is wrong."""
    from lark.exceptions import UnexpectedEOF, UnexpectedInput, UnexpectedToken

    try:
        # Places in the blanked text are places in the text, so faults are shown where they are.
        blanked, conditions = _without_conditions(text)
        parsed = cast(CriteriaNode, _parser().parse(blanked))
        tree = _Reader(text, conditions).tree(parsed)
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
    """Return the error of an expression that is wrong at a character, from 0."""
    return UsageError(
        f"the criteria are not understood at character {at + 1}: {marked(text, at)}",
        what or "for example tier = 'gold' and count(event 'purchase' within 30 days) >= 2",
    )


def marked(text: str, at: int) -> str:
    """Return an expression with a mark at a character, without the parts far from it."""
    return f"{_shortened(text[:at], head=False)}>>>{_shortened(text[at:], head=True)}"


def _shortened(text: str, *, head: bool, longest: int = 60) -> str:
    if len(text) <= longest:
        return text
    return f"{text[:longest]}..." if head else f"...{text[-longest:]}"


def _advice(text: str, at: int) -> str:
    """Return what the writer likely meant at a character, or an empty text."""
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


# lark is loaded with the first expression: most commands read none.
@functools.cache
def _parser() -> Lark:
    from lark import Lark

    return Lark(GRAMMAR, parser="lalr", maybe_placeholders=True, propagate_positions=True)


class Placed(Protocol):
    """A part of an expression."""

    start_pos: int
    """The place of its first character, from 0."""


class CriteriaToken(Placed, Protocol):
    """A token of an expression; str() of it is its text."""

    type: str
    """Its name in the grammar."""


class CriteriaNode(Protocol):
    """A node of the tree that the parser makes."""

    data: str
    """The name of its rule in the grammar."""
    children: Sequence[Any]
    """The nodes and tokens below it; None for an optional one that is not there."""
    meta: Placed
    """Its place in the expression."""


class _Wrong(CriterionFault):
    """A fault at a character."""

    def __init__(self, at: int, what: str) -> None:
        super().__init__(what)
        self.at = at


_pieces = re.compile(r"""'(?:[^']|'')*'|"(?:[^"]|"")+"|\bwhere\s*\(|[()]""", re.IGNORECASE)


def _without_conditions(text: str) -> tuple[str, dict[int, str]]:
    """Blank out the conditions in `where (...)`, which have a grammar of their own.

    Returns the text, as long as before, and the conditions by the place of their opening bracket.
    Raises _Wrong if a bracket is not closed.
    """
    blanked, conditions = text, {}
    opened, depth = -1, 0
    # Quoted texts are pieces of their own: a bracket within quotes opens nothing.
    for piece in _pieces.finditer(text):
        word = piece[0]
        if word.endswith("(") and word[0] not in "'\"":
            if opened < 0 and word != "(":
                opened, depth = piece.end() - 1, 0
            depth += 1
        elif word == ")" and opened >= 0:
            depth -= 1
            if not depth:
                start, end = opened + 1, piece.start()
                conditions[opened] = text[start:end]
                # A character for private use: CONDITION in the grammar is a run of it.
                blanked = blanked[:start] + "\ue000" * (end - start) + blanked[end:]
                opened = -1
    if opened >= 0:
        raise _Wrong(opened, "this bracket is not closed")
    return blanked, conditions


def _at(place: Placed | list[CriteriaToken], make: Callable[[], T]) -> T:
    """Return the part of the tree that `make` makes.

    Raises _Wrong for a fault of it: at the token `place`, or at the token of the operand at fault.
    """
    try:
        return make()
    except _Wrong:
        raise
    except CriterionFault as error:
        token = place[error.operand] if isinstance(place, list) else place
        raise _Wrong(int(token.start_pos), str(error)) from None


class _Reader:
    """Makes the tree of tree.py from the parser's.

    text: the expression. conditions: its conditions on events (_without_conditions).
    """

    def __init__(self, text: str, conditions: dict[int, str]) -> None:
        self.text = text
        self.conditions = conditions

    def tree(self, node: CriteriaNode) -> Criterion:
        match node.data:
            case "start":
                return self.tree(node.children[0])
            case "excluding":
                included, *excluded = map(self.tree, node.children)
                if not excluded:
                    return included
                return criteria.all_of([included, *map(criteria.not_, excluded)])
            case "any":
                return criteria.any_of(map(self.tree, node.children))
            case "all":
                return criteria.all_of(map(self.tree, node.children))
            case "negation":
                return criteria.not_(self.tree(node.children[0]))
        return self._leaf(node)

    def _leaf(self, node: CriteriaNode) -> Criterion:
        """Read a criterion that is no combination."""
        match node.data:
            case "tested":
                return self._test(*node.children)
            case "tested_not":
                return criteria.not_(self._test(*node.children))
            case "happened":
                return self._event(node.children[0])
            case "counted":
                return self._counted(*node.children)
            case "audience":
                return InAudience(_unquoted(node.children[0]))
            case "consent" | "consent_not":
                purpose, state = node.children
                consent = _at(
                    purpose, lambda: criteria.consent(_unquoted(purpose), str(state).lower())
                )
                return criteria.not_(consent) if node.data == "consent_not" else consent
        return self._near(*node.children)

    def _test(self, field: CriteriaNode, test: CriteriaNode) -> Criterion:
        tested = self._field(field)
        operator, negated = str(test.data), False
        tokens = list(test.children)
        if operator == "compared":
            operator, negated = _comparison(tokens.pop(0))
        elif operator == "empty":
            operator, negated = "filled", True
        operands = [self._operand(token, operator) for token in tokens]
        comparison = _at(
            tokens or field.meta, lambda: criteria.comparison(tested, operator, operands)
        )
        return criteria.not_(comparison) if negated else comparison

    def _field(self, node: CriteriaNode) -> CriterionField:
        if not node.children:
            return CriterionField(str(node.data))
        name = node.children[0]
        field_of = {
            "named": criteria.field_of,
            "device": criteria.device_field,
            "attribution": criteria.attribution_field,
        }[str(node.data)]
        return _at(name, lambda: field_of(_unquoted(name)))

    def _operand(self, token: CriteriaToken, operator: str) -> Operand:
        if token.type == "NUMBER":
            return Decimal(str(token))
        if token.type == "SPAN":
            return self._span(token)
        takes = BY_NAME[operator].takes
        if "time" in takes or "day" in takes:
            return self._moment(token)
        return _unquoted(token)

    def _moment(self, token: CriteriaToken) -> Moment:
        moment = moment_of(_unquoted(token))
        if moment is None:
            raise _Wrong(
                token.start_pos, "a day is written '2024-01-31', a time '2024-01-31T12:00Z'"
            )
        return moment

    def _span(self, token: CriteriaToken) -> Days:
        span = days_of(str(token))
        if span is None:
            raise _Wrong(token.start_pos, "a span is written 30 days, 30d or 2 weeks")
        return span

    def _event(
        self, node: CriteriaNode, operator: str = "at_least", counts: Sequence[int] = (1,)
    ) -> EventCount:
        kind, name, condition, recency = node.children
        if kind is not None and _unquoted(kind).lower() not in EVENT_TYPES:
            raise _Wrong(
                kind.start_pos,
                f"{kind} is no type of event ({', '.join(EVENT_TYPES)}); the name of an event"
                " stands in single quotes",
            )
        return criteria.happened(
            _unquoted(kind).lower() if kind is not None else None,
            _unquoted(name) if name is not None else None,
            self._condition(condition) if condition is not None else "",
            when=self._when(recency) if recency is not None else None,
            operator=operator,
            counts=tuple(counts),
        )

    def _when(self, node: CriteriaNode) -> criteria.When:
        operator = str(node.data)
        operands = [self._operand(token, operator) for token in node.children]
        return _at(list(node.children), lambda: criteria.when(operator, operands))

    def _condition(self, token: CriteriaToken) -> str:
        """Return the condition in the brackets at a token.

        Raises _Wrong, at the character that is wrong in the condition.
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

    def _counted(self, event: CriteriaNode, test: CriteriaNode) -> Criterion:
        tokens, operator, negated = list(test.children), str(test.data), False
        if operator == "compared":
            operator, negated = _comparison(tokens.pop(0))
        for token in tokens:
            if not re.fullmatch("[0-9]{1,18}", str(token)):
                raise _Wrong(token.start_pos, "events are counted in whole numbers")
        counts = [int(token) for token in tokens]
        count = _at(tokens, lambda: self._event(event, operator, counts))
        return criteria.not_(count) if negated else count

    def _near(
        self, distance: CriteriaToken, latitude: CriteriaToken, longitude: CriteriaToken
    ) -> Criterion:
        match = re.match(r"([0-9.]+)\s*(.+)", str(distance))
        assert match is not None
        number, unit = Decimal(match[1]), match[2].lower()
        return _at(
            [distance, latitude, longitude],
            lambda: criteria.near(
                number, unit, latitude=Decimal(str(latitude)), longitude=Decimal(str(longitude))
            ),
        )


def _comparison(token: CriteriaToken) -> tuple[str, bool]:
    """Return the operator that a sign means, and whether it is turned around."""
    sign = str(token)
    if sign == "<>":
        sign = "!="
    return next(
        (operator.name, operator.word != sign)
        for operator in OPERATORS
        if sign in (operator.word, operator.negated)
    )


def _unquoted(token: CriteriaToken) -> str:
    text = str(token)
    if text[0] in "'\"":
        return text[1:-1].replace(text[0] * 2, text[0])
    return text


def expression(tree: Criterion) -> str:
    """Return criteria as an expression in its usual form: the opposite of criterion_of."""
    if isinstance(tree, All):
        heads = list(tree.parts)
        tails: list[Criterion] = []
        # The last parts of an All that are opposites without a word of their own read as exclude.
        while len(heads) > 1 and isinstance(heads[-1], Not) and not _has_a_word(heads[-1].part):
            tails.insert(0, heads.pop())
        return "".join(
            [
                " and ".join(map(_bound, heads)),
                *(f" exclude {_bound(part.part)}" for part in tails if isinstance(part, Not)),
            ]
        )
    if isinstance(tree, AnyOf):
        return " or ".join(_bound(part, within=AnyOf) for part in tree.parts)
    return _bound(tree)


def _has_a_word(tree: Criterion) -> bool:
    """Return whether the opposite of a criterion has a word of its own, and needs no `exclude`."""
    return isinstance(tree, Consent) or (
        isinstance(tree, Comparison | EventCount)
        and _counts_or_tests(tree)
        and bool(BY_NAME[tree.operator].negated)
    )


# Of tests on counts only `=` has an opposite that the grammar knows.
def _counts_or_tests(tree: Comparison | EventCount) -> bool:
    return isinstance(tree, Comparison) or tree.operator == "equals"


def _bound(tree: Criterion, within: type[Criterion] = All) -> str:
    """Return a criterion as text that nothing beside it binds closer than."""
    match tree:
        case All():
            inside = " and ".join(map(_bound, tree.parts))
            return inside if within is AnyOf else f"({inside})"
        case AnyOf():
            return f"({' or '.join(_bound(part, within=AnyOf) for part in tree.parts)})"
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
            test = _test_text(tree.operator, tree.operands, negated=negated)
            return f"{_field_text(tree.field)} {test}"
        case EventCount():
            event = _event_text(tree)
            if (tree.operator, tree.counts) == ("at_least", (1,)):
                return event
            counts = tuple(map(Decimal, tree.counts))
            return f"count({event}) {_test_text(tree.operator, counts, negated=negated)}"
        case Consent():
            purpose = _name_text(f"{tree.regulation}.{tree.purpose}")
            return f"consent {purpose} is {'not ' if negated else ''}{tree.state}"
        case InAudience():
            return f"audience {quoted(tree.name)}"
        case Near():
            point = f"{digits_of(tree.latitude)}, {digits_of(tree.longitude)}"
            return f"location within {digits_of(tree.distance)} {tree.unit} of {point}"
    raise AssertionError(tree)


def _event_text(tree: EventCount) -> str:
    parts = [
        "event",
        tree.type or "",
        quoted(tree.name) if tree.name is not None else "",
        f"where ({tree.where})" if tree.where else "",
    ]
    if tree.when:
        parts.append(_test_text(tree.when.operator, tree.when.operands, negated=False))
    return " ".join(filter(None, parts))


def _test_text(operator: str, operands: Sequence[Operand], *, negated: bool) -> str:
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
    """Return a text as the expression has it."""
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
