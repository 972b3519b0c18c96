"""A profile and its attributes, as plain values."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from profilectl.library.short_repr import Short
from profilectl.profiles.activity import Activity, AttributeChange
from profilectl.rules.text.values import TAG, Number, Value, held_json, parse_json

if TYPE_CHECKING:
    from decimal import Decimal

    PlainValue = str | int | Decimal | bool | None | list["PlainValue"] | dict[str, "PlainValue"]


@dataclass(frozen=True, slots=True, repr=False)
class Attribute(Short):
    """A user attribute in force.

    A calculated attribute has the source "calculated", and no feed, file or time.
    """

    value: PlainValue
    """The value: text, int, Decimal, bool, a list, or None for a tag; nothing is rounded. A number
    with an exponent beyond a Decimal (1e999999999999999999999) is a values.Number, its text.
    """
    source: str
    """The source of the feed that set it."""
    feed: str | None
    """The feed that set it."""
    import_number: int | None
    """The number of the import that set it."""
    file: str | None
    """The file that it came from."""
    line: int | None
    """The line of that file."""
    set_ms: int | None
    """When it was set, in milliseconds since 1970."""


@dataclass(frozen=True, slots=True, repr=False)
class Profile(Short):
    """A profile."""

    mpid: int
    """Its MPID."""
    environment: str
    """Its environment."""
    first_seen_ms: int
    """When it was first seen, in milliseconds since 1970."""
    last_seen_ms: int
    """When it was last seen, in milliseconds since 1970."""
    identities: dict[str, list[str]]
    """Identity type -> values, oldest first."""
    attributes: dict[str, Attribute]
    """Name -> attribute, also calculated ones."""
    audiences: list[str]
    """The names of the audiences that the person is in."""
    is_opted_out: bool
    """Whether the person has opted out."""
    limit_ad_tracking: bool | None
    """Whether a device limits ad tracking; None: not known."""


def profile_of(activity: Activity) -> Profile:
    """Return a profile as plain values."""
    identities: dict[str, list[str]] = {}
    for held in activity.identities:
        identities.setdefault(held.type, []).append(held.value)
    attributes = {key: attribute_of(change) for key, change in activity.stored().items()}
    for key, held_value in activity.calculated().items():
        if held_value is not None:
            attributes[key] = _calculated(held_value)
    memberships = activity.standing.memberships if activity.standing else []
    return Profile(
        mpid=activity.mpid,
        environment=activity.environment,
        first_seen_ms=activity.first_seen_ms,
        last_seen_ms=activity.last_seen_ms,
        identities=identities,
        attributes=dict(sorted(attributes.items())),
        audiences=[membership.name for membership in memberships],
        is_opted_out=activity.opted_out(),
        limit_ad_tracking=activity.limit_ad_tracking(),
    )


def attribute_of(change: AttributeChange) -> Attribute:
    """Return what a row stated of an attribute as plain values."""
    origin = change.origin
    return Attribute(
        value=value_of(change.held),
        source=origin.feed.source,
        feed=origin.feed.name,
        import_number=origin.import_number,
        file=origin.file,
        line=origin.place,
        set_ms=origin.at_ms,
    )


def _calculated(held_value: str) -> Attribute:
    return Attribute(
        value=value_of(held_value),
        source="calculated",
        feed=None,
        import_number=None,
        file=None,
        line=None,
        set_ms=None,
    )


def value_of(held_value: str) -> PlainValue:
    """Return a value as a plain value of Python; held_value: as the store holds it."""
    return None if held_value == TAG else plain(parse_json(held_json(held_value)))


def _exact(number: Number) -> int | Decimal | Number:
    """Return a number as an int or a Decimal, or as its text if no Decimal can have it."""
    from decimal import Decimal, InvalidOperation

    if number.lstrip("-").isdigit():
        with contextlib.suppress(ValueError):  # more digits than Python reads as an int
            return int(number)
    try:
        exact = Decimal(number)
    except InvalidOperation:
        return number
    return exact if exact.is_finite() else number


def plain(value: Value) -> PlainValue:
    """Return a value as a plain value of Python; no digit of a number is lost."""
    if isinstance(value, Number):
        return _exact(value)
    if isinstance(value, dict):
        return {key: plain(member) for key, member in value.items()}
    return [plain(entry) for entry in value] if isinstance(value, list) else value
