"""The request of an import, what is remembered of it, and the job once its rows are staged."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from profilectl.codes import InputRefused, UsageError
from profilectl.files.whole_file import check_apart, check_target
from profilectl.rules.counts import NO_REJECTS, FileReport, ImportReport
from profilectl.rules.workspace import chosen_workspace

if TYPE_CHECKING:
    from profilectl.importing.answers.outcomes import RowOutcome
    from profilectl.importing.columns.tables import ColumnTable
    from profilectl.importing.relations import Relations
    from profilectl.importing.stage.mendable import Mendable
    from profilectl.importing.stage.source.files import InputFile
    from profilectl.importing.stage.staged import Rejects, Staged
    from profilectl.store.scratch import Scratch
    from profilectl.store.store import State


@dataclass(frozen=True, slots=True)
class ImportRequest:
    """What an import is asked to do. None: not stated."""

    paths: Sequence[str]
    """The files; `-` is standard input."""
    feed: str
    """The name of the feed that brings them."""
    protection: str | None = None
    """The protection level for this import; None: the feed's."""
    source: str | None = None
    """The source of a feed that is not registered yet."""
    partner: str | None = None
    """The partner of such a feed."""
    format: str | None = None
    """The format of the files; None: each file's name and content tell."""
    manifest: str | None = None
    """The file that says what the columns mean."""
    mapped: Sequence[str] = ()
    """What single columns mean, as COLUMN=FIELD."""
    delimiter: str | None = None
    """The character between CSV cells; None: it is detected."""
    encoding: str | None = None
    """The encoding of the files; None: UTF-8, or what the byte order mark says."""
    empty: str = "ignore"
    """What an empty cell does to its attribute: ignore, delete or set."""
    nulls: Sequence[str] = ()
    """Texts that count as an empty cell."""
    quote: str | None = None
    """The character around CSV cells."""
    escape: str | None = None
    """The character before a quote in a CSV cell."""
    skip_lines: int = 0
    """How many lines are above the header of a CSV file."""
    ragged: str = "reject"
    """What happens to a CSV record with too few or too many cells: reject or pad."""
    unknown: str = "refuse"
    """What happens to a field of a batch that nobody knows."""
    encoding_errors: str = "refuse"
    """What happens to a line that is not valid in its encoding: refuse or reject."""
    max_unpacked: str | None = None
    """The size that what is packed may unpack to (stage.source.unpacking)."""
    path_columns: bool = False
    """Whether key=value folders of a path are columns of its rows."""
    binary_as_text: bool = False
    """Whether BINARY columns of Parquet are text in UTF-8."""
    allow_spoiled: bool = False
    """Whether identities may look like numbers that a spreadsheet spoiled."""
    strict: bool = False
    """Whether the import is refused if anything is left out of a row."""
    environment: str | None = None
    """The environment of all rows; None: production, unless a row states its own."""
    rejects: str | None = None
    """The file that rejected rows are written to; NO_REJECTS: they are counted only."""
    rejects_as_input: str | None = None
    """The file that they are written to in the format of the input."""
    explain_rows: str | None = None
    """The file that gets a line for each row and code."""
    again: bool = False
    """Whether content that was imported before is imported again."""
    max_shared: int | None = None
    """How many rows and profiles may share an identity; None: any number."""
    max_rejects: str | None = None
    """How many rows may be rejected: a number ("100"), or a share of those read ("0.5%")."""
    memory_limit: str | None = None
    """How much memory DuckDB may use, as it writes it ("2GB")."""
    keep_scratch: str | None = None
    """The DuckDB file that the relations of the import are copied to."""
    dry_run: bool = False
    """Whether nothing is written."""
    wait_s: float = 0
    """How long to wait for another process that holds the store."""
    now_ms: int | None = None
    """The time of the import; None: the clock's."""
    stated: Collection[str] | None = None
    """The fields of the reading that somebody stated, so that they win over the feed's reading;
    None: those that are not at their defaults.
    """
    takes_reading: bool = True
    """Whether it takes from the feed's reading what it does not state; not if it is made again."""
    taken: Sequence[str] = ()
    """What was taken from the feed's reading, in words."""
    of_feed: Mapping[str, object] = field(default_factory=dict)
    """The feed's reading, as it was when the reading in force was found."""
    remember: bool = False
    """Whether the reading in force becomes the feed's."""
    first_arrival: int | None = None
    """Of an import that is made again, the arrival that its first row had before."""
    any_time: bool = False
    """Whether rows may state any time: what an older version took, and what the store holds
    already.
    """
    stdin: BinaryIO | None = None
    """What is read as standard input; None: the process's."""
    stdin_name: str | None = None
    """The name that standard input gets."""
    content: str | None = None
    """JSON lines that are in no file; `paths` then has one name for them."""
    who: Sequence[str] | None = None
    """The type and value of the identity that a correction named."""
    event: str | None = None
    """The name of a custom event that every batch gets."""
    workspace: str | None = None
    """The workspace of a feed that is new; None: the chosen one."""
    call: str = "identify"
    """What an application says of its user with every row (identity.CALLS)."""
    refreshes: bool = True
    """Whether calculated attributes and audiences are brought up to date afterwards."""
    progress: Callable[[str, int], None] = field(default=lambda step, rows: None)
    """Gets the step that begins, and how many rows were read."""
    columns: Callable[[list[ColumnTable]], None] = field(default=lambda tables: None)
    """Gets the columns of the files before a first import of the feed."""
    opened: Callable[[ImportReport, State], None] = field(default=lambda report, state: None)
    """Gets the files and the state of the store before anything is read; it may refuse."""
    checked: Callable[[ImportReport, State], None] = field(default=lambda report, state: None)
    """Gets the outcome before it is written; it may refuse."""
    outcomes: Callable[[list[RowOutcome]], None] | None = None
    """Gets what becomes of each row, before it is written."""


