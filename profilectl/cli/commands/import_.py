"""profilectl import: files become profiles."""

from __future__ import annotations

import enum
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from profilectl.cli import complete
from profilectl.cli.app import JsonOption, WaitOption, app, options_of
from profilectl.codes import Exit, UsageError
from profilectl.rules.feed import ENVIRONMENTS, PROTECTIONS
from profilectl.rules.priority import FEED_SOURCES

if TYPE_CHECKING:
    from profilectl.rules.counts import ImportReport

ProtectionName = enum.Enum("ProtectionName", {name: name for name in PROTECTIONS}, type=str)  # type: ignore[misc]
SourceName = enum.Enum("SourceName", {name: name for name in FEED_SOURCES}, type=str)  # type: ignore[misc]
EnvironmentName = enum.Enum("EnvironmentName", {name: name for name in ENVIRONMENTS}, type=str)  # type: ignore[misc]
FormatName = enum.Enum(  # type: ignore[misc]
    "FormatName", {name: name for name in ("csv", "parquet", "jsonl", "json")}, type=str
)
EmptyName = enum.Enum("EmptyName", {name: name for name in ("ignore", "delete", "set")}, type=str)  # type: ignore[misc]
RaggedName = enum.Enum("RaggedName", {name: name for name in ("reject", "pad")}, type=str)  # type: ignore[misc]
UnknownName = enum.Enum(  # type: ignore[misc]
    "UnknownName", {name: name for name in ("refuse", "attribute", "ignore")}, type=str
)
EncodingErrorsName = enum.Enum(  # type: ignore[misc]
    "EncodingErrorsName", {name: name for name in ("refuse", "reject")}, type=str
)

EXAMPLE = "Example: profilectl import legacy.csv --feed warehouse --protection update-only"

