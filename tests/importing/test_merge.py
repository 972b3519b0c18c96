"""Which value of an attribute a profile keeps: what a newcomer runs who changes merge.py."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from support.conformance import cases_of, check_with_command_line

from profilectl.importing.request import ImportRequest
from profilectl.importing.run import import_files


@pytest.mark.parametrize("case", cases_of("merge"))
def test_case(case: dict[str, Any], tmp_path: Path) -> None:
    check_with_command_line(case, tmp_path)


# What becomes of a cell is found in several ways, which agree: by the only earlier row of the
# profile, by the newest of several, and by the last of several rows of the import.

DELETED = "deleted"  # no value has this text
CELLS: list[Any] = [None, DELETED, "x", "y", ["x"], ["y"], True]
CASES = list(itertools.product(CELLS, CELLS))
"""What the store says of an attribute, and what the import does."""


def lines(cells: list[Any]) -> str:
    """Return batches: each case is a person of its own."""
    batches = []
    for number, cell in enumerate(cells):
        batch: dict[str, Any] = {"user_identities": {"customer_id": f"C{number}"}}
        if cell == DELETED:
            batch["deleted_user_attributes"] = ["a"]
        elif cell is not None:
            batch["user_attributes"] = {"a": cell}
        batches.append(json.dumps(batch))
    return "".join(f"{batch}\n" for batch in batches)


def counts(folder: Path, sources: tuple[str, str], *, before: str, after: str) -> Any:
    """Import a first file and a second one; return the counts of the second."""
    folder.mkdir()
    for source, text in zip(sources, (before, after), strict=True):
        file = folder / f"{source}.jsonl"
        file.write_text(text)
        report = import_files(
            folder / "s.duckdb", ImportRequest([str(file)], source, source=source)
        )
    counted = report.counts.as_json()
    return {part: counted[part] for part in ("profiles", "attributes", "warnings", "left_out")}


@pytest.mark.parametrize("sources", [("warehouse", "sdk"), ("sdk", "warehouse")])
def test_the_ways_agree(sources: tuple[str, str], tmp_path: Path) -> None:
    before, after = (lines(list(cells)) for cells in zip(*CASES, strict=True))
    neutral = lines([None] * len(CASES))
    other = lines([cell and "z" for _, cell in CASES])
    plain = counts(tmp_path / "plain", sources, before=before, after=after)
    # A value is set, changed, deleted or refused in some case, so that there is something to agree.
    assert sum(plain["attributes"].values()) >= len(CASES) / 2
    touched = counts(tmp_path / "touched", sources, before=neutral + before, after=after)
    repeated = counts(tmp_path / "repeated", sources, before=before, after=other + after)
    both = counts(tmp_path / "both", sources, before=before + neutral, after=neutral + after)
    assert plain == touched == repeated == both


def csv(cells: list[str]) -> str:
    return "customer_id,a\n" + "".join(f"C{place},{cell}\n" for place, cell in enumerate(cells))


def test_a_deletion_in_the_only_row_leaves_no_value(tmp_path: Path) -> None:
    cases = list(itertools.product(("", "x"), ("", "x", "y")))
    counted = []
    for folder, earlier in (("plain", 1), ("touched", 2)):
        (tmp_path / folder).mkdir()
        files = [csv([cell for cell, _ in cases])] * earlier + [csv([cell for _, cell in cases])]
        for place, text in enumerate(files):
            file = tmp_path / folder / f"{place}.csv"
            file.write_text(text + "\n" * place)
            request = ImportRequest([str(file)], "f", empty="delete")
            report = import_files(tmp_path / folder / "s.duckdb", request)
        counted.append(report.counts.as_json()["attributes"])
    assert counted[0] == counted[1]
    assert counted[0] == {"set": 2, "changed": 1, "unchanged": 1, "deleted": 1, "blocked": 0}
