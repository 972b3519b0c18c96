"""A small file that unpacks to more than there is room for is refused, told as what it is, and
leaves nothing behind."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import shutil
import subprocess
import time
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow
import pyarrow.parquet as parquet
import pytest
from support.effort import spread_now
from typer.testing import CliRunner

from profilectl.cli.app import app
from profilectl.codes import ProfilectlError
from profilectl.importing.stage.source import unpacking
from profilectl.importing.stage.source.unpacking import size_of, sized

HEAD = b"email,tier\n"
ROW = b"c1@example.com,gold\n"
BOMB = HEAD + b"".join(b"c%d@example.com,%s\n" % (n, b"g" * 20_000) for n in range(100))
"""2 MB of text that pack into a few KB."""


def zstd(content: bytes) -> bytes:
    return pyarrow.compress(content, codec="zstd", asbytes=True)


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return out.getvalue()


def lying(members: dict[str, bytes], size: int) -> bytes:
    """Return an archive that says another size of its members."""
    found = bytearray(zipped(members))
    for mark, place in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        start = -1
        while (start := found.find(mark, start + 1)) >= 0:
            found[start + place : start + place + 4] = size.to_bytes(4, "little")
    return bytes(found)


def overlapping() -> bytes:
    """Return an archive whose members are all the same bytes."""
    content = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = content.compress(BOMB) + content.flush()
    names = [f"{n}.csv".encode() for n in range(9)]
    local = (
        b"PK\x03\x04\x14\0\0\0\x08\0\0\0\0\0"
        + zlib.crc32(BOMB).to_bytes(4, "little")
        + len(packed).to_bytes(4, "little")
        + len(BOMB).to_bytes(4, "little")
        + (5).to_bytes(2, "little")
        + b"\0\0"
    )
    body = local + names[0] + packed
    listed = b"".join(
        b"PK\x01\x02\x14\0\x14\0\0\0\x08\0\0\0\0\0"
        + zlib.crc32(BOMB).to_bytes(4, "little")
        + len(packed).to_bytes(4, "little")
        + len(BOMB).to_bytes(4, "little")
        + (5).to_bytes(2, "little")
        + bytes(12)
        + bytes(4)
        + name
        for name in names
    )
    return (
        body
        + listed
        + b"PK\x05\x06\0\0\0\0"
        + (9).to_bytes(2, "little") * 2
        + len(listed).to_bytes(4, "little")
        + len(body).to_bytes(4, "little")
        + b"\0\0"
    )


FIVE = {f"{n}.csv": HEAD + b"c%d@example.com,%s\n" % (n, b"g" * 400_000) for n in range(5)}
PACKED = {
    "a.csv.gz": gzip.compress(BOMB),
    "a.csv.zst": zstd(BOMB),
    "a.zip": zipped({"a.csv": BOMB}),
    "bzip2.zip": zipped({"a.csv": BOMB}, zipfile.ZIP_BZIP2),
    "lzma.zip": zipped({"a.csv": BOMB}, zipfile.ZIP_LZMA),
    "five.zip": zipped(FIVE),
    "two.csv.gz": gzip.compress(BOMB[:1_000_000]) + gzip.compress(BOMB[1_000_000:]),
}


@dataclass
class Done:
    """How a command ended: its exit status, and what it said of that."""

    exit_code: int
    stderr: str


def call(*arguments: str, folder: Path, stdin: bytes | None = None) -> Done:
    with contextlib.chdir(folder):
        done = CliRunner().invoke(app, list(arguments), input=stdin)
    if isinstance(done.exception, ProfilectlError):
        return Done(int(done.exception.exit), f"{done.exception.message}\n{done.exception.hint}")
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return Done(done.exit_code, done.stderr)


def left(folder: Path) -> list[str]:
    return sorted(one.name for one in folder.iterdir())


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bombs")
    (folder / "a.csv").write_bytes(HEAD + ROW)
    assert call("import", "a.csv", "--feed", "crm", folder=folder).exit_code == 0
    return folder


@pytest.fixture
def folder(store: Path, tmp_path: Path) -> Iterator[Path]:
    shutil.copy(store / "profiles.duckdb", tmp_path)
    yield tmp_path
    assert not [name for name in left(tmp_path) if name.startswith(".")]


@pytest.mark.parametrize("name", spread_now(PACKED, 3))
def test_what_unpacks_to_more_than_it_may_is_refused_and_what_to_do_is_said(
    name: str, folder: Path
) -> None:
    (folder / name).write_bytes(PACKED[name])
    before = left(folder)
    done = call("import", name, "--feed", "crm", "--max-unpacked", "1MB", folder=folder)
    assert done.exit_code == 4, done.stderr
    assert f"{name} has {sized(len(PACKED[name]))} and unpacks to at least" in done.stderr
    assert "more than the 1 MB that are allowed" in done.stderr
    assert "--max-unpacked 10MB" in done.stderr
    assert left(folder) == before
    assert (
        call(
            "import", name, "--feed", "crm", "--dry-run", "--max-unpacked", "10MB", folder=folder
        ).exit_code
        == 0
    )


def test_a_hundred_times_the_packed_size_is_what_a_file_may_unpack_to(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "a.csv.gz").write_bytes(PACKED["a.csv.gz"])
    assert call("import", "a.csv.gz", "--feed", "crm", "--dry-run", folder=folder).exit_code == 0, (
        "100 MB are nothing to fear"
    )
    monkeypatch.setattr(unpacking, "FLOOR", 1000)
    done = call("import", "a.csv.gz", "--feed", "crm", "--dry-run", folder=folder)
    assert done.exit_code == 4
    assert f"more than the {sized(100 * len(PACKED['a.csv.gz']))} that are allowed" in done.stderr


COMMANDS = {
    "import": ["import", "{}", "--feed", "crm"],
    "dry run": ["import", "{}", "--feed", "crm", "--dry-run"],
    "plan": ["plan", "{}", "--feed", "crm", "-o", "p.plan"],
    "enrich": ["enrich", "{}", "--feed", "crm"],
    "lookup": ["lookup", "{}"],
    "lookup of a list": ["lookup", "{}", "--type", "email"],
    "forget": ["forget", "--file", "{}", "--yes"],
    "push": ["push", "{}", "--dry-run", "requests.jsonl"],
}


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_every_command_that_reads_packed_files_has_the_limit(
    command: list[str], folder: Path
) -> None:
    content = (
        b'{"user_identities":{"email":"a@example.com"}}\n' * 50_000
        if command[0] == "push"
        else BOMB
    )
    name = "a.jsonl.gz" if command[0] == "push" else "a.csv.gz"
    (folder / name).write_bytes(gzip.compress(content))
    before = left(folder)
    done = call(*[one.format(name) for one in command], "--max-unpacked", "1MB", folder=folder)
    assert (done.exit_code, "more than the 1 MB" in done.stderr) == (4, True), done.stderr
    assert left(folder) == before


def test_a_plan_is_applied_with_the_limit_it_was_made_with(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unpacking, "FLOOR", 1000)
    (folder / "a.csv.gz").write_bytes(PACKED["a.csv.gz"])
    assert (
        call(
            "plan",
            "a.csv.gz",
            "--feed",
            "crm",
            "-o",
            "p.plan",
            "--max-unpacked",
            "10MB",
            folder=folder,
        ).exit_code
        == 0
    )
    assert call("apply", "p.plan", folder=folder).exit_code == 0
    (folder / "b.csv.gz").write_bytes(gzip.compress(HEAD + b",x\n" + BOMB[len(HEAD) :]))
    assert (
        call(
            "import", "b.csv.gz", "--feed", "crm", "--max-unpacked", "10MB", folder=folder
        ).exit_code
        == 3
    )
    done = call(
        "import", "b.csv.gz.rejects.jsonl", "--feed", "crm", "--max-unpacked", "2KB", folder=folder
    )
    assert (done.exit_code, "b.csv.gz has" in done.stderr) == (4, True), (
        "the file that rejects come from has it too"
    )


def test_a_size_that_is_none_is_wrong_usage(folder: Path) -> None:
    for stated in ("0GB", "-1GB", "NaN", "1e9GB", "12", "much", "9" * 400 + "TB"):
        (folder / "a.csv").write_bytes(HEAD + ROW)
        done = call("import", "a.csv", "--feed", "crm", f"--max-unpacked={stated}", folder=folder)
        assert (done.exit_code, "--max-unpacked" in done.stderr) == (2, True), stated
    assert size_of("1.5 GB") == 1_500_000_000


@pytest.mark.parametrize("name", ["a.csv.gz", "a.zip", "-"])
def test_a_reserve_of_the_disk_stays_free(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = HEAD + ROW * 1_000_000
    free = iter(range(1_000_000_000, 0, -1))
    monkeypatch.setattr(
        unpacking, "free_space", lambda folder: 20_000_000 if next(free) > 999_999_998 else 0
    )
    if name != "-":
        (folder / name).write_bytes(
            gzip.compress(content, 1) if name.endswith("gz") else zipped({"a.csv": content})
        )
    before = left(folder)
    commands = [
        ["import", name, "--feed", "crm", "--format", "csv"],
        *([["lookup", "-"]] if name == "-" else []),
    ]
    for command in commands:
        done = call(*command, folder=folder, stdin=content if name == "-" else None)
        assert (done.exit_code, "the disk has no room for it" in done.stderr) == (4, True), (
            done.stderr
        )
        assert left(folder) == before


# Archives that say one thing and are another


def test_members_that_lie_on_one_another_are_refused(folder: Path) -> None:
    (folder / "a.zip").write_bytes(overlapping())
    done = call("import", "a.zip", "--feed", "crm", folder=folder)
    assert (done.exit_code, "lie on one another" in done.stderr) == (4, True), done.stderr


@pytest.mark.parametrize("size", [10, 4_000_000_000])
def test_an_archive_that_says_another_size_is_damaged(size: int, folder: Path) -> None:
    (folder / "a.zip").write_bytes(lying({"a.csv": BOMB}, size))
    done = call("import", "a.zip", "--feed", "crm", folder=folder)
    assert (done.exit_code, "damaged zip archive" in done.stderr) == (4, True), done.stderr


def test_an_archive_with_a_list_of_members_without_end_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unpacking, "LONGEST_DIRECTORY", 1000)
    (folder / "a.zip").write_bytes(zipped({f"{n}.csv": HEAD + ROW for n in range(50)}))
    done = call("import", "a.zip", "--feed", "crm", folder=folder)
    assert (done.exit_code, "lists its members in" in done.stderr) == (4, True), done.stderr


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_member_is_unpacked_a_block_at_a_time(
    method: int, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive, archive.open("a.csv", "w") as stream:
        for _ in range(30):
            stream.write(bytes(1_000_000))
    with zipfile.ZipFile(out) as archive:
        assert (
            max(map(len, unpacking.member_blocks(archive, archive.infolist()[0])))
            <= unpacking.BLOCK
        )
    damaged = bytearray(zipped({"a.csv": HEAD + ROW * 99}, method))
    damaged[60] ^= 255
    (folder / "a.zip").write_bytes(damaged)
    assert "damaged zip archive" in call("import", "a.zip", "--feed", "crm", folder=folder).stderr


def test_what_is_packed_twice_is_not_unpacked_twice(folder: Path) -> None:
    for name, content in (
        ("a.csv.gz", gzip.compress(gzip.compress(BOMB))),
        ("a.zip", zipped({"a.csv": gzip.compress(BOMB)})),
        ("b.zip", zipped({"a.csv.gz": gzip.compress(BOMB)})),
    ):
        (folder / name).write_bytes(content)
        assert call("import", name, "--feed", "crm", folder=folder).exit_code == 4, name


@pytest.mark.skipif(shutil.which("gpg") is None, reason="gpg is not installed")
def test_what_gpg_unpacks_has_the_limit_too(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ring = folder / "g"
    ring.mkdir(mode=0o700)
    monkeypatch.setenv("GNUPGHOME", str(ring))
    made = subprocess.run(
        [
            "gpg",
            "--batch",
            "--quiet",
            "--passphrase",
            "",
            "--pinentry-mode",
            "loopback",
            "--quick-gen-key",
            "t@example.com",
            "future-default",
            "default",
            "never",
        ],
        capture_output=True,
        check=False,
    )
    if made.returncode:
        pytest.skip("gpg makes no key here")
    for name, content in (("a.csv.gpg", BOMB), ("b.csv.gz.gpg", gzip.compress(BOMB))):
        subprocess.run(
            [
                "gpg",
                "--batch",
                "--quiet",
                "--trust-model",
                "always",
                "-r",
                "t@example.com",
                "-o",
                folder / name,
                "-e",
            ],
            input=content,
            check=True,
        )
        done = call("import", name, "--feed", "crm", "--max-unpacked", "1MB", folder=folder)
        assert (done.exit_code, "more than the 1 MB" in done.stderr) == (4, True), done.stderr
    subprocess.run(["gpgconf", "--kill", "all"], capture_output=True, check=False)


# Parquet


def nulls(folder: Path, rows: int) -> Path:
    """Write a file of a few KB with so many rows."""
    table = pyarrow.table(
        {
            "email": pyarrow.nulls(rows, pyarrow.string()),
            "tier": pyarrow.nulls(rows, pyarrow.string()),
        }
    )
    parquet.write_table(table, folder / "a.parquet", compression="zstd", row_group_size=rows)
    return folder / "a.parquet"


def varint(number: int) -> bytes:
    number = number << 1
    found = b""
    while number > 127:
        found += bytes([number & 127 | 128])
        number >>= 7
    return found + bytes([number])


def test_rows_that_a_footer_claims_are_checked_before_they_are_read(folder: Path) -> None:
    path = nulls(folder, 123_456)
    content = path.read_bytes()
    start = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    footer = content[start:-8].replace(varint(123_456), varint(1_000_000_000_000))
    path.write_bytes(content[:start] + footer + len(footer).to_bytes(4, "little") + b"PAR1")
    began = time.monotonic()
    done = call("import", "a.parquet", "--feed", "crm", folder=folder)
    assert done.exit_code == 4, done.stderr
    assert "1,000,000,000,000 rows" in done.stderr
    assert "--max-unpacked" in done.stderr
    done = call("import", "a.parquet", "--feed", "crm", "--max-unpacked", "900TB", folder=folder)
    assert (done.exit_code, "memory" in done.stderr) == (4, True), done.stderr
    assert time.monotonic() - began < 10


def test_rows_in_next_to_nothing_are_refused_and_taken_where_that_is_said(folder: Path) -> None:
    nulls(folder, 1_000_000)
    done = call("import", "a.parquet", "--feed", "crm", "--max-unpacked", "1MB", folder=folder)
    assert (done.exit_code, "1,000,000 rows" in done.stderr) == (4, True), done.stderr
    assert call("lookup", "a.parquet", folder=folder).exit_code == 4


def test_entries_of_lists_count_as_well(folder: Path) -> None:
    entries = pyarrow.ListArray.from_arrays(
        [0, 2_000_000], pyarrow.nulls(2_000_000, pyarrow.string())
    )
    parquet.write_table(
        pyarrow.table({"email": ["a@example.com"], "tags": entries}),
        folder / "a.parquet",
        compression="zstd",
    )
    done = call("import", "a.parquet", "--feed", "crm", "--max-unpacked", "1MB", folder=folder)
    assert (done.exit_code, "more than the 1 MB" in done.stderr) == (4, True), done.stderr


def test_a_value_that_stands_once_and_is_meant_often_is_bounded_by_memory(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    value = pyarrow.DictionaryArray.from_arrays(
        pyarrow.array([0] * 400, pyarrow.int32()), pyarrow.array(["y" * 2_000_000])
    )
    table = pyarrow.table({"email": [f"{n}@example.com" for n in range(400)], "tier": value})
    parquet.write_table(
        table, folder / "a.parquet", compression="zstd", dictionary_pagesize_limit=10_000_000
    )
    assert (folder / "a.parquet").stat().st_size < 100_000
    done = call(
        "import",
        "a.parquet",
        "--feed",
        "crm",
        "--memory-limit",
        "200MB",
        "--max-unpacked",
        "100MB",
        folder=folder,
    )
    assert done.exit_code == 4, done.stderr
    assert "a.parquet" in done.stderr
    assert "--memory-limit" in done.stderr


def test_a_value_that_is_meant_often_in_a_file_that_is_written_anew_takes_no_more_memory(
    folder: Path,
) -> None:
    value = pyarrow.DictionaryArray.from_arrays(
        pyarrow.array([0] * 300, pyarrow.int32()), pyarrow.array(["y" * 2_000_000])
    )
    times = pyarrow.array([0] * 300, pyarrow.timestamp("ns"))
    table = pyarrow.table(
        {"email": [f"{n}@example.com" for n in range(300)], "at": times, "tier": value}
    )
    parquet.write_table(
        table,
        folder / "a.parquet",
        compression="zstd",
        dictionary_pagesize_limit=10_000_000,
        use_deprecated_int96_timestamps=True,
        store_schema=False,
    )
    before = pyarrow.default_memory_pool().max_memory()
    done = call("import", "a.parquet", "--feed", "crm", "--memory-limit", "200MB", folder=folder)
    assert (done.exit_code, "more than the 100 MB" in done.stderr) == (4, True), done.stderr
    assert pyarrow.default_memory_pool().max_memory() < max(before, 300_000_000)


def test_a_page_that_unpacks_to_more_than_the_memory_is_refused(folder: Path) -> None:
    parquet.write_table(
        pyarrow.table({"email": ["a@example.com"], "tier": ["x" * 40_000_000]}),
        folder / "a.parquet",
        compression="zstd",
    )
    done = call("import", "a.parquet", "--feed", "crm", "--max-unpacked", "20MB", folder=folder)
    assert (done.exit_code, "more than the 20 MB" in done.stderr) == (4, True), done.stderr
    done = call(
        "import",
        "a.parquet",
        "--feed",
        "crm",
        "--max-unpacked",
        "1GB",
        "--memory-limit",
        "40MB",
        folder=folder,
    )
    assert (done.exit_code, "--memory-limit" in done.stderr) == (4, True), done.stderr


def test_more_columns_than_anybody_has_are_refused(folder: Path) -> None:
    table = pyarrow.table({f"c{n}": pyarrow.nulls(1, pyarrow.string()) for n in range(10_001)})
    parquet.write_table(table, folder / "a.parquet")
    done = call("import", "a.parquet", "--feed", "crm", folder=folder)
    assert (done.exit_code, "10,001 columns" in done.stderr) == (4, True), done.stderr


# What is read into memory whole


@pytest.mark.parametrize(("name", "command"), [
    ("a.json", ["import", "{}", "--feed", "crm"]), ("a.json", ["push", "{}", "--dry-run", "r.jsonl"]), ("a.txt", ["lookup", "{}", "--type", "email"]), ("a.jsonl", ["lookup", "{}"]),
])  # fmt: skip
def test_what_is_read_whole_fits_into_memory(
    name: str, command: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unpacking, "memory", lambda: 8 * 1000)
    content = (
        json.dumps([{"user_identities": {"email": f"{n}@example.com"}} for n in range(100)])
        if name == "a.json"
        else '{"email": "a"}\n' * 1000
    )
    named = (
        name if name.endswith("l") else f"{name}.gz"
    )  # a look-up reads JSON lines that are not packed
    (folder / named).write_bytes(
        content.encode() if named == name else gzip.compress(content.encode())
    )
    done = call(*[one.format(named) for one in command], folder=folder)
    assert (done.exit_code, "read into memory whole" in done.stderr) == (4, True), done.stderr


def test_sizes_are_said_in_words() -> None:
    assert [sized(one) for one in (0, 1, 999, 1000, 2048, 100_000_000, 999_999, 2 * 10**20)] == [
        "0 bytes",
        "1 byte",
        "999 bytes",
        "1 KB",
        "2 KB",
        "100 MB",
        "1 MB",
        "200 EB",
    ]
