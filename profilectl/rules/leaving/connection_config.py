"""TODO rules.leaving.connection_config (split off rules.leaving.connection)."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

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


def check_connection(connection: Connection) -> None:
    """Refuse what a connection may say and cannot mean: asked where one is declared, not where it
    is read again. Raises UsageError.
    """
    where = f"connection {connection.name}"
    if any(not rule.name for rule in connection.attributes):
        raise UsageError(f"{where}: attribute needs name and value, each a text")
    only = connection.only or Points()
    for kind, named in only.event_attributes.items():
        both = (
            sorted(named)
            if kind in only.event_types
            else sorted(named.keys() & only.events.get(kind, frozenset()))
        )
        if both:
            by = "event_types" if kind in only.event_types else "events"
            raise UsageError(
                f"{where}: only: {both[0]} goes with all its attributes by {by}, and with some by event_attributes",
                "name it in one of them",
            )


def connection_of(name: str, table: object) -> Connection:
    """Read a connection of the configuration. Raises UsageError, naming the key."""
    where = f"connection {name}"
    if not name.strip() or len(name) > LONGEST_NAME:
        raise UsageError(f"{where}: a name has 1 to {LONGEST_NAME} characters")
    if not isinstance(table, Mapping):
        raise UsageError(
            f"{where} must be a section",
            f'[connections.{name}] with feed = "crm" and output = "lake"',
        )
    for key in table:
        if key not in KEYS:
            raise UsageError(
                f"{where}: there is no key {key}", f"a connection has {', '.join(KEYS)}"
            )
    texts = {key: _text(where, key, table.get(key)) for key in ("feed", "output")}
    switches = {
        key: table.get(key, standing) for key, standing in (("active", True), ("id_sync", False))
    }
    for key, value in switches.items():
        if not isinstance(value, bool):
            raise UsageError(f"{where}: {key} must be true or false")
    return Connection(
        name,
        texts["feed"],
        texts["output"],
        switches["active"],
        _percent(where, table.get("sampling", 100)),
        tuple(AttributeRule(*one) for one in _rules(where, table, "attribute", ("name", "value"))),
        tuple(AttributionRule(*one) for one in _rules(where, table, "attribution", ("publisher",))),
        tuple(ConsentRule(*one) for one in consent_rules(where, table)),
        switches["id_sync"],
        _points(f"{where}: filter", table.get("filter", {})),
        _points(f"{where}: only", table["only"]) if "only" in table else None,
    )


def _text(where: str, key: str, value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise UsageError(f"{where}: needs {key}", "a text")
    return value


def _percent(where: str, stated: object) -> Decimal:
    try:
        found = (
            Decimal(str(stated))
            if isinstance(stated, int | str | Decimal) and not isinstance(stated, bool)
            else Decimal(-1)
        )
    except ArithmeticError:
        found = Decimal(-1)
    if not found.is_finite() or not 0 <= found <= 100 or (found * 100) % 1:
        raise UsageError(
            f"{where}: sampling = {stated!r}",
            "percent of the users: 0 to 100, at most two digits after the point",
        )
    return found.normalize() if found != 100 else Decimal(100)


def _rules(
    where: str, table: Mapping[str, Any], key: str, members: tuple[str, ...]
) -> list[tuple[str, ...]]:
    """Return the rules of a kind as their members and the action; one rule may stand without its
    list.
    """
    stated = table.get(key, [])
    found = []
    for one in (
        [stated] if isinstance(stated, Mapping) else stated if isinstance(stated, list) else [None]
    ):
        if not isinstance(one, Mapping) or set(one) - {*members, "action"}:
            raise UsageError(
                f"{where}: {key} must be {{ {', '.join(f'{name} = ...' for name in members)}, action = ... }}, or a list of such"
            )
        action = one.get("action", ACTIONS[0])
        if action not in ACTIONS:
            raise UsageError(
                f"{where}: {key}: action = {action!r}", "it is one of " + ", ".join(ACTIONS)
            )
        values = [one.get(name) for name in members]
        if not all(isinstance(value, str) for value in values):
            raise UsageError(f"{where}: {key} needs {' and '.join(members)}, each a text")
        found.append((*map(str, values), action))
    return found


def consent_rules(where: str, table: Mapping[str, Any]) -> list[tuple[Purpose, str]]:
    """Return the rules of consent of a connection: the purpose, and what is done with who
    consented. Raises UsageError.
    """
    stated = table.get("consent", [])
    found = []
    for one in (
        [stated] if isinstance(stated, Mapping) else stated if isinstance(stated, list) else [None]
    ):
        if (
            not isinstance(one, Mapping)
            or one.get("regulation") not in ("gdpr", "ccpa")
            or set(one) - {"regulation", "purpose", "action"}
        ):
            raise UsageError(
                f'{where}: consent must be {{ regulation = "gdpr" or "ccpa", purpose = ..., action = ... }}, or a list of such'
            )
        regulation = one["regulation"]
        purpose = one.get("purpose", SALE[1] if regulation == "ccpa" else None)
        action = one.get("action", "do-not-forward" if regulation == "ccpa" else "forward-only")
        if (
            not isinstance(purpose, str)
            or not purpose
            or (regulation == "ccpa" and purpose != SALE[1])
        ):
            raise UsageError(
                f"{where}: consent: purpose = {purpose!r}",
                f"the purpose of the GDPR, or {SALE[1]}, the only one of the CCPA",
            )
        if action not in ACTIONS:
            raise UsageError(
                f"{where}: consent: action = {action!r}", "it is one of " + ", ".join(ACTIONS)
            )
        found.append(((regulation, purpose), action))
    return found


def _points(where: str, table: object) -> Points:
    if not isinstance(table, Mapping):
        raise UsageError(f"{where} must be a table", f"of {', '.join(POINTS)}")
    for kind in table:
        if kind not in POINTS:
            raise UsageError(f"{where}: there is no key {kind}", f"it has {', '.join(POINTS)}")
    identities = frozenset(
        _type(where, name)
        for name in _names(where, "user_identities", table.get("user_identities", []))
    )
    events = {
        _event_type(where, kind): _names(where, f"events.{kind}", names)
        for kind, names in _table(where, "events", table).items()
    }
    attributes = {
        _event_type(where, kind): {
            name: _names(where, f"event_attributes.{kind}.{name}", keys)
            for name, keys in _table(
                where, f"event_attributes.{kind}", {f"event_attributes.{kind}": named}
            ).items()
        }
        for kind, named in _table(where, "event_attributes", table).items()
    }
    types = frozenset(
        _event_type(where, kind)
        for kind in _names(where, "event_types", table.get("event_types", []))
    )
    return Points(
        types,
        events,
        attributes,
        _names(where, "user_attributes", table.get("user_attributes", [])),
        identities,
    )


def _names(where: str, key: str, value: object) -> frozenset[str]:
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise UsageError(f"{where}: {key} must be a list of names")
    return frozenset(value)


def _table(where: str, key: str, table: Mapping[str, Any]) -> Mapping[str, Any]:
    found = table.get(key, {})
    if not isinstance(found, Mapping):
        raise UsageError(
            f"{where}: {key} must be a table", 'for example { custom_event = ["Viewed"] }'
        )
    return found


def _event_type(where: str, kind: str) -> str:
    if kind not in EVENT_TYPES:
        raise UsageError(
            f"{where}: there is no event type {kind!r}", "the types are " + ", ".join(EVENT_TYPES)
        )
    return kind


def _type(where: str, name: str) -> str:
    kind = type_named(name)
    if kind is None:
        raise UsageError(f"{where}: there is no user identity {name!r}", no_type(name).hint)
    if kind.device:
        raise UsageError(
            f"{where}: there is no user identity {name!r}",
            "device identities are part of device_info, which is not filtered",
        )
    return kind.name
