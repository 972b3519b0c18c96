"""A backup is sealed by the store it is of, encrypted where that is asked for, and put back whole
or not at all.
"""

from __future__ import annotations

import gzip
import json
import os
import stat
import subprocess
import sys
import warnings
from pathlib import Path

import duckdb
import pyrage
import pytest
from support.doors import call
from support.places import STORES

from profilectl.codes import Exit, InputRefused, ProfilectlError, StoreUnusable, UsageError

ROWS = "customer_id,email,tier\nA,ada@example.com,gold\nB,b@x.org,lead\n"


@pytest.fixture(scope="module")
def pair() -> tuple[str, str]:
    """An identity, and its recipient."""
    identity = pyrage.x25519.Identity.generate()
    return str(identity), str(identity.to_public())


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, pair: tuple[str, str]) -> Path:
    folder = tmp_path_factory.mktemp("made")
    (folder / "a.csv").write_text(ROWS)
    (folder / "key").write_text(f"# of nobody\n{pair[0]}\n")
    (folder / "other").write_text(str(pyrage.x25519.Identity.generate()))
    (folder / "word").write_text("correct horse\n")
    for name in ("key", "other", "word"):
        (folder / name).chmod(0o600)
    assert call("import", "a.csv", "--feed", "f", folder=folder).exit_code == 0
    assert call("backup", "b.duckdb", folder=folder).exit_code == 0
    assert (
        call("backup", "b.age", "--encrypt", "--recipient", pair[1], folder=folder).exit_code == 0
    )
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    for one in made.iterdir():
        (tmp_path / one.name).write_bytes(one.read_bytes())
        (tmp_path / one.name).chmod(0o600)
    return tmp_path


def failure(*arguments: str, folder: Path) -> ProfilectlError:
    error = call(*arguments, folder=folder).exception
    assert isinstance(error, ProfilectlError), (arguments, error)
    return error


def shown(folder: Path, store: str) -> object:
    done = call("--store", store, "show", "A", "--json", folder=folder)
    assert done.exit_code == 0, done.exception
    return json.loads(done.stdout)["profiles"]


