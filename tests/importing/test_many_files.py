"""What the user named: several files, patterns and archives, where one file does not stop many;
encrypted files.
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.doors import call, run
from support.places import ROOT

ROWS = "customer_id,email\nC-1,ada@example.com\n"
MORE = "customer_id,email\nC-2,bob@example.com\n"


def skipped(report: dict[str, Any]) -> list[str]:
    """Return what the report says of files that were not read."""
    return [notice for notice in report["notices"] if notice.startswith("skipped")]


def imported(folder: Path, *arguments: str) -> tuple[dict[str, Any], str]:
    done = call("import", *arguments, "--feed", "f", "--json", folder=folder)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout), done.stderr


def refused(folder: Path, *arguments: str, **more: str) -> str:
    done = run("import", *arguments, "--feed", "f", folder=folder, **more)
    assert done.returncode == 4, done.stderr
    assert not (folder / "profiles.duckdb").exists()
    return done.stderr


def people(folder: Path) -> list[str]:
    lines = call("export", "profiles", folder=folder).stdout.splitlines()
    return sorted(json.loads(line)["user_identities"]["customer_id"][0] for line in lines)


def test_a_mac_archive_is_read_without_what_the_mac_put_in(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "mac.zip", "w") as archive:
        archive.writestr("contacts.csv", ROWS)
        archive.writestr("__MACOSX/._contacts.csv", b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X")
        archive.writestr(".DS_Store", b"\x00\x00\x00\x01Bud1")
    report, said = imported(tmp_path, "mac.zip")
    assert people(tmp_path) == ["C-1"]
    assert skipped(report) == [
        "skipped, no data file: mac.zip/.DS_Store, mac.zip/__MACOSX/._contacts.csv"
    ]
    assert skipped(report)[0] in said


def test_what_an_archive_holds_beside_data_files_is_named(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.csv", ROWS)
        archive.writestr("b.csv.gz", gzip.compress(MORE.encode()))
        archive.writestr("empty.csv", "")
    report, _ = imported(tmp_path, "a.zip")
    assert skipped(report) == [
        "skipped, not named as a data file: a.zip/b.csv.gz",
        "skipped, empty: a.zip/empty.csv",
    ]


def test_empty_parts_that_a_pattern_matches_do_not_stop_the_others(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    for name, content in {
        "part-0.csv": "",
        "part-1.csv": ROWS,
        "part-2.csv": "customer_id,email\n",
        "part-3.csv": "\n",
        "part-4.csv": "\ufeff",
        "part-5.csv": MORE,
        "_SUCCESS": "",
        "part-1.csv.crc": "x",
        ".hidden.csv": "x",
    }.items():
        (out / name).write_text(content)
    (out / "part-6.csv.gz").write_bytes(gzip.compress(b""))
    (out / "older").mkdir()
    report, _ = imported(tmp_path, "out/*")
    assert [file["path"] for file in report["files"]] == [
        "out/part-1.csv",
        "out/part-2.csv",
        "out/part-5.csv",
    ]
    assert people(tmp_path) == ["C-1", "C-2"]
    assert skipped(report) == [
        "skipped, no data file: out/_SUCCESS, out/part-1.csv.crc",
        "skipped, a folder: out/older",
        "skipped, empty: out/part-0.csv, out/part-3.csv, out/part-4.csv and 1 more",
    ]


def test_the_folders_of_a_pattern_that_goes_down_are_no_files(tmp_path: Path) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "deep" / "a.csv").write_text(ROWS)
    (tmp_path / "deep" / "er" / "b.csv").write_text(MORE)
    report, _ = imported(tmp_path, "deep/**")
    assert people(tmp_path) == ["C-1", "C-2"]
    assert skipped(report) == []


def test_a_file_named_by_itself_that_is_empty_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(ROWS)
    (tmp_path / "b.csv").write_text("")
    said = refused(tmp_path, "a.csv", "b.csv")
    assert "b.csv is empty" in said
    assert "a pattern in quotes passes empty files over" in said


def test_where_nothing_is_left_that_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("")
    (tmp_path / "b.csv").write_text("\n")
    assert "no file is left to read: skipped, empty: a.csv, b.csv" in refused(tmp_path, "*.csv")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.csv", "")
    assert "a.zip holds no data file (skipped, empty: a.zip/a.csv)" in refused(tmp_path, "a.zip")


def test_a_plan_leaves_the_same_out(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(ROWS)
    (tmp_path / "b.csv").write_text("")
    done = call("plan", "*.csv", "--feed", "f", "-o", "p.json", folder=tmp_path)
    assert done.exit_code == 0, done.output
    assert call("apply", "p.json", folder=tmp_path).exit_code == 0
    assert people(tmp_path) == ["C-1"]


def test_standard_input_is_read_once(tmp_path: Path) -> None:
    done = run("import", "-", "-", "--feed", "f", folder=tmp_path, stdin=ROWS.encode())
    assert done.returncode == 2
    assert "- is named twice" in done.stderr


def test_a_map_fits_the_files_together(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("Contact,Mail\nC-1,ada@example.com\n")
    (tmp_path / "b.csv").write_text("Contact,Phone\nC-2,+447700900123\n")
    maps = ("--map", "Contact=customer_id", "--map", "Mail=email", "--map", "Phone=mobile_number")
    imported(tmp_path, "a.csv", "b.csv", *maps)
    assert people(tmp_path) == ["C-1", "C-2"]


def test_a_column_that_no_file_has_is_named_before_anything_is_read(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    (tmp_path / "a.csv").write_text("Contact,Mail\nC-1,ada@example.com\n")
    pq.write_table(pa.table({"Contact": ["C-2"], "Tier": ["gold"]}), tmp_path / "b.parquet")
    said = refused(
        tmp_path, "a.csv", "b.parquet", "--map", "Contact=customer_id", "--map", "Tel=mobile_number"
    )
    assert "--map names a column that is in none of the files: 'Tel'" in said
    assert "Mail" in said
    assert "Tier" in said
    imported(tmp_path, "a.csv", "b.parquet", "--map", "Contact=customer_id", "--map", "Tier=ignore")


@pytest.fixture
def keys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder of keys of its own, with one that has no passphrase."""
    if shutil.which("gpg") is None:
        pytest.skip("gpg is not installed")
    home = tmp_path_factory.mktemp("keys")
    home.chmod(0o700)
    _gpg(home, "--quick-generate-key", "test@example.com", "future-default", "default", "never")
    yield home
    subprocess.run(
        ["gpgconf", "--kill", "all"],
        env={**os.environ, "GNUPGHOME": str(home)},
        check=False,
        capture_output=True,
    )


