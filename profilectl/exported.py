"""A line of `export profiles --format jsonl` as what made it: the batches that make the profile again.

Sources: design.md 4 (the export), domain.md 2.1 (limits). The order is that of `export batches`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from profilectl.batch import Batch, Reading, batch_of
from profilectl.event import Event, read_events
from profilectl.fields import Unusable, json_type, whole_number
from profilectl.identity import type_named
from profilectl.values import Number, Value

# fmt: off
FIELDS = {
    # of a line         its JSON type
    "mpid":             str,
    "environment":      str,
    "workspace":        str,
    "first_seen_ms":    Number,
    "last_seen_ms":     Number,
    "user_identities":  dict,
    "device_identities": dict,
    "user_attributes":  dict,
    # with --whole
    "is_opted_out":     bool,
    "consent_state":    dict,
    "devices":          list,
}
MADE_ANEW = ("provenance", "limit_ad_tracking", "audience_memberships")
"""What a line says that follows from the rest where it is imported."""
MAKES_A_PROFILE = ("mpid", "workspace", "user_identities", "device_identities")
# fmt: on


def is_profile(document: Value) -> bool:
    """Say whether a JSON object is a line of an export of profiles: no batch and no flat row has all of these."""
    return isinstance(document, dict) and all(
        isinstance(document.get(name), FIELDS[name]) for name in MAKES_A_PROFILE
    )


@dataclass(slots=True)
class _Row:
    """One batch of a profile, before it is put together."""

    at_ms: Value
    stated: dict[str, Value] = field(default_factory=dict)
    attributes: dict[str, Value] = field(default_factory=dict)
    rest: dict[str, Value] = field(default_factory=dict)
    events: tuple[Event, ...] = ()


def read_profile(document: Value, reading: Reading) -> list[Batch]:
    """Read a line of an export of profiles. Raises Unusable.

    The first batch says the MPID alone. It is needed where somebody else has one of the identities too, so that
    nobody else is found by them (founders); else the second is the one that founds.
    """
    assert isinstance(document, dict)
    _check(document, reading)
    plain: dict[str, Value] = {"mpid": document["mpid"], "environment": document.get("environment")}
    rows = _rows(document, reading)
    return [
        batch_of(
            {**plain, "timestamp_unixtime_ms": row.at_ms},
            list(row.stated.items()),
            row.attributes,
            reading,
            rest=row.rest,
            events=row.events,
        )
        for row in (_Row(document.get("first_seen_ms")), *rows)
    ]


def _check(document: Mapping[str, Value], reading: Reading) -> None:
    for name, value in document.items():
        if name in MADE_ANEW or value is None:
            continue
        kind = FIELDS.get(name)
        if kind is None:
            raise Unusable("BATCH_UNKNOWN_FIELD", name)
        if not isinstance(value, kind) or (kind is str and isinstance(value, Number)):
            raise Unusable("BATCH_INVALID", f"{name} is {json_type(value)}")
    workspace = document["workspace"]
    if reading.workspace is not None and workspace != reading.workspace:
        raise Unusable("WORKSPACE_MISMATCH", f"{workspace}, the feed is of {reading.workspace}")


def _rows(document: Mapping[str, Value], reading: Reading) -> list[_Row]:
    """Return the rows that say all of a profile, as few as may be, the last at the time when it was last seen."""
    first, last = (
        whole_number(document.get(name), "TIMESTAMP_INVALID")
        for name in ("first_seen_ms", "last_seen_ms")
    )
    users = _values(document, "user_identities")
    devices = _devices(document)
    most = reading.limits["attributes"]
    attributes = list(_object(document, "user_attributes").items())
    chunks = [dict(attributes[start : start + most]) for start in range(0, len(attributes), most)]
    size = max([1 + (first != last), len(chunks), len(devices), *map(len, users.values())])
    rows = []
    for place in range(size):
        row = _Row(document.get("first_seen_ms"))
        for name, values in users.items():
            row.stated[name] = (
                values[place] if place < len(values) else values[-1]
            )  # said again: a later row is found by it too
        if place < len(devices):
            row.stated |= devices[place].stated
            row.rest |= devices[place].rest
            row.at_ms = devices[place].at_ms or row.at_ms
        row.attributes = chunks[place] if place < len(chunks) else {}
        rows.append(row)
    rows[-1].at_ms = document.get("last_seen_ms")
    if document.get("consent_state"):
        rows[-1].rest["consent_state"] = document["consent_state"]
    if document.get("is_opted_out"):
        data: dict[str, Value] = {
            "is_opted_out": True,
            "timestamp_unixtime_ms": document.get("last_seen_ms"),
        }
        rows[-1].events = read_events([{"event_type": "opt_out", "data": data}])
    return rows


def _devices(document: Mapping[str, Value]) -> list[_Row]:
    """Return a row for each device, in the order in which their identities arrived; where the line does not say what is
    one device (no --whole), a row for each identity: identities of one row would be one device."""
    values = _values(document, "device_identities")
    left = {
        (name, value): place
        for name, listed in values.items()
        for place, value in enumerate(listed)
    }
    rows: list[tuple[int, _Row]] = []
    for device in _listed(document.get("devices")):
        named = _object(device, "identities")
        stated = {
            kind.name: value
            for name, value in named.items()
            if (kind := type_named(name)) and (kind.name, value) in left
        }
        places = [left.pop((name, value)) for name, value in stated.items()]
        row = _Row(device.get("last_seen_ms"), stated)
        info = dict(_object(device, "info"))
        if info:
            row.rest["device_info"] = {
                **info,
                **{name: value for name, value in stated.items() if name != "mp_deviceid"},
            }
            if "mp_deviceid" in stated:
                row.rest["mp_deviceid"] = stated["mp_deviceid"]
        if device.get("attribution"):
            row.rest["attribution_info"] = device["attribution"]
        rows.append((max(places, default=0), row))
    rows += [(place, _Row(None, {name: value})) for (name, value), place in left.items()]
    return [row for _, row in sorted(rows, key=lambda one: one[0])]


def _values(document: Mapping[str, Value], name: str) -> dict[str, list[Value]]:
    """Return the values of each identity type. Raises Unusable."""
    found: dict[str, list[Value]] = {}
    for key, values in _object(document, name).items():
        kind = type_named(key)
        if kind is None or kind.device != (name == "device_identities"):
            raise Unusable("BATCH_UNKNOWN_FIELD", f"{name}.{key}")
        if not isinstance(values, list):
            raise Unusable("BATCH_INVALID", f"{name}.{key} is {json_type(values)}, not a list")
        if not all(isinstance(value, str) for value in values):
            raise Unusable("IDENTITY_INVALID", f"{name}.{key}")
        if values:
            found[kind.name] = list(values)
    return found


def _object(document: Mapping[str, Value], name: str) -> Mapping[str, Value]:
    value = document.get(name) or {}
    if not isinstance(value, dict):
        raise Unusable("BATCH_INVALID", f"{name} is {json_type(value)}")
    return value


def _listed(value: Value) -> list[dict[str, Value]]:
    devices = value if isinstance(value, list) else []
    for device in devices:
        if not isinstance(device, dict):
            raise Unusable("BATCH_INVALID", f"a device is {json_type(device)}")
    return [device for device in devices if isinstance(device, dict)]


def founders(profiles: Sequence[Iterable[Batch]]) -> list[bool]:
    """Say of each line of a file, given as its batches, whether its first batch is needed: whether another line has one of
    its identities too."""
    claims = [
        {(batch.environment, one.type, one.key) for batch in batches for one in batch.identities}
        for batches in profiles
    ]
    holders = Counter(claim for said in claims for claim in said)
    return [any(holders[claim] > 1 for claim in said) for said in claims]
