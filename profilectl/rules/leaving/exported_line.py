"""A line of `export profiles --format jsonl`, read as the batches that make the profile again.

They are in the order of `export batches`. Sources: design.md 4 (the export), domain.md 2.1
(limits).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from profilectl.rules.batch import Batch, Reading, batch_of
from profilectl.rules.event.event import read_events
from profilectl.rules.fields import UnusableRow, json_type, whole_number
from profilectl.rules.identity import type_named
from profilectl.rules.leaving.retelling import STAMP, RetellingManner, RetoldBatch, retold
from profilectl.rules.text.values import Number, Value, whole

# fmt: off
FIELDS = {
    # field of a line      its JSON type
    "mpid":                str,
    "environment":         str,
    "workspace":           str,
    "first_seen_ms":       Number,
    "last_seen_ms":        Number,
    "user_identities":     dict,
    "device_identities":   dict,
    "user_attributes":     dict,
    # with --whole
    "is_opted_out":        bool,
    "opt_out_ms":          Number,
    "consent_state":       dict,
    "partner_identities":  dict,
    "attribution":         dict,
    "devices":             list,
}
SEEN = ("first_seen_ms", "last_seen_ms")
MADE_ANEW = ("provenance", "limit_ad_tracking", "audience_memberships")
"""The fields that follow from the others, so that an import does not read them."""
MAKES_A_PROFILE = ("mpid", "workspace", "user_identities", "device_identities")
"""The fields that tell a line from a batch and from a flat row."""
# fmt: on


def is_profile(document: Value) -> bool:
    """Return whether a JSON object is a line of an export of profiles.

    No batch and no flat row has all of MAKES_A_PROFILE.
    """
    return isinstance(document, dict) and all(
        isinstance(document.get(name), FIELDS[name]) for name in MAKES_A_PROFILE
    )


def read_profile(document: Value, reading: Reading) -> list[Batch]:
    """Read a line of an export of profiles as batches. Raises UnusableRow.

    The first batch has the MPID alone. It is needed if somebody else has one of the identities too
    (founders), so that it founds the profile; else the second batch founds it.
    """
    assert isinstance(document, dict)
    _check(document, reading)
    plain: dict[str, Value] = {"mpid": document["mpid"], "environment": document.get("environment")}
    manner = RetellingManner(
        again=True, attributes=reading.limits["attributes"], judging=reading.judging
    )
    rows = retold(_read(document), manner)
    founder = RetoldBatch(_time(document, "first_seen_ms"))
    return [
        batch_of(
            {**plain, "timestamp_unixtime_ms": None if row.at_ms is None else whole(row.at_ms)},
            [*row.identities.items(), *row.device.items()],
            row.attributes,
            reading=reading,
            fields=_rest(row),
            events=read_events(row.events),
        )
        for row in (founder, *rows)
    ]


def _rest(row: RetoldBatch) -> dict[str, Value]:
    """Return the other fields of a batch; device_info stays with the device's stamp."""
    stamp = {STAMP: row.device[STAMP]} if STAMP in row.device and "device_info" in row.rest else {}
    return row.rest | stamp


def _time(document: Mapping[str, Value], name: str) -> int | None:
    return whole_number(document.get(name), "TIMESTAMP_INVALID")


def _read(document: Mapping[str, Value]) -> dict[str, Value]:
    """Return a checked line, with identities under their own names. Raises UnusableRow."""
    devices: list[Value] = [
        {
            **_times(device, SEEN),
            **{name: _named(device, name) for name in ("identities", "earlier") if name in device},
            **{name: _object(device, name) or None for name in ("info", "attribution")},
        }
        for device in _listed(document.get("devices"))
    ]
    lists: dict[str, Value] = {
        name: {kind: list(values) for kind, values in _values(document, name).items()}
        for name in ("user_identities", "device_identities")
    }
    return {**document, **_times(document, (*SEEN, "opt_out_ms")), **lists, "devices": devices}


def _times(document: Mapping[str, Value], names: Iterable[str]) -> dict[str, Value]:
    """Return some times of a document. Raises UnusableRow."""
    times = {name: _time(document, name) for name in names}
    return {name: None if at_ms is None else whole(at_ms) for name, at_ms in times.items()}


def _named(device: Mapping[str, Value], name: str) -> dict[str, Value]:
    """Return the identities of a device, or its earlier ones, by type. Raises UnusableRow."""
    identities: dict[str, Value] = {}
    for key, value in _object(device, name).items():
        # `identities` has one text of each type, `earlier` a list of them.
        texts = value if isinstance(value, list) else [value]
        fits = isinstance(value, list) == (name == "earlier")
        if not fits or not all(isinstance(text, str) for text in texts):
            raise UnusableRow("IDENTITY_INVALID", f"devices.{name}.{key}")
        if kind := type_named(key):
            identities[kind.name] = value
    return identities


def _check(document: Mapping[str, Value], reading: Reading) -> None:
    for name, value in document.items():
        if name in MADE_ANEW or value is None:
            continue
        kind = FIELDS.get(name)
        if kind is None:
            raise UnusableRow("BATCH_UNKNOWN_FIELD", name)
        # A Number is a str as well, so a number would pass as a text.
        if not isinstance(value, kind) or (kind is str and isinstance(value, Number)):
            raise UnusableRow("BATCH_INVALID", f"{name} is {json_type(value)}")
    workspace = document["workspace"]
    if reading.workspace is not None and workspace != reading.workspace:
        raise UnusableRow("WORKSPACE_MISMATCH", f"{workspace}, the feed is of {reading.workspace}")


def _values(document: Mapping[str, Value], name: str) -> dict[str, list[Value]]:
    """Return the values of each identity type. Raises UnusableRow."""
    by_type: dict[str, list[Value]] = {}
    for key, values in _object(document, name).items():
        kind = type_named(key)
        if kind is None or kind.device != (name == "device_identities"):
            raise UnusableRow("BATCH_UNKNOWN_FIELD", f"{name}.{key}")
        if not isinstance(values, list):
            raise UnusableRow("BATCH_INVALID", f"{name}.{key} is {json_type(values)}, not a list")
        if not all(isinstance(value, str) for value in values):
            raise UnusableRow("IDENTITY_INVALID", f"{name}.{key}")
        if values:
            by_type[kind.name] = list(values)
    return by_type


def _object(document: Mapping[str, Value], name: str) -> dict[str, Value]:
    value = document.get(name) or {}
    if not isinstance(value, dict):
        raise UnusableRow("BATCH_INVALID", f"{name} is {json_type(value)}")
    return value


def _listed(value: Value) -> list[dict[str, Value]]:
    devices = value if isinstance(value, list) else []
    for device in devices:
        if not isinstance(device, dict):
            raise UnusableRow("BATCH_INVALID", f"a device is {json_type(device)}")
    return [device for device in devices if isinstance(device, dict)]


def founders(profiles: Sequence[Iterable[Batch]]) -> list[bool]:
    """Return for each line of a file whether its first batch is needed.

    It is needed if another line has one of its identities too. profiles: the batches of each line.
    """
    claims = [
        {
            (batch.environment, identity.type, identity.key)
            for batch in batches
            for identity in batch.identities
        }
        for batches in profiles
    ]
    holders = Counter(claim for of_line in claims for claim in of_line)
    return [any(holders[claim] > 1 for claim in of_line) for of_line in claims]
