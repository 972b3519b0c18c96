"""The requests of a push, written to a file or only counted, as if they had been sent."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import BinaryIO

from profilectl.files.whole_file import whole_file
from profilectl.outputs.packing import RequestQueue, body_of
from profilectl.outputs.push.bookkeeping import Books
from profilectl.outputs.push.sending import PushCounts


def write_requests(books: Books, target: Path | None) -> PushCounts:
    """Write each request of a push as one line, and return the counts.

    Requests for the historical endpoint go to a file of their own. target: None: count only.
    """
    queue, counts = RequestQueue(), PushCounts()
    with contextlib.ExitStack() as files:
        out: dict[bool, BinaryIO] = {}
        if target is not None:
            out[False] = files.enter_context(whole_file(target, "--dry-run"))
        for request in queue.requests(books.begin(block) for block in books.blocks()):
            historical = request[0].historical
            if target is not None and historical not in out:
                path = target.with_suffix(f".historical{target.suffix}")
                out[historical] = files.enter_context(whole_file(path, "--dry-run"))
            body = body_of(request)
            if target is not None:
                out[historical].write(body + b"\n")
            books.count(request)
            counts.requests += 1
            counts.bytes += len(body)
            books.accept(request)
            books.track.runs()  # it forgets positions that are done, so that memory does not grow
    return counts