@dataclass(slots=True)
class ImportJob:
    """An import whose rows are staged."""

    store_path: Path
    """Where the store is, or will be."""
    request: ImportRequest
    """The request."""
    now_ms: int
    """The time of the import."""
    scratch: Scratch
    """The database of the import."""
    relations: Relations
    """The relations in it; only those that are listed can be made."""
    staged: Staged
    """The rows."""
    rejects: Rejects
    """The rows that cannot be used."""
    mend: Mendable | None
    """Where rejects go in the format of the input; None: nowhere."""
    settings: Mapping[str, object]
    """The settings that the rows were read by."""
    fresh: Sequence[InputFile]
    """The files that were read."""
    files: Sequence[FileReport]
    """All files that were named."""
    report: ImportReport
    """The report; the steps complete it."""
    has_late_rejects: bool = False
    """Whether the rows that were rejected after staging are among the rejects."""


# fmt: off
# What is remembered of a request, so that the same import can be made again (undo --replay, plans).
REMEMBERED = (
    "paths", "feed", "protection", "source", "partner", "format", "manifest", "mapped", "delimiter",
    "encoding", "empty", "nulls", "quote", "escape", "skip_lines", "ragged", "unknown",
    "encoding_errors", "max_unpacked", "path_columns", "binary_as_text", "allow_spoiled", "strict",
    "environment", "again", "max_shared", "max_rejects", "content", "who", "event", "workspace",
    "any_time",
)
# fmt: on


def remembered(request: ImportRequest) -> dict[str, Any]:
    """Return a request as the history and a plan keep it, with the hash of its manifest."""
    document = {name: getattr(request, name) for name in REMEMBERED}
    document["paths"] = list(request.paths)
    document["mapped"] = list(request.mapped)
    document["nulls"] = list(request.nulls)
    document["folder"] = str(Path.cwd())
    if request.rejects == NO_REJECTS:
        document["rejects"] = NO_REJECTS
    document["workspace"] = request.workspace or chosen_workspace()
    if request.manifest:
        digest = hashlib.sha256(Path(request.manifest).read_bytes()).hexdigest()
        document["manifest_sha256"] = digest
    return document


def request_of(document: Mapping[str, Any], **changes: Any) -> ImportRequest:
    """Return the request that was remembered, with some fields changed.

    Raises InputRefused if its manifest is another now.
    """
    manifest = document.get("manifest")
    if manifest:
        try:
            digest = hashlib.sha256(Path(manifest).read_bytes()).hexdigest()
        except OSError as error:
            raise InputRefused(
                f"{manifest}: {error.strerror}", "the manifest must be where it was"
            ) from None
        if digest != document.get("manifest_sha256"):
            raise InputRefused(f"{manifest} is not the manifest it was")
    fields = {name: document[name] for name in REMEMBERED if name in document}
    # What is remembered is the reading in force: a feed's reading that was changed since, or was
    # made since, says nothing of it.
    request = ImportRequest(**{"takes_reading": False, **fields, **changes})
    # Where rejects go is not remembered, but that they go nowhere is: a plan or a replay keeps to
    # it, unless another place is named.
    if request.rejects is None and document.get("rejects") == NO_REJECTS:
        return replace(request, rejects=NO_REJECTS)
    return request


def rejects_path(request: ImportRequest) -> str | None:
    """Return the file that was named for rejected rows; None: none was."""
    return None if request.rejects == NO_REJECTS else request.rejects


def check_options(request: ImportRequest, paths: Sequence[str]) -> None:
    """Refuse, before anything is read, what could only fail after the commit."""
    if not request.feed.strip():
        raise UsageError("a feed needs a name")
    if request.event is not None and not request.event.strip():
        raise UsageError(
            "--event: an event needs a name", 'for example --event "Attributes Updated"'
        )
    most_rejects(request.max_rejects, 0)  # for its UsageError
    if request.keep_scratch:
        _check_new_file(request.keep_scratch)
    outputs = (
        ("--rejects", rejects_path(request)),
        ("--rejects-as-input", request.rejects_as_input),
        ("--explain-rows", request.explain_rows),
    )
    # The paths of a content are names for it, no files.
    inputs = [*(paths if request.content is None else ())]
    if request.manifest:
        inputs.append(request.manifest)
    check_apart(outputs, inputs)
    for option, path in outputs:
        if path is not None:
            try:
                check_target(Path(path), option)
            except InputRefused as error:
                raise UsageError(f"{option}: {error.message}", error.hint) from None


def _check_new_file(path: str) -> None:
    """Refuse a path where DuckDB can make no new file.

    A file that is there is refused too: a store would get tables that do not belong to it.
    """
    target = Path(path).absolute()
    if "?" in str(target) or not target.parent.is_dir() or os.path.lexists(target):
        raise InputRefused(
            f"--keep-scratch {path}: DuckDB makes no new file there",
            "name one that is not there, in a folder that is",
        )


def most_rejects(limit: str | None, read: int) -> float | None:
    """Return how many of the rows that were read may be rejected; None: any number.

    Raises UsageError for a limit that is neither a number nor a share.
    """
    if limit is None:
        return None
    number, is_share = limit.strip().removesuffix("%"), limit.strip().endswith("%")
    try:
        most = float(number) if is_share else int(number)
        if not 0 <= most < 10**18 or (is_share and most > 100):
            raise ValueError
    except ValueError:
        raise UsageError(
            f"--max-rejects {limit}: must be a number of rows or a share", "for example 100 or 0.5%"
        ) from None
    return most * read / 100 if is_share else most
