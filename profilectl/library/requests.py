"""The requests of the calls that take keywords."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from profilectl.importing.request import ImportRequest
from profilectl.library.options import Chosen
from profilectl.reading.exporting.export import ExportRequest

if TYPE_CHECKING:
    from profilectl.rules.audience import Audience


def file_request(
    paths: Sequence[str | Path],
    feed: str,
    reading: Mapping[str, object],
    *,
    dry_run: bool,
    wait_s: float,
) -> ImportRequest:
    """Return the request to import files; reading: a FileReading that was checked."""
    options = {name: value for name, value in reading.items() if value is not None}
    options.pop("mapping", None)
    mapping = cast("Mapping[str, str]", reading.get("mapping") or {})
    return ImportRequest(
        [str(path) for path in paths],
        feed,
        mapped=[f"{column}={field}" for column, field in mapping.items()],
        dry_run=dry_run,
        wait_s=wait_s,
        **options,  # type: ignore[arg-type]  # the fields have these names and types
    )


def table_request(
    path: Path, feed: str, reading: Mapping[str, object], *, dry_run: bool, wait_s: float
) -> ImportRequest:
    """Return the request to import a table, which a Parquet file holds."""
    as_file = {**reading, "format": "parquet"}
    return file_request([path], feed, as_file, dry_run=dry_run, wait_s=wait_s)


def export_request(kind: str, chosen: Chosen) -> ExportRequest:
    """Return the request of an export into Parquet."""
    options = {**chosen, "fields": tuple(chosen.get("fields", ()))}
    return ExportRequest(kind, "parquet", **options)  # type: ignore[arg-type]  # as above


def audience_request(name: str, criteria: str, *, kind: str, lookback: str | None) -> Audience:
    """Return the definition of an audience. Raises UsageError."""
    from profilectl.rules.audience import audience_of

    table = {"criteria": criteria, "kind": kind}
    return audience_of(name, table if lookback is None else {**table, "lookback": lookback})
