"""Outputs: the places that enriched batches go to, and the meaning of a receiver's answer.

Sources: domain.md 12 (retry of outputs, eventless batches, new data points), 1 (unbound feeds), 5.4
(Events API).
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypedDict

from profilectl.codes import UsageError
from profilectl.rules.text.address import checked
from profilectl.rules.text.naming import instead


@dataclass(frozen=True, slots=True)
class OutputType:
    """A kind of output."""

    place: str
    """The key of the place that it writes to."""
    secret: str
    """The credentials it takes from the environment or a file, in words."""
    says: str
    """Its description, in words."""


# fmt: off
TYPES: dict[str, OutputType] = {
    #                        place   credentials
    "jsonl":      OutputType("path", "",
                             "appends a line for each batch to a file, or in a folder (a path that "
                             "ends in /) to a file for each day"),
    "webhook":    OutputType("url",  "optional: secret, header",
                             "posts each batch as JSON"),
    "events-api": OutputType("host", "key and secret",
                             "sends batches to the platform's Events API, up to 100 in a request"),
    "csv":        OutputType("path", "",
                             "holds an audience in a file: the members (`content = \"full\"`) or "
                             "who came and went (`content = \"changes\"`)"),
}
CONTENTS: dict[str, str] = {
    # the contents of a file of an audience
    "changes": "rows are added for who came and went",
    "full":    "the file is written anew with all members by each forward",
}
FILES = ("jsonl", "csv")
"""The kinds whose place is a path."""
SWITCHES: dict[str, tuple[bool, str]] = {
    # switch                default its meaning
    "accepts_eventless":    (False, ("whether batches without events go there; else their values "
                                     "ride with the next event")),
    "accepts_unbound":      (True,  ("whether batches of feeds that belong to no platform (all but "
                                     "sdk feeds) go there")),
    "send_new_data_points": (True,  ("whether what no filter names goes there; else only what a "
                                     "connection's `only` names")),
}
# fmt: on
LONGEST_NAME = 100
_SECRETS = ("secret", "key", "header", "token", "password")


@dataclass(frozen=True, slots=True)
class Output:
    """An output."""

    name: str
    """Its name."""
    type: str
    """Its kind, one of TYPES."""
    place: str
    """Its path, URL or host."""
    accepts_eventless: bool = False
    """Whether it takes batches without events."""
    accepts_unbound: bool = True
    """Whether it takes batches of feeds that belong to no platform."""
    send_new_data_points: bool = True
    """Whether it takes data points that no filter names."""
    content: str = "changes"
    """The content of a csv file, one of CONTENTS."""
    safe_for_spreadsheets: bool = False
    """Whether the cells of a csv file cannot be formulas."""

    def as_table(self) -> dict[str, object]:
        """Return the output as a table of the configuration: the opposite of output_of."""
        table: dict[str, object] = {"type": self.type, TYPES[self.type].place: self.place}
        for name, (default, _) in SWITCHES.items():
            if getattr(self, name) != default:
                table[name] = getattr(self, name)
        if self.content != "changes":
            table["content"] = self.content
        if self.safe_for_spreadsheets:
            table["safe_for_spreadsheets"] = True
        return table


class _Switches(TypedDict, total=False):
    """The switches and the content of an output, as its table has them."""

    accepts_eventless: bool
    accepts_unbound: bool
    send_new_data_points: bool
    content: str
    safe_for_spreadsheets: bool


def output_of(name: str, table: object) -> Output:
    """Read an output from its table of the configuration. Raises UsageError, naming the key."""
    title = f"output {name}"
    if not name.strip() or len(name) > LONGEST_NAME:
        raise UsageError(f"{title}: a name has 1 to {LONGEST_NAME} characters")
    if not isinstance(table, Mapping):
        raise UsageError(
            f"{title} must be a section",
            f'[outputs.{name}] with type = "jsonl" and path = "forwarded.jsonl"',
        )
    kind = table.get("type")
    if not isinstance(kind, str) or kind not in TYPES:
        raise UsageError(f"{title}: type = {kind!r}", "it is one of " + ", ".join(TYPES))
    # A csv output has audiences, and no batches to which SWITCHES could apply.
    switches = ("safe_for_spreadsheets",) if kind == "csv" else tuple(SWITCHES)
    keys = ("type", TYPES[kind].place, *(("content",) if kind == "csv" else ()), *switches)
    _check_keys(table, keys, kind, title=title)
    place = _place(table, kind, title)
    for switch in switches:
        if not isinstance(table.get(switch, False), bool):
            raise UsageError(f"{title}: {switch} must be true or false")
    settings: _Switches = {}
    for key in ("content", *switches):
        if key in table:
            settings[key] = table[key]  # type: ignore[literal-required]
    return Output(name, kind, place, **settings)


def _check_keys(
    table: Mapping[str, object], keys: tuple[str, ...], kind: str, *, title: str
) -> None:
    for key in table:
        if key not in keys:
            hint = (
                "credentials come from the environment or a file, see docs/outputs.md"
                if key in _SECRETS
                else instead(key, keys, f"a {kind} output has {', '.join(keys)}")
            )
            raise UsageError(f"{title}: there is no key {key}", hint)


def _place(table: Mapping[str, object], kind: str, title: str) -> str:
    """Return the path, URL or host of an output. Raises UsageError."""
    key = TYPES[kind].place
    place = table.get(key)
    if not isinstance(place, str) or not place.strip():
        raise UsageError(f"{title}: needs {key}", "where the batches go")
    if kind == "csv":
        _check_csv(place, table.get("content", "changes"), title)
    if kind in FILES:
        return place
    return checked(
        place,
        f"{title}: {key}",
        example="https://example.com/hook",
        secrets="they come from the environment or a file, see docs/outputs.md",
        query=True,
    )


def _check_csv(place: str, content: object, title: str) -> None:
    if place.endswith("/"):
        raise UsageError(
            f"{title}: path = {place!r} must be a file, not a folder",
            f"path = {place + 'members.csv'!r}",
        )
    if content not in CONTENTS:
        raise UsageError(f"{title}: content = {content!r}", "it is one of " + ", ".join(CONTENTS))


def variable(output: str, name: str) -> str:
    """Return the name of the environment variable of an output's secret."""
    return f"PROFILECTL_OUTPUT_{re.sub('[^A-Z0-9]', '_', output.upper())}_{name.upper()}"


