"""The check of a store's catalog: the file may hold our tables in our shapes, and nothing else.

A store may come from anybody. A view with the name of a table can read other files when it is read;
a default or a generated column can compute anything. So the catalog is checked before any table is
read, and everything is refused that is not in schema.sql, the steps of upgrade.py or the kinds of
segments below.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from profilectl.codes import StoreUnusable
from profilectl.rules.identity import CODE
from profilectl.store.attaching import SCHEMA_VERSION, no_store, version_of
from profilectl.store.scratch import Scratch
from profilectl.store.signature import signature_of

Steps = Mapping[int, Sequence[str]]

# fmt: off
SEGMENT_TABLES: dict[str, dict[str, str]] = {
    # kind -> the columns that every table of it has, and their types (importing/commit.py)
    "row":           {"profile": "BIGINT", "arrival": "BIGINT", "mpid": "BIGINT",
                      "environment": "UTINYINT", "feed": "USMALLINT", "at_ms": "BIGINT"},
    "index":         {"hash": "UHUGEINT", "profile": "BIGINT", "type": "UTINYINT"},
    "mpid":          {"mpid": "BIGINT", "environment": "UTINYINT", "profile": "BIGINT"},
    "loose":         {"profile": "BIGINT", "arrival": "BIGINT", "feed": "USMALLINT",
                      "key": "VARCHAR", "value": "VARCHAR"},
    "blocked":       {"profile": "BIGINT", "arrival": "BIGINT", "feed": "USMALLINT",
                      "code": "VARCHAR"},
    "blocked_loose": {"profile": "BIGINT", "arrival": "BIGINT", "feed": "USMALLINT",
                      "code": "VARCHAR", "key": "VARCHAR", "value": "VARCHAR"},
    "event":         {"profile": "BIGINT", "arrival": "BIGINT", "place": "INTEGER",
                      "environment": "UTINYINT", "feed": "USMALLINT", "type": "VARCHAR",
                      "name": "VARCHAR", "at_ms": "BIGINT", "session": "VARCHAR",
                      "event": "VARCHAR"},
    "rest":          {"profile": "BIGINT", "arrival": "BIGINT", "rest": "VARCHAR"},
}
# fmt: on
IDENTITIES = frozenset({"row"})
"""The kinds whose tables have columns of identity types, too ..."""
ATTRIBUTES = frozenset({"row", "blocked"})
"""... and those with columns of attributes."""
NOT_IN_ALL = frozenset({("row", "mpid")})
"""The columns that some tables of a kind have: rows hold the MPIDs that are no mix."""
WHOLE = frozenset(
    f"{sign}{size}INT" for sign in ("", "U") for size in ("TINY", "SMALL", "BIG", "HUGE")
) | {"INTEGER", "UINTEGER"}
REMEDY = "use a store or a backup of your own; what is not profilectl's can be dropped with DuckDB"

_NAME = r'(?:"?([a-z_][a-z0-9_]*)"?)'
_TYPE = r"([A-Z]+(?:\[\])?)"
_CONSTANT = r"(?:'[^']*'|-?[0-9]+|CAST\('[a-z]+' AS BOOLEAN\)|true|false)"
_COLUMN = re.compile(
    rf"{_NAME} {_TYPE}( NOT NULL)?( DEFAULT\({_CONSTANT}\))?(?: USING COMPRESSION ZSTD)?"
)
_DECLARED = re.compile(rf"{_NAME}\s+([a-z]+(?:\[\])?)(\s+not null)?(?:\s+default\s+\S+)?")
_CREATED = re.compile(r"\s*create table store\.(\w+) \((.*)\)\s*", re.DOTALL)
_ADDED = re.compile(rf"alter table store\.(\w+) add column {_NAME} .*", re.DOTALL)

TABLES = """
select schema_name, table_name, sql
from duckdb_tables()
where database_name = 'store'
"""

# Everything that is no table.
FOREIGN_KINDS = """
select 'view', view_name
from duckdb_views()
where database_name = 'store' and not internal
union all
select 'sequence', sequence_name
from duckdb_sequences()
where database_name = 'store'
union all
select 'schema', schema_name
from duckdb_schemas()
where database_name = 'store' and schema_name <> 'main'
union all
select 'trigger', trigger_name
from duckdb_triggers()
where database_name = 'store'
union all
select 'type', type_name
from duckdb_types()
where database_name = 'store' and not internal
union all
select 'index', index_name
from duckdb_indexes()
where database_name = 'store'
"""

# DuckDB makes a list of its 3,000 functions for this, which takes 10 ms. So a file is looked at
# only once while it does not change (_vouched).
MACROS = """
select function_type, function_name
from duckdb_functions()
where database_name = 'store' and not internal
"""
SEGMENTS = "select number, tables, identities from store.segment"


class Column(NamedTuple):
    """A column of a fixed table."""

    name: str
    """As SQL has it, without quotes."""
    type: str
    """As DuckDB names it."""
    filled: bool
    """Whether it is NOT NULL."""
    late: bool = False
    """Whether a step of upgrade.py added it: in an upgraded store it may be null, and may have a
    constant as its default.
    """


_vouched: dict[Path, tuple[tuple[object, ...], int]] = {}
"""Path -> the signature of a file that was looked at, and its schema version.

