"""Outputs: where enriched batches go, what each kind takes, and what an answer of a receiver means.

Sources: domain.md 12 (retry of outputs, eventless batches, new data points), 1 (unbound feeds), 5.4
(Events API).
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from profilectl.codes import UsageError
from profilectl.rules.text.address import checked


@dataclass(frozen=True, slots=True)
class OutputType:
    """A kind of output.

    place: the key that says where it is; secret: what it takes from the environment or a file.
    """

    place: str
    secret: str
    says: str


# fmt: off
TYPES: dict[str, OutputType] = {
    #                        where it is  credentials                        what it does
    "jsonl":      OutputType("path", "",                                     "appends a line for each batch to a file, or in a folder (a path that ends in /) to a file for each day"),
    "webhook":    OutputType("url",  "optional: secret, header",             "posts each batch as JSON"),
    "events-api": OutputType("host", "key and secret",                       "sends batches to the platform's Events API, up to 100 in a request"),
    "csv":        OutputType("path", "",                                     "holds an audience in a file: the members (`content = \"full\"`) or who came and went (`content = \"changes\"`)"),
}
CONTENTS: dict[str, str] = {
    # what a file of an audience holds
    "changes": "rows are added for who came and went",
    "full":    "the file is written anew with all members by each forward",
}
FILES = ("jsonl", "csv")
# Types whose place is a path.
SWITCHES: dict[str, tuple[bool, str]] = {
    # switch                default  what it says
    "accepts_eventless":    (False,  "whether batches without events go there; else their values ride with the next event"),
    "accepts_unbound":      (True,   "whether batches of feeds that belong to no platform (all but sdk feeds) go there"),
    "send_new_data_points": (True,   "whether what no filter names goes there; else only what a connection's `only` names"),
}
# fmt: on
LONGEST_NAME = 100


@dataclass(frozen=True, slots=True)
class Output:
    """An output. place: its path, URL or host. content, safe_for_spreadsheets: of a csv; content is
    one of CONTENTS.
    """

    name: str
    type: str
    place: str
    accepts_eventless: bool = False
    accepts_unbound: bool = True
    send_new_data_points: bool = True
    content: str = "changes"
    safe_for_spreadsheets: bool = False

    def as_table(self) -> dict[str, Any]:
        """Return the output as the configuration has it: what output_of reads as the same."""
        stated: dict[str, Any] = {
            name: getattr(self, name)
            for name, (standing, _) in SWITCHES.items()
            if getattr(self, name) != standing
        }
        if self.content != "changes":
            stated["content"] = self.content
        if self.safe_for_spreadsheets:
            stated["safe_for_spreadsheets"] = True
        return {"type": self.type, TYPES[self.type].place: self.place, **stated}


def output_of(name: str, table: object) -> Output:
    """Read an output of the configuration. Raises UsageError, naming the key."""
    where = f"output {name}"
    if not name.strip() or len(name) > LONGEST_NAME:
        raise UsageError(f"{where}: a name has 1 to {LONGEST_NAME} characters")
    if not isinstance(table, Mapping):
        raise UsageError(
            f"{where} must be a section",
            f'[outputs.{name}] with type = "jsonl" and path = "forwarded.jsonl"',
        )
    kind = table.get("type")
    if not isinstance(kind, str) or kind not in TYPES:
        raise UsageError(f"{where}: type = {kind!r}", "it is one of " + ", ".join(TYPES))
    switches = SWITCHES if kind != "csv" else {"safe_for_spreadsheets": (False, "")}
    keys = ("type", TYPES[kind].place, *(("content",) if kind == "csv" else ()), *switches)
    for key in table:
        if key not in keys:
            secret = key in ("secret", "key", "header", "token", "password")
            hint = (
                "credentials come from the environment or a file, see docs/outputs.md"
                if secret
                else f"a {kind} output has {', '.join(keys)}"
            )
            raise UsageError(f"{where}: there is no key {key}", hint)
    place = table.get(TYPES[kind].place)
    if not isinstance(place, str) or not place.strip():
        raise UsageError(f"{where}: needs {TYPES[kind].place}", "where the batches go")
    if kind == "csv":
        _check_csv(where, place, table.get("content", "changes"))
    if kind not in FILES:
        place = checked(
            place,
            f"{where}: {TYPES[kind].place}",
            example="https://example.com/hook",
            secrets="they come from the environment or a file, see docs/outputs.md",
            query=True,
        )
    for switch in switches:
        if not isinstance(table.get(switch, False), bool):
            raise UsageError(f"{where}: {switch} must be true or false")
    content = {"content": table["content"]} if "content" in table else {}
    return Output(
        name,
        kind,
        place,
        **{switch: table.get(switch, standing) for switch, (standing, _) in switches.items()},
        **content,
    )


def _check_csv(where: str, place: str, content: object) -> None:
    if place.endswith("/"):
        raise UsageError(
            f"{where}: path = {place!r} must be a file, not a folder",
            f"path = {place + 'members.csv'!r}",
        )
    if content not in CONTENTS:
        raise UsageError(f"{where}: content = {content!r}", "it is one of " + ", ".join(CONTENTS))


def variable(output: str, name: str) -> str:
    """Return the environment variable of a secret of an output."""
    return f"PROFILECTL_OUTPUT_{re.sub('[^A-Z0-9]', '_', output.upper())}_{name.upper()}"


class DeliveryFate(enum.Enum):
    """What becomes of a batch that was sent."""

    DELIVERED = "delivered"
    """The receiver has it."""
    KNOWN = "known"
    """The receiver had it already: it is dropped."""
    AGAIN = "again"
    """It is sent again after a pause; where that does not help, it goes to the dead-letter list."""
    LATER = "later"
    """It is sent again after a pause; where that does not help, it goes on waiting, and nothing
    more is sent.
    """
    DEAD = "dead"
    """It is never sent again by itself: it goes to the dead-letter list."""
    STOP = "stop"
    """Nothing more is sent: it is the output that is wrong, not the batch. All goes on waiting."""


# fmt: off
ANSWERS: dict[int, DeliveryFate] = {
    # an HTTP status (domain.md 12)
    409: DeliveryFate.KNOWN,
    408: DeliveryFate.AGAIN, 500: DeliveryFate.AGAIN, 502: DeliveryFate.AGAIN, 503: DeliveryFate.AGAIN, 504: DeliveryFate.AGAIN,
    400: DeliveryFate.DEAD,  413: DeliveryFate.DEAD,  414: DeliveryFate.DEAD,  525: DeliveryFate.DEAD,
    # not documented: as harmless as can be
    401: DeliveryFate.STOP,  403: DeliveryFate.STOP,  404: DeliveryFate.STOP,  405: DeliveryFate.STOP, 410: DeliveryFate.STOP,
    429: DeliveryFate.LATER, 425: DeliveryFate.LATER,
}
CLASSES: dict[int, DeliveryFate] = {
    # ... and any other, by its first digit
    1: DeliveryFate.AGAIN, 2: DeliveryFate.DELIVERED, 3: DeliveryFate.STOP, 4: DeliveryFate.DEAD, 5: DeliveryFate.DEAD,
}
TROUBLES: dict[str, DeliveryFate] = {
    # no answer at all
    "timeout":    DeliveryFate.AGAIN,
    "broken":     DeliveryFate.AGAIN,
    "no connection": DeliveryFate.LATER,
}
# fmt: on


def fate_of(status: int) -> DeliveryFate:
    """Return what becomes of a batch that was answered with an HTTP status."""
    return ANSWERS.get(status) or CLASSES.get(status // 100, DeliveryFate.DEAD)


WAITING, DEAD = "waiting", "dead"


ARRIVED = (DeliveryFate.DELIVERED.value, DeliveryFate.KNOWN.value)
"""Outcomes of batches that the receiver has."""


BY_HAND = "dropped"
"""The outcome of a batch that somebody took out of the outbox."""


@dataclass(frozen=True, slots=True)
class BatchOutcome:
    """What became of a batch. dead: it is not sent again by itself, and what is said is why."""

    arrival: int
    said: str
    dead: bool = False
