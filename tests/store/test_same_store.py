"""A process that is held to one store: what else lies at its path is not written, none is made."""

from __future__ import annotations

import gzip
import io
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.doors import call
from support.places import STORES

from profilectl.codes import OtherStore, ProfilectlError, StoreGone, StoreUnusable
from profilectl.importing import run as engine
from profilectl.importing.request import ImportRequest
from profilectl.importing.run import import_files
from profilectl.store.attaching import attach
from profilectl.store.same_store import held_to
from profilectl.store.scratch import Scratch, scratch_beside
from profilectl.store.store import OpenStore


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with two stores of one person each."""
    folder = tmp_path_factory.mktemp("stores")
    for name in ("first", "second"):
        (folder / "one.jsonl").write_text(f'{{"email": "{name}@example.com", "tier": "gold"}}\n')
        assert (
            call(
                "--store",
                f"{name}.duckdb",
                "--quiet",
                "import",
                "one.jsonl",
                "--feed",
                "f",
                folder=folder,
            ).exit_code
            == 0
        )
    return folder


@pytest.fixture
def two(made: Path, tmp_path: Path) -> tuple[Path, Path]:
    """Return two stores of one person each."""
    paths = tmp_path / "first.duckdb", tmp_path / "second.duckdb"
    for path in paths:
        shutil.copy(made / path.name, path)
    return paths


def store_id(path: Path) -> str:
    with scratch_beside(path) as scratch:
        attach(scratch, path, write=False, until=0)
        return OpenStore(scratch, path).meta("store_id")


def send(path: Path, progress: Callable[[str, int], None] = lambda *_: None) -> None:
    """Import a batch as the server does."""
    batch = b'{"user_identities": {"email": "new@example.com"}, "user_attributes": {"a": "b"}}\n'
    import_files(
        path,
        ImportRequest(
            ["-"], "f", format="jsonl", stdin=io.BytesIO(batch), again=True, progress=progress
        ),
    )


def imports_in(path: Path) -> int:
    with scratch_beside(path) as scratch:
        attach(scratch, path, write=False, until=0)
        return int(scratch.row("select count(*) from store.import")[0])


def test_an_import_never_makes_the_store_that_it_is_held_to(two: tuple[Path, Path]) -> None:
    first, second = two
    right = store_id(first)
    with held_to(first, right):
        send(first)
        first.rename(first.with_name("away"))
        with pytest.raises(StoreGone):
            send(first)
        assert not first.exists()
        shutil.copy(second, first)
        with pytest.raises(OtherStore):
            send(first)
        assert imports_in(second) == 1
        first.with_name("away").replace(first)
        send(first)
    assert imports_in(first) == 3


@pytest.mark.parametrize("moment", [pytest.param("deciding", marks=pytest.mark.slow), "writing"])
def test_a_store_that_is_exchanged_while_an_import_runs_is_not_written(
    moment: str, two: tuple[Path, Path]
) -> None:
    first, second = two
    away = first.with_name("away")

    def progress(step: str, _: int) -> None:
        if step == moment and not away.exists():
            first.rename(away)
            second.rename(first)

    with held_to(first, store_id(first)), pytest.raises(OtherStore):
        send(first, progress)
    assert (imports_in(away), imports_in(first)) == (1, 1)


def test_what_is_written_to_a_file_that_went_is_not_said_to_be_done(
    two: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = two
    real = engine.write

    def write(*arguments: Any) -> None:
        real(*arguments)
        second.replace(first)

    with held_to(first, store_id(first)):
        monkeypatch.setattr(engine, "write", write)
        with pytest.raises(OtherStore):
            send(first)
    assert imports_in(first) == 1


@pytest.mark.parametrize("how", [pytest.param("moved", marks=pytest.mark.slow), "removed"])
def test_a_store_that_goes_as_it_is_opened_for_writing_leaves_no_new_one(
    how: str, two: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = two
    real = Scratch.run

    def run(self: Scratch, statement: str, *arguments: Any, **named: Any) -> None:
        if statement.startswith("attach") and statement.endswith("as store") and first.exists():
            first.unlink() if how == "removed" else first.rename(first.with_name("away"))
        real(self, statement, *arguments, **named)

    right = store_id(first)
    with held_to(first, right), scratch_beside(first) as scratch:
        monkeypatch.setattr(Scratch, "run", run)
        with pytest.raises(StoreGone):
            attach(scratch, first, write=True, until=0)
        assert not first.exists()


# what lies at the path
WRONG: dict[str, tuple[Callable[[Path], Any], type[ProfilectlError]]] = {
    "nothing": (lambda _: None, StoreGone),
    "garbage": (lambda path: path.write_bytes(b"garbage" * 50_000), StoreUnusable),
    "an empty file": (lambda path: path.touch(), StoreUnusable),
    "a folder": (lambda path: path.mkdir(), StoreUnusable),
    "a link to the right one": (
        lambda path: path.symlink_to(path.with_name("away")),
        StoreUnusable,
    ),
    "half of the right one": (
        lambda path: path.write_bytes(half(path.with_name("away"))),
        StoreUnusable,
    ),
    "one of an older version": (lambda path: path.write_bytes(older()), OtherStore),
    "another": (lambda path: shutil.copy(path.with_name("second.duckdb"), path), OtherStore),
}


def older() -> bytes:
    with gzip.open(STORES / "schema-6.duckdb.gz") as content:
        return content.read()


def half(path: Path) -> bytes:
    content = path.read_bytes()
    return content[: len(content) * 2 // 3]


QUICK = ("nothing", "half of the right one", "another", "one of an older version")


@pytest.mark.parametrize(
    "what",
    [what if what in QUICK else pytest.param(what, marks=pytest.mark.slow) for what in WRONG],
)
def test_what_is_not_the_right_store_is_left_as_it_is(what: str, two: tuple[Path, Path]) -> None:
    first, _ = two
    right = store_id(first)
    first.rename(first.with_name("away"))
    make, error = WRONG[what]
    make(first)
    before = first.read_bytes() if first.is_file() else first.exists()
    with held_to(first, right):
        with pytest.raises(error):
            send(first)
        assert (first.read_bytes() if first.is_file() else first.exists()) == before
    assert not list(first.parent.glob("*.backup"))


def test_a_backup_put_in_place_is_the_same_store(two: tuple[Path, Path]) -> None:
    first, _ = two
    backup = first.with_name("backup")
    assert call("--store", first.name, "backup", "backup", folder=first.parent).exit_code == 0
    with held_to(first, store_id(first)):
        backup.replace(first)
        send(first)
    assert imports_in(first) == 2
