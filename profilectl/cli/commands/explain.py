"""profilectl explain: the reasons behind values, profiles and rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from profilectl.cli.context import Context, options_of
from profilectl.cli.options import JsonOption, WaitOption, with_options
from profilectl.cli.registry import argument, command, group, option
from profilectl.cli.who import AnyPersonFlags, typed_identity, who_is_meant
from profilectl.codes import InputRefused, NobodyFound, UsageError

group(
    "explain",
    help=(
        "Explain a value, an identity, a row or the rules.\n\n`profilectl explain --email x"
        " --attribute tier` explains a value."
    ),
    # `explain --email x` explains attributes; all other explanations have a name
    default="attribute",
)

ATTRIBUTE = "Example: profilectl explain --email john.smith@example.com --attribute tier"
IDENTITY = (
    "Example: profilectl explain identity --email john.smith@example.com"
    " --and customer_id=JohnSmith911"
)
LONGEST_LINE = 15
"""The most digits of a line number; no file has a line with a longer one."""


@dataclass(frozen=True, kw_only=True)
class ExplainAttributeOptions:
    """The options of `profilectl explain attribute`."""

    person: AnyPersonFlags
    attribute: Annotated[
        list[str] | None,
        option(
            "--attribute",
            metavar="KEY",
            help="Explain only this attribute; may be given several times.",
            show_default=False,
            completion="keys",
        ),
    ] = None
    as_of: Annotated[
        str | None,
        option(
            "--as-of",
            metavar="IMPORT|TIME",
            help="Explain the state after an import, or at a time.",
        ),
    ] = None
    wait: WaitOption = 0
    as_json: JsonOption = False


@command("explain", "attribute", epilog=ATTRIBUTE)
@with_options(ExplainAttributeOptions)
def attribute_command(context: Context, options: ExplainAttributeOptions) -> None:
    """Show which row decided each attribute of a person, and why every other value lost."""
    from profilectl.reading.people import explain_person
    from profilectl.render import explain, screen

    kind, value = who_is_meant(options.person, ATTRIBUTE)
    people = explain_person(
        options_of(context).store,
        kind,
        value,
        keys=options.attribute or (),
        as_of=options.as_of,
        wait_s=options.wait,
    )
    if options.as_json:
        screen.print_text(explain.attributes_json(people) + "\n")
    else:
        for activity, attributes in people:
            explain.print_attributes(activity, attributes)
    if not people:
        raise NobodyFound.of(kind, value)


@dataclass(frozen=True, kw_only=True)
class ExplainIdentityOptions:
    """The options of `profilectl explain identity`."""

    person: AnyPersonFlags
    second: Annotated[
        str | None,
        option(
            "--and",
            metavar="TYPE=VALUE",
            help="Explain why this identity is not of the same profile.",
            show_default=False,
            completion="typed",
        ),
    ] = None
    wait: WaitOption = 0
    as_json: JsonOption = False


@command("explain", "identity", epilog=IDENTITY)
@with_options(ExplainIdentityOptions)
def identity_command(context: Context, options: ExplainIdentityOptions) -> None:
    """Show which rows joined the identities of a profile.

    With --and it shows why two identities are not of one profile.
    """
    from profilectl.reading.actions import explain_chains, explain_identities
    from profilectl.render import explain, screen

    store = options_of(context).store
    kind, value = who_is_meant(options.person, IDENTITY)
    if options.second is not None:
        second = typed_identity(options.second, "--and")
        apart = explain_identities(store, (kind, value), second, wait_s=options.wait)
        if options.as_json:
            screen.print_text(explain.apart_json(apart) + "\n")
        else:
            explain.print_apart(apart)
        return
    people = explain_chains(store, kind, value, wait_s=options.wait)
    if options.as_json:
        screen.print_text(explain.chains_json(people) + "\n")
    else:
        for profile, links in people:
            explain.print_chain(profile, links)
    if not people:
        raise NobodyFound.of(kind, value)


@command("explain", "row", epilog="Example: profilectl explain row legacy.csv:17")
def row_command(
    context: Context,
    row: Annotated[
        str,
        argument(
            metavar="FILE:LINE", help="A line, or a row of Parquet, as reports and show name it."
        ),
    ],
    wait: WaitOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Show the fate of one row of a file, in every import that read it."""
    from profilectl.reading.actions import explain_one_row
    from profilectl.render import explain, screen

    file, _, line = row.rpartition(":")
    if not file or not line.isdecimal() or not int(line[:LONGEST_LINE]):
        raise UsageError(f"{row}: must be FILE:LINE", "for example legacy.csv:17")
    if len(line) > LONGEST_LINE:
        raise InputRefused(f"{file} has no line {line}")
    fates = explain_one_row(options_of(context).store, file, int(line), wait_s=wait)
    if as_json:
        screen.print_text(explain.fates_json(fates) + "\n")
    else:
        explain.print_fates(fates)


@command("explain", "rules", epilog="Example: profilectl explain rules --json")
def rules_command(context: Context, wait: WaitOption = 0, as_json: JsonOption = False) -> None:
    """Show the rules in force: identity flags, priorities, protection levels, feeds, limits."""
    from profilectl.reading.actions import explain_rules
    from profilectl.render import explain, screen

    rules = explain_rules(options_of(context).store, wait_s=wait)
    if as_json:
        screen.print_json(rules)
    else:
        explain.print_rules(rules)
