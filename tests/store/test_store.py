"""The store: compaction changes nothing visible, segments lie in order, a failed commit leaves
nothing.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest
from support.doors import run

import profilectl.audiences.refresh
import profilectl.importing.commit
import profilectl.importing.run
import profilectl.store.compaction
import profilectl.store.scratch
from profilectl.codes import ProfilectlError, StoreUnusable
from profilectl.importing.request import ImportRequest
from profilectl.importing.run import import_files
from profilectl.profiles.read_model import profiles_of
from profilectl.store.opening import LeftUndone, open_store
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


def exported(path: Path) -> list[str]:
    scratch = Scratch(path.parent)
    with open_store(scratch, path) as store:
        select = profiles_of(store).json_lines("", provenance=True)
        lines = [line for (line,) in scratch.rows(f"select line from ({select}) order by profile")]
    scratch.close()
    return lines


def sixteen_imports(path: Path, folder: Path) -> None:
    """Import sixteen small files whose customers, attributes and identities overlap and move."""
    chance = random.Random(3)
    scratch = Scratch(folder)
    with open_store(scratch, path, create=True, write=True) as store, store.transaction():
        store.put_settings({"identity.strategy": "link"})
        scratch.run("update store.meta set value = 'fixed' where name = 'secret'")
    scratch.close()
    for number in range(16):
        file = folder / f"{number}.jsonl"
        rows = []
        for _ in range(12):
            key = f"k{chance.randrange(6)}"
            rows.append(
                {
                    "user_identities": {
                        "customer_id": f"C{chance.randrange(9)}",
                        "email": f"e{chance.randrange(9)}@example.com",
                    },
                    "user_attributes": {key: str(chance.randrange(50))},
                    "deleted_user_attributes": [f"k{chance.randrange(6)}"]
                    if chance.random() < 0.2
                    else [],
                }
            )
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        import_files(path, ImportRequest([str(file)], "f", now_ms=1_790_000_000_000 + number))


@pytest.mark.slow
def test_compaction_changes_nothing_that_can_be_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    sixteen_imports(tmp_path / "a" / "store.duckdb", tmp_path / "a")
    monkeypatch.setattr(profilectl.store.compaction, "MANY_SEGMENTS", 1000)
    sixteen_imports(tmp_path / "b" / "store.duckdb", tmp_path / "b")
    with (
        duckdb.connect(tmp_path / "a" / "store.duckdb") as compacted,
        duckdb.connect(tmp_path / "b" / "store.duckdb") as loose,
    ):
        segments = "select count(*) from segment"
        assert (
            compacted.execute(segments).fetchall()[0][0]
            <= 12
            < loose.execute(segments).fetchall()[0][0]
        )
    ours, theirs = (
        exported(tmp_path / "a" / "store.duckdb"),
        exported(tmp_path / "b" / "store.duckdb"),
    )
    assert [line.replace(str(tmp_path / "a"), "") for line in ours] == [
        line.replace(str(tmp_path / "b"), "") for line in theirs
    ]


def test_segments_lie_in_order(tmp_path: Path) -> None:
    sixteen_imports(tmp_path / "store.duckdb", tmp_path)
    with duckdb.connect(tmp_path / "store.duckdb") as connection:
        for (number,) in connection.execute("select number from segment").fetchall():
            for table, column in ((f"row_{number}", "profile"), (f"index_{number}", "hash")):
                disorder = (
                    f"select count(*) from (select {column} as one, lag({column}) over (order by rowid) as before"
                    f" from {table}) where before > one"
                )
                assert connection.execute(disorder).fetchall()[0][0] == 0


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


def test_what_was_refused_is_laid_together_again_and_again(tmp_path: Path) -> None:
    def bring(name: str, text: str, *more: str) -> None:
        (tmp_path / name).write_text(text)
        assert run("import", name, *more, folder=tmp_path).returncode == 0

    (tmp_path / "c.toml").write_text("[history]\nkeep = 1\n")
    run("config", "apply", "c.toml", folder=tmp_path)
    bring("a.csv", "customer_id,tier,colour\nA,gold,red\n", "--feed", "crm")
    bring("b.csv", "customer_id,tier\nA,silver\n", "--feed", "app", "--source", "sdk")
    for number in range(4):
        bring(f"z{number}.csv", f"customer_id,z{number}\nA,1\n", "--feed", "crm")
        assert run("compact", folder=tmp_path).returncode == 0
        assert run("check", folder=tmp_path).returncode == 0
    told = run("explain", "A", "--attribute", "tier", folder=tmp_path).stdout
    assert "not silver, from app" in told
    assert run("diff", "0", "6", folder=tmp_path).returncode == 0


@pytest.mark.slow
def test_imports_go_on_where_something_was_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("customer_id,tier,colour\nA,gold,red\n")
    (tmp_path / "b.csv").write_text("customer_id,tier\nA,silver\n")
    assert run("import", "a.csv", "--feed", "crm", folder=tmp_path).returncode == 0
    assert (
        run("import", "b.csv", "--feed", "app", "--source", "sdk", folder=tmp_path).returncode == 0
    )
    for number in range(24):
        (tmp_path / "s.csv").write_text(f"customer_id,seq\nA,{number}\n")
        done = run("import", "s.csv", "--feed", "crm", folder=tmp_path)
        assert done.returncode == 0, (number, done.stderr)
    assert (
        "not silver, from app" in run("explain", "A", "--attribute", "tier", folder=tmp_path).stdout
    )


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
    monkeypatch.setattr(
        profilectl.store.scratch.tempfile, "gettempdir", lambda: str(tmp_path / "room")
    )
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
