"""One key of an identity through every door (design.md R21): letters whose lower case SQL and
Python see differently.
"""

# ruff: noqa: RUF001
from __future__ import annotations

import json
import sys
import unicodedata
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.doors import call
from support.effort import first_now

from profilectl import Store
from profilectl.codes import NobodyFound
from profilectl.rules.sql import identities as identity_sql
from profilectl.rules.text.casing import CASED, PASSED_OVER, fold, loose

# As it was imported, and another spelling that Python takes for the same.
SPELLINGS = (
    ("ΝΙΚΟΣ@example.gr", "νικος@example.gr"),
    ("Ο.ΣΊΣΥΦΟΣ@ΣΙΣ.gr", "ο.σίσυφος@σισ.gr"),
    ("İPEK@example.tr", "i̇pek@example.tr"),
    ("Straẞe.ΑΣ\u0301@X.de", "Straße.ΑΣ\u0301@x.DE"),
)
ODD = [
    *(
        chr(code)
        for code in (
            0x130,
            0x3A3,
            0x3C2,
            0x3C3,
            0x1E9E,
            0x212A,
            0x2160,
            0x345,
            0x2B0,
            0x301,
            0xAD,
            0x2019,
        )
    ),
    *"aA.-@ '\t\né日🙂",
]

TEXTS = st.text(
    st.one_of(
        st.sampled_from(ODD),
        st.sampled_from("ΣΣΣΑαİ"),
        st.characters(exclude_categories=["Cs"], exclude_characters="\0"),
    ),
    max_size=12,
)


def sql_of(texts: list[str]) -> list[tuple[str, str]]:
    """Return the SQL forms of texts: folded, and loose."""
    with duckdb.connect() as connection:
        connection.execute("create table one as select unnest($1::varchar[]) as text", [texts])
        return connection.execute(
            f"select {identity_sql.folded('text')}, {identity_sql.loose('text')} from one"
        ).fetchall()


def test_every_letter_of_unicode_has_one_key_in_python_and_in_sql() -> None:
    letters = [chr(code) for code in range(1, sys.maxunicode + 1) if not 0xD800 <= code < 0xE000]
    lower = duckdb.execute(
        "select lower(letter) from (select unnest($1::varchar[]) as letter)", [letters]
    ).fetchall()
    differ = [
        letter for letter, (one,) in zip(letters, lower, strict=True) if letter.lower() != one
    ]
    assert differ == ["İ"], (
        "the lower case of SQL and of Python differ for letters that casing.py does not name"
    )
    assert sql_of([*differ, "Σ", "ΑΣ"]) == [
        (fold(text), loose(text)) for text in (*differ, "Σ", "ΑΣ")
    ]


def test_where_a_word_ends_is_what_python_takes_for_its_end() -> None:
    if unicodedata.unidata_version != "14.0.0":
        pytest.skip("the tables are those of Unicode 14, and so is the lower case of Python 3.11")
    for end, ranges in ((("σ",), CASED), (("ς", "σ"), PASSED_OVER)):
        for one in ranges.split():
            first, _, last = one.partition("-")
            for code in {int(first, 16), int(last or first, 16)}:
                behind, between = f"ΑΣ{chr(code)}".lower()[1], f"ΑΣ{chr(code)}Α".lower()[1]
                assert (behind,) == end if len(end) == 1 else (behind, between) == end, hex(code)


@settings(max_examples=20, deadline=None)
@given(st.lists(TEXTS, min_size=30, max_size=30))
def test_random_texts_have_one_key_in_python_and_in_sql(texts: list[str]) -> None:
    assert sql_of(texts) == [(fold(text), loose(text)) for text in texts]
    if unicodedata.unidata_version == "14.0.0":
        assert [fold(text) for text in texts] == [text.lower() for text in texts]


