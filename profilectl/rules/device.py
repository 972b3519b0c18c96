"""Which device a batch is of: by what it states that names one.

Sources: domain.md 1 (a stamp is one device's), 2 (a device has a Device Application Stamp), 3.2.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from typing import TypeGuard

from profilectl.rules.event.field import fold
from profilectl.rules.identity import GUID, PLACEHOLDERS, TYPES, IdentityType, type_named
from profilectl.rules.text.values import Number, Value

# fmt: off
DEVICE_KEYS: tuple[str, ...] = (
    # What names a device, the steadiest first: the stamp is the first, the token the last.
    "mp_deviceid", "ios_idfv", "android_uuid", "fire_advertising_id", "roku_publisher_id", "microsoft_publisher_id", "amp_id",
    "ios_advertising_id", "android_advertising_id", "roku_advertising_id", "microsoft_advertising_id", "push_token",
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
"""... and where in a batch's other fields they stand, under every name; a name is read in any case
(kind_in).
"""
NO_NAME = ("", "")
"""The name of the device of batches that state nothing of the kind."""
NOBODYS = frozenset(fold(one) for one in PLACEHOLDERS)
"""Texts that name no device: what a phone says that may not be tracked, a million say."""

_guid = re.compile(GUID)

Id = tuple[str, str]
"""Which of DEVICE_KEYS, and its text without case."""


def kind_in(name: str) -> str | None:
    """Return the identity type that the name of a member of device_info means; None: it is no
    identity.
    """
    kind = type_named(name)
    return kind.name if kind and kind.device and kind.name != "mp_deviceid" else None


def device_ids(document: Mapping[str, Value], added: Mapping[str, str] | None = None) -> list[Id]:
    """Return what names the device of a batch, the steadiest first.

    document: the batch's other fields (Batch.rest); added: the identities of devices that it
    brought, by type.
    """
    texts: dict[Id, None] = {
        (key, fold(value)): None for key, value in (added or {}).items() if key in DEVICE_KEYS
    }
    info = document.get("device_info")
    members = info.items() if isinstance(info, dict) else ()
    stated = [(kind_in(name), value) for name, value in members]
    for key, value in (("mp_deviceid", document.get("mp_deviceid")), *stated):
        if key in DEVICE_KEYS and _names(value):
            texts[key, fold(value)] = None
    # Of two texts of one kind the lesser is the first, whatever the order of the spellings.
    return sorted(
        (one for one in texts if one[1] and one[1] not in NOBODYS),
        key=lambda one: (DEVICE_KEYS.index(one[0]), one[1]),
    )


def names_device(kind: IdentityType, key: str) -> bool:
    """Say whether an identity, by its key, can be a device's: nobody's is not, nor what is no GUID
    where that is asked for.
    """
    return fold(key) not in NOBODYS and (kind.shape != "guid" or bool(_guid.fullmatch(key)))


def _names(value: Value) -> TypeGuard[str]:
    """Say whether a value may name a device: a text, or a number of digits alone."""
    return isinstance(value, str) and (not isinstance(value, Number) or value.isdecimal())


def devices_of(batches: Sequence[Sequence[Id]]) -> list[Id]:
    """Return the name of the device that each batch of a profile is of.

    batches: what each states (device_ids), in the order of arrival.

    - A stamp is one device's: a batch that states one is of that device.
    - A batch without a stamp is of the device whose stamp an id of it was seen with. An id that
      was seen with one stamp only counts before one that was seen with several; of several stamps
      the one that was stated last counts.
    - All other batches that share an id, be it by way of a third, are of one device; where they
      share an id with a batch of the kind before, of the device of the last such batch.
    - A push token is of one app on one device, and is handed on with a backup: it joins no two
      batches that state anything else. A batch that states nothing else is of the device that
      stated the token last.

    A device is named by its stamp, else by the first id of its first batch. devices.py says
    the same for everybody.
    """
    strong = [
        [one for one in ids if one[0] not in ("mp_deviceid", "push_token")] for ids in batches
    ]
    stamped = {
        place: ids[0] for place, ids in enumerate(batches) if ids and ids[0][0] == "mp_deviceid"
    }
    named = stamped | _by_stamps(strong, stamped)
    _join(
        strong,
        named,
        {place for place in range(len(batches)) if strong[place] and place not in named},
        batches,
    )
    of_token = {
        one: named[place]
        for place, ids in enumerate(batches)
        if place in named
        for one in ids
        if one[0] == "push_token"
    }
    return [
        named.get(place) or (of_token.get(ids[0], ids[0]) if ids else NO_NAME)
        for place, ids in enumerate(batches)
    ]


def _by_stamps(strong: Sequence[Sequence[Id]], stamped: Mapping[int, Id]) -> dict[int, Id]:
    """Return the devices of batches without a stamp that state an id seen with one."""
    seen: dict[Id, dict[Id, int]] = defaultdict(dict)  # id -> stamp -> the last batch with both
    for place, stamp in stamped.items():
        for one in strong[place]:
            seen[one][stamp] = place
    found = {}
    for place, ids in enumerate(strong):
        stamps = [
            (len(seen[one]) == 1, last, stamp)
            for one in ids
            if one in seen
            for stamp, last in seen[one].items()
        ]
        if stamps and place not in stamped:
            found[place] = max(stamps)[2]
    return found


def _join(
    strong: Sequence[Sequence[Id]],
    named: dict[int, Id],
    free: Collection[int],
    batches: Sequence[Sequence[Id]],
) -> None:
    """Name the devices of the batches `free` of a stamp: those that share ids are of one."""
    stated_last = {
        one: place
        for place in sorted(named)
        if batches[place][0][0] != "mp_deviceid"
        for one in strong[place]
    }
    for some in connected({place: strong[place] for place in sorted(free)}):
        beside = [stated_last[one] for place in some for one in strong[place] if one in stated_last]
        name = named[max(beside)] if beside else strong[min(some)][0]
        named.update(dict.fromkeys(some, name))


def connected(nodes: Mapping[int, Iterable[Hashable]]) -> list[list[int]]:
    """Return the groups of nodes that share something, be it by way of others."""
    sharing: dict[Hashable, list[int]] = defaultdict(list)
    for node, things in nodes.items():
        for thing in things:
            sharing[thing].append(node)
    groups, reached = [], set[int]()
    for start in nodes:
        if start in reached:
            continue
        group, waiting = [], [start]
        reached.add(start)
        while waiting:
            node = waiting.pop()
            group.append(node)
            for beside in (one for thing in nodes[node] for one in sharing.pop(thing, ())):
                if beside not in reached:
                    reached.add(beside)
                    waiting.append(beside)
        groups.append(group)
    return groups
