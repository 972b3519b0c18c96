"""Looking after a store: versions, check and repair, backup, compaction, stats."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
import stat
from pathlib import Path
from typing import Any

import duckdb
import pytest
from support.doors import made_once, run_here
from support.effort import spread_now
from support.places import STORES

from profilectl.store.attaching import SCHEMA_VERSION

VERSIONS = sorted(path.name.removesuffix(".duckdb.gz") for path in STORES.glob("*.duckdb.gz"))
CURRENT = f"schema-{SCHEMA_VERSION}"


def unpacked(name: str, folder: Path) -> Path:
    store = folder / "profiles.duckdb"
    store.write_bytes(gzip.decompress((STORES / f"{name}.duckdb.gz").read_bytes()))
    return store


@made_once
def with_something_of_everything(folder: Path) -> None:
    """Make a store of this version that holds something of everything, with nothing beside it."""
    unpacked("schema-5", folder)
    assert run_here("check", folder=folder).returncode == 0
    for backup in folder.glob("*.backup"):
        backup.unlink()


def up_to_date(folder: Path) -> Path:
    return with_something_of_everything(folder) / "profiles.duckdb"


@pytest.fixture(scope="module")
def profiles_up_to_date(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the export of that store."""
    folder = tmp_path_factory.mktemp("whole")
    up_to_date(folder)
    return run_here("export", "profiles", "--sorted", "--provenance", folder=folder).stdout


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def printed(*arguments: str, folder: Path) -> Any:
    done = run_here(*arguments, folder=folder)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", spread_now(VERSIONS, 3))
def test_a_store_of_every_version_gives_what_it_held(name: str, tmp_path: Path) -> None:
    store = unpacked(name, tmp_path)
    before = digest(store)
    done = run_here("export", "profiles", "--sorted", "--provenance", folder=tmp_path)
    assert done.returncode == 0
    assert done.stdout == (STORES / f"{name}.jsonl").read_text("utf-8")
    assert run_here("check", folder=tmp_path).returncode == 0
    backups = list(tmp_path.glob("*.backup"))
    if name != CURRENT:
        assert f"upgraded from schema {name[7:]} to {SCHEMA_VERSION};" in done.stderr
        assert [digest(one) for one in backups] == [before]
        assert stat.S_IMODE(backups[0].stat().st_mode) == 0o600
    else:
        assert not backups


def test_a_dry_run_does_not_upgrade_a_store(tmp_path: Path) -> None:
    store = unpacked("schema-1", tmp_path)
    before = digest(store)
    (tmp_path / "a.csv").write_text("email\na@example.com\n")
    done = run_here("import", "a.csv", "--feed", "f", "--dry-run", folder=tmp_path)
    assert done.returncode == 6
    assert "older" in done.stderr
    assert digest(store) == before
    assert not list(tmp_path.glob("*.backup"))


def test_an_upgraded_store_takes_imports_and_gives_the_last_back(tmp_path: Path) -> None:
    unpacked("schema-1", tmp_path)
    before = run_here("export", "profiles", "--sorted", folder=tmp_path).stdout
    (tmp_path / "a.csv").write_text("customer_id,tier\nC1,diamond\nC9,gold\n")
    assert run_here("import", "a.csv", "--feed", "crm", folder=tmp_path).returncode == 0
    assert run_here(*["imports", "undo", "4", "--yes"], folder=tmp_path).returncode == 0
    assert run_here("export", "profiles", "--sorted", folder=tmp_path).stdout == before
    refused = run_here(*["imports", "undo", "1", "--yes"], folder=tmp_path)
    assert refused.returncode == 4
    assert "2 (warehouse), 3 (crm)" in refused.stderr


def test_a_newer_store_is_refused_untouched(tmp_path: Path) -> None:
    store = up_to_date(tmp_path)
    with duckdb.connect(store) as connection:
        connection.execute("update meta set value = '999' where name = 'schema_version'")
    before = digest(store)
    (tmp_path / "a.csv").write_text("email\na@example.com\n")
    for arguments in (
        ("export", "profiles"),
        ("import", "a.csv", "--feed", "f"),
        ("check", "--repair"),
        ("backup", "b"),
        ("compact", "--yes"),
    ):
        done = run_here(*arguments, folder=tmp_path)
        assert done.returncode == 6, arguments
        assert "newer profilectl" in done.stderr
        assert digest(store) == before
    assert not (tmp_path / "b").exists()