def changed(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(bytes(content))


# The seal


@pytest.mark.parametrize("name", ["b.duckdb", "b.age"])
def test_the_store_says_whether_a_backup_was_changed_after_it_was_made(
    name: str, folder: Path
) -> None:
    done = call("check", "--backup", name, "--json", folder=folder)
    assert (done.exit_code, json.loads(done.stdout)) == (0, {"sound": True, "breaches": []})
    assert "is as it was made on 20" in call("check", "--backup", name, folder=folder).stderr
    changed(folder / name, (folder / name).stat().st_size - 100)
    done = call("check", "--backup", name, folder=folder)
    assert done.exit_code == Exit.UNUSABLE
    assert f"{name} or its seal was changed after it was made" in done.stdout


def test_a_seal_cannot_be_made_for_another_time_or_file(folder: Path) -> None:
    seal = json.loads((folder / "b.age.seal").read_text())
    for name, value in (("made_ms", seal["made_ms"] + 1), ("bytes", 1), ("seal", "0" * 64)):
        (folder / "x.seal").write_text(json.dumps({**seal, name: value}))
        assert (
            call("check", "--backup", "b.age", "--seal", "x.seal", folder=folder).exit_code
            == Exit.UNUSABLE
        )
    (folder / "x.seal").write_bytes((folder / "b.duckdb.seal").read_bytes())
    assert (
        call("check", "--backup", "b.age", "--seal", "x.seal", folder=folder).exit_code
        == Exit.UNUSABLE
    )
    assert call("check", "--backup", "b.duckdb", "--seal", "x.seal", folder=folder).exit_code == 0


def test_another_store_cannot_vouch_and_a_seal_that_is_none_is_named(folder: Path) -> None:
    assert call("--store", "s.duckdb", "feeds", "add", "g", folder=folder).exit_code == 0
    assert (
        "was made from another store"
        in failure("--store", "s.duckdb", "check", "--backup", "b.age", folder=folder).message
    )
    for text in (
        "",
        "{}",
        "[" * 10_000,
        '{"profilectl_seal": 1, "store_id": 1, "made_ms": 1, "bytes": 1, "seal": ""}',
    ):
        (folder / "x.seal").write_text(text)
        assert (
            "x.seal is no seal of a backup"
            in failure("check", "--backup", "b.age", "--seal", "x.seal", folder=folder).message
        )
    (folder / "b.age.seal").unlink()
    assert isinstance(failure("check", "--backup", "b.age", folder=folder), InputRefused)
    assert isinstance(failure("check", "--seal", "x.seal", folder=folder), UsageError)
    assert isinstance(failure("check", "--backup", "b.age", "--repair", folder=folder), UsageError)


# Encryption


def test_an_encrypted_backup_holds_nothing_in_the_clear_and_age_opens_it(
    folder: Path, pair: tuple[str, str]
) -> None:
    content = (folder / "b.age").read_bytes()
    assert b"ada@example.com" in (folder / "b.duckdb").read_bytes()
    assert b"ada@example.com" not in content
    assert b"DUCK" not in content[:4096]
    assert (
        stat.S_IMODE((folder / "b.age").stat().st_mode)
        == stat.S_IMODE((folder / "b.age.seal").stat().st_mode)
        == 0o600
    )
    assert pyrage.decrypt(content, [pyrage.x25519.Identity.from_str(pair[0])])[8:12] == b"DUCK"


def test_an_encrypted_backup_is_put_back(folder: Path) -> None:
    done = call(
        "--store",
        "r.duckdb",
        "restore",
        "b.age",
        "--identity",
        "other",
        "--identity",
        "key",
        "--json",
        folder=folder,
    )
    assert done.exit_code == 0, done.exception
    assert json.loads(done.stdout)["encrypted"] is True
    assert stat.S_IMODE((folder / "r.duckdb").stat().st_mode) == 0o600
    assert shown(folder, "r.duckdb") == shown(folder, "profiles.duckdb")
    assert call("--store", "r.duckdb", "check", folder=folder).exit_code == 0


@pytest.mark.slow
def test_a_backup_for_several_recipients_is_opened_by_each(
    folder: Path, pair: tuple[str, str]
) -> None:
    other = pyrage.x25519.Identity.from_str((folder / "other").read_text())
    (folder / "team").write_text(f"# who may\n{other.to_public()}\n\n")
    done = call(
        "backup", "t.age", "--encrypt", "-r", pair[1], "--recipients-file", "team", folder=folder
    )
    assert done.exit_code == 0, done.exception
    for name in ("key", "other"):
        assert (
            call(
                "--store", f"{name}.duckdb", "restore", "t.age", "-i", name, folder=folder
            ).exit_code
            == 0
        )


@pytest.mark.slow
def test_a_backup_with_a_passphrase_is_put_back_with_it_alone(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (
        call("backup", "p.age", "--encrypt", "--passphrase-file", "word", folder=folder).exit_code
        == 0
    )
    assert b"ada@example.com" not in (folder / "p.age").read_bytes()
    assert (
        "there is no passphrase"
        in failure("--store", "r.duckdb", "restore", "p.age", folder=folder).message
    )
    monkeypatch.setenv("PROFILECTL_PASSPHRASE", "wrong horse")
    error = failure("--store", "r.duckdb", "restore", "p.age", folder=folder)
    assert (error.exit, "another passphrase" in error.message) == (Exit.REFUSED, True)
    assert "horse" not in error.message
    monkeypatch.setenv("PROFILECTL_PASSPHRASE", "correct horse")
    done = call("--store", "r.duckdb", "restore", "p.age", folder=folder)
    assert done.exit_code == 0, done.exception
    assert shown(folder, "r.duckdb") == shown(folder, "profiles.duckdb")


@pytest.mark.slow
def test_the_two_parts_of_a_backup_with_a_passphrase_are_plain_age(folder: Path) -> None:
    assert (
        call("backup", "p.age", "--encrypt", "--passphrase-file", "word", folder=folder).exit_code
        == 0
    )
    head, _, tail = (folder / "p.age").read_bytes().partition(b"-----END AGE ENCRYPTED FILE-----\n")
    identity = pyrage.passphrase.decrypt(
        head + b"-----END AGE ENCRYPTED FILE-----\n", "correct horse"
    ).decode()
    assert pyrage.decrypt(tail, [pyrage.x25519.Identity.from_str(identity)])[8:12] == b"DUCK"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--encrypt", "-r", "age1x"], "'age1x' is no recipient"),
        (["--encrypt", "-r", "ssh-ed25519 x"], "is no recipient"),
        (["--encrypt", "--recipients-file", "none"], "none cannot be read"),
        (["--encrypt", "--recipients-file", "empty"], "empty names no recipient"),
        (["--encrypt", "--passphrase-file", "empty"], "empty is empty"),
        (["--encrypt", "--passphrase-file", "open"], "open can be read by others"),
        (["--encrypt"], "there is no passphrase"),
        (["-r", "age1x"], "--recipient goes with --encrypt"),
        (["--passphrase-file", "word"], "--passphrase-file goes with --encrypt"),
    ],
)
def test_a_key_that_is_none_is_refused_and_nothing_is_written(
    arguments: list[str], says: str, folder: Path
) -> None:
    (folder / "empty").touch(0o600)
    (folder / "open").write_text("x")
    (folder / "open").chmod(0o644)
    before = sorted(folder.iterdir())
    assert says in failure("backup", "x.age", *arguments, folder=folder).message
    assert sorted(folder.iterdir()) == before


