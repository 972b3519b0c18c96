"""The attributes that outputs have of profiles, so that each deletion is sent to an output once.

The rule is in rules/leaving/enrichment.py (with_deletions, handed_over). A row is written when an
output has taken a batch, in the transaction that takes the batch out of the outbox, and only where
something has changed. It has the names of attributes, no values.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from profilectl.rules.leaving.enrichment import HandedOver, Outgoing, handed_over, with_deletions
from profilectl.rules.text.values import Value
from profilectl.store.segments import known_mpids
from profilectl.store.store import OpenStore

View = tuple[str, int]
"""A workspace and a profile: a profile has attributes of its own in each workspace."""

# `rider` has the profiles that are asked about.
HANDED_OVER = """
select workspace, profile, arrival, keys
from store.handed_over
where output = $output and profile in (select profile from rider)
"""
# The arrival before an output was declared: it need not hear of older deletions.
BEFORE_OUTPUT = "select arrival - 1 from store.output_since where output = $output"
# The last batch of each rider that an output took.
LAST_TAKEN = """
select rider_row.profile, max(rider_row.arrival)
from rider_row
join store.forwarded on forwarded.arrival = rider_row.arrival
where forwarded.output = $output and forwarded.outcome in ('delivered', 'known')
group by rider_row.profile
"""
# `now_has` is what an output has now. The first condition lets DuckDB look at few rows.
FORGET_HANDED_OVER = """
delete from store.handed_over
where output = $output
  and profile in (select profile from now_has)
  and (workspace, profile) in (select (workspace, profile) from now_has)
"""
# A profile that was erased meanwhile does not come back.
PUT_HANDED_OVER = """
insert into store.handed_over
select $output, workspace, profile, arrival, keys
from now_has
where profile in (select profile from every_profile)
order by profile
"""


@dataclass(slots=True)
class Riding:
    """What an output has of some profiles, batch after batch."""

    has: dict[View, HandedOver]
    """What it has; each batch that leaves is taken to arrive."""
    after: Mapping[int, int | None]
    """By profile, if nothing is written down of it: the arrival after which the output hears of
    deletions; None: it hears only of those of the batch itself.
    """
    watched: frozenset[int]
    """Profiles that have a dead batch: it may leave after newer ones, so each of those is written
    down.
    """
    written: dict[int, tuple[View, HandedOver]] = field(default_factory=dict)
    """What is to be written once a batch has arrived, by its arrival."""

    def completed(self, outgoing: Outgoing, view: View | None) -> Outgoing:
        """Return a batch with the deletions that ride along. view: None where it is nobody's."""
        if view is None:
            return outgoing
        after = self.after.get(view[1])
        return with_deletions(
            outgoing, self.has.get(view), outgoing.arrival - 1 if after is None else after
        )

    def leaves(self, outgoing: Outgoing, view: View | None, document: Mapping[str, Value]) -> None:
        """Take note of a batch that leaves, as it leaves."""
        if view is None:
            return
        before = self.has.get(view)
        after = handed_over(before, outgoing.arrival, document)
        # It is written down also where nothing has changed: a dead batch may leave after it.
        if view[1] in self.watched and outgoing.arrival > after.arrival:
            after = HandedOver(outgoing.arrival, after.keys)
        if after is not before:
            self.has[view] = after
            self.written[outgoing.arrival] = (view, after)


def riding_of(
    store: OpenStore, output: str, profiles: Collection[int], watched: Iterable[int] = ()
) -> Riding:
    """Return what an output has of some profiles. watched: those that have a dead batch."""
    scratch, bound = store.scratch, {"output": output}
    scratch.load("rider", [("profile", "BIGINT")], [(profile,) for profile in profiles])
    rows = scratch.rows(HANDED_OVER, bound)
    since = scratch.rows(BEFORE_OUTPUT, bound)
    after: dict[int, int | None] = (
        dict.fromkeys(profiles, since[0][0]) if since else {**_last_taken(store, output)}
    )
    scratch.drop("rider")
    return Riding(
        {
            (workspace, profile): HandedOver(arrival, frozenset(keys))
            for workspace, profile, arrival, keys in rows
        },
        after,
        frozenset(watched),
    )


def _last_taken(store: OpenStore, output: str) -> dict[int, int]:
    """Return the last batch of each rider that an output took.

    It is needed where an older version did not write down what the output has.
    """
    scratch = store.scratch
    rows = [
        f"select profile, arrival from {segment.table('row')}"
        " where profile in (select profile from rider)"
        for segment in store.segments()
        if "row" in segment.tables
    ]
    if not rows:
        return {}
    scratch.make("rider_row", " union all ".join(rows), keep=False)
    last_taken = dict(scratch.rows(LAST_TAKEN, {"output": output}))
    scratch.drop("rider_row")
    return last_taken


def write_handed_over(
    store: OpenStore, output: str, written: Iterable[tuple[View, HandedOver]]
) -> None:
    """Write down what an output has now; of two entries of a profile the later counts.

    Called within a transaction.
    """
    newest, scratch = dict(written), store.scratch
    if not newest:
        return
    scratch.load(
        "now_has",
        [
            ("workspace", "VARCHAR"),
            ("profile", "BIGINT"),
            ("arrival", "BIGINT"),
            ("keys", "VARCHAR[]"),
        ],
        [(*view, has.arrival, sorted(has.keys)) for view, has in newest.items()],
    )
    bound = {"output": output}
    scratch.run(FORGET_HANDED_OVER, bound)
    scratch.make("every_profile", known_mpids(store.segments()), keep=False)
    scratch.run(PUT_HANDED_OVER, bound)
    for name in ("every_profile", "now_has"):
        scratch.drop(name)
