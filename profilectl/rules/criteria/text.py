"""Criteria as an expression: read into the tree of tree.py, and written out again.

    tier = 'gold' and count(event 'purchase' where (price > 10) within 30 days) >= 2
    (email exists or mobile_number exists) and device.platform = 'iOS' exclude audience 'staff'

This is the language of `--where` too (reading/where.py); events are tested with the same tests
(event/condition.py). The grammar is that of grammar.py. Texts stand in single quotes (a quote in
one is doubled), numbers and `true` and `false` bare, days and times as '2024-01-31' or
'2024-01-31T12:00Z'. In words:

    TESTS       NAME = != < <= > >= 'text'     NAME in ('a', 'b')     NAME matches 'a*b?'
                NAME contains | starts with | ends with 'x'
                NAME = != < <= > >= 3          NAME between 1 and 9   NAME = != true
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
                device.platform          limit_ad_tracking       attribution.campaign
                audience 'vip'           location within 10 km of 52.52, 13.405

NAME is an attribute (`tier`, `$City`, `"Favourite colour"`), calculated or not, or an identity type
(`email`). `not` stands before any of it, and before the words of a test (`not contains`). `and`
binds closer than `or`, and `exclude` less than both: A or B exclude C is (A or B) and not C. Words
may be in upper case. `is null` is another way to write `not exists`, `is not null` one for
`exists`, and `like 'g%'` one for `matches 'g*'`.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TypeVar

from profilectl.codes import UsageError
from profilectl.rules.criteria import tree as criteria
from profilectl.rules.criteria.grammar import (
    BARE,
    WORDS,
    CriteriaNode,
    CriteriaToken,
    NotUnderstood,
    Placed,
    comparison_meant,
    number_of,
    parsed,
    pattern_of_like,
    tested_by,
    unquoted,
)
from profilectl.rules.criteria.operators import BY_NAME
from profilectl.rules.criteria.tree import (
    All,
    AnyOf,
    Comparison,
    Consent,
    Criterion,
    CriterionFault,
    CriterionField,
    EventCount,
    FaultAt,
    InAudience,
    Near,
    Not,
    Operand,
    digits_of,
)
from profilectl.rules.event.condition import condition_text
from profilectl.rules.event.event import EVENT_TYPES
from profilectl.rules.text.moments import Days, Moment, days_of, moment_of
from profilectl.rules.text.naming import instead

T = TypeVar("T")

_bare = re.compile(BARE, re.IGNORECASE)
_regular = re.compile(r"^\^|\$$|\\|[.][*+?]|\[[^\]]*\]|\(.*\)|\{[0-9,]+\}|[^|]\|[^|]")
"""What a regular expression has, and a pattern hardly ever."""
REGULAR = "matches takes a pattern with * and ? for the whole text: 'g*' for '^g', '*an*' for 'an'"
WITHOUT_STARS = "matches takes a pattern for the whole text: write contains, or put * around it"
LIKE_WITH_STARS = "* and ? stand for any text in a pattern: write contains or starts with"
TRUTH = "true and false are compared by = and != only"


@dataclass(frozen=True, slots=True)
class Use:
    """A place where conditions on people are written."""

    title: str
    """Its name in messages, with its verb."""
    example: str
    """What to write there."""
    has_own_fields: bool = False
    """Whether names of tree.OWN_FIELDS are those, and no attributes."""
    was_regular: bool = False
    """Whether `matches` took a regular expression once: a pattern that may be one is refused."""


CRITERIA = Use(
    "the criteria are",
    "for example tier = 'gold' and count(event 'purchase' within 30 days) >= 2",
)
"""The criteria of audiences."""
WHERE = Use(
    "the condition is",
    "for example tier = 'gold' and visits >= 3; a text stands in single quotes",
    has_own_fields=True,
    was_regular=True,
)
"""The option --where of a search, an export and a push."""


# A refresh asks for its audiences each time that it opens the store: 0.5 ms for each expression.
@functools.lru_cache(maxsize=256)
def criterion_of(text: str, use: Use = CRITERIA) -> Criterion:
    """Read an expression. Raises UsageError, with a mark at the character that is wrong."""
    try:
        # Places in the blanked text are places in the text, so faults are shown where they are.
        blanked, conditions = _without_conditions(text)
        tree = _Reader(text, conditions, use).tree(parsed(blanked, "person").children[0])
        criteria.check_depth(tree)
    except NotUnderstood as error:
        raise misread(text, error.at, _advice(text, error.at), use=use) from None
    except FaultAt as error:
        raise misread(text, error.at, str(error), use=use) from None
    except CriterionFault as error:
        raise UsageError(f"{use.title.rpartition(' ')[0]} cannot be: {error}") from None
    except RecursionError:
        raise UsageError(f"{use.title} nested too deep", "take brackets away") from None
    return tree


def misread(text: str, at: int, what: str, use: Use = CRITERIA) -> UsageError:
    """Return the error of an expression that is wrong at a character, from 0."""
    return UsageError(
        f"{use.title} not understood at character {at + 1}: {marked(text, at)}", what or use.example
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


_pieces = re.compile(r"""'(?:[^']|'')*'|"(?:[^"]|"")+"|\bwhere\s*\(|[()]""", re.IGNORECASE)


