"""The erasure of people: the rows that go and those that stay, table by table.

`what_stays` is the list. Nothing is deleted: a store is written anew from SELECTs of what stays
and then takes the place of the old one (rewriting.py). So no value is left in a free block, a log
or the statistics of a column, and at every moment there is either the old store or the new one.

Two things are left of the erased, neither with a value: the arrivals of their rows, so that the
history adds up and an import that is made again leaves those rows out, and hashes of their
identities, so that they stay out (store.suppressed).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from profilectl.audiences.outgoing.identity_traces import has_traces, meta_with_traces
from profilectl.importing.suppression import guard_of, sealed_list
from profilectl.privacy.audience_removals import members_removed
from profilectl.privacy.erased import Erased, erased_of
from profilectl.privacy.import_history import files_sealed, imports_that_stay
from profilectl.privacy.meant import Meant
from profilectl.privacy.mentions import defined, of_others
from profilectl.privacy.outcome import Erasure
from profilectl.privacy.profile_tables import computed_anew, past_that_stays, rows_that_stay
from profilectl.privacy.request_records import records_that_stay
from profilectl.privacy.rewriting import without_requests, write_anew
from profilectl.privacy.stays import Rewriting, Stays
from profilectl.privacy.traces import (
    outbox_has_texts,
    outbox_that_stays,
    rejects_that_stay,
    remarks_that_stay,
    requests_that_stay,
)
from profilectl.profiles.read_model import Profiles
from profilectl.store.compaction import ORDER
from profilectl.store.statements import kind_of

ERASED = "erased"
"""What the history calls an erasure."""

# The act itself, without a value, and the rows that it took.
WITH_ACT = """
select * from stored
union all
select act.number, act.kind, act.at_ms, act.made_by, act.profiles, (select count(*) from gone_row)
from this_erasure as act
"""
WITH_GONE_ROWS = """
select * from stored
union all
select gone_row.arrival, gone_row.import, gone_row.founder, act.number
from gone_row
cross join this_erasure as act
"""
PROFILES_OF_ERASED = "select profile from erased_profile"
NO_PROFILES = "select null::bigint as profile where false"
SORTED = "select * from stored order by {columns}"
MESSAGES_TO_AUDIENCES = "select count(*) from store.audience_outbox"


def what_stays(erased: Erased, answered: Sequence[str] = ()) -> list[Stays]:
    """Return what stays of each table once these people are gone.

    answered: the ids of requests that this erasure answers.
    """
    quoting_outbox = frozenset({"outbox"}) if outbox_has_texts(erased) else frozenset[str]()
    return [
        *rows_that_stay(erased, but=quoting_outbox),  # all that has the profile, and aliases
        *past_that_stays(erased),  # identities that went to the erased, in the past of others
        *requests_that_stay(erased),  # source_request_ids of their rows
        *outbox_that_stays(erased),  # waiting batches of theirs, or that mention them
        *members_removed(erased),  # their places in audiences: outputs are to remove them
        *rejects_that_stay(erased),  # the text of rejects that name them; code and line stay
        *remarks_that_stay(erased),  # remarks about their rows, and claims passed over for them
        *imports_that_stay(erased),  # what corrections of them set; their names in paths
        *records_that_stay(erased, answered),  # the identities in requests of theirs
        Stays("erasure", WITH_ACT, rows_lost=0),
        Stays("erased_row", WITH_GONE_ROWS, rows_lost=0),
    ]


@dataclass(frozen=True, slots=True)
class PreparedErasure:
    """An erasure that is decided and not yet written."""

    erased: Erased
    """Who is erased."""
    rewriting: Rewriting
    """What stays of each table."""

    @property
    def outcome(self) -> Erasure:
        """What it takes away."""
        return self.erased.outcome

    def forget_requests(self, ids: Sequence[str]) -> None:
        """Leave out the records of some requests too, also if they are not of the erased."""
        self.rewriting.add(without_requests(self.erased.scratch, ids))

    def write(self) -> None:
        """Write what stays and put it in the place of the store.

        Raises StoreUnusable; then the store is as before.
        """
        erased, rewriting = self.erased, self.rewriting
        self._seal()
        if self._has_traces_of_audiences():
            # The SELECT reads all that stays of meta so far, so it takes the place of that one.
            meta = meta_with_traces(
                erased.store,
                rewriting.select_of("meta"),
                rewriting.select_of("audience_outbox"),
            )
            rewriting.add([Stays("meta", meta)])
        rewriting.add(_in_order(rewriting.selects))
        computes = bool(self.outcome.losing) and erased.store.has_definitions()
        write_anew(
            erased.store,
            rewriting,
            refreshed_ms=erased.now_ms if computes else None,
            lost=erased.kind == ERASED,
        )

    def _seal(self) -> None:
        """Seal the list of those who stay out: every hash in it is made with its key.

        The key is made with the first hash.
        """
        erased, rewriting = self.erased, self.rewriting
        newly = "select * from newly_suppressed" if erased.keeps_out else ""
        suppressed, meta, guard = sealed_list(erased.store, newly)
        if suppressed:
            rewriting.add([Stays("suppressed", suppressed, rows_lost=0)])
        if meta:
            rewriting.add([Stays("meta", f"select * from stored union all {meta}")])
        if erased.keeps_out and guard is not None:
            rewriting.add(files_sealed(erased, guard, rewriting))

    def _has_traces_of_audiences(self) -> bool:
        return bool(
            self.outcome.removals
            or self.erased.scratch.row(MESSAGES_TO_AUDIENCES)[0]
            or has_traces(self.erased.store)
        )


def prepare_erasure(
    profiles: Profiles,
    named_by: Sequence[Meant],
    *,
    allow_return: bool,
    now_ms: int,
    answered: Sequence[str] = (),
) -> PreparedErasure:
    """Decide what an erasure takes away; the store is attached for writing, except in a dry run.

    answered: the ids of requests that it answers. Raises StoreUnusable where the list of those who
    stay out could not be added to.
    """
    guard_of(profiles.store)  # raises where the list of those who stay out could not be added to
    erased = erased_of(
        profiles,
        named_by,
        kind=ERASED,
        keeps_out=True,
        allow_return=allow_return,
        now_ms=now_ms,
    )
    rewriting = Rewriting(erased.scratch)
    rewriting.add(what_stays(erased, answered))
    rewriting.add(computed_anew(erased, sources=PROFILES_OF_ERASED, own=NO_PROFILES))
    _look_for_quotes(erased)
    return PreparedErasure(erased, rewriting)


def _look_for_quotes(erased: Erased) -> None:
    """Report texts that quote a value and stay: people wrote them, or other profiles have them."""
    if not erased.sought:
        return
    erased.outcome.quoted += defined(erased.scratch, erased.sought)
    erased.outcome.others = of_others(erased.scratch, erased.segments, erased.sought)


def _in_order(tables: Iterable[str]) -> list[Stays]:
    """Return SELECTs that sort the rows of segments again: a join may have lost their order."""
    orders = {**ORDER, "index": "hash"}
    return [
        Stays(table, SORTED.format(columns=orders[kind_of(table)]), rows_lost=0)
        for table in tables
        if kind_of(table) != table and kind_of(table) in orders
    ]