def _gpg(home: Path, *arguments: str, content: bytes = b"") -> bytes:
    command = [
        "gpg",
        "--batch",
        "--quiet",
        "--pinentry-mode",
        "loopback",
        "--passphrase",
        "",
        "--trust-model",
        "always",
    ]
    done = subprocess.run(
        [*command, *arguments],
        env={**os.environ, "GNUPGHOME": str(home)},
        input=content,
        check=True,
        capture_output=True,
    )
    return done.stdout


def test_an_encrypted_file_is_decrypted_by_gpg(
    tmp_path: Path, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GNUPGHOME", str(keys))
    to = ("--recipient", "test@example.com", "--encrypt")
    (tmp_path / "a.csv.gpg").write_bytes(_gpg(keys, *to, content=ROWS.encode()))
    (tmp_path / "b.csv.gz.pgp").write_bytes(_gpg(keys, *to, content=gzip.compress(MORE.encode())))
    (tmp_path / "c.jsonl.asc").write_bytes(
        _gpg(keys, "--armor", *to, content=b'{"customer_id":"C-3"}\n')
    )
    report, _ = imported(tmp_path, "a.csv.gpg", "b.csv.gz.pgp", "c.jsonl.asc")
    assert people(tmp_path) == ["C-1", "C-2", "C-3"]
    assert [file["path"] for file in report["files"]] == [
        "a.csv.gpg",
        "b.csv.gz.pgp",
        "c.jsonl.asc",
    ]
    again = call("import", "a.csv.gpg", "--feed", "f", folder=tmp_path)
    assert "already imported" in again.stderr
    armoured = _gpg(keys, "--armor", *to, content=MORE.encode())
    done = run("import", "-", "--feed", "g", folder=tmp_path, stdin=armoured, GNUPGHOME=str(keys))
    assert done.returncode == 0, done.stderr


def test_a_file_for_another_key_is_refused(tmp_path: Path, keys: Path) -> None:
    (tmp_path / "a.csv.gpg").write_bytes(
        _gpg(keys, "--recipient", "test@example.com", "--encrypt", content=ROWS.encode())
    )
    (tmp_path / "b.csv.gpg").write_bytes(
        _gpg(keys, "--symmetric", "--passphrase", "secret", content=ROWS.encode())
    )
    (tmp_path / "c.csv.gpg").write_text(ROWS)
    other = tmp_path / "other"
    other.mkdir(mode=0o700)
    home = {"GNUPGHOME": str(other)}
    assert "a.csv.gpg cannot be decrypted: decryption failed: No secret key" in refused(
        tmp_path, "a.csv.gpg", **home
    )
    assert "b.csv.gpg cannot be decrypted: " in refused(tmp_path, "b.csv.gpg", **home)
    assert "c.csv.gpg cannot be decrypted: " in refused(tmp_path, "c.csv.gpg", **home)
    subprocess.run(
        ["gpgconf", "--kill", "all"], env={**os.environ, **home}, check=False, capture_output=True
    )


def test_without_gpg_an_encrypted_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv.gpg").write_bytes(b"\x84\x5e")
    (tmp_path / "b.csv").write_text("-----BEGIN PGP MESSAGE-----\n\nxx\n")
    assert "gpg is not installed" in refused(tmp_path, "a.csv.gpg", PATH=str(tmp_path))
    assert "b.csv is encrypted, not what its name says" in refused(tmp_path, "b.csv")


def test_ctrl_c_ends_an_import_with_130_and_leaves_nothing(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    going = subprocess.Popen(
        [sys.executable, "-m", "profilectl", "import", "-", "--format", "csv", "--feed", "f"],
        cwd=tmp_path,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert going.stdin is not None
    going.stdin.write(ROWS)
    going.stdin.flush()
    for _ in range(600):  # until it reads: then its scratch folder is there
        if list(tmp_path.glob(".profiles.duckdb.*")):
            break
        time.sleep(0.05)
    time.sleep(0.2)
    going.send_signal(signal.SIGINT)
    _, said = going.communicate(timeout=60)
    assert going.returncode == 130, said
    assert "interrupted" in said
    assert list(tmp_path.iterdir()) == []
    assert "| 130 | " in (ROOT / "README.md").read_text("utf-8")