def _without_conditions(text: str) -> tuple[str, dict[int, str]]:
    """Blank out the conditions in `where (...)`, which have a grammar of their own.

    Returns the text, as long as before, and the conditions by the place of their opening bracket.
    Raises FaultAt if a bracket is not closed.
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
        raise FaultAt(opened, "this bracket is not closed")
    return blanked, conditions


def _at(place: Placed | list[CriteriaToken], make: Callable[[], T]) -> T:
    """Return the part of the tree that `make` makes.

    Raises FaultAt for a fault of it: at the token `place`, or at the token of the operand at fault.
    """
    try:
        return make()
    except FaultAt:
        raise
    except CriterionFault as error:
        token = place[error.operand] if isinstance(place, list) else place
        raise FaultAt(int(token.start_pos), str(error)) from None


class _Reader:
    """Makes the tree of tree.py from the parser's.

    text: the expression. conditions: its conditions on events (_without_conditions). use: the place
    where it is written.
    """

    def __init__(self, text: str, conditions: dict[int, str], use: Use) -> None:
        self.text = text
        self.conditions = conditions
        self.use = use

    def tree(self, node: CriteriaNode) -> Criterion:
        match node.data:
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
                return InAudience(unquoted(node.children[0]))
            case "consent" | "consent_not":
                purpose, state = node.children
                consent = _at(
                    purpose, lambda: criteria.consent(unquoted(purpose), str(state).lower())
                )
                return criteria.not_(consent) if node.data == "consent_not" else consent
        return self._near(*node.children)

    def _test(self, field: CriteriaNode, test: CriteriaNode) -> Criterion:
        tested = self._field(field)
        operator, tokens, negated = tested_by(test)
        operands = [
            self._pattern(str(test.data), token)
            if operator == "matches"
            else self._operand(token, operator)
            for token in tokens
        ]
        if operator == "among" and tested.kind == "environment":
            return criteria.any_of(
                _at(token, functools.partial(criteria.comparison, tested, "equals", [operand]))
                for token, operand in zip(tokens, operands, strict=True)
            )
        comparison = _at(
            tokens or field.meta, lambda: criteria.comparison(tested, operator, operands)
        )
        return criteria.not_(comparison) if negated else comparison

    def _field(self, node: CriteriaNode) -> CriterionField:
        if not node.children:
            return CriterionField(str(node.data))
        name = node.children[0]
        text = unquoted(name)
        if self.use.has_own_fields and text in criteria.OWN_FIELDS:
            # in double quotes it is the attribute of that name
            return CriterionField(text) if str(name) == text else criteria.attribute(text)
        field_of = {
            "named": criteria.field_of,
            "device": criteria.device_field,
            "attribution": criteria.attribution_field,
        }[str(node.data)]
        return _at(name, lambda: field_of(text))

    def _pattern(self, word: str, token: CriteriaToken) -> str:
        """Return the pattern that a test means, as `matches` takes it.

        Raises FaultAt for one of another language.
        """
        text = unquoted(token)
        if word == "like":
            pattern = pattern_of_like(text)
            if pattern is None:
                raise FaultAt(token.start_pos, LIKE_WITH_STARS)
            return pattern
        if self.use.was_regular and _regular.search(text):
            raise FaultAt(token.start_pos, REGULAR)
        if self.use.was_regular and not re.search("[*?]", text):
            raise FaultAt(token.start_pos, WITHOUT_STARS)
        return text

    def _operand(self, token: CriteriaToken, operator: str) -> Operand:
        if token.type == "NUMBER":
            return number_of(token)
        if token.type == "SPAN":
            return self._span(token)
        if token.type == "BOOLEAN":
            if operator not in ("equals", "among", "includes"):
                raise FaultAt(token.start_pos, TRUTH)
            return str(token).lower()
        takes = BY_NAME[operator].takes
        if "time" in takes or "day" in takes:
            return self._moment(token)
        return unquoted(token)

    def _moment(self, token: CriteriaToken) -> Moment:
        moment = moment_of(unquoted(token))
        if moment is None:
            raise FaultAt(
                token.start_pos, "a day is written '2024-01-31', a time '2024-01-31T12:00Z'"
            )
        return moment

    def _span(self, token: CriteriaToken) -> Days:
        span = days_of(str(token))
        if span is None:
            raise FaultAt(token.start_pos, "a span is written 30 days, 30d or 2 weeks")
        return span

    def _event(
        self, node: CriteriaNode, operator: str = "at_least", counts: Sequence[int] = (1,)
    ) -> EventCount:
        kind, name, condition, recency = node.children
        if kind is not None and unquoted(kind).lower() not in EVENT_TYPES:
            raise FaultAt(
                kind.start_pos,
                f"{kind} is no type of event: "
                + instead(kind, EVENT_TYPES, f"one of {', '.join(EVENT_TYPES)}")
                + "; the name of an event stands in single quotes",
            )
        return criteria.happened(
            unquoted(kind).lower() if kind is not None else None,
            unquoted(name) if name is not None else None,
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

        Raises FaultAt, at the character that is wrong in the condition.
        """
        text = self.conditions[token.start_pos]
        try:
            return condition_text(text)
        except UsageError as error:
            at = re.search("at character ([0-9]+):", error.message)
            raise FaultAt(
                token.start_pos + (int(at[1]) if at else 1),
                f"in the condition on the event: {error.hint}",
            ) from None

    def _counted(self, event: CriteriaNode, test: CriteriaNode) -> Criterion:
        tokens, operator, negated = list(test.children), str(test.data), False
        if operator == "compared":
            operator, negated = comparison_meant(tokens.pop(0))
        for token in tokens:
            if not re.fullmatch("[0-9]{1,18}", str(token)):
                raise FaultAt(token.start_pos, "events are counted in whole numbers")
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
                number, unit, latitude=number_of(latitude), longitude=number_of(longitude)
            ),
        )


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
