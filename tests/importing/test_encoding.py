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
from profilectl.importing.stage.source.encoding import check_utf8, transcoded

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
            ("b.csv", b"em\xe9il,email\na,a@example.com\n", "b.csv:1: byte 3"),
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
    monkeypatch.setattr("profilectl.importing.stage.source.encoding.CHECKED_BYTES", size)
    path = tmp_path / "a.csv"
    for before in ("", "a", "é", "a€", "🙂é", "ab\u20ac🙂"):
        path.write_bytes(before.encode() + spoiled + b"z")
        if not spoiled:
            check_utf8("a.csv", path)
            continue
        with pytest.raises(InputRefused) as refused:
            check_utf8("a.csv", path)
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


PLAIN = "customer_id,name\nA,Ann\n"
UMLAUT = "customer_id,name\nA,Müller\n"
NEITHER = ("--encoding-errors", "reject")


@pytest.mark.parametrize("options", [(), ("--dry-run",), NEITHER])
@pytest.mark.parametrize(
    ("text", "written", "encoding", "said", "hint"),
    [
        (PLAIN, "utf-8", "cp037", "control character U+0", "leave out --encoding"),
        (UMLAUT, "utf-8", "cp500", "control character U+0", "leave out --encoding"),
        (UMLAUT, "cp1252", "cp037", "control character U+0", "Try: --encoding windows-1252"),
        (PLAIN, "utf-8", "utf-16-le", "its first line is no text: it never", "leave out --encod"),
        (PLAIN, "utf-8", "utf-32", "", "leave out --encoding"),
        (UMLAUT, "cp1252", "utf-16", "no byte order mark", "Try: --encoding windows-1252"),
        (UMLAUT, "utf-8-sig", "windows-1252", "the mark of UTF-8", "leave out --encoding"),
        (UMLAUT, "utf-16", "windows-1252", "the mark of UTF-16", "--encoding utf-16"),
        (UMLAUT.replace("\n", "\x85"), "cp037", "cp037", "U+0085", "into line feeds"),
    ],
)
@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_an_encoding_that_gives_no_first_line_is_refused(
    tmp_path: Path,
    form: str,
    text: str,
    written: str,
    encoding: str,
    said: str,
    hint: str,
    options: tuple[str, ...],
) -> None:
    """`--encoding cp037` of a file in UTF-8 was read as one long line, with no row, and exit 0."""
    if form == "jsonl":
        text = text.replace("customer_id,name", '{"customer_id":"B"}')
    (tmp_path / f"a.{form}").write_bytes(text.encode(written))
    words = ("import", f"a.{form}", "--feed", "f", "--encoding", encoding, *options)
    done = run_here(*words, folder=tmp_path)
    if not (encoding == "utf-32" and options == NEITHER):  # it may have no line that is valid
        assert done.returncode == 4, (done.stdout, done.stderr)
        assert said in done.stderr
        assert hint in done.stderr
    assert "Traceback" not in done.stderr
    assert "fault in profilectl" not in done.stderr


def test_a_text_in_the_encoding_that_is_named_is_read(tmp_path: Path) -> None:
    for encoding in ("cp037", "utf-16", "utf-16-be", "utf-32", "latin-1", "mac_roman", "utf-8-sig"):
        (tmp_path / "a.csv").write_bytes(UMLAUT.encode(encoding))
        words = ("import", "a.csv", "--feed", "f", "--encoding", encoding, "--again")
        done = run_here(*words, folder=tmp_path)
        assert done.returncode == 0, (encoding, done.stderr)


@pytest.mark.parametrize("block", [7, 8, 64, 1 << 20])
@pytest.mark.parametrize(
    ("codec", "bad", "byte"),
    [
        ("ascii", b"\xff", 4),
        ("shift_jis", b"\x81\x01", 4),
        ("gb18030", b"\xff", 4),
        ("utf-16", b"\x00\xd8a\x00", 7),
        ("utf-16-be", b"\xd8\x00\x00a", 7),
    ],
)
def test_the_first_byte_that_is_not_valid_is_named_by_its_line(
    tmp_path: Path, codec: str, bad: bytes, byte: int, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where line ends and characters lie across the border of two blocks."""
    monkeypatch.setattr("profilectl.importing.stage.source.encoding.BLOCK", block)
    file = tmp_path / "a.csv"
    text = "email,n\r\na@x,b\n\nc,d"
    file.write_bytes(text.encode(codec) + bad + "\nz,z\n".encode(codec))
    with pytest.raises(InputRefused) as refused:
        list(transcoded(file, codec, "a.csv", refusing=True))
    assert refused.value.message == f"a.csv:4: byte {byte} of the line is not {codec}"


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_an_encoding_that_a_file_is_not_in_is_told_with_the_one_it_may_be_in(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / name).write_bytes(WEST if name.endswith("csv") else LINES)
    done = run_here("import", name, "--feed", "f", "--encoding", "ascii", folder=tmp_path)
    assert done.returncode == 4
    assert "of the line is not ascii" in done.stderr
    assert "Try: --encoding windows-1252; --encoding-errors reject" in done.stderr
    words = ("--encoding", "ascii", "--encoding-errors", "reject")
    done = run_here("import", name, "--feed", "f", *words, folder=tmp_path)
    assert done.returncode == 3, done.stderr


def test_what_is_no_encoding_of_text_is_no_encoding(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(PLAIN)
    for encoding in ("undefined", "hex", "rot13", "nonsense"):
        words = ("import", "a.csv", "--feed", "f", "--encoding", encoding)
        done = run_here(*words, folder=tmp_path)
        assert done.returncode == 2, (encoding, done.stderr)
        assert "no such encoding" in done.stderr


def test_a_manifest_and_a_json_document_name_the_place_too(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(PLAIN)
    (tmp_path / "m.json").write_bytes('{"columns":\n[{"column": "é"}]}'.encode("cp1252"))
    done = run_here("import", "a.csv", "--feed", "f", "--manifest", "m.json", folder=tmp_path)
    assert done.returncode == 4
    assert "m.json:2: byte 14 of the line: the manifest is not UTF-8" in done.stderr
    (tmp_path / "a.json").write_bytes('[{"customer_id": "A",\n"n": "é"}]'.encode("cp1252"))
    done = run_here("import", "a.json", "--feed", "f", *NEITHER, folder=tmp_path)
    assert done.returncode == 4
    assert "a.json:2: byte 7 of the line is not UTF-8" in done.stderr


def test_the_columns_of_a_file_are_refused_alike(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(WEST)
    done = run_here("columns", "a.csv", folder=tmp_path)
    assert done.returncode == 4
    assert done.stderr == (
        "Error: a.csv:2: byte 18 of the line is not UTF-8\n  Try: --encoding windows-1252\n"
    ), "nothing would have been imported"
    for options in (("--encoding", "windows-1252"), NEITHER):
        assert run_here("columns", "a.csv", *options, folder=tmp_path).returncode == 0


def test_a_look_up_of_a_table_refuses_it_alike(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("email\nada@example.com\n")
    assert run_here("import", "a.csv", "--feed", "f", folder=tmp_path).returncode == 0
    (tmp_path / "b.csv").write_bytes(WEST)
    done = run_here("lookup", "b.csv", folder=tmp_path)
    assert done.returncode == 4
    assert "b.csv:2: byte 18 of the line is not UTF-8" in done.stderr
