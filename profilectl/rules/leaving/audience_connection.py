"""Connections of audiences: the members that are sent to an output, and the form of a message.

Sources: domain.md 11.2 (the output payload: chosen identities, chosen attributes, add, delete and
attribute_update), 14 (an opted-out person is in no audience), 5.3 (consent).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from profilectl.codes import UsageError
from profilectl.rules.identity import BY_NAME, TYPES, IdentityType, key_of, no_type, type_named
from profilectl.rules.leaving.connection import ConsentRule
from profilectl.rules.leaving.connection_config import consent_rules
from profilectl.rules.leaving.output import LONGEST_NAME
from profilectl.rules.text.naming import instead
from profilectl.rules.text.normal_form import email_in_form, phone_in_form
from profilectl.rules.text.values import Value, held_json, parse_json, whole

# fmt: off
KEYS = ("audience", "output", "active", "identities", "hash", "phone", "attributes", "consent")
HASHES = ("sha256",)
PHONES: dict[str, str] = {
    # the form of a phone number that is hashed
    "e164":   "the number with its +, as UID2, Google and TikTok hash it",
    "digits": "its digits alone, as Meta and Snap hash it",
}
FORMS: dict[str, Callable[[str], str | None]] = {
    # the normal form of an identity that is hashed; for all other types it is the value
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
    """An audience, an output, and the parts of its members that are sent."""

    name: str
    """Its name."""
    audience: str
    """The audience."""
    output: str
    """The output."""
    active: bool = True
    """Whether anything is sent."""
    identities: tuple[str, ...] | None = None
    """The types of identities that go, in the order of identity.TYPES; None: of users, all."""
    hash: str = ""
    """The hash of identities, one of HASHES; empty: they go as they are."""
    phone: str = "e164"
    """The form of a phone number that is hashed, one of PHONES."""
    attributes: tuple[str, ...] = ()
    """The keys of the attributes that go."""
    consents: tuple[ConsentRule, ...] = ()
    """The rules on consent."""

    def as_table(self) -> dict[str, object]:
        """Return the connection as a table: the opposite of audience_connection_of."""
        table: dict[str, object] = {"audience": self.audience, "output": self.output}
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
            table["consent"] = [rule.as_table() for rule in self.consents]
        return table

    def types(self) -> list[IdentityType]:
        """Return the types of identities that go: if none are chosen, those of users."""
        if self.identities is None:
            return [kind for kind in TYPES if not kind.device]
        return [kind for kind in TYPES if kind.name in self.identities]


def is_of_audience(name: str, table: object) -> bool:
    """Return whether a connection of the configuration connects an audience, and not a feed.

    Raises UsageError if it names both, or neither.
    """
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


def audience_connection_of(name: str, table: Mapping[str, object]) -> AudienceConnection:
    """Read a connection of an audience from its table. Raises UsageError, naming the key."""
    title = f"connection {name}"
    if not name.strip() or len(name) > LONGEST_NAME:
        raise UsageError(f"{title}: a name has 1 to {LONGEST_NAME} characters")
    for key in table:
        if key not in KEYS:
            raise UsageError(
                f"{title}: there is no key {key}",
                instead(key, KEYS, f"a connection of an audience has {', '.join(KEYS)}"),
            )
    audience, output = (_text(title, table, key) for key in ("audience", "output"))
    active = table.get("active", True)
    if not isinstance(active, bool):
        raise UsageError(f"{title}: active must be true or false")
    hash_name, phone = _hash_and_phone(title, table)
    return AudienceConnection(
        name=name,
        audience=audience,
        output=output,
        active=active,
        identities=_identities(title, table),
        hash=hash_name,
        phone=phone,
        attributes=_attributes(title, table.get("attributes", [])),
        consents=tuple(ConsentRule(*rule) for rule in consent_rules(title, table)),
    )


def _text(title: str, table: Mapping[str, object], key: str) -> str:
    value = table.get(key)
    if not isinstance(value, str) or not value.strip():
        raise UsageError(f"{title}: needs {key}", "a text")
    return value


def _hash_and_phone(title: str, table: Mapping[str, object]) -> tuple[str, str]:
    hash_name, phone = table.get("hash", ""), table.get("phone", "e164")
    if "hash" in table and hash_name not in HASHES:
        raise UsageError(
            f"{title}: hash = {hash_name!r}",
            f"it is {', '.join(HASHES)}; without it identities go as they are",
        )
    if phone not in PHONES:
        raise UsageError(f"{title}: phone = {phone!r}", "it is one of " + ", ".join(PHONES))
    if "phone" in table and "hash" not in table:
        raise UsageError(
            f"{title}: phone says what is hashed of a phone number, and nothing is hashed",
            'add hash = "sha256"',
        )
    return str(hash_name), str(phone)


def _identities(title: str, table: Mapping[str, object]) -> tuple[str, ...] | None:
    if "identities" not in table:
        return None
    names = table["identities"]
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise UsageError(
            f"{title}: identities must be a list of types",
            'for example ["email", "mobile_number"]; without it all user identities go',
        )
    chosen = set()
    for name in names:
        kind = type_named(name)
        if kind is None:
            raise UsageError(f"{title}: there is no identity type {name!r}", no_type(name).hint)
        chosen.add(kind.name)
    return tuple(kind.name for kind in TYPES if kind.name in chosen)


def _attributes(title: str, keys: object) -> tuple[str, ...]:
    if not isinstance(keys, list) or not all(isinstance(key, str) and key for key in keys):
        raise UsageError(
            f"{title}: attributes must be a list of names",
            'for example ["tier"]; without it none go',
        )
    return tuple(sorted(set(keys)))


def identities_sent(
    connection: AudienceConnection, identities: Mapping[str, Sequence[str]]
) -> list[dict[str, str]]:
    """Return the identities of a person as they go: type, encoding, value (domain.md 11.2).

    If identities are hashed, one without a normal form is left out: nobody could match it.
    """
    values: dict[tuple[str, str], None] = {}
    for kind in connection.types():
        for value in identities.get(kind.name, ()):
            sent = _hashed(connection, kind.name, value) if connection.hash else value
            if sent is not None:
                values[kind.name, sent] = None
    return [
        {"type": name, "encoding": connection.hash or "raw", "value": value}
        for name, value in values
    ]


def _hashed(connection: AudienceConnection, kind: str, value: str) -> str | None:
    # Receivers hash their own side in normal form, so another spelling would match nobody.
    text = FORMS[kind](value) if kind in FORMS else value
    if text is None:
        return None
    if FORMS.get(kind) is phone_in_form and connection.phone == "digits":
        text = text.removeprefix("+")
    return hashlib.sha256(text.encode()).hexdigest()


def mention_any(identities: Sequence[Mapping[str, str]], values: Iterable[str]) -> bool:
    """Return whether a message's identities have one of some values, in any form they may go in."""
    return any(
        _is_told(identity["type"], identity["value"], value)
        for identity in identities
        for value in values
    )


