"""profilectl events and stream: what users did, and what comes in."""

from __future__ import annotations

import enum
import time
from typing import Annotated, Any

import typer

from profilectl.cli import complete
from profilectl.cli.app import JsonOption, WaitOption, app, options_of
from profilectl.cli.who import option, who_is_meant, with_identities
from profilectl.codes import NobodyFound, StoreBusy, StoreUnusable
from profilectl.rules.event.event import EVENT_TYPES
from profilectl.rules.feed import ENVIRONMENTS

EnvironmentName = enum.Enum("EnvironmentName", {name: name for name in ENVIRONMENTS}, type=str)  # type: ignore[misc]
TypeName = enum.Enum("TypeName", {name: name for name in EVENT_TYPES}, type=str)  # type: ignore[misc]
EVENTS_EXAMPLE = "Example: profilectl events --email john.smith@example.com --since 2026-01-01 --type commerce_event"
FOLLOW_S = 0.5
"""How often a store is looked at for new batches."""
FeedOption = Annotated[
    str | None, typer.Option("--feed", help="Only of this feed.", autocompletion=complete.feeds)
]
EnvironmentOption = Annotated[
    EnvironmentName | None, typer.Option("--environment", help="Only this one.")
]


def events_command(context: typer.Context, **stated: Any) -> None:
    """List events, newest first: of one user, or of everybody.

    With --json one JSON document a line, each event whole, as it came; oldest first, as every
    history in JSON.
    """
    from profilectl.reading.actions import read_events, stated_time
    from profilectl.reading.stream import EventFilter
    from profilectl.render import events as render_events
    from profilectl.render import screen as render_screen

    named = any(stated[name] is not None for name in stated if name not in _OWN)
    listed = EventFilter(
        who_is_meant(stated, EVENTS_EXAMPLE) if named else None,
        [one.value for one in stated["types"] or ()],
        stated["names"] or (),
        stated["feed"],
        stated["environment"].value if stated["environment"] else None,
        stated_time("--since", stated["since"]),
        stated_time("--until", stated["until"]),
        stated["limit"],
    )
    found = read_events(options_of(context).store, listed, wait_s=stated["wait"])
    if stated["as_json"]:
        for one in reversed(found):
            render_screen.print_text(one.as_json() + "\n")
    else:
        render_events.print_events(found)


def _register() -> None:
    more = [
        option(
            "types",
            Annotated[
                list[TypeName] | None,
                typer.Option(
                    "--type",
                    help="Only events of this type; may be given several times.",
                    show_default=False,
                ),
            ],
            None,
        ),
        option(
            "names",
            Annotated[
                list[str] | None,
                typer.Option(
                    "--name",
                    metavar="NAME",
                    help="Only events of this name; may be given several times.",
                ),
            ],
            None,
        ),
        option("feed", FeedOption, None),
        option("environment", EnvironmentOption, None),
        option(
            "since",
            Annotated[
                str | None,
                typer.Option(
                    "--since", metavar="TIME", help="From then on: a day, a time, or 30d, 12h ago."
                ),
            ],
            None,
        ),
        option(
            "until",
            Annotated[str | None, typer.Option("--until", metavar="TIME", help="Before then.")],
            None,
        ),
        option(
            "limit",
            Annotated[
                int,
                typer.Option("--limit", min=0, metavar="N", help="The newest so many; 0 for all."),
            ],
            20,
        ),
        option("wait", WaitOption, 0),
        option("as_json", JsonOption, False),
    ]
    _OWN.update(one.name for one in more)
    app.command("events", epilog=EVENTS_EXAMPLE)(with_identities(events_command, more))


_OWN: set[str] = set()
_register()


@app.command("stream", epilog="Example: profilectl stream --environment development --follow")
def stream_command(
    context: typer.Context,
    environment: EnvironmentOption = None,
    feed: FeedOption = None,
    device: Annotated[
        str | None,
        typer.Option(
            "--device", metavar="VALUE", help="Only batches of users who have this device identity."
        ),
    ] = None,
    limit: Annotated[
        int, typer.Option("--limit", min=0, metavar="N", help="The latest so many; 0 for all.")
    ] = 10,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on: show what others import, until stopped.")
    ] = False,
    wait: WaitOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Show the latest batches with what each did, newest last; --follow shows more as they come in.

    Each names its user: profilectl show --mpid=MPID opens the activity view. One that is nobody's
    says why: of a feed that only reads, or may only update and nobody matched.
    """
    from profilectl.reading.actions import read_batches
    from profilectl.render import events as render_events
    from profilectl.render import screen as render_screen

    store = options_of(context).store
    chosen: dict[str, Any] = {
        "feed": feed,
        "environment": environment.value if environment else None,
        "device": device,
    }
    last, seen = None, None
    while True:
        stamp = store.stat().st_mtime_ns if follow and store.exists() else None
        if stamp is None or stamp != seen:
            try:
                end, found = read_batches(
                    store, after=last, limit=limit if last is None else 0, wait_s=wait, **chosen
                )
            except (StoreBusy, StoreUnusable):
                # An import is being written; or, where something was seen before, a store is being
                # put in place.
                if not follow or last is None:
                    raise
            except NobodyFound:  # whoever follows may wait for somebody to come
                if not follow:
                    raise
                seen = stamp
            else:
                render_events.print_batches(found, as_json=as_json)
                if not found and not follow and not as_json:
                    render_screen.notice("no batches")
                last, seen = end, stamp
        if not follow:
            return
        time.sleep(FOLLOW_S)
