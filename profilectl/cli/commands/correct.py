"""profilectl set, modify, alias and identify: one user corrected, one user found."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from profilectl.cli import complete
from profilectl.cli.app import JsonOption, WaitOption, app, options_of
from profilectl.cli.commands.import_ import SourceOption, say_registered, value_of
from profilectl.cli.commands.search import EnvironmentName
from profilectl.cli.who import mpid_of, one_identity, option, who_is_meant, with_identities
from profilectl.codes import Exit, NobodyFound, UsageError
from profilectl.rules.identity import TYPES

SET = "Example: profilectl set --email john.smith@example.com tier=gold visits:=3 --delete color"
MODIFY = "Example: profilectl modify --customer-id JohnSmith911 --remove email=john.smith@example.com --add email=john@example.com"
ALIAS = "Example: profilectl alias --from 6361913531298988369 --to=-4829301177023345012 --now"
IDENTIFY = "Example: profilectl identify --email john.smith@example.com --customer-id JohnSmith911"


def _set(context: typer.Context, **stated: Any) -> None:
    """Set and delete attributes of one person, as an import of one batch: same rules, history and
    undo.

    KEY=VALUE is a text; KEY:=JSON a number, true, false, a list or null (a tag). Exits with 3 where
    a value was refused.
    """
    from profilectl.importing.corrections.as_import import CORRECTIONS
    from profilectl.importing.corrections.attributes import assignment, correct
    from profilectl.render import imports as render_imports
    from profilectl.render import screen as render_screen

    sets: dict[str, Any] = {}
    for text in stated["assignments"] or ():
        key, value = assignment(text)
        if key in sets:
            raise UsageError(f"{key} is set twice")
        sets[key] = value
    deletes = stated["delete"] or []
    if not sets and not deletes:
        raise UsageError("say what to set or delete", SET.removeprefix("Example: "))
    options = options_of(context)
    report = correct(
        options.store,
        who_is_meant(stated, SET),
        sets,
        deletes,
        feed=stated["feed"] or CORRECTIONS,
        source=value_of(stated["source"]),
        pick=stated["pick"],
        dry_run=stated["dry_run"],
        wait_s=stated["wait"],
    )
    if stated["as_json"]:
        render_screen.print_json(report.as_json())
    elif not options.quiet:
        if stated["feed"]:
            say_registered(report)
        render_imports.print_correction(report)
    refused = report.counts.attributes["blocked"] or report.counts.rows["dropped"]
    raise typer.Exit(Exit.REJECTED_ROWS if refused else Exit.DONE)


app.command("set", epilog=SET)(
    with_identities(
        _set,
        [
            option(
                "assignments",
                Annotated[
                    list[str] | None,
                    typer.Argument(
                        metavar="KEY=VALUE...",
                        help="What to set.",
                        show_default=False,
                        autocompletion=complete.assignments,
                    ),
                ],
                None,
            ),
            option(
                "delete",
                Annotated[
                    list[str] | None,
                    typer.Option(
                        "--delete",
                        metavar="KEY",
                        help="Delete this attribute; may be given several times.",
                        autocompletion=complete.keys,
                    ),
                ],
                None,
            ),
            option(
                "feed",
                Annotated[
                    str | None,
                    typer.Option(
                        "--feed",
                        help="Whose correction it is (corrections).",
                        autocompletion=complete.feeds,
                    ),
                ],
                None,
            ),
            option("source", SourceOption, None),
            option(
                "pick",
                Annotated[
                    int | None,
                    typer.Option("--pick", metavar="N", help="Which of several profiles."),
                ],
                None,
            ),
            option(
                "dry_run",
                Annotated[bool, typer.Option("--dry-run", help="Say what would happen.")],
                False,
            ),
            option("wait", WaitOption, 0),
            option("as_json", JsonOption, False),
        ],
        bare=False,
    )
)


def _modify(context: typer.Context, **stated: Any) -> None:
    """Add, remove and replace identities of one person: all of it or nothing, as an import that can
    be undone.

    What is added takes the place of what is removed of the same type. A unique identity goes from
    whoever has it; an immutable one never changes.
    """
    from profilectl.importing.corrections.as_import import CORRECTIONS
    from profilectl.importing.corrections.identities import changes_of, modify_identities
    from profilectl.render import imports as render_imports
    from profilectl.render import screen as render_screen

    adds, removes = (
        [one_identity(one, f"--{name}", mpid=False) for one in stated[name] or ()]
        for name in ("add", "remove")
    )
    if not adds and not removes:
        raise UsageError("say what to add or remove", MODIFY.removeprefix("Example: "))
    options = options_of(context)
    report = modify_identities(
        options.store,
        who_is_meant(stated, MODIFY),
        changes_of(adds, removes),
        feed=stated["feed"] or CORRECTIONS,
        source=value_of(stated["source"]),
        pick=stated["pick"],
        dry_run=stated["dry_run"],
        wait_s=stated["wait"],
    )
    if stated["as_json"]:
        render_screen.print_json(report.as_json())
    elif not options.quiet:
        if stated["feed"]:
            say_registered(report)
        render_imports.print_modification(report)


app.command("modify", epilog=MODIFY)(
    with_identities(
        _modify,
        [
            option(
                "add",
                Annotated[
                    list[str] | None,
                    typer.Option(
                        "--add",
                        metavar="TYPE=VALUE",
                        help="An identity to add; may be given several times.",
                        autocompletion=complete.typed,
                    ),
                ],
                None,
            ),
            option(
                "remove",
                Annotated[
                    list[str] | None,
                    typer.Option(
                        "--remove",
                        metavar="TYPE=VALUE",
                        help="An identity to remove; may be given several times.",
                        autocompletion=complete.typed,
                    ),
                ],
                None,
            ),
            option(
                "feed",
                Annotated[
                    str | None,
                    typer.Option(
                        "--feed",
                        help="Whose correction it is (corrections).",
                        autocompletion=complete.feeds,
                    ),
                ],
                None,
            ),
            option("source", SourceOption, None),
            option(
                "pick",
                Annotated[
                    int | None,
                    typer.Option("--pick", metavar="N", help="Which of several profiles."),
                ],
                None,
            ),
            option(
                "dry_run",
                Annotated[bool, typer.Option("--dry-run", help="Say what would happen.")],
                False,
            ),
            option("wait", WaitOption, 0),
            option("as_json", JsonOption, False),
        ],
        bare=False,
    )
)


@app.command("alias", epilog=ALIAS)
def alias_command(
    context: typer.Context,
    source: Annotated[
        str, typer.Option("--from", metavar="MPID", help="The earlier, anonymous profile.")
    ],
    destination: Annotated[
        str, typer.Option("--to", metavar="MPID", help="The known profile that gets its past.")
    ],
    start: Annotated[
        str | None,
        typer.Option(
            "--start", metavar="TIME", help="Events from then on (90 days before the end)."
        ),
    ] = None,
    end: Annotated[
        str | None, typer.Option("--end", metavar="TIME", help="Events until then (now).")
    ] = None,
    now: Annotated[
        bool, typer.Option("--now", help="Take effect at once, not after 24 hours.")
    ] = False,
    environment: Annotated[
        EnvironmentName | None,
        typer.Option("--environment", help="Where the MPIDs are, if in both."),
    ] = None,
    feed: Annotated[
        str | None,
        typer.Option(
            "--feed", help="Whose correction it is (corrections).", autocompletion=complete.feeds
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say whether it may be.")] = False,
    wait: WaitOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Carry the past of one profile over to another: its first-seen date and install attribution.

    Profiles are never merged: identities, attributes and consent stay where they are. An alias is
    an import, so it can be undone.
    """
    from profilectl.importing.corrections.alias import alias_profiles
    from profilectl.importing.corrections.as_import import CORRECTIONS
    from profilectl.render import imports as render_imports
    from profilectl.render import screen as render_screen

    options = options_of(context)
    report = alias_profiles(
        options.store,
        mpid_of(source),
        mpid_of(destination),
        start=start,
        end=end,
        at_once=now,
        feed=feed or CORRECTIONS,
        environment=value_of(environment),
        dry_run=dry_run,
        wait_s=wait,
    )
    if as_json:
        render_screen.print_json(report.as_json())
    elif not options.quiet:
        render_imports.print_alias(report, source, destination, at_once=now)


def _identify(context: typer.Context, **stated: Any) -> None:
    """Say whom a batch with these identities would find, step by step, changing nothing.

    Exits with 7 for nobody.
    """
    from profilectl.reading.actions import identify_user
    from profilectl.render import explain
    from profilectl.render import screen as render_screen

    identities = {kind.name: stated[kind.name] for kind in TYPES if stated[kind.name] is not None}
    if not identities:
        raise UsageError("name at least one identity", IDENTIFY.removeprefix("Example: "))
    found = identify_user(
        options_of(context).store, stated["environment"].value, identities, wait_s=stated["wait"]
    )
    if stated["as_json"]:
        render_screen.print_text(explain.identified_json(found) + "\n")
    else:
        explain.print_identified(found)
    if found.found is None:
        raise NobodyFound("nobody was found")


app.command("identify", epilog=IDENTIFY)(
    with_identities(
        _identify,
        [
            option(
                "environment",
                Annotated[EnvironmentName, typer.Option("--environment", help="Where to look.")],
                EnvironmentName["production"],
            ),
            option("wait", WaitOption, 0),
            option("as_json", JsonOption, False),
        ],
        bare=False,
        only_types=True,
    )
)
