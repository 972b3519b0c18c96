"""The device that a batch belongs to: the one that its ids name.

Sources: domain.md 1 (a stamp is one device's), 2 (a device has a Device Application Stamp), 3.2.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from typing import TypeGuard

from profilectl.rules.event.field import caseless
from profilectl.rules.identity import GUID, PLACEHOLDERS, TYPES, IdentityType, type_named
from profilectl.rules.text.values import Number, Value

# fmt: off
DEVICE_KEYS: tuple[str, ...] = (
    # the identity types that name a device, the steadiest first, from the stamp to the push token
    "mp_deviceid",
    "ios_idfv", "android_uuid", "fire_advertising_id", "roku_publisher_id",
    "microsoft_publisher_id", "amp_id",
    "ios_advertising_id", "android_advertising_id", "roku_advertising_id",
    "microsoft_advertising_id",
    "push_token",
)
# fmt: on
DEVICE_NAMES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("mp_deviceid", ("mp_deviceid",)),
    *(
        (key, ("device_info", name))
        for key in DEVICE_KEYS[1:]
        for kind in TYPES
        if kind.name == key
        for name in (kind.name, *kind.aliases)
    ),
)
"""The path of each of DEVICE_KEYS in a batch's other fields, under each of its names; names are
read in any case (kind_in).
"""
NO_NAME = ("", "")
"""The name of the device of batches that state no id."""
NOBODYS = frozenset(caseless(text) for text in PLACEHOLDERS)
"""Texts that name no device, such as the zeros of every phone that may not be tracked."""

_guid = re.compile(GUID)

Id = tuple[str, str]
"""An id of a device: one of DEVICE_KEYS, and its text without case."""


def kind_in(name: str) -> str | None:
    """Return the identity type that a member of device_info is by its name, or None."""
    kind = type_named(name)
    return kind.name if kind and kind.device and kind.name != "mp_deviceid" else None


def device_ids(document: Mapping[str, Value], added: Mapping[str, str] | None = None) -> list[Id]:
    """Return the ids of a batch's device, the steadiest first.

    document: the batch's other fields (Batch.rest). added: the device identities that it brought,
    type -> value.
    """
    ids: dict[Id, None] = {
        (key, caseless(value)): None for key, value in (added or {}).items() if key in DEVICE_KEYS
    }
    info = document.get("device_info")
    members = info.items() if isinstance(info, dict) else ()
    named = [(kind_in(name), value) for name, value in members]
    for key, value in (("mp_deviceid", document.get("mp_deviceid")), *named):
        if key in DEVICE_KEYS and _names(value):
            ids[key, caseless(value)] = None
    # Of two texts of one kind the lesser comes first, in any order that they were stated in.
    return sorted(
        ((key, text) for key, text in ids if text and text not in NOBODYS),
        key=lambda device_id: (DEVICE_KEYS.index(device_id[0]), device_id[1]),
    )


def names_device(kind: IdentityType, key: str) -> bool:
    """Return whether an identity can name a device.

    A placeholder cannot, nor can a value of a GUID type that is no GUID.
    """
    return caseless(key) not in NOBODYS and (kind.shape != "guid" or bool(_guid.fullmatch(key)))


def _names(value: Value) -> TypeGuard[str]:
    """Return whether a value may name a device: a text, or a number of digits alone."""
    return isinstance(value, str) and (not isinstance(value, Number) or value.isdecimal())


def devices_of(batches: Sequence[Sequence[Id]]) -> list[Id]:
    """Return the name of the device of each batch of a profile (domain.md 1, 2).

    - A stamp is one device's: a batch that states one is of that device.
    - A batch without a stamp is of the device whose stamp one of its ids was seen with. An id that
      was seen with a single stamp counts before one that was seen with several; of several stamps
      the one that was stated last counts.
    - All other batches that share an id, also by way of a third, are of one device. If they share
      an id with batches of the second kind, they are of the device of the last of these.
    - A push token is of one app on one device, and is handed on with a backup: it joins no two
      batches that state anything else. A batch that states nothing else is of the device that
      stated the token last.

    A device is named by its stamp, else by the first id of its first batch. sql/devices.py does the
    same for all profiles at once.

    batches: the ids of each batch (device_ids), in the order of arrival.
    """
    strong = [
        [key for key in ids if key[0] not in ("mp_deviceid", "push_token")] for ids in batches
    ]
    stamped = {
        place: ids[0] for place, ids in enumerate(batches) if ids and ids[0][0] == "mp_deviceid"
    }
    # The order of these steps is the order of the rules above.
    named = stamped | _by_stamps(strong, stamped)
    free = {place for place in range(len(batches)) if strong[place] and place not in named}
    # The last batch that states an id and is of a device with a stamp by such an id.
    beside = {
        key: place
        for place in sorted(named)
        if batches[place][0][0] != "mp_deviceid"
        for key in strong[place]
    }
    named |= _by_shared_ids(strong, named, free, beside=beside)
    of_token = {
        key: named[place]
        for place, ids in enumerate(batches)
        if place in named
        for key in ids
        if key[0] == "push_token"
    }
    return [
        named.get(place) or (of_token.get(ids[0], ids[0]) if ids else NO_NAME)
        for place, ids in enumerate(batches)
    ]


def _by_stamps(strong: Sequence[Sequence[Id]], stamped: Mapping[int, Id]) -> dict[int, Id]:
    """Return the devices of batches without a stamp that state an id seen with one.

    strong: the ids of each batch but stamps and tokens. stamped: batch -> its stamp.
    """
    seen_with: dict[Id, dict[Id, int]] = defaultdict(dict)  # id -> stamp -> last batch with both
    for place, stamp in stamped.items():
        for key in strong[place]:
            seen_with[key][stamp] = place
    devices = {}
    for place, ids in enumerate(strong):
        stamps = [
            # max prefers an id of one stamp only, then the latest batch.
            (len(seen_with[key]) == 1, batch, stamp)
            for key in ids
            if key in seen_with
            for stamp, batch in seen_with[key].items()
        ]
        if stamps and place not in stamped:
            devices[place] = max(stamps)[2]
    return devices


def _by_shared_ids(
    strong: Sequence[Sequence[Id]],
    named: Mapping[int, Id],
    free: Collection[int],
    *,
    beside: Mapping[Id, int],
) -> dict[int, Id]:
    """Return the devices of the batches in `free`: batches that share ids are of one device."""
    devices: dict[int, Id] = {}
    for group in connected({place: strong[place] for place in sorted(free)}):
        neighbours = [beside[key] for place in group for key in strong[place] if key in beside]
        name = named[max(neighbours)] if neighbours else strong[min(group)][0]
        devices.update(dict.fromkeys(group, name))
    return devices


def connected(nodes: Mapping[int, Iterable[Hashable]]) -> list[list[int]]:
    """Return the groups of nodes that share something, also by way of other nodes.

    nodes: node -> what it may share.
    """
    sharing: dict[Hashable, list[int]] = defaultdict(list)
    for node, shared in nodes.items():
        for key in shared:
            sharing[key].append(node)
    groups, reached = [], set[int]()
    for start in nodes:
        if start in reached:
            continue
        group, waiting = [], [start]
        reached.add(start)
        while waiting:
            node = waiting.pop()
            group.append(node)
            # Each key is followed once: its nodes are all reached then.
            for neighbour in [beside for key in nodes[node] for beside in sharing.pop(key, ())]:
                if neighbour not in reached:
                    reached.add(neighbour)
                    waiting.append(neighbour)
        groups.append(group)
    return groups
