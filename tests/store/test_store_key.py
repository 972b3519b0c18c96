"""A store that DuckDB encrypts is read with its key; where DuckDB cannot write one, that is said,
and nothing weaker is done.
"""

from __future__ import annotations

import json
import stat
from pathlib import Path

import duckdb
import pytest
from support.doors import call

from profilectl.codes import Exit, InputRefused, ProfilectlError, StoreUnusable
from profilectl.store.scratch import Scratch

KEY = "kH3v8JQ0x9ZpV1mT5cYw7nR2sD4fG6aL="


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store, and the same encrypted: by DuckDB's weak way, which is good enough to try reading
    on.
    """
    folder = tmp_path_factory.mktemp("made")
    (folder / "a.csv").write_text(
        "customer_id,email,tier\nA,ada@example.com,gold\nB,b@x.org,lead\n"
    )
    assert (
        call("--store", "plain.duckdb", "import", "a.csv", "--feed", "f", folder=folder).exit_code
        == 0
    )
    with duckdb.connect() as connection:
        connection.execute("set force_mbedtls_unsafe = true")
        connection.execute(f"attach '{folder / 'plain.duckdb'}' as p (read_only)")
        connection.execute(f"attach '{folder / 'profiles.duckdb'}' as e (encryption_key '{KEY}')")
        connection.execute("copy from database p to e")
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("PROFILECTL_STORE_KEY", raising=False)
    for name in ("a.csv", "plain.duckdb", "profiles.duckdb"):
        (tmp_path / name).write_bytes((made / name).read_bytes())
    for name, key in (("key", KEY), ("other", KEY[::-1]), ("short", "x"), ("open", KEY)):
        (tmp_path / name).write_text(key + "\n")
        (tmp_path / name).chmod(0o644 if name == "open" else 0o600)
    return tmp_path


def failure(*arguments: str, folder: Path) -> ProfilectlError:
    error = call(*arguments, folder=folder).exception
    assert isinstance(error, ProfilectlError), (arguments, error)
    assert KEY not in error.message + error.hint
    return error


@pytest.mark.parametrize(
    "arguments",
    [
        ("show", "A", "--json"),
        ("stats", "--json"),
        ("check", "--json"),
        ("export", "profiles"),
        ("explain", "rules", "--json"),
    ],
    ids=lambda one: one[0],
)
def test_an_encrypted_store_is_read_with_its_key(
    arguments: tuple[str, ...], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = (folder / "profiles.duckdb").read_bytes()
    assert b"ada@example.com" not in content
    done = call("--store-key", "key", *arguments, folder=folder)
    assert done.exit_code == 0, done.exception
    plain = call("--store", "plain.duckdb", *arguments, folder=folder)
    if arguments[0] != "stats":  # how large it is
        assert done.stdout == plain.stdout
    monkeypatch.setenv("PROFILECTL_STORE_KEY", "key")
    assert call(*arguments, folder=folder).stdout == done.stdout
    assert (folder / "profiles.duckdb").read_bytes() == content


@pytest.mark.parametrize(
    ("options", "kind", "says"),
    [
        ([], StoreUnusable, "profiles.duckdb is encrypted"),
        (["--store-key", "other"], StoreUnusable, "encrypted with another key"),
        (
            ["--store-key", "key", "--store", "plain.duckdb"],
            StoreUnusable,
            "plain.duckdb is not encrypted, and a key was given",
        ),
        (["--store-key", "open"], InputRefused, "open can be read by others"),
        (["--store-key", "short"], InputRefused, "short holds no key of 32 characters"),
        (["--store-key", "none"], InputRefused, "there is no file none"),
    ],
)
def test_a_key_that_does_not_fit_is_said_in_words(
    options: list[str], kind: type[ProfilectlError], says: str, folder: Path
) -> None:
    error = failure(*options, "show", "A", folder=folder)
    assert isinstance(error, kind)
    assert says in error.message
    assert error.hint


def test_the_key_of_one_command_is_not_that_of_the_next(folder: Path) -> None:
    assert call("--store-key", "key", "show", "A", folder=folder).exit_code == 0
    assert "is encrypted" in failure("show", "A", folder=folder).message


@pytest.mark.parametrize(
    "arguments",
    [("import", "a.csv", "--feed", "g"), ("feeds", "add", "g"), ("compact", "--yes"), ("forget", "--mpid", "1", "--yes"), ("imports", "undo", "1", "--yes"), ("backup", "b.duckdb"),
     ("--store", "new.duckdb", "feeds", "add", "g"), ("--store", "new.duckdb", "import", "a.csv", "--feed", "g"), ("check", "--repair")],
    ids=lambda one: " ".join(one[:3]),
)  # fmt: skip
def test_an_encrypted_store_is_not_written_nor_made_without_the_module(
    arguments: tuple[str, ...], folder: Path
) -> None:
    before = {one.name: one.read_bytes() for one in folder.iterdir()}
    error = failure("--store-key", "key", *arguments, folder=folder)
    assert isinstance(error, StoreUnusable)
    assert error.exit == Exit.UNUSABLE
    assert "httpfs" in error.message
    assert "encrypted disk" in error.hint
    assert {one.name: one.read_bytes() for one in folder.iterdir()} == before


def test_an_encrypted_store_goes_into_an_encrypted_backup_as_it_is(folder: Path) -> None:
    import pyrage

    identity = pyrage.x25519.Identity.generate()
    done = call(
        "--store-key",
        "key",
        "backup",
        "b.age",
        "--encrypt",
        "-r",
        str(identity.to_public()),
        "--json",
        folder=folder,
    )
    assert done.exit_code == 0, done.exception
    (folder / "identity").write_text(str(identity))
    (folder / "identity").chmod(0o600)
    assert (
        "encrypted"
        in failure(
            "--store", "r.duckdb", "restore", "b.age", "-i", "identity", folder=folder
        ).message
    )
    assert (
        call(
            "--store-key",
            "key",
            "--store",
            "r.duckdb",
            "restore",
            "b.age",
            "-i",
            "identity",
            folder=folder,
        ).exit_code
        == 0
    )
    assert (
        call("--store-key", "key", "--store", "r.duckdb", "show", "A", folder=folder).exit_code == 0
    )
    assert (
        pyrage.decrypt((folder / "b.age").read_bytes(), [identity])
        == (folder / "profiles.duckdb").read_bytes()
    )
    assert call("--store-key", "key", "check", "--backup", "b.age", folder=folder).exit_code == 0


def test_everything_is_written_encrypted_where_duckdb_can(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The module is not to be had here: what DuckDB writes with its own random numbers stands for
    what it writes with good ones.
    """
    confine = Scratch.confine

    def confined(self: Scratch, path: Path) -> None:
        if not self.confined:
            self.run("set force_mbedtls_unsafe = true")
        confine(self, path)

    monkeypatch.setattr(Scratch, "confine", confined)
    keyed = ("--store-key", "key", "--store", "new.duckdb")
    for arguments in (("import", "a.csv", "--feed", "f"), ("set", "tier=tin", "--customer-id", "A"), ("forget", "--customer-id", "B", "--yes"), ("compact", "--yes"),
                      ("backup", "b.duckdb"), ("check",)):  # fmt: skip
        done = call(*keyed, *arguments, folder=folder)
        assert done.exit_code == 0, (arguments, done.exception)
        for name in ("new.duckdb", "b.duckdb"):
            if (folder / name).exists():
                content = (folder / name).read_bytes()
                assert b"ada@example.com" not in content
                assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600
                assert (
                    "is encrypted" in failure("--store", name, "show", "A", folder=folder).message
                )
    done = call("--store-key", "key", "--store", "b.duckdb", "show", "A", "--json", folder=folder)
    assert json.loads(done.stdout)["profiles"][0]["user_attributes"]["tier"] == "tin"
    assert (
        call(
            "--store-key", "key", "--store", "r.duckdb", "restore", "b.duckdb", folder=folder
        ).exit_code
        == 0
    )
