"""A profile as the Profile API tells it (domain.md 9), and as our own requests do.

Here everything is text: an attribute that is a number in the store is told as its digits (design.md
R4).
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from profilectl.profiles.activity import Activity, AttributeChange
from profilectl.profiles.activity_json import origin_json, standing_json
from profilectl.rules.consent import state_of
from profilectl.rules.feed import ACCOUNT
from profilectl.rules.identity import BY_NAME
from profilectl.rules.text.values import Value, as_text, held_json, parse_json, to_json, whole

# fmt: off
API_NAMES: dict[str, str | None] = {
    # how the Profile API calls an identity type, where not as the store does (domain.md 3.1, 3.2);
    # None: it does not tell it
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


def _identities(one: Activity, *, device: bool) -> Value:
    told = [
        (API_NAMES.get(held.type, held.type), held.value)
        for held in one.identities
        if BY_NAME[held.type].device is device
    ]
    return [
        {"type": name, "encoding": "none", "value": value}
        for name, value in told
        if name is not None
    ]


def text_of(held: str) -> Value:
    """Return a held value as text or a list of texts; a tag is null."""
    return as_text(parse_json(held_json(held)))


def _is_of_account(entry: AttributeChange) -> bool:
    return entry.origin.feed.source == ACCOUNT


def _attributes(one: Activity) -> Value:
    told = {
        key: text_of(entry.held) for key, entry in one.stored().items() if not _is_of_account(entry)
    }
    told |= {name: text_of(held) for name, held in one.calculated().items() if held is not None}
    return dict(sorted(told.items()))


def _account(one: Activity) -> Value:
    told = {
        key: text_of(entry.held)
        for key, entry in sorted(one.stored().items())
        if _is_of_account(entry)
    }
    return {**told} or None


def _memberships(one: Activity) -> Value:
    return [
        {
            "audience_id": whole(each.audience),
            "audience_name": each.name,
            "expiration_timestamp_ms": None if each.expires_ms is None else whole(each.expires_ms),
        }
        for each in (one.standing.memberships if one.standing else ())
    ]


def _attribution(one: Activity) -> Value:
    """Return the install attributions, the one stated last first, then those of the other devices."""
    found: list[Value] = []
    for stated in (one.attribution(), *(device.attribution for device in one.devices())):
        told = {name: stated.get(name) for name in ("service_provider", "publisher", "campaign")}
        if stated and told not in found:
            found.append({**told})
    return found


def _consent(one: Activity) -> Value:
    return state_of({purpose: said for purpose, (said, _) in one.consent().items()})


# What `fields` may name, in the order in which it is told.
FIELDS: dict[str, Callable[[Activity], Value]] = {
    "device_identities": lambda one: _identities(one, device=True),
    "user_identities": lambda one: _identities(one, device=False),
    "user_attributes": _attributes,
    "audience_memberships": _memberships,
    "attribution": _attribution,
    "consent_state": _consent,
}


def api_document(one: Activity, fields: Collection[str]) -> str:
    """Return the JSON body of the Profile API. The MPID is a number, exactly."""
    body: dict[str, Value] = {
        "mpid": whole(one.mpid),
        "created_timestamp_ms": whole(one.first_seen_ms),
        "last_stored_timestamp_ms": whole(one.last_seen_ms),
        "is_opted_out": one.opted_out(),
        "limit_ad_tracking": one.limit_ad_tracking(),
        "account_userattributes": _account(one),
    }
    return to_json(body | {name: tell(one) for name, tell in FIELDS.items() if name in fields})


def own_document(one: Activity) -> dict[str, Value]:
    """Return a profile as `profilectl show --json` has it: values as they are held, each with where
    it comes from.
    """
    identities: dict[bool, dict[str, Value]] = {False: {}, True: {}}
    for held in one.identities:
        values = identities[BY_NAME[held.type].device].setdefault(held.type, [])
        assert isinstance(values, list)
        values.append(held.value)
    stored = one.stored()
    values_of: dict[str, Value] = {
        key: parse_json(held_json(entry.held)) for key, entry in stored.items()
    }
    values_of |= {
        name: parse_json(held_json(held))
        for name, held in one.calculated().items()
        if held is not None
    }
    provenance: dict[str, Value] = {
        key: dict(origin_json(entry.origin)) for key, entry in stored.items()
    }
    provenance |= {
        name: {"source": "calculated"}
        for name, held in one.calculated().items()
        if held is not None
    }
    return {
        "mpid": str(one.mpid),
        "environment": one.environment,
        "workspace": one.workspace,
        "first_seen_ms": whole(one.first_seen_ms),
        "last_seen_ms": whole(one.last_seen_ms),
        "user_identities": dict(sorted(identities[False].items())),
        "device_identities": dict(sorted(identities[True].items())),
        "user_attributes": dict(sorted(values_of.items())),
        "provenance": dict(sorted(provenance.items())),
        **standing_json(one),
    }
