"""Opt-outs that aliases carried over, kept when the alias goes: by erasure and by retention.

Whoever is out by what an earlier profile of theirs said has said so themselves. With that profile
the alias goes, and all that it carried over; but nobody is taken for opted in again because a trace
of theirs was erased. So before it goes the opt-out becomes the person's own: one batch, by the
rules of every import. It says that they are out and since when, and nothing else of the profile
that goes.
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
"""What stands for the file of such a batch in the history."""
Leaving = Callable[[Profiles], Iterable[int]]
"""Who goes, of the profiles of a store."""


@dataclass(frozen=True, slots=True)
class OptedOut:
    """A person who is out by an alias that goes. feed: of their newest batch; at_ms: when they
    opted out; last_ms: when they were last seen."""

    mpid: str
    environment: str
    feed: str
    at_ms: int
    last_ms: int

    def content(self) -> str:
        """Return the batch that says so. Its time is that of the newest: nobody is seen by it."""
        data: dict[str, Value] = {
            "is_opted_out": True,
            "timestamp_unixtime_ms": Number(str(self.at_ms)),
        }
        return (
            to_json(
                {
                    "mpid": Number(self.mpid),
                    "environment": self.environment,
                    "timestamp_unixtime_ms": Number(str(self.last_ms)),
                    "events": [{"event_type": "opt_out", "data": data}],
                }
            )
            + "\n"
        )


def keep_opt_outs(
    store_path: Path,
    leaving: Leaving,
    *,
    wait_s: float,
    now_ms: int,
    dry_run: bool = False,
    reads: Sequence[Path] = (),
) -> list[OptedOut]:
    """Make the opt-outs that would go with some profiles those people's own who stay; return whose
    they are. dry_run: only return them. reads: files that leaving reads by SQL."""
    with (
        scratch_beside(store_path.absolute()) as scratch,
        open_store(scratch, store_path, wait_s=wait_s, reads=reads) as store,
    ):
        profiles = profiles_of(store, every=True)
        staying = carried_to(profiles, list(leaving(profiles))) if profiles.carrying() else []
    for one in staying if not dry_run else ():
        import_files(
            store_path,
            ImportRequest(
                [NAME],
                one.feed,
                protection="update-only",
                format="jsonl",
                content=one.content(),
                again=True,
                max_rejects="0",
                wait_s=wait_s,
                now_ms=now_ms,
                any_time=True,
                refreshes=False,
            ),
        )
    return staying


def carried_to(profiles: Profiles, leaving: Sequence[int]) -> list[OptedOut]:
    """Return who stays, and is out only by what an alias of some who go carried over. profiles: of
    everybody."""
    goes = {one.before for one in profiles.carrying() if one.source in leaving}
    takers = sorted(
        {one.destination for one in profiles.carrying() if one.before in goes}.difference(leaving)
    )
    return [
        out
        for person in activities(profiles, takers, placed=False)
        if (out := _without(person, goes))
    ]


def _without(person: Activity, goes: set[int]) -> OptedOut | None:
    """Return a person who is out now, and would not be without what some aliases carried over."""
    said = last_opt_out(person.occurred())
    own = [
        event
        for event in person.occurred()
        if not any(event is carried for arrival, carried in person.carried if arrival in goes)
    ]
    batches = person.batches()
    if said is None or not opted_out([said]) or opted_out(own) or not batches:
        return None
    newest = batches[-1].origin
    return OptedOut(
        str(person.mpid),
        person.environment,
        newest.feed.name,
        said.at_ms,
        max(one.origin.at_ms for one in batches),
    )
