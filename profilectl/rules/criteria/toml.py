"""Criteria as TOML: read into the tree of criteria.py, and written out again.

    [audiences.gold_buyers]
    all = [
        { attribute = "tier", equals = "gold" },
        { event = "purchase", where = "price > 10", within = "30 days", at_least = 2 },
    ]
    exclude = [ { audience = "staff" } ]

A table is one criterion or a combination. A combination has `all`, `any` and `exclude`, or some of
them, each a list of tables: all of `all`, and one at least of `any`, and none of `exclude`. A
criterion names what it looks at, and has one operator of criteria.OPERATORS (column TOML):

    { attribute = "tier", equals = "gold" }         { attribute = "visits", between = [1, 9] }
    { attribute = "sizes", includes = "40" }        { identity = "email", exists = true }
    { attribute = "joined", after = "2024-01-01" }  { attribute = "nickname", filled = false }
    { device = "platform", in = ["iOS", "tvOS"] }   { attribution = "campaign", matches = "spring*" }
    { first_seen = { before = "2024-01-01" } }      { last_seen = { ago = "30 days" } }
    { environment = "production" }                  { audience = "vip" }
    { consent = "gdpr.marketing", is = "granted" }  { location = { within = "10 km", of = [52.52, 13.405] } }

and of events: `event` (the name) and `event_type`, one of them at least (`event_type = "any"` is
every type); `where`, a condition on the event; one of within, ago, before, after, on, between
(dates); and how often: one of at_least (1 where none is said), at_most, more_than, less_than,
times, not_times, times_between.

Text compares as text, a number as a number. Dates may be TOML dates. A number keeps all its digits
where the file is read with `parse_float=decimal.Decimal`.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from profilectl.codes import UsageError
from profilectl.rules.criteria import tree as criteria
from profilectl.rules.criteria.tree import (
    BY_NAME,
    CONSENT_STATES,
    OPERATORS,
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

LONGEST_NUMBER = 1_000
"""A number is written out in the expression: so many digits are more than anybody reads."""
COMBINATIONS = ("all", "any", "exclude")
SUBJECTS = (
    "attribute",
    "identity",
    "device",
    "attribution",
    "first_seen",
    "last_seen",
    "environment",
    "event",
    "event_type",
    "audience",
    "consent",
    "location",
)
# fmt: off
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
    key: (one.name, negated)
    for one in OPERATORS
    for key, negated in ((one.key, False), (one.negated_key, True))
    if key
}
_TIMES_KEY = {operator: key for key, operator in TIMES_KEYS.items()}


def criterion_in(table: Mapping[str, Any], path: str = "") -> Criterion:
    """Read the criteria in a TOML table. path: what errors call it (`audiences.vip`).

    Raises UsageError, which names the place: `all[2].equals`.
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


def _read(table: Any, path: str) -> Criterion:
    if not isinstance(table, Mapping):
        raise _Misplaced(
            path,
            f'a criterion is a table such as {{ attribute = "tier", equals = "gold" }}, not {table!r}',
        )
    if set(COMBINATIONS).intersection(table):
        return _combination(table, path)
    subjects = [key for key in SUBJECTS if key in table]
    if not subjects:
        raise _Misplaced(
            path,
            f"a criterion names what it looks at: {', '.join(SUBJECTS)}; or it combines others: {', '.join(COMBINATIONS)}",
        )
    try:
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


def _combination(table: Mapping[str, Any], path: str) -> Criterion:
    _only(table, COMBINATIONS, path)
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
            _read(one, _below(_below(path, key), place))
            for place, one in enumerate(listed, start=1)
        ]
    anyone = [criteria.any_of(parts["any"])] if parts["any"] else []
    return criteria.all_of([*parts["all"], *anyone, *map(criteria.not_, parts["exclude"])])


def _only(table: Mapping[str, Any], allowed: Sequence[str], path: str) -> None:
    for key in table:
        if key not in allowed:
            raise _Misplaced(
                _below(path, key), f"not known here; there may be {', '.join(allowed)}"
            )


def _leaf(table: Mapping[str, Any], subject: str, path: str) -> Criterion:
    said, place = table[subject], _below(path, subject)
    match subject:
        case "first_seen" | "last_seen":
            _only(table, [subject], path)
            return _tested(CriterionField(subject), _table(said, place), (), place)
        case "environment":
            _only(table, [subject], path)
            return criteria.comparison(CriterionField(subject), "equals", [_text(said, place)])
        case "audience":
            _only(table, [subject], path)
            return InAudience(_text(said, place))
        case "consent":
            return _consent(table, _text(said, place), path)
        case "location":
            _only(table, [subject], path)
            return _near(_table(said, place), place)
    return _tested(_field(subject, _text(said, place)), table, (subject,), path)


def _field(subject: str, name: str) -> CriterionField:
    match subject:
        case "attribute":
            return criteria.attribute(name)
        case "device":
            return criteria.device_field(name)
        case "attribution":
            return criteria.attribution_field(name)
    return criteria.identity(name)


