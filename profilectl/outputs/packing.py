"""What leaves for the platform's Events API: batches as it takes them, packed into requests.

Sources: domain.md 2.1 (limits), 5.1 (who sets a field), 5.4 (the packing rule), design.md R4
(everything is text where it leaves), R5 (an MPID is an integer here).
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID, uuid5

from profilectl.rules.batch import Reading, deleted_keys, is_batch, read_batch
from profilectl.rules.batch_fields import attribute_key
from profilectl.rules.batch_limits import LIMITS, has_value_type
from profilectl.rules.fields import UnusableRow, json_type, whole_number
from profilectl.rules.identity import NO_JUDGING, type_named
from profilectl.rules.text.values import Number, Value, as_text, to_json

# fmt: off
SERVER_SET = (
    # The platform sets these fields itself, so those of a file are not sent (domain.md 5.1).
    "timestamp_unixtime_ms", "source_info", "schema_version", "batch_id", "api_key", "api_keys",
    "job_id", "origin_mpid", "unique_id",
)
SAID_AGAIN = (
    # Every part of a split batch repeats these, which say whom it is about; all else is in the
    # first part.
    "environment", "mpid", "timestamp_unixtime_ms", "user_identities", "mp_deviceid", "device_info",
)
# fmt: on
OF_A_FILE = Reading(judging=NO_JUDGING)
"""A batch that is sent is checked for its form alone: the platform judges its identities."""


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """What the platform takes."""

    request_batches: int = 100
    """The batches of a request."""
    request_bytes: int = 262_144
    """The bytes of a request's JSON array."""
    batch_bytes: int = 131_072
    """The bytes of a batch."""
    attributes: int = LIMITS["attributes"]
    """The attributes of a batch."""


PLATFORM = RequestLimits()
ID_BYTES = 38
"""The bytes of a request id as JSON."""


@dataclass(frozen=True, slots=True)
class PackedBatch:
    """A batch that is ready to leave."""

    position: int
    """The profile, or the line of the file, that it comes from."""
    part: int
    """Which of the batches of that position it is, from 0."""
    request_id: str
    """Its source_request_id."""
    body: bytes
    """Its JSON."""
    who: frozenset[str]
    """Names of the person; a batch that has a name in common with another must not overtake it."""
    historical: bool = False
    """Whether it goes to the historical endpoint."""
    places: tuple[int, ...] = ()
    """Which of the events of a stored batch it has."""


Request = tuple[PackedBatch, ...]
"""The batches of a request."""


def namespace_of(secret: str) -> UUID:
    """Return the namespace in which a store makes request ids, from its secret."""
    return UUID(bytes=hashlib.sha256(f"push:{secret}".encode()).digest()[:16])


def request_id(namespace: UUID, push: int, position: int, part: int, content: str) -> str:
    """Return the id that a batch has each time it is sent in a push.

    The same content has another id in another push. With the same one the platform would drop it as
    a repetition, although something else may have been sent in between.
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

    name: from a part and its content to its source_request_id; a batch that brings its own keeps
    it. with_times: timestamp_unixtime_ms stays. Raises UnusableRow for a document that is no batch,
    for an attribute that cannot be a value, and for a batch that is too large and cannot be split
    (BATCH_TOO_LARGE).
    """
    if not isinstance(document, dict):
        raise UnusableRow("JSON_NOT_OBJECT", json_type(document))
    if not is_batch(document):
        raise UnusableRow("BATCH_INVALID", "it has none of the fields that make a batch")
    read = read_batch(document, OF_A_FILE)
    names = [f"{identity.type}:{identity.key}" for identity in read.identities]
    if read.mpid is not None:
        names.append(f"mpid:{read.mpid}")
    own = read.request
    id_bytes = len(to_json(own).encode()) if own else ID_BYTES
    batches = []
    for place, part in enumerate(_parts(_leaving(document, with_times), limits, id_bytes)):
        number, content = first_part + place, ",".join(part)
        # Only the first part keeps the id that a batch brings: the platform takes an id once.
        request = own if own and not place else name(number, content)
        batches.append(
            PackedBatch(
                position=position,
                part=number,
                request_id=request,
                body=f'{{"source_request_id":{to_json(request)},{content}}}'.encode(),
                who=frozenset(names),
                historical=historical and not place,  # later parts have no events
                places=places,
            )
        )
    return batches


