"""Connections of audiences: who of an audience is told of to an output, by which identities, with
which attributes, and in what form.

Sources: domain.md 11.2 (the output payload: chosen identities, chosen attributes, add, delete and
attribute_update), 14 (who is opted out is in no audience), 5.3 (consent).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from profilectl.codes import UsageError
from profilectl.rules.identity import BY_NAME, TYPES, IdentityType, key_of, no_type, type_named
from profilectl.rules.leaving.connection import ConsentRule
from profilectl.rules.leaving.connection_config import consent_rules
from profilectl.rules.leaving.output import LONGEST_NAME
from profilectl.rules.text.normal_form import email_in_form, phone_in_form
from profilectl.rules.text.values import Value, held_json, parse_json, whole

# fmt: off
KEYS = ("audience", "output", "active", "identities", "hash", "phone", "attributes", "consent")
HASHES = ("sha256",)
PHONES: dict[str, str] = {
    # what is hashed of a phone number
    "e164":   "the number with its +, as UID2, Google and TikTok hash it",
    "digits": "its digits alone, as Meta and Snap hash it",
}
FORMS: dict[str, Callable[[str], str | None]] = {
    # the normal form of an identity before it is hashed; of all other types it is the value
    "email":          email_in_form,
    "mobile_number":  phone_in_form,
    "phone_number_2": phone_in_form,
    "phone_number_3": phone_in_form,
}
ADD, DELETE, UPDATE = "add", "delete", "attribute_update"
# fmt: on
MESSAGE = "audience_membership_change_request"


@dataclass(frozen=True, slots=True)
class AudienceConnection:
    """An audience, an output, and what the output is told of the members. identities: the types of
    identities that go, in the order of types; hash: "" or one of HASHES; phone: of PHONES;
    attributes: the keys that are shared."""

    name: str
    audience: str
    output: str
    active: bool = True
    identities: tuple[str, ...] | None = None
    hash: str = ""
    phone: str = "e164"
    attributes: tuple[str, ...] = ()
    consents: tuple[ConsentRule, ...] = ()

    def as_table(self) -> dict[str, Any]:
        """Return the connection as the configuration has it: what audience_connection_of reads as
        the same."""
        table: dict[str, Any] = {"audience": self.audience, "output": self.output}
        if not self.active:
            table["active"] = False
        if self.identities is not None:
            table["identities"] = list(self.identities)
        if self.hash:
            table["hash"] = self.hash
        if self.phone != "e164":
            table["phone"] = self.phone
        if self.attributes:
            table["attributes"] = list(self.attributes)
        if self.consents:
            table["consent"] = [one.as_table() for one in self.consents]
        return table

    def types(self) -> list[IdentityType]:
        """Return the types of identities that go: all user identities, where none are chosen."""
        return [
            kind
            for kind in TYPES
            if (kind.name in self.identities if self.identities is not None else not kind.device)
        ]


def is_of_audience(name: str, table: object) -> bool:
    """Say whether a connection of the configuration is one of an audience. Raises UsageError for
    one that is of both, or of neither."""
    if not isinstance(table, Mapping):
        return False
    if "feed" in table and "audience" in table:
        raise UsageError(
            f"connection {name}: it has either a feed or an audience", "make two connections of it"
        )
    if "feed" not in table and "audience" not in table:
        raise UsageError(
            f"connection {name}: needs feed or audience", "what is connected to the output"
        )
    return "audience" in table


def audience_connection_of(name: str, table: Mapping[str, Any]) -> AudienceConnection:
    """Read a connection of an audience. Raises UsageError, naming the key."""
    where = f"connection {name}"
    if not name.strip() or len(name) > LONGEST_NAME:
        raise UsageError(f"{where}: a name has 1 to {LONGEST_NAME} characters")
    for key in table:
        if key not in KEYS:
            raise UsageError(
                f"{where}: there is no key {key}",
                f"a connection of an audience has {', '.join(KEYS)}",
            )
    for key in ("audience", "output"):
        if not isinstance(table.get(key), str) or not table[key].strip():
            raise UsageError(f"{where}: needs {key}", "a text")
    if not isinstance(table.get("active", True), bool):
        raise UsageError(f"{where}: active must be true or false")
    if table.get("hash", HASHES[0]) not in HASHES:
        raise UsageError(
            f"{where}: hash = {table['hash']!r}",
            f"it is {', '.join(HASHES)}; without it identities go as they are",
        )
    if table.get("phone", "e164") not in PHONES:
        raise UsageError(
            f"{where}: phone = {table['phone']!r}", "it is one of " + ", ".join(PHONES)
        )
    if "phone" in table and "hash" not in table:
        raise UsageError(
            f"{where}: phone says what is hashed of a phone number, and nothing is hashed",
            'add hash = "sha256"',
        )
    return AudienceConnection(
        name,
        table["audience"],
        table["output"],
        table.get("active", True),
        _identities(where, table),
        table.get("hash", ""),
        table.get("phone", "e164"),
        _attributes(where, table.get("attributes", [])),
        tuple(ConsentRule(*one) for one in consent_rules(where, table)),
    )


def _identities(where: str, table: Mapping[str, Any]) -> tuple[str, ...] | None:
    if "identities" not in table:
        return None
    stated = table["identities"]
    if (
        not isinstance(stated, list)
        or not stated
        or not all(isinstance(one, str) for one in stated)
    ):
        raise UsageError(
            f"{where}: identities must be a list of types",
            'for example ["email", "mobile_number"]; without it all user identities go',
        )
    chosen = set()
    for one in stated:
        kind = type_named(one)
        if kind is None:
            raise UsageError(f"{where}: there is no identity type {one!r}", no_type(one).hint)
        chosen.add(kind.name)
    return tuple(kind.name for kind in TYPES if kind.name in chosen)


def _attributes(where: str, stated: object) -> tuple[str, ...]:
    if not isinstance(stated, list) or not all(isinstance(one, str) and one for one in stated):
        raise UsageError(
            f"{where}: attributes must be a list of names",
            'for example ["tier"]; without it none go',
        )
    return tuple(sorted(set(stated)))


def identities_told(
    connection: AudienceConnection, identities: Mapping[str, Sequence[str]]
) -> list[dict[str, str]]:
    """Return the identities of a person as they go: type, encoding, value. One that has no normal
    form is left out where it is hashed: nobody could match it."""
    found: dict[tuple[str, str], None] = {}
    for kind in connection.types():
        for value in identities.get(kind.name, ()):
            told = _hashed(connection, kind.name, value) if connection.hash else value
            if told is not None:
                found[kind.name, told] = None
    return [
        {"type": name, "encoding": connection.hash or "raw", "value": value}
        for name, value in found
    ]


def _hashed(connection: AudienceConnection, kind: str, value: str) -> str | None:
    text = FORMS[kind](value) if kind in FORMS else value
    if text is None:
        return None
    if FORMS.get(kind) is phone_in_form and connection.phone == "digits":
        text = text.removeprefix("+")
    return hashlib.sha256(text.encode()).hexdigest()


def are_told(told: Sequence[Mapping[str, str]], values: Iterable[str]) -> bool:
    """Say whether any of the identities of a message is one of these values, whatever connection
    put it into its form."""
    return any(_is_told(one["type"], one["value"], value) for one in told for value in values)


def _is_told(kind: str, sent: str, value: str) -> bool:
    key = key_of(BY_NAME[kind], value)
    if key_of(BY_NAME[kind], sent) == key:
        return True
    texts = {value, FORMS[kind](value) or value if kind in FORMS else value}
    texts |= {text.removeprefix("+") for text in texts}
    return sent in {hashlib.sha256(text.encode()).hexdigest() for text in texts}


def attributes_told(
    action: str, held: Mapping[str, str], before: Mapping[str, str], after: Mapping[str, str]
) -> list[dict[str, Value]]:
    """Return the attributes that go with a message. held: what the person has of those that are
    shared; before, after: the fingerprints of what the output has, and of what the person has."""
    if action == DELETE:
        return []
    known = {} if action == ADD else before
    upserts: list[dict[str, Value]] = [
        {"key": key, "value": parse_json(held_json(value)), "action": "upsert"}
        for key, value in sorted(held.items())
        if known.get(key) != after.get(key)
    ]
    return upserts + [
        {"key": key, "action": "delete"} for key in sorted(before) if key not in after
    ]


@dataclass(frozen=True, slots=True)
class Told:
    """What an output is told of a person. identities: identities_told, attributes:
    attributes_told."""

    message: str
    at_ms: int
    mpid: int
    environment: str
    audience: int
    audience_name: str
    action: str
    since_ms: int
    identities: Sequence[Mapping[str, str]]
    attributes: Sequence[Mapping[str, Value]] = ()

    def document(self) -> dict[str, Value]:
        """Return the message in the platform's form; `id`, `environment` and `since_ms` are
        ours."""
        device = {kind.name for kind in TYPES if kind.device}
        audience: dict[str, Value] = {
            "audience_id": whole(self.audience),
            "audience_name": self.audience_name,
            "action": self.action,
            "since_ms": whole(self.since_ms),
            "user_attributes": [dict(one) for one in self.attributes],
        }
        profile: dict[str, Value] = {
            "mpid": str(self.mpid),
            "user_identities": _listed(self.identities, lambda kind: kind not in device),
            "device_identities": _listed(self.identities, lambda kind: kind in device),
            "partner_identities": [],
            "audiences": [audience],
        }
        return {
            "type": MESSAGE,
            "id": self.message,
            "timestamp_ms": whole(self.at_ms),
            "environment": self.environment,
            "user_profiles": [profile],
        }


def _listed(identities: Iterable[Mapping[str, str]], wanted: Callable[[str], bool]) -> list[Value]:
    return [dict(one) for one in identities if wanted(one["type"])]


def fingerprints(text: str | None) -> dict[str, str]:
    """Read the fingerprints of attributes as the store keeps them."""
    return dict(json.loads(text)) if text else {}
