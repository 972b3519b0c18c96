"""Opt-outs that aliases carried over, kept when the alias goes: by erasure and by retention.

A person may have opted out with an earlier profile, from which an alias carried that over. The
alias goes with the earlier profile, but an erasure must not opt anybody in again. So before it goes
the opt-out becomes the person's own: one batch, by the rules of every import. It states that they
are out and since when, and nothing else of the profile that goes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from profilectl.importing.request import ImportRequest
from profilectl.importing.run import import_files
from profilectl.profiles.activity import Activity
from profilectl.profiles.played import activities
from profilectl.profiles.read_model import Profiles, profiles_of
from profilectl.rules.event.event import last_opt_out, opted_out
from profilectl.rules.text.values import Number, Value, to_json
from profilectl.store.opening import open_store
from profilectl.store.scratch import scratch_beside

NAME = "(opt-out)"
"""The name that this batch has in the history, instead of a file."""
Leaving = Callable[[Profiles], Iterable[int]]
"""Returns the profiles of a store that go."""


@dataclass(frozen=True, slots=True)
class OptedOut:
    """A person who is out by an alias that goes."""

    mpid: str
    """The MPID of the profile that stays."""
    environment: str
    """Its environment."""
    feed: str
    """The feed of its newest batch."""
    at_ms: int
    """When they opted out."""
    last_ms: int
    """When they were last seen."""

    def content(self) -> str:
        """Return the batch that states it, with the time at which the person was last seen."""
        data: dict[str, Value] = {
            "is_opted_out": True,
            "timestamp_unixtime_ms": Number(str(self.at_ms)),
        }
        batch: dict[str, Value] = {
            "mpid": Number(self.mpid),
            "environment": self.environment,
            "timestamp_unixtime_ms": Number(str(self.last_ms)),
            "events": [{"event_type": "opt_out", "data": data}],
        }
        return to_json(batch) + "\n"


def keep_opt_outs(
    store_path: Path,
    leaving: Leaving,
    *,
    wait_s: float,
    now_ms: int,
    dry_run: bool = False,
    reads: Sequence[Path] = (),
) -> list[OptedOut]:
    """Give the people who stay, as their own, the opt-outs that would go with some profiles.

    dry_run: write nothing; reads: files that `leaving` reads by SQL. Return the people.
    """
    with (
        scratch_beside(store_path.absolute()) as scratch,
        open_store(scratch, store_path, wait_s=wait_s, reads=reads) as store,
    ):
        profiles = profiles_of(store, every=True)
        staying = carried_to(profiles, list(leaving(profiles))) if profiles.carrying() else []
    for person in staying if not dry_run else ():
        request = ImportRequest(
            [NAME],
            person.feed,
            protection="update-only",
            format="jsonl",
            content=person.content(),
            again=True,
            max_rejects="0",
            wait_s=wait_s,
            now_ms=now_ms,
            any_time=True,
            refreshes=False,
        )
        import_files(store_path, request)
    return staying


def carried_to(profiles: Profiles, leaving: Sequence[int]) -> list[OptedOut]:
    """Return the people who stay and are out only by an alias from a profile that goes.

    profiles: the read model over everybody.
    """
    aliases = profiles.carrying()
    going = {alias.before for alias in aliases if alias.source in leaving}
    destinations = {alias.destination for alias in aliases if alias.before in going}
    people = activities(profiles, sorted(destinations.difference(leaving)), placed=False)
    return [out for person in people if (out := _without(person, going))]


def _without(person: Activity, going: set[int]) -> OptedOut | None:
    """Return a person who is out now, and would not be without what some aliases carried over.

    going: the arrivals of these aliases.
    """
    events = person.occurred()
    opt_out = last_opt_out(events)
    carried = [event for arrival, event in person.carried if arrival in going]
    own = [event for event in events if not any(event is going_event for going_event in carried)]
    batches = person.batches()
    if opt_out is None or not opted_out([opt_out]) or opted_out(own) or not batches:
        return None
    newest = batches[-1].origin
    return OptedOut(
        mpid=str(person.mpid),
        environment=person.environment,
        feed=newest.feed.name,
        at_ms=opt_out.at_ms,
        last_ms=max(batch.origin.at_ms for batch in batches),
    )