def _leaving(document: Mapping[str, Value], with_times: bool) -> dict[str, Value]:
    """Return a batch under the platform's own names, its attributes as text.

    Fields that the server sets are left out.
    """
    leaving: dict[str, Value] = {"environment": document.get("environment") or "production"}
    for field, value in document.items():
        if (
            value is None
            or field in ("environment", "source_request_id")
            or (field in SERVER_SET and not (with_times and field == "timestamp_unixtime_ms"))
        ):
            continue
        leaving[field] = _leaving_field(field, value)
    return leaving


def _leaving_field(field: str, value: Value) -> Value:
    """Return what leaves of one field of a batch. Raises UnusableRow."""
    if field == "mpid":
        return Number(str(whole_number(value, "MPID_INVALID")))
    if field in ("user_identities", "device_info") and isinstance(value, dict):
        return {_named(field, key): member for key, member in value.items() if member is not None}
    if field == "user_attributes" and isinstance(value, dict):
        for key, attribute in value.items():
            if not has_value_type(attribute):
                raise UnusableRow("UA_UNSUPPORTED_TYPE", key)
        return {attribute_key(key): as_text(attribute) for key, attribute in value.items()}
    return list(deleted_keys(value)) if field == "deleted_user_attributes" else value


def _named(field: str, key: str) -> str:
    """Return the platform's name of a user or device identity; any other key stays as it is."""
    kind = type_named(key)
    return kind.name if kind and kind.field == f"{field}.{kind.name}" else key


def _parts(document: Mapping[str, Value], limits: RequestLimits, id_bytes: int) -> list[list[str]]:
    """Return the members, as JSON, of each of the batches that a batch leaves as.

    id_bytes: the bytes of the first one's source_request_id as JSON. Raises UnusableRow if the
    batch is too large and cannot be split.
    """
    attributes = document.get("user_attributes")
    attributes = attributes if isinstance(attributes, dict) else {}
    whole = [
        _member(field, value) for field, value in document.items() if field != "user_attributes"
    ]
    again = [
        _member(field, value)
        for field in SAID_AGAIN
        if (value := _said_again(field, document.get(field))) not in (None, {})
    ]
    parts: list[list[str]] = []
    waiting = [_member(key, value) for key, value in attributes.items()]
    # A batch without attributes still leaves as one part.
    while waiting or not parts:
        members = again if parts else whole
        size = _size(members) + (ID_BYTES if parts else id_bytes)
        count, size = _fitting(waiting, size, limits)
        if size > limits.batch_bytes or (parts and not count):
            raise UnusableRow("BATCH_TOO_LARGE", f"more than {limits.batch_bytes:,} bytes")
        parts.append([*members, f'"user_attributes":{{{",".join(waiting[:count])}}}'])
        del waiting[:count]
    return parts


def _fitting(attributes: Sequence[str], size: int, limits: RequestLimits) -> tuple[int, int]:
    """Return how many attributes fit into a batch of a size, and its size in bytes with them."""
    count = 0
    while count < min(len(attributes), limits.attributes):
        more = len(attributes[count].encode()) + bool(count)  # a comma before all but the first
        if size + more > limits.batch_bytes:
            break
        size += more
        count += 1
    return count, size


def _member(key: str, value: Value) -> str:
    return f"{to_json(key)}:{to_json(value)}"


def _said_again(field: str, value: Value) -> Value:
    """Return the part of a field that later parts repeat: of a device only its identities."""
    if field != "device_info" or not isinstance(value, dict):
        return value
    return {
        key: member for key, member in value.items() if (kind := type_named(key)) and kind.device
    }


def _size(members: Sequence[str]) -> int:
    """Return the bytes of a batch without attributes and without the JSON of its id."""
    return len('{"source_request_id":,"user_attributes":{}}') + sum(
        len(member.encode()) + 1 for member in members
    )


