"""TODO outputs.as_input (split off rules.leaving.connection)."""

from __future__ import annotations

from collections.abc import Mapping

from profilectl.rules.leaving.enrichment import SOURCE_FEED
from profilectl.rules.text.values import Value

OURS = ("system_notifications", "audience_memberships", "mpid")
"""Fields of an outgoing batch that are not sent to the Events API."""


def as_input(document: Mapping[str, Value]) -> dict[str, Value]:
    """Return an outgoing batch as the Events API takes one: identities by type, the newest of each,
    nothing that only an outgoing batch has, and not this store's MPID, which is somebody else's
    there or nobody's. packing.py makes its attributes text and leaves out what the server sets.
    """
    found = {name: value for name, value in document.items() if name not in OURS}
    events = found.get("events")
    if isinstance(events, list):
        found["events"] = [_input_event(event) for event in events if isinstance(event, dict)]
    identities: dict[str, Value] = {}
    listed = document.get("user_identities")
    for one in listed if isinstance(listed, list) else ():
        if isinstance(one, dict):
            identities[str(one["identity_type"])] = one["identity"]
    found["user_identities"] = identities
    return found


def _input_event(event: Mapping[str, Value]) -> Value:
    stated = event.get("data")
    data = (
        {name: value for name, value in stated.items() if name != "message_id"}
        if isinstance(stated, dict)
        else {}
    )
    attributes = data.get("custom_attributes")
    if isinstance(attributes, dict):
        data["custom_attributes"] = {
            key: value for key, value in attributes.items() if key != SOURCE_FEED
        }
        if not data["custom_attributes"]:
            del data["custom_attributes"]
    return {**event, "data": data}
