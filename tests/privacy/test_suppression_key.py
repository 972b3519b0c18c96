"""Who was erased is kept out by hashes that the store alone does not tell the meaning of: their key
is a file of its own.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import shutil
import stat
from pathlib import Path

import duckdb
import pytest
from support.doors import call, made_once, run_here

from profilectl.codes import ProfilectlError
from profilectl.importing.request import ImportRequest
from profilectl.importing.run import import_files
from profilectl.rules.identity import CODE

KEY = "profiles.duckdb.suppression-key"
ANNA = {
    "customer_id": "ANNA-100001",
    "email": "anna@example.org",
    "mobile_number": "+4915155512345",
}
ID = "a7551968-d5d6-44b2-9831-815ac9017798"


def tried(folder: Path, *arguments: str) -> tuple[int, str]:
    found = call(*arguments, folder=folder)
    if isinstance(found.exception, ProfilectlError):
        return int(found.exception.exit), f"{found.exception.message}\n{found.exception.hint}"
    return found.exit_code, found.output


def done(folder: Path, *arguments: str, ok: tuple[int, ...] = (0,)) -> str:
    found = call(*arguments, folder=folder)
    assert found.exit_code in ok, (
        arguments,
        found.output,
        found.exception,
        getattr(found.exception, "hint", ""),
    )
    return found.stdout


def table(path: Path, select: str) -> list[tuple[object, ...]]:
    with duckdb.connect(str(path), read_only=True) as store:
        return store.execute(select).fetchall()


def asked(folder: Path, kind: str, name: str = ID) -> None:
    (folder / f"{kind}.json").write_text(
        json.dumps(
            {
                "regulation": "gdpr",
                "subject_request_id": name,
                "subject_request_type": kind,
                "submitted_time": "2026-11-20T15:00:00Z",
                "api_version": "3.0",
                "subject_identities": {
                    "controller_customer_id": {"value": ANNA["customer_id"], "encoding": "raw"}
                },
                "extensions": {"opendsr.mparticle.com": {"skip_waiting_period": True}},
            }
        )
    )
    done(folder, "privacy", "request", f"{kind}.json")


def _two(folder: Path) -> None:
    rows = [ANNA, {"customer_id": "BEN-100002", "email": "ben@example.org"}]
    (folder / "a.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
    (folder / "anna.jsonl").write_text(
        "".join(json.dumps({kind: value}) + "\n" for kind, value in ANNA.items())
    )
    done(folder, "import", "a.jsonl", "--feed", "crm")
    (folder / "b.csv").write_text("customer_id,n\nBEN-100002,1\n")
    done(folder, "import", "b.csv", "--feed", "crm")


def _erased(folder: Path) -> None:
    _two(folder)
    done(folder, "forget", "--customer-id", ANNA["customer_id"], "--yes")


_with_two, _with_one_erased = made_once(_two), made_once(_erased)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return _with_one_erased(tmp_path)


def guessed(path: Path) -> set[object]:
    """Return the numbers of the store that whoever holds the store alone can make of what they
    guess of somebody.
    """
    ((secret,),) = table(path, "select value from meta where name = 'secret'")
    return {
        int.from_bytes(hashlib.md5(text.encode()).digest(), order)
        for kind, value in ANNA.items()
        for environment in ("production", "development", "")
        for text in (
            f"{secret}{CODE[kind]}{environment[:1]}{value}",  # as of schema 9
            f"{secret}:{CODE[kind]}:{environment}:{value}",  # as before
        )
        for order in ("little", "big")
    }


def test_whoever_holds_the_store_alone_cannot_guess_who_was_erased(tmp_path: Path) -> None:
    _with_two(tmp_path)
    asked(tmp_path, "erasure")
    done(tmp_path, "privacy", "run", "--yes")
    store = tmp_path / "profiles.duckdb"
    guesses = guessed(store)
    texts = {f"{one:032x}" for one in guesses} | {
        hashlib.sha256(f"{one:032x}".encode()).hexdigest() for one in guesses
    }
    sealed = {
        hashlib.sha256(" ".join(sorted(some)).encode()).hexdigest()
        for count in (1, 2, 3)
        for some in itertools.combinations(sorted(texts), count)
    }
    for (name,) in table(store, "select table_name from duckdb_tables()"):
        for row in table(store, f'select * from "{name}"'):
            held = {cell for cell in row if isinstance(cell, int)}
            assert held & guesses == set(), name
            assert {str(cell) for cell in row} & (texts | sealed) == set(), name
    content = store.read_bytes()
    halves = {
        part for one in guesses for part in (one.to_bytes(16, "little"), one.to_bytes(16, "big"))
    }  # type: ignore[attr-defined]
    assert [one for one in halves if one in content] == []
    assert table(store, "select count(*) from suppressed") != [(0,)]


def test_the_key_is_for_its_owner_only_and_is_made_with_the_first_erasure(tmp_path: Path) -> None:
    _with_two(tmp_path)
    assert not (tmp_path / KEY).exists()
    done(tmp_path, "forget", "--email", ANNA["email"], "--dry-run")
    assert not (tmp_path / KEY).exists()
    said = run_here("forget", "--email", ANNA["email"], "--yes", folder=tmp_path)
    assert KEY in said.stderr
    assert stat.S_IMODE((tmp_path / KEY).stat().st_mode) == 0o600
    key = (tmp_path / KEY).read_text()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    done(tmp_path, "forget", "--email", "ben@example.org", "--yes")
    assert (tmp_path / KEY).read_text() == key
    assert key.strip().encode() not in (tmp_path / "profiles.duckdb").read_bytes()
    report = json.loads(done(tmp_path, "import", "a.jsonl", "--feed", "crm", "--again", "--json"))
    assert report["reasons"] == {"SUPPRESSED": 2}


def test_the_key_is_never_readable_by_others_not_even_under_umask_0(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _with_two(tmp_path)
    seen: list[int] = []
    opened = os.open

    def watched(path: object, flags: int, mode: int = 0o777, **more: int) -> int:
        found = opened(path, flags, mode, **more)  # type: ignore[call-overload]
        if "suppression-key" in str(path) and flags & os.O_CREAT:
            seen.append(stat.S_IMODE(os.fstat(found).st_mode))
            assert flags & os.O_EXCL
        return int(found)

    monkeypatch.setattr(os, "open", watched)
    before = os.umask(0)
    try:
        done(tmp_path, "forget", "--email", ANNA["email"], "--yes")
    finally:
        os.umask(before)
    assert seen == [0o600]


WRITING = {
    "import": ("import", "anna.jsonl", "--feed", "crm"),
    "dry run": ("import", "anna.jsonl", "--feed", "crm", "--dry-run"),
    "plan": ("plan", "anna.jsonl", "--feed", "crm", "-o", "a.plan"),
    "set": ("set", "--customer-id", "BEN-100002", "tier=gold"),
    "modify": ("modify", "--customer-id", "BEN-100002", "--add", "email=anna@example.org"),
    "made again": ("imports", "undo", "1", "--replay", "--yes"),
    "forget": ("forget", "--customer-id", "BEN-100002", "--yes"),
    "forget dry": ("forget", "--customer-id", "BEN-100002", "--dry-run"),
    "let in": ("forget", "--email", "anna@example.org", "--allow-return", "--yes"),
}


def without_key(folder: Path) -> None:
    (folder / KEY).rename(folder / "away")


def of_another(folder: Path) -> None:
    (folder / KEY).write_text("ab" * 32 + "\n")


def for_everybody(folder: Path) -> None:
    (folder / KEY).chmod(0o644)


def torn(folder: Path) -> None:
    (folder / KEY).write_text("abc")


def a_link(folder: Path) -> None:
    (folder / KEY).rename(folder / "away")
    (folder / KEY).symlink_to(folder / "away")


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (without_key, "is not there"),
        (of_another, "is the key of another store"),
        *(
            pytest.param(*one, marks=pytest.mark.slow)
            for one in ((for_everybody, "chmod 600"), (torn, "no key"), (a_link, "symbolic link"))
        ),
    ],
)
def test_without_its_key_nobody_is_let_in_and_reading_goes_on(
    harm: object, said: str, folder: Path
) -> None:
    harm(folder)  # type: ignore[operator]
    commands = WRITING if harm is without_key else {"import": WRITING["import"]}
    before = table(folder / "profiles.duckdb", "select count(*) from import")
    for name, arguments in commands.items():
        status, told = tried(folder, *arguments)
        assert status == 6, (name, status, told)
        assert said in told, (name, told)
        assert "suppression-key" in told, (name, told)
    assert table(folder / "profiles.duckdb", "select count(*) from import") == before
    for arguments in (
        ("show", "--customer-id", "BEN-100002"),
        ("stats",),
        ("check",),
        ("imports", "list"),
        ("export", "profiles"),
        ("backup", "b.duckdb"),
        ("compact", "--yes"),
        ("search", "ben"),
    ):
        done(folder, *arguments)
    assert tried(folder, "access", "--email", ANNA["email"])[0] == 7


def test_an_import_is_refused_before_its_files_are_read(folder: Path) -> None:
    without_key(folder)
    read: list[str] = []
    with pytest.raises(ProfilectlError) as refused:
        import_files(
            folder / "profiles.duckdb",
            ImportRequest(
                [str(folder / "anna.jsonl")], "crm", progress=lambda step, rows: read.append(step)
            ),
        )
    assert refused.value.exit == 6
    assert read == []


def test_a_request_for_erasure_waits_where_the_key_is_not_there(folder: Path) -> None:
    asked(folder, "erasure")
    without_key(folder)
    assert tried(folder, *["privacy", "run", "--yes"])[0] == 6
    assert json.loads(done(folder, "privacy", "show", ID, "--json"))["request_status"] == "pending"
    (folder / "away").rename(folder / KEY)
    done(folder, "privacy", "run", "--yes")
    assert (
        json.loads(done(folder, "privacy", "show", ID, "--json"))["request_status"] == "completed"
    )


@pytest.mark.parametrize("way", ["option", pytest.param("variable", marks=pytest.mark.slow)])
def test_the_key_may_lie_elsewhere(
    way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _with_two(tmp_path)
    (tmp_path / "keys").mkdir()
    named = ("--suppression-key", "keys/k") if way == "option" else ()
    if way == "variable":
        monkeypatch.setenv("PROFILECTL_SUPPRESSION_KEY", str(tmp_path / "keys" / "k"))
    done(tmp_path, *named, "forget", "--email", ANNA["email"], "--yes")
    assert (tmp_path / "keys" / "k").exists()
    assert not (tmp_path / KEY).exists()
    for arguments in (
        ("import", "anna.jsonl", "--feed", "crm", "--json"),
        ("imports", "undo", "1", "--replay", "--yes"),
    ):
        done(tmp_path, *named, *arguments)
    assert tried(tmp_path, "show", "--email", ANNA["email"])[0] == 7
    monkeypatch.delenv("PROFILECTL_SUPPRESSION_KEY", raising=False)
    assert tried(tmp_path, "import", "anna.jsonl", "--feed", "crm", "--again")[0] == 6


def test_a_backup_says_that_the_key_is_not_in_it_and_is_of_no_use_for_imports_without(
    folder: Path,
) -> None:
    said = run_here("backup", "b.duckdb", folder=folder)
    assert KEY in said.stderr
    assert json.loads(done(folder, "backup", "c.duckdb", "--json"))["suppression_key"] == str(
        folder / KEY
    )
    status, told = tried(folder, "--store", "b.duckdb", "import", "anna.jsonl", "--feed", "crm")
    assert (status, "b.duckdb.suppression-key" in told) == (6, True)
    shutil.copy(folder / KEY, folder / "b.duckdb.suppression-key")
    report = json.loads(
        done(folder, "--store", "b.duckdb", "import", "anna.jsonl", "--feed", "crm", "--json")
    )
    assert report["reasons"] == {"SUPPRESSED": 3}


def plain_again(folder: Path) -> list[tuple[object, ...]]:
    """Make the list what an older version made: of plain hashes, without a key. Return it."""
    (folder / KEY).unlink()
    made = sorted(guessed(folder / "profiles.duckdb"), key=str)
    with duckdb.connect(str(folder / "profiles.duckdb")) as store:
        store.execute("delete from suppressed where type in (0, 255)")
        store.execute("delete from suppressed")
        for one in made:
            store.execute(f"insert into suppressed values ({one}::uhugeint, 1, 0, 1, null)")
        store.execute("delete from meta where name = 'suppression_key'")
    return table(folder / "profiles.duckdb", "select hash from suppressed order by hash")


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(("compact", "--yes"), marks=pytest.mark.slow),
        ("forget", "--email", "ben@example.org", "--yes"),
    ],
)
def test_a_list_that_an_older_version_made_is_sealed_and_still_keeps_out(
    command: tuple[str, ...], folder: Path
) -> None:
    before = plain_again(folder)
    report = json.loads(done(folder, "import", "anna.jsonl", "--feed", "crm", "--json"))
    assert report["reasons"] == {"SUPPRESSED": 3}
    done(folder, *command)
    assert (folder / KEY).exists()
    content = (folder / "profiles.duckdb").read_bytes()
    assert [one for (one,) in before if one.to_bytes(16, "little") in content] == []  # type: ignore[attr-defined]
    report = json.loads(done(folder, "import", "anna.jsonl", "--feed", "crm", "--again", "--json"))
    assert report["reasons"] == {"SUPPRESSED": 3}
    done(folder, "check")


@pytest.mark.slow
def test_letting_somebody_in_again_keeps_the_key(folder: Path) -> None:
    lifted = json.loads(
        done(folder, "forget", "--email", ANNA["email"], "--allow-return", "--yes", "--json")
    )
    assert lifted["lifted"] == 3
    report = json.loads(done(folder, "import", "a.jsonl", "--feed", "crm", "--again", "--json"))
    assert report["rows"]["dropped"] == 0
    assert (folder / KEY).exists()


def test_two_erasures_at_once_make_one_key(tmp_path: Path) -> None:
    from profilectl.files.suppression_key import make_key

    keys = {make_key(tmp_path / "k", tmp_path / "s") for _ in range(3)}
    assert len(keys) == 1


def test_a_full_disk_makes_no_half_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _with_two(tmp_path)
    real = os.fsync

    def full(handle: int) -> None:
        if "suppression-key" in str(Path(f"/proc/self/fd/{handle}").readlink()):
            raise OSError(28, "No space left on device")
        real(handle)

    monkeypatch.setattr(os, "fsync", full)
    status, told = tried(tmp_path, "forget", "--email", ANNA["email"], "--yes")
    assert (status, "suppression-key" in told) == (6, True)
    assert not [path for path in tmp_path.iterdir() if "suppression-key" in path.name]
    monkeypatch.undo()
    assert json.loads(done(tmp_path, "show", "--email", ANNA["email"], "--json"))["profiles"]


def test_a_lost_key_is_given_up_by_word_only(folder: Path) -> None:
    without_key(folder)
    assert tried(folder, "privacy", "lift-all")[0] == 2
    assert json.loads(done(folder, "privacy", "lift-all", "--yes", "--json")) == {"lifted": 3}
    assert table(folder / "profiles.duckdb", "select count(*) from suppressed") == [(0,)]
    report = json.loads(done(folder, "import", "anna.jsonl", "--feed", "crm", "--json"))
    assert report["rows"]["applied"] == 3
    done(folder, "check")
    done(folder, "forget", "--email", ANNA["email"], "--yes")
    assert (folder / KEY).exists()
    assert tried(folder, "privacy", "lift-all", "--yes")[0] == 0
    assert tried(folder, "privacy", "lift-all", "--yes")[0] == 7


def test_serve_takes_nothing_in_without_the_key_and_says_so(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import asyncio

    from profilectl.importing.suppression import NobodyLetIn
    from profilectl.server.intake import Intake, Later
    from profilectl.server.snapshot import Snapshots

    without_key(folder)
    before = table(folder / "profiles.duckdb", "select count(*) from import")
    (folder / "copies").mkdir()
    snapshots = Snapshots(folder / "profiles.duckdb", folder / "copies", ["default"])
    with pytest.warns(NobodyLetIn, match="is not there"):
        snapshots.open(0)
    snapshots.close()

    async def sent() -> None:
        intake = Intake(folder / "profiles.duckdb", snapshots.store_id)
        work = asyncio.create_task(intake.run())
        try:
            await intake.take("crm", [json.dumps({"user_identities": {"email": ANNA["email"]}})])
        finally:
            work.cancel()
            intake.close()

    with pytest.raises(Later) as later:
        asyncio.run(sent())
    assert later.value.trouble.code == "NO_SUPPRESSION_KEY", "the store itself is well"
    assert table(folder / "profiles.duckdb", "select count(*) from import") == before
