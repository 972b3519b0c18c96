"""The rule of UID2: the values an operator is asked about, their form, and the use of its answer.

Sources: domain.md 15. The operator gets the hash of a normalised value, never the value itself.
"""

from __future__ import annotations

import base64
import hashlib
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from profilectl.rules.text.normal_form import EMAIL, PHONE, WHITE, lowered

EVENT = "UID2 Enriched"
EVENT_TYPE = "other"
ENRICHED_AT = "uid2_enriched_at"
"""The user attribute that says when the operator was asked last and answered, in epoch
milliseconds.
"""
REFRESH_FROM = "uid2_refresh_from_ms"
"""The user attribute that says from when on a UID may be another one, in epoch milliseconds."""
STATUS = "uid2_status"
FEED, SOURCE, PROTECTION = "uid2", "custom-feed", "update-only"
"""The feed of answers.

It may only update: an answer never makes anybody of a profile that was erased meanwhile.
"""
PARTNER_IDENTITY = "TheTradeDesk_UID2"
OLDER_THAN_DAYS = 30
MOST_ITEMS = 5000
"""How many e-mails and phones an operator takes in a request."""
NAMESPACE = uuid.UUID("6f1d2c0a-5b64-5f0e-9c39-7a1f0f1f6e02")
"""The namespace of the request ids of answers (request_id)."""


@dataclass(frozen=True, slots=True)
class Uid2Kind:
    """A kind of identity that an operator is asked about."""

    name: str
    """Its name."""
    types: tuple[str, ...]
    """The identity types of this kind; of two that came together, the first is asked."""
    usable: str
    """The pattern that a normalised value meets as a whole."""
    rank: int
    """The higher is asked where a profile has several kinds."""


# fmt: off
KINDS: dict[str, Uid2Kind] = {
    #                  name     types                                    usable  rank
    "email": Uid2Kind("email", ("email",),                               EMAIL,  2),
    "phone": Uid2Kind("phone", ("mobile_number", "phone_number_2", "phone_number_3"), PHONE, 1),
}

# Patterns that are left out of the part before the @, by domain, in order. Every e-mail was trimmed
# and lower-cased before.
LEFT_OUT: dict[str, tuple[str, ...]] = {
    "gmail.com": (r"\+.*", r"\."),
}


@dataclass(frozen=True, slots=True)
class Uid2Answer:
    """The effect of an answer on a profile."""

    word: str
    """The operator's word for it; "": a UID."""
    uid: str
    """What becomes of the stored UID: set, removed or kept."""
    event: bool
    """Whether the batch has an event."""
    deletes: tuple[str, ...] = ()
    """The attributes that are deleted."""


ANSWERS: dict[str, Uid2Answer] = {
    # status             word                  uid        event   deletes
    "mapped":     Uid2Answer("",                   "set",     True),
    "optout":     Uid2Answer("optout",             "removed", False, (REFRESH_FROM,)),
    "invalid":    Uid2Answer("invalid identifier", "kept",    False),
}
# fmt: on


def normalised(kind: str, value: str) -> str | None:
    """Return a value in the form that is hashed; None: it may not be asked. kind: a name of KINDS.

    Only ASCII letters change their case, as in the operators' own libraries.

    >>> normalised("email", " Jane.Saoirse+news@Gmail.com"), normalised("phone", "+1 234 567")
    ('janesaoirse@gmail.com', None)
    >>> normalised("email", "jane") is None
    True
    """
    text = value.strip(WHITE)
    if kind == "email":
        text = lowered(value)
        local, at, domain = text.partition("@")
        for pattern in LEFT_OUT.get(domain, ()):
            local = re.sub(pattern, "", local, flags=re.DOTALL)
        text = local + at + domain
    return text if re.fullmatch(KINDS[kind].usable, text) else None


def hashed(text: str) -> str:
    """Return the hash by which the operator knows a normalised value.

    >>> hashed("user@example.com")
    'tMmiiTI7IaAcPpQPFQ65uMVCWH8av9jw4cwf/F5HVRQ='
    """
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


@dataclass(frozen=True, slots=True)
class Uid2Identity:
    """An identity of a profile."""

    type: str
    """Its type."""
    value: str
    """Its value."""
    arrival: int
    """When it came."""


class Uid2Value(NamedTuple):
    """The value that is asked for a profile."""

    kind: str
    """Of KINDS."""
    text: str
    """The normalised value."""
    arrival: int
    """When the identity came."""


def asked(identities: Sequence[Uid2Identity]) -> Uid2Value | None:
    """Return the value that is asked for a profile; None: it has none.

    It is one value, because a partner identity holds one UID: the newest usable e-mail, else the
    newest usable phone.
    """
    candidates = [
        (
            (kind.rank, identity.arrival, -kind.types.index(identity.type)),
            Uid2Value(kind.name, text, identity.arrival),
        )
        for identity in identities
        for kind in KINDS.values()
        if identity.type in kind.types
        and (text := normalised(kind.name, identity.value)) is not None
    ]
    return max(candidates)[1] if candidates else None


def waits(refresh_from_ms: int | None, enriched: int | None, arrival: int, now_ms: int) -> bool:
    """Return whether a profile need not be asked for, because its UID is still good.

    enriched: the arrival of the answer that set refresh_from_ms; arrival: of the identity that
    would be asked. An identity that came after the answer has another UID, so it does not wait.
    """
    return (
        refresh_from_ms is not None
        and enriched is not None
        and refresh_from_ms > now_ms
        and arrival < enriched
    )


def request_id(mpid: int, uid: str, refresh_from_s: int) -> str:
    """Return the source_request_id of an answer.

    The same answer for the same profile has the same id, and is taken once. Where there is no
    UID, uid is the status and refresh_from_s the time of asking.
    """
    return str(uuid.uuid5(NAMESPACE, f"{mpid} {uid} {refresh_from_s}"))


def batch_of(
    mpid: int,
    environment: str,
    status: str,
    uid: str | None,
    refresh_from_s: int | None,
    *,
    partner_identity: str,
    now_ms: int,
) -> dict[str, object]:
    """Return the batch that an answer becomes.

    status: of ANSWERS; uid, refresh_from_s: of a mapped one.
    """
    answer = ANSWERS[status]
    attributes: dict[str, object] = {ENRICHED_AT: now_ms, STATUS: status}
    batch: dict[str, object] = {"mpid": mpid, "environment": environment}
    if answer.event and uid is not None and refresh_from_s is not None:
        batch["source_request_id"] = request_id(mpid, uid, refresh_from_s)
        attributes[REFRESH_FROM] = refresh_from_s * 1000
    else:
        batch["source_request_id"] = request_id(mpid, status, now_ms // 1000)
    batch["user_attributes"] = attributes
    if answer.deletes:
        batch["deleted_user_attributes"] = list(answer.deletes)
    if answer.uid != "kept":
        batch["partner_identities"] = {partner_identity: uid if answer.uid == "set" else None}
    if answer.event:
        data = {
            "event_name": EVENT,
            "custom_event_type": EVENT_TYPE,
            "timestamp_unixtime_ms": now_ms,
        }
        batch["events"] = [{"event_type": "custom_event", "data": data}]
    return batch