def _tested(
    field: CriterionField, table: Mapping[str, Any], besides: Sequence[str], path: str
) -> Criterion:
    """Read the one operator of a table."""
    keys = [key for key in table if key not in besides]
    applying = [
        key for key, (operator, _) in _KEYS.items() if operator in criteria.FIELDS[field.kind]
    ]
    for key in keys:
        if key not in applying:
            raise _Misplaced(
                _below(path, key), f"not known here; there may be {', '.join(applying)}"
            )
    if len(keys) != 1:
        raise _Misplaced(path, f"takes one of {', '.join(applying)}, not {len(keys)} of them")
    place, said = _below(path, keys[0]), table[keys[0]]
    operator, negated = _KEYS[keys[0]]
    rule = BY_NAME[operator]
    if rule.count == 0:
        if not isinstance(said, bool):
            raise _Misplaced(place, "must be true or false")
        made: Criterion = criteria.comparison(field, operator)
        return made if said else criteria.not_(made)
    try:
        made = criteria.comparison(
            field,
            operator,
            [
                _operand(one, rule.takes, place)
                for one in (said if isinstance(said, list) and rule.count != 1 else [said])
            ],
        )
    except _Misplaced:
        raise
    except CriterionFault as error:
        raise _Misplaced(place, str(error)) from None
    return criteria.not_(made) if negated else made


def _operand(said: Any, takes: Sequence[str], place: str) -> Operand:
    """Read an operand as the kind that its operator takes. Raises _Misplaced."""
    if isinstance(said, bool):
        return "true" if said else "false"
    if isinstance(said, int | float | Decimal):
        number = Decimal(repr(said) if isinstance(said, float) else said)
        if not number.is_finite() or abs(number.adjusted()) > LONGEST_NUMBER:
            raise _Misplaced(
                place,
                f"must be a number with digits, at most {LONGEST_NUMBER:,} of them before or after the point",
            )
        return number
    if isinstance(said, datetime.date):
        said = said.isoformat()
    if not isinstance(said, str):
        raise _Misplaced(place, f"must be a text or a number, not {said!r}")
    if "span" in takes:
        span = days_of(said)
        if span is None:
            raise _Misplaced(place, 'a span is written "30 days", "30d" or "2 weeks"')
        return span
    if "time" in takes or "day" in takes:
        moment = moment_of(said)
        if moment is None:
            raise _Misplaced(place, 'a day is written "2024-01-31", a time "2024-01-31T12:00Z"')
        return moment
    return said


def _text(said: Any, place: str) -> str:
    if not isinstance(said, str):
        raise _Misplaced(place, f"must be a text, not {said!r}")
    return said


def _table(said: Any, place: str) -> Mapping[str, Any]:
    if not isinstance(said, Mapping):
        raise _Misplaced(place, f"must be a table, not {said!r}")
    return said


def _consent(table: Mapping[str, Any], purpose: str, path: str) -> Criterion:
    _only(table, ("consent", "is", "is_not"), path)
    keys = [key for key in ("is", "is_not") if key in table]
    if len(keys) != 1:
        raise _Misplaced(path, f"consent `is` or `is_not` one of {', '.join(CONSENT_STATES)}")
    made = criteria.consent(purpose, _text(table[keys[0]], _below(path, keys[0])).lower())
    return made if keys[0] == "is" else criteria.not_(made)


def _near(table: Mapping[str, Any], path: str) -> Criterion:
    _only(table, ("within", "of"), path)
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([a-z]+)", str(table.get("within")).lower())
    point = table.get("of")
    if found is None:
        raise _Misplaced(
            _below(path, "within"), 'a distance is written "10 km", "500 m" or "2.5 mi"'
        )
    if (
        not isinstance(point, list)
        or len(point) != 2
        or not all(isinstance(one, int | float | Decimal) for one in point)
    ):
        raise _Misplaced(_below(path, "of"), "must be a latitude and a longitude: [52.52, 13.405]")
    latitude, longitude = (_operand(one, ("number",), _below(path, "of")) for one in point)
    assert isinstance(latitude, Decimal)
    assert isinstance(longitude, Decimal)
    return criteria.near(Decimal(found[1]), found[2], latitude, longitude)


def _events(table: Mapping[str, Any], path: str) -> Criterion:
    _only(table, ("event", "event_type", "where", *criteria.TIMES, *TIMES_KEYS), path)
    name = _text(table["event"], _below(path, "event")) if "event" in table else None
    kind = (
        _text(table["event_type"], _below(path, "event_type")).lower()
        if "event_type" in table
        else None
    )
    if kind is not None and kind != "any" and kind not in EVENT_TYPES:
        raise _Misplaced(
            _below(path, "event_type"), f"{kind} is none of any, {', '.join(EVENT_TYPES)}"
        )
    where = (
        _condition(_text(table["where"], _below(path, "where")), _below(path, "where"))
        if "where" in table
        else ""
    )
    recency = [key for key in criteria.TIMES if key in table]
    often = [key for key in TIMES_KEYS if key in table]
    for keys in (recency, often):
        if len(keys) > 1:
            raise _Misplaced(path, f"{keys[0]} and {keys[1]} do not go together: write two tables")
    when = None
    if recency:
        said, place = table[recency[0]], _below(path, recency[0])
        operands = [
            _operand(one, [kind for kind in BY_NAME[recency[0]].takes if kind != "number"], place)
            for one in (said if isinstance(said, list) and recency[0] == "between" else [said])
        ]
        when = criteria.when(recency[0], operands)
    operator, negated = TIMES_KEYS[often[0]] if often else ("at_least", False)
    made = criteria.happened(
        None if kind == "any" else kind, name, where, when, operator, _counts(table, often, path)
    )
    return criteria.not_(made) if negated else made


