"""profilectl export: profiles, identities, values, batches and imports as files."""

from __future__ import annotations

import enum
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from profilectl.cli import complete
from profilectl.cli.app import app, options_of
from profilectl.cli.options import (
    LinesOption,
    MemoryOption,
    OnlyEnvironmentOption,
    WaitOption,
    check_memory_limit,
    file_or_stdout,
    form_of_lines,
    names_of,
    value_of,
    with_options,
)
from profilectl.codes import UsageError

if TYPE_CHECKING:
    from profilectl.reading.exporting.export import ExportRequest

EXAMPLES = """
All profiles, in the format that the name says
$ profilectl export profiles -o profiles.parquet

A part of them, for a spreadsheet
$ profilectl export profiles --where "tier = 'gold'" --fields email,tier -o gold.csv

Batches, as the platform takes them and as another store imports them whole
$ profilectl export batches -o batches.jsonl.gz
"""
export_app = typer.Typer(
    help="Write the data of the store to files.", epilog=EXAMPLES, no_args_is_help=True
)
app.add_typer(export_app, name="export")

FORMATS = ("jsonl", "parquet", "csv")
COMPRESSIONS = ("none", "gzip", "zstd")
ExportFormat = enum.Enum("ExportFormat", names_of(FORMATS), type=str)  # type: ignore[misc]
CompressionName = enum.Enum(  # type: ignore[misc]
    "CompressionName", names_of(COMPRESSIONS), type=str
)
OptOutsName = enum.Enum("OptOutsName", names_of(("event", "none")), type=str)  # type: ignore[misc]

FormatOption = Annotated[
    ExportFormat | None,
    typer.Option(
        "--format", help="jsonl, parquet or csv (default: by the name of FILE, else jsonl)."
    ),
]
OutputOption = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        help="The file to write, or a folder for several (default, or -: standard output).",
    ),
]
SortedOption = Annotated[
    bool, typer.Option("--sorted", help="Sort by MPID, so that two exports can be compared.")
]
SafeOption = Annotated[
    bool,
    typer.Option(
        "--safe-for-spreadsheets",
        help=(
            "Put an apostrophe before CSV cells that a spreadsheet would run; this changes values."
        ),
    ),
]
WhereOption = Annotated[
    str | None,
    typer.Option(
        "--where",
        metavar="CONDITION",
        help="Export only profiles that meet it, for example \"tier = 'gold'\".",
    ),
]
FieldsOption = Annotated[
    str | None,
    typer.Option(
        "--fields",
        metavar="NAMES",
        help="Export only these identities and attributes, separated by commas.",
        autocompletion=complete.fields,
    ),
]
SinceOption = Annotated[
    int | None,
    typer.Option(
        "--since", metavar="IMPORT", min=0, help="Export only profiles that a later import touched."
    ),
]
PartitionOption = Annotated[
    str | None,
    typer.Option(
        "--partition-by",
        metavar="KEY",
        help="Write a folder for each value of an attribute, or of environment.",
        autocompletion=complete.keys,
    ),
]
MaxRowsOption = Annotated[
    int | None,
    typer.Option("--max-rows-per-file", metavar="N", min=1, help="Begin a new file after N rows."),
]
CompressionOption = Annotated[
    CompressionName | None,
    typer.Option(
        "--compression",
        help=(
            "The compression of a text file (default: by its name, else none) or of the pages of"
            " Parquet (default: zstd)."
        ),
    ),
]
OptOutsOption = Annotated[
    OptOutsName,
    typer.Option(
        "--opt-outs",
        help=(
            "Write an opt_out event for people who opted out, or in again (event), or write none"
            " (none)."
        ),
    ),
]


@dataclass(frozen=True, kw_only=True)
class SelectionOptions:
    """The options that choose what is exported, and into how many files."""

    condition: WhereOption = None
    fields: FieldsOption = None
    environment: OnlyEnvironmentOption = None
    since: SinceOption = None
    partition_by: PartitionOption = None
    max_rows: MaxRowsOption = None
    compression: CompressionOption = None


@dataclass(frozen=True, kw_only=True)
class ExportProfilesOptions:
    """The options of `profilectl export profiles`."""

    format: FormatOption = None
    output: OutputOption = None
    in_order: SortedOption = False
    provenance: Annotated[
        bool, typer.Option("--provenance", help="Add where each value comes from (JSONL).")
    ] = False
    whole: Annotated[
        bool,
        typer.Option(
            "--whole", help="Add opt-out, audience memberships, consent and devices (JSONL)."
        ),
    ] = False
    selection: SelectionOptions
    safe: SafeOption = False
    memory_limit: MemoryOption = None
    wait: WaitOption = 0
    as_json: LinesOption = False


@dataclass(frozen=True, kw_only=True)
class ExportRowsOptions:
    """The options of `profilectl export identities` and of `profilectl export attributes`."""

    format: FormatOption = None
    output: OutputOption = None
    in_order: SortedOption = False
    selection: SelectionOptions
    safe: SafeOption = False
    memory_limit: MemoryOption = None
    wait: WaitOption = 0
    as_json: LinesOption = False


@dataclass(frozen=True, kw_only=True)
class ExportBatchesOptions:
    """The options of `profilectl export batches`."""

    output: OutputOption = None
    in_order: SortedOption = False
    no_mpid: Annotated[
        bool,
        typer.Option("--no-mpid", help="Leave the MPIDs out, for a platform that assigns its own."),
    ] = False
    opt_outs: OptOutsOption = OptOutsName["event"]
    selection: SelectionOptions
    memory_limit: MemoryOption = None
    wait: WaitOption = 0
    as_json: LinesOption = False