def pack(parcels: Iterable[PackedBatch], limits: RequestLimits = PLATFORM) -> Iterator[Request]:
    """Yield batches in requests: in order, each as full as it can be."""
    request: list[PackedBatch] = []
    size = 2  # the brackets of the array
    for batch in parcels:
        more = len(batch.body) + bool(request)
        if request and (
            len(request) == limits.request_batches or size + more > limits.request_bytes
        ):
            yield tuple(request)
            request, size, more = [], 2, len(batch.body)
        request.append(batch)
        size += more
    if request:
        yield tuple(request)


def body_of(request: Sequence[PackedBatch]) -> bytes:
    """Return the body of a request: a JSON array."""
    return b"[" + b",".join(batch.body for batch in request) + b"]"


@dataclass(slots=True)
class RequestQueue:
    """Batches that are packed into requests, those for each endpoint apart."""

    _waiting: dict[bool, list[PackedBatch]] = dataclasses.field(
        default_factory=lambda: {False: [], True: []}
    )
    """The batches of a request that is not full, by whether it is for the historical endpoint."""

    def full(self, batches: Iterable[PackedBatch]) -> Iterator[Request]:
        """Add batches; yield the requests that are full."""
        for batch in batches:
            self._waiting[batch.historical].append(batch)
        for historical, waiting in self._waiting.items():
            *requests, unfilled = pack(waiting) if waiting else ((),)
            yield from requests
            self._waiting[historical] = list(unfilled)

    def remaining(self) -> Iterator[Request]:
        """Yield the requests that are not full."""
        yield from (tuple(waiting) for waiting in self._waiting.values() if waiting)

    def requests(self, blocks: Iterable[Iterable[PackedBatch]]) -> Iterator[Request]:
        """Yield all requests of blocks of batches."""
        for block in blocks:
            yield from self.full(block)
        yield from self.remaining()


Run = tuple[int, int]
"""The first and the last of positions that follow each other."""


def joined(runs: Iterable[Run]) -> list[Run]:
    """Return the same positions as the fewest runs, in order."""
    fewest: list[Run] = []
    for begin, end in sorted(runs):
        if fewest and begin <= fewest[-1][1] + 1:
            fewest[-1] = (fewest[-1][0], max(fewest[-1][1], end))
        else:
            fewest.append((begin, end))
    return fewest


class Track:
    """The positions of a push that are done: they begin in order, and end in any order.

    Everything before `start` is done. `runs()` tells what may be written down as done. Positions
    have gaps: one that no row of the push has counts as done with the rows around it.
    """

    def __init__(self, start: int, done: Iterable[Run] = ()) -> None:
        self._done = joined(done)
        if self._done and self._done[0][0] <= start:
            start = max(start, self._done[0][1] + 1)
        self.start = start
        # position -> parts that are under way
        self._open: dict[int, int] = {}

    def is_done(self, position: int) -> bool:
        """Return whether a position was done before."""
        return position < self.start or any(begin <= position <= end for begin, end in self._done)

    def begin(self, position: int, parts: int) -> None:
        """Begin a position; it is later than every one before."""
        self._open[position] = parts

    def end(self, position: int, parts: int = 1) -> bool:
        """Count parts as done; return whether the position is done with them."""
        self._open[position] -= parts
        return not self._open[position]

    def __len__(self) -> int:
        return len(self._open)

    def runs(self) -> list[Run]:
        """Return what is done, as runs; single positions that `start` has passed are forgotten."""
        began = self.start
        for position in list(self._open):
            if self._open[position]:
                break
            self.start = position + 1
            del self._open[position]
        before = [(0, self.start - 1)] if self.start else []
        runs: list[Run] = [*self._done, *before, *self._runs_among_open()]
        if self.start > began:
            self._done = [run for run in self._done if run[1] >= self.start]
        return joined(runs)

    def _runs_among_open(self) -> Iterator[Run]:
        """Yield the runs that are done behind a position that is not."""
        begin: int | None = None
        end = 0
        for position, parts in self._open.items():
            if not parts:
                begin, end = position if begin is None else begin, position
            elif begin is not None:
                yield begin, end
                begin = None
        if begin is not None:
            yield begin, end
