"""profilectl plan and apply: plan an import, look at it, and make exactly that import."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer

from profilectl.cli.app import app, options_of
from profilectl.cli.at_work import is_seen
from profilectl.cli.commands.import_ import exit_of, print_outcome
from profilectl.cli.groups import GroupWithDefault
from profilectl.cli.import_options import (
    AsInputOption,
    DetailedOption,
    ExplainOption,
    FeedOption,
    FilesArgument,
    ImportMemoryOption,
    LimitOptions,
    ReadingFlags,
    RejectsOption,
    import_request,
)
from profilectl.cli.options import JsonOption, WaitOption, with_options
from profilectl.codes import Exit

EXAMPLE = "Example: profilectl plan legacy.csv --feed warehouse -o load.plan"


class _PlanGroup(GroupWithDefault):
    """`plan FILE...` makes a plan; `plan show FILE` shows one."""

    default = "make"


plan_app = typer.Typer(
    help=(
        "Make a plan of an import, or show one.\n\nprofilectl plan FILE... --feed NAME -o FILE.plan"
        " makes one; profilectl apply carries it out."
    ),
    no_args_is_help=True,
    cls=_PlanGroup,
)
app.add_typer(plan_app, name="plan")

PlanArgument = Annotated[
    Path, typer.Argument(metavar="PLAN", help="A file that `profilectl plan` wrote.")
]


@dataclass(frozen=True, kw_only=True)
class MakeOptions:
    """The options of `profilectl plan make`."""

    files: FilesArgument
    feed: FeedOption
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="PLAN",
            help="The file for the plan; it holds personal data.",
        ),
    ]
    reading: ReadingFlags
    rejects: RejectsOption = None
    explain_rows: ExplainOption = None
    limits: LimitOptions
    detailed_exitcode: DetailedOption = False
    wait: WaitOption = 0
    as_json: JsonOption = False


@plan_app.command("make", epilog=EXAMPLE)
@with_options(MakeOptions)
def make_command(context: typer.Context, options: MakeOptions) -> None:
    """Show what an import would do, and write a plan that `apply` carries out.

    The word `make` may be left out. The plan is bound to the content of the files, the feed, the
    rules in force and the state of the store.
    """
    from profilectl.importing.plans.plan import UNSIGNED, make_plan
    from profilectl.render import screen
    from profilectl.render.columns import ShownColumns
    from profilectl.render.progress.line import progress
    from profilectl.render.progress.works import work_of_import

    common = options_of(context)
    shown, is_silent = ShownColumns(), common.quiet or options.as_json
    form = options.reading.format
    marks = work_of_import(options.files, form, common.store, dry_run=True)
    with progress(marks, quiet=common.quiet) as tell:
        request = replace(
            import_request(
                options.files, options.feed, reading=options.reading, limits=options.limits
            ),
            rejects=options.rejects,
            explain_rows=options.explain_rows,
            wait_s=options.wait,
            progress=tell,
            columns=(lambda tables: None) if is_silent else shown,
        )
        report, plan = make_plan(common.store, request, options.output)
    if options.as_json:
        screen.print_json(plan)
    else:
        print_outcome(report, as_json=False, quiet=common.quiet, shown=shown.shown)
    if not common.quiet and plan["state"]["store"] is None:
        make_store = "feeds add or config apply makes a store first"
        screen.notice(f"nothing vouches for the plan: {UNSIGNED}; {make_store}")
    if not common.quiet:
        output = options.output
        screen.notice(f"the plan is in {output}; profilectl apply {output} makes it")
    raise typer.Exit(exit_of(report, detailed=options.detailed_exitcode))


@plan_app.command("show", epilog="Example: profilectl plan show load.plan --json")
def show_command(
    context: typer.Context, plan: PlanArgument, wait: WaitOption = 0, as_json: JsonOption = False
) -> None:
    """Show a plan, and whether the store vouches that it is unchanged."""
    from profilectl.importing.plans.plan import read_plan
    from profilectl.render import imports, screen

    options = options_of(context)
    document, text, why = read_plan(plan, options.store, wait_s=wait)
    if as_json:
        screen.print_text(text)
    else:
        imports.print_plan(document, text)
    if why and not options.quiet:
        screen.notice(f"nothing vouches for the plan: {why}")


@dataclass(frozen=True, kw_only=True)
class ApplyOptions:
    """The options of `profilectl apply`."""

    plan: PlanArgument
    rejects: RejectsOption = None
    rejects_as_input: AsInputOption = None
    explain_rows: ExplainOption = None
    memory_limit: ImportMemoryOption = None
    wait: WaitOption = 0
    as_json: JsonOption = False


@app.command("apply", epilog="Example: profilectl apply load.plan")
@with_options(ApplyOptions)
def apply_command(context: typer.Context, options: ApplyOptions) -> None:
    """Make exactly the import of a plan.

    If the plan no longer fits the store or the files, it exits with 8 and shows what has changed.
    """
    from profilectl.cli.options import check_memory_limit
    from profilectl.importing.plans.plan import apply_plan, files_of
    from profilectl.render.progress.line import progress
    from profilectl.render.progress.works import work_of_import

    common = options_of(context)
    # The plan is read once more, only where somebody sees how far its import is.
    files = files_of(options.plan) if is_seen(common) else []
    with progress(work_of_import(files, None, common.store), quiet=common.quiet) as tell:
        report = apply_plan(
            common.store,
            options.plan,
            rejects=options.rejects,
            rejects_as_input=options.rejects_as_input,
            explain_rows=options.explain_rows,
            memory_limit=check_memory_limit(options.memory_limit),
            wait_s=options.wait,
            progress=tell,
        )
    print_outcome(report, as_json=options.as_json, quiet=common.quiet)
    raise typer.Exit(exit_of(report) if report.number is not None else Exit.DONE)
