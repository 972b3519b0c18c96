"""profilectl events and stream: the events of users, and arriving batches."""

from __future__ import annotations

import enum
import time
from dataclasses import dataclass
from typing import Annotated

from profilectl.cli.at_work import working
from profilectl.cli.context import Context, GlobalOptions, options_of
from profilectl.cli.options import (
    JsonOption,
    OnlyEnvironmentOption,
    WaitOption,
    names_of,
    value_of,
    with_options,
)
from profilectl.cli.registry import command, option
from profilectl.cli.who import AnyPersonFlags, who_is_meant
from profilectl.codes import NobodyFound, StoreBusy, StoreUnusable
from profilectl.rules.event.event import EVENT_TYPES

TypeName = enum.Enum("TypeName", names_of(EVENT_TYPES), type=str)  # type: ignore[misc]
EVENTS_EXAMPLE = (
    "Example: profilectl events --email john.smith@example.com"
    " --since 2026-01-01 --type commerce_event"
)
FOLLOW_S = 0.5
"""The seconds between two looks for new batches."""
OnlyFeedOption = Annotated[str | None, option("--feed", help="Only this feed.", completion="feeds")]


@dataclass(frozen=True, kw_only=True)
class EventsOptions:
    """The options of `profilectl events`."""

    person: AnyPersonFlags
    types: Annotated[
        list[TypeName] | None,
        option(
            "--type",
            help="Only events of this type; may be given several times.",
            show_default=False,
        ),
    ] = None
    names: Annotated[
        list[str] | None,
        option(
            "--name",
            metavar="NAME",
            help="Only events of this name; may be given several times.",
            completion="events",
        ),
    ] = None
    feed: OnlyFeedOption = None
    environment: OnlyEnvironmentOption = None
    since: Annotated[
        str | None,
        option(
            "--since",
            metavar="TIME",
            help="Only events from this time on: a day, a time, or 30d, 12h ago.",
        ),
    ] = None
    until: Annotated[
        str | None,
        option("--until", metavar="TIME", help="Only events before this time."),
    ] = None
    limit: Annotated[
        int,
        option(
            "--limit", min=0, metavar="N", help="Show at most the newest N events; 0 shows all."
        ),
    ] = 20
    wait: WaitOption = 0
    as_json: JsonOption = False


@command("events", epilog=EVENTS_EXAMPLE)
@with_options(EventsOptions)
def events_command(context: Context, options: EventsOptions) -> None:
    """List the events of one user or of everybody, newest first.

    With --json one JSON document a line: each event as it came, oldest first, as in every history
    in JSON.
    """
    from profilectl.reading.people import read_events, time_of_option
    from profilectl.reading.stream import EventFilter
    from profilectl.render import events, screen

    person = who_is_meant(options.person, EVENTS_EXAMPLE) if options.person.is_given() else None
    event_filter = EventFilter(
        who=person,
        types=[kind.value for kind in options.types or ()],
        names=options.names or (),
        feed=options.feed,
        environment=value_of(options.environment),
        since_ms=time_of_option("--since", options.since),
        until_ms=time_of_option("--until", options.until),
        limit=options.limit,
    )
    common = options_of(context)
    with working(common, "looking for events"):
        newest_first = read_events(common.store, event_filter, wait_s=options.wait)
    if options.as_json:
        for event in reversed(newest_first):
            screen.print_text(event.as_json() + "\n")
    else:
        events.print_events(newest_first)


@dataclass(frozen=True, kw_only=True)
class StreamOptions:
    """The options of `profilectl stream`."""

    environment: OnlyEnvironmentOption = None
    feed: OnlyFeedOption = None
    device: Annotated[
        str | None,
        option(
            "--device",
            metavar="VALUE",
            help="Only batches of users that have this device identity.",
        ),
    ] = None
    limit: Annotated[
        int,
        option(
            "--limit", min=0, metavar="N", help="Show at most the latest N batches; 0 shows all."
        ),
    ] = 10
    follow: Annotated[
        bool,
        option(
            "--follow", "-f", help="Go on and show new batches as they arrive, until you stop it."
        ),
    ] = False
    wait: WaitOption = 0
    as_json: JsonOption = False


@command("stream", epilog="Example: profilectl stream --environment development --follow")
@with_options(StreamOptions)
def stream_command(context: Context, options: StreamOptions) -> None:
    """Show the latest batches with their effects, newest last.

    --follow goes on and shows new ones. Each batch names its user: profilectl show --mpid=MPID
    opens the activity view. A batch without a user says why: its feed may only read, or may only
    update and nobody matched.
    """
    common = options_of(context)
    end, stamp = _print_stream(common, options, after=None, stamp=None)
    while options.follow:
        time.sleep(FOLLOW_S)
        end, stamp = _print_stream(common, options, after=end, stamp=stamp)


def _print_stream(
    common: GlobalOptions, options: StreamOptions, *, after: int | None, stamp: int | None
) -> tuple[int | None, int | None]:
    """Print the batches since an arrival, and return the new `after` and `stamp`.

    after: the last arrival that was printed; None: nothing was printed yet.
    stamp: the time of the store's file then, in nanoseconds. An unchanged file is not opened again.
    """
    from profilectl.reading.actions import read_batches
    from profilectl.render import events, screen

    store = common.store
    changed = store.stat().st_mtime_ns if options.follow and store.exists() else None
    if changed is not None and changed == stamp:
        return after, stamp
    try:
        with working(common, "looking for batches"):
            end, batches = read_batches(
                store,
                after=after,
                limit=options.limit if after is None else 0,
                feed=options.feed,
                environment=value_of(options.environment),
                device=options.device,
                wait_s=options.wait,
            )
    except (StoreBusy, StoreUnusable):
        # An import is writing, or another store is just being put in place.
        if not options.follow or after is None:
            raise
        return after, stamp
    except NobodyFound:  # somebody may come later
        if not options.follow:
            raise
        return after, changed
    events.print_batches(batches, as_json=options.as_json)
    if not batches and not options.follow and not options.as_json:
        screen.notice("no batches")
    return end, changed
