"""Writing a store anew with what stays of each table, in the place of the old one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from profilectl.audiences.refresh import refresh_store
from profilectl.audiences.refresh_plan import RefreshRequest
from profilectl.codes import StoreUnusable
from profilectl.files import progress
from profilectl.privacy.stays import Rewriting, Stays
from profilectl.rules.sql.quoting import quote_identifier
from profilectl.store.copies import put_in_place, rewrite_store
from profilectl.store.scratch import Scratch, attaching
from profilectl.store.statements import count_rows
from profilectl.store.store import OpenStore, columns_of

RECORDS = [("id", "VARCHAR")]
OTHER_RECORDS = """
select *
from stored
where id not in (select id from forgotten_record)
"""
# The same erasure also adds rows to these tables, so their counts prove nothing.
UNCOUNTED = ("erasure", "erased_row", "suppressed", "aged")


def forget_requests(store: OpenStore, ids: Sequence[str]) -> None:
    """Write a store that is attached for writing anew, without the records of some requests.

    No byte of them is left in its file. Raises StoreUnusable; then the store is as before.
    """
    rewriting = Rewriting(store.scratch)
    rewriting.add(without_requests(store.scratch, ids))
    write_anew(store, rewriting)


def without_requests(scratch: Scratch, ids: Sequence[str]) -> list[Stays]:
    """Return what stays of the records of requests once some are forgotten."""
    if not ids:
        return []
    scratch.load("forgotten_record", RECORDS, [(record_id,) for record_id in ids])
    return [Stays("subject_request", OTHER_RECORDS)]


def write_anew(
    store: OpenStore, rewriting: Rewriting, *, refreshed_ms: int | None = None, lost: bool = False
) -> None:
    """Write what stays of each table and put it in the place of the store.

    refreshed_ms: the time for which stale values are computed anew before that; None: none are.
    lost: as in RefreshRequest. Raises StoreUnusable; then the store is as before.
    """
    scratch = store.scratch
    rewritten = rewrite_store(scratch, store.path, scratch.folder, stays=rewriting.selects)
    progress.step("verifying")
    _verify(rewriting, rewritten)
    if refreshed_ms is not None:
        refresh_store(rewritten, now_ms=refreshed_ms, request=RefreshRequest(lost=lost))
    put_in_place(scratch, rewritten, store.path)


def _verify(rewriting: Rewriting, rewritten: Path) -> None:
    """Check that the new file has all that stays: a row too few would be lost for good.

    Raises StoreUnusable.
    """
    scratch = rewriting.scratch
    scratch.run(attaching(rewritten, "rewritten", write=False))
    try:
        for table in columns_of(scratch):
            if table in UNCOUNTED:
                continue
            before, after = (_count(scratch, base, table) for base in ("store", "rewritten"))
            if after != before - rewriting.rows_lost.get(table, 0):
                raise StoreUnusable(
                    f"the store written anew lacks rows of {table}",
                    "please report it; the store is as before",
                )
    finally:
        scratch.run("detach rewritten")


def _count(scratch: Scratch, base: str, table: str) -> int:
    return count_rows(scratch, f"select * from {base}.{quote_identifier(table)}")
