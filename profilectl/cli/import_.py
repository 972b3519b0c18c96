"""profilectl import: files become profiles."""

from __future__ import annotations

import enum
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from profilectl.attributes import FEED_SOURCES
from profilectl.cli import JsonOption, WaitOption, app, options_of
from profilectl.codes import Exit
from profilectl.feed import ENVIRONMENTS, PROTECTIONS

if TYPE_CHECKING:
    from profilectl.report import ImportReport

ProtectionName = enum.Enum("ProtectionName", {name: name for name in PROTECTIONS}, type=str)  # type: ignore[misc]
SourceName = enum.Enum("SourceName", {name: name for name in FEED_SOURCES}, type=str)  # type: ignore[misc]
EnvironmentName = enum.Enum("EnvironmentName", {name: name for name in ENVIRONMENTS}, type=str)  # type: ignore[misc]
FormatName = enum.Enum("FormatName", {name: name for name in ("csv", "parquet", "jsonl")}, type=str)  # type: ignore[misc]
EmptyName = enum.Enum("EmptyName", {name: name for name in ("ignore", "delete", "set")}, type=str)  # type: ignore[misc]

EXAMPLE = "Example: profilectl import legacy.csv --feed warehouse --protection update-only"


@app.command("import", epilog=EXAMPLE)
def import_command(
    context: typer.Context,
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="Files or globs, in the order given; - is standard input.")],
    feed: Annotated[str, typer.Option("--feed", help="The feed the files belong to; registered on first use.", autocompletion=lambda: [])],
    protection: Annotated[ProtectionName | None, typer.Option("--protection", help="For this import only, where the feed is registered.")] = None,
    source: Annotated[SourceName | None, typer.Option("--source", help="Of a feed that is not registered yet.")] = None,
    partner: Annotated[str | None, typer.Option("--partner", help="Of a new feed whose source is partner.")] = None,
    format: Annotated[FormatName | None, typer.Option("--format", help="Where a name does not tell.")] = None,
    manifest: Annotated[str | None, typer.Option("--manifest", metavar="F", help="The platform's manifest: what each column means.")] = None,
    mapped: Annotated[list[str] | None, typer.Option("--map", metavar="COLUMN=FIELD", help="What one column means; repeatable.")] = None,
    delimiter: Annotated[str | None, typer.Option("--delimiter", help="Of a CSV file; else detected.")] = None,
    encoding: Annotated[str | None, typer.Option("--encoding", help="utf-8 (default), utf-16, latin-1, windows-1252, ...")] = None,
    empty: Annotated[EmptyName, typer.Option("--empty", help="What an empty cell does to its attribute.")] = EmptyName["ignore"],
    environment: Annotated[EnvironmentName | None, typer.Option("--environment", help="Of rows that state none; others are rejected.")] = None,
    rejects: Annotated[str | None, typer.Option("--rejects", metavar="FILE", help="Where rejected rows go; else FILE.rejects.jsonl.")] = None,
    again: Annotated[bool, typer.Option("--again", help="Import content that this feed has imported before.")] = False,
    max_shared: Annotated[int | None, typer.Option("--max-shared", metavar="N", min=1, help="Refuse when more rows share one identity.")] = None,
    memory_limit: Annotated[str | None, typer.Option("--memory-limit", metavar="SIZE", help="For example 2GB; default half of the memory.")] = None,
    keep_scratch: Annotated[str | None, typer.Option("--keep-scratch", metavar="FILE", hidden=True)] = None,
    wait: WaitOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Import CSV, Parquet, JSONL or JSON files as one transaction.

    Identities are resolved to one profile each, the feed's protection level and the priority of its
    source are applied. Every row that could not be used is written to the rejects, with its reason.
    """
    from profilectl import render
    from profilectl.engine import ImportRequest, import_files
    from profilectl.scratch import check_memory_limit

    options = options_of(context)
    with render.progress_bar(quiet=options.quiet or as_json) as progress:
        report = import_files(
            options.store,
            ImportRequest(
                paths=files, feed=feed, protection=_value(protection), source=_value(source), partner=partner,
                format=_value(format), manifest=manifest, mapped=mapped or (), delimiter=delimiter, encoding=encoding,
                empty=empty.value, environment=_value(environment), rejects=rejects, again=again, max_shared=max_shared,
                memory_limit=check_memory_limit(memory_limit), keep_scratch=keep_scratch, wait_s=wait,
                stdin=sys.stdin.buffer, progress=progress,
            ),
        )
    if as_json:
        render.print_json(report.as_json())
    if not options.quiet:
        _notices(report, as_json)
    if not as_json and report.number is not None:
        render.print_report(report)
        if not options.quiet:
            sys.stdout.flush()
            render.print_rate(report)
    raise typer.Exit(Exit.REJECTED_ROWS if report.counts.rows["rejected"] else Exit.DONE)


def _notices(report: ImportReport, as_json: bool) -> None:
    """Say on stderr what a person should know beside the report."""
    from profilectl import render

    for file in report.files:
        if file.already_imported is not None:
            render.notice(f"{file.path}: already imported as {file.already_imported} (--again imports it once more)")
    if report.feed_registered:
        render.notice(f"registered the feed {report.feed}: source {report.source}, protection {report.protection}")
    for value, rows in report.shared:
        render.notice(f"{rows:,} rows share the {value}")
    if not as_json:
        render.print_columns(report)
    if report.rejects:
        rejected = render.counted(report.counts.rows["rejected"], "rejected row")
        render.notice(f"{rejected} {'is' if report.counts.rows['rejected'] == 1 else 'are'} in {report.rejects}")


def _value(choice: enum.Enum | None) -> str | None:
    return None if choice is None else str(choice.value)

