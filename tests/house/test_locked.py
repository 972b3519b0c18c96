"""What CI installs is what was looked at: pinned, hashed, and as pyproject.toml asks. And archives
that are forged.
"""

from __future__ import annotations

import re
import struct
import tomllib
import zipfile
import zlib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from support.doors import run
from support.places import ROOT

LOCK = ROOT / ".ci" / "requirements.txt"
RENEW = "run .ci/lock"


def pinned() -> dict[str, tuple[str, int]]:
    """Return the release of each package in the list, and how many hashes it has."""
    found = {}
    for block in re.split(r"\n(?=\S)", LOCK.read_text()):
        if begin := re.match(r"([A-Za-z0-9._-]+)==(\S+)", block):
            found[canonicalize_name(begin[1])] = begin[2], block.count("--hash=sha256:")
    return found


def asked() -> list[Requirement]:
    """Return what pyproject.toml and .ci/build.in ask for."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"]
    texts = [
        *project["project"]["dependencies"],
        *(one for name in extras for one in extras[name]),
        *project["build-system"]["requires"],
    ]
    texts += [
        line
        for line in (ROOT / ".ci" / "build.in").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    return [one for one in map(Requirement, texts) if one.name != "profilectl"]


def test_the_list_of_packages_is_as_pyproject_toml_asks() -> None:
    lock = pinned()
    for one in asked():
        release, _ = lock.get(canonicalize_name(one.name), ("", 0))
        assert release, f"{one.name} is not in {LOCK.name}: {RENEW}"
        assert one.specifier.contains(release, prereleases=True), (
            f"{one.name} {release} is not {one.specifier}: {RENEW}"
        )


def test_every_file_of_the_list_has_a_hash_and_ci_asks_for_it() -> None:
    lines = [
        line for line in LOCK.read_text().splitlines() if line and not line.lstrip().startswith("#")
    ]
    assert all(
        re.match(r"[A-Za-z0-9._-]+==|    --hash=sha256:[0-9a-f]{64}( \\)?$", line) for line in lines
    )
    assert all(hashes for _, hashes in pinned().values())
    script = (ROOT / ".ci" / "run").read_text()
    installs = [line for line in script.splitlines() if "pip install" in line]
    assert "--require-hashes -r .ci/requirements.txt" in installs[0]
    assert all(
        "--require-hashes" in line or "--no-deps --no-build-isolation" in line for line in installs
    )


def test_what_reads_the_network_is_no_older_than_what_mended_it() -> None:
    floors = {one.name: str(one.specifier) for one in asked()}
    assert (floors["orjson"], floors["h11"], floors["starlette"]) == (
        ">=3.11.6",
        ">=0.16",
        ">=0.49.1",
    )


def test_an_archive_in_which_one_block_stands_for_several_files_is_refused(tmp_path: Path) -> None:
    """So a small archive is a huge one; Python itself looks for it from 3.11.8 on."""
    content = b"customer_id\n" + b"".join(b"C%d\n" % n for n in range(1_000))
    packed = zlib.compress(content)[2:-4]
    local = (
        struct.pack(
            "<4s5H3I2H",
            b"PK\x03\x04",
            20,
            0,
            8,
            0,
            0x21,
            zlib.crc32(content),
            len(packed),
            len(content),
            5,
            0,
        )
        + b"0.csv"
        + packed
    )
    central = b"".join(
        struct.pack(
            "<4s6H3I5H2I",
            b"PK\x01\x02",
            20,
            20,
            0,
            8,
            0,
            0x21,
            zlib.crc32(content),
            len(packed),
            len(content),
            5,
            0,
            0,
            0,
            0,
            0,
            0,
        )
        + b"0.csv"
        for _ in range(3)
    )
    end = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 3, 3, len(central), len(local), 0)
    (tmp_path / "a.zip").write_bytes(local + central + end)
    done = run("import", "a.zip", "--feed", "f", folder=tmp_path)
    assert done.returncode == 4, done.stderr
    assert "lie on one another" in done.stderr.lower()


def test_an_archive_whose_names_are_no_text_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("é.csv", "customer_id\nA\n")
    damaged = (tmp_path / "a.zip").read_bytes().replace("é.csv".encode(), b"\xff\xfe.csv")
    (tmp_path / "a.zip").write_bytes(damaged)
    done = run("import", "a.zip", "--feed", "f", folder=tmp_path)
    assert done.returncode == 4, done.stderr
    assert "damaged zip archive" in done.stderr
