"""What leaves for the platform's Events API: batches as it takes them, packed into requests.

Sources: domain.md 2.1 (limits), 5.1 (who sets a field), 5.4 (the packing rule), design.md R4
(everything is text where it leaves), R5 (an MPID is an integer here).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID, uuid5

from profilectl.rules.batch import (
    LIMITS,
    Reading,
    attribute_key,
    deleted_keys,
    has_value_type,
    is_batch,
    read_batch,
)
from profilectl.rules.fields import Unusable, json_type, whole_number
from profilectl.rules.identity import NO_JUDGING, type_named
from profilectl.rules.text.values import Number, Value, as_text, to_json

# fmt: off
SERVER_SET = (
    # The platform sets these itself, or they are its own; what a file brings of them stays behind
    # (domain.md 5.1).
    "timestamp_unixtime_ms", "source_info", "schema_version", "batch_id", "api_key", "api_keys", "job_id", "origin_mpid", "unique_id",
)
SAID_AGAIN = (
    # A batch that is split says again in every part whom it is about; all else is in the first
    # part.
    "environment", "mpid", "timestamp_unixtime_ms", "user_identities", "mp_deviceid", "device_info",
)
# fmt: on
OF_A_FILE = Reading(judging=NO_JUDGING)
"""A batch that is sent is read for its form alone: what nobody's identity is, is for the platform
to say.
"""


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """What the platform takes: batches and bytes of a request's JSON array; bytes and attributes of
    one batch.
    """

    request_batches: int = 100
    request_bytes: int = 262_144
    batch_bytes: int = 131_072
    attributes: int = LIMITS["attributes"]


PLATFORM = RequestLimits()


@dataclass(frozen=True, slots=True)
class PackedBatch:
    """A batch that is ready to leave.

    position: of the profile, or the line of the file, it comes from; part: which of the batches of
    that position, from 0. request_id: its source_request_id. body: its JSON. who: names of the
    person; what has one in common with another must not overtake it. historical: it goes to the
    historical endpoint. places: which of the events of a stored batch it has.
    """

    position: int
    part: int
    request_id: str
    body: bytes
    who: frozenset[str]
    historical: bool = False
    places: tuple[int, ...] = ()


def namespace_of(secret: str) -> UUID:
    """Return the namespace in which a store makes request ids, from its secret."""
    return UUID(bytes=hashlib.sha256(f"push:{secret}".encode()).digest()[:16])


def request_id(namespace: UUID, push: int, position: int, part: int, content: str) -> str:
    """Return the id that a batch has each time it is sent in a push.

    The same content in another push has another: the platform would take it for a repetition,
    although something else may have been said in between.
    """
    return str(uuid5(namespace, f"{push}/{position}/{part}/{content}"))


def parcels_of(
    document: Value,
    position: int,
    name: Callable[[int, str], str],
    *,
    first_part: int = 0,
    with_times: bool = False,
    historical: bool = False,
    places: tuple[int, ...] = (),
    limits: RequestLimits = PLATFORM,
) -> list[PackedBatch]:
    """Return the batches that one batch leaves as: itself, or parts of it where it is too large.

    name: from a part and its content to its source_request_id; a batch that brings one keeps it.
    with_times: timestamp_unixtime_ms stays. Raises Unusable for what is no batch, for one with an
    attribute that is no value, and for one that is too large and cannot be split (BATCH_TOO_LARGE).
    """
    if not isinstance(document, dict):
        raise Unusable("JSON_NOT_OBJECT", json_type(document))
    if not is_batch(document):
        raise Unusable("BATCH_INVALID", "it has none of the fields that make a batch")
    read = read_batch(document, OF_A_FILE)
    who = frozenset(
        [
            *(f"{one.type}:{one.key}" for one in read.identities),
            *([f"mpid:{read.mpid}"] if read.mpid is not None else []),
        ]
    )
    own = read.request
    found = []
    for place, part in enumerate(
        _parts(_leaving(document, with_times), limits, len(to_json(own).encode()) if own else 38)
    ):
        number = first_part + place
        content = ",".join(part)
        named = own if own and not place else name(number, content)
        # later parts have no events
        found.append(
            PackedBatch(
                position,
                number,
                named,
                f'{{"source_request_id":{to_json(named)},{content}}}'.encode(),
                who,
                historical and not place,
                places,
            )
        )
    return found


def _leaving(document: Mapping[str, Value], with_times: bool) -> dict[str, Value]:
    """Return a batch under the platform's own names, its attributes as text, without what the
    server sets.
    """
    found: dict[str, Value] = {"environment": document.get("environment") or "production"}
    for field, value in document.items():
        if (
            value is None
            or field in ("environment", "source_request_id")
            or (field in SERVER_SET and not (with_times and field == "timestamp_unixtime_ms"))
        ):
            continue
        found[field] = _told(field, value)
    return found


def _told(field: str, value: Value) -> Value:
    """Return what a batch says in one field."""
    if field == "mpid":
        return Number(str(whole_number(value, "MPID_INVALID")))
    if field in ("user_identities", "device_info") and isinstance(value, dict):
        return {_named(field, key): one for key, one in value.items() if one is not None}
    if field == "user_attributes" and isinstance(value, dict):
        for key, one in value.items():
            if not has_value_type(one):
                raise Unusable("UA_UNSUPPORTED_TYPE", key)
        return {attribute_key(key): as_text(one) for key, one in value.items()}
    return list(deleted_keys(value)) if field == "deleted_user_attributes" else value


def _named(field: str, key: str) -> str:
    """Return the platform's name of a user or device identity; of anything else its own."""
    kind = type_named(key)
    return kind.name if kind and kind.field == f"{field}.{kind.name}" else key


