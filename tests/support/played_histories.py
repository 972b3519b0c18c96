"""The imports of a history made in a store, and what the store then says."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from support.equivalence import NOW_MS, stated_settings, text_of
from support.histories import History, Import

from profilectl.importing.request import ImportRequest
from profilectl.reading.check import check
from profilectl.reading.exporting.export import ExportRequest, export_to
from profilectl.store.opening import open_store
from profilectl.store.scratch import Scratch
from profilectl.store.store import OpenStore


@contextlib.contextmanager
def opened(path: Path, *, create: bool = False) -> Iterator[OpenStore]:
    scratch = Scratch(path.parent)
    with (
        contextlib.closing(scratch),
        open_store(scratch, path, create=create, write=create) as store,
    ):
        yield store


def declare(path: Path, history: History) -> None:
    """Make a store with the settings and the feeds of a history."""
    with opened(path, create=True) as store, store.transaction():
        store.put_settings(stated_settings(history))
        for name in history.feeds:
            store.put_feed(history.feed(name))


def request_for(folder: Path, number: int, one: Import) -> ImportRequest:
    """Write the file of an import, named after its place, and return the request for it."""
    file = folder / f"{number}.jsonl"
    file.write_text("".join(text_of(row) + "\n" for row in one.rows) or "\n")
    return ImportRequest(
        [str(file)],
        one.feed,
        protection=one.protection,
        environment=one.environment,
        again=True,
        now_ms=NOW_MS + number,
        rejects=str(folder / "rejects.jsonl"),
    )


def exported(path: Path) -> bytes:
    out = io.BytesIO()
    with opened(path) as store:
        export_to(store, ExportRequest(in_order=True, provenance=True), out)
    return out.getvalue()


def breaches(path: Path) -> list[Any]:
    with opened(path) as store:
        return check(store)
