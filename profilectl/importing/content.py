"""Which files of an import have content that the feed has not brought yet (design.md R11)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from profilectl.codes import StoreBusy
from profilectl.importing.request import ImportRequest, remembered
from profilectl.importing.stage.run import said_by_path
from profilectl.importing.stage.source.files import InputFile
from profilectl.importing.suppression import guard_of
from profilectl.rules.counts import Counts, FileReport, ImportReport
from profilectl.rules.feed import Feed
from profilectl.rules.reimport import ImportedContent, content_status, way_of
from profilectl.store.store import OpenStore


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
