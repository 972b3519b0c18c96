"""How a feed's files are read, and which bring new content (design.md R11)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

from profilectl.codes import StoreBusy
from profilectl.importing.request import ImportRequest, remembered
from profilectl.importing.stage.run import said_by_path
from profilectl.importing.stage.source.files import InputFile
from profilectl.importing.suppression import guard_of
from profilectl.rules.counts import Counts, FileReport, ImportReport
from profilectl.rules.feed import Feed
from profilectl.rules.reimport import (
    ImportedContent,
    content_status,
    reading_in_force,
    reading_of_request,
    way_of,
)
from profilectl.store.opening import open_store
from profilectl.store.scratch import may_write_beside, scratch_beside
from profilectl.store.store import OpenStore

FIRST_WAIT_S = 2.0
"""How long an import waits for the store at its beginning, even if no wait was asked for: a server
holds the store for moments only, to copy it or to take batches in.
"""


def with_reading(store_path: Path, request: ImportRequest) -> ImportRequest:
    """Return a request with the reading in force: what it does not state is the feed's.

    Raises StoreBusy, StoreUnusable.
    """
    # A content is made by a program, which says how it is to be read.
    if not request.takes_reading or request.content is not None:
        return request
    of_feed: dict[str, object] = {}
    # Where nothing can be written, the import says so next.
    if store_path.exists() and (request.dry_run or may_write_beside(store_path)):
        with (
            scratch_beside(store_path.absolute()) as scratch,
            open_store(
                scratch,
                store_path,
                wait_s=max(request.wait_s, FIRST_WAIT_S),
                upgrade=not request.dry_run,
            ) as store,
        ):
            of_feed = store.reading(request.feed)
    reading = reading_in_force(of_feed, _fields_of(request), request.stated)
    return replace(
        request, takes_reading=False, taken=reading.of_feed, of_feed=of_feed, **reading.fields
    )


def reading_afterwards(request: ImportRequest) -> Mapping[str, object]:
    """Return the reading that the feed has once an import is made."""
    reading = None if request.dry_run else remembered_reading(request)
    return request.of_feed if reading is None else reading


def remembered_reading(request: ImportRequest) -> dict[str, object] | None:
    """Return the reading that becomes the feed's with an import; None: the feed's stays."""
    if not request.remember:
        return None
    # The next import may be made in another folder.
    manifest = request.manifest and str(Path(request.manifest).absolute())
    return reading_of_request({**_fields_of(request), "manifest": manifest})


def _fields_of(request: ImportRequest) -> dict[str, object]:
    """Return the fields of a request, by their names."""
    return {each.name: getattr(request, each.name) for each in fields(request)}


@dataclass(slots=True)
class FileContents:
    """What a feed knows of the files of an import."""

    fresh: list[InputFile] = field(default_factory=list)
    """The files whose content it has not brought yet."""
    brought: list[InputFile] = field(default_factory=list)
    """The files whose content it has brought."""
    reports: list[FileReport] = field(default_factory=list)
    """The report of each file."""
    notices: list[str] = field(default_factory=list)
    """Notices for a person of files that are imported although their content is known."""

    @property
    def newest_import(self) -> int:
        """Return the newest import that brought any of them; 0: none did."""
        return max(file.already_imported or 0 for file in self.reports)


class Overtaken(Exception):
    """Another process imported the same content in the meantime."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def contents_of(
    store: OpenStore, feed: Feed, files: Sequence[InputFile], *, request: ImportRequest
) -> FileContents:
    """Return what a feed knows of some files."""
    contents = FileContents()
    for file in files:
        content = _content_of(store, feed, file, request=request)
        contents.reports.append(
            FileReport(file.name, file.sha256, 0, already_imported=content.already)
        )
        (contents.fresh if content.already is None else contents.brought).append(file)
        if content.notice:
            contents.notices.append(f"{file.name}: {content.notice}")
    return contents


def _content_of(
    store: OpenStore, feed: Feed, file: InputFile, *, request: ImportRequest
) -> ImportedContent:
    """Return what a feed knows of a content, to be read as the request says.

    The same content counts as another if its path says something else of the rows.
    """
    # A feed without a number is new, and has brought nothing.
    if request.again or not feed.number:
        return ImportedContent()
    way = way_of(remembered(request), request.protection or feed.protection)
    from_path = said_by_path(file.name, folders=request.path_columns)
    guard = guard_of(store)
    brought = store.brought(feed, file.sha256)
    if guard is not None and guard.key is not None:
        # A file of which a row was erased since has the hash that the key makes.
        brought += store.brought(feed, guard.text(file.sha256))
        brought.sort(key=lambda content: -content.number)
    same = [
        content
        for content in brought
        if said_by_path(content.path, folders=request.path_columns) == from_path
    ]
    return content_status(way, same)


def check_overtaken(
    store: OpenStore, feed: Feed, files: Sequence[InputFile], *, request: ImportRequest
) -> None:
    """Look again whether the content of the files was imported, now by another process.

    Raises Overtaken if all of it was, StoreBusy if some of it was.
    """
    numbers = [_content_of(store, feed, file, request=request).already for file in files]
    imported = [number for number in numbers if number is not None]
    if len(imported) == len(numbers):
        raise Overtaken(max(imported))
    if imported:
        raise StoreBusy(
            f"another process imported some of the files meanwhile, as {max(imported)}",
            "run the import again: it takes the others",
        )


def report_imported(report: ImportReport, number: int) -> ImportReport:
    """Make a report say that nothing was to be imported: import `number` brought it."""
    report.number, report.already_imported = None, number
    report.feed_registered, report.counts = False, Counts()
    report.files = [
        replace(file, rows=0, already_imported=file.already_imported or number)
        for file in report.files
    ]
    return report
