"""Which rows are rejected, dropped, or used in part: what a newcomer runs who changes sift.py.

What a row is found by, and which identities are nobody's, is what rules/identity.py says, for odd
texts too.
"""

# ruff: noqa: RUF001
from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.conformance import cases_of, check_with_command_line

from profilectl.importing import sift as sifting
from profilectl.importing.sift import Frame, sift
from profilectl.importing.stage.staged import Staged
from profilectl.rules.counts import Counts
from profilectl.rules.feed import Feed
from profilectl.rules.identity import (
    BY_NAME,
    CODE,
    CODES_OF_NOBODY,
    JUDGING,
    NO_JUDGING,
    PLACEHOLDERS,
    SPOILED,
    WHITE_SPACE,
    Judging,
    UsableIdentity,
    judging_of,
    usable,
)
from profilectl.rules.sql.identities import FEW_BYTES, digest_of, hash_in_digest
from profilectl.store.scratch import Scratch

KINDS = ("customer_id", "email", "ios_advertising_id", "push_token")
"""Types of each shape, two of text."""
SECRET = "0123456789abcdef" * 2
GREEK = judging_of(["ΝΙΚΟΣ", "νίκος*", "*κσ", "*ΑΣ", "i̇d", "n/a", "a%_\\*", "longer than few*"])
"""Placeholders with sigmas, with what patterns would read, of many bytes, and with stars."""
JUDGINGS = (
    JUDGING,
    NO_JUDGING,
    GREEK,
    Judging(),
    replace(JUDGING, allow_spoiled=True),
    Judging(frozenset({"", "b" * FEW_BYTES, "b" * (FEW_BYTES - 1)})),
)
# Characters that white space, case or their number of bytes make odd: the Kelvin and the Angstrom
# sign become shorter, the I with a dot longer, and Python's strip() would take more than we do.
ODD = "ΣσςİıiKkÅåẞßſ\0 \t\n\r\f\v\x1c\x1f\x85\xa0\u2028\u3000\u200b\ufeff\u0301!~\x7f'%_\\eE+-.,0:"
_MARKS = [
    *PLACEHOLDERS,
    "νικος",
    "νικοσ",
    "unKnown",
    "undefİned",
    "σκας",
    "μουσσ",
    "N\0A",
    "b" * FEW_BYTES,
]
_ANY_CASE = st.sampled_from(_MARKS).flatmap(
    lambda mark: st.sampled_from(
        [mark, mark.upper(), mark.title(), mark.swapcase(), mark.replace("*", "x@y"), mark[:-1]]
    )
)
_NUMBERS = st.one_of(
    *(st.from_regex(way.pattern, fullmatch=True) for way in SPOILED),
    st.from_regex(
        r"[+-]?[0-9]{0,3}[.,]?[0-9]{0,3}([eE][+-]?[0-9]{1,2})?[.]?0{0,3}", fullmatch=True
    ),
)
_GUIDS = st.uuids().map(str).flatmap(lambda text: st.sampled_from([text, text.upper(), text[1:]]))
_SPACE = st.text(st.sampled_from(WHITE_SPACE + "\x1c\xa0\u3000\0\u0301"), max_size=2)
_TEXTS = st.builds(
    "".join,
    st.tuples(
        _SPACE,
        st.one_of(
            [
                st.text(st.sampled_from(ODD), max_size=9),
                st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
                _ANY_CASE,
                _NUMBERS,
                _GUIDS,
            ]
        ),
        _SPACE,
    ),
)
WRITTEN = [
    (text,) * len(KINDS)
    for mark in [*_MARKS, "4.47701E+11", "4E+11", "4e+11", "-17850.0", "17.00", "", " ", "\0"]
    for text in (mark, mark.upper(), f"\t{mark}\v", f"{mark}\f", f"\x1c{mark}\xa0", f"{mark}\u0301")
]
"""Rows that have one of them in each identity."""
ROWS = st.lists(st.tuples(*(st.one_of(st.none(), _TEXTS) for _ in KINDS)), min_size=20, max_size=40)


@pytest.mark.parametrize("case", cases_of("sift"))
def test_case(case: dict[str, Any], tmp_path: Path) -> None:
    check_with_command_line(case, tmp_path)


