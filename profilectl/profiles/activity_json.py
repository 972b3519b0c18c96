"""The activity of a person as JSON: history, devices, consent, timeline, and the standing."""

from __future__ import annotations

from collections.abc import Sequence

from profilectl.profiles.activity import (
    Activity,
    AttributeChange,
    Carried,
    Device,
    HeldIdentity,
    Origin,
    SeenEvent,
    Touch,
)
from profilectl.rules.text.values import DELETED, Value, held_json, parse_json, to_json, whole


def members(activity: Activity, names: Sequence[str]) -> str:
    """Return some parts of an activity as members of a JSON object.

    The names are history, devices, consent, attribution and timeline. Values are exactly as they
    are held.
    """
    return ",".join(f'"{name}":{to_json(_part(activity, name))}' for name in names)


def _part(activity: Activity, name: str) -> Value:
    match name:
        case "history":
            return {
                key: [entry_json(change) for change in changes]
                for key, changes in sorted(activity.history.items())
            }
        case "devices":
            return devices_json(activity.devices())
        case "consent":
            return [
                {
                    "regulation": regulation,
                    "purpose": purpose,
                    "said": statement,
                    **origin_json(origin),
                }
                for (regulation, purpose), (statement, origin) in sorted(activity.consent().items())
            ]
        case "attribution":
            return activity.attribution()
    return [touch_json(touch) for touch in activity.timeline()]


def devices_json(devices: Sequence[Device]) -> list[Value]:
    """Return devices as JSON."""
    return [
        {
            "identities": dict(device.identities),
            "first_seen_ms": whole(device.first_seen_ms),
            "last_seen_ms": whole(device.last_seen_ms),
            "info": device.info,
            **({"attribution": device.attribution} if device.attribution else {}),
            **(
                {"earlier": {kind: [*texts] for kind, texts in device.earlier.items()}}
                if device.earlier
                else {}
            ),
        }
        for device in devices
    ]


def standing_json(activity: Activity) -> dict[str, Value]:
    """Return opt-outs, tracking and audiences as members of a JSON object (domain.md 2)."""
    memberships = activity.standing.memberships if activity.standing else ()
    return {
        "partner_identities": {
            name: value for name, (value, _) in activity.partner_identities().items()
        },
        "is_opted_out": activity.opted_out(),
        "limit_ad_tracking": activity.limit_ad_tracking(),
        "audience_memberships": [
            {
                "audience_id": whole(membership.audience),
                "audience_name": membership.name,
                "since_ms": whole(membership.since_ms),
                "expiration_timestamp_ms": None
                if membership.expires_ms is None
                else whole(membership.expires_ms),
            }
            for membership in memberships
        ],
    }


def origin_json(origin: Origin) -> dict[str, Value]:
    """Return where something comes from, as JSON."""
    return {
        "source": origin.feed.source,
        "feed": origin.feed.name,
        "import": whole(origin.import_number),
        "file": origin.file,
        origin.unit: whole(origin.place),
        "set_ms": whole(origin.at_ms),
    }


def entry_json(entry: AttributeChange) -> dict[str, Value]:
    """Return what a row did to an attribute, as JSON.

    If there is no value, the member is left out: null would be a tag, which is a value.
    """
    document: dict[str, Value] = {"change": entry.kind}
    if entry.held != DELETED:
        document["value"] = parse_json(held_json(entry.held))
    if entry.before is not None:
        document["before"] = parse_json(held_json(entry.before))
    return document | {"code": entry.code or None} | origin_json(entry.origin)


def touch_json(touch: Touch) -> dict[str, Value]:
    """Return what a batch did, as JSON.

    An alias, and a batch of another profile that took identities away, have the same form.
    """
    return origin_json(touch.origin) | {
        "founded": touch.founded,
        "identities_added": [_identity_json(identity) for identity in touch.added],
        "identities_removed": [_identity_json(identity) for identity in touch.removed],
        "attributes": [
            {"attribute": change.key, **_only(entry_json(change))} for change in touch.entries
        ],
        "events": [event_json(event) for event in touch.events] if touch.alias is None else [],
        "rest": touch.rest if touch.alias is None else {},
        "alias": _alias_json(touch.alias, touch.events) if touch.alias else None,
        "taken_by": str(touch.taker) if touch.taker is not None else None,
    }


def _identity_json(identity: HeldIdentity) -> dict[str, Value]:
    return {"type": identity.type, "value": identity.value}


def _alias_json(alias: Carried, events: Sequence[SeenEvent]) -> Value:
    return {
        "from": str(alias.source),
        "to": str(alias.destination),
        "start_ms": whole(alias.start_ms),
        "end_ms": whole(alias.end_ms),
        "due_ms": whole(alias.due_ms),
        "in_force": alias.in_force,
        "first_seen_ms": whole(alias.first_seen_ms),
        "events": [event_json(event) for event in events],
    }


def event_json(event: SeenEvent) -> dict[str, Value]:
    """Return an event as JSON: what it is found by, and the whole of it."""
    return {
        "type": event.type,
        "name": event.name,
        "at_ms": whole(event.at_ms),
        "session": event.session,
        "event": event.document,
    }


def _only(entry: dict[str, Value]) -> dict[str, Value]:
    return {
        name: value
        for name, value in entry.items()
        if name in ("change", "value", "before", "code")
    }
