"""TODO render.events (split off render.screen)."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from profilectl.rules.text.values import parse_json

if TYPE_CHECKING:
    from profilectl.reading.stream import Arrived, StreamedEvent, Unowned
from profilectl.render.screen import cut, notice, print_line, print_table, print_text


def print_events(found: Sequence[StreamedEvent]) -> None:
    """Print events, newest first, one a line with what it says."""
    from profilectl.render.activity import moment, said_of

    if not found:
        notice("no events")
        return
    rows = [
        (
            moment(one.at_ms),
            str(one.mpid),
            cut(f"{one.name} ({one.type})" if one.name else one.type),
            cut(said_of(parse_json(one.event))),
            f"{one.feed}, {one.file}:{one.place}",
        )
        for one in found
    ]
    print_table("", ("time", "MPID", "event", "says", "from"), rows)


def print_batches(found: Sequence[Arrived | Unowned], *, as_json: bool) -> None:
    """Print batches with what each did, oldest first; at once, for whoever follows."""
    from profilectl.render.activity import batch_lines

    for one in found:
        if as_json:
            print_text(one.as_json() + "\n")
        else:
            for line in batch_lines(one):
                print_line(line)
    sys.stdout.flush()
