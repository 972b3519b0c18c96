"""The ages of events: which of a push are historical, and what a person should know of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from profilectl.outputs.packing import SAID_AGAIN
from profilectl.outputs.platform import HISTORICAL_AFTER_H, PROCESSED_AFTER_H
from profilectl.rules.event.event import NAMED_FREELY, names_warning
from profilectl.rules.fields import UnusableRow, whole_number
from profilectl.rules.text.values import Value

HOUR_MS = 3_600_000


class AgedBatch(NamedTuple):
    """A batch whose events are all historical, or none of them."""

    document: Value
    """The batch."""
    historical: bool
    """Whether it goes to the historical endpoint."""


@dataclass(slots=True)
class Ages:
    """The rule that says which events are historical, and counts of those that were looked at."""

    historical_after_h: float = HISTORICAL_AFTER_H
    """Events are historical from this age on, in hours, when the push began."""
    began_ms: int = 0
    """When the push began."""
    too_young: int = 0
    """How many historical events the endpoint does not process, by the platform's description."""
    names: set[str] = field(default_factory=set)
    """The distinct event names that were read."""

    def is_historical(self, at_ms: int | None) -> bool:
        """Return whether an event of that time is historical; one without a time never is."""
        return at_ms is not None and at_ms < self.began_ms - self.historical_after_h * HOUR_MS

    def note(self, at_ms: int | None) -> None:
        """Count an event that the historical endpoint would leave out."""
        processed_ms = self.began_ms - PROCESSED_AFTER_H * HOUR_MS
        self.too_young += at_ms is not None and self.is_historical(at_ms) and at_ms > processed_ms

    def parted(self, document: Value) -> Iterator[AgedBatch]:
        """Yield the batches that a batch leaves as.

        If only some of its events are historical, the batch leaves without them, and a second batch
        has them alone and repeats whom they are about. Otherwise the batch itself leaves.
        """
        events = document.get("events") if isinstance(document, dict) else None
        if not isinstance(document, dict) or not isinstance(events, list):
            yield AgedBatch(document, historical=False)
            return
        old: list[Value] = []
        young: list[Value] = []
        for event in events:
            at_ms = self._read(event)
            self.note(at_ms)
            (old if self.is_historical(at_ms) else young).append(event)
        if not old or not young:
            yield AgedBatch(document, historical=bool(old))
            return
        yield AgedBatch({**document, "events": young}, historical=False)
        about = {name: document[name] for name in SAID_AGAIN if name in document}
        yield AgedBatch({**about, "events": old}, historical=True)

    def _read(self, event: Value) -> int | None:
        """Take note of an event's name; return its time."""
        data = event.get("data") if isinstance(event, dict) else None
        if not isinstance(event, dict) or not isinstance(data, dict):
            return None
        if event.get("event_type") in NAMED_FREELY:
            name = data.get("event_name", data.get("screen_name"))
            if isinstance(name, str):
                self.names.add(name)
        try:
            return whole_number(data.get("timestamp_unixtime_ms"), "TIMESTAMP_INVALID")
        except UnusableRow:
            return None

    def warnings(self, names: int, origin: str) -> list[str]:
        """Return what a person should know.

        names: how many distinct event names there are; origin: the workspace or the file that has
        them, for the sentence.
        """
        warnings = [names_warning(names, origin)]
        if self.too_young:
            events = "1 event" if self.too_young == 1 else f"{self.too_young:,} events"
            warnings.append(
                f"{events} younger than {PROCESSED_AFTER_H} hours"
                f" {'is' if self.too_young == 1 else 'are'} for the historical endpoint, which may"
                " leave such batches out"
                f" (--historical-after {PROCESSED_AFTER_H}: the ordinary one)"
            )
        return [warning for warning in warnings if warning]
