"""`profilectl columns`: the columns of files, without a store."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from profilectl.importing.columns.tables import ColumnTable, options_of_look, tables_of
from profilectl.importing.content import with_reading
from profilectl.importing.request import ImportRequest
from profilectl.importing.run import open_inputs
from profilectl.importing.stage.columns import read_manifest, read_map
from profilectl.importing.stage.run import units_of
from profilectl.importing.stage.source.files import name_files
from profilectl.importing.stage.staged import Rejects
from profilectl.rules.text.naming import no_such
from profilectl.store.opening import open_store
from profilectl.store.scratch import scratch_beside


def as_the_feed_reads(store_path: Path, request: ImportRequest) -> ImportRequest:
    """Return a request with what its feed remembers of reading; without a feed as it is.

    Raises UsageError for a feed that there is not, StoreBusy, StoreUnusable.
    """
    if not request.feed:
        return request
    with (
        scratch_beside(store_path.absolute()) as scratch,
        open_store(scratch, store_path, wait_s=request.wait_s, upgrade=False) as store,
    ):
        feeds = [feed.name for feed in store.feeds()]
    if request.feed not in feeds:
        raise no_such("feed", request.feed, feeds, option="--feed", lists="profilectl feeds list")
    return with_reading(store_path, replace(request, dry_run=True))


def columns_of(folder: Path, request: ImportRequest) -> list[ColumnTable]:
    """Return the tables of the columns of files; those with the same columns are one.

    folder: where files that are packed may be unpacked, and removed again. Raises InputRefused,
    UsageError.
    """
    manifest = read_manifest(request.manifest) if request.manifest else None
    options = options_of_look(request, manifest, read_map(request.mapped))
    named = name_files(request.paths)
    place = folder / "columns"
    with scratch_beside(place) as scratch:
        opened = open_inputs(scratch, named, request, importing=False)
        scratch.confine(place)
        rejects = Rejects(scratch.folder / "rejects.jsonl")
        try:
            units = [
                unit.file
                for number, file in enumerate(opened.files)
                for unit in units_of(
                    scratch, file, f"file{number}", options=options, rejects=rejects
                )
            ]
        finally:
            rejects.close()
        return tables_of(scratch, units, options)
