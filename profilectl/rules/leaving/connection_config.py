"""Connections in the configuration: a connection is read and checked here.

The rules themselves, and the test of a batch, are in connection.py. Sources: domain.md 12
(forwarding rules, sampling, data filter), 5.3 (purposes of consent), 5.2 (types of events).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal

from profilectl.codes import UsageError
from profilectl.rules.consent import SALE, Purpose
from profilectl.rules.event.event import EVENT_TYPES
from profilectl.rules.identity import no_type, type_named
from profilectl.rules.leaving.connection import (
    ACTIONS,
    POINTS,
    AttributeRule,
    AttributionRule,
    Connection,
    ConsentRule,
    Points,
)
from profilectl.rules.leaving.output import LONGEST_NAME
from profilectl.rules.text.naming import instead

KEYS = (
    "feed",
    "output",
    "active",
    "sampling",
    "attribute",
    "attribution",
    "consent",
    "id_sync",
    "filter",
    "only",
)
"""The keys of a connection."""


def check_connection(connection: Connection) -> None:
    """Refuse a connection that contradicts itself. Raises UsageError.

    A connection is checked when it is declared, not when it is read again from the store.
    """
    title = f"connection {connection.name}"
    if any(not rule.name for rule in connection.attributes):
        raise UsageError(f"{title}: attribute needs name and value, each a text")
    only = connection.only or Points()
    for kind, named in only.event_attributes.items():
        # An event that is switched on whole cannot be switched on by its attributes too.
        by = "event_types" if kind in only.event_types else "events"
        switched_on = only.events.get(kind, frozenset())
        names = sorted(named) if by == "event_types" else sorted(named.keys() & switched_on)
        if names:
            raise UsageError(
                f"{title}: only: {names[0]} goes with all its attributes by {by}, and with some by"
                " event_attributes",
                "name it in one of them",
            )


def connection_of(name: str, table: object) -> Connection:
    """Read a connection from its table of the configuration. Raises UsageError, naming the key."""
    title = f"connection {name}"
    if not name.strip() or len(name) > LONGEST_NAME:
        raise UsageError(f"{title}: a name has 1 to {LONGEST_NAME} characters")
    if not isinstance(table, Mapping):
        raise UsageError(
            f"{title} must be a section",
            f'[connections.{name}] with feed = "crm" and output = "lake"',
        )
    for key in table:
        if key not in KEYS:
            raise UsageError(
                f"{title}: there is no key {key}",
                instead(key, KEYS, f"a connection has {', '.join(KEYS)}"),
            )
    feed, output = (_text(title, key, table.get(key)) for key in ("feed", "output"))
    active = _switch(title, "active", table.get("active", True))
    id_sync = _switch(title, "id_sync", table.get("id_sync", False))
    return Connection(
        name=name,
        feed=feed,
        output=output,
        active=active,
        sampling=_percent(title, table.get("sampling", 100)),
        attributes=tuple(
            AttributeRule(*members)
            for members in _rules(title, table, "attribute", members=("name", "value"))
        ),
        attributions=tuple(
            AttributionRule(*members)
            for members in _rules(title, table, "attribution", members=("publisher",))
        ),
        consents=tuple(ConsentRule(*rule) for rule in consent_rules(title, table)),
        id_sync=id_sync,
        off=_points(f"{title}: filter", table.get("filter", {})),
        only=_points(f"{title}: only", table["only"]) if "only" in table else None,
    )


def _text(title: str, key: str, value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise UsageError(f"{title}: needs {key}", "a text")
    return value


def _switch(title: str, key: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise UsageError(f"{title}: {key} must be true or false")
    return value


def _percent(title: str, value: object) -> Decimal:
    # As text too: Connection.as_table writes a percentage with a fraction so, for JSON.
    is_number = isinstance(value, int | str | Decimal) and not isinstance(value, bool)
    try:
        percent = Decimal(str(value)) if is_number else Decimal(-1)
    except ArithmeticError:
        percent = Decimal(-1)
    if not percent.is_finite() or not 0 <= percent <= 100 or (percent * 100) % 1:
        raise UsageError(
            f"{title}: sampling = {value!r}",
            "percent of the users: 0 to 100, at most two digits after the point",
        )
    # normalize() would write 100 as 1E+2.
    return percent.normalize() if percent != 100 else Decimal(100)


def _rule_tables(table: Mapping[str, object], key: str) -> Iterator[object]:
    """Yield the tables of the rules under a key; one rule may stand without its list."""
    rules = table.get(key, [])
    if isinstance(rules, Mapping):
        yield rules
    elif isinstance(rules, list):
        yield from rules
    else:
        yield None


def _rules(
    title: str, table: Mapping[str, object], key: str, *, members: tuple[str, ...]
) -> list[tuple[str, ...]]:
    """Return the rules under a key, as their members and the action. Raises UsageError."""
    rules = []
    for rule in _rule_tables(table, key):
        if not isinstance(rule, Mapping) or set(rule) - {*members, "action"}:
            raise UsageError(
                f"{title}: {key} must be {{ {', '.join(f'{name} = ...' for name in members)},"
                " action = ... }, or a list of such"
            )
        action = rule.get("action", ACTIONS[0])
        _check_action(title, key, action)
        values = [rule.get(name) for name in members]
        if not all(isinstance(value, str) for value in values):
            raise UsageError(f"{title}: {key} needs {' and '.join(members)}, each a text")
        rules.append((*map(str, values), action))
    return rules


def _check_action(title: str, key: str, action: object) -> None:
    if action not in ACTIONS:
        raise UsageError(
            f"{title}: {key}: action = {action!r}", "it is one of " + ", ".join(ACTIONS)
        )


def consent_rules(title: str, table: Mapping[str, object]) -> list[tuple[Purpose, str]]:
    """Return the rules on consent of a connection: the purpose and the action. Raises UsageError.

    The CCPA has one purpose, an opt-out, so its rule says do-not-forward unless it says otherwise.
    """
    rules = []
    for rule in _rule_tables(table, "consent"):
        if (
            not isinstance(rule, Mapping)
            or rule.get("regulation") not in ("gdpr", "ccpa")
            or set(rule) - {"regulation", "purpose", "action"}
        ):
            raise UsageError(
                f'{title}: consent must be {{ regulation = "gdpr" or "ccpa", purpose = ...,'
                " action = ... }, or a list of such"
            )
        regulation = rule["regulation"]
        is_ccpa = regulation == "ccpa"
        purpose = rule.get("purpose", SALE[1] if is_ccpa else None)
        if not isinstance(purpose, str) or not purpose or (is_ccpa and purpose != SALE[1]):
            raise UsageError(
                f"{title}: consent: purpose = {purpose!r}",
                f"the purpose of the GDPR, or {SALE[1]}, the only one of the CCPA",
            )
        action = rule.get("action", "do-not-forward" if is_ccpa else "forward-only")
        _check_action(title, "consent", action)
        rules.append(((regulation, purpose), action))
    return rules


def _points(title: str, table: object) -> Points:
    """Read data points. Raises UsageError."""
    if not isinstance(table, Mapping):
        raise UsageError(f"{title} must be a table", f"of {', '.join(POINTS)}")
    for kind in table:
        if kind not in POINTS:
            raise UsageError(
                f"{title}: there is no key {kind}",
                instead(kind, POINTS, f"it has {', '.join(POINTS)}"),
            )
    identities = _names(title, "user_identities", table.get("user_identities", []))
    user_identities = frozenset(_identity_type(title, name) for name in identities)
    events = {
        _event_type(title, kind): _names(title, f"events.{kind}", names)
        for kind, names in _table(title, "events", table.get("events", {})).items()
    }
    by_type = _table(title, "event_attributes", table.get("event_attributes", {}))
    event_attributes = {
        _event_type(title, kind): {
            name: _names(title, f"event_attributes.{kind}.{name}", keys)
            for name, keys in _table(title, f"event_attributes.{kind}", named).items()
        }
        for kind, named in by_type.items()
    }
    types = _names(title, "event_types", table.get("event_types", []))
    return Points(
        event_types=frozenset(_event_type(title, kind) for kind in types),
        events=events,
        event_attributes=event_attributes,
        user_attributes=_names(title, "user_attributes", table.get("user_attributes", [])),
        user_identities=user_identities,
    )


def _names(title: str, key: str, value: object) -> frozenset[str]:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise UsageError(f"{title}: {key} must be a list of names")
    return frozenset(value)


def _table(title: str, key: str, value: object) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise UsageError(
            f"{title}: {key} must be a table", 'for example { custom_event = ["Viewed"] }'
        )
    return value


def _event_type(title: str, kind: str) -> str:
    if kind not in EVENT_TYPES:
        raise UsageError(
            f"{title}: there is no event type {kind!r}",
            instead(kind, EVENT_TYPES, "the types are " + ", ".join(EVENT_TYPES)),
        )
    return kind


def _identity_type(title: str, name: str) -> str:
    kind = type_named(name)
    if kind is None:
        raise UsageError(f"{title}: there is no user identity {name!r}", no_type(name).hint)
    if kind.device:
        raise UsageError(
            f"{title}: there is no user identity {name!r}",
            "device identities are part of device_info, which is not filtered",
        )
    return kind.name
