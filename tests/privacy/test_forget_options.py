"""`forget --file` names people in a file alone: an identity beside it would be ignored in silence."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.doors import run


@pytest.mark.parametrize(
    "identity",
    [["--email", "ann@example.com"], ["--mpid", "1"], ["--identity", "email=a@b.c"], ["ann"]],
)
def test_a_file_of_people_goes_without_an_identity(identity: list[str], tmp_path: Path) -> None:
    (tmp_path / "people.csv").write_text("email\nbob@example.com\n")

    ended = run("forget", "--file", "people.csv", *identity, folder=tmp_path)

    assert ended.returncode == 2
    assert "--file goes without an identity" in ended.stderr
