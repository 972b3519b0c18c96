"""Events and the batches of the live stream, printed for a person."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from profilectl.render.screen import console, notice, print_line, print_text, shortened
from profilectl.render.tables import print_table
from profilectl.rules.text.values import parse_json

if TYPE_CHECKING:
    from profilectl.reading.stream import Arrived, StreamedEvent, Unowned

NARROW = 110
"""The width below which the table of events names files without their folders."""


def print_events(events: Sequence[StreamedEvent]) -> None:
    """Print events with their content, newest first, one a line."""
    from profilectl.render.words import event_content, moment

    if not events:
        notice("no events")
        return
    # A narrow table has no room for the folder of a file.
    is_narrow = console().width < NARROW
    rows = [
        (
            moment(event.at_ms),
            str(event.mpid),
            shortened(f"{event.name} ({event.type})" if event.name else event.type),
            shortened(event_content(parse_json(event.event))),
            f"{event.feed}, {Path(event.file).name if is_narrow else event.file}:{event.place}",
        )
        for event in events
    ]
    print_table("", ("time", "MPID", "event", "says", "from"), rows)


def print_batches(batches: Sequence[Arrived | Unowned], *, as_json: bool) -> None:
    """Print batches with their effects, oldest first, without waiting for more output."""
    from profilectl.render.plain import batch_lines

    for batch in batches:
        if as_json:
            print_text(batch.as_json() + "\n")
        else:
            for line in batch_lines(batch):
                print_line(line)
    sys.stdout.flush()