class DeliveryFate(enum.Enum):
    """The fate of a batch that was sent."""

    DELIVERED = "delivered"
    """The receiver has it."""
    KNOWN = "known"
    """The receiver had it already: it is dropped."""
    AGAIN = "again"
    """It is sent again after a pause; if that does not help, it goes to the dead-letter list."""
    LATER = "later"
    """It is sent again after a pause; if that does not help, it and all others go on waiting."""
    DEAD = "dead"
    """It is never sent again by itself: it goes to the dead-letter list."""
    STOP = "stop"
    """Nothing more is sent, because the output is wrong and not the batch. All goes on waiting."""


_AGAIN, _LATER = DeliveryFate.AGAIN, DeliveryFate.LATER
_DEAD, _STOP = DeliveryFate.DEAD, DeliveryFate.STOP
# fmt: off
ANSWERS: dict[int, DeliveryFate] = {
    # HTTP status (domain.md 12)
    409: DeliveryFate.KNOWN,
    408: _AGAIN, 500: _AGAIN, 502: _AGAIN, 503: _AGAIN, 504: _AGAIN,
    400: _DEAD,  413: _DEAD,  414: _DEAD,  525: _DEAD,
    # not documented: as harmless as can be
    401: _STOP,  403: _STOP,  404: _STOP,  405: _STOP, 410: _STOP,
    429: _LATER, 425: _LATER,
}
CLASSES: dict[int, DeliveryFate] = {
    # any other status, by its first digit
    1: _AGAIN, 2: DeliveryFate.DELIVERED, 3: _STOP, 4: _DEAD, 5: _DEAD,
}
TROUBLES: dict[str, DeliveryFate] = {
    # no answer at all
    "timeout":       _AGAIN,
    "broken":        _AGAIN,
    "no connection": _LATER,
}
# fmt: on


def fate_of(status: int) -> DeliveryFate:
    """Return the fate of a batch that was answered with an HTTP status (domain.md 12)."""
    return ANSWERS.get(status) or CLASSES.get(status // 100, DeliveryFate.DEAD)


WAITING, DEAD = "waiting", "dead"
"""The states of a batch in the outbox."""
ARRIVED = (DeliveryFate.DELIVERED.value, DeliveryFate.KNOWN.value)
"""The outcomes of batches that the receiver has."""
BY_HAND = "dropped"
"""The outcome of a batch that somebody took out of the outbox."""


@dataclass(frozen=True, slots=True)
class BatchOutcome:
    """The outcome of a batch."""

    arrival: int
    """The arrival of its row."""
    said: str
    """Its fate, or why it is dead."""
    dead: bool = False
    """Whether it is not sent again by itself."""
