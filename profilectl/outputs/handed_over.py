"""What outputs have of the attributes of profiles, in the store: so that what is gone since is told
them, once.

The rule is enrichment.py's (with_deletions, handed_over). A row is written when an output has taken
a batch, in the transaction that takes the batch out of the outbox, and only where something is
another than it was. It has names, no values.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from profilectl.rules.leaving.enrichment import HandedOver, Outgoing, handed_over, with_deletions
from profilectl.rules.text.values import Value
from profilectl.store.segments import known_mpids
from profilectl.store.store import OpenStore

View = tuple[str, int]
"""A workspace and a profile: the attributes of each are told by themselves."""


@dataclass(slots=True)
class Riding:
    """What an output has of some profiles, batch after batch."""

    has: dict[View, HandedOver]
    """What it has; of each batch that leaves it is taken for granted that it arrives."""
    after: Mapping[int, int | None]
    """Profile -> what was deleted after this arrival is told, where it has no batch of theirs;
    None: the batch's own alone.
    """
    watched: frozenset[int]
    """Profiles of which a batch is dead: it may leave after newer ones, so each of those is written
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
        was = self.has.get(view)
        now = handed_over(was, outgoing.arrival, document)
        if view[1] in self.watched and outgoing.arrival > now.arrival:
            now = HandedOver(outgoing.arrival, now.keys)
        if now is not was:
            self.has[view] = now
            self.written[outgoing.arrival] = (view, now)


def riding_of(
    store: OpenStore, output: str, profiles: Collection[int], watched: Iterable[int] = ()
) -> Riding:
    """Return what an output has of some profiles. watched: those of which a batch is dead."""
    scratch = store.scratch
    scratch.load("rider", [("profile", "BIGINT")], [(one,) for one in profiles])
    bound = {"output": output}
    rows = scratch.rows(
        "select workspace, profile, arrival, keys from store.handed_over where output = $output and profile in (select profile from rider)",
        bound,
    )
    since = scratch.rows("select arrival - 1 from store.output_since where output = $output", bound)
    after: dict[int, int | None] = (
        dict.fromkeys(profiles, since[0][0]) if since else {**_last_taken(store, bound)}
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


def _last_taken(store: OpenStore, bound: Mapping[str, str]) -> dict[int, int]:
    """Return the last batch of each rider that an output took, where an older version did not write
    down what it has.
    """
    rows = " union all ".join(
        f"select profile, arrival from {one.table('row')} where profile in (select profile from rider)"
        for one in store.segments()
        if "row" in one.tables
    )
    if not rows:
        return {}
    return dict(
        store.scratch.rows(
            f"select row.profile, max(row.arrival) from ({rows}) as row join store.forwarded on forwarded.arrival = row.arrival"
            " where forwarded.output = $output and forwarded.outcome in ('delivered', 'known') group by row.profile",
            dict(bound),
        )
    )


def write_handed_over(
    store: OpenStore, output: str, written: Iterable[tuple[View, HandedOver]]
) -> None:
    """Write down what an output has now; of two of a profile the later counts.

    Whoever was erased meanwhile does not come back. Called within a transaction.
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
        [(*view, one.arrival, sorted(one.keys)) for view, one in newest.items()],
    )
    scratch.run(
        "delete from store.handed_over where output = $output and profile in (select profile from now_has)"
        " and (workspace, profile) in (select (workspace, profile) from now_has)",
        {"output": output},
    )
    scratch.run(
        "insert into store.handed_over select $output, workspace, profile, arrival, keys from now_has"
        f" where profile in (select profile from ({known_mpids(store.segments())})) order by profile",
        {"output": output},
    )
    scratch.drop("now_has")
