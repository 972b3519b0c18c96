"""What an import writes: what a newcomer runs who changes commit.py."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest
from support.doors import run
from support.profile_lines import exported

import profilectl.audiences.refresh
import profilectl.importing.commit
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
                    profilectl.importing.run,
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
                with pytest.warns(LeftUndone) as told:
                    report = import_files(path, ImportRequest([str(tmp_path / "a.jsonl")], "f"))
                assert f"import {number} is done, but" in str(told[0].message)
                assert "'A'" not in str(told[0].message)
            else:
                report = import_files(path, ImportRequest([str(tmp_path / "a.jsonl")], "f"))
        assert report.number == number
    assert '"23"' in "".join(exported(path))


def failing(error: Exception) -> Callable[..., None]:
    def fail(*arguments: object, **named: object) -> None:
        raise error

    return fail
