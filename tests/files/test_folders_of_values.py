"""The folders that --partition-by writes: a name for each value, and not too many files at once."""

import contextlib
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from hypothesis import given
from hypothesis import strategies as st

from profilectl.files import sinks
from profilectl.files.sinks import NOTHING, RowWriter, folder_of, parts_in

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=300)


@given(TEXTS, TEXTS, TEXTS)
def test_each_value_has_a_folder_of_its_own(key: str, value: str, another: str) -> None:
    name = folder_of(key, value)
    assert len(name) <= 255
    assert "/" not in name
    assert (name == folder_of(key, another)) == (value == another)
    assert name != folder_of(key, None)
    # a name that is not cut is read back, and one that is cut begins as the value does
    text, cut, _ = name.partition("=")[2].partition("~")
    read = urllib.parse.unquote(text, errors="strict")
    assert value.startswith(read) if cut else value == read


def test_long_values_that_begin_alike_do_not_share_a_folder() -> None:
    assert folder_of("k", "x" * 250 + "a") != folder_of("k", "x" * 250 + "b")
    assert folder_of("k", "x" * 200) == "k=" + "x" * 200
    assert folder_of("k", "é" * 100).count("%") % 2 == 0
    assert folder_of("k", NOTHING) != folder_of("k", None)
    assert len(folder_of("k" * 300, "x" * 300)) == 255
    assert folder_of("k" * 300, "x") != folder_of("k" * 301, "x")


class _Counting:
    """A writer that knows how many of its kind are open."""

    open_now = most = 0

    def __enter__(self) -> RowWriter:
        _Counting.open_now += 1
        _Counting.most = max(_Counting.most, _Counting.open_now)
        return self

    def __exit__(self, *error: object) -> None:
        _Counting.open_now -= 1

    def write(self, block: sinks.Rows) -> None:
        pass

    def close(self) -> None:
        pass


def test_no_more_files_are_open_than_may_be(tmp_path: Path) -> None:
    @contextlib.contextmanager
    def writer(stream: BinaryIO) -> Iterator[RowWriter]:
        with _Counting() as counting:
            yield counting

    parts = parts_in(tmp_path / "out", "x", suffix=".jsonl", most_rows=None, open_writer=writer)
    for number in range(sinks.MOST_OPEN + 5):
        parts.write([["line"]], folder_of("k", str(number)))
    parts.finish()
    assert _Counting.most == sinks.MOST_OPEN
    assert _Counting.open_now == 0