A command opens its store several times, and a server opens it again and again.
"""


def own_version(scratch: Scratch, path: Path, steps: Steps | None = None) -> int:
    """Return the schema version of the attached store, which holds nothing but our tables.

    `steps` are upgrade.STEPS, which are loaded where they are needed. Raises StoreUnusable for a
    store that holds anything else, for a file that is no store, and for a newer one.
    """
    was = _signature(path)
    if was and path.absolute() in _vouched and _vouched[path.absolute()][0] == was:
        return _vouched[path.absolute()][1]
    version = _looked_at(scratch, path, steps)
    if was:
        if len(_vouched) > 100:
            _vouched.clear()  # a server opens one copy after another
        _vouched[path.absolute()] = (was, version)
    return version


def _looked_at(scratch: Scratch, path: Path, steps: Steps | None) -> int:
    tables = scratch.rows(TABLES)
    no_tables = [
        (str(kind).replace("_", " "), str(name))
        for kind, name in [*scratch.rows(FOREIGN_KINDS), *scratch.rows(MACROS)]
    ]
    of_main = {name: sql for schema, name, sql in tables if schema == "main"}
    _check_meta(path, of_main.get("meta"), no_tables)
    version = version_of(scratch, path)
    for kind, name in no_tables:
        raise _foreign(path, kind, name)
    for schema, name, _ in tables:
        if schema != "main":
            raise _foreign(path, "table", f"{schema}.{name}")
    if version != SCHEMA_VERSION or not _is_as_made(of_main):
        if steps is None:
            from profilectl.store.upgrade import STEPS

            steps = STEPS
        _check_tables(path, of_main, fixed=shapes(version, steps))
    _check_listed(scratch, path)
    return version


def _check_meta(path: Path, sql: str | None, no_tables: Sequence[tuple[str, str]]) -> None:
    """Check the table that has the version of a store, before anything is read from it.

    Raises StoreUnusable.
    """
    for kind, name in no_tables:
        if name.lower() == "meta":
            raise _foreign(path, kind, name)
    if sql is None:
        raise no_store(path)
    columns = _parsed(sql)
    if isinstance(columns, str) or [
        (column.name, column.type, column.late) for column in columns
    ] != [
        ("name", "VARCHAR", False),
        ("value", "VARCHAR", False),
    ]:
        raise _foreign(path, "table", "meta", why="which is not as profilectl makes it")


def remember(path: Path) -> None:
    """Note that a store as it is now was written by this process, so nothing foreign is in it."""
    was = _signature(path)
    if was:
        _vouched[path.absolute()] = (was, SCHEMA_VERSION)


def _signature(path: Path) -> tuple[object, ...]:
    """Return the marks that change with a file, even if its time is set back; () for no file."""
    try:
        file = [signature_of(path), path.stat().st_ctime_ns]
        log = path.with_name(path.name + ".wal")
        return (*file, log.stat().st_ctime_ns if log.exists() else None)
    except OSError:
        return ()


def _foreign(
    path: Path, kind: str, name: str, *, why: str = "which no store of profilectl has"
) -> StoreUnusable:
    """Return the error for something in a store that profilectl did not make."""
    return StoreUnusable(f"{path} is not trusted: it holds the {kind} {shown(name)}, {why}", REMEDY)


def shown(name: str) -> str:
    """Return a name from a store for a message: in quotes, harmless on a terminal, not too long."""
    text = "".join(
        letter if letter.isprintable() and letter not in '"\\' else f"\\u{ord(letter):04x}"
        for letter in name[:80]
    )
    return f'"{text}{"..." if len(name) > 80 else ""}"'


@functools.lru_cache(maxsize=4096)
def _parsed(sql: str) -> list[Column] | str:
    """Return the columns that a statement declares, or the part that no table of ours has."""
    # DuckDB writes these statements itself, from its catalog, so they all have one form.
    inside = sql.partition("(")[2].removesuffix(");")
    columns = []
    for part in inside.split(", "):
        match = _COLUMN.fullmatch(part)
        if match is None:
            return part
        columns.append(
            Column(name=match[1], type=match[2], filled=bool(match[3]), late=bool(match[4]))
        )
    return columns


def _is_as_made(tables: Mapping[str, str]) -> bool:
    """Return whether all tables are as this version makes them.

    A store that was upgraded may differ in columns that were added late: for that the steps of the
    upgrade are needed, which take 10 ms to load.
    """
    try:
        _check_tables(Path(), tables, fixed=shapes(SCHEMA_VERSION, {}))
    except StoreUnusable:
        return False
    return True


def _check_tables(path: Path, tables: Mapping[str, str], fixed: Mapping[str, list[Column]]) -> None:
    for name in sorted(fixed.keys() - tables.keys()):
        raise StoreUnusable(f"{path} is damaged: its table {name} is gone", "restore a backup")
    # Everything else must be a table of a segment: <kind>_<number>.
    segments = [(name, *name.rpartition("_")[::2]) for name in tables.keys() - fixed.keys()]
    for name, kind, number in segments:
        if kind not in SEGMENT_TABLES or not re.fullmatch(r"0|[1-9][0-9]{0,9}", number):
            raise _foreign(path, "table", name)
    for name, columns in fixed.items():
        _check_fixed(path, name, _parsed(tables[name]), fixed=columns)
    for name, kind, _ in segments:
        _check_segment(path, name, _parsed(tables[name]), kind=kind)


def _odd_part(path: Path, name: str, part: str) -> StoreUnusable:
    why = f"and in it {shown(part)}, which no store of profilectl has"
    return _foreign(path, "table", name, why=why)


def _odd_column(path: Path, name: str, column: Column) -> StoreUnusable:
    why = f"whose column {shown(column.name)} is not as profilectl makes it"
    return _foreign(path, "table", name, why=why)


def _check_fixed(path: Path, name: str, columns: list[Column] | str, fixed: list[Column]) -> None:
    """Check the columns of a table of schema.sql. Raises StoreUnusable."""
    if isinstance(columns, str):
        raise _odd_part(path, name, columns)
    for column, ours in zip(columns, fixed, strict=False):
        if (column.name, column.type) != (ours.name, ours.type) or (
            not ours.late and (column.late or column.filled != ours.filled)
        ):
            raise _odd_column(path, name, column)
    for column in columns[len(fixed) :]:
        why = f"whose column {shown(column.name)} no store of profilectl has"
        raise _foreign(path, "table", name, why=why)
    for column in fixed[len(columns) :]:
        raise StoreUnusable(
            f"{path} is damaged: the column {column.name} of its table {name} is gone",
            "restore a backup",
        )


def _check_segment(path: Path, name: str, columns: list[Column] | str, kind: str) -> None:
    """Check the columns of a segment's table. Raises StoreUnusable."""
    if isinstance(columns, str):
        raise _odd_part(path, name, columns)
    types = {column.name: column.type for column in columns}
    for column in columns:
        expected = SEGMENT_TABLES[kind].get(column.name) or _of_kind(kind, column.name)
        if not _as_wide(column.type, expected) or column.filled or column.late:
            raise _odd_column(path, name, column)
    for column_name in SEGMENT_TABLES[kind].keys() - types.keys():
        if (kind, column_name) in NOT_IN_ALL:
            continue
        raise StoreUnusable(
            f"{path} is damaged: the column {column_name} of its table {name} is gone",
            "restore a backup",
        )


