"""A person's request as OpenDSR writes it: what it must have, and when it is carried out (domain.md
14).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from profilectl.codes import InputRefused
from profilectl.rules.identity import display, type_named
from profilectl.rules.text.values import Number, Value

DAY_MS = 24 * 60 * 60 * 1000
WAITING_MS = 7 * DAY_MS
"""So long an erasure waits, and may be cancelled, unless it skips that."""
KEPT_MS = 365 * DAY_MS
"""So long the record of a request is kept after it was answered."""
MOST_IDENTITIES = 50
EXTENSION = "opendsr.mparticle.com"
VERSION = "3.0"

TYPES = ("access", "portability", "erasure")
REGULATIONS = ("gdpr", "ccpa")
STATUSES = ("pending", "in_progress", "completed", "cancelled")
FIELDS = (
    "regulation", "subject_request_id", "subject_request_type", "submitted_time", "subject_identities", "api_version", "status_callback_urls",
    "group_id", "extensions",
)  # fmt: skip
_UUID4 = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class SubjectRequest:
    """A request that may be carried out.

    identities: (type, or mpid, and value); submitted_ms: by its own words.
    """

    id: str
    type: str
    regulation: str
    submitted_ms: int
    identities: tuple[tuple[str, str], ...]
    skip_waiting: bool
    group_id: str | None
    callbacks: tuple[str, ...]

    def due_ms(self, received_ms: int) -> int:
        """Return when it is carried out at the earliest."""
        return received_ms + (WAITING_MS if self.type == "erasure" and not self.skip_waiting else 0)


def read_request(document: Value, where: str) -> SubjectRequest:
    """Read a request. where: what names it in a message. Raises InputRefused, saying which field is
    wrong.
    """
    found = _object(document, where)
    for name in found:
        if name not in FIELDS:
            raise InputRefused(
                f"{where}: there is no field {name}", "the fields are " + ", ".join(FIELDS)
            )
    extension = _object(
        _object(found.get("extensions", {}), f"{where}: extensions").get(EXTENSION, {}),
        f"{where}: extensions.{EXTENSION}",
    )
    for name in extension:
        if name not in ("skip_waiting_period", "subject_identities"):
            raise InputRefused(
                f"{where}: extensions.{EXTENSION}: there is no field {name}",
                "it has skip_waiting_period and subject_identities",
            )
    skip = extension.get("skip_waiting_period", False)
    if not isinstance(skip, bool):
        raise InputRefused(
            f"{where}: extensions.{EXTENSION}.skip_waiting_period must be true or false"
        )
    name = _text(found, "subject_request_id", where)
    if not _UUID4.fullmatch(name):
        raise InputRefused(f"{where}: subject_request_id must be a UUID of version 4")
    if found.get("api_version", VERSION) not in (VERSION, Number(VERSION)):
        raise InputRefused(f"{where}: api_version must be {VERSION}")
    callbacks = found.get("status_callback_urls", [])
    if not isinstance(callbacks, list) or not all(
        isinstance(one, str) and not isinstance(one, Number) for one in callbacks
    ):
        raise InputRefused(f"{where}: status_callback_urls must be a list of texts")
    identities = {
        **_identities(found.get("subject_identities", {}), f"{where}: subject_identities"),
        **_identities(
            extension.get("subject_identities", {}),
            f"{where}: extensions.{EXTENSION}.subject_identities",
            extension=True,
        ),
    }
    if not identities:
        raise InputRefused(f"{where}: subject_identities: a request needs an identity")
    if len(identities) > MOST_IDENTITIES:
        raise InputRefused(
            f"{where}: subject_identities: {len(identities)} identities, more than {MOST_IDENTITIES}"
        )
    if "mpid" in identities and len(identities) > 1:
        raise InputRefused(f"{where}: mpid must be the only identity")
    return SubjectRequest(
        name.lower(),
        _choice(found, "subject_request_type", TYPES, where),
        _choice(found, "regulation", REGULATIONS, where),
        _time_ms(_text(found, "submitted_time", where), f"{where}: submitted_time"),
        tuple(identities.items()),
        skip,
        _text(found, "group_id", where) if found.get("group_id") is not None else None,
        tuple(map(str, callbacks)),
    )


def _object(value: Value, where: str) -> Mapping[str, Value]:
    if not isinstance(value, dict):
        raise InputRefused(f"{where} must be an object")
    return value


def _text(found: Mapping[str, Value], name: str, where: str) -> str:
    value = found.get(name)
    if not isinstance(value, str) or isinstance(value, Number) or not value.strip():
        raise InputRefused(
            f"{where}: {name} must be a text" if name in found else f"{where}: {name} is missing"
        )
    return value.strip()


def _choice(found: Mapping[str, Value], name: str, choices: tuple[str, ...], where: str) -> str:
    value = _text(found, name, where).lower()
    if value not in choices:
        raise InputRefused(f"{where}: {name} must be one of {', '.join(choices)}")
    return value


def _time_ms(stated: str, where: str) -> int:
    try:
        at = datetime.fromisoformat(stated)
    except ValueError:
        raise InputRefused(f"{where} must be a time such as 2026-11-23T18:30:00Z") from None
    return round((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)


def _identities(value: Value, where: str, *, extension: bool = False) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, one in _object(value, where).items():
        kind = type_named(name)
        if kind is None and not (extension and name == "mpid"):
            raise InputRefused(
                f"{where}: there is no identity type {name}"
                + (f"; mpid belongs into the extension {EXTENSION}" if name == "mpid" else "")
            )
        said = _object(one, f"{where}.{name}")
        if said.get("encoding", "raw") != "raw":
            raise InputRefused(f"{where}.{name}.encoding must be raw")
        text = said.get("value")
        if not isinstance(text, str) or not display(text):
            raise InputRefused(f"{where}.{name}.value must be a text")
        if kind is None and not (
            re.fullmatch("-?[0-9]{1,19}", text) and -(2**63) <= int(text) < 2**63
        ):
            raise InputRefused(f"{where}.{name}.value must be a whole number of 64 bits")
        key = kind.name if kind else name
        if key in found:
            raise InputRefused(f"{where}: {key} is named twice")
        found[key] = display(text)
    return found
