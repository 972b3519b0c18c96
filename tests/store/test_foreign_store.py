"""A store may come from anybody: what profilectl does not make is refused before it is read, and no
statement reaches a file.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import duckdb
import pytest
from support.doors import call
from support.effort import spread_now
from support.places import STORES

from profilectl.codes import Exit, StoreUnusable
from profilectl.rules.sql.quoting import quote_text
from profilectl.store.attaching import SCHEMA_VERSION
from profilectl.store.catalog import FOREIGN_KINDS, SEGMENT_TABLES, _vouched, shapes
from profilectl.store.opening import open_store
from profilectl.store.scratch import Scratch, scratch_beside
from profilectl.store.upgrade import STEPS

ROWS = "customer_id,email,tier\nA,a@x.org,gold\nB,b@x.org,lead\n"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A store with an import and an older one with events."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "a.csv").write_text(ROWS)
    (folder / "e.jsonl").write_text(
        '{"user_identities":{"customer_id":"A"},"events":[{"event_type":"custom_event","data":{"event_name":"x","custom_event_type":"other"}}]}\n'
        ""
    )
    for name in ("a.csv", "e.jsonl"):
        assert call("import", name, "--feed", "f", folder=folder).exit_code == 0
    return (folder / "profiles.duckdb").read_bytes()


@pytest.fixture
def folder(whole: bytes, tmp_path: Path) -> Path:
    (tmp_path / "profiles.duckdb").write_bytes(whole)
    return tmp_path


def altered(folder: Path, *statements: str) -> None:
    with duckdb.connect() as connection:
        connection.execute(f"attach {quote_text(str(folder / 'profiles.duckdb'))} as store")
        for statement in statements:
            connection.execute(statement)


def refused(folder: Path, *says: str, arguments: tuple[str, ...] = ("show", "A")) -> None:
    error = call(*arguments, folder=folder).exception
    assert isinstance(error, StoreUnusable), (arguments, error)
    assert error.exit == Exit.UNUSABLE
    for one in says:
        assert one in error.message, error.message


FOREIGN = {
    "view": (["create view store.v as select * from read_text('/etc/hostname')"], 'the view "v"'),
    "view of the name of a table": (
        [
            "drop table store.feed",
            (
                "create view store.feed as select 1 as number, content as name from"
                " read_text('/etc/hostname')"
            ),
        ],
        'the view "feed"',
    ),
    "view of the name of the first table": (
        [
            "drop table store.meta",
            "create view store.meta as select 'schema_version' as name, '7' as value",
        ],
        'the view "meta"',
    ),
    "macro": (["create macro store.md5_number(x) as 1"], 'the macro "md5_number"'),
    "table macro": (
        ["create macro store.t(x) as table select content from read_text(x)"],
        'the table macro "t"',
    ),
    "table": (["create table store.x as select 1 as y"], 'the table "x"'),
    "table that is named like one of a segment": (
        ["create table store.row_x as select 1 as y"],
        'the table "row_x"',
    ),
    "table of another schema": (
        ["create schema store.s", "create table store.s.feed as select 1 as y"],
        'the schema "s"',
    ),
    "type": (["create type store.e as enum ('a')"], 'the type "e"'),
    "sequence": (["create sequence store.q"], 'the sequence "q"'),
    "index": (["create index i on store.feed (number)"], 'the index "i"'),
    "trigger": (
        [
            (
                "create trigger t after insert on store.feed for each statement insert into"
                " store.dropped values (1, 'x')"
            )
        ],
        'the trigger "t"',
    ),
    "default": (
        ["alter table store.feed alter column partner set default current_query()"],
        "current_query",
    ),
    "constant default": (
        ["alter table store.feed alter column partner set default 'x'"],
        '"partner"',
    ),
    "column": (["alter table store.feed add column x integer"], 'whose column "x"'),
    "type of a column": (
        ["alter table store.line_run alter column first_line type varchar"],
        'whose column "first_line"',
    ),
    "type of another database": (
        ["alter table store.line_run alter column first_line type decimal(38,0)"],
        "DECIMAL",
    ),
    "generated column": (
        [
            "drop table store.stale",
            (
                "create table store.stale (profile bigint generated always as (1::bigint)"
                " virtual, x integer)"
            ),
        ],
        "GENERATED",
    ),
    "check": (
        [
            "drop table store.stale",
            "create table store.stale (profile bigint not null check (profile > 0))",
        ],
        "CHECK",
    ),
    "key": (
        [
            "drop table store.stale",
            "create table store.stale (profile bigint not null primary key)",
        ],
        "PRIMARY KEY",
    ),
    "collation": (
        [
            "drop table store.output_since",
            (
                "create table store.output_since (output varchar collate nocase not null,"
                " arrival bigint not null)"
            ),
        ],
        "COLLATE",
    ),
    "columns in another order": (
        [
            "drop table store.pushed",
            (
                "create table store.pushed (push integer not null, last bigint not null, first"
                " bigint not null)"
            ),
        ],
        '"last"',
    ),
    "column that may be null": (
        ["alter table store.stale alter column profile drop not null"],
        '"profile"',
    ),
    "column of a segment": (["alter table store.row_1 add column x varchar"], 'whose column "x"'),
    "type of a segment's column": (
        ["alter table store.row_1 alter column at_ms type varchar"],
        '"at_ms"',
    ),
    "default of a segment's column": (
        ["alter table store.row_1 alter column a0 set default current_user"],
        "row_1",
    ),
    "identity that is none": (["alter table store.row_1 rename column i_email to i_x"], '"i_x"'),
    "list of a segment": (
        [
            """update store.segment set tables = ['row_1; drop table store.feed; --'] where number = 1"""
        ],
        "drop table store.feed",
    ),
    "identities of a segment": (
        ["""update store.segment set identities = ['email, (select 1)'] where number = 1"""],
        "email, (select 1)",
    ),
}


@pytest.mark.parametrize("what", spread_now(FOREIGN, 3))
def test_a_store_with_what_profilectl_does_not_make_is_refused_by_name(
    what: str, folder: Path
) -> None:
    statements, says = FOREIGN[what]
    altered(folder, *statements)
    before = (folder / "profiles.duckdb").read_bytes()
    refused(folder, "not trusted", says)
    assert (folder / "profiles.duckdb").read_bytes() == before


COMMANDS = (
    ("import", "a.csv", "--feed", "g"),
    ("import", "a.csv", "--feed", "g", "--dry-run"),
    ("plan", "a.csv", "--feed", "g", "-o", "x.plan"),
    ("stats",),
    ("export", "profiles"),
    ("search", "tier = 'gold'"),
    ("lookup", "a.csv"),
    ("imports", "list"),
    ("imports", "undo", "1", "--yes"),
    ("forget", "A", "--yes"),
    ("backup", "b.duckdb"),
    ("compact", "--yes"),
    ("config", "export"),
    ("feeds", "list"),
    ("check", "--repair"),
    ("set", "tier=x", "--customer-id", "A", "--feed", "f"),
    ("audiences", "list"),
    ("explain", "rules"),
    ("diff", "1", "2"),
)


def test_every_command_refuses_a_foreign_store_and_writes_nothing(folder: Path) -> None:
    altered(folder, "create view store.v as select content from read_text('/etc/hostname')")
    (folder / "a.csv").write_text(ROWS)
    before = (folder / "profiles.duckdb").read_bytes()
    for arguments in COMMANDS:
        refused(folder, 'the view "v"', arguments=arguments)
    assert (folder / "profiles.duckdb").read_bytes() == before
    assert sorted(one.name for one in folder.iterdir()) == ["a.csv", "profiles.duckdb"]


def test_a_name_out_of_a_foreign_store_is_shown_inert(folder: Path) -> None:
    altered(folder, 'create view store."a\x1b[31m\u202e\x9b' + "x" * 200 + '" as select 1')
    error = call("show", "A", folder=folder).exception
    assert isinstance(error, StoreUnusable)
    assert '"a\\u001b[31m\\u202e\\u009bxxx' in error.message
    assert len(error.message) < 400
    assert error.message.isprintable()


@pytest.mark.parametrize("version", spread_now(range(1, 7), 3))
def test_a_foreign_store_of_an_older_version_is_refused_before_it_is_upgraded(
    version: int, tmp_path: Path
) -> None:
    path = tmp_path / "profiles.duckdb"
    path.write_bytes(gzip.decompress((STORES / f"schema-{version}.duckdb.gz").read_bytes()))
    altered(tmp_path, "create view store.v as select 1")
    refused(tmp_path, 'the view "v"', arguments=("check",))
    altered(tmp_path, "drop view store.v", "alter table store.setting add column x varchar")
    refused(tmp_path, 'whose column "x"', arguments=("check",))
    assert [one.name for one in tmp_path.iterdir()] == ["profiles.duckdb"]


def test_a_table_of_a_later_version_is_foreign_to_an_older_one(tmp_path: Path) -> None:
    (tmp_path / "profiles.duckdb").write_bytes(
        gzip.decompress((STORES / "schema-1.duckdb.gz").read_bytes())
    )
    altered(tmp_path, "create table store.stale (profile bigint not null)")
    refused(tmp_path, 'the table "stale"', arguments=("check",))


@pytest.mark.parametrize("version", range(1, 7))
def test_the_shapes_of_older_versions_are_those_of_their_stores(
    version: int, tmp_path: Path
) -> None:
    path = tmp_path / "s.duckdb"
    path.write_bytes(gzip.decompress((STORES / f"schema-{version}.duckdb.gz").read_bytes()))
    with duckdb.connect(str(path), read_only=True) as connection:
        rows = connection.execute(
            "select table_name, column_name, data_type from duckdb_columns() where not"
            " internal order by table_name, column_index"
        ).fetchall()
    there: dict[str, list[tuple[str, str]]] = {}
    for table, column, kind in rows:
        if table.rpartition("_")[0] not in SEGMENT_TABLES:
            there.setdefault(table, []).append((column, kind))
    assert there == {
        name: [(one.name, one.type) for one in columns]
        for name, columns in shapes(version, STEPS).items()
    }


def test_the_shapes_of_this_version_are_those_of_a_new_store(folder: Path) -> None:
    with duckdb.connect(str(folder / "profiles.duckdb"), read_only=True) as connection:
        rows = connection.execute(
            "select table_name, column_name, data_type, not is_nullable from"
            " duckdb_columns() where not internal"
        ).fetchall()
    there = {one for one in rows if one[0].rpartition("_")[0] not in SEGMENT_TABLES}
    assert there == {
        (name, one.name, one.type, one.filled)
        for name, columns in shapes(SCHEMA_VERSION, STEPS).items()
        for one in columns
    }


@pytest.mark.parametrize(
    ("name", "value"),
    spread_now(
        [
            ("identity.strategy", "{"),
            ("identity.strategy", '"nobody"'),
            ("identity.hierarchy", "7"),
            ("identity.placeholders", "7"),
            ("consent.gdpr_purposes", "7"),
        ],
        3,
    ),
)
def test_a_setting_that_is_none_is_said_in_words(name: str, value: str, folder: Path) -> None:
    altered(folder, f"insert into store.setting values ('{name}', '{value}')")
    refused(folder, "damaged: a setting in it is none", arguments=("explain", "rules"))


def test_a_segment_whose_whole_numbers_have_another_width_is_ours(folder: Path) -> None:
    """Its tables are made of what is read: the places of events are INTEGER or BIGINT, and what is
    null throughout is INTEGER.
    """
    altered(
        folder,
        "alter table store.event_2 alter column place type bigint",
        "alter table store.event_2 alter column session type integer using null",
    )
    assert call("show", "A", folder=folder).exit_code == 0
    altered(folder, "alter table store.event_2 alter column place type double")
    refused(folder, '"place"')


def test_a_missing_table_is_named(folder: Path) -> None:
    altered(folder, "drop table store.stale")
    refused(folder, "damaged", "its table stale is gone")


def test_a_macro_is_found_that_was_put_in_after_the_store_was_looked_at(folder: Path) -> None:
    assert call("show", "A", folder=folder).exit_code == 0
    altered(folder, "create macro store.m(x) as 1")
    refused(folder, 'the macro "m"')
    refused(folder, 'the macro "m"')


def test_a_foreign_log_is_looked_at_too(folder: Path) -> None:
    (folder / "other").mkdir()
    with duckdb.connect() as connection:
        connection.execute(f"attach {quote_text(str(folder / 'profiles.duckdb'))} as store")
        connection.execute("create view store.v as select 1")
        for name in ("profiles.duckdb", "profiles.duckdb.wal"):
            (folder / "other" / name).write_bytes((folder / name).read_bytes())
    assert (folder / "other" / "profiles.duckdb.wal").stat().st_size
    refused(folder / "other", 'the view "v"')


def reaches(scratch: Scratch, path: Path) -> bool:
    try:
        return bool(scratch.rows(f"select content from read_text({quote_text(str(path))})"))
    except duckdb.PermissionException:
        return False


def test_no_statement_reaches_a_file_once_a_store_is_attached(folder: Path) -> None:
    (folder / "other").write_text("x")
    with scratch_beside(folder / "profiles.duckdb") as scratch:
        assert reaches(scratch, folder / "other")
        with open_store(scratch, folder / "profiles.duckdb"):
            assert not reaches(scratch, folder / "other")
            assert not reaches(scratch.cursor(), folder / "other")
            for statement in (
                "set enable_external_access = true",
                "set lock_configuration = false",
                "set memory_limit = '1TB'",
                "install httpfs",
                f"attach {quote_text(str(folder / 'new.duckdb'))} as another",
                f"copy (select 1) to {quote_text(str(folder / 'out'))}",
            ):
                with pytest.raises(duckdb.Error):
                    scratch.run(statement)
        assert not reaches(scratch, folder / "other")
        (scratch.folder / "mine").write_text("x")
        assert reaches(scratch, scratch.folder / "mine")
    assert not (folder / "out").exists()


@pytest.mark.slow
def test_data_spill_and_a_store_is_attached_again_without_reaching_other_files(
    folder: Path,
) -> None:
    path = folder / "profiles.duckdb"
    with scratch_beside(path, "60MB") as scratch:
        for write in (False, True, True):
            with open_store(scratch, path, write=write) as store:
                scratch.make("many", "select i, md5(i::varchar) as m from range(1000000) as t(i)")
                assert scratch.row("select count(*) from (select * from many order by m)") == (
                    1000000,
                )
                assert scratch.rows("select 1 from duckdb_temporary_files() limit 1")
                if write:
                    with store.transaction():
                        scratch.run(
                            "insert into store.line_run select i, i from range(300000) as t(i)"
                        )
                    scratch.run("checkpoint store")


@pytest.mark.parametrize("name", ["plain.csv", "k=v/ä ' *?[a].csv"])
def test_the_files_of_an_import_are_read_at_once_whatever_they_are_called(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text(ROWS)
    (folder / "x").mkdir()
    (folder / "x" / "link.csv").symlink_to(folder / name)

    def carefully(*arguments: object) -> int:
        raise AssertionError("read row by row")

    monkeypatch.setattr("profilectl.importing.stage.csv.csv._read_carefully", carefully)
    for path in (name, "x/link.csv"):
        done = call("import", "--feed", "g", "--again", "--", path, folder=folder)
        assert done.exit_code == 0, (done.exception, done.stderr)
    done = call("lookup", name, folder=folder)
    assert [json.loads(line)["found"] for line in done.stdout.splitlines()] == [True, True]


@pytest.mark.slow
def test_a_store_of_hundreds_of_tables_is_looked_at_in_moments(tmp_path: Path) -> None:
    import time

    from profilectl.store.upgrade import known_version

    (tmp_path / "a.csv").write_text(ROWS)
    assert call("import", "a.csv", "--feed", "f", folder=tmp_path).exit_code == 0
    columns = ", ".join(f"a{n} varchar" for n in range(20))
    altered(
        tmp_path,
        *(
            statement
            for number in range(2, 202)
            for statement in (
                (
                    f"create table store.row_{number} (profile bigint, arrival bigint, mpid"
                    f" bigint, environment utinyint, feed usmallint, at_ms bigint, {columns})"
                ),
                f"create table store.index_{number} (hash uhugeint, profile bigint, type utinyint)",
            )
        ),
    )
    path = tmp_path / "profiles.duckdb"
    with scratch_beside(path) as scratch, open_store(scratch, path):
        _vouched.clear()
        began = time.process_time()
        known_version(scratch, path)
        assert time.process_time() - began < 0.1


def test_every_kind_of_thing_that_a_database_holds_is_looked_for() -> None:
    """A kind that a later DuckDB brings is to be thought of."""
    with duckdb.connect() as connection:
        names = {
            name
            for (name,) in connection.execute(
                "select function_name from duckdb_functions() where function_name like 'duckdb_%'"
            ).fetchall()
        }
        kinds = {
            name
            for name in names - {"duckdb_table_sample", "duckdb_logs_parsed"}
            if {"database_name", "schema_name"}
            <= {
                column
                for column, *_ in connection.execute(f"describe select * from {name}()").fetchall()
            }
        }
    looked_for = {name for name in kinds if name in FOREIGN_KINDS}
    by_other_means = {"duckdb_tables", "duckdb_columns", "duckdb_constraints", "duckdb_functions"}
    # ... which cannot be made by a statement
    assert kinds - looked_for - by_other_means <= {"duckdb_coordinate_systems"}


def test_the_relations_of_an_import_can_still_be_kept(folder: Path) -> None:
    (folder / "a.csv").write_text(ROWS)
    assert (
        call("import", "a.csv", "--feed", "g", "--keep-scratch", "kept.db", folder=folder).exit_code
        == 0
    )
    with duckdb.connect(str(folder / "kept.db"), read_only=True) as kept:
        assert kept.execute("select table_name from duckdb_tables()").fetchall()