# The options that import and plan share: what is read, and how.
FilesArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="FILE...", help="Files or globs, in the order given; - is standard input."
    ),
]
FeedOption = Annotated[
    str,
    typer.Option(
        "--feed",
        help="The feed the files belong to; registered on first use.",
        autocompletion=complete.feeds,
    ),
]
ProtectionOption = Annotated[
    ProtectionName | None,
    typer.Option("--protection", help="For this import only, where the feed is registered."),
]
SourceOption = Annotated[
    SourceName | None,
    typer.Option(
        "--source",
        help="Of a feed that is not registered yet (the source that has its name, else custom-feed).",
    ),
]
PartnerOption = Annotated[
    str | None, typer.Option("--partner", help="Of a new feed whose source is partner.")
]
FormatOption = Annotated[
    FormatName | None, typer.Option("--format", help="Where a name does not tell.")
]
ManifestOption = Annotated[
    str | None,
    typer.Option(
        "--manifest", metavar="F", help="The platform's manifest: what each column means."
    ),
]
MapOption = Annotated[
    list[str] | None,
    typer.Option("--map", metavar="COLUMN=FIELD", help="What one column means; repeatable."),
]
DelimiterOption = Annotated[
    str | None, typer.Option("--delimiter", help="Of a CSV file; else detected.")
]
EncodingOption = Annotated[
    str | None,
    typer.Option("--encoding", help="utf-8 (default), utf-16, latin-1, windows-1252, ..."),
]
EmptyOption = Annotated[
    EmptyName, typer.Option("--empty", help="What an empty cell does to its attribute.")
]
NullOption = Annotated[
    list[str] | None,
    typer.Option(
        "--null",
        metavar="TEXT",
        help="A text that makes a cell empty, for example '\\N'; repeatable.",
    ),
]
QuoteOption = Annotated[
    str | None,
    typer.Option(
        "--quote",
        metavar="CHARACTER",
        help="The character around CSV cells; else the double quote.",
    ),
]
EscapeOption = Annotated[
    str | None,
    typer.Option(
        "--escape",
        metavar="CHARACTER",
        help="The character before a quote in a CSV cell; else the quote, doubled.",
    ),
]
SkipLinesOption = Annotated[
    int,
    typer.Option(
        "--skip-lines",
        metavar="N",
        min=0,
        help="Lines above the header of a CSV file that are not read.",
    ),
]
RaggedOption = Annotated[
    RaggedName,
    typer.Option("--ragged", help="What becomes of a CSV row with too few or too many cells."),
]
UnknownOption = Annotated[
    UnknownName,
    typer.Option("--unknown", help="What a dotted column is that is no field of a batch."),
]
EncodingErrorsOption = Annotated[
    EncodingErrorsName,
    typer.Option("--encoding-errors", help="Refuse a file with invalid text, or reject its rows."),
]
UnpackedOption = Annotated[
    str | None,
    typer.Option(
        "--max-unpacked",
        metavar="SIZE",
        help="What a packed file may unpack to, for example 20GB; else 100 times its size, at least 100 MB.",
    ),
]
PathColumnsOption = Annotated[
    bool,
    typer.Option("--path-columns", help="Read key=value folders in a file's path as text columns."),
]
BinaryOption = Annotated[
    bool, typer.Option("--binary-as-text", help="Read BINARY columns of Parquet as UTF-8 text.")
]
SpoiledOption = Annotated[
    bool,
    typer.Option(
        "--allow-spoiled",
        help="Take identities that look like spoiled numbers, such as 4.47701E+11.",
    ),
]
StrictOption = Annotated[
    bool, typer.Option("--strict", help="Refuse the import where there is any warning.")
]
EventOption = Annotated[
    str | None,
    typer.Option("--event", metavar="NAME", help="Add a custom event of this name to every batch."),
]
EnvironmentOption = Annotated[
    EnvironmentName | None,
    typer.Option("--environment", help="Of rows that state none; others are rejected."),
]
RejectsOption = Annotated[
    str | None,
    typer.Option(
        "--rejects", metavar="FILE", help="Where rejected rows go; else FILE.rejects.jsonl."
    ),
]
AsInputOption = Annotated[
    str | None,
    typer.Option(
        "--rejects-as-input",
        metavar="FILE",
        help="Rejected rows in the input's own format, to mend and import.",
    ),
]
ExplainOption = Annotated[
    str | None,
    typer.Option("--explain-rows", metavar="FILE", help="One JSON line for each row and code."),
]
AgainOption = Annotated[
    bool, typer.Option("--again", help="Import content that this feed has imported before.")
]
MaxSharedOption = Annotated[
    int | None,
    typer.Option(
        "--max-shared",
        metavar="N",
        min=1,
        help="Refuse when more rows and other profiles of the store share one identity.",
    ),
]
MaxRejectsOption = Annotated[
    str | None,
    typer.Option(
        "--max-rejects",
        metavar="N|P%",
        help="Refuse when more rows are rejected: a number, or a share.",
    ),
]
MemoryOption = Annotated[
    str | None,
    typer.Option(
        "--memory-limit", metavar="SIZE", help="For example 2GB; default half of the memory."
    ),
]
DetailedOption = Annotated[
    bool, typer.Option("--detailed-exitcode", help="Exit with 10 where there are changes.")
]