def _as_wide(kind: str, expected: str | None) -> bool:
    """Return whether a column of a segment may be of a type.

    These columns are made from what is read, not declared: a whole number may be of another width,
    and a column that is null throughout is an INTEGER.
    """
    if expected is None:
        return False
    return kind in (expected, "INTEGER") or {kind, expected} <= WHOLE


def _of_kind(kind: str, column: str) -> str | None:
    """Return the type of a column of identities or attributes, or None if it is no such column."""
    if kind in IDENTITIES and column.startswith("i_") and column[2:] in CODE:
        return "VARCHAR"
    return "VARCHAR" if kind in ATTRIBUTES and re.fullmatch(r"a(0|[1-9][0-9]*)", column) else None


def _check_listed(scratch: Scratch, path: Path) -> None:
    """Refuse a list of segments with anything but kinds of tables and identity types in it.

    Both become part of statements, as names.
    """
    for number, tables, identities in scratch.rows(SEGMENTS):
        for noun, names, allowed in (
            ("table", tables, SEGMENT_TABLES),
            ("identity type", identities, CODE),
        ):
            for name in names:
                if name not in allowed:
                    raise _foreign(path, f"segment {number} with the {noun}", str(name))


_shapes: dict[tuple[int, bool], dict[str, list[Column]]] = {}


