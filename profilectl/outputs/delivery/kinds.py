"""The kinds of outputs, and how each is opened: files, a webhook, the Events API.

`delivery_of` opens an output; `deliver` takes batches in the order in which they arrived and
returns the fate of each. Batches of one person are handed over one after another, batches of
several people beside one another. The module of a kind is imported when such an output is opened.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from profilectl.outputs.delivery.credentials import OutputCredentials
from profilectl.outputs.delivery.parcel import Delivery, DeliveryManner
from profilectl.rules.leaving.output import Output


@contextlib.contextmanager
def delivery_of(
    output: Output,
    credentials: OutputCredentials,
    manner: DeliveryManner,
    *,
    folder: Path,
    attributes: Sequence[str] = (),
) -> Iterator[Delivery]:
    """Open an output and close it at the end.

    folder: the folder of the store, from which relative paths lead; attributes: those that a file
    of an audience has a column for.

    Raises InputRefused for a file that cannot be written.
    """
    if output.type == "jsonl":
        from profilectl.outputs.delivery.jsonl import Lines

        path, is_folder = folder / output.place, output.place.endswith("/")
        with contextlib.closing(Lines(path, folder=is_folder)) as lines:
            yield lines
        return
    if output.type == "csv":
        from profilectl.outputs.delivery.csv_file import changes_of

        safe = output.safe_for_spreadsheets
        with contextlib.closing(changes_of(folder / output.place, attributes, safe=safe)) as file:
            yield file
        return
    from profilectl.outputs.delivery.http import HttpSender

    with contextlib.closing(HttpSender(manner, output.place)) as sender:
        if output.type == "webhook":
            from profilectl.outputs.delivery.webhook import Webhook

            yield Webhook(output.place, credentials, sender=sender, manner=manner)
        else:
            from profilectl.outputs.delivery.events_api import EventsApi

            yield EventsApi(output.place, credentials, sender)
