"""profilectl export: what the store holds leaves it."""

from __future__ import annotations

import enum
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from profilectl.cli import complete
from profilectl.cli.app import WaitOption, app, file_or_stdout, options_of
from profilectl.cli.commands.search import EnvironmentName
from profilectl.codes import UsageError

export_app = typer.Typer(help="Write what the store holds.", no_args_is_help=True)
app.add_typer(export_app, name="export")

ExportFormat = enum.Enum(  # type: ignore[misc]
    "ExportFormat", {name: name for name in ("jsonl", "parquet", "csv")}, type=str
)
CompressionName = enum.Enum(  # type: ignore[misc]
    "CompressionName", {name: name for name in ("none", "gzip", "zstd")}, type=str
)

FormatOption = Annotated[
    ExportFormat | None,
    typer.Option("--format", help="jsonl (default), parquet or csv; else by the name of FILE."),
]
OutputOption = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        help="A file, or a folder for several; else (or -) standard output.",
    ),
]
SortedOption = Annotated[
    bool, typer.Option("--sorted", help="By MPID, so that two exports can be compared.")
]
SafeOption = Annotated[
    bool,
    typer.Option(
        "--safe-for-spreadsheets",
        help="An apostrophe before CSV cells that a spreadsheet would run; changes values.",
    ),
]
WhereOption = Annotated[
    str | None,
    typer.Option(
        "--where",
        metavar="CONDITION",
        help="Only profiles that meet it, for example \"tier = 'gold'\".",
    ),
]
FieldsOption = Annotated[
    str | None,
    typer.Option(
        "--fields",
        metavar="NAMES",
        help="Only these identities and attributes, separated by commas.",
        autocompletion=complete.fields,
    ),
]
OnlyEnvironmentOption = Annotated[
    EnvironmentName | None, typer.Option("--environment", help="Only this one.")
]
SinceOption = Annotated[
    int | None,
    typer.Option(
        "--since", metavar="IMPORT", min=0, help="Only profiles that a later import touched."
    ),
]
PartitionOption = Annotated[
    str | None,
    typer.Option(
        "--partition-by",
        metavar="KEY",
        help="A folder for each value of an attribute, or of environment.",
        autocompletion=complete.keys,
    ),
]
MaxRowsOption = Annotated[
    int | None,
    typer.Option("--max-rows-per-file", metavar="N", min=1, help="Begin a new file after so many."),
]
CompressionOption = Annotated[
    CompressionName | None,
    typer.Option(
        "--compression",
        help="Of text the whole file (none), of Parquet its pages (zstd); else by the name of FILE.",
    ),
]
OptOuts = enum.Enum("OptOuts", {name: name for name in ("event", "none")}, type=str)  # type: ignore[misc]
OptOutsOption = Annotated[
    OptOuts,
    typer.Option(
        "--opt-outs",
        help="Who has opted out, or in again, leaves with an opt_out event (event), or without (none).",
    ),
]
MemoryOption = Annotated[
    str | None, typer.Option("--memory-limit", metavar="SIZE", help="For example 2GB.")
]


def _export(
    context: typer.Context,
    kind: str,
    noun: str,
    output: Path | None,
    format: Any,
    memory_limit: str | None,
    wait: float,
    **stated: Any,
) -> None:
    from profilectl.cli.options import check_memory_limit
    from profilectl.files.sinks import compression_named, format_named
    from profilectl.reading.actions import export_store
    from profilectl.reading.export import Wanted
    from profilectl.render import screen as render_screen

    options, output = options_of(context), file_or_stdout(output)
    environment, fields = stated.pop("environment", None), stated.pop("fields", None)
    form, compression = format.value if format else format_named(output), stated.pop("compression")
    if fields is not None and not fields.strip(", "):
        raise UsageError(
            "--fields names nothing",
            "name identities and attributes, separated by commas, or leave --fields out",
        )
    wanted = Wanted(
        kind,
        form,
        compression=compression_named(output, form, compression.value if compression else None),
        environment=environment.value if environment else None,
        fields=tuple(name.strip() for name in fields.split(",") if name.strip()) if fields else (),
        **stated,
    )
    # not between the rows on a terminal
    with render_screen.progress_bar(quiet=options.quiet or output is None) as progress:
        count = export_store(
            options.store,
            wanted,
            output or sys.stdout.buffer,
            wait_s=wait,
            memory_limit=check_memory_limit(memory_limit),
            progress=progress,
        )
    if output and not options.quiet:
        render_screen.notice(f"{render_screen.counted(count, noun)} in {output}")


