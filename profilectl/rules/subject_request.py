"""A person's request as OpenDSR writes it: its fields, and the time at which it is carried out.

Source: domain.md 14.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from profilectl.codes import InputRefused
from profilectl.rules.identity import display, type_named
from profilectl.rules.text.values import Number, Value

DAY_MS = 24 * 60 * 60 * 1000
WAITING_MS = 7 * DAY_MS
"""The time for which an erasure waits and may be cancelled, unless it skips the waiting."""
KEPT_MS = 365 * DAY_MS
"""The time for which the record of a request is kept after it was answered."""
MOST_IDENTITIES = 50
EXTENSION = "opendsr.mparticle.com"
VERSION = "3.0"

TYPES = ("access", "portability", "erasure")
REGULATIONS = ("gdpr", "ccpa")
STATUSES = ("pending", "in_progress", "completed", "cancelled")
FIELDS = (
    "regulation",
    "subject_request_id",
    "subject_request_type",
    "submitted_time",
    "subject_identities",
    "api_version",
    "status_callback_urls",
    "group_id",
    "extensions",
)
EXTENSION_FIELDS = ("skip_waiting_period", "subject_identities")
_UUID4 = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class SubjectRequest:
    """A request that may be carried out."""

    id: str
    """Its UUID."""
    type: str
    """Its type, one of TYPES."""
    regulation: str
    """The regulation that it rests on, one of REGULATIONS."""
    submitted_ms: int
    """The time at which it was submitted, as the request states it."""
    identities: tuple[tuple[str, str], ...]
    """The identities of the person: (type or mpid, value)."""
    skip_waiting: bool
    """Whether an erasure does not wait."""
    group_id: str | None
    """The group that it belongs to, if any."""
    callbacks: tuple[str, ...]
    """The addresses that get each new status."""

    def due_ms(self, received_ms: int) -> int:
        """Return the earliest time at which it is carried out."""
        return received_ms + (WAITING_MS if self.type == "erasure" and not self.skip_waiting else 0)


def read_request(document: Value, title: str) -> SubjectRequest:
    """Read a request (domain.md 14).

    title: the name of the document in messages. Raises InputRefused, naming the field.
    """
    fields = _object(document, title)
    _check_names(fields, FIELDS, title)
    extension = _extension(fields, title)
    skip = extension.get("skip_waiting_period", False)
    if not isinstance(skip, bool):
        raise InputRefused(
            f"{title}: extensions.{EXTENSION}.skip_waiting_period must be true or false"
        )
    uuid = _text(fields, "subject_request_id", title)
    if not _UUID4.fullmatch(uuid):
        raise InputRefused(f"{title}: subject_request_id must be a UUID of version 4")
    if fields.get("api_version", VERSION) not in (VERSION, Number(VERSION)):
        raise InputRefused(f"{title}: api_version must be {VERSION}")
    callbacks = _callbacks(fields, title)
    identities = _all_identities(fields, extension, title)
    # A UUID means the same in upper case, and a repeated request must be recognized.
    return SubjectRequest(
        id=uuid.lower(),
        type=_choice(fields, "subject_request_type", title, choices=TYPES),
        regulation=_choice(fields, "regulation", title, choices=REGULATIONS),
        submitted_ms=_time_ms(_text(fields, "submitted_time", title), f"{title}: submitted_time"),
        identities=tuple(identities.items()),
        skip_waiting=skip,
        group_id=_text(fields, "group_id", title) if fields.get("group_id") is not None else None,
        callbacks=callbacks,
    )


def _check_names(fields: Iterable[str], names: tuple[str, ...], title: str) -> None:
    for name in fields:
        if name not in names:
            raise InputRefused(
                f"{title}: there is no field {name}", "the fields are " + ", ".join(names)
            )


def _extension(fields: Mapping[str, Value], title: str) -> Mapping[str, Value]:
    """Return the platform's extension of a request. Raises InputRefused."""
    extensions = _object(fields.get("extensions", {}), f"{title}: extensions")
    own_title = f"{title}: extensions.{EXTENSION}"
    extension = _object(extensions.get(EXTENSION, {}), own_title)
    for name in extension:
        if name not in EXTENSION_FIELDS:
            raise InputRefused(
                f"{own_title}: there is no field {name}", f"it has {' and '.join(EXTENSION_FIELDS)}"
            )
    return extension


