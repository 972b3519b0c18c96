"""A value of somebody erased is found however a text writes it, and nobody else's text is taken for
theirs.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import duckdb
import pytest
from support.doors import call, made_once
from support.places import ROOT

EMAIL, PHONE, NUMBER = "anna.b+shop@example.org", "+4915155512345", "CUST-77/4711"
ESCAPED = {
    "as it is": EMAIL,
    "in capitals": EMAIL.upper(),
    "small hex": EMAIL.replace("@", "\\u0040"),
    "capital hex": EMAIL.replace("+", "\\u002B"),
    "every letter": "".join(f"\\u{ord(one):04x}" for one in EMAIL),
    "JSON in JSON": EMAIL.replace("@", "\\\\u0040"),
    "percent": EMAIL.replace("@", "%40").replace("+", "%2b"),
    "a phone with spaces": "+49 151 555-123 45",
    "a phone with 00": "0049 (151) 55512345",
    "a phone as a number": "4915155512345",
    "a slash": "CUST-77\\/4711",
    "full width": EMAIL.replace("@", "\uff20"),
}
OTHERS = {
    "a longer address": "johanna.b+shop@example.org",
    "another's local part": "jo.anna.b+shop@example.org",
    "a longer domain": "anna.b+shop@example.org.uk",
    "a longer phone": "49151555123456",
    "a longer number": "CUST-77/47112",
}


def done(folder: Path, *arguments: str, ok: tuple[int, ...] = (0,)) -> str:
    found = call(*arguments, folder=folder)
    assert found.exit_code in ok, (arguments, found.output, found.exception)
    return found.stdout


def forgotten(folder: Path, *arguments: str) -> dict[str, object]:
    document: dict[str, object] = json.loads(done(folder, "forget", *arguments, "--yes", "--json"))
    return document


def table(folder: Path, select: str) -> list[tuple[object, ...]]:
    with duckdb.connect(str(folder / "profiles.duckdb"), read_only=True) as store:
        return store.execute(select).fetchall()


def rejected(folder: Path, name: str) -> None:
    """Write rows that cannot be used, one for each way in which a value may be written: the text
    lies in the store.
    """
    (folder / name).write_text(
        "".join(
            f'{{"note": "{text}", "broken": }}\n' for text in (*ESCAPED.values(), *OTHERS.values())
        )
    )


def _made(folder: Path) -> None:
    (folder / "anna.jsonl").write_text(
        json.dumps({"customer_id": NUMBER, "email": EMAIL, "mobile_number": PHONE}) + "\n"
    )
    done(folder, "import", "anna.jsonl", "--feed", "crm")
    rejected(folder, "bad.jsonl")
    done(folder, "import", "bad.jsonl", "--feed", "crm", ok=(3,))


_filled = made_once(_made)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return _filled(tmp_path)


def test_a_reject_is_cleared_however_it_writes_a_value(folder: Path) -> None:
    forgotten(folder, "--customer-id", NUMBER)
    told = dict(
        zip(
            (*ESCAPED, *OTHERS),
            (raw for (raw,) in table(folder, "select raw from reject order by line")),
            strict=True,
        )
    )
    assert [name for name in ESCAPED if told[name] != "(erased)"] == []
    assert [name for name in OTHERS if told[name] == "(erased)"] == []


def test_a_reject_of_a_later_import_is_cleared_however_it_writes_a_value(folder: Path) -> None:
    forgotten(folder, "--customer-id", NUMBER)
    rejected(folder, "late.jsonl")
    done(folder, "import", "late.jsonl", "--feed", "crm", ok=(3,))
    told = dict(
        zip(
            (*ESCAPED, *OTHERS),
            (
                raw
                for (raw,) in table(folder, "select raw from reject where import = 3 order by line")
            ),
            strict=True,
        )
    )
    # A hash is compared as a whole: what is looked up by its letters is found in these only
    # (identity.key_of).
    assert [name for name in ESCAPED if told[name] != "(erased)" and name != "full width"] == []
    assert [name for name in OTHERS if told[name] == "(erased)"] == []


def test_quotes_of_csv_do_not_hide_a_value(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(
        json.dumps({"customer_id": 'The "great" Gatsby', "email": "g@example.org"}) + "\n"
    )
    (tmp_path / "bad.csv").write_text(
        'customer_id,timestamp_unixtime_ms\n"The ""great"" Gatsby",never\n"The ""small""'
        ' one",never\n'
    )
    for late in (False, True):
        if late:
            forgotten(tmp_path, "--email", "g@example.org")
        else:
            done(tmp_path, "import", "a.jsonl", "--feed", "crm")
        done(tmp_path, "import", "bad.csv", "--feed", "crm", "--again", ok=(3,))
    raws = [raw for (raw,) in table(tmp_path, "select raw from reject order by import, line")]
    assert [raw == "(erased)" for raw in raws] == [True, False, True, False]


def test_a_short_value_clears_its_own_rows_and_nobody_elses(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"customer_id": "Ann"}\n{"customer_id": "42"}\n')
    done(tmp_path, "import", "a.jsonl", "--feed", "crm")
    lines = [
        '{"user_identities": {"customer_id": "Ann"}, "broken": }',
        '{"customerid": 42, "broken": }',
        '{"first": "Ann", "age": 42, "broken": }',
        '{"other": "Ann", "broken": }',
    ]
    (tmp_path / "bad.jsonl").write_text("\n".join(lines) + "\n")
    done(tmp_path, "import", "bad.jsonl", "--feed", "crm", ok=(3,))
    for who in ("Ann", "42"):
        forgotten(tmp_path, "--customer-id", who)
    done(tmp_path, "import", "bad.jsonl", "--feed", "crm", "--again", ok=(3,))
    raws = [raw for (raw,) in table(tmp_path, "select raw from reject order by import, line")]
    assert [raw == "(erased)" for raw in raws] == [True, True, False, False] * 2


def test_request_ids_and_reports_and_paths_lose_the_value(tmp_path: Path) -> None:
    name = f"export of {EMAIL}.csv"
    (tmp_path / name).write_text(f"email,n\n{EMAIL},x\nother@example.org,y\nbroken\n")
    done(tmp_path, "import", name, "--feed", "crm", ok=(0, 3))
    (tmp_path / "named.jsonl").write_text(
        json.dumps(
            {
                "user_identities": {"email": "other@example.org"},
                "user_attributes": {f"of {EMAIL}": "1"},
            }
        )
        + "\n"
    )
    done(tmp_path, "import", "named.jsonl", "--feed", "crm")
    rows = [
        {"email": "other@example.org", "source_request_id": text}
        for text in ("of:anna.b%2Bshop%40example.org", "of-somebody")
    ]
    (tmp_path / "ids.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
    done(tmp_path, "import", "ids.jsonl", "--feed", "crm")
    found = forgotten(tmp_path, "--email", EMAIL)
    assert found["not_touched"]["files"] == [name]  # type: ignore[index]
    assert table(tmp_path, "select path from import_file order by import") == [
        ("(erased).csv",),
        ("named.jsonl",),
        ("ids.jsonl",),
    ]
    assert table(tmp_path, "select request from request") == [("of-somebody",)]
    assert {"kind": "attribute name", "name": f"of {EMAIL}"} in found["quoted"]  # type: ignore[operator]
    held = table(
        tmp_path,
        "select report || coalesce(request, '') from import union all select file from reject",
    )
    assert [text for (text,) in held if EMAIL in str(text)] == []
    done(tmp_path, "check")
    done(tmp_path, "imports", "list")


@pytest.mark.slow
def test_the_import_of_a_renamed_file_can_still_be_made_again(tmp_path: Path) -> None:
    name = f"{EMAIL}.csv"
    (tmp_path / name).write_text(f"email,n\n{EMAIL},1\nother@example.org,2\n")
    done(tmp_path, "import", name, "--feed", "crm")
    (tmp_path / "b.csv").write_text("email,n\nother@example.org,3\n")
    done(tmp_path, "import", "b.csv", "--feed", "crm")
    forgotten(tmp_path, "--email", EMAIL)
    (tmp_path / name).rename(tmp_path / "(erased).csv")
    (tmp_path / "c.csv").write_text("email,n\nfirst@example.org,3\n")
    done(tmp_path, "imports", "undo", "1", "--replay", "--yes", ok=(0,))
    assert "other@example.org" in done(tmp_path, "show", "--email", "other@example.org", "--json")
    done(tmp_path, "check")


def test_what_quotes_a_value_is_named(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(
        f'[audiences.anna]\ncriteria = "inviter = \'{EMAIL}\'"\n[calculated."of anna"]\n'
        f'type = "count"\nevent = "{EMAIL}"\n'
        f'[feeds."{EMAIL}"]\nsource = "custom-feed"\n'
    )
    (tmp_path / "a.jsonl").write_text(
        json.dumps({"email": EMAIL})
        + "\n"
        + json.dumps({"email": "other@example.org", "invited_by": EMAIL, "plain": "x"})
        + "\n"
        + json.dumps(
            {
                "user_identities": {"email": "third@example.org"},
                "events": [
                    {
                        "event_type": "custom_event",
                        "data": {
                            "event_name": "met",
                            "custom_event_type": "other",
                            "custom_attributes": {"whom": EMAIL},
                        },
                    }
                ],
            }
        )
        + "\n"
    )
    done(tmp_path, "import", "a.jsonl", "--feed", "crm")
    applied = call("config", "apply", "c.toml", folder=tmp_path)
    assert applied.exit_code == 0, (
        applied.output,
        applied.exception,
        getattr(applied.exception, "hint", ""),
    )
    dry = json.loads(done(tmp_path, "forget", "--email", EMAIL, "--dry-run", "--json"))
    found = forgotten(tmp_path, "--email", EMAIL)
    assert found["quoted"] == dry["quoted"]
    assert {(one["kind"], one["name"]) for one in found["quoted"]} >= {
        ("audience", "anna"),
        ("calculated attribute", "of anna"),
        ("feed", EMAIL),
    }  # type: ignore[attr-defined]
    assert found["quoted_by_others"] == [
        {"what": "attribute invited_by", "rows": 1},
        {"what": "events", "rows": 1},
    ]
    said = call("forget", "--email", "other@example.org", "--dry-run", folder=tmp_path)
    assert said.exit_code == 0


def test_a_correction_of_two_people_is_cleared_of_both_one_after_the_other(tmp_path: Path) -> None:
    """What the first erasure leaves of it is found by the second."""
    (tmp_path / "a.csv").write_text("customer_id\nA-100001\n")
    done(tmp_path, "import", "a.csv", "--feed", "crm")
    done(
        tmp_path,
        "modify",
        "--customer-id",
        "A-100001",
        "--add",
        "email=first.one@example.org",
        "--add",
        "facebook=facebook-of-b",
    )
    done(tmp_path, "modify", "--customer-id", "A-100001", "--remove", "email=first.one@example.org")
    (tmp_path / "b.jsonl").write_text(
        '{"customer_id": "B-100002", "email": "first.one@example.org"}\n'
    )
    done(tmp_path, "import", "b.jsonl", "--feed", "crm")
    forgotten(tmp_path, "--customer-id", "B-100002")
    forgotten(tmp_path, "--customer-id", "A-100001")
    held = " ".join(
        str(text)
        for (text,) in table(tmp_path, "select request from import where request is not null")
    )
    assert "facebook-of-b" not in held
    assert "first.one" not in held


def test_a_request_for_erasure_leaves_no_address_it_named(folder: Path) -> None:
    asked = {
        "regulation": "gdpr",
        "subject_request_id": "a7551968-d5d6-44b2-9831-815ac9017798",
        "subject_request_type": "erasure",
        "submitted_time": "2026-11-20T15:00:00Z",
        "api_version": "3.0",
        "group_id": f"of {EMAIL}",
        "status_callback_urls": [
            "https://x.example/?who=anna.b%2Bshop%40example.org",
            "https://x.example/done",
        ],
        "subject_identities": {"controller_customer_id": {"value": NUMBER, "encoding": "raw"}},
        "extensions": {"opendsr.mparticle.com": {"skip_waiting_period": True}},
    }
    (folder / "erasure.json").write_text(json.dumps(asked))
    done(folder, "privacy", "request", "erasure.json")
    done(folder, "privacy", "run", "--yes")
    told = table(
        folder, "select group_id, callbacks, identities, request, sealed from subject_request"
    )
    assert told == [("(erased)", ["(erased)", "https://x.example/done"], None, None, "")]


def test_no_plain_hash_stays_of_a_file_that_held_a_row_of_theirs(folder: Path) -> None:
    """Whoever guesses the row would see that they guessed right.

    The same file is known all the same, and made again.
    """
    (folder / "two.csv").write_text(f"customer_id,n\n{NUMBER},1\nANOTHER-1,2\n")
    done(folder, "import", "two.csv", "--feed", "two")
    plain = {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest()
        for name in ("anna.jsonl", "two.csv")
    }
    forgotten(folder, "--customer-id", NUMBER)
    assert "already imported" in call("import", "two.csv", "--feed", "two", folder=folder).output
    done(folder, "import", "anna.jsonl", "--feed", "later")
    held = " ".join(
        map(
            str,
            table(
                folder,
                "select sha256, report, request from import_file join import on number = import",
            ),
        )
    )
    assert [name for name, one in plain.items() if one in held] == []
    assert [
        name
        for name, one in plain.items()
        if one.encode() in (folder / "profiles.duckdb").read_bytes()
    ] == []
    done(folder, "imports", "undo", "1", "--replay", "--yes")
    held = " ".join(
        map(
            str,
            table(
                folder,
                "select sha256, report, request from import_file join import on number = import",
            ),
        )
    )
    assert [name for name, one in plain.items() if one in held] == []
    done(folder, "check")


def test_access_finds_what_erasure_clears(folder: Path) -> None:
    document = json.loads(done(folder, "access", "--customer-id", NUMBER))
    assert len(document["rejected_rows"]) == len(ESCAPED)


def test_every_column_of_text_has_its_place_in_the_table() -> None:
    from profilectl.privacy.mentions import TEXT_COLUMNS

    schema = (ROOT / "profilectl" / "store" / "schema.sql").read_text()
    found = {
        (table, column)
        for table, body in re.findall(r"create table store\.(\w+) \((.*?)\n\);", schema, re.DOTALL)
        for column in re.findall(r"^\s+(\w+)\s+varchar", body, re.MULTILINE)
    }
    told = {
        (name, column)
        for name, columns in TEXT_COLUMNS.items()
        if not name.endswith("_N")
        for column in columns
    }
    assert told == found