@dataclass(frozen=True, kw_only=True)
class ExportImportsOptions:
    """The options of `profilectl export imports`."""

    format: FormatOption = None
    output: OutputOption = None
    since: SinceOption = None
    compression: CompressionOption = None
    safe: SafeOption = False
    memory_limit: MemoryOption = None
    wait: WaitOption = 0
    as_json: LinesOption = False


AnyExportOptions = (
    ExportProfilesOptions | ExportRowsOptions | ExportBatchesOptions | ExportImportsOptions
)


def _form_of(options: AnyExportOptions) -> str:
    """Return the format: of --format, else of the file's name."""
    from profilectl.files.sinks import format_named

    if isinstance(options, ExportBatchesOptions):
        return "jsonl"
    output = file_or_stdout(options.output)
    return form_of_lines(
        value_of(options.format), output, format_named(output), as_json=options.as_json
    )


def _request(kind: str, options: AnyExportOptions, selection: SelectionOptions) -> ExportRequest:
    """Return the request of an export, with the options that all exports have.

    Raises UsageError for an empty list of fields.
    """
    from profilectl.files.sinks import compression_named
    from profilectl.reading.exporting.export import ExportRequest

    fields, form = selection.fields, _form_of(options)
    if fields is not None and not fields.strip(", "):
        raise UsageError(
            "--fields names nothing",
            "name identities and attributes, separated by commas, or leave --fields out",
        )
    return ExportRequest(
        kind=kind,
        format=form,
        where=selection.condition,
        fields=tuple(name.strip() for name in (fields or "").split(",") if name.strip()),
        environment=value_of(selection.environment),
        since=selection.since,
        partition_by=selection.partition_by,
        max_rows=selection.max_rows,
        compression=compression_named(
            file_or_stdout(options.output), form, value_of(selection.compression)
        ),
    )


def _export(
    context: typer.Context, request: ExportRequest, *, noun: str, options: AnyExportOptions
) -> None:
    """Write an export, and print how many it has. noun: for one of them."""
    from profilectl.reading.actions import export_store
    from profilectl.render import screen
    from profilectl.render.progress import works
    from profilectl.render.progress.line import progress

    common, output = options_of(context), file_or_stdout(options.output)
    # Without a file the rows go to the terminal, and a line of progress would stand among them.
    among_rows = output is None and sys.stdout.isatty()
    marks = works.PARQUET_EXPORT if request.format == "parquet" else works.EXPORT
    with progress(marks, quiet=common.quiet or among_rows) as tell:
        count = export_store(
            common.store,
            request,
            output or sys.stdout.buffer,
            wait_s=options.wait,
            memory_limit=check_memory_limit(options.memory_limit),
            progress=tell,
        )
    if output and options.as_json:
        screen.print_json({"exported": count, "kind": request.kind, "output": str(output)})
    elif output and not common.quiet:
        screen.notice(f"{screen.counted(count, noun)} in {output}")


@export_app.command(
    "profiles", epilog="Example: profilectl export profiles --format parquet -o profiles.parquet"
)
@with_options(ExportProfilesOptions)
def export_profiles_command(context: typer.Context, options: ExportProfilesOptions) -> None:
    """Write every profile: one JSON document a line, or one row a profile."""
    request = replace(
        _request("profiles", options, options.selection),
        in_order=options.in_order,
        provenance=options.provenance,
        whole=options.whole,
        safe=options.safe,
    )
    _export(context, request, noun="profile", options=options)


@export_app.command(
    "identities", epilog="Example: profilectl export identities --format csv -o identities.csv"
)
@with_options(ExportRowsOptions)
def export_identities_command(context: typer.Context, options: ExportRowsOptions) -> None:
    """Write every identity, one a line, with the time and the import it came with."""
    request = _request("identities", options, options.selection)
    request = replace(request, in_order=options.in_order, safe=options.safe)
    _export(context, request, noun="identity", options=options)


@export_app.command(
    "attributes",
    epilog="Example: profilectl export attributes --fields tier --format parquet -o tiers.parquet",
)
@with_options(ExportRowsOptions)
def export_attributes_command(context: typer.Context, options: ExportRowsOptions) -> None:
    """Write every value, one a line, with its source, feed, import, file and line."""
    request = _request("attributes", options, options.selection)
    request = replace(request, in_order=options.in_order, safe=options.safe)
    _export(context, request, noun="value", options=options)


@export_app.command("batches", epilog="Example: profilectl export batches -o batches.jsonl.gz")
@with_options(ExportBatchesOptions)
def export_batches_command(context: typer.Context, options: ExportBatchesOptions) -> None:
    """Write the profiles as batches of the platform, each of one device.

    An import of the batches makes the same profiles again.
    """
    request = replace(
        _request("batches", options, options.selection),
        in_order=options.in_order,
        with_mpid=not options.no_mpid,
        opt_outs=options.opt_outs.value == "event",
    )
    _export(context, request, noun="batch", options=options)


@export_app.command(
    "imports", epilog="Example: profilectl export imports --format csv -o imports.csv"
)
@with_options(ExportImportsOptions)
def export_imports_command(context: typer.Context, options: ExportImportsOptions) -> None:
    """Write the history: one line for each import."""
    selection = SelectionOptions(since=options.since, compression=options.compression)
    request = replace(_request("imports", options, selection), safe=options.safe)
    _export(context, request, noun="import", options=options)
