"""profilectl feeds: the inputs of the store, with their sources and protection levels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from profilectl.cli.context import Context, options_of
from profilectl.cli.import_options import ProtectionName
from profilectl.cli.options import JsonOption, SourceName, WaitOption
from profilectl.cli.registry import argument, command, group, option
from profilectl.rules.feed import DEFAULT_PROTECTION, meaning_of, source_named_by

group("feeds", help="List, add and change feeds.")

NameArgument = Annotated[str, argument(metavar="NAME", help="The feed.", completion="feeds")]


PartnerOption = Annotated[
    str | None,
    option(
        "--partner",
        help="The partner whose data it is; only with --source partner.",
        completion="partners",
    ),
]


@command("feeds", "list", epilog="Example: profilectl feeds list --json")
def list_feeds(context: Context, as_json: JsonOption = False, wait: WaitOption = 0) -> None:
    """List the feeds with source, protection level and number of imports."""
    from profilectl.render import screen
    from profilectl.store.feeds import feeds_of

    feeds = feeds_of(options_of(context).store, wait_s=wait)
    if as_json:
        screen.print_json(feeds)
    else:
        _print(feeds)


@command("feeds", "show", epilog="Example: profilectl feeds show warehouse")
def show_feed(
    context: Context, name: NameArgument, as_json: JsonOption = False, wait: WaitOption = 0
) -> None:
    """Show one feed, and how its files are read."""
    from profilectl.render import screen
    from profilectl.store.feeds import feed_of

    feed = feed_of(options_of(context).store, name, wait_s=wait)
    if as_json:
        screen.print_json(feed)
    else:
        _print([feed])
        _print_reading(feed["reading"])


@command(
    "feeds", "add", epilog="Example: profilectl feeds add punchh --source partner --partner Punchh"
)
def add_feed(
    context: Context,
    name: Annotated[str, argument(metavar="NAME", help="The feed.")],
    source: Annotated[
        SourceName | None,
        option(
            "--source",
            help=(
                "The source that ranks its attributes (default: the source that has the feed's"
                " name, else custom-feed)."
            ),
        ),
    ] = None,
    protection: Annotated[
        ProtectionName, option("--protection", help="What the feed may do to profiles.")
    ] = ProtectionName[DEFAULT_PROTECTION],
    partner: PartnerOption = None,
    wait: WaitOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Register a feed."""
    from profilectl.render import screen
    from profilectl.store.feeds import add_feed as add
    from profilectl.store.feeds import feed_of

    ranked_as = str(source.value) if source else source_named_by(name)
    add(
        options_of(context).store,
        name,
        source=ranked_as,
        protection=protection.value,
        partner=partner,
        wait_s=wait,
    )
    if as_json:
        screen.print_json(feed_of(options_of(context).store, name, wait_s=wait))
    elif not options_of(context).quiet:
        screen.notice(
            f"registered the feed {name}: source {ranked_as}, protection {protection.value}"
        )
        screen.notice(meaning_of(ranked_as))


@command("feeds", "set", epilog="Example: profilectl feeds set warehouse --protection update-only")
def set_feed(
    context: Context,
    name: NameArgument,
    protection: Annotated[
        ProtectionName | None,
        option("--protection", help="What the feed may do to profiles from now on."),
    ] = None,
    source: Annotated[
        SourceName | None,
        option("--source", help="Refused if it differs: attributes depend on it."),
    ] = None,
    partner: Annotated[
        str | None,
        option("--partner", help="Refused if it differs: attributes depend on it."),
    ] = None,
    wait: WaitOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Change a feed's protection level."""
    from profilectl.render import screen
    from profilectl.store.feeds import feed_of
    from profilectl.store.feeds import set_feed as change_feed

    after = change_feed(
        options_of(context).store,
        name,
        protection=protection.value if protection else None,
        source=source.value if source else None,
        partner=partner,
        wait_s=wait,
    )
    if as_json:
        screen.print_json(feed_of(options_of(context).store, name, wait_s=wait))
    elif not options_of(context).quiet:
        screen.notice(f"the feed {name}: protection {after}")


def _print_reading(reading: Mapping[str, object]) -> None:
    """Print how the files of a feed are read, one line for each part that is not as ever."""
    from profilectl.render import screen
    from profilectl.rules.reimport import worded_reading

    if not reading:
        screen.print_line("Its files are read as each import says: it has no reading of its own.")
        return
    screen.print_line("Its files are read with (an option of an import wins):")
    for worded in worded_reading(reading):
        screen.print_line(f"  {worded}")


def _print(feeds: list[dict[str, object]]) -> None:
    from profilectl.render import tables

    rows = [
        (
            feed["name"],
            feed["source"],
            feed["protection"],
            feed["partner"] or "",
            feed["workspace"] or "",
            feed["imports"],
        )
        for feed in feeds
    ]
    tables.print_table(
        "Feeds",
        ("feed", "source", "protection", "partner", "workspace", "imports"),
        rows,
        right=(5,),
        spare=(4,),
    )
