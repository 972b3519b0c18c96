"""Hostile content does nothing: it is shown as text, written as data, or refused."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import stat
from pathlib import Path
from typing import Any

import pytest
from support.doors import made_once, run_here
from support.effort import spread_now

ESCAPES = "\x1b[31mred\x1b[0m\x1b]8;;https://evil.example\x07link\x1b]8;;\x07\x1b]0;title\x07\x9b2J"
MARKUP = "[bold red]x[/] [link=file:///etc/passwd]y[/link] [/] :smile: [@click=app.quit]z[/]"
BIDI = "\u202egpj.exe\u202c \u2066a\u2069 \u200f\u061c \u200b\ufeff \u2028 \U000e0041"
SQL = '\'; drop table store.import; -- "x" $1 {y} %s \\'
FORMULAS = [
    "=cmd|' /C calc'!A0",
    "+1+1",
    "-2+3",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\n=1",
    "\uff1d1+1",
    "|x",
    "%x",
]
HOSTILE = [
    ESCAPES,
    MARKUP,
    BIDI,
    SQL,
    *FORMULAS,
    "../../etc/passwd",
    "a\r\nb",
    "\ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16"),
]
DANGEROUS = {chr(one) for one in (*range(0x20), 0x7F, *range(0x80, 0xA0))} - {"\n"} | set(
    "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c\u200b\ufeff\u2028\u2029\U000e0041"
)


def is_inert(text: str) -> None:
    found = {f"U+{ord(one):04X}" for one in text if one in DANGEROUS}
    assert not found, (found, text)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a store whose every part comes from a stranger. Nothing here changes it."""
    tmp_path = tmp_path_factory.mktemp("hostile")
    rows = [
        {
            "user_identities": {"customer_id": f"C{n} {text}"},
            "user_attributes": {f"k{n} {text}": text, "list": [text], "same": text},
        }
        for n, text in enumerate(HOSTILE)
    ]
    rows.append({"user_attributes": {f"nobody {ESCAPES}": MARKUP}})
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = run_here(
        "import",
        "a.jsonl",
        "--feed",
        f"{MARKUP} {ESCAPES} {BIDI}",
        "--max-shared",
        "1",
        folder=tmp_path,
    )
    assert done.returncode == 3, done.stderr
    is_inert(done.stdout)
    is_inert(done.stderr)
    return tmp_path


def documents(folder: Path) -> list[dict[str, Any]]:
    return [
        json.loads(line)
        for line in run_here("export", "profiles", folder=folder).stdout.split("\n")
        if line
    ]


def test_every_value_is_kept_to_the_last_character(folder: Path) -> None:
    found = {
        one["user_identities"]["customer_id"][0]: one["user_attributes"]
        for one in documents(folder)
    }
    assert len(found) == len(HOSTILE)
    for n, text in enumerate(HOSTILE):
        attributes = next(value for key, value in found.items() if key.startswith(f"C{n} "))
        assert attributes == {f"k{n} {text}": text, "list": [text], "same": text}


COMMANDS = [
    "imports list",
    "imports show 1",
    "feeds list",
    "diff 1",
    "stats",
    "check",
    "config export",
    "imports undo 7",
    "import a.jsonl --feed g --dry-run",
    "import a.jsonl --feed g --dry-run --explain-rows rows.jsonl",
]


@pytest.mark.parametrize("arguments", spread_now(COMMANDS, 3))
def test_what_a_person_reads_is_inert(arguments: str, folder: Path) -> None:
    done = run_here(*arguments.split(), folder=folder)
    assert "Traceback" not in done.stderr
    assert done.returncode in (0, 2, 3, 4), done.stderr
    is_inert(done.stdout)
    is_inert(done.stderr)


@pytest.fixture(scope="module")
def customers(folder: Path) -> list[str]:
    return [one["user_identities"]["customer_id"][0] for one in documents(folder)]


@pytest.mark.parametrize("n", spread_now(range(len(HOSTILE)), 3))
def test_a_shown_profile_is_inert(n: int, folder: Path, customers: list[str]) -> None:
    identity = customers[n]
    done = run_here("show", "--customer-id", identity, folder=folder)
    assert done.returncode == 0, done.stderr
    is_inert(done.stdout)
    is_inert(done.stderr)
    if HOSTILE[n] == MARKUP:
        assert "[bold red]x[/]" in done.stdout


