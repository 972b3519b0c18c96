"""A file that is not in its encoding is refused before anything is written, and the refusal says
what to try.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from support.doors import call, run_here
from support.effort import spread_now

from profilectl.codes import InputRefused
from profilectl.importing.stage.source import encoding

WEST = "email,name\nada@example.com,M\xfcller\nbob@example.net,Ann\n".encode("windows-1252")
LINES = '{"email":"ada@example.com","name":"Müller"}\n{"email":"bob@example.net"}\n'.encode(
    "windows-1252"
)


@pytest.mark.parametrize(
    ("name", "content", "where"),
    spread_now(
        [
            ("a.csv", WEST, "a.csv:2: byte 18"),
            ("a.jsonl", LINES, "a.jsonl:1: byte 37"),
            ("a.json", LINES.splitlines()[0], "a.json:1: byte 37"),
            ("a.csv.gz", gzip.compress(WEST), "a.csv.gz:2: byte 18"),
            ("b.csv", b"em\xe9il\na\n", "b.csv:1: byte 3"),
            (
                "far.csv",
                b"email,name\n" + b"ada@example.com,Ann\n" * 200_000 + b"x@example.com,Zo\xeb",
                "far.csv:200002: byte 17",
            ),
            (
                "mac.csv",
                b"email,name\r" + b"ada@example.com,Ann\r" + b"x@example.com,Zo\xeb",
                "mac.csv:3: byte 17",
            ),
        ],
        3,
    ),
    ids=["csv", "jsonl", "json", "gz", "header", "far", "mac"],
)
def test_a_file_that_is_not_utf8_is_refused_whole_with_the_encoding_to_try(
    tmp_path: Path, name: str, content: bytes, where: str
) -> None:
    (tmp_path / name).write_bytes(content)
    done = run_here("import", name, "--feed", "f", folder=tmp_path)
    assert done.returncode == 4, (done.stdout, done.stderr)
    assert where in done.stderr, done.stderr
    assert "--encoding windows-1252" in done.stderr
    assert [one.name for one in tmp_path.iterdir()] == [name]
    again = run_here("import", name, "--feed", "f", "--encoding", "windows-1252", folder=tmp_path)
    assert again.returncode in (0, 3), again.stderr


def test_after_the_refusal_the_encoding_that_was_named_imports_all(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(WEST)
    assert run_here("import", "a.csv", "--feed", "f", folder=tmp_path).returncode == 4
    assert (
        run_here(
            "import", "a.csv", "--feed", "f", "--encoding", "windows-1252", folder=tmp_path
        ).returncode
        == 0
    )
    found = [
        json.loads(line)["user_attributes"]
        for line in call("export", "profiles", folder=tmp_path).stdout.splitlines()
    ]
    assert {"name": "Müller"} in found
    assert len(found) == 2


@pytest.mark.parametrize("dry", [("import", "--dry-run"), ("plan", "make", "-o", "p.json")])
def test_a_dry_run_and_a_plan_refuse_alike(tmp_path: Path, dry: tuple[str, ...]) -> None:
    (tmp_path / "a.csv").write_bytes(WEST)
    done = run_here(*dry, "a.csv", "--feed", "f", folder=tmp_path)
    assert done.returncode == 4
    assert "--encoding windows-1252" in done.stderr


@pytest.mark.parametrize(("name", "content"), [("a.csv", WEST), ("a.jsonl", LINES)])
def test_rejecting_row_by_row_is_an_option(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    done = run_here(
        "import", name, "--feed", "f", "--json", "--encoding-errors", "reject", folder=tmp_path
    )
    assert done.returncode == 3
    assert json.loads(done.stdout)["reasons"] == {"ENCODING_INVALID": 1}
    assert json.loads(done.stdout)["rows"]["applied"] == 1


@pytest.mark.parametrize(
    "content",
    [
        # UTF-8, one byte lost
        (
            b"email,name\na@example.com,M\xc3\xbcller\nb@example.com,Zo\xc3\xab\n"
            b"c@example.com,M\xc3ller\n"
        ),
        "email,name\na@example.com,Привет\n".encode("windows-1251"),
        "email,name\na@example.com,日本語テキスト\n".encode("shift-jis"),
        b"email,name\na@example.com,x\x81y\n",  # no character of windows-1252
    ],
    ids=["mixed", "cyrillic", "japanese", "none"],
)
def test_an_encoding_is_named_only_where_it_is_likely(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    done = run_here("import", "a.csv", "--feed", "f", folder=tmp_path)
    assert done.returncode == 4
    assert "--encoding windows-1252" not in done.stderr
    assert "--encoding-errors reject" in done.stderr


def test_a_character_on_the_border_of_two_blocks_is_valid(tmp_path: Path) -> None:
    for shift in range(4):
        row = "é".encode() * 10
        head = b"customer_id,name\n" + b"x" * shift
        (tmp_path / "a.csv").write_bytes(
            head + b"A," + b"y" * (1024 * 1024 - len(head) - 9) + row + b"\n"
        )
        done = call("import", "a.csv", "--feed", "f", "--again", folder=tmp_path)
        assert done.exit_code == 0, done.output


@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize(
    "spoiled", [b"", b"\xfc", b"\xe2\x82", b"\xed\xa0\x80", b"\xf4\x90\x80\x80"]
)
def test_the_first_wrong_byte_is_found_in_blocks_of_any_size(
    size: int, spoiled: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoding, "CHECKED_BYTES", size)
    path = tmp_path / "a.csv"
    for before in ("", "a", "é", "a€", "🙂é", "ab\u20ac🙂"):
        path.write_bytes(before.encode() + spoiled + b"z")
        if not spoiled:
            encoding.check_utf8("a.csv", path)
            continue
        with pytest.raises(InputRefused) as refused:
            encoding.check_utf8("a.csv", path)
        assert f"a.csv:1: byte {len(before.encode()) + 1} " in str(refused.value)


def test_a_character_cut_off_at_the_end_of_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("customer_id,name\nA,Zoé".encode()[:-1])
    done = run_here("import", "a.csv", "--feed", "f", folder=tmp_path)
    assert done.returncode == 4
    assert "a.csv:2: byte 5" in done.stderr


@pytest.mark.parametrize(("name", "options"), [("b.jsonl", ()), ("b.txt", ("--type", "email"))])
def test_a_look_up_refuses_it_alike(tmp_path: Path, name: str, options: tuple[str, ...]) -> None:
    (tmp_path / "a.csv").write_text("email\nada@example.com\n")
    assert run_here("import", "a.csv", "--feed", "f", folder=tmp_path).returncode == 0
    (tmp_path / name).write_bytes(
        LINES if name.endswith("l") else b"ada@example.com\nm\xfcller@example.com\n"
    )
    done = run_here("lookup", name, *options, folder=tmp_path)
    assert done.returncode == 4, done.stderr
    assert f"{name}:{1 if name.endswith('l') else 2}: byte" in done.stderr
    assert "--encoding windows-1252" in done.stderr
    assert "--encoding-errors" not in done.stderr
    assert (
        run_here("lookup", name, *options, "--encoding", "windows-1252", folder=tmp_path).returncode
        == 0
    )
