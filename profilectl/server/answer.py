"""A profile as the Profile API answers with it (domain.md 9), and as our own requests do.

The Profile API knows only text: a number of the store becomes its digits (design.md R4).
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from profilectl.profiles.activity import Activity, AttributeChange
from profilectl.profiles.activity_json import origin_json, standing_json
from profilectl.rules.consent import state_of
from profilectl.rules.feed import ACCOUNT
from profilectl.rules.identity import BY_NAME
from profilectl.rules.text.values import (
    MARK,
    Value,
    as_text,
    held_json,
    parse_json,
    to_json,
    whole,
)

# fmt: off
API_NAMES: dict[str, str | None] = {
    # The Profile API's name of an identity type where the store has another (domain.md 3.1, 3.2).
    # None: the Profile API leaves the type out.
    "facebook":               "facebook_id",
    "twitter":                "twitter_id",
    "google":                 "google_id",
    "microsoft":              "microsoft_id",
    "yahoo":                  "yahoo_id",
    "ios_idfv":               "ios_vendor_id",
    "android_advertising_id": "google_advertising_id",
    "android_uuid":           "android_id",
    "push_token":             "push_notification_token",
    "mp_deviceid":            None,
}
# fmt: on


def _identities(activity: Activity, *, device: bool) -> Value:
    names = [
        (API_NAMES.get(identity.type, identity.type), identity.value)
        for identity in activity.identities
        if BY_NAME[identity.type].device is device
    ]
    return [
        {"type": name, "encoding": "none", "value": value}
        for name, value in names
        if name is not None
    ]


def text_of(held: str) -> Value:
    """Return a held value as text or a list of texts; a tag is null."""
    if not held.startswith(MARK):
        return held
    return as_text(parse_json(held_json(held)))


def _calculated(activity: Activity) -> dict[str, str]:
    """Return the calculated attributes that have a value, as held values."""
    return {name: value for name, value in activity.calculated().items() if value is not None}


def _is_of_account(entry: AttributeChange) -> bool:
    return entry.origin.feed.source == ACCOUNT


def _attributes(activity: Activity) -> Value:
    attributes = {
        key: text_of(entry.held)
        for key, entry in activity.stored().items()
        if not _is_of_account(entry)
    }
    attributes |= {name: text_of(value) for name, value in _calculated(activity).items()}
    return dict(sorted(attributes.items()))


def _account(activity: Activity) -> Value:
    attributes = {
        key: text_of(entry.held)
        for key, entry in sorted(activity.stored().items())
        if _is_of_account(entry)
    }
    return {**attributes} or None


def _memberships(activity: Activity) -> Value:
    return [
        {
            "audience_id": whole(each.audience),
            "audience_name": each.name,
            "expiration_timestamp_ms": None if each.expires_ms is None else whole(each.expires_ms),
        }
        for each in (activity.standing.memberships if activity.standing else ())
    ]


def _attribution(activity: Activity) -> Value:
    """Return the install attributions: the newest, then those of other devices."""
    attributions: list[Value] = []
    for attribution in (
        activity.attribution(),
        *(device.attribution for device in activity.devices()),
    ):
        fields = {
            name: attribution.get(name) for name in ("service_provider", "publisher", "campaign")
        }
        if attribution and fields not in attributions:
            attributions.append({**fields})
    return attributions


def _consent(activity: Activity) -> Value:
    return state_of({purpose: statement for purpose, (statement, _) in activity.consent().items()})


# The names that `fields` may have, in the order of the answer.
FIELDS: dict[str, Callable[[Activity], Value]] = {
    "device_identities": lambda activity: _identities(activity, device=True),
    "user_identities": lambda activity: _identities(activity, device=False),
    "user_attributes": _attributes,
    "audience_memberships": _memberships,
    "attribution": _attribution,
    "consent_state": _consent,
}


def api_document(activity: Activity, fields: Collection[str]) -> str:
    """Return the JSON body of the Profile API. The MPID is a number, exactly."""
    body: dict[str, Value] = {
        "mpid": whole(activity.mpid),
        "created_timestamp_ms": whole(activity.first_seen_ms),
        "last_stored_timestamp_ms": whole(activity.last_seen_ms),
        "is_opted_out": activity.opted_out(),
        "limit_ad_tracking": activity.limit_ad_tracking(),
        "account_userattributes": _account(activity),
    }
    return to_json(
        body | {name: value_of(activity) for name, value_of in FIELDS.items() if name in fields}
    )


def own_document(activity: Activity) -> dict[str, Value]:
    """Return a profile as `profilectl show --json` has it, with the origin of each value.

    Values keep their types: a number stays a number.
    """
    identities: dict[bool, dict[str, Value]] = {False: {}, True: {}}
    for identity in activity.identities:
        values = identities[BY_NAME[identity.type].device].setdefault(identity.type, [])
        assert isinstance(values, list)
        values.append(identity.value)
    stored, calculated = activity.stored(), _calculated(activity)
    values_of: dict[str, Value] = {
        key: parse_json(held_json(entry.held)) for key, entry in stored.items()
    }
    values_of |= {name: parse_json(held_json(value)) for name, value in calculated.items()}
    provenance: dict[str, Value] = {
        key: dict(origin_json(entry.origin)) for key, entry in stored.items()
    }
    provenance |= {name: {"source": "calculated"} for name in calculated}
    return {
        "mpid": str(activity.mpid),
        "environment": activity.environment,
        "workspace": activity.workspace,
        "first_seen_ms": whole(activity.first_seen_ms),
        "last_seen_ms": whole(activity.last_seen_ms),
        "user_identities": dict(sorted(identities[False].items())),
        "device_identities": dict(sorted(identities[True].items())),
        "user_attributes": dict(sorted(values_of.items())),
        "provenance": dict(sorted(provenance.items())),
        **standing_json(activity),
    }