def _callbacks(fields: Mapping[str, Value], title: str) -> tuple[str, ...]:
    callbacks = fields.get("status_callback_urls", [])
    if not isinstance(callbacks, list) or not all(
        isinstance(url, str) and not isinstance(url, Number) for url in callbacks
    ):
        raise InputRefused(f"{title}: status_callback_urls must be a list of texts")
    return tuple(map(str, callbacks))


def _all_identities(
    fields: Mapping[str, Value], extension: Mapping[str, Value], title: str
) -> dict[str, str]:
    """Return the identities of a request and of its extension: type or mpid -> value.

    Raises InputRefused.
    """
    own_title = f"{title}: subject_identities"
    identities = {
        **_identities(fields.get("subject_identities", {}), own_title),
        **_identities(
            extension.get("subject_identities", {}),
            f"{title}: extensions.{EXTENSION}.subject_identities",
            in_extension=True,
        ),
    }
    if not identities:
        raise InputRefused(f"{own_title}: a request needs an identity")
    if len(identities) > MOST_IDENTITIES:
        raise InputRefused(
            f"{own_title}: {len(identities)} identities, more than {MOST_IDENTITIES}"
        )
    if "mpid" in identities and len(identities) > 1:
        raise InputRefused(f"{title}: mpid must be the only identity")
    return identities


def _object(value: Value, title: str) -> Mapping[str, Value]:
    if not isinstance(value, dict):
        raise InputRefused(f"{title} must be an object")
    return value


def _text(fields: Mapping[str, Value], name: str, title: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or isinstance(value, Number) or not value.strip():
        raise InputRefused(
            f"{title}: {name} must be a text" if name in fields else f"{title}: {name} is missing"
        )
    return value.strip()


def _choice(fields: Mapping[str, Value], name: str, title: str, *, choices: tuple[str, ...]) -> str:
    value = _text(fields, name, title).lower()
    if value not in choices:
        raise InputRefused(f"{title}: {name} must be one of {', '.join(choices)}")
    return value


def _time_ms(text: str, title: str) -> int:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise InputRefused(f"{title} must be a time such as 2026-11-23T18:30:00Z") from None
    # A time without an offset is in UTC.
    return round((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)


def _identities(value: Value, title: str, *, in_extension: bool = False) -> dict[str, str]:
    """Return identities: type -> value; those of the extension may be an mpid.

    Raises InputRefused.
    """
    identities: dict[str, str] = {}
    for name, identity in _object(value, title).items():
        kind = type_named(name)
        # OpenDSR knows no MPID, so it may stand in the platform's extension only.
        if kind is None and not (in_extension and name == "mpid"):
            raise InputRefused(
                f"{title}: there is no identity type {name}"
                + (f"; mpid belongs into the extension {EXTENSION}" if name == "mpid" else "")
            )
        text = _identity_value(identity, f"{title}.{name}")
        if kind is None and not (
            re.fullmatch("-?[0-9]{1,19}", text) and -(2**63) <= int(text) < 2**63
        ):
            raise InputRefused(f"{title}.{name}.value must be a whole number of 64 bits")
        key = kind.name if kind else name
        if key in identities:
            raise InputRefused(f"{title}: {key} is named twice")
        identities[key] = display(text)
    return identities


def _identity_value(identity: Value, title: str) -> str:
    members = _object(identity, title)
    if members.get("encoding", "raw") != "raw":
        raise InputRefused(f"{title}.encoding must be raw")
    # A value may be a JSON number, which is a Number and so a str.
    text = members.get("value")
    if not isinstance(text, str) or not display(text):
        raise InputRefused(f"{title}.value must be a text")
    return text