def sifted(folder: Path, rows: Sequence[Sequence[str | None]], judging: Judging) -> Scratch:
    """Sift rows of identities of KINDS."""
    scratch = Scratch(folder)
    columns = [("seq", "BIGINT"), *((f"i_{kind}", "VARCHAR") for kind in KINDS)]
    scratch.load("staged", columns, [(seq, *row) for seq, row in enumerate(rows)])
    staged = Staged(
        files=[],
        offsets=[],
        span=len(rows),
        plain=[],
        identities=[*KINDS],
        keys=[],
        loose=False,
        events=False,
    )
    frame = Frame(
        feed=Feed("f", "crm"),
        protection="create-and-update",
        environment="production",
        strict=False,
        judging=judging,
        secret=SECRET,
        now_ms=0,
    )
    scratch.forget_order()
    sift(scratch, staged, frame, counts=Counts())
    return scratch


def by_the_rules(row: Sequence[str | None], judging: Judging) -> list[int | None]:
    """Return the hash and the code of each identity of a row, as rules/identity.py has them."""
    cells: list[int | None] = []
    for kind, text in zip(KINDS, row, strict=True):
        verdict = None if text is None else usable(BY_NAME[kind], text, judging)
        if isinstance(verdict, UsableIdentity):
            cells += [digest_of(SECRET, "production", kind=kind, key=verdict.key), None]
        else:
            cells += [None, CODES_OF_NOBODY.index(verdict) + 1 if verdict else None]
    return cells


@pytest.mark.parametrize("many_rows", [0, sifting.MANY_ROWS])
@settings(max_examples=25, deadline=None)
@given(rows=ROWS, times=st.sampled_from([1, 8]), judging=st.sampled_from(JUDGINGS))
@example(rows=WRITTEN, times=1, judging=JUDGING)
@example(rows=WRITTEN, times=8, judging=GREEK)
def test_identities_are_what_the_rules_say(
    many_rows: int,
    rows: list[tuple[str | None, ...]],
    times: int,
    judging: Judging,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sifting, "MANY_ROWS", many_rows)
        scratch = sifted(tmp_path_factory.getbasetemp(), rows * times, judging)
    columns = ", ".join(f"h{place}, c{place}" for place in range(len(KINDS)))
    codes = ", ".join(f"c{place}" for place in range(len(KINDS)))
    try:
        hashes = scratch.rows(f"select seq, {columns} from identity_hash order by seq")
        claims = {*scratch.rows("select * from claim")}
        nobodys = {*scratch.rows(f"select seq, {codes} from nobodys_cell")}
        is_by_text = scratch.has("text_hash")
    finally:
        scratch.close()
    by_rules = [by_the_rules(row, judging) for row in rows] * times
    assert [[*cells] for _, *cells in hashes] == by_rules
    assert claims == {
        (seq, CODE[kind], hash_in_digest(cells[2 * place]))
        for seq, cells in enumerate(by_rules)
        for place, kind in enumerate(KINDS)
        if cells[2 * place] is not None
    }
    assert nobodys == {
        (seq, *cells[1::2])
        for seq, cells in enumerate(by_rules)
        if any(code is not None for code in cells[1::2])
        and any(digest is not None for digest in cells[::2])
    }
    has_texts = any(text is not None for row in rows for text in row)
    assert is_by_text == (many_rows == 0 and times == 8 and has_texts)


@settings(max_examples=25, deadline=None)
@given(values=st.lists(st.integers(0, 6).map(str), min_size=1, max_size=80))
def test_shared_values_are_those_that_several_rows_have(
    values: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    scratch = sifted(
        tmp_path_factory.getbasetemp(),
        [(value, f"{value}@example.com", None, str(place)) for place, value in enumerate(values)],
        JUDGING,
    )
    try:
        hashes = [hash for (hash,) in scratch.rows("select hash from claim order by rowid")]
        shared = scratch.rows("select type, seq, rows from shared_value")
        hash_by_seq = defaultdict(set)
        for seq, hash in scratch.rows(
            "select claim.seq, hash from claim join shared_value using (hash)"
        ):
            hash_by_seq[seq].add(hash)
    finally:
        scratch.close()
    assert hashes == sorted(hashes), "claims lie in the order of their hashes"
    rows = Counter(values)
    assert sorted(shared) == sorted(
        (CODE[kind], values.index(value), number)
        for kind in ("customer_id", "email")
        for value, number in rows.items()
        if number > 1
    )
    assert sorted(hash_by_seq) == [seq for seq, value in enumerate(values) if rows[value] > 1]