def imported(folder: Path, *values: str, name: str = "people.jsonl", **more: Any) -> dict[str, Any]:
    """Import a row for each e-mail and return the report."""
    rows = [
        {"user_identities": {"email": value, **more}, "user_attributes": {"tier": "gold"}}
        for value in values
    ]
    (folder / name).write_text(
        "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8"
    )
    done = call("import", name, "--feed", "f", "--json", "--again", folder=folder)
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def doors(folder: Path, value: str) -> dict[str, bool]:
    """Say of each door whether it finds somebody by an e-mail."""
    (folder / "list.txt").write_text(f"{value}\n", "utf-8")
    (folder / "list.csv").write_text(f"email\n{value}\n", "utf-8")
    quoted = value.replace("'", "''")
    tries: dict[str, list[str]] = {
        "show": ["show", "--email", value],
        "search": ["search", value],
        "search --exact": ["search", "--exact", value],
        "search a part": ["search", "--substring", value[1:-1]],
        "where": ["search", "--where", f"email = '{quoted}'"],
        "export where": ["export", "profiles", "--where", f"email in ('{quoted}')"],
        "explain": ["explain", "--email", value],
        "identify": ["identify", "--email", value],
        "diff": ["diff", "--identity", f"email={value}", "--json"],
        "show --as-of": ["show", "--email", value, "--as-of", "1"],
        "forget --dry-run": ["forget", "--email", value, "--dry-run"],
        "forget --file --dry-run": ["forget", "--file", "list.txt", "--type", "email", "--dry-run"],
        "lookup": ["lookup", "list.txt", "--type", "email"],
        "lookup csv": ["lookup", "list.csv"],
    }
    found = {}
    for door, arguments in tries.items():
        done = call(*arguments, folder=folder)
        assert done.exit_code in (0, 7) or isinstance(done.exception, NobodyFound), (
            door,
            done.output,
        )
        found[door] = (
            done.exit_code == 0 and bool(done.stdout.strip()) and '"found":false' not in done.stdout
        )
    store = Store(folder / "profiles.duckdb")
    found["Store.profile"] = bool(store.profile(email=value))
    found["Store.lookup"] = store.lookup([value], "email").to_pylist()[0]["profiles"] == 1
    return found


def test_whoever_is_in_the_store_is_found_by_either_spelling_through_every_door(
    tmp_path: Path,
) -> None:
    imported(tmp_path, *(stated for stated, _ in SPELLINGS))
    for value in (SPELLINGS[0][1], SPELLINGS[2][1], SPELLINGS[3][0]):
        assert [door for door, done in doors(tmp_path, value).items() if not done] == [], value
    assert [
        door for door, done in doors(tmp_path, f" {SPELLINGS[0][1]}\t").items() if not done
    ] == ["search"], "white space outside"
    assert (
        imported(tmp_path, *(spelling for _, spelling in SPELLINGS), name="again.jsonl")[
            "profiles"
        ]["created"]
        == 0
    )
    assert call("check", folder=tmp_path).exit_code == 0


