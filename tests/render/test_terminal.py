"""What a terminal is sent does nothing to it; what a pipe is sent is every text as it is.

And names that are not UTF-8.
"""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import select
import sys
from pathlib import Path

import pytest
from support.doors import call, made_once, run
from support.places import ROOT

C1 = "\x9b2J\x85\x90q\x9c"
BIDI = "\u202egpj.exe\u202c\u2066a\u2069\u200e\u200f\u061c"
VALUE = f"a{C1}{BIDI}\u2028\u2029\x7f\ufeff\U000e0041\U000e0020 é\u0001z"
DANGEROUS = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff\U000e0000-\U000e007f]"
)


def make_store(folder: Path) -> None:
    row = {
        "user_identities": {"customer_id": "A", "email": f"x{C1}{BIDI}@x.com"},
        "user_attributes": {f"k{VALUE}": VALUE, "tier": VALUE},
        "events": [
            {
                "event_type": "custom_event",
                "data": {
                    "event_name": VALUE,
                    "custom_event_type": "other",
                    "custom_attributes": {"a": VALUE},
                },
            },
        ],
    }
    (folder / "a.jsonl").write_text(json.dumps(row) + "\n")
    (folder / "ids.txt").write_text("customer_id\nA\n")
    assert (
        call(
            "import", "a.jsonl", "--feed", f"f{VALUE}".replace("\x01", ""), folder=folder
        ).exit_code
        == 0
    )
    assert call("audiences", "add", "all", "tier exists", folder=folder).exit_code == 0


store = made_once(make_store)


def on_a_terminal(folder: Path, *arguments: str) -> str:
    """Run the real command with a terminal as its input and both its outputs; return what that is
    sent.
    """
    root = str(ROOT)
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(folder)
        os.execve(
            sys.executable,
            [sys.executable, "-m", "profilectl", *arguments],
            {**os.environ, "PYTHONPATH": root, "NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "200"},
        )
    shown = b""
    with contextlib.suppress(OSError):  # Linux says so that the other end is closed
        while select.select([terminal], [], [], 60)[0]:
            block = os.read(terminal, 65_536)
            if not block:
                break
            shown += block
    os.waitpid(child, 0)
    os.close(terminal)
    return shown.decode("utf-8", "surrogateescape").replace("\r\n", "\n")


JSON = [
    ["show", "--customer-id", "A", "--json"],
    ["lookup", "ids.txt", "--field", "tier"],
    ["imports", "list", "--json"],
    *(
        pytest.param(one, marks=pytest.mark.slow)
        for one in (
            ["export", "profiles"],
            ["events", "--json"],
            ["diff", "1", "--json"],
            ["audiences", "members", "all", "--json"],
        )
    ),
]
OTHER = [
    ["show", "--customer-id", "A"],
    ["export", "profiles", "--format", "csv"],
    ["export", "attributes", "--format", "csv"],
    ["stats"],
    ["search", "x"],
    [f"no{C1}{BIDI}such"],
    ["show", f"--no{C1}\x1b[2J", "x"],
    ["import", f"no{C1}{BIDI}\x1b[2J.csv", "--feed", "f"],
    ["config", "export"],
]


@pytest.mark.parametrize("arguments", JSON, ids=" ".join)
def test_json_on_a_terminal_is_escaped_and_says_the_same(
    arguments: list[str], tmp_path: Path
) -> None:
    store(tmp_path)
    shown = on_a_terminal(tmp_path, *arguments)
    assert not DANGEROUS.findall(shown)
    piped = run(*arguments, folder=tmp_path).stdout
    assert json.dumps(VALUE, ensure_ascii=False)[1:-1] in piped or C1 in piped, (
        "a pipe gets the text as it is"
    )
    begin = min(place for place in (shown.find("{"), shown.find("[")) if place >= 0)
    assert (
        json.JSONDecoder().raw_decode(shown[begin:])[0] == json.JSONDecoder().raw_decode(piped)[0]
    )


@pytest.mark.slow
@pytest.mark.parametrize("arguments", OTHER, ids=range(len(OTHER)))
def test_nothing_else_reaches_a_terminal_either(arguments: list[str], tmp_path: Path) -> None:
    store(tmp_path)
    shown = re.sub("\x1b\\[[0-9;]*m", "", on_a_terminal(tmp_path, *arguments))
    assert shown
    assert not DANGEROUS.findall(shown)


ODD = os.fsdecode(b"b\xff.csv")


@pytest.mark.parametrize("arguments", [
    ["import", ODD, "--feed", "f"], ["import", ODD, "--feed", "f", "--json"], ["--store", ODD, "stats"], ["export", "profiles", "-o", ODD], ["import", "a.csv", "--feed", "f", "--rejects", ODD],
    ["plan", "make", ODD, "--feed", "f", "-o", "p"], ["apply", ODD], ["config", "apply", ODD], ["show", "--customer-id", ODD], ["set", "--customer-id", "A", f"{ODD}=1"], ["explain", "row", f"{ODD}:1"],
])  # fmt: skip
def test_a_name_that_is_not_utf_8_is_refused_in_words(arguments: list[str], tmp_path: Path) -> None:
    """Neither DuckDB nor JSON can say it: a fault of ours was told of."""
    (tmp_path / ODD).write_text("customer_id\nA\n")
    done = run(*arguments, folder=tmp_path)
    assert done.returncode == 2, done.stderr
    assert "b\\\\xff.csv" in done.stderr or "b\\xff.csv" in done.stderr
    assert "is not UTF-8" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == [ODD]


def test_so_is_one_that_a_pattern_finds_and_one_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / ODD).write_text("customer_id\nA\n")
    done = run("import", "*.csv", "--feed", "f", folder=tmp_path)
    assert (done.returncode, "is not UTF-8" in done.stderr) == (4, True), done.stderr
    folder = tmp_path / os.fsdecode(b"d\xff")
    folder.mkdir()
    (folder / "a.csv").write_text("customer_id\nA\n")
    done = run("import", "a.csv", "--feed", "f", folder=folder)
    assert (done.returncode, "is not UTF-8" in done.stderr) == (2, True), done.stderr