def _condition(text: str, place: str) -> str:
    try:
        return condition_text(text)
    except UsageError as error:
        raise _Misplaced(place, error.message, error.hint) from None


def _counts(table: Mapping[str, Any], often: Sequence[str], path: str) -> tuple[int, ...]:
    if not often:
        return (1,)
    said = table[often[0]]
    listed = said if isinstance(said, list) else [said]
    if not all(
        isinstance(one, int) and not isinstance(one, bool) and 0 <= one < 10**18 for one in listed
    ):
        raise _Misplaced(_below(path, often[0]), "events are counted in whole numbers")
    return tuple(listed)


def table_of(tree: Criterion) -> dict[str, Any]:
    """Return criteria as a TOML table (criterion_in reads the same tree from it); numbers are
    Decimal or int.
    """
    match tree:
        case All():
            return _combined(tree)
        case AnyOf():
            return {"any": [table_of(one) for one in tree.parts]}
        case Not():
            return _leaf_table(tree.part, negated=True) or {"exclude": [table_of(tree.part)]}
    found = _leaf_table(tree, negated=False)
    assert found is not None
    return found


def _combined(tree: All) -> dict[str, Any]:
    heads = [table_of(one) for one in tree.parts]
    tails: list[dict[str, Any]] = []
    while heads and set(heads[-1]) == {"exclude"}:
        tails.insert(0, heads.pop()["exclude"][0])
    return ({"all": heads} if heads else {}) | ({"exclude": tails} if tails else {})


def _leaf_table(tree: Criterion, *, negated: bool) -> dict[str, Any] | None:
    """Return the table of a criterion or its opposite; None where there is no key for that."""
    match tree:
        case Comparison(CriterionField(kind, name), operator, operands):
            tail = _tail_table(operator, operands, negated=negated)
            if tail is None or (kind == "environment" and negated):
                return None
            if kind == "environment":
                return {"environment": operands[0]}
            return {kind: name, **tail} if name else {kind: tail}
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


def _tail_table(
    operator: str, operands: Sequence[Operand], *, negated: bool
) -> dict[str, Any] | None:
    rule = BY_NAME[operator]
    if rule.count == 0:
        return {rule.key: not negated}
    key = rule.negated_key if negated else rule.key
    if not key:
        return None
    said = [str(one) if isinstance(one, Moment | Days) else one for one in operands]
    return {key: said[0] if rule.count == 1 else said}


def _event_table(tree: EventCount, *, negated: bool) -> dict[str, Any] | None:
    key = _TIMES_KEY.get((tree.operator, negated))
    if key is None:
        return None
    found: dict[str, Any] = {}
    if tree.name is not None:
        found["event"] = tree.name
    if tree.type is not None or tree.name is None:
        found["event_type"] = tree.type or "any"
    if tree.where:
        found["where"] = tree.where
    if tree.when:
        found |= _tail_table(tree.when.operator, tree.when.operands, negated=False) or {}
    if (tree.operator, tree.counts) != ("at_least", (1,)):
        found[key] = tree.counts[0] if len(tree.counts) == 1 else list(tree.counts)
    return found


def toml_text(tree: Criterion) -> str:
    """Write criteria out as the lines of a TOML table, without its header; read again, they are the
    same tree.
    """
    return "".join(
        f"{key} = {_value_text(value, top=True)}\n" for key, value in table_of(tree).items()
    )


def _value_text(value: Any, *, top: bool = False) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, Decimal):
        return digits_of(value)
    if isinstance(value, str):
        return _string_text(value)
    if isinstance(value, list):
        if top and any(isinstance(one, dict) for one in value):
            return "[\n" + "".join(f"    {_value_text(one)},\n" for one in value) + "]"
        return "[" + ", ".join(map(_value_text, value)) + "]"
    return (
        "{ " + ", ".join(f"{key} = {_value_text(member)}" for key, member in value.items()) + " }"
    )


_escaped = re.compile('["\\\\\x00-\x1f\x7f]')


def _string_text(text: str) -> str:
    return (
        '"'
        + _escaped.sub(
            lambda found: f"\\u{ord(found[0]):04x}" if found[0] not in '"\\' else "\\" + found[0],
            text,
        )
        + '"'
    )
