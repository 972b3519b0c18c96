"""What an import writes: what a newcomer runs who changes commit.py."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.doors import run
from support.effort import at_length
from support.profile_lines import exported

import profilectl.audiences.refresh
import profilectl.importing.commit
import profilectl.importing.merge
import profilectl.importing.run
import profilectl.store.compaction
import profilectl.store.scratch
from profilectl.codes import ProfilectlError
from profilectl.importing.request import ImportRequest
from profilectl.importing.run import import_files
from profilectl.store.opening import LeftUndone


def test_a_commit_that_fails_leaves_the_store_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "store.duckdb"
    (tmp_path / "a.jsonl").write_text('{"customer_id":"A","x":"1"}\n')
    (tmp_path / "b.jsonl").write_text('{"customer_id":"A","x":"2"}\n')
    import_files(path, ImportRequest([str(tmp_path / "a.jsonl")], "f"))
    before = exported(path)

    def fail(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(profilectl.importing.commit, "_write_import", fail)
    with pytest.raises(OSError, match="No space"):
        import_files(path, ImportRequest([str(tmp_path / "b.jsonl")], "g"))
    monkeypatch.undo()
    assert exported(path) == before
    assert import_files(path, ImportRequest([str(tmp_path / "b.jsonl")], "g")).number == 2
    assert not list(tmp_path.glob(".*.scratch"))


@pytest.mark.slow
def test_what_follows_a_commit_may_fail_and_the_import_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "profiles.duckdb"
    (tmp_path / "first.jsonl").write_text('{"customer_id":"B","tier":"iron"}\n')
    import_files(path, ImportRequest([str(tmp_path / "first.jsonl")], "f"))
    assert run("audiences", "add", "gold", "tier = 'gold'", folder=tmp_path).returncode == 0
    for number in range(2, 24):
        (tmp_path / "a.jsonl").write_text(f'{{"customer_id":"A","tier":"gold","x":"{number}"}}\n')
        with monkeypatch.context() as broken:
            if number == 12:
                broken.setattr(profilectl.importing.run, "compaction_due", lambda store: True)
                broken.setattr(
                    profilectl.store.compaction,
                    "compact",
                    failing(duckdb.BinderException("'A' is here")),
                )
            elif number == 15:
                broken.setattr(
                    profilectl.audiences.refresh,
                    "refresh_store",
                    failing(ProfilectlError("'A' is here")),
                )
            if number in (12, 15):
                with pytest.warns(LeftUndone) as warned:
                    report = import_files(path, ImportRequest([str(tmp_path / "a.jsonl")], "f"))
                assert f"import {number} is done, but" in str(warned[0].message)
                assert "'A'" not in str(warned[0].message)
            else:
                report = import_files(path, ImportRequest([str(tmp_path / "a.jsonl")], "f"))
        assert report.number == number
    assert '"23"' in "".join(exported(path))


def failing(error: Exception) -> Callable[..., None]:
    def fail(*arguments: object, **named: object) -> None:
        raise error

    return fail


# The rows of a large import are written a part at a time: what is written is the same.

Row = tuple[int, int, str]
"""The numbers of a customer and of an address, and a city."""
rows = st.lists(
    st.tuples(st.integers(0, 8), st.integers(0, 12), st.sampled_from(["", "Oslo", "Rome"])),
    min_size=1,
    max_size=30,
)


def segments(folder: Path, *files: list[Row]) -> list[list[tuple[object, ...]]]:
    """Import files one after another; return the rows of each segment as they lie."""
    folder.mkdir()
    store = folder / "store.duckdb"
    for number, file in enumerate(files):
        lines = [
            f"{f'C{customer}' if customer else ''},a{address}@example.com,{city}\n"
            for customer, address, city in file
        ]
        path = folder / f"{number}.csv"
        path.write_text("customer_id,email,city\n" + "".join(lines))
        request = ImportRequest([str(path)], f"feed {number % 2}", now_ms=1_790_000_000_000)
        import_files(store, request)
    with duckdb.connect(str(store), read_only=True) as connection:
        return [
            connection.execute(f"select * from row_{number + 1}").fetchall()
            for number in range(len(files))
        ]


@settings(
    max_examples=at_length(6, by_night=500),
    deadline=None,
    suppress_health_check=list(HealthCheck),
    derandomize=True,
)
@given(earlier=rows, later=rows, at_once=st.integers(1, 7), fresh=st.sampled_from([1, 1000]))
def test_parts_leave_the_same_rows_in_the_same_order(
    earlier: list[Row],
    later: list[Row],
    at_once: int,
    fresh: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("parts")
    whole = segments(folder / "whole", earlier, later)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(profilectl.importing.commit, "PART", at_once)
        patch.setattr(profilectl.importing.merge, "MANY_FRESH", fresh)
        parts = segments(folder / "parts", earlier, later)
    assert parts == whole
    for segment in parts:
        assert segment == sorted(segment, key=lambda row: row[:2])  # type: ignore[arg-type]


def test_many_rows_are_written_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profilectl.importing.commit, "PART", 4)
    written: list[object] = []
    original: Callable[..., object] = profilectl.importing.commit._parts_of

    def parts_of(*arguments: object) -> object:
        written.append(original(*arguments))
        return written[-1]

    monkeypatch.setattr(profilectl.importing.commit, "_parts_of", parts_of)
    earlier, later = (
        [(number, number, city) for number in range(1, 9)] for city in ("Oslo", "Rome")
    )
    segments(tmp_path / "store", earlier, later, later[:2])
    # Eight new profiles, the same eight, and two of them.
    assert written == [[(0, 4), (4, 8)], [(0, 4), (4, 8), (8, 16)], [(0, 18)]]