def _parts(document: Mapping[str, Value], limits: RequestLimits, id_bytes: int) -> list[list[str]]:
    """Return the members, as JSON, of each of the batches that a batch leaves as.

    id_bytes: what the JSON of the first one's source_request_id takes.
    """
    attributes = document.get("user_attributes")
    attributes = attributes if isinstance(attributes, dict) else {}
    first = [
        _member(field, value) for field, value in document.items() if field != "user_attributes"
    ]
    again = [
        _member(field, value)
        for field in SAID_AGAIN
        if (value := _said_again(field, document.get(field))) not in (None, {})
    ]
    parts: list[list[str]] = []
    waiting = [_member(key, value) for key, value in attributes.items()]
    while waiting or not parts:
        said = again if parts else first
        size = _size(said) + (38 if parts else id_bytes)
        taken = 0
        while taken < min(len(waiting), limits.attributes):
            more = len(waiting[taken].encode()) + bool(taken)
            if size + more > limits.batch_bytes:
                break
            size += more
            taken += 1
        if size > limits.batch_bytes or (parts and not taken):
            raise Unusable("BATCH_TOO_LARGE", f"more than {limits.batch_bytes:,} bytes")
        parts.append([*said, f'"user_attributes":{{{",".join(waiting[:taken])}}}'])
        del waiting[:taken]
    return parts


def _member(key: str, value: Value) -> str:
    return f"{to_json(key)}:{to_json(value)}"


def _said_again(field: str, value: Value) -> Value:
    """Return what later parts say of a field: of a device what identifies it."""
    if field != "device_info" or not isinstance(value, dict):
        return value
    return {key: one for key, one in value.items() if (kind := type_named(key)) and kind.device}


def _size(said: Sequence[str]) -> int:
    """Return the bytes of a batch without attributes and without the JSON of its id."""
    return len('{"source_request_id":,"user_attributes":{}}') + sum(
        len(one.encode()) + 1 for one in said
    )


def pack(
    parcels: Iterable[PackedBatch], limits: RequestLimits = PLATFORM
) -> Iterator[tuple[PackedBatch, ...]]:
    """Part batches into requests: in order, each as full as it can be."""
    request: list[PackedBatch] = []
    size = 2
    for one in parcels:
        more = len(one.body) + bool(request)
        if request and (
            len(request) == limits.request_batches or size + more > limits.request_bytes
        ):
            yield tuple(request)
            request, size, more = [], 2, len(one.body)
        request.append(one)
        size += more
    if request:
        yield tuple(request)


def body_of(request: Sequence[PackedBatch]) -> bytes:
    """Return what a request sends: a JSON array."""
    return b"[" + b",".join(one.body for one in request) + b"]"


Run = tuple[int, int]
"""Positions from the first to the last, both with it."""


def joined(runs: Iterable[Run]) -> list[Run]:
    """Return the same positions as the fewest runs, in order."""
    found: list[Run] = []
    for first, last in sorted(runs):
        if found and first <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(found[-1][1], last))
        else:
            found.append((first, last))
    return found


class Track:
    """What of a push is done: positions are begun in order, and done in any.

    Before `start` everything is done. `runs()` tells what may be written down as done: a position
    between two that follow each other in the push belongs to nobody, and counts as done with them.
    """

    def __init__(self, start: int, done: Iterable[Run] = ()) -> None:
        self._done = joined(done)
        if self._done and self._done[0][0] <= start:
            start = max(start, self._done[0][1] + 1)
        self.start = start
        # position -> parts that are under way; -1: not begun to be counted
        self._open: dict[int, int] = {}

    def is_done(self, position: int) -> bool:
        """Say whether a position was done before."""
        return position < self.start or any(first <= position <= last for first, last in self._done)

    def begin(self, position: int, parts: int) -> None:
        """Begin a position; it is later than every one before."""
        self._open[position] = parts

    def end(self, position: int, parts: int = 1) -> bool:
        """Count parts as done; say whether the position is done with them."""
        self._open[position] -= parts
        return not self._open[position]

    def __len__(self) -> int:
        return len(self._open)

    def runs(self) -> list[Run]:
        """Return what is done, as runs; what is done from the start on is forgotten."""
        began = self.start
        for position in list(self._open):
            if self._open[position]:
                break
            self.start = position + 1
            del self._open[position]
        first: int | None = None
        last = 0
        found: list[Run] = [*self._done, *([(0, self.start - 1)] if self.start else [])]
        for position, left in self._open.items():
            if not left:
                first, last = position if first is None else first, position
            elif first is not None:
                found.append((first, last))
                first = None
        if first is not None:
            found.append((first, last))
        if self.start > began:
            self._done = [run for run in self._done if run[1] >= self.start]
        return joined(found)