@app.command("import", epilog=EXAMPLE)
def import_command(
    context: typer.Context,
    files: FilesArgument,
    feed: FeedOption,
    protection: ProtectionOption = None,
    source: SourceOption = None,
    partner: PartnerOption = None,
    format: FormatOption = None,
    manifest: ManifestOption = None,
    mapped: MapOption = None,
    delimiter: DelimiterOption = None,
    encoding: EncodingOption = None,
    empty: EmptyOption = EmptyName["ignore"],
    null: NullOption = None,
    quote: QuoteOption = None,
    escape: EscapeOption = None,
    skip_lines: SkipLinesOption = 0,
    ragged: RaggedOption = RaggedName["reject"],
    unknown: UnknownOption = UnknownName["refuse"],
    encoding_errors: EncodingErrorsOption = EncodingErrorsName["refuse"],
    max_unpacked: UnpackedOption = None,
    path_columns: PathColumnsOption = False,
    binary_as_text: BinaryOption = False,
    allow_spoiled: SpoiledOption = False,
    strict: StrictOption = False,
    event: EventOption = None,
    environment: EnvironmentOption = None,
    rejects: RejectsOption = None,
    rejects_as_input: AsInputOption = None,
    explain_rows: ExplainOption = None,
    again: AgainOption = False,
    max_shared: MaxSharedOption = None,
    max_rejects: MaxRejectsOption = None,
    memory_limit: MemoryOption = None,
    keep_scratch: Annotated[
        str | None, typer.Option("--keep-scratch", metavar="FILE", hidden=True)
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Say what would happen, with examples; write nothing to the store."
        ),
    ] = False,
    detailed_exitcode: DetailedOption = False,
    wait: WaitOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Import CSV, Parquet, JSONL or JSON files as one transaction.

    Identities are resolved to one profile each, the feed's protection level and the priority of its
    source are applied. Every row that could not be used is written to the rejects, with its reason.
    """
    from profilectl.cli.options import check_memory_limit
    from profilectl.importing.request import ImportRequest
    from profilectl.importing.run import import_files
    from profilectl.render import screen as render_screen

    if detailed_exitcode and not dry_run:
        raise UsageError("--detailed-exitcode goes with --dry-run")
    options = options_of(context)
    with render_screen.progress_bar(quiet=options.quiet or as_json) as progress:
        report = import_files(
            options.store,
            ImportRequest(
                paths=files,
                feed=feed,
                protection=value_of(protection),
                source=value_of(source),
                partner=partner,
                format=value_of(format),
                manifest=manifest,
                mapped=mapped or (),
                delimiter=delimiter,
                encoding=encoding,
                empty=empty.value,
                nulls=null or (),
                quote=quote,
                escape=escape,
                skip_lines=skip_lines,
                ragged=ragged.value,
                unknown=unknown.value,
                encoding_errors=encoding_errors.value,
                max_unpacked=max_unpacked,
                path_columns=path_columns,
                binary_as_text=binary_as_text,
                allow_spoiled=allow_spoiled,
                strict=strict,
                event=event,
                environment=value_of(environment),
                rejects=rejects,
                rejects_as_input=rejects_as_input,
                explain_rows=explain_rows,
                again=again,
                max_shared=max_shared,
                max_rejects=max_rejects,
                memory_limit=check_memory_limit(memory_limit),
                keep_scratch=keep_scratch,
                dry_run=dry_run,
                wait_s=wait,
                stdin=sys.stdin.buffer,
                progress=progress,
            ),
        )
    print_outcome(report, as_json=as_json, quiet=options.quiet)
    raise typer.Exit(exit_of(report, detailed=detailed_exitcode))


def exit_of(report: ImportReport, *, detailed: bool = False) -> Exit:
    """Return the exit status of an import or a dry run."""
    if detailed and report.changes():
        return Exit.CHANGES
    return Exit.REJECTED_ROWS if report.counts.rows["rejected"] else Exit.DONE


def print_outcome(report: ImportReport, *, as_json: bool, quiet: bool) -> None:
    """Print the report on stdout, and what a person should know beside it on stderr."""
    from profilectl.render import imports as render_imports
    from profilectl.render import screen as render_screen

    if as_json:
        render_screen.print_json(report.as_json())
    if not quiet:
        _notices(report, as_json)
    if not as_json and report.already_imported is None:
        render_imports.print_report(report)
        if report.examples is not None:
            render_imports.print_examples(report.examples)
        if not quiet:
            sys.stdout.flush()
            render_imports.print_rate(report)


def _notices(report: ImportReport, as_json: bool) -> None:
    """Say on stderr what a person should know beside the report."""
    from profilectl.render import imports as render_imports
    from profilectl.render import screen as render_screen

    for file in report.files:
        if file.already_imported is not None:
            render_screen.notice(
                f"{file.path}: already imported as {file.already_imported} (--again imports it once more)"
            )
    say_registered(report)
    for notice in report.notices:
        render_screen.notice(notice)
    for one in report.shared:
        render_screen.notice(one.told())
    if not as_json:
        render_imports.print_columns(report)
    if report.rejects:
        rejected = render_screen.counted(report.counts.rows["rejected"], "rejected row")
        render_screen.notice(
            f"{rejected} {'is' if report.counts.rows['rejected'] == 1 else 'are'} in {report.rejects}"
        )
    if report.rejects_as_input:
        render_screen.notice(f"to mend and import: {report.rejects_as_input}")
    if report.explained_rows:
        render_screen.notice(f"every row with a code is in {report.explained_rows}")


def say_registered(report: ImportReport) -> None:
    """Say on stderr that a feed was registered on the spot (design.md R7)."""
    from profilectl.render import screen as render_screen

    if report.feed_registered:
        registered = "would register" if report.dry_run else "registered"
        render_screen.notice(
            f"{registered} the feed {report.feed}: source {report.source}, protection {report.protection}"
        )


def value_of(choice: enum.Enum | None) -> str | None:
    """Return what was chosen, as text."""
    return None if choice is None else str(choice.value)