def test_the_secret_half_given_for_a_recipient_is_not_shown(
    folder: Path, pair: tuple[str, str]
) -> None:
    error = failure("backup", "x.age", "--encrypt", "-r", pair[0], folder=folder)
    assert pair[0][16:] not in error.message
    assert "secret half" in error.message


@pytest.mark.slow
def test_a_log_that_a_kill_left_is_in_the_encrypted_backup(folder: Path) -> None:
    killed = (
        "import duckdb, os; c = duckdb.connect('profiles.duckdb'); c.execute(\"insert into"
        " setting values ('limits.attribute_name', '77')\"); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", killed], cwd=folder, check=True)
    assert (folder / "profiles.duckdb.wal").stat().st_size
    (folder / "team").write_text(
        str(pyrage.x25519.Identity.from_str((folder / "other").read_text()).to_public())
    )
    assert (
        call("backup", "w.age", "--encrypt", "--recipients-file", "team", folder=folder).exit_code
        == 0
    )
    assert (
        call("--store", "r.duckdb", "restore", "w.age", "-i", "other", folder=folder).exit_code == 0
    )
    with duckdb.connect(str(folder / "r.duckdb"), read_only=True) as store:
        assert store.execute(
            "select value from setting where name = 'limits.attribute_name'"
        ).fetchall() == [("77",)]


def test_no_library_is_said_in_words(
    folder: Path, monkeypatch: pytest.MonkeyPatch, pair: tuple[str, str]
) -> None:
    monkeypatch.setitem(sys.modules, "pyrage", None)
    error = failure("backup", "x.age", "--encrypt", "-r", pair[1], folder=folder)
    assert (error.exit, "profilectl[encryption]" in error.hint) == (Exit.USAGE, True)


# Restoring


def test_a_plain_backup_is_put_back_and_an_older_one_is_upgraded_later(folder: Path) -> None:
    assert call("--store", "r.duckdb", "restore", "b.duckdb", folder=folder).exit_code == 0
    assert shown(folder, "r.duckdb") == shown(folder, "profiles.duckdb")
    (folder / "old").write_bytes(gzip.decompress((STORES / "schema-4.duckdb.gz").read_bytes()))
    done = call("--store", "o.duckdb", "restore", "old", "--json", folder=folder)
    assert json.loads(done.stdout)["schema_version"] == 4
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says that it upgrades
        assert call("--store", "o.duckdb", "check", folder=folder).exit_code == 0


def test_a_store_that_is_there_is_replaced_with_force_alone(folder: Path) -> None:
    before = (folder / "profiles.duckdb").read_bytes()
    assert (
        "there is a store at profiles.duckdb"
        in failure("restore", "b.duckdb", folder=folder).message
    )
    assert (folder / "profiles.duckdb").read_bytes() == before
    assert call("feeds", "add", "later", folder=folder).exit_code == 0
    assert (
        call(*["restore", "b.age", "-i", "key", "--force", "--yes"], folder=folder).exit_code == 0
    )
    assert "later" not in call("feeds", "list", folder=folder).stdout