# Each: what is broken by hand, the promise that is reported, whether it is derived and so repaired.
BREAKS = {
    "an entry of the index is gone": ("delete from index_1 where profile = 0", "identities", True),
    "an index has a stray entry": (
        "insert into index_1 select 5::uhugeint, 0, 1",
        "identities",
        True,
    ),
    "the whole index is gone": ("drop table index_2", "tables", True),
    "an index is out of order": (
        (
            "create table x as select * from index_1 order by hash desc; drop table index_1;"
            " alter table x rename to index_1"
        ),
        "sorted",
        True,
    ),
    "rows are out of order": (
        (
            "create table x as select * from row_1 order by profile desc; drop table row_1;"
            " alter table x rename to row_1"
        ),
        "sorted",
        True,
    ),
    "the table of MPIDs is gone": ("drop table mpid_1", "tables", True),
    "an MPID differs": ("update mpid_1 set mpid = 1 where profile = 0", "founders", True),
    "a table belongs to nobody": ("create table row_77 as from row_1 limit 0", "tables", True),
    "the fingerprint differs": (
        "update meta set value = 'x' where name = 'hash_fingerprint'",
        "fingerprint",
        True,
    ),
    "rows are gone": ("delete from row_2", "rows", False),
    "a table of rows is gone": ("drop table row_2", "tables", False),
    "a cell has no import": ("update import set undone_ms = 1 where number = 2", "imports", False),
    "a cell has another feed": ("update row_2 set feed = 1", "imports", False),
    "a profile has two founders": ("update row_2 set mpid = 7", "founders", False),
    "the history counts otherwise": ("delete from dropped", "history", False),
    "lines are gone": ("delete from line_run", "imports", False),
    "a batch waits that nobody sent": (
        (
            "insert into outbox values ('o', 1, 999999, 1, 5, 0, 'waiting', null, null, null,"
            " null, null)"
        ),
        "outbox",
        False,
    ),
    "rejects are gone": ("delete from reject", "history", False),
    "a customer id is held twice": (
        (
            "create table x as select hash from index_1 where profile = 0 and type ="
            " (select min(type) from index_1 where profile = 0); insert into index_1"
            " select hash, 1,"
            " (select min(type) from index_1 where profile = 0) from x; drop table x"
        ),
        "unique",
        False,
    ),
}


@pytest.mark.parametrize("broken", spread_now(BREAKS, 3))
def test_check_finds_and_repairs(broken: str, tmp_path: Path, profiles_up_to_date: str) -> None:
    statements, promise, derived = BREAKS[broken]
    store = up_to_date(tmp_path)
    with duckdb.connect(store) as connection:
        for statement in statements.split(";"):
            connection.execute(statement)
    found = run_here("check", "--json", folder=tmp_path)
    assert found.returncode == 6, found.stdout
    assert promise in {one["promise"] for one in json.loads(found.stdout)["breaches"]}
    repaired = run_here("check", "--repair", folder=tmp_path)
    after = run_here("check", folder=tmp_path)
    if derived:
        assert repaired.returncode == 0, repaired.stdout
        assert "(repaired)" in repaired.stdout
        assert after.returncode == 0, after.stdout
        assert (
            run_here("export", "profiles", "--sorted", "--provenance", folder=tmp_path).stdout
            == profiles_up_to_date
        )
    elif promise != "unique":
        assert after.returncode == 6


def test_a_file_with_overwritten_blocks_is_found_or_refused(tmp_path: Path) -> None:
    store = up_to_date(tmp_path)
    whole = bytearray(store.read_bytes())
    for place in range(3 * 4096 + 100, len(whole), 262_144):
        whole[place : place + 64] = os.urandom(64)
    store.write_bytes(bytes(whole))
    done = run_here("check", folder=tmp_path)
    assert done.returncode == 6
    assert "Traceback" not in done.stderr
    assert "fault in profilectl" not in done.stderr


def test_a_backup_is_a_store_of_the_same_content(tmp_path: Path) -> None:
    up_to_date(tmp_path)
    done = run_here("backup", "copy.duckdb", folder=tmp_path)
    assert done.returncode == 0
    assert stat.S_IMODE((tmp_path / "copy.duckdb").stat().st_mode) == 0o600
    assert (
        run_here("--store", "copy.duckdb", "export", "profiles", "--sorted", folder=tmp_path).stdout
        == run_here("export", "profiles", "--sorted", folder=tmp_path).stdout
    )
    again = run_here("backup", "copy.duckdb", folder=tmp_path)
    assert again.returncode == 4
    assert "there already" in again.stderr
    assert run_here("backup", "copy.duckdb", "--force", folder=tmp_path).returncode == 0
    assert sorted(one.name for one in tmp_path.iterdir()) == [
        "copy.duckdb",
        "copy.duckdb.seal",
        "profiles.duckdb",
    ]