@pytest.mark.parametrize(
    "name",
    spread_now(
        [
            MARKUP.replace("/", "_") + ".csv",
            "\x1b[31mred.csv",
            "\u202ea.csv",
            "-o.csv",
            "a;b'$(c).csv",
            "new\nline.csv",
        ],
        3,
    ),
)
def test_a_file_name_is_text(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("customer_id,x\nA,1\n,2\n")
    for arguments in (["import", "--feed", "f", "--dry-run"], ["import", "--feed", "f"]):
        done = run_here(*arguments, "--", name, folder=tmp_path)
        assert done.returncode == 3, done.stderr
        is_inert(done.stdout)
        is_inert(done.stderr)
    assert (
        json.loads(run_here("imports", "show", "1", "--json", folder=tmp_path).stdout)["files"][0][
            "path"
        ]
        == name
    )
    for command in ("imports list", "imports show 1"):
        is_inert(run_here(*command.split(), folder=tmp_path).stdout)


def test_headers_may_hold_anything(tmp_path: Path) -> None:
    names = ["customer_id", *(text for text in HOSTILE if "." not in text)]
    out = io.StringIO(newline="")
    writer = csv.writer(out, quoting=csv.QUOTE_ALL)
    writer.writerow(names)
    writer.writerow(["A", *(f"v{n}" for n in range(len(names) - 1))])
    (tmp_path / "a.csv").write_bytes(out.getvalue().encode())
    done = run_here("import", "a.csv", "--feed", "f", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    is_inert(done.stdout)
    is_inert(done.stderr)
    (one,) = documents(tmp_path)
    assert sorted(one["user_attributes"].values()) == sorted(f"v{n}" for n in range(len(names) - 1))


def test_names_in_a_manifest_are_names_of_columns_only(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("customer_id,x\nA,1\n")
    for column, field in (
        ("../../etc/passwd", "user_attributes.x"),
        ("x", "../../etc/passwd"),
        (ESCAPES, MARKUP),
        ("x", SQL),
    ):
        (tmp_path / "m.json").write_text(
            json.dumps(
                {
                    "hasHeaderRow": True,
                    "columns": [
                        {
                            "column": "customer_id",
                            "action": "keep",
                            "field": "user_identities.customer_id",
                        },
                        {"column": column, "action": "keep", "field": field},
                    ],
                }
            )
        )
        done = run_here("import", "a.csv", "--feed", "f", "--manifest", "m.json", folder=tmp_path)
        assert done.returncode in (2, 4), (column, field, done.stdout)
        assert "Traceback" not in done.stderr
        is_inert(done.stderr)
    assert not (tmp_path / "profiles.duckdb").exists() or not documents(tmp_path)


# Spreadsheets


def test_a_csv_export_is_exact_unless_it_is_asked_to_be_safe(folder: Path) -> None:
    exact = run_here("export", "profiles", "--format", "csv", "-o", "exact.csv", folder=folder)
    safe = run_here(
        "export",
        "profiles",
        "--format",
        "csv",
        "--safe-for-spreadsheets",
        "-o",
        "safe.csv",
        folder=folder,
    )
    assert exact.returncode == safe.returncode == 0
    cells = {}
    for name in ("exact", "safe"):
        with (folder / f"{name}.csv").open(encoding="utf-8", newline="") as content:
            cells[name] = [cell for row in csv.reader(content) for cell in row]
    for text in FORMULAS[:7]:
        assert text in cells["exact"]
        assert text not in cells["safe"]
        assert "'" + text in cells["safe"]
    assert not [
        cell
        for cell in cells["safe"]
        if cell and cell[0] in "=+-@\t\r\n\uff1d" and not re.fullmatch("-?[0-9]+", cell)
    ]
    assert len(cells["exact"]) == len(cells["safe"])


# Paths


OUTPUTS = [
    "export profiles -o",
    "import b.csv --feed f --rejects",
    "import b.csv --feed f --rejects-as-input",
    "import b.csv --feed f --explain-rows",
    "plan b.csv --feed f -o",
    "backup",
]


@made_once
def imported(folder: Path) -> None:
    (folder / "b.csv").write_text("customer_id,x\nA,1\n,2\n")
    assert run_here("import", "b.csv", "--feed", "g", folder=folder).returncode == 3


@pytest.mark.parametrize("command", OUTPUTS)
@pytest.mark.parametrize("kind", ["link", "dangling link", "folder", "pipe", "device", "no folder"])
def test_what_is_written_goes_to_plain_files_only(command: str, kind: str, tmp_path: Path) -> None:
    imported(tmp_path)
    store = (tmp_path / "profiles.duckdb").read_bytes()
    precious = tmp_path / "precious"
    precious.write_text("mine")
    target = tmp_path / "target.csv"
    match kind:
        case "link":
            target.symlink_to(precious)
        case "dangling link":
            target.symlink_to(tmp_path / "elsewhere")
        case "folder":
            target.mkdir()
        case "pipe":
            os.mkfifo(target)
        case "device":
            target = Path("/dev/full")
        case "no folder":
            target = tmp_path / "nowhere" / "target.csv"
    done = run_here(*command.split(), str(target), folder=tmp_path)
    assert done.returncode in (2, 4), (done.returncode, done.stderr)
    assert "Traceback" not in done.stderr
    assert str(target) in done.stderr
    assert "Try:" in done.stderr
    assert precious.read_text() == "mine"
    assert not (tmp_path / "elsewhere").exists()
    assert (tmp_path / "profiles.duckdb").read_bytes() == store


@pytest.mark.parametrize(
    "kind",
    ["link", "dangling link", "folder", "pipe", "device", "text", "empty", "another database"],
)
@pytest.mark.parametrize(
    "command",
    [
        "import a.csv --feed f",
        "show --mpid 1",
        "export profiles",
        "import a.csv --feed f --dry-run",
        "check",
        "backup x.duckdb",
    ],
)
def test_a_store_is_a_plain_file_of_ours(command: str, kind: str, tmp_path: Path) -> None:
    import duckdb

    (tmp_path / "a.csv").write_text("customer_id,x\nA,1\n")
    store = tmp_path / "profiles.duckdb"
    other = tmp_path / "other"
    match kind:
        case "link":
            imported(tmp_path)
            store.rename(other)
            store.symlink_to(other)
        case "dangling link":
            store.symlink_to(other)
        case "folder":
            store.mkdir()
        case "pipe":
            os.mkfifo(store)
        case "device":
            store = Path("/dev/null")
        case "text":
            store.write_text("customer_id,x\n" * 1000)
        case "empty":
            store.touch()
        case "another database":
            with duckdb.connect(store) as connection:
                connection.execute("create table mine as select 42 as x")
    before = store.read_bytes() if store.is_file() else b""
    done = run_here("--store", str(store), *command.split(), folder=tmp_path)
    assert done.returncode == 6, (done.returncode, done.stdout, done.stderr)
    assert str(store) in done.stderr
    assert "Traceback" not in done.stderr
    assert (store.read_bytes() if store.is_file() else b"") == before
    if kind == "dangling link":
        assert not other.exists()


def test_everything_written_is_for_its_owner_only(tmp_path: Path) -> None:
    (tmp_path / "b.csv").write_text("customer_id,x\nA,1\n,2\n")
    there = {one.name for one in tmp_path.iterdir()}
    for command in (
        (
"import b.csv --feed f --rejects r.jsonl --rejects-as-input r.csv --explain-rows"
" e.jsonl"
), "plan b.csv --feed g -o x.plan",
        "export profiles -o p.jsonl", "export profiles --format csv -o p.csv", "export profiles --format parquet -o p.parquet", "backup copy.duckdb",
    ):  # fmt: skip
        done = run_here(*command.split(), folder=tmp_path)
        assert done.returncode in (0, 3), done.stderr
    written = [one for one in tmp_path.iterdir() if one.name not in there]
    assert len(written) == 10
    for one in written:
        assert stat.S_IMODE(one.stat().st_mode) == 0o600, one
