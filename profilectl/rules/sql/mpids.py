"""The MPIDs that a store makes, as SQL: the set-based twin of mpid.py."""

from __future__ import annotations

from profilectl.rules.mpid import HALF, MASK, SHIFT, MpidMix


def _round(upper: str, lower: str, *, factor: int, offset: int) -> str:
    """Return the SQL of one half, mixed with what a round makes of the other."""
    product = f"xor({lower}, {offset}::ubigint) * {factor}::ubigint"
    return f"xor({upper}, ({product}) >> {SHIFT} & {MASK}::ubigint)"


def mpid_of(mix: MpidMix, arrival: str) -> str:
    """Return the SQL of the MPID of an arrival: a BIGINT (MpidMix.mpid).

    The halves are named in several places; DuckDB computes each once.
    """
    upper, lower = f"({arrival})::ubigint >> {HALF}", f"({arrival})::ubigint & {MASK}::ubigint"
    for factor, offset in zip(mix.factors, mix.offsets, strict=True):
        upper, lower = lower, _round(upper, lower, factor=factor, offset=offset)
    return f"((({upper})::bigint - {1 << HALF - 1}) * {1 << HALF} + ({lower})::bigint)"


def arrival_of(mix: MpidMix, mpid: str) -> str:
    """Return the SQL of the arrival that has an MPID: a BIGINT, or null for one that cannot be."""
    upper = f"(({mpid}) >> {HALF}) + {1 << HALF - 1}"
    upper, lower = f"({upper})::ubigint", f"(({mpid}) & {MASK})::ubigint"
    for factor, offset in zip(reversed(mix.factors), reversed(mix.offsets), strict=True):
        upper, lower = _round(lower, upper, factor=factor, offset=offset), upper
    whole = f"({upper})::bigint * {1 << HALF} + ({lower})::bigint"
    return f"(case when {upper} < {1 << HALF - 1} then {whole} end)"
