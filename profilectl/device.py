"""Which device a batch is of: by what it states that names one.

Sources: domain.md 2 (a device has a Device Application Stamp), 3.2.
"""

from __future__ import annotations

from collections.abc import Mapping

from profilectl.event.field import fold
from profilectl.identity import TYPES
from profilectl.values import Number, Value

# fmt: off
DEVICE_KEYS: tuple[str, ...] = (
    # What names a device, the steadiest first: batches that state the same text (without case) for the first of them they have are of one device.
    "mp_deviceid", "ios_idfv", "android_uuid", "fire_advertising_id", "roku_publisher_id", "microsoft_publisher_id", "amp_id",
    "ios_advertising_id", "android_advertising_id", "roku_advertising_id", "microsoft_advertising_id", "push_token",
)
# fmt: on
DEVICE_NAMES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("mp_deviceid", ("mp_deviceid",)),
    *((key, ("device_info", name)) for key in DEVICE_KEYS[1:] for kind in TYPES if kind.name == key for name in (kind.name, *kind.aliases)),
)
"""... and where in a batch's other fields they stand, in every spelling."""


def device_key(document: Mapping[str, Value]) -> tuple[str, str]:
    """Return what names the device of a batch: the first of DEVICE_KEYS that it states, and its text; empty where it
    states none. document: the batch's other fields (Batch.rest)."""
    for key, path in DEVICE_NAMES:
        value: Value = dict(document)
        for step in path:
            value = value.get(step) if isinstance(value, dict) else None
        if isinstance(value, str) and not isinstance(value, Number) and value:
            return key, fold(value)
    return "", ""
