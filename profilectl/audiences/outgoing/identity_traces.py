"""Bytes of erased identities that a file may still have, and writing it anew without them.

A message that removes an erased person from an output keeps the identities until it has arrived.
Then the message is deleted, but its bytes stay in the file until the file is written anew.
"""

from __future__ import annotations

from profilectl.rules.sql.quoting import quote_text
from profilectl.store.copies import put_in_place, rewrite_store
from profilectl.store.statements import listed, reading, select
from profilectl.store.store import OpenStore

TRACES = "traces"
"""The name in store.meta of how many such messages the file had when it was written."""

OF_ERASED = """
select count(*)
from message
where profile is null and coalesce(identities, '[]') <> '[]'
"""
WITHOUT_TRACES = "select * from meta where name <> 'traces'"
WITH_TRACES = """
select * from meta where name <> 'traces'
union all
select * from traces
"""

# Whether the file was written with more such messages than there are now.
HAS_TRACES = """
select count(*)
from store.meta
where name = 'traces'
  and value::integer > (
    select count(*)
    from store.audience_outbox
    where profile is null and coalesce(identities, '[]') <> '[]'
  )
"""


def meta_with_traces(
    store: OpenStore,
    meta: str = "select * from store.meta",
    outbox: str = "select * from store.audience_outbox",
) -> str:
    """Return the SELECT of store.meta for a file that is written anew.

    It notes how many messages with identities of erased people go into that file. `meta` and
    `outbox` are the SELECTs of what the file is to have of these tables.
    """
    (count,) = store.scratch.row(reading(OF_ERASED, message=outbox))
    if not count:
        return reading(WITHOUT_TRACES, meta=meta)
    traces = listed("name, value", [(quote_text(TRACES), quote_text(str(count)))])
    return reading(WITH_TRACES, meta=select("*", f"({meta})"), traces=traces)


def has_traces(store: OpenStore) -> bool:
    """Return whether the file may have bytes of identities that no message needs any more."""
    return bool(store.scratch.row(HAS_TRACES)[0])


def leave_no_trace(store: OpenStore) -> None:
    """Write the file of a store anew, if it has such traces; the store is attached for writing.

    Raises StoreUnusable; then the file is as before.
    """
    if has_traces(store):
        scratch, stays = store.scratch, {"meta": meta_with_traces(store)}
        rewritten = rewrite_store(scratch, store.path, scratch.folder, stays=stays)
        put_in_place(scratch, rewritten, store.path)
