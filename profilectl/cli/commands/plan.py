"""profilectl plan and apply: an import that is looked at first, then made as it was looked at."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from profilectl.cli.app import JsonOption, WaitOption, app, options_of
from profilectl.cli.commands.import_ import (
    AgainOption,
    AsInputOption,
    BinaryOption,
    DelimiterOption,
    DetailedOption,
    EmptyName,
    EmptyOption,
    EncodingErrorsName,
    EncodingErrorsOption,
    EncodingOption,
    EnvironmentOption,
    EscapeOption,
    EventOption,
    ExplainOption,
    FeedOption,
    FilesArgument,
    FormatOption,
    ManifestOption,
    MapOption,
    MaxRejectsOption,
    MaxSharedOption,
    MemoryOption,
    NullOption,
    PartnerOption,
    PathColumnsOption,
    ProtectionOption,
    QuoteOption,
    RaggedName,
    RaggedOption,
    RejectsOption,
    SkipLinesOption,
    SourceOption,
    SpoiledOption,
    StrictOption,
    UnknownName,
    UnknownOption,
    UnpackedOption,
    exit_of,
    print_outcome,
    value_of,
)
from profilectl.codes import Exit

EXAMPLE = "Example: profilectl plan legacy.csv --feed warehouse -o load.plan"


class _PlanGroup(TyperGroup):
    """`plan FILE...` makes a plan; `plan show FILE` prints one.

    Whatever is not `show` is a file.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = ["make", *args]
        return super().parse_args(ctx, args)


plan_app = typer.Typer(
    help="Make a plan of an import, or show one: profilectl plan FILE... --feed NAME -o FILE.plan",
    no_args_is_help=True,
    cls=_PlanGroup,
)
app.add_typer(plan_app, name="plan")

PlanArgument = Annotated[
    Path, typer.Argument(metavar="PLAN", help="A file that `profilectl plan` has written.")
]


@plan_app.command("make", epilog=EXAMPLE)
def make_command(
    context: typer.Context,
    files: FilesArgument,
    feed: FeedOption,
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="PLAN",
            help="Where the plan is written; it holds personal data.",
        ),
    ],
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
    explain_rows: ExplainOption = None,
    again: AgainOption = False,
    max_shared: MaxSharedOption = None,
    max_rejects: MaxRejectsOption = None,
    memory_limit: MemoryOption = None,
    detailed_exitcode: DetailedOption = False,
    wait: WaitOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Say what an import would do, and write it down as a plan that `apply` makes.

    The word `make` may be left out. The plan is bound to the content of the files, the feed, the
    rules in force and the state of the store.
    """
    from profilectl.cli.options import check_memory_limit
    from profilectl.importing.plan import UNSIGNED, make_plan
    from profilectl.importing.request import ImportRequest
    from profilectl.render import screen as render_screen

    options = options_of(context)
    with render_screen.progress_bar(quiet=options.quiet or as_json) as progress:
        report, plan = make_plan(
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
                explain_rows=explain_rows,
                again=again,
                max_shared=max_shared,
                max_rejects=max_rejects,
                memory_limit=check_memory_limit(memory_limit),
                wait_s=wait,
                progress=progress,
            ),
            output,
        )
    if as_json:
        render_screen.print_json(plan)
    else:
        print_outcome(report, as_json=False, quiet=options.quiet)
    if not options.quiet and plan["state"]["store"] is None:
        render_screen.notice(
            f"nothing vouches for the plan: {UNSIGNED}; feeds add or config apply makes a store first"
        )
    if not options.quiet:
        render_screen.notice(f"the plan is in {output}; profilectl apply {output} makes it")
    raise typer.Exit(exit_of(report, detailed=detailed_exitcode))


@plan_app.command("show", epilog="Example: profilectl plan show load.plan --json")
def show_command(
    context: typer.Context, plan: PlanArgument, wait: WaitOption = 0, as_json: JsonOption = False
) -> None:
    """Print a plan again, and whether the store vouches that it is as it was made."""
    from profilectl.importing.plan import read_plan
    from profilectl.render import imports as render_imports
    from profilectl.render import screen as render_screen

    options = options_of(context)
    found, text, why = read_plan(plan, options.store, wait_s=wait)
    if as_json:
        render_screen.print_text(text)
    else:
        render_imports.print_plan(found, text)
    if why and not options.quiet:
        render_screen.notice(f"nothing vouches for the plan: {why}")


@app.command("apply", epilog="Example: profilectl apply load.plan")
def apply_command(
    context: typer.Context,
    plan: PlanArgument,
    rejects: RejectsOption = None,
    rejects_as_input: AsInputOption = None,
    explain_rows: ExplainOption = None,
    memory_limit: MemoryOption = None,
    wait: WaitOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Make the import of a plan, exactly; or refuse with exit 8 and what has moved since."""
    from profilectl.cli.options import check_memory_limit
    from profilectl.importing.plan import apply_plan
    from profilectl.render import screen as render_screen

    options = options_of(context)
    with render_screen.progress_bar(quiet=options.quiet or as_json) as progress:
        report = apply_plan(
            options.store,
            plan,
            rejects=rejects,
            rejects_as_input=rejects_as_input,
            explain_rows=explain_rows,
            memory_limit=check_memory_limit(memory_limit),
            wait_s=wait,
            progress=progress,
        )
    print_outcome(report, as_json=as_json, quiet=options.quiet)
    raise typer.Exit(exit_of(report) if report.number is not None else Exit.DONE)
