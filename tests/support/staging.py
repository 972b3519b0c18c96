"""A file staged by itself: what the readers make of it, before anything is decided."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from profilectl.importing.stage.json import jsonl
from profilectl.importing.stage.options import ReadingOptions
from profilectl.importing.stage.run import stage_files
from profilectl.importing.stage.source.files import name_files, open_files
from profilectl.importing.stage.staged import Rejects, Staged
from profilectl.rules.identity import NAME
from profilectl.store.scratch import Scratch


@dataclass(frozen=True, slots=True)
class StagedContent:
    """The content of a file, read in one way or the other."""

    rows: list[dict[str, Any]]
    """The staged rows, by seq; an attribute is named, and what is null is left out."""
    events: list[tuple[Any, ...]]
    """The events of all rows, by row and place."""
    remarks: list[tuple[Any, ...]]
    """What was left out of rows, or is worth knowing."""
    judged: set[tuple[int, str]]
    """Identities that were judged nobody's while a row was read, by seq and column."""
    rejects: bytes
    """The file of the rejects."""
    fast: int
    """How many lines were taken apart all at once."""


def staged_lines(lines: Sequence[str], *, fast: bool = True) -> StagedContent:
    """Stage lines of JSON. fast: what can be is taken apart all at once; else nothing is."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "a.jsonl"
        file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="")
        if fast:
            return _staged(file)
        with mock.patch.object(jsonl, "choose_members", return_value=[]):
            return _staged(file)


def _staged(file: Path) -> StagedContent:
    scratch = Scratch(file.parent)
    opened = open_files(name_files([str(file)]), format=None, encoding=None, spill=file.parent)
    rejects = Rejects(file.parent / "rejects", [str(file)])
    staged = stage_files(scratch, files=opened.files, options=ReadingOptions(), rejects=rejects)
    rejects.close()
    content = StagedContent(
        rows=_rows(scratch, staged),
        events=_all_of(scratch, "staged_event") if staged.events else [],
        remarks=sorted(_selected(scratch, [file.skips for file in staged.files]), key=repr),
        judged={
            (seq, f"i_{NAME[kind]}")
            for seq, _, kind, _ in _selected(scratch, [file.skipped for file in staged.files])
        },
        rejects=rejects.path.read_bytes().replace(bytes(file.parent), b"")
        if rejects.path.exists()
        else b"",
        fast=scratch.row("select count(*) from file0_fast where ok")[0]
        if scratch.has("file0_fast")
        else 0,
    )
    scratch.close()
    return content


def _rows(scratch: Scratch, staged: Staged) -> list[dict[str, Any]]:
    columns = [name for name, *_ in scratch.rows("describe staged")]
    names = [
        staged.keys[int(column[1:])] if column[1:].isdecimal() else column for column in columns
    ]
    loose: dict[int, dict[str, str]] = {}
    for seq, key, value in _all_of(scratch, "staged_loose") if staged.loose else ():
        loose.setdefault(seq, {})[key] = value
    return [
        {name: cell for name, cell in zip(names, row, strict=True) if cell is not None}
        | loose.get(row[0], {})
        for row in _all_of(scratch, "staged")
    ]


def _all_of(scratch: Scratch, relation: str) -> list[tuple[Any, ...]]:
    return scratch.rows(f"select * from {relation} order by all")


def _selected(scratch: Scratch, selects: Sequence[Sequence[str]]) -> list[tuple[Any, ...]]:
    return [row for of_file in selects for select in of_file for row in scratch.rows(select)]
