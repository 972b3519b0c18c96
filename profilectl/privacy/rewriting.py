"""A store written anew of what stays of each table (copies.py), counted before it takes the place
of the old one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from profilectl.audiences.refresh import RefreshRequest, refresh_store
from profilectl.codes import StoreUnusable
from profilectl.rules.sql.quoting import quote_identifier, quote_text
from profilectl.store.copies import put_in_place, rewrite_store
from profilectl.store.scratch import Scratch, attaching
from profilectl.store.store import OpenStore, columns_of


def forget_requests(store: OpenStore, names: Sequence[str]) -> None:
    """Take the records of requests out of a store that is attached for writing, so that no byte of
    them is left in its file. Raises StoreUnusable; then the store is as before.
    """
    write_anew(
        store,
        {"subject_request": without_requests("select * from store.subject_request", names)},
        {"subject_request": len(names)},
    )


def without_requests(select: str, names: Sequence[str]) -> str:
    """Return the SELECT of the records of requests but those of some ids."""
    return f"select * from ({select}) where id not in ({', '.join(map(quote_text, names))})"


def write_anew(
    store: OpenStore,
    stays: Mapping[str, str],
    gone: Mapping[str, int],
    *,
    refreshed_ms: int | None = None,
    lost: bool = False,
) -> None:
    """Write what stays of each table and put it in the place of the store.

    gone: how many rows of each are not in it. refreshed_ms: the time at which what is stale is
    computed anew before; None: nothing is. lost: as refresh.Asked has it.
    """
    made = rewrite_store(store.scratch, store.path, store.scratch.folder, stays)
    _verify(store.scratch, made, gone)
    if refreshed_ms is not None:
        refresh_store(made, now_ms=refreshed_ms, asked=RefreshRequest(lost=lost))
    put_in_place(store.scratch, made, store.path)


def _verify(scratch: Scratch, made: Path, gone: Mapping[str, int]) -> None:
    """See that the new file has all that stays: a row too few would be lost for good."""
    scratch.run(attaching(made, "rewritten", write=False))
    try:
        for table in columns_of(scratch):
            if table in ("erasure", "erased_row", "suppressed", "aged"):
                continue
            name = quote_identifier(table)
            before, after = (
                scratch.row(f"select count(*) from {base}.{name}")[0]
                for base in ("store", "rewritten")
            )
            if after != before - gone.get(table, 0):
                raise StoreUnusable(
                    f"the store written anew lacks rows of {table}",
                    "please report it; the store is as before",
                )
    finally:
        scratch.run("detach rewritten")