def _is_told(kind: str, sent: str, value: str) -> bool:
    key = key_of(BY_NAME[kind], value)
    if key_of(BY_NAME[kind], sent) == key:
        return True
    texts = {value, FORMS[kind](value) or value if kind in FORMS else value}
    # Other connections may have hashed the digits alone.
    texts |= {text.removeprefix("+") for text in texts}
    return sent in {hashlib.sha256(text.encode()).hexdigest() for text in texts}


def attributes_sent(
    action: str, held: Mapping[str, str], before: Mapping[str, str], after: Mapping[str, str]
) -> list[dict[str, Value]]:
    """Return the attributes that go with a message (domain.md 11.2).

    action: ADD, DELETE or UPDATE. held: the person's held values of the attributes that go. before,
    after: the fingerprints of the values that the output has, and of the person's.
    """
    if action == DELETE:
        return []
    # A new member gets all values, even if it was a member before and the output had them then.
    output_has = {} if action == ADD else before
    upserts: list[dict[str, Value]] = [
        {"key": key, "value": parse_json(held_json(value)), "action": "upsert"}
        for key, value in sorted(held.items())
        if output_has.get(key) != after.get(key)
    ]
    # Also for a new member: the output may still have attributes from before.
    return upserts + [
        {"key": key, "action": "delete"} for key in sorted(before) if key not in after
    ]


@dataclass(frozen=True, slots=True)
class AudienceMessage:
    """A message to an output about a member of an audience."""

    message: str
    """Its id."""
    at_ms: int
    """When it was made."""
    mpid: int
    """The person's MPID."""
    environment: str
    """The person's environment."""
    audience: int
    """The number of the audience."""
    audience_name: str
    """The name of the audience."""
    action: str
    """ADD, DELETE or UPDATE."""
    since_ms: int
    """Since when the person is in the audience."""
    identities: Sequence[Mapping[str, str]]
    """The identities that go (identities_sent)."""
    attributes: Sequence[Mapping[str, Value]] = ()
    """The attributes that go (attributes_sent)."""

    def document(self) -> dict[str, Value]:
        """Return the message as the platform has it; `id`, `environment`, `since_ms` are ours."""
        audience: dict[str, Value] = {
            "audience_id": whole(self.audience),
            "audience_name": self.audience_name,
            "action": self.action,
            "since_ms": whole(self.since_ms),
            "user_attributes": [dict(attribute) for attribute in self.attributes],
        }
        profile: dict[str, Value] = {
            "mpid": str(self.mpid),
            "user_identities": self._identities_of(device=False),
            "device_identities": self._identities_of(device=True),
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

    def _identities_of(self, *, device: bool) -> list[Value]:
        return [
            dict(identity)
            for identity in self.identities
            if BY_NAME[identity["type"]].device is device
        ]


def fingerprints(text: str | None) -> dict[str, str]:
    """Read the fingerprints of attributes as the store keeps them."""
    return dict(json.loads(text)) if text else {}
