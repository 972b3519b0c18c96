"""An erasure, and what is left of somebody."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import duckdb
from support.doors import call

from profilectl.codes import ProfilectlError


def tried(folder: Path, *arguments: str) -> tuple[int, str]:
    """Return the exit status of a command, and what it says where it refuses."""
    found = call(*arguments, folder=folder)
    if isinstance(found.exception, ProfilectlError):
        return int(found.exception.exit), f"{found.exception.message}\n{found.exception.hint}"
    return found.exit_code, found.output


def done(folder: Path, *arguments: str, ok: tuple[int, ...] = (0,)) -> Any:
    found = call(*arguments, folder=folder)
    assert found.exit_code in ok, (arguments, found.output, found.exception)
    return found


def profiles(folder: Path, *who: str) -> list[dict[str, Any]]:
    found = call("show", *who, "--json", folder=folder)
    document: dict[str, Any] = json.loads(found.stdout)
    return list(document["profiles"])


def in_file(folder: Path, values: list[str]) -> list[str]:
    """Return which values are in the bytes of the store, of its log, or of anything that is left
    beside it.
    """
    content = b""
    for path in folder.iterdir():
        if path.name.startswith(("profiles.duckdb", ".profiles.duckdb")):
            content += b"".join(
                one.read_bytes()
                for one in ([path] if path.is_file() else path.rglob("*"))
                if one.is_file()
            )
    return [one for one in values if one.encode().lower() in content.lower()]


def in_tables(folder: Path, values: list[str]) -> list[str]:
    """Return which values are in any table of the store, however they are packed."""
    found = set()
    with duckdb.connect(str(folder / "profiles.duckdb"), read_only=True) as store:
        for (table,) in store.execute("select table_name from duckdb_tables()").fetchall():
            for row in store.execute(f'select * from "{table}"').fetchall():
                text = " ".join(map(str, row)).lower()
                found |= {one for one in values if one.lower() in text}
    return sorted(found)