@pytest.mark.parametrize("way", first_now(["list", "value", "columns", "rows", "request"], 2))
def test_whoever_is_forgotten_by_either_spelling_is_gone_and_stays_out(
    way: str, tmp_path: Path
) -> None:
    people = SPELLINGS if way in ("list", "columns", "rows") else SPELLINGS[:1]
    stated, spellings = [one for one, _ in people], [spelling for _, spelling in people]
    imported(tmp_path, *stated, "somebody@example.com")
    (tmp_path / "list.txt").write_text("".join(f"{spelling}\n" for spelling in spellings), "utf-8")
    (tmp_path / "list.csv").write_text(
        "".join(f"{one}\n" for one in ("email", *spellings)), "utf-8"
    )
    (tmp_path / "list.jsonl").write_text(
        "".join(json.dumps({"email": one}, ensure_ascii=False) + "\n" for one in spellings), "utf-8"
    )
    (tmp_path / "request.json").write_text(
        json.dumps(
            {
                "regulation": "gdpr",
                "subject_request_id": "a7551968-d5d6-44b2-9831-815ac9017798",
                "subject_request_type": "erasure",
                "submitted_time": "2026-01-01T00:00:00Z",
                "api_version": "3.0",
                "extensions": {"opendsr.mparticle.com": {"skip_waiting_period": True}},
                "subject_identities": {"email": {"value": spellings[0], "encoding": "raw"}},
            }
        ),
        "utf-8",
    )
    asked = {
        "value": [("forget", "--email", spellings[0], "--yes")],
        "list": [("forget", "--file", "list.txt", "--type", "email", "--yes")],
        "columns": [("forget", "--file", "list.csv", "--yes")],
        "rows": [("forget", "--file", "list.jsonl", "--yes")],
        "request": [("privacy", "request", "request.json"), ("privacy", "run", "--yes")],
    }
    for arguments in asked[way]:
        done = call(*arguments, folder=tmp_path)
        assert done.exit_code == 0, done.output
    assert len(call("export", "profiles", folder=tmp_path).stdout.splitlines()) == 1
    assert imported(tmp_path, *stated, *spellings, name="again.jsonl")["reasons"] == {
        "SUPPRESSED": 2 * len(people)
    }
    (tmp_path / "bad.jsonl").write_text(
        "".join(
            json.dumps({"user_identities": {"email": one}, "mpid": 0}, ensure_ascii=False) + "\n"
            for one in (*stated, *spellings)
        ),
        "utf-8",
    )
    assert call("import", "bad.jsonl", "--feed", "f", folder=tmp_path).exit_code == 3
    with duckdb.connect(str(tmp_path / "profiles.duckdb"), read_only=True) as store:
        assert store.execute("select raw, count(*) from reject group by raw").fetchall() == [
            ("(erased)", 2 * len(people))
        ]
    assert call("check", folder=tmp_path).exit_code == 0


def test_corrections_by_hand_mean_whoever_either_spelling_means(tmp_path: Path) -> None:
    imported(tmp_path, *(stated for stated, _ in SPELLINGS))
    for place, (stated, spelling) in enumerate(SPELLINGS[::2]):
        for arguments in (
            ["set", "--email", spelling, "tier=silver"],
            [
                "modify",
                "--email",
                spelling,
                "--remove",
                f"email={spelling}",
                "--add",
                f"email=new{place}@example.com",
            ],
        ):
            done = call(*arguments, folder=tmp_path)
            assert done.exit_code == 0, (arguments, done.output)
        assert "identity-removed" in call("diff", "--json", folder=tmp_path).stdout
        assert isinstance(call("show", "--email", stated, folder=tmp_path).exception, NobodyFound)
    assert call("check", folder=tmp_path).exit_code == 0
    assert (
        imported(tmp_path, *(stated for stated, _ in SPELLINGS), name="again.jsonl")["profiles"][
            "created"
        ]
        == 2
    )


def test_two_columns_of_one_identity_are_held_against_each_other_by_its_key(tmp_path: Path) -> None:
    rows = "".join(f"{stated},{spelling}\n{stated},x{spelling}\n" for stated, spelling in SPELLINGS)
    (tmp_path / "two.csv").write_text(f"email,user_identities.email\n{rows}", "utf-8")
    done = call("import", "two.csv", "--feed", "f", "--json", folder=tmp_path)
    report = json.loads(done.stdout)
    assert report["rows"] == {"read": 8, "applied": 4, "dropped": 0, "rejected": 4}
    assert report["reasons"] == {"IDENTITY_DUPLICATE_TYPE": 4}


def test_of_several_columns_each_one_that_is_nobodys_is_counted(tmp_path: Path) -> None:
    (tmp_path / "three.csv").write_text(
        (
            "email,user_identities.email,E-Mail\nnull,ada@example.com,none\n"
            "ADA@example.com,null,x@example.com\nn/a,n/a,\n"
        ),
        "utf-8",
    )
    done = call(
        "import", "three.csv", "--feed", "f", "--json", "--map", "E-Mail=email", folder=tmp_path
    )
    report = json.loads(done.stdout)
    assert report["reasons"] == {"IDENTITY_DUPLICATE_TYPE": 1, "NO_IDENTITY": 1}
    assert report["warnings"] == {"IDENTITY_PLACEHOLDER": 2}
