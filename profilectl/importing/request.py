"""TODO importing.request (split off importing.run)."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from profilectl.codes import InputRefused, UsageError
from profilectl.files.whole_file import check_apart, check_target
from profilectl.importing.outcomes import RowOutcome
from profilectl.rules.counts import ImportReport
from profilectl.rules.workspace import chosen_workspace
from profilectl.store.store import State


@dataclass(frozen=True, slots=True)
class ImportRequest:
    """What an import is asked to do.

    None: not stated. wait_s: for another process that holds the store.

    max_unpacked: the size that what is packed may unpack to (stage.unpacking). max_rejects: a
    number of rows ("100"), or a share of those read ("0.5%"). first_arrival: of an import that is
    played again, the arrivals it had before. content: JSON lines that stand in no file; paths then
    has one name for them. stdin_name: what stands for the name of standard input. event: the name
    of a custom event that every batch gets. workspace: of a feed that is new (None: the one that is
    meant). call: what an application says of its user with every row (identity.CALLS); outcomes is
    told what becomes of each row, before it is written. refreshes: bring calculated attributes and
    audiences up to date afterwards. opened is told the files and the state of the store before
    anything is read, checked the outcome before it is written; either may refuse.
    """

    paths: Sequence[str]
    feed: str
    protection: str | None = None
    source: str | None = None
    partner: str | None = None
    format: str | None = None
    manifest: str | None = None
    mapped: Sequence[str] = ()
    delimiter: str | None = None
    encoding: str | None = None
    empty: str = "ignore"
    nulls: Sequence[str] = ()
    quote: str | None = None
    escape: str | None = None
    skip_lines: int = 0
    ragged: str = "reject"
    unknown: str = "refuse"
    encoding_errors: str = "refuse"
    max_unpacked: str | None = None
    path_columns: bool = False
    binary_as_text: bool = False
    allow_spoiled: bool = False
    strict: bool = False
    environment: str | None = None
    rejects: str | None = None
    rejects_as_input: str | None = None
    explain_rows: str | None = None
    again: bool = False
    max_shared: int | None = None
    max_rejects: str | None = None
    memory_limit: str | None = None
    keep_scratch: str | None = None
    dry_run: bool = False
    wait_s: float = 0
    now_ms: int | None = None
    first_arrival: int | None = None
    any_time: bool = False
    """Whether rows may state any time: what an older version took, and what the store holds
    already.
    """
    stdin: BinaryIO | None = None
    stdin_name: str | None = None
    content: str | None = None
    who: Sequence[str] | None = None
    event: str | None = None
    workspace: str | None = None
    call: str = "identify"
    refreshes: bool = True
    progress: Callable[[str, int], None] = field(default=lambda step, rows: None)
    opened: Callable[[ImportReport, State], None] = field(default=lambda report, state: None)
    checked: Callable[[ImportReport, State], None] = field(default=lambda report, state: None)
    outcomes: Callable[[list[RowOutcome]], None] | None = None


# What is remembered of a request, so that the same import can be made again (undo --replay, plans).
REMEMBERED = (
    "paths", "feed", "protection", "source", "partner", "format", "manifest", "mapped", "delimiter", "encoding", "empty", "nulls",
    "quote", "escape", "skip_lines", "ragged", "unknown", "encoding_errors", "max_unpacked", "path_columns", "binary_as_text", "allow_spoiled", "strict",
    "environment", "again", "max_shared", "max_rejects", "content", "who", "event", "workspace", "any_time",
)  # fmt: skip


def remembered(request: ImportRequest) -> dict[str, Any]:
    """Return a request as the history and a plan keep it, with the hash of its manifest."""
    kept = {name: getattr(request, name) for name in REMEMBERED}
    kept["paths"], kept["mapped"], kept["nulls"], kept["folder"] = (
        list(request.paths),
        list(request.mapped),
        list(request.nulls),
        str(Path.cwd()),
    )
    kept["workspace"] = request.workspace or chosen_workspace()
    if request.manifest:
        kept["manifest_sha256"] = hashlib.sha256(Path(request.manifest).read_bytes()).hexdigest()
    return kept


def request_of(kept: dict[str, Any], **more: Any) -> ImportRequest:
    """Return the request that was remembered.

    Raises InputRefused where its manifest is another now.
    """
    manifest = kept.get("manifest")
    if manifest:
        try:
            digest = hashlib.sha256(Path(manifest).read_bytes()).hexdigest()
        except OSError as error:
            raise InputRefused(
                f"{manifest}: {error.strerror}", "the manifest must be where it was"
            ) from None
        if digest != kept.get("manifest_sha256"):
            raise InputRefused(f"{manifest} is not the manifest it was")
    return ImportRequest(**{**{name: kept[name] for name in REMEMBERED if name in kept}, **more})


def _check_options(request: ImportRequest, paths: Sequence[str]) -> None:
    """Refuse, before anything is read, what could only fail after the commit."""
    if not request.feed.strip():
        raise UsageError("a feed needs a name")
    if request.event is not None and not request.event.strip():
        raise UsageError(
            "--event: an event needs a name", 'for example --event "Attributes Updated"'
        )
    _most_rejects(request.max_rejects, 0)
    if request.keep_scratch:
        steps = Path(request.keep_scratch).absolute()
        # a store would get tables that are none of its own
        if "?" in str(steps) or not steps.parent.is_dir() or os.path.lexists(steps):
            raise InputRefused(
                f"--keep-scratch {request.keep_scratch}: DuckDB makes no new file there",
                "name one that is not there, in a folder that is",
            )
    outputs = (
        ("--rejects", request.rejects),
        ("--rejects-as-input", request.rejects_as_input),
        ("--explain-rows", request.explain_rows),
    )
    check_apart(
        outputs,
        [
            *(paths if request.content is None else ()),
            *([request.manifest] if request.manifest else ()),
        ],
    )
    for option, path in outputs:
        if path is not None:
            try:
                check_target(Path(path), option)
            except InputRefused as error:
                raise UsageError(f"{option}: {error.message}", error.hint) from None


def _most_rejects(limit: str | None, read: int) -> float | None:
    """Return how many rows may be rejected of so many read.

    Raises UsageError for a limit that is none.
    """
    if limit is None:
        return None
    number, share = limit.strip().removesuffix("%"), limit.strip().endswith("%")
    try:
        found = float(number) if share else int(number)
        if not 0 <= found < 10**18 or (share and found > 100):
            raise ValueError
    except ValueError:
        raise UsageError(
            f"--max-rejects {limit}: must be a number of rows or a share", "for example 100 or 0.5%"
        ) from None
    return found * read / 100 if share else found