def shapes(version: int, steps: Steps) -> dict[str, list[Column]]:
    """Return the fixed tables of a schema version: schema.sql, less what later steps made."""
    shape = (version, bool(steps))
    if shape not in _shapes:
        _shapes[shape] = _taken_back(dict(_declared()), version, steps)
    return _shapes[shape]


def _taken_back(
    tables: dict[str, list[Column]], version: int, steps: Steps
) -> dict[str, list[Column]]:
    # The newest step first: a column goes before the table that an earlier step made.
    for number in sorted(steps, reverse=True):
        for statement in reversed(steps[number]):
            created, added = _CREATED.fullmatch(statement), _ADDED.fullmatch(statement)
            if created and number >= version:
                del tables[created[1]]
            elif added and number >= version:
                columns = tables[added[1]]
                tables[added[1]] = [column for column in columns if column.name != added[2]]
            elif added:
                tables[added[1]] = [
                    column._replace(late=True) if column.name == added[2] else column
                    for column in tables[added[1]]
                ]
    return tables


def _declared() -> Iterator[tuple[str, list[Column]]]:
    """Yield the tables of schema.sql."""
    schema = Path(__file__).with_name("schema.sql").read_text(encoding="utf-8")
    for statement in re.sub(r"--[^\n]*", "", schema).split(";\n"):
        if created := _CREATED.fullmatch(statement):
            parts = [_DECLARED.fullmatch(part.strip()) for part in created[2].split(",")]
            assert all(parts), created[1]
            yield (
                created[1],
                [Column(part[1], part[2].upper(), bool(part[3])) for part in parts if part],
            )
