"""Criteria as TOML: read into the tree of tree.py, and written out again.

    [audiences.gold_buyers]
    all = [
        { attribute = "tier", equals = "gold" },
        { event = "purchase", where = "price > 10", within = "30 days", at_least = 2 },
    ]
    exclude = [ { audience = "staff" } ]

A table is one criterion or a combination. A combination has `all`, `any` and `exclude`, or some of
them, each a list of tables: all of `all`, at least one of `any`, and none of `exclude`. A criterion
names what it tests, and has one operator of operators.OPERATORS (column TOML):

    { attribute = "tier", equals = "gold" }         { attribute = "visits", between = [1, 9] }
    { attribute = "sizes", includes = "40" }        { identity = "email", exists = true }
    { attribute = "joined", after = "2024-01-01" }  { attribute = "nickname", filled = false }
    { device = "platform", in = ["iOS", "tvOS"] }   { attribution = "campaign", matches = "sp*" }
    { first_seen = { before = "2024-01-01" } }      { last_seen = { ago = "30 days" } }
    { environment = "production" }                  { audience = "vip" }
    { consent = "gdpr.marketing", is = "granted" }
    { location = { within = "10 km", of = [52.52, 13.405] } }

A criterion of events has `event` (the name) and `event_type`, at least one of them (`event_type =
"any"` is every type); `where`, a condition on the event; one of within, ago, before, after, on,
between (dates); and one of at_least (1 if there is none), at_most, more_than, less_than, times,
not_times, times_between.

Text compares as text, a number as a number. Dates may be TOML dates. A number keeps all its digits
if the file is read with `parse_float=decimal.Decimal`.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal

from profilectl.codes import UsageError
from profilectl.rules.criteria import tree as criteria
from profilectl.rules.criteria.operators import BY_NAME, OPERATORS
from profilectl.rules.criteria.tree import (
    CONSENT_STATES,
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

Table = Mapping[str, object]
"""A table of TOML."""

COMBINATIONS = ("all", "any", "exclude")
# fmt: off
SUBJECTS = (
    # the keys that a criterion may begin with
    "attribute", "identity", "device", "attribution", "first_seen", "last_seen", "environment",
    "event", "event_type", "audience", "consent", "location",
)
TIMES_KEYS = {
    # how often an event happened: (operator, negated)
    "at_least":      ("at_least", False),
    "at_most":       ("at_most",  False),
    "more_than":     ("more",     False),
    "less_than":     ("less",     False),
    "times":         ("equals",   False),
    "not_times":     ("equals",   True),
    "times_between": ("between",  False),
}
# fmt: on
_KEYS: Mapping[str, tuple[str, bool]] = {
    key: (operator.name, negated)
    for operator in OPERATORS
    for key, negated in ((operator.key, False), (operator.negated_key, True))
    if key
}
"""Key -> (operator, negated)."""
_TIMES_KEY = {operator: key for key, operator in TIMES_KEYS.items()}


def criterion_in(table: Table, path: str = "") -> Criterion:
    """Read the criteria in a TOML table.

    path: its name in messages (`audiences.vip`). Raises UsageError, naming the place:
    `all[2].equals`.
    """
    try:
        tree = _read(table, path)
        criteria.check_depth(tree)
    except _Misplaced as error:
        raise UsageError(f"{error.place or 'the criteria'}: {error}", error.hint) from None
    except CriterionFault as error:
        raise UsageError(f"{path or 'the criteria'}: {error}") from None
    except RecursionError:
        raise UsageError(f"{path or 'the criteria'}: nested too deep") from None
    return tree


class _Misplaced(CriterionFault):
    """A fault at a place in the table."""

    def __init__(self, place: str, what: str, hint: str = "") -> None:
        super().__init__(what)
        self.place = place
        self.hint = hint


def _below(path: str, key: str | int) -> str:
    return f"{path}[{key}]" if isinstance(key, int) else f"{path}.{key}" if path else key


def _read(table: object, path: str) -> Criterion:
    """Read one criterion or a combination."""
    if not isinstance(table, Mapping):
        raise _Misplaced(
            path,
            'a criterion is a table such as { attribute = "tier", equals = "gold" },'
            f" not {table!r}",
        )
    if set(COMBINATIONS).intersection(table):
        return _combination(table, path)
    subjects = [key for key in SUBJECTS if key in table]
    if not subjects:
        raise _Misplaced(
            path,
            f"a criterion names what it looks at: {', '.join(SUBJECTS)}; or it combines others:"
            f" {', '.join(COMBINATIONS)}",
        )
    try:
        # event and event_type may stand together; any other two subjects are two criteria.
        if subjects[0] in ("event", "event_type"):
            return _events(table, path)
        if len(subjects) > 1:
            raise _Misplaced(
                path, f"{subjects[0]} and {subjects[1]} are two criteria: write two tables"
            )
        return _leaf(table, subjects[0], path)
    except _Misplaced:
        raise
    except CriterionFault as error:
        raise _Misplaced(path, str(error)) from None


def _combination(table: Table, path: str) -> Criterion:
    _check_keys(table, COMBINATIONS, path)
    parts: dict[str, list[Criterion]] = {}
    for key in COMBINATIONS:
        listed = table.get(key, [])
        if (
            not isinstance(listed, Sequence)
            or isinstance(listed, str)
            or (key in table and not listed)
        ):
            raise _Misplaced(_below(path, key), "must be a list of criteria, at least one")
        parts[key] = [
            _read(part, _below(_below(path, key), place))
            for place, part in enumerate(listed, start=1)
        ]
    alternatives = [criteria.any_of(parts["any"])] if parts["any"] else []
    return criteria.all_of([*parts["all"], *alternatives, *map(criteria.not_, parts["exclude"])])


def _check_keys(keys: Table | Sequence[str], allowed: Sequence[str], path: str) -> None:
    for key in keys:
        if key not in allowed:
            raise _Misplaced(
                _below(path, key), f"not known here; there may be {', '.join(allowed)}"
            )


def _leaf(table: Table, subject: str, path: str) -> Criterion:
    """Read a criterion of anything but events; subject: the key that it begins with."""
    value, place = table[subject], _below(path, subject)
    match subject:
        case "first_seen" | "last_seen":
            _check_keys(table, [subject], path)
            return _tested(CriterionField(subject), _table(value, place), place)
        case "environment":
            _check_keys(table, [subject], path)
            return criteria.comparison(CriterionField(subject), "equals", [_text(value, place)])
        case "audience":
            _check_keys(table, [subject], path)
            return InAudience(_text(value, place))
        case "consent":
            return _consent(table, _text(value, place), path)
        case "location":
            _check_keys(table, [subject], path)
            return _near(_table(value, place), place)
    test = {key: operand for key, operand in table.items() if key != subject}
    return _tested(_field(subject, _text(value, place)), test, path)


def _field(subject: str, name: str) -> CriterionField:
    match subject:
        case "attribute":
            return criteria.attribute(name)
        case "device":
            return criteria.device_field(name)
        case "attribution":
            return criteria.attribution_field(name)
    return criteria.identity(name)


def _tested(field: CriterionField, test: Table, path: str) -> Criterion:
    """Read a test of a field; test: the operator with its operands."""
    applying = [
        key for key, (operator, _) in _KEYS.items() if operator in criteria.FIELDS[field.kind]
    ]
    _check_keys(test, applying, path)
    if len(test) != 1:
        raise _Misplaced(path, f"takes one of {', '.join(applying)}, not {len(test)} of them")
    ((key, value),) = test.items()
    place = _below(path, key)
    operator, negated = _KEYS[key]
    rule = BY_NAME[operator]
    if rule.count == 0:
        if not isinstance(value, bool):
            raise _Misplaced(place, "must be true or false")
        presence = criteria.comparison(field, operator)
        return presence if value else criteria.not_(presence)
    operands = value if isinstance(value, list) and rule.count != 1 else [value]
    try:
        comparison = criteria.comparison(
            field, operator, [_operand(operand, rule.takes, place) for operand in operands]
        )
    except _Misplaced:
        raise
    except CriterionFault as error:
        raise _Misplaced(place, str(error)) from None
    return criteria.not_(comparison) if negated else comparison


def _operand(value: object, takes: Sequence[str], place: str) -> Operand:
    """Read an operand as the kind that its operator takes. Raises _Misplaced."""
    # A boolean compares as the text that values have for it (domain.md 2.2).
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float | Decimal):
        return _number(value, place)
    text = value.isoformat() if isinstance(value, datetime.date) else value
    if not isinstance(text, str):
        raise _Misplaced(place, f"must be a text or a number, not {text!r}")
    if "span" in takes:
        span = days_of(text)
        if span is None:
            raise _Misplaced(place, 'a span is written "30 days", "30d" or "2 weeks"')
        return span
    if "time" in takes or "day" in takes:
        moment = moment_of(text)
        if moment is None:
            raise _Misplaced(place, 'a day is written "2024-01-31", a time "2024-01-31T12:00Z"')
        return moment
    return text


def _number(value: float | Decimal, place: str) -> Decimal:
    # The digits that were written, not those of the binary float.
    number = Decimal(repr(value) if isinstance(value, float) else value)
    if not number.is_finite():
        raise _Misplaced(place, "must be a number with digits")
    return number


def _text(value: object, place: str) -> str:
    if not isinstance(value, str):
        raise _Misplaced(place, f"must be a text, not {value!r}")
    return value


def _table(value: object, place: str) -> Table:
    if not isinstance(value, Mapping):
        raise _Misplaced(place, f"must be a table, not {value!r}")
    return value


def _consent(table: Table, purpose: str, path: str) -> Criterion:
    _check_keys(table, ("consent", "is", "is_not"), path)
    keys = [key for key in ("is", "is_not") if key in table]
    if len(keys) != 1:
        raise _Misplaced(path, f"consent `is` or `is_not` one of {', '.join(CONSENT_STATES)}")
    state = _text(table[keys[0]], _below(path, keys[0])).lower()
    consent = criteria.consent(purpose, state)
    return consent if keys[0] == "is" else criteria.not_(consent)


def _near(table: Table, path: str) -> Criterion:
    _check_keys(table, ("within", "of"), path)
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([a-z]+)", str(table.get("within")).lower())
    point = table.get("of")
    if match is None:
        raise _Misplaced(
            _below(path, "within"), 'a distance is written "10 km", "500 m" or "2.5 mi"'
        )
    if (
        not isinstance(point, list)
        or len(point) != 2
        or not all(isinstance(degrees, int | float | Decimal) for degrees in point)
    ):
        raise _Misplaced(_below(path, "of"), "must be a latitude and a longitude: [52.52, 13.405]")
    latitude, longitude = (_operand(degrees, ("number",), _below(path, "of")) for degrees in point)
    assert isinstance(latitude, Decimal)
    assert isinstance(longitude, Decimal)
    return criteria.near(Decimal(match[1]), match[2], latitude=latitude, longitude=longitude)


def _events(table: Table, path: str) -> Criterion:
    """Read a criterion of events."""
    _check_keys(table, ("event", "event_type", "where", *criteria.TIMES, *TIMES_KEYS), path)
    name = _text(table["event"], _below(path, "event")) if "event" in table else None
    kind = _event_type(table, path)
    condition = _condition(table, path)
    # `between` belongs to recency (dates); a range of counts is times_between.
    recency = [key for key in criteria.TIMES if key in table]
    frequency = [key for key in TIMES_KEYS if key in table]
    for keys in (recency, frequency):
        if len(keys) > 1:
            raise _Misplaced(path, f"{keys[0]} and {keys[1]} do not go together: write two tables")
    when = _when(table, recency[0], path) if recency else None
    operator, negated = TIMES_KEYS[frequency[0]] if frequency else ("at_least", False)
    count = criteria.happened(
        kind,
        name,
        condition,
        when=when,
        operator=operator,
        counts=_counts(table, frequency[0], path) if frequency else (1,),
    )
    return criteria.not_(count) if negated else count


def _event_type(table: Table, path: str) -> str | None:
    """Return the type of the events, or None for any."""
    if "event_type" not in table:
        return None
    place = _below(path, "event_type")
    kind = _text(table["event_type"], place).lower()
    if kind != "any" and kind not in EVENT_TYPES:
        raise _Misplaced(place, f"{kind} is none of any, {', '.join(EVENT_TYPES)}")
    return None if kind == "any" else kind


def _condition(table: Table, path: str) -> str:
    """Return the condition on the event, or an empty text."""
    if "where" not in table:
        return ""
    place = _below(path, "where")
    text = _text(table["where"], place)
    try:
        return condition_text(text)
    except UsageError as error:
        raise _Misplaced(place, error.message, error.hint) from None


def _when(table: Table, key: str, path: str) -> criteria.When:
    """Return when the events happened; key: the operator of recency."""
    value = table[key]
    takes = [kind for kind in BY_NAME[key].takes if kind != "number"]
    operands = value if isinstance(value, list) and key == "between" else [value]
    return criteria.when(key, [_operand(operand, takes, _below(path, key)) for operand in operands])


def _counts(table: Table, key: str, path: str) -> tuple[int, ...]:
    """Return how often the events happened; key: the operator of frequency."""
    value = table[key]
    listed = value if isinstance(value, list) else [value]
    if not all(
        isinstance(count, int) and not isinstance(count, bool) and 0 <= count < 10**18
        for count in listed
    ):
        raise _Misplaced(_below(path, key), "events are counted in whole numbers")
    return tuple(listed)


def table_of(tree: Criterion) -> dict[str, object]:
    """Return criteria as a TOML table: the opposite of criterion_in.

    Numbers are Decimal or int.
    """
    match tree:
        case All():
            return _all_table(tree)
        case AnyOf():
            return {"any": [table_of(part) for part in tree.parts]}
        case Not():
            return _leaf_table(tree.part, negated=True) or {"exclude": [table_of(tree.part)]}
    table = _leaf_table(tree, negated=False)
    assert table is not None
    return table


def _all_table(tree: All) -> dict[str, object]:
    """Return a combination; opposites at its end that no key can say stand under `exclude`."""
    heads = list(tree.parts)
    tails: list[dict[str, object]] = []
    # Only at the end, so that reading it again gives the parts in the same order.
    while heads and isinstance(part := heads[-1], Not) and not _leaf_table(part.part, negated=True):
        tails.insert(0, table_of(part.part))
        heads.pop()
    combination: dict[str, object] = {}
    if heads:
        combination["all"] = [table_of(part) for part in heads]
    if tails:
        combination["exclude"] = tails
    return combination


def _leaf_table(tree: Criterion, *, negated: bool) -> dict[str, object] | None:
    """Return the table of a criterion or of its opposite, or None if no key says that."""
    match tree:
        case Comparison(CriterionField(kind, name), operator, operands):
            test = _test_table(operator, operands, negated=negated)
            if test is None or (kind == "environment" and negated):
                return None
            if kind == "environment":
                return {"environment": operands[0]}
            return {kind: name, **test} if name else {kind: test}
        case EventCount():
            return _event_table(tree, negated=negated)
        case Consent():
            return {
                "consent": f"{tree.regulation}.{tree.purpose}",
                "is_not" if negated else "is": tree.state,
            }
        case InAudience() if not negated:
            return {"audience": tree.name}
        case Near() if not negated:
            return {
                "location": {
                    "within": f"{digits_of(tree.distance)} {tree.unit}",
                    "of": [tree.latitude, tree.longitude],
                }
            }
    return None


def _test_table(
    operator: str, operands: Sequence[Operand], *, negated: bool
) -> dict[str, object] | None:
    """Return an operator with its operands, or None if no key says its opposite."""
    rule = BY_NAME[operator]
    if rule.count == 0:
        return {rule.key: not negated}
    key = rule.negated_key if negated else rule.key
    if not key:
        return None
    values = [
        str(operand) if isinstance(operand, Moment | Days) else operand for operand in operands
    ]
    return {key: values[0] if rule.count == 1 else values}


def _event_table(tree: EventCount, *, negated: bool) -> dict[str, object] | None:
    key = _TIMES_KEY.get((tree.operator, negated))
    if key is None:
        return None
    table: dict[str, object] = {}
    if tree.name is not None:
        table["event"] = tree.name
    if tree.type is not None or tree.name is None:
        table["event_type"] = tree.type or "any"
    if tree.where:
        table["where"] = tree.where
    if tree.when:
        table |= _test_table(tree.when.operator, tree.when.operands, negated=False) or {}
    if (tree.operator, tree.counts) != ("at_least", (1,)):
        table[key] = tree.counts[0] if len(tree.counts) == 1 else list(tree.counts)
    return table


def toml_text(tree: Criterion) -> str:
    """Return criteria as the lines of a TOML table, without its header."""
    return "".join(
        f"{key} = {_value_text(value, top=True)}\n" for key, value in table_of(tree).items()
    )


def _value_text(value: object, *, top: bool = False) -> str:
    """Return a value as TOML; top: a list of tables stands on several lines."""
    # bool comes before int, because it is an int as well.
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, Decimal):
        return digits_of(value)
    if isinstance(value, str):
        return _string_text(value)
    if isinstance(value, list):
        if top and any(isinstance(entry, dict) for entry in value):
            return "[\n" + "".join(f"    {_value_text(entry)},\n" for entry in value) + "]"
        return "[" + ", ".join(map(_value_text, value)) + "]"
    assert isinstance(value, dict)
    members = ", ".join(f"{key} = {_value_text(member)}" for key, member in value.items())
    return "{ " + members + " }"


_escaped = re.compile('["\\\\\x00-\x1f\x7f]')


def _string_text(text: str) -> str:
    return '"' + _escaped.sub(lambda match: _escape(match[0]), text) + '"'


def _escape(letter: str) -> str:
    return f"\\u{ord(letter):04x}" if letter not in '"\\' else "\\" + letter
