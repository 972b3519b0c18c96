"""The store: compaction changes nothing visible, segments lie in order, a failed commit leaves
nothing.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import duckdb
import pytest
from support.profile_lines import exported

import profilectl.audiences.refresh
import profilectl.importing.commit
import profilectl.importing.run
import profilectl.store.compaction
import profilectl.store.scratch
from profilectl.codes import ProfilectlError, StoreUnusable
from profilectl.importing.request import ImportRequest
from profilectl.importing.run import import_files
from profilectl.store.opening import open_store
from profilectl.store.scratch import Scratch, scratch_beside


def test_a_store_that_may_not_be_opened_is_not_called_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, real = tmp_path / "p.duckdb", Scratch.run
    with open_store(Scratch(tmp_path), path, create=True, write=True):
        pass

    def run(scratch: Scratch, sql: str, *rest: Any) -> Any:
        if sql.startswith("attach"):  # whoever runs the tests may be root, who may read everything
            raise duckdb.IOException(f'IO Error: Cannot open file "{path}": Permission denied')
        return real(scratch, sql, *rest)

    monkeypatch.setattr(Scratch, "run", run)
    with (
        pytest.raises(StoreUnusable, match="permission denied") as error,
        open_store(Scratch(tmp_path), path),
    ):
        pass
    assert "restore a backup" not in error.value.hint


def test_a_store_in_a_folder_that_cannot_be_written_can_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What spills goes where the system has room for it; an import says so before it reads a file."""
    (tmp_path / "room").mkdir()
    (tmp_path / "a.jsonl").write_text('{"customer_id":"A","x":"1"}\n')
    asked = ImportRequest([str(tmp_path / "a.jsonl")], "f")
    path = tmp_path / "store.duckdb"
    import_files(path, asked)
    before = exported(path)
    monkeypatch.setattr(
        profilectl.store.scratch.os, "access", lambda where, mode: Path(where) != tmp_path
    )
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path / "room"))
    with scratch_beside(path) as scratch, open_store(scratch, path) as store:
        assert scratch.folder.parent == tmp_path / "room"
        assert store.next_import()[0] == 2
    assert (
        import_files(path, ImportRequest(asked.paths, "other", dry_run=True)).counts.rows["applied"]
        == 1
    )
    with pytest.raises(ProfilectlError, match="cannot be written"):
        import_files(path, ImportRequest([str(tmp_path / "no such file")], "f"))
    assert list((tmp_path / "room").iterdir()) == []
    assert exported(path) == before
