"""Profiles that retention took something from, and since when they count anew (domain.md 13)."""

from __future__ import annotations


def retired(erasure: object, *, forgotten: bool) -> str:
    """Return the name in store.meta under which an act of retention keeps an arrival.

    Everything that it took had come before that arrival. With `forgotten`, the events before it do
    not count any more for computed values either. Without it, as with Lifetime Profiles, everything
    counts again when the person comes back.
    """
    return f"{'forgotten' if forgotten else 'retired'}_before:{erasure}"


# The profiles that were stubs (privacy/expiry.py): profile, and the arrival before which their
# events are kept and shown but count for nothing that is computed of a lifetime: calculated
# attributes and real-time audiences. The name in store.meta is the one of `retired`.
FORGOTTEN = """
select aged.profile, max(meta.value::bigint) as before
from store.aged
join store.meta on meta.name = 'forgotten_before:' || aged.erasure
group by aged.profile
"""

# All profiles that retention took something from: when it last did (aged_ms), and the arrival from
# which on rows came after it (before); null if an older version did not write that down.
RETIRED = """
select aged.profile, max(erasure.at_ms) as aged_ms, max(meta.value::bigint) as before
from store.aged
join store.erasure on erasure.number = aged.erasure
left join store.meta
  on meta.name in ('forgotten_before:' || aged.erasure, 'retired_before:' || aged.erasure)
group by aged.profile
"""
