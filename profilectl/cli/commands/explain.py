"""profilectl explain: why a value, a profile, a row is what it is."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from profilectl.cli import complete
from profilectl.cli.app import JsonOption, WaitOption, app, options_of
from profilectl.cli.who import one_identity, option, who_is_meant, with_identities
from profilectl.codes import InputRefused, NobodyFound, UsageError


class _ExplainGroup(TyperGroup):
    """`explain --email x` explains attributes; the other kinds have a name."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = ["attribute", *args]
        return super().parse_args(ctx, args)


explain_app = typer.Typer(
    help="Say why: profilectl explain --email x [--attribute tier], or one of the commands.",
    no_args_is_help=True,
    cls=_ExplainGroup,
)
app.add_typer(explain_app, name="explain")

ATTRIBUTE = "Example: profilectl explain --email john.smith@example.com --attribute tier"
IDENTITY = "Example: profilectl explain identity --email john.smith@example.com --and customer_id=JohnSmith911"


def _attribute(context: typer.Context, **stated: Any) -> None:
    """Say of each attribute of a person which row decided it, and what every other value lost to."""
    from profilectl.reading.actions import explain_person
    from profilectl.render import explain
    from profilectl.render import screen as render_screen

    kind, value = who_is_meant(stated, ATTRIBUTE)
    found = explain_person(
        options_of(context).store,
        kind,
        value,
        stated["attribute"] or (),
        as_of=stated["as_of"],
        wait_s=stated["wait"],
    )
    if stated["as_json"]:
        render_screen.print_text(explain.attributes_json(found) + "\n")
    else:
        for activity, attributes in found:
            explain.print_attributes(activity, attributes)
    if not found:
        raise NobodyFound(f"nobody has the {'identity or MPID' if kind == 'any' else kind} {value}")


def _identity(context: typer.Context, **stated: Any) -> None:
    """Say which rows joined the identities of a profile; with --and, why two values are not one
    profile.
    """
    from profilectl.reading.actions import explain_chains, explain_identities
    from profilectl.render import explain
    from profilectl.render import screen as render_screen

    first = who_is_meant(stated, IDENTITY)
    if stated["second"] is not None:
        found = explain_identities(
            options_of(context).store,
            first,
            one_identity(stated["second"], "--and"),
            wait_s=stated["wait"],
        )
        if stated["as_json"]:
            render_screen.print_text(explain.apart_json(found) + "\n")
        else:
            explain.print_apart(found)
        return
    people = explain_chains(options_of(context).store, *first, wait_s=stated["wait"])
    if stated["as_json"]:
        render_screen.print_text(explain.chains_json(people) + "\n")
    else:
        for one, links in people:
            explain.print_chain(one, links)
    if not people:
        raise NobodyFound(
            f"nobody has the {'identity or MPID' if first[0] == 'any' else first[0]} {first[1]}"
        )


AttributeOption = Annotated[
    list[str] | None,
    typer.Option(
        "--attribute",
        metavar="KEY",
        help="Only this attribute; may be given several times.",
        show_default=False,
        autocompletion=complete.keys,
    ),
]
AsOfOption = Annotated[
    str | None,
    typer.Option("--as-of", metavar="IMPORT|TIME", help="The state after an import, or at a time."),
]
AndOption = Annotated[
    str | None,
    typer.Option(
        "--and",
        metavar="TYPE=VALUE",
        help="Another identity: why is it not the same profile?",
        show_default=False,
        autocompletion=complete.typed,
    ),
]

explain_app.command("attribute", epilog=ATTRIBUTE)(
    with_identities(
        _attribute,
        [
            option("attribute", AttributeOption, None),
            option("as_of", AsOfOption, None),
            option("wait", WaitOption, 0),
            option("as_json", JsonOption, False),
        ],
    )
)
explain_app.command("identity", epilog=IDENTITY)(
    with_identities(
        _identity,
        [
            option("second", AndOption, None),
            option("wait", WaitOption, 0),
            option("as_json", JsonOption, False),
        ],
    )
)


@explain_app.command("row", epilog="Example: profilectl explain row legacy.csv:17")
def row_command(
    context: typer.Context,
    row: Annotated[
        str,
        typer.Argument(
            metavar="FILE:LINE", help="The line (of Parquet: the row), as in a report or in show."
        ),
    ],
    wait: WaitOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Say what became of one row of a file, in every import that brought it."""
    from profilectl.reading.actions import explain_one_row
    from profilectl.render import explain
    from profilectl.render import screen as render_screen

    file, _, line = row.rpartition(":")
    if not file or not line.isdecimal() or not int(line[:15]):
        raise UsageError(f"{row}: must be FILE:LINE", "for example legacy.csv:17")
    if len(line) > 15:
        raise InputRefused(f"{file} has no line {line}")
    found = explain_one_row(options_of(context).store, file, int(line), wait_s=wait)
    if as_json:
        render_screen.print_text(explain.fates_json(found) + "\n")
    else:
        explain.print_fates(found)


@explain_app.command("rules", epilog="Example: profilectl explain rules --json")
def rules_command(
    context: typer.Context, wait: WaitOption = 0, as_json: JsonOption = False
) -> None:
    """Print the rules in force: identity strategy and flags, priorities, protections, feeds,
    limits.
    """
    from profilectl.reading.actions import explain_rules
    from profilectl.render import explain
    from profilectl.render import screen as render_screen

    rules = explain_rules(options_of(context).store, wait_s=wait)
    if as_json:
        render_screen.print_json(rules)
    else:
        explain.print_rules(rules)
