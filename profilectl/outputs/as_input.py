"""An outgoing batch as the input of another store: the form that the Events API takes."""

from __future__ import annotations

from collections.abc import Mapping

from profilectl.rules.leaving.enrichment import SOURCE_FEED
from profilectl.rules.text.values import Value

OURS = ("system_notifications", "audience_memberships", "mpid")
"""Fields of an outgoing batch that are not sent to the Events API."""


def as_input(document: Mapping[str, Value]) -> dict[str, Value]:
    """Return an outgoing batch as the Events API takes it.

    It has the newest identity of each type and no fields of our own. This store's MPID is left out,
    since at the receiver it names nobody, or somebody else. packing.py turns attributes into text
    and leaves out the fields that the server sets.
    """
    batch = {name: value for name, value in document.items() if name not in OURS}
    events = batch.get("events")
    if isinstance(events, list):
        batch["events"] = [_input_event(event) for event in events if isinstance(event, dict)]
    identities: dict[str, Value] = {}
    listed = document.get("user_identities")
    for identity in listed if isinstance(listed, list) else ():
        if isinstance(identity, dict):
            identities[str(identity["identity_type"])] = identity["identity"]
    batch["user_identities"] = identities
    return batch


def _input_event(event: Mapping[str, Value]) -> Value:
    fields = event.get("data")
    data = (
        {name: value for name, value in fields.items() if name != "message_id"}
        if isinstance(fields, dict)
        else {}
    )
    # The enrichment added the name of our feed, which the receiver does not have.
    attributes = data.get("custom_attributes")
    if isinstance(attributes, dict):
        data["custom_attributes"] = {
            key: value for key, value in attributes.items() if key != SOURCE_FEED
        }
        if not data["custom_attributes"]:
            del data["custom_attributes"]
    return {**event, "data": data}
