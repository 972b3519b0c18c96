"""profilectl export: profiles leave the store."""

from __future__ import annotations

import enum
import sys
from pathlib import Path
from typing import Annotated

import typer

from profilectl.cli import WaitOption, app, options_of

export_app = typer.Typer(help="Write what the store holds.", no_args_is_help=True)
app.add_typer(export_app, name="export")

ExportFormat = enum.Enum("ExportFormat", {name: name for name in ("jsonl", "parquet", "csv")}, type=str)  # type: ignore[misc]

EXAMPLE = "Example: profilectl export profiles --format parquet -o profiles.parquet"


@export_app.command("profiles", epilog=EXAMPLE)
def export_profiles_command(
    context: typer.Context,
    format: Annotated[ExportFormat | None, typer.Option("--format", help="jsonl (default), parquet or csv; else by the name of FILE.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", metavar="FILE", help="Else standard output.")] = None,
    in_order: Annotated[bool, typer.Option("--sorted", help="By MPID, so that two exports can be compared.")] = False,
    provenance: Annotated[bool, typer.Option("--provenance", help="With where each value comes from (JSONL).")] = False,
    safe_for_spreadsheets: Annotated[bool, typer.Option("--safe-for-spreadsheets", help="An apostrophe before CSV cells that a spreadsheet would run; changes values.")] = False,
    memory_limit: Annotated[str | None, typer.Option("--memory-limit", metavar="SIZE", help="For example 2GB.")] = None,
    wait: WaitOption = 0,
) -> None:
    """Write every profile: one JSON document a line, or one row a profile."""
    from profilectl import render
    from profilectl.read import export_store
    from profilectl.scratch import check_memory_limit

    options = options_of(context)
    chosen = format.value if format else _by_name(output)
    with render.progress_bar(quiet=options.quiet) as progress:
        count = export_store(
            options.store, chosen, output or sys.stdout.buffer, in_order=in_order, provenance=provenance, safe=safe_for_spreadsheets,
            wait_s=wait, memory_limit=check_memory_limit(memory_limit), progress=progress,
        )
    if output and not options.quiet:
        render.notice(f"{render.counted(count, 'profile')} in {output}")


def _by_name(output: Path | None) -> str:
    suffix = output.suffix.lstrip(".") if output else ""
    return suffix if suffix in ExportFormat.__members__ else "jsonl"