def test_a_question_mark_is_a_letter_like_any_other_or_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "a?b*[c].csv").write_text("customer_id,tier\nA,1\n,2\n")
    (tmp_path / "axbyc.csv").write_text("customer_id,tier\nB,1\n")
    done = run("import", "a?b*[c].csv", "--feed", "f", "--json", folder=tmp_path)
    assert (done.returncode, json.loads(done.stdout)["rows"]["applied"]) == (3, 1), done.stderr
    assert (tmp_path / "a?b*[c].csv.rejects.jsonl").exists()
    for form in ("jsonl", "csv", "parquet"):
        name = f"p?=1*.{form}"
        assert (
            run("export", "profiles", "--format", form, "-o", name, folder=tmp_path).returncode == 0
        )
        done = run("import", name, "--feed", f"again-{form}", folder=tmp_path)
        assert done.returncode == 0, done.stderr
    assert (
        run("plan", "make", "axbyc.csv", "--feed", "g", "-o", "q?.plan", folder=tmp_path).returncode
        == 0
    )
    assert run("apply", "q?.plan", folder=tmp_path).returncode == 0
    assert run("backup", "b?.duckdb", folder=tmp_path).returncode == 4
    done = run("--store", "s?.duckdb", "import", "axbyc.csv", "--feed", "g", folder=tmp_path)
    assert (done.returncode, "question mark" in done.stderr) == (6, True)


REMOTE = re.compile(
    r"@font-face|@import|<script|<image|<foreignObject|href|src[:=]|(?<!xmlns=\")https?:|javascript:|url\((?!#)",
    re.IGNORECASE,
)
"""What makes whoever opens a picture or a page load or run something."""


def test_a_picture_loads_and_runs_nothing(tmp_path: Path) -> None:
    """The fonts of an SVG came from a stranger's machine, which was told whenever one was opened."""
    row = {
        "user_identities": {"customer_id": "A"},
        "user_attributes": {
            "x": "</text><script>alert(1)</script><image href='http://evil.example/'/>@font-face {}"
        },
    }
    (tmp_path / "a.jsonl").write_text(json.dumps(row) + "\n")
    assert call("import", "a.jsonl", "--feed", "f", folder=tmp_path).exit_code == 0
    assert (
        call(
            "show",
            "--customer-id",
            "A",
            "--save-svg",
            "a.svg",
            "--save-html",
            "a.html",
            folder=tmp_path,
        ).exit_code
        == 0
    )
    drawn = (tmp_path / "a.svg").read_text()
    assert "@font-face" in drawn, "a value is kept as it is"
    style = drawn.partition("</style>")[0]
    assert not REMOTE.findall(style), REMOTE.findall(style)
    for name in ("a.svg", "a.html"):
        text = (tmp_path / name).read_text()
        assert not re.findall("<script|<image|<img|<link|<a ", text), name
    root = ROOT
    for picture in (root / "docs" / "pictures").iterdir():
        assert not REMOTE.findall(picture.read_text()), picture
