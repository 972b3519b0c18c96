"""The MPIDs that a store makes, as SQL: the set-based twin of mpid.py."""

from __future__ import annotations

from profilectl.rules.mpid import HALF, MASK, SHIFT, MpidMix


def _round(left: str, right: str, factor: int, offset: int) -> str:
    """Return the SQL of one half, mixed with what a round makes of the other."""
    product = f"xor({right}, {offset}::ubigint) * {factor}::ubigint"
    return f"xor({left}, ({product}) >> {SHIFT} & {MASK}::ubigint)"


def mpid_of(mix: MpidMix, arrival: str) -> str:
    """Return the SQL of the MPID of an arrival: a BIGINT (MpidMix.mpid).

    The halves are named in several places; DuckDB computes each once.
    """
    left, right = f"({arrival})::ubigint >> {HALF}", f"({arrival})::ubigint & {MASK}::ubigint"
    for factor, offset in zip(mix.factors, mix.offsets, strict=True):
        left, right = right, _round(left, right, factor, offset)
    return f"((({left})::bigint - {1 << HALF - 1}) * {1 << HALF} + ({right})::bigint)"


def arrival_of(mix: MpidMix, mpid: str) -> str:
    """Return the SQL of the arrival that has an MPID: a BIGINT, or null for one that cannot be."""
    left = f"(({mpid}) >> {HALF}) + {1 << HALF - 1}"
    left, right = f"({left})::ubigint", f"(({mpid}) & {MASK})::ubigint"
    for factor, offset in zip(reversed(mix.factors), reversed(mix.offsets), strict=True):
        left, right = _round(right, left, factor, offset), left
    whole = f"({left})::bigint * {1 << HALF} + ({right})::bigint"
    return f"(case when {left} < {1 << HALF - 1} then {whole} end)"