@pytest.mark.slow
def test_a_log_that_is_left_is_not_read_into_the_restored_store(folder: Path) -> None:
    killed = (
        "import duckdb, os; c = duckdb.connect('profiles.duckdb'); c.execute(\"insert into"
        " setting values ('limits.attribute_name', '77')\"); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", killed], cwd=folder, check=True)
    (folder / "profiles.duckdb").unlink()
    assert (
        "the log of a store that is gone" in failure("restore", "b.duckdb", folder=folder).message
    )
    assert call(*["restore", "b.duckdb", "--force", "--yes"], folder=folder).exit_code == 0
    assert not (folder / "profiles.duckdb.wal").exists()
    assert "77" not in call("config", "export", folder=folder).stdout


def test_a_damaged_store_is_replaced_and_one_in_use_is_not(folder: Path) -> None:
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            (
                "import duckdb, sys; c = duckdb.connect('profiles.duckdb', read_only=True);"
                " print(1, flush=True); sys.stdin.read()"
            ),
        ],
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holder.stdout is not None
    assert holder.stdin is not None
    holder.stdout.readline()
    try:
        assert (
            failure(*["restore", "b.duckdb", "--force", "--yes"], folder=folder).exit == Exit.BUSY
        )
    finally:
        holder.stdin.close()
        holder.wait()
        holder.stdout.close()
    (folder / "profiles.duckdb").write_bytes(b"x" * 100_000)
    assert call(*["restore", "b.duckdb", "--force", "--yes"], folder=folder).exit_code == 0
    assert call("check", folder=folder).exit_code == 0