@export_app.command(
    "profiles", epilog="Example: profilectl export profiles --format parquet -o profiles.parquet"
)
def export_profiles_command(
    context: typer.Context,
    format: FormatOption = None,
    output: OutputOption = None,
    in_order: SortedOption = False,
    provenance: Annotated[
        bool, typer.Option("--provenance", help="With where each value comes from (JSONL).")
    ] = False,
    whole: Annotated[
        bool,
        typer.Option(
            "--whole", help="With opt-out, audience memberships, consent and devices (JSONL)."
        ),
    ] = False,
    where: WhereOption = None,
    fields: FieldsOption = None,
    environment: OnlyEnvironmentOption = None,
    since: SinceOption = None,
    partition_by: PartitionOption = None,
    max_rows: MaxRowsOption = None,
    compression: CompressionOption = None,
    safe: SafeOption = False,
    memory_limit: MemoryOption = None,
    wait: WaitOption = 0,
) -> None:
    """Write every profile: one JSON document a line, or one row a profile."""
    _export(
        context,
        "profiles",
        "profile",
        output,
        format,
        memory_limit,
        wait,
        in_order=in_order,
        provenance=provenance,
        whole=whole,
        where=where,
        fields=fields,
        environment=environment,
        since=since,
        partition_by=partition_by,
        max_rows=max_rows,
        compression=compression,
        safe=safe,
    )


@export_app.command(
    "identities", epilog="Example: profilectl export identities --format csv -o identities.csv"
)
def export_identities_command(
    context: typer.Context,
    format: FormatOption = None,
    output: OutputOption = None,
    in_order: SortedOption = False,
    where: WhereOption = None,
    fields: FieldsOption = None,
    environment: OnlyEnvironmentOption = None,
    since: SinceOption = None,
    partition_by: PartitionOption = None,
    max_rows: MaxRowsOption = None,
    compression: CompressionOption = None,
    safe: SafeOption = False,
    memory_limit: MemoryOption = None,
    wait: WaitOption = 0,
) -> None:
    """Write every identity: one line each, with when and by which import it came."""
    _export(
        context,
        "identities",
        "identity",
        output,
        format,
        memory_limit,
        wait,
        in_order=in_order,
        where=where,
        fields=fields,
        environment=environment,
        since=since,
        partition_by=partition_by,
        max_rows=max_rows,
        compression=compression,
        safe=safe,
    )


@export_app.command(
    "attributes",
    epilog="Example: profilectl export attributes --fields tier --format parquet -o tiers.parquet",
)
def export_attributes_command(
    context: typer.Context,
    format: FormatOption = None,
    output: OutputOption = None,
    in_order: SortedOption = False,
    where: WhereOption = None,
    fields: FieldsOption = None,
    environment: OnlyEnvironmentOption = None,
    since: SinceOption = None,
    partition_by: PartitionOption = None,
    max_rows: MaxRowsOption = None,
    compression: CompressionOption = None,
    safe: SafeOption = False,
    memory_limit: MemoryOption = None,
    wait: WaitOption = 0,
) -> None:
    """Write every value: one line each, with its source, feed, import, file and line."""
    _export(
        context,
        "attributes",
        "value",
        output,
        format,
        memory_limit,
        wait,
        in_order=in_order,
        where=where,
        fields=fields,
        environment=environment,
        since=since,
        partition_by=partition_by,
        max_rows=max_rows,
        compression=compression,
        safe=safe,
    )


@export_app.command("batches", epilog="Example: profilectl export batches -o batches.jsonl.gz")
def export_batches_command(
    context: typer.Context,
    output: OutputOption = None,
    in_order: SortedOption = False,
    no_mpid: Annotated[
        bool,
        typer.Option("--no-mpid", help="Leave the MPIDs out, for a platform that gives its own."),
    ] = False,
    opt_outs: OptOutsOption = OptOuts["event"],
    where: WhereOption = None,
    fields: FieldsOption = None,
    environment: OnlyEnvironmentOption = None,
    since: SinceOption = None,
    partition_by: PartitionOption = None,
    max_rows: MaxRowsOption = None,
    compression: CompressionOption = None,
    memory_limit: MemoryOption = None,
    wait: WaitOption = 0,
) -> None:
    """Write the state as the platform's batches, each of one device, which make the same profiles
    again when they are imported.
    """
    _export(
        context,
        "batches",
        "batch",
        output,
        ExportFormat["jsonl"],
        memory_limit,
        wait,
        in_order=in_order,
        with_mpid=not no_mpid,
        where=where,
        fields=fields,
        environment=environment,
        since=since,
        partition_by=partition_by,
        max_rows=max_rows,
        compression=compression,
        opt_outs=opt_outs.value == "event",
    )


@export_app.command(
    "imports", epilog="Example: profilectl export imports --format csv -o imports.csv"
)
def export_imports_command(
    context: typer.Context,
    format: FormatOption = None,
    output: OutputOption = None,
    since: SinceOption = None,
    compression: CompressionOption = None,
    safe: SafeOption = False,
    memory_limit: MemoryOption = None,
    wait: WaitOption = 0,
) -> None:
    """Write the history: one line for each import."""
    _export(
        context,
        "imports",
        "import",
        output,
        format,
        memory_limit,
        wait,
        since=since,
        compression=compression,
        safe=safe,
    )
