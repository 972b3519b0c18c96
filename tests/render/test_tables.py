"""Tables and sentences on a narrow terminal: what is broken where, and what is not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profilectl.render.screen import in_lines
from profilectl.render.tables import breakable, widths_of

# fmt: off
CASES = [
    ("sample_data/messy/shop.parquet", 9, ["sample_", "data/", "messy/", "shop.", "parquet"]),
    ("sample_data/messy/contacts.csv", 15, ["sample_data/", "messy/", "contacts.csv"]),
    ("sample_data/messy/warehouse.parquet", 18, ["sample_data/messy/", "warehouse.parquet"]),
    ("0a0a0a0a-1111-2222-3333-444444444444", 30, ["0a0a0a0a-1111-2222-3333-", "444444444444"]),
    ("email amelie@example.org", 18, ["email amelie@example.org"]),
    ("two  blanks stay", 8, ["two  blanks stay"]),
    ("an a/" + "b" * 12, 10, ["an a/", "b" * 12]),
    ("東京都/千代田区", 8, ["東京都/", "千代田区"]),
    ("x" * 25, 10, ["x" * 25]),
    ("https://example.org/a", 14, ["https://", "example.org/a"]),
    ("...---...", 4, ["...---..."]),
    ("", 5, [""]),
]
# fmt: on


@pytest.mark.parametrize(("text", "width", "lines"), CASES)
def test_a_word_is_broken_after_a_mark(text: str, width: int, lines: list[str]) -> None:
    assert breakable(text, width).split("\n") == lines


@given(st.text("abc/-. é東"), st.integers(2, 12))
def test_nothing_is_lost_and_what_fits_is_not_broken(text: str, width: int) -> None:
    from rich.cells import cell_len

    broken = breakable(text, width)
    assert broken.replace("\n", "") == text
    for word in text.split(" "):
        assert cell_len(word) > width or word in broken.replace("\n", " ").split(" ")


def test_a_column_that_is_folded_takes_no_more_than_its_longest_line() -> None:
    when = ["when", "2026-09-19 14:13:20 UTC"]
    files = ["files", "sample_data/messy/warehouse.parquet"]
    assert widths_of([when, files], 35) == [12, 16]
    assert widths_of([when, files], 80) == [23, 35]
    assert widths_of([when, files], None) == [23, 35]


# fmt: off
SENTENCES = [
    ('Try: --map "E-Mail Address=email" --map "Mobile Phone=mobile_number"; a look', 60,
     ['Try: --map "E-Mail Address=email"', '  --map "Mobile Phone=mobile_number"; a look']),
    ("Try: --encoding windows-1252; if it is, --encoding-errors reject imports", 60,
     ["Try: --encoding windows-1252; if it is,", "  --encoding-errors reject imports"]),
    ("  Try: '--map=Contact ID=customer_id' and go on with it", 40,
     ["  Try: '--map=Contact ID=customer_id'", "    and go on with it"]),
    ("nobody's rows are anybody's: a long sentence it is", 30,
     ["nobody's rows are anybody's: a", "  long sentence it is"]),
    ('an option "alone', 12, ["an option", '  "alone']),
]
# fmt: on


@pytest.mark.parametrize(("text", "width", "lines"), SENTENCES)
def test_a_sentence_is_not_broken_within_an_option_that_is_to_be_copied(
    text: str, width: int, lines: list[str]
) -> None:
    assert in_lines(text, width) == lines