def test_compaction_by_command_changes_nothing_but_what_can_be_undone(tmp_path: Path) -> None:
    up_to_date(tmp_path)
    before = run_here("export", "profiles", "--sorted", "--provenance", folder=tmp_path).stdout
    changes = run_here("diff", "0", "3", "--json", folder=tmp_path).stdout
    assert "sha256" in (shown := run_here("imports", "show", "5", folder=tmp_path).stdout)
    assert "1 rows" not in shown
    done = printed("compact", "--yes", "--keep", "2", "--json", folder=tmp_path)
    assert (done["segments_before"], done["segments"], done["undoable"]) == (4, 3, [3, 5])
    assert (
        run_here("export", "profiles", "--sorted", "--provenance", folder=tmp_path).stdout == before
    )
    assert run_here("diff", "0", "3", "--json", folder=tmp_path).stdout == changes
    assert run_here("check", folder=tmp_path).returncode == 0
    refused = run_here(*["imports", "undo", "2", "--yes"], folder=tmp_path)
    assert refused.returncode == 4
    assert "laid together" in refused.stderr
    assert [one["undoable"] for one in printed("imports", "list", "--json", folder=tmp_path)] == [
        False,
        False,
        True,
        False,
        True,
    ]
    done = run_here("compact", "--yes", "--keep", "0", folder=tmp_path)
    assert re.fullmatch(
        r"3 segments became 1, [0-9,]+ bytes became [0-9,]+; imports that can be undone: none\n",
        done.stderr,
    )


def test_stats_count_what_there_is(tmp_path: Path) -> None:
    up_to_date(tmp_path)
    found = printed("stats", "--json", folder=tmp_path)
    assert found["profiles"] == 8
    assert found["environments"] == {"production": 7, "development": 1}
    assert found["identities"]["customer_id"] == {"identities": 7, "values": 7, "profiles": 7}
    tier = next(one for one in found["attributes"] if one["attribute"] == "tier")
    assert tier == {
        "attribute": "tier",
        "profiles": 4,
        "fill_rate": 0.5,
        "distinct_values": 3,
        "sources": ["custom-feed", "warehouse"],
    }
    assert found["imports"] == {"in_force": 4, "undone": 1}
    assert found["most_shared"] == [{"type": "email", "value": "Bob@Example.com", "profiles": 2}]


@pytest.mark.parametrize(
    "command",
    ["check", "stats", "compact", "imports list", "diff 1", "imports undo 1 --yes", "backup b"],
)
def test_without_a_store_every_command_says_so(command: str, tmp_path: Path) -> None:
    done = run_here(*command.split(), folder=tmp_path)
    assert done.returncode == 6
    assert "there is no store" in done.stderr
    assert not list(tmp_path.iterdir())


def test_an_upgrade_lays_the_events_of_an_older_store_apart(tmp_path: Path) -> None:
    unpacked("schema-3", tmp_path)
    done = run_here("events", "--json", "--limit", "0", folder=tmp_path)
    found = [json.loads(line) for line in done.stdout.splitlines()][::-1]
    assert [(one["name"], one["type"], f"{one['file']}:{one['line']}") for one in found] == [
        ("buy", "custom_event", "ev.csv:2"),
        ("home", "screen_view", "ev.jsonl:2"),
        ("visit", "custom_event", "ev.jsonl:1"),
        (None, "commerce_event", "ev.jsonl:1"),
        (None, "session_start", "ev.jsonl:1"),
    ]
    assert '"custom_attributes":{"price":1.10,"a":"x\\ny"}' in done.stdout
    shown = json.loads(
        run_here(
            "show", "--customer-id", "C5", "--section", "timeline", "--json", folder=tmp_path
        ).stdout
    )
    assert [list(one["rest"]) for one in shown["profiles"][0]["timeline"] if one["events"]] == [
        ["device_info"]
    ]


@pytest.mark.parametrize("name", spread_now(VERSIONS, 3))
def test_an_upgraded_store_has_the_tables_of_a_new_one(name: str, tmp_path: Path) -> None:
    def fixed(path: Path) -> set[tuple[str, str, str]]:
        with duckdb.connect(path, read_only=True) as connection:
            found = connection.execute(
                "select table_name, column_name, data_type from duckdb_columns() where not internal"
            ).fetchall()
        return {one for one in found if not one[0].rpartition("_")[2].isdigit()}

    unpacked(name, tmp_path)
    assert run_here("check", folder=tmp_path).returncode == 0
    assert run_here("--store", "new.duckdb", "feeds", "add", "f", folder=tmp_path).returncode == 0
    assert fixed(tmp_path / "profiles.duckdb") == fixed(tmp_path / "new.duckdb")