DAMAGE = {
    "wrong identity": (
        "b.age",
        ["-i", "other"],
        None,
        InputRefused,
        "not encrypted for the identity",
    ),
    "no identity": ("b.age", [], None, UsageError, "--identity"),
    "no such identity": ("b.age", ["-i", "none"], None, InputRefused, "there is no file none"),
    "identity that others can read": (
        "b.age",
        ["-i", "open"],
        None,
        InputRefused,
        "can be read by others",
    ),
    "identity that is none": ("b.age", ["-i", "word"], None, InputRefused, "holds no identity"),
    "cut off": (
        "b.age",
        ["-i", "key"],
        lambda content: content[:-5000],
        StoreUnusable,
        "b.age is damaged",
    ),
    "cut off at a chunk": (
        "b.age",
        ["-i", "key"],
        lambda content: content[: 200 + 4 * 65552],
        StoreUnusable,
        "b.age is damaged",
    ),
    "cut off in its head": (
        "b.age",
        ["-i", "key"],
        lambda content: content[:60],
        StoreUnusable,
        "b.age is damaged",
    ),
    "changed": (
        "b.age",
        ["-i", "key"],
        lambda content: content[:9000] + bytes([content[9000] ^ 1]) + content[9001:],
        StoreUnusable,
        "b.age is damaged",
    ),
    "longer": (
        "b.age",
        ["-i", "key"],
        lambda content: content + b"x",
        StoreUnusable,
        "b.age is damaged",
    ),
    "neither": (
        "b.age",
        ["-i", "key"],
        lambda content: b"x" * 100,
        StoreUnusable,
        "b.age is neither a store nor an encrypted one",
    ),
    "empty": ("b.age", ["-i", "key"], lambda content: b"", StoreUnusable, "b.age is neither"),
    "cut off store": (
        "b.duckdb",
        [],
        lambda content: content[: len(content) // 2],
        StoreUnusable,
        "b.duckdb",
    ),
    "overwritten store": (
        "b.duckdb",
        [],
        lambda content: content[:20_000] + os.urandom(len(content) - 20_000),
        StoreUnusable,
        "b.duckdb",
    ),
    "gone": ("none.age", [], None, InputRefused, "none.age cannot be read"),
    "folder": (".", [], None, InputRefused, "cannot be read"),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_what_cannot_be_restored_is_said_in_words_and_leaves_nothing(
    what: str, folder: Path
) -> None:
    name, options, damage, kind, says = DAMAGE[what]
    if damage:
        (folder / name).write_bytes(damage((folder / name).read_bytes()))
    (folder / "open").write_text("x")
    (folder / "open").chmod(0o644)
    before = sorted(folder.iterdir())
    error = failure("--store", "r.duckdb", "restore", name, *options, folder=folder)
    assert isinstance(error, kind), error
    assert says in error.message + error.hint, error.message
    assert sorted(folder.iterdir()) == before


def test_a_foreign_backup_or_another_database_is_not_restored(
    folder: Path, pair: tuple[str, str]
) -> None:
    with duckdb.connect(str(folder / "b.duckdb")) as store:
        store.execute("create view v as select content from read_text('/etc/hostname')")
    assert (
        'b.duckdb is not trusted: it holds the view "v"'
        in failure("--store", "r.duckdb", "restore", "b.duckdb", folder=folder).message
    )
    recipient = pyrage.x25519.Recipient.from_str(pair[1])
    for content, says in (
        ((folder / "b.duckdb").read_bytes(), 'the view "v"'),
        (b"hello", "is no store"),
    ):
        (folder / "x.age").write_bytes(pyrage.encrypt(content, [recipient]))
        assert (
            says
            in failure(
                "--store", "r.duckdb", "restore", "x.age", "-i", "key", folder=folder
            ).message
        )
    assert not (folder / "r.duckdb").exists()
    assert isinstance(
        failure(
            "--store",
            "b.age",
            *["restore", "b.age", "--force", "-i", "key", "--yes"],
            folder=folder,
        ),
        UsageError,
    )


def test_a_backup_whose_store_is_not_sound_is_not_restored(folder: Path) -> None:
    with duckdb.connect(str(folder / "b.duckdb")) as store:
        store.execute("update segment set rows = rows + 1")
    error = failure("--store", "r.duckdb", "restore", "b.duckdb", folder=folder)
    assert "b.duckdb is not sound: rows: row_1 has" in error.message


@pytest.mark.slow
def test_an_encrypted_backup_takes_no_more_memory_than_a_part_of_it(folder: Path) -> None:
    with duckdb.connect(str(folder / "profiles.duckdb")) as store:
        store.execute(
            "insert into reject select 1, 'a.csv', i, 'X', 'x', md5(i::varchar) || md5((i"
            " + 1)::varchar) || md5((i + 2)::varchar) from range(3000000) as t(i)"
        )
    size = (folder / "profiles.duckdb").stat().st_size
    assert size > 100_000_000
    script = (
        "import io, resource, sys; from profilectl.files.encryption import Keys, decrypt,"
        " encrypt; sys.argv\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "import pyrage; own = pyrage.x25519.Identity.generate()\n"
        "open('k', 'w').write(str(own)); __import__('os').chmod('k', 0o600)\n"
        "with open('profiles.duckdb', 'rb') as content, open('x.age', 'wb') as out:"
        " encrypt(content, out, Keys([str(own.to_public())]))\n"
        "from pathlib import Path\n"
        "with open('x.age', 'rb') as content, open('y', 'wb') as out: decrypt(content,"
        " out, Keys((), [Path('k')]), 'x.age')\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=folder, check=True, capture_output=True, text=True
    )
    assert int(done.stdout) * 1024 < 30_000_000
    assert (folder / "y").read_bytes() == (folder / "profiles.duckdb").read_bytes()


def test_a_restore_says_who_was_erased_since_and_is_back(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(
        "customer_id,email\nann-1000,ann@example.com\nben-1000,ben@example.com\n"
    )
    for command in ("import a.csv --feed crm", "backup b.duckdb"):
        assert call(*command.split(), folder=tmp_path).exit_code == 0
    nobody = call(*["restore", "b.duckdb", "--force", "--yes"], "--json", folder=tmp_path)
    assert json.loads(nobody.stdout)["erased_since"] == 0
    assert call("forget", "--customer-id", "ann-1000", "--yes", folder=tmp_path).exit_code == 0
    back = call(*["restore", "b.duckdb", "--force", "--yes"], folder=tmp_path)
    assert (
        "1 person was erased after the backup was made, and in the store again: give"
        " profilectl forget again"
    ) in back.stderr.replace("\n", " ")
    assert call("forget", "--customer-id", "ann-1000", "--yes", folder=tmp_path).exit_code == 0
    assert (
        json.loads(
            call(*["restore", "b.duckdb", "--force", "--yes"], "--json", folder=tmp_path).stdout
        )["erased_since"]
        == 1
    )
