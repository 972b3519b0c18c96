"""profilectl import: make profiles from files."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

from profilectl.cli.context import Context, options_of
from profilectl.cli.import_options import (
    AsInputOption,
    DetailedOption,
    ExplainOption,
    FeedOption,
    FilesArgument,
    LimitOptions,
    ReadingFlags,
    RejectsOption,
    import_request,
)
from profilectl.cli.options import JsonOption, WaitOption, with_options
from profilectl.cli.registry import command, option
from profilectl.codes import Exit, UsageError

if TYPE_CHECKING:
    from profilectl.rules.counts import ImportReport

EXAMPLES = """
See what would happen; nothing is written
$ profilectl import legacy.csv --feed warehouse --dry-run

Only update people that the store has already
$ profilectl import legacy.csv --feed warehouse --protection update-only

Files of a CRM, in its encoding and with its names of columns
$ profilectl import crm-*.csv --feed crm --encoding windows-1252 --map "Contact ID=customer_id"
"""


@dataclass(frozen=True, kw_only=True)
class ImportOptions:
    """The options of `profilectl import`."""

    files: FilesArgument
    feed: FeedOption
    reading: ReadingFlags
    rejects: RejectsOption = None
    rejects_as_input: AsInputOption = None
    explain_rows: ExplainOption = None
    limits: LimitOptions
    keep_scratch: Annotated[str | None, option("--keep-scratch", metavar="FILE", hidden=True)] = (
        None
    )
    dry_run: Annotated[
        bool,
        option(
            "--dry-run", help="Show what would happen, with examples; write nothing to the store."
        ),
    ] = False
    remember: Annotated[
        bool,
        option(
            "--remember",
            help="Read the feed's files like this from now on: --map, --encoding and such.",
        ),
    ] = False
    detailed_exitcode: DetailedOption = False
    wait: WaitOption = 0
    as_json: JsonOption = False


@command("import", epilog=EXAMPLES)
@with_options(ImportOptions)
def import_command(context: Context, options: ImportOptions) -> None:
    """Import CSV, Parquet, JSONL or JSON files as one transaction.

    The import resolves identities to one profile each, and applies the feed's protection level and
    the priority of its source. Every row that cannot be used goes to the rejects, with its reason.
    """
    from profilectl.importing.run import import_files
    from profilectl.render.columns import ShownColumns
    from profilectl.render.progress.line import progress
    from profilectl.render.progress.works import work_of_import

    if options.detailed_exitcode and not options.dry_run:
        raise UsageError("--detailed-exitcode goes with --dry-run")
    common = options_of(context)
    shown = ShownColumns()
    is_silent = common.quiet or options.as_json
    form, dry_run = options.reading.format, options.dry_run
    marks = work_of_import(options.files, form, common.store, dry_run=dry_run)
    with progress(marks, quiet=common.quiet) as tell:
        request = replace(
            import_request(
                options.files, options.feed, reading=options.reading, limits=options.limits
            ),
            rejects=options.rejects,
            rejects_as_input=options.rejects_as_input,
            explain_rows=options.explain_rows,
            keep_scratch=options.keep_scratch,
            dry_run=options.dry_run,
            remember=options.remember,
            wait_s=options.wait,
            stdin=sys.stdin.buffer,
            progress=tell,
            columns=(lambda tables: None) if is_silent else shown,
        )
        report = import_files(common.store, request)
    print_outcome(report, as_json=options.as_json, quiet=common.quiet, shown=shown.shown)
    sys.exit(exit_of(report, detailed=options.detailed_exitcode))


def exit_of(report: ImportReport, *, detailed: bool = False) -> Exit:
    """Return the exit status of an import or a dry run."""
    if detailed and report.changes():
        return Exit.CHANGES
    return Exit.REJECTED_ROWS if report.counts.rows["rejected"] else Exit.DONE


def print_outcome(report: ImportReport, *, as_json: bool, quiet: bool, shown: bool = False) -> None:
    """Print the report on stdout, and notices on stderr.

    shown: whether the columns were shown before the import.
    """
    from profilectl.render import imports, screen

    if as_json:
        screen.print_json(report.as_json())
    if not quiet:
        _print_notices(report, columns=not as_json and not shown)
    if not as_json and report.already_imported is None:
        imports.print_report(report)
        if report.examples is not None:
            imports.print_examples(report.examples)
        if not quiet:
            sys.stdout.flush()
            imports.print_rate(report)
            imports.print_advice(report)


def _print_notices(report: ImportReport, *, columns: bool) -> None:
    """Print the notices of an import on stderr. columns: with how each column was read."""
    from profilectl.render import imports, screen

    for file in report.files:
        if file.already_imported is not None:
            again = "(--again imports it once more)"
            screen.notice(f"{file.path}: already imported as {file.already_imported} {again}")
    imports.print_registered(report)
    for notice in report.notices:
        screen.notice(notice)
    for shared in report.shared:
        screen.notice(shared.told())
    if columns:
        imports.print_columns(report)
    if report.rejects:
        count = report.counts.rows["rejected"]
        rows = screen.counted(count, "rejected row")
        screen.notice(f"{rows} {'is' if count == 1 else 'are'} in {report.rejects}")
    if report.rejects_as_input:
        screen.notice(f"to mend and import: {report.rejects_as_input}")
    if report.explained_rows:
        screen.notice(f"every row with a code is in {report.explained_rows}")
