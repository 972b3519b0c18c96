"""Who is erased is gone: from every table, from the bytes of the file, from what any later import
or undo makes.
"""

from __future__ import annotations

import contextlib
import csv
import json
import re
import signal
import subprocess
import sys
import tempfile
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
from support.effort import at_length
from support.equivalence import (
    NOW_MS,
    canonical,
    engine_canonical,
    played,
    stated_settings,
    text_of,
)
from support.erasing import done, in_file, in_tables, profiles, tried
from support.histories import History, histories

from profilectl.codes import InputRefused, NobodyFound
from profilectl.importing.request import ImportRequest
from profilectl.importing.run import import_files
from profilectl.privacy.forget import ForgetRequest, forget
from profilectl.profiles.read_model import profiles_of
from profilectl.rules.batch import Reading, read_document
from profilectl.rules.fields import Unusable
from profilectl.rules.identity import BY_NAME
from profilectl.rules.interpreter import Interpreter
from profilectl.rules.resolution import reached
from profilectl.rules.text.moments import latest_ms
from profilectl.rules.text.values import parse_json
from profilectl.store.opening import open_store
from profilectl.store.scratch import Scratch
from profilectl.store.settings import settings_from

# Everything that is of this person alone. What others share (the tier, the city) is not in the
# list.
DEVICE = "deadbeef-1111-2222-3333-444444444444"
ERIKA = {
    "customer_id": "CUST-ERIKA-4711",
    "email": "Erika.Mustermann@example.org",
    "old_email": "erika.old@example.org",
    "phone": "+4915155512345",
    "device": DEVICE,
    "name": "Erikaaa",
    "street": "Nachtigallenweg 17",
    "blocked": "blockiert-erika",
    "consent": "consent-of-erika",
    "note": "note-by-hand-erika",
    "undone": "undone-by-hand-erika",
    "rare": "rare-value-erika",
    "request": "request-of-erika-1",
    "moved": "moved-erika@example.org",
}


def made(folder: Path, *, rows: int = 40) -> Path:
    """Make a store with several imports, corrections by hand, an alias, a moved identity, rejects,
    blocked values.
    """
    people = folder / "people.csv"
    with people.open("w", newline="", encoding="utf-8") as out:
        writer = csv.writer(out)
        writer.writerow(["customer_id", "email", "mobile_number", "$FirstName", "street", "tier"])
        writer.writerow(
            [
                ERIKA["customer_id"],
                ERIKA["old_email"],
                ERIKA["phone"],
                ERIKA["name"],
                ERIKA["street"],
                "gold",
            ]
        )
        writer.writerows(
            [
                f"C{n:05}",
                f"p{n:05}@example.com",
                f"+49{n:08}",
                f"First{n}",
                f"Street {n}",
                "gold" if n % 2 else "silver",
            ]
            for n in range(rows)
        )
    documents = [
        {
            "user_identities": {"other": "orphan-1", "email": ERIKA["moved"]},
            "user_attributes": {"tier": "none"},
        },
        {
            "user_identities": {"customer_id": ERIKA["customer_id"], "email": ERIKA["email"]},
            "device_info": {"ios_idfv": DEVICE, "platform": "iOS"},
            "consent_state": {
                "gdpr": {
                    "marketing": {
                        "consented": True,
                        "timestamp_unixtime_ms": 5,
                        "document": ERIKA["consent"],
                    }
                }
            },
            "events": [
                {
                    "event_type": "custom_event",
                    "data": {"event_name": "seen", "custom_event_type": "other"},
                }
            ],
            "source_request_id": ERIKA["request"],
        },
    ]
    (folder / "app.jsonl").write_text("".join(json.dumps(one) + "\n" for one in documents))
    rare = (
        {"email": ERIKA["moved"]}
        | {f"k{n}": f"v{n}" for n in range(60)}
        | {"rare_key": ERIKA["rare"]}
    )
    (folder / "rare.jsonl").write_text(
        "".join(json.dumps({"customer_id": f"C{n:05}", f"x{n}": "1"}) + "\n" for n in range(30))
        + json.dumps({"customer_id": ERIKA["customer_id"], **rare})
        + "\n"
    )
    (folder / "partner.csv").write_text(
        f"customer_id,street,tier\n{ERIKA['customer_id']},{ERIKA['blocked']},silver\nC00001,elsewhere,silver\n"
    )
    # Rejected, though it names her: the text lies in the store.
    (folder / "bad.jsonl").write_text(
        f'{{"email": "{ERIKA["email"].upper()}", "broken": }}\n{{"email": "other@example.com", "broken": }}\n'
        '{"customer_id": "C00002", "tier": "bronze"}\n'
    )
    config = '[identity]\nstrategy = "conversion"\nlogin = ["customer_id"]\nunique = ["customer_id", "email"]\nimmutable = ["customer_id"]\n'
    (folder / "c.toml").write_text(config)
    done(folder, "config", "apply", "c.toml")
    done(folder, "import", "people.csv", "--feed", "crm")
    done(folder, "import", "app.jsonl", "--feed", "app", "--source", "sdk")
    done(folder, "import", "rare.jsonl", "--feed", "crm")
    done(folder, "import", "partner.csv", "--feed", "punchh", "--source", "partner")
    done(folder, "import", "bad.jsonl", "--feed", "crm", ok=(3,))
    done(folder, "set", "--email", ERIKA["moved"], f"note={ERIKA['note']}")
    done(folder, "modify", "--customer-id", ERIKA["customer_id"], "--add", "facebook=fb-erika-99")
    done(folder, "set", "--customer-id", ERIKA["customer_id"], f"undone={ERIKA['undone']}")
    done(folder, "imports", "undo", "8", "--yes")
    anonymous = profiles(folder, "--other", "orphan-1")[0]["mpid"]
    erika = profiles(folder, "--customer-id", ERIKA["customer_id"])[0]["mpid"]
    done(folder, "alias", f"--from={anonymous}", f"--to={erika}", "--now")
    return folder


ALL = [*ERIKA.values(), "fb-erika-99"]


def is_gone(folder: Path) -> None:
    assert in_file(folder, ALL) == []
    assert in_tables(folder, ALL) == []
    done(folder, "check")


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("privacy"))


@pytest.fixture
def folder(filled: Path, tmp_path: Path) -> Path:
    for one in filled.iterdir():
        (tmp_path / one.name).write_bytes(one.read_bytes())
    return tmp_path


def forgotten(folder: Path, *arguments: str, ok: tuple[int, ...] = (0,)) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(
        done(folder, "forget", *arguments, "--json", ok=ok).stdout
    )
    return document


@pytest.mark.slow
def test_no_value_of_the_erased_is_in_the_file(folder: Path) -> None:
    assert in_tables(folder, ALL) == sorted(ALL)
    assert set(ALL) - set(in_file(folder, ALL)) == set()
    before = done(folder, "stats", "--json").stdout

    found = forgotten(folder, "--customer-id", ERIKA["customer_id"])

    is_gone(folder)
    assert len(found["profiles"]) == 1
    assert found["rows"]["row"] == 6
    assert found["cleared"] == {
        "rejects": 1,
        "corrections": 4,
        "identities_of_others": 1,
        "requests": 1,
    }
    assert found["not_touched"]["files"] == ["app.jsonl", "partner.csv", "people.csv", "rare.jsonl"]
    assert found["not_touched"]["rejects"] == ["bad.jsonl.rejects.jsonl"]
    assert profiles(folder, "--email", ERIKA["moved"]) == []
    assert (
        json.loads(done(folder, "stats", "--json").stdout)["profiles"]
        == json.loads(before)["profiles"] - 1
    )
    assert profiles(folder, "--other", "orphan-1")[0]["user_identities"] == {"other": ["orphan-1"]}
    done(folder, "compact", "--keep", "0")
    is_gone(folder)


def test_the_text_of_other_rejects_stays(folder: Path) -> None:
    forgotten(folder, "--customer-id", ERIKA["customer_id"])
    assert in_tables(folder, ["other@example.com", "(erased)"]) == ["(erased)", "other@example.com"]


@pytest.mark.slow
def test_many_erased_from_a_large_store_leave_it_in_order(tmp_path: Path) -> None:
    """A join may lose the order of rows, which indexes rest on."""
    (tmp_path / "a.csv").write_text(
        "customer_id,email,n\n" + "".join(f"C{n},p{n}@example.com,{n}\n" for n in range(400_000))
    )
    (tmp_path / "who.txt").write_text("".join(f"C{n}\n" for n in range(0, 400_000, 37)))
    done(tmp_path, "import", "a.csv", "--feed", "f")
    assert (
        len(forgotten(tmp_path, "--file", "who.txt", "--type", "customer_id")["profiles"]) == 10_811
    )
    done(tmp_path, "check")
    assert profiles(tmp_path, "--email", "p37@example.com") == []
    assert len(profiles(tmp_path, "--email", "p38@example.com")) == 1


def test_a_dry_run_changes_nothing(folder: Path) -> None:
    before = (folder / "profiles.duckdb").read_bytes()
    dry = forgotten(folder, "--customer-id", ERIKA["customer_id"], "--dry-run")
    assert (folder / "profiles.duckdb").read_bytes() == before
    assert dry == forgotten(folder, "--customer-id", ERIKA["customer_id"]) | {"dry_run": True}


def test_the_erased_do_not_come_back_with_an_import(folder: Path) -> None:
    mpid = forgotten(folder, "--customer-id", ERIKA["customer_id"])["profiles"][0]["mpid"]
    rows = [
        {"email": ERIKA["old_email"].upper(), "tier": "gold"},
        {"mobile_number": ERIKA["phone"]},
        {"ios_idfv": DEVICE},
        {"facebook": "fb-erika-99"},
        {"email": "new@example.org", "mpid": int(mpid)},
        {"email": "stranger@example.org"},
    ]
    (folder / "again.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))

    dry = json.loads(
        done(folder, "import", "again.jsonl", "--feed", "crm", "--dry-run", "--json").stdout
    )
    report = json.loads(done(folder, "import", "again.jsonl", "--feed", "crm", "--json").stdout)

    assert report["rows"] == dry["rows"] == {"read": 6, "applied": 1, "dropped": 5, "rejected": 0}
    assert report["reasons"] == {"SUPPRESSED": 5}
    assert (
        "the row is of a person who was erased"
        in done(folder, "explain", "row", "again.jsonl:1").output
    )
    assert profiles(folder, "--email", "new@example.org") == []
    is_gone(folder)


def test_the_same_files_again_leave_them_out_whatever_their_form(folder: Path) -> None:
    forgotten(folder, "--customer-id", ERIKA["customer_id"])
    for file, feed in (
        ("people.csv", "crm"),
        ("app.jsonl", "app"),
        ("rare.jsonl", "crm"),
        ("partner.csv", "punchh"),
    ):
        report = json.loads(
            done(folder, "import", file, "--feed", feed, "--again", "--json").stdout
        )
        assert report["reasons"].get("SUPPRESSED", 0) >= 1, file
    is_gone(folder)


def test_a_reject_of_a_later_import_does_not_bring_a_value_back(folder: Path) -> None:
    forgotten(folder, "--customer-id", ERIKA["customer_id"])
    done(folder, "import", "bad.jsonl", "--feed", "crm", "--again", ok=(3,))
    is_gone(folder)
    assert in_tables(folder, ["other@example.com"]) == ["other@example.com"]


@pytest.mark.slow
@pytest.mark.parametrize("number", range(1, 10))
def test_undoing_any_import_brings_nobody_back(number: int, folder: Path) -> None:
    forgotten(folder, "--customer-id", ERIKA["customer_id"])
    status, said = tried(folder, "imports", "undo", str(number), "--cascade", "--yes")
    assert status == (4 if number == 8 else 0), said
    is_gone(folder)
    assert profiles(folder, "--customer-id", ERIKA["customer_id"]) == []


@pytest.mark.slow
@pytest.mark.parametrize("number", [1, 2, 4, 5])
@pytest.mark.parametrize("allow", [(), ("--allow-return",)])
def test_an_import_made_again_leaves_the_erased_out(
    number: int, allow: tuple[str, ...], folder: Path
) -> None:
    forgotten(folder, "--customer-id", ERIKA["customer_id"], *allow)
    done(folder, "imports", "undo", str(number), "--replay", "--yes")
    is_gone(folder)


def test_with_allow_return_a_later_import_founds_a_new_profile(folder: Path) -> None:
    old = forgotten(folder, "--customer-id", ERIKA["customer_id"], "--allow-return")
    assert old["suppressed"] == 0
    is_gone(folder)
    done(folder, "import", "people.csv", "--feed", "crm", "--again")
    (new,) = profiles(folder, "--customer-id", ERIKA["customer_id"])
    assert new["mpid"] != old["profiles"][0]["mpid"]
    (folder / "named.jsonl").write_text(
        json.dumps({"email": "x@example.org", "mpid": int(old["profiles"][0]["mpid"])}) + "\n"
    )
    report = json.loads(done(folder, "import", "named.jsonl", "--feed", "crm", "--json").stdout)
    assert report["reasons"] == {"SUPPRESSED": 1}
    done(folder, "check")


def test_allow_return_lifts_all_identities_of_somebody_erased_before(folder: Path) -> None:
    forgotten(folder, "--customer-id", ERIKA["customer_id"])
    status, said = tried(folder, "forget", "--email", ERIKA["email"])
    assert status == 7
    assert "erased already" in said
    assert forgotten(folder, "--email", ERIKA["email"], "--allow-return")["lifted"] == 7
    done(folder, "import", "people.csv", "--feed", "crm", "--again")
    assert len(profiles(folder, "--customer-id", ERIKA["customer_id"])) == 1
    done(folder, "check")


def test_an_identity_that_somebody_else_holds_keeps_nobody_out(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(
        '{"customer_id": "A-1", "email": "shared@example.org"}\n{"email": "shared@example.org", "n": "1"}\n'
    )
    done(tmp_path, "import", "a.jsonl", "--feed", "f")
    found = forgotten(tmp_path, "--customer-id", "A-1")
    assert len(found["also_held_by"]) == 1
    (tmp_path / "b.jsonl").write_text('{"email": "shared@example.org", "n": "2"}\n')
    report = json.loads(done(tmp_path, "import", "b.jsonl", "--feed", "f", "--json").stdout)
    assert report["rows"]["applied"] == 1
    assert profiles(tmp_path, "--email", "shared@example.org")[0]["user_attributes"] == {"n": "2"}


def test_a_device_alone_does_not_reach_a_known_profile(folder: Path) -> None:
    before = (folder / "profiles.duckdb").read_bytes()
    for who in (("--ios-idfv", DEVICE), (DEVICE,)):
        status, said = tried(folder, "forget", *who, "--yes")
        assert status == 4
        assert "device of somebody known" in said
    assert (folder / "profiles.duckdb").read_bytes() == before
    (folder / "anon.jsonl").write_text('{"ios_idfv": "0a0a0a0a-1111-2222-3333-444444444444"}\n')
    done(folder, "import", "anon.jsonl", "--feed", "app")
    assert (
        len(forgotten(folder, "--ios-idfv", "0A0A0A0A-1111-2222-3333-444444444444")["profiles"])
        == 1
    )


def test_an_identity_of_several_profiles_is_asked_about(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(
        "customer_id,email\nA,x@example.org\nB,x@example.org\nC,y@example.org\n"
    )
    done(tmp_path, "import", "a.csv", "--feed", "f")
    assert tried(tmp_path, "forget", "--email", "x@example.org")[0] == 2
    assert len(forgotten(tmp_path, "--email", "x@example.org", "--pick", "2")["profiles"]) == 1
    assert profiles(tmp_path, "--customer-id", "B") == []
    done(tmp_path, "import", "a.csv", "--feed", "f", "--again")
    assert len(forgotten(tmp_path, "--email", "x@example.org", "--all")["profiles"]) == 1


@pytest.mark.parametrize(
    ("name", "text", "options"),
    [
        (
            "who.csv",
            "email,customer_id\n,CUST-ERIKA-4711\nnobody@example.org,\np00003@example.com,\n",
            (),
        ),
        (
            "who.jsonl",
            '{"user_identities": {"customer_id": "CUST-ERIKA-4711"}}\n{"email": "nobody@example.org"}\n{"email": "P00003@example.com"}\n',
            (),
        ),
        ("who.txt", "CUST-ERIKA-4711\nC99999\nC00003\n", ("--type", "customer_id")),
    ],
)
def test_a_file_of_people(name: str, text: str, options: tuple[str, ...], folder: Path) -> None:
    (folder / name).write_text(text)
    found = forgotten(folder, "--file", name, *options)
    assert len(found["profiles"]) == 2
    assert [(one["line"], one["why"]) for one in found["not_found"]] == [
        (3 if name == "who.csv" else 2, "nobody has it")
    ]
    is_gone(folder)
    assert profiles(folder, "--customer-id", "C00003") == []


def test_what_only_a_trace_names_is_erased_too(folder: Path) -> None:
    """Nobody has the identity, but a reject names it."""
    found = forgotten(folder, "--email", "other@example.com")
    assert found["profiles"] == []
    assert found["cleared"]["rejects"] == 1
    assert in_file(folder, ["other@example.com"]) == []
    assert tried(folder, "forget", "--email", "other@example.com")[0] == 7


def test_the_past_is_as_if_they_had_not_been(folder: Path) -> None:
    forgotten(folder, "--customer-id", ERIKA["customer_id"])
    for arguments in (
        ("export", "profiles", "--provenance"),
        ("export", "batches"),
        ("export", "identities"),
        ("diff", "2"),
        ("diff", "1", "7"),
        ("imports", "list"),
        ("imports", "show", "6"),
        ("imports", "show", "7"),
        ("stats",),
    ):
        found = done(folder, *arguments)
        assert [one for one in ALL if one.lower() in found.output.lower()] == [], arguments
    assert tried(folder, "show", "--customer-id", ERIKA["customer_id"], "--as-of", "3")[0] == 7
    assert "of a person who was erased" in done(folder, "explain", "row", "people.csv:2").output
    (folder / "next.jsonl").write_text('{"customer_id": "C00001", "tier": "x"}\n')
    done(folder, "plan", "next.jsonl", "--feed", "crm", "-o", "next.plan")
    forgotten(folder, "--customer-id", "C00002")
    assert tried(folder, "apply", "next.plan")[0] == 8


def test_a_backup_holds_them_and_a_new_one_does_not(folder: Path) -> None:
    done(folder, "backup", "before.duckdb")
    forgotten(folder, "--customer-id", ERIKA["customer_id"])
    done(folder, "backup", "after.duckdb")
    content = (folder / "after.duckdb").read_bytes()
    assert [one for one in ALL if one.encode() in content] == []


def test_a_modification_may_not_give_an_identity_of_the_erased(folder: Path) -> None:
    forgotten(folder, "--customer-id", ERIKA["customer_id"])
    status, said = tried(
        folder, "modify", "--customer-id", "C00001", "--add", f"email={ERIKA['email']}"
    )
    assert status == 4
    assert ERIKA["email"] in said
    is_gone(folder)


def test_nobody_found(folder: Path) -> None:
    assert tried(folder, "forget", "--email", "nobody@example.org")[0] == 7
    assert tried(folder / "..", "forget", "--email", "nobody@example.org")[0] == 6
    assert tried(folder, "forget", "--email", "x@example.org", "--file", "who.csv")[0] == 4


# Crashes: whatever kills it, the store is the one before or the one after, and forgetting again
# finishes.

# A child that is killed at the so-manyeth of the places where something happens to a file or a
# table.
KILLED = """
import os, signal, sys
from profilectl.store.scratch import Scratch
import profilectl.store.copies as copies
place, seen = int(sys.argv.pop(1)), 0
def count():
    global seen
    seen += 1
    if seen == place:
        os.kill(os.getpid(), signal.SIGKILL)
def counting(real, wanted=lambda *a: True):
    def call(*arguments, **more):
        if wanted(*arguments):
            count()
        return real(*arguments, **more)
    return call
Scratch.run = counting(Scratch.run, lambda self, statement, *a: statement.startswith(("insert into rewritten", "copy from", "checkpoint", "detach", "attach")))
os.replace, os.fsync = counting(os.replace), counting(os.fsync)
from profilectl.cli.app import main
sys.argv[0] = "profilectl"
main()
"""


@pytest.mark.slow
def test_killed_anywhere_it_is_before_or_after_and_again_finishes(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    before = in_tables(folder, ALL)
    # random places: test_killed_commands.py
    places = [1, 17, 45, 52, 60, 64, 66, 67, 68, 69, 70, 71, 72, 73, 74, 75, 1000]
    outcomes = set()
    for place in places:
        work = tmp_path_factory.mktemp("killed")
        for one in folder.iterdir():
            if one.is_file():
                (work / one.name).write_bytes(one.read_bytes())
        child = subprocess.run(
            [
                sys.executable,
                "-c",
                KILLED,
                str(place),
                "forget",
                "--customer-id",
                ERIKA["customer_id"],
                "--yes",
            ],
            cwd=work,
            capture_output=True,
            check=False,
            timeout=120,
        )
        if child.returncode == 0:
            outcomes.add("done")
            is_gone(work)
            break
        assert child.returncode == -signal.SIGKILL, child.stderr
        left = in_tables(work, ALL)
        assert left in ([], before), place
        outcomes.add("after" if left == [] else "before")
        assert tried(work, "forget", "--customer-id", ERIKA["customer_id"], "--yes")[0] == (
            7 if left == [] else 0
        )
        is_gone(work)
    assert outcomes >= {"before", "done"}


def test_a_full_disk_leaves_the_store_as_it_was(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = (folder / "profiles.duckdb").read_bytes()
    real = Scratch.run

    def run(
        self: Scratch, statement: str, bound: dict[str, Any] | None = None, *, step: str = ""
    ) -> None:
        if statement.startswith('insert into rewritten."reject"'):
            raise duckdb.IOException("IO Error: Could not write file: No space left on device")
        real(self, statement, bound, step=step)

    with monkeypatch.context() as patch:
        patch.setattr(Scratch, "run", run)
        status, said = tried(folder, "forget", "--customer-id", ERIKA["customer_id"], "--yes")
    assert status == 6
    assert "the store is as before" in said
    assert (folder / "profiles.duckdb").read_bytes() == content


# Random histories with erasures: the engine leaves what the interpreter leaves, and the store is
# sound.


def _usable(row: dict[str, Any], reading: Reading) -> bool:
    try:
        read_document(parse_json(text_of(row)), reading)
    except Unusable:
        return False
    return True


def check_erasures(history: History, data: st.DataObject) -> None:
    erasures = {
        number: (data.draw(st.sampled_from(KINDS)), data.draw(st.booleans()))
        for number in range(len(history.imports))
        if data.draw(st.booleans())
    }
    # A rejected row keeps its text, in which a name of one letter is found by chance: erasing
    # nobody would then erase that.
    reading = replace(settings_from(stated_settings(history)).reading, latest_ms=latest_ms(NOW_MS))
    for one in history.imports:
        one.rows = [
            row
            for row in one.rows
            if _usable(row, reading)
            and row.get("environment") in (None, one.environment or row.get("environment"))
        ]
    note(history.as_case())
    note(str(erasures))
    with tempfile.TemporaryDirectory() as name:
        where = Path(name)
        ours, reports, secret = erased_by_engine(history, erasures, where)
        assert done(where, "--store", "store.duckdb", "check").exit_code == 0
    expected, counts = erased_by_interpreter(history, erasures, secret)
    for number, (one, other) in enumerate(zip(reports, counts, strict=True)):
        assert one == other, f"the report of import {number + 1}"
    assert [engine_canonical(one) for one in ours] == expected


@settings(max_examples=3, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(histories(), st.data())
def test_engine_equals_interpreter_with_erasures(history: History, data: st.DataObject) -> None:
    check_erasures(history, data)


@pytest.mark.slow
@settings(
    max_examples=at_length(40, by_night=400),
    deadline=None,
    suppress_health_check=list(HealthCheck),
    database=None,
)
@given(histories(), st.data())
def test_engine_equals_interpreter_with_erasures_at_length(
    history: History, data: st.DataObject
) -> None:
    check_erasures(history, data)


KINDS = [
    ("customer_id", "A"),
    ("email", "b@x.org"),
    ("email", "a@x.org"),
    ("mobile_number", "+1"),
    ("ios_idfv", "0a0a0a0a-1111-2222-3333-444444444444"),
]


def erased_by_engine(
    history: History, erasures: dict[int, tuple[tuple[str, str], bool]], folder: Path
) -> tuple[list[Any], list[Any], str]:
    """As equivalence.by_engine, with people erased after some of the imports."""
    path, reports = folder / "store.duckdb", []
    with contextlib.closing(Scratch(folder)) as scratch:
        with open_store(scratch, path, create=True, write=True) as store, store.transaction():
            store.put_settings(stated_settings(history))
            for feed in history.feeds:
                store.put_feed(history.feed(feed))
        for number, one in enumerate(history.imports):
            file = folder / f"{number}.jsonl"
            file.write_text("".join(text_of(row) + "\n" for row in one.rows) or "\n")
            reports.append(
                import_files(
                    path,
                    ImportRequest(
                        [str(file)],
                        one.feed,
                        protection=one.protection,
                        environment=one.environment,
                        again=True,
                        now_ms=NOW_MS + number,
                    ),
                ).counts.as_json()
            )
            if number in erasures:
                who, allow = erasures[number]
                with contextlib.suppress(NobodyFound, InputRefused):
                    forget(path, ForgetRequest(who, every=True), allow_return=allow)
        with open_store(scratch, path) as store:
            lines = [
                line
                for (line,) in scratch.rows(
                    f"select line from ({profiles_of(store).json_lines('', provenance=True)}) order by profile"
                )
            ]
            secret = store.meta("secret")
    return [parse_json(line) for line in lines], reports, secret


def erased_by_interpreter(
    history: History, erasures: dict[int, tuple[tuple[str, str], bool]], secret: str
) -> tuple[list[Any], list[Any]]:
    def erase(interpreter: Interpreter, number: int) -> None:
        if number not in erasures:
            return
        (kind, key), allow = erasures[number]
        holders = {
            profile
            for records in interpreter.records.values()
            for profile in records.holders.get((kind, key), ())
        }
        device = BY_NAME[kind].device
        known = {
            one
            for one in holders
            if any(
                records.values(one, login)
                for records in interpreter.records.values()
                for login in interpreter.rules.login
            )
        }
        holders = {one for one in holders if reached(device=device, known=one in known)}
        if holders:
            interpreter.forget(holders, allow_return=allow)
        elif allow:
            interpreter.lift(kind, key)

    interpreter, reports, starts = played(history, secret, erase)
    return [canonical(person, starts) for _, person in sorted(interpreter.people.items())], reports


# Access


HOSTILE = {
    "script": "<script>alert(1)</script>",
    "attribute": '"><img src=x onerror=alert(1)>',
    "escape": "\x1b]0;owned\x07\x1b[31m",
    "entity": "&lt;b&gt;",
    "<b>key</b>": "v",
    "ms_ms": "7" * 5000,
    "direction": "a\u202eb",
}


def test_access_tells_everything_that_erasure_takes(folder: Path) -> None:
    text = done(folder, "access", "--customer-id", ERIKA["customer_id"]).stdout
    # What an undone correction had set is nobody's any more, what a repeated request is called says
    # nothing of her.
    assert [one for one in ALL if one.lower() not in text.lower()] == [
        ERIKA["undone"],
        ERIKA["request"],
    ]
    document = json.loads(text)
    (one,) = document["profiles"]
    assert {
        "mpid",
        "identities",
        "devices",
        "consent",
        "user_attributes",
        "provenance",
        "blocked",
        "history",
        "timeline",
    } <= set(one)
    assert {(held["type"], held["value"]) for held in one["identities"] if not held["held"]} >= {
        ("email", ERIKA["old_email"])
    }
    assert one["timeline"][0]["file"] == "people.csv"
    assert any(touch.get("events") for touch in one["timeline"])
    assert [row["code"] for row in document["rejected_rows"]] == ["JSON_INVALID"]


def test_access_is_for_its_owner_only_and_nothing_in_the_page_runs(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(
        json.dumps(
            {
                "user_identities": {"email": "h@example.org", "other": "<i>x</i>"},
                "user_attributes": HOSTILE,
                "consent_state": {
                    "gdpr": {"<u>p": {"consented": True, "timestamp_unixtime_ms": 1}}
                },
            }
        )
        + "\n"
    )
    done(tmp_path, "import", "a.jsonl", "--feed", "<b>f</b>")
    done(tmp_path, "access", "--email", "h@example.org", "-o", "h.json", "--html", "h.html")
    assert {(tmp_path / name).stat().st_mode & 0o777 for name in ("h.json", "h.html")} == {0o600}
    page = (tmp_path / "h.html").read_text("utf-8")
    tags = set(re.findall(r"<(/?[a-zA-Z!][a-zA-Z0-9]*)", page))
    assert tags <= {
        f"{slash}{name}"
        for slash in ("", "/")
        for name in (
            "html",
            "head",
            "meta",
            "title",
            "style",
            "body",
            "h1",
            "h2",
            "h3",
            "p",
            "table",
            "tr",
            "th",
            "td",
            "div",
        )
    } | {"!doctype"}
    assert not set(page) & {"\x1b", "\x07", "\u202e"}
    assert "default-src 'none'" in page
    held = json.loads((tmp_path / "h.json").read_text())["profiles"][0]["user_attributes"]
    assert held["script"] == HOSTILE["script"]
    assert held["escape"] == HOSTILE["escape"]


def test_access_of_nobody_and_of_several(folder: Path) -> None:
    assert tried(folder, "access", "--email", "nobody@example.org")[0] == 7
    assert tried(folder, "access", "--ios-idfv", DEVICE)[0] == 4
    forgotten(folder, "--customer-id", ERIKA["customer_id"])
    assert tried(folder, "access", "--customer-id", ERIKA["customer_id"]) == (
        7,
        f"nobody has the customer_id {ERIKA['customer_id']}\nthey were erased",
    )


# Requests (domain.md 14, scenario 39)

ID = "a7551968-d5d6-44b2-9831-815ac9017798"


def asked(
    folder: Path,
    kind: str = "erasure",
    identities: dict[str, str] | None = None,
    *,
    name: str = ID,
    **more: Any,
) -> tuple[int, str]:
    document = {
        "regulation": "gdpr",
        "subject_request_id": name,
        "subject_request_type": kind,
        "submitted_time": "2026-11-20T15:00:00Z",
        "api_version": "3.0",
        "subject_identities": {
            one: {"value": value, "encoding": "raw"}
            for one, value in (
                identities or {"controller_customer_id": ERIKA["customer_id"]}
            ).items()
        },
        **more,
    }
    (folder / "request.json").write_text(json.dumps(document))
    return tried(folder, "privacy", "request", "request.json", "--json")


def status(folder: Path, name: str = ID) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(done(folder, "privacy", "show", name, "--json").stdout)
    return found


def later(days: float) -> str:
    return (datetime.now(UTC) + timedelta(days=days)).isoformat()


def test_an_erasure_waits_seven_days_and_may_be_cancelled(folder: Path) -> None:
    assert asked(folder)[0] == 0
    assert status(folder)["request_status"] == "pending"
    done(folder, "privacy", "run", "--now", later(6.9))
    assert status(folder)["request_status"] == "pending"
    assert len(profiles(folder, "--customer-id", ERIKA["customer_id"])) == 1
    done(folder, "privacy", "cancel", ID)
    done(folder, "privacy", "run", "--now", later(8))
    assert status(folder)["request_status"] == "cancelled"
    assert len(profiles(folder, "--customer-id", ERIKA["customer_id"])) == 1
    assert tried(folder, "privacy", "cancel", ID)[0] == 4


def test_after_seven_days_they_are_gone_and_only_the_record_is_left(folder: Path) -> None:
    asked(folder)
    done(folder, "privacy", "run", "--now", later(7.1))
    is_gone(folder)
    found = status(folder)
    assert (found["request_status"], found["profiles"], found["encoded_request"]) == (
        "completed",
        1,
        None,
    )
    done(folder, "privacy", "run", "--now", later(7 + 364))
    assert [
        one["subject_request_id"]
        for one in json.loads(done(folder, "privacy", "requests", "--json").stdout)
    ] == [ID]
    done(folder, "privacy", "run", "--now", later(7 + 367))
    assert json.loads(done(folder, "privacy", "requests", "--json").stdout) == []


@pytest.mark.slow
@pytest.mark.parametrize("beside", ["nothing", "an erasure"])
def test_no_byte_of_a_record_is_left_after_its_year(beside: str, folder: Path) -> None:
    """... neither as the identity nor as the request that came with it, and whether anybody is
    erased or not.
    """
    name, value = ID.replace("a7", "d7"), "asked-for-nobody@example.org"
    asked(folder, "access", {"email": value}, name=name)
    done(folder, "privacy", "run", "-o", "answers")
    encoded = status(folder, name)["encoded_request"]
    assert set(in_file(folder, [value, encoded[:60]])) == {value, encoded[:60]}
    if beside == "an erasure":
        asked(folder)
    erased = json.loads(done(folder, "stats", "--json").stdout)["profiles"]
    done(folder, "privacy", "run", "--now", later(367))
    assert in_file(folder, [value, name, encoded[:60]]) == []
    assert [
        one["subject_request_id"]
        for one in json.loads(done(folder, "privacy", "requests", "--json").stdout)
    ] == ([ID] if beside == "an erasure" else [])
    assert erased - json.loads(done(folder, "stats", "--json").stdout)["profiles"] == (
        beside == "an erasure"
    )
    done(folder, "check")


def test_the_waiting_period_may_be_skipped(folder: Path) -> None:
    assert (
        asked(folder, extensions={"opendsr.mparticle.com": {"skip_waiting_period": True}})[0] == 0
    )
    done(folder, "privacy", "run")
    is_gone(folder)


def test_a_request_by_a_device_alone_reaches_nobody_known(folder: Path) -> None:
    asked(
        folder,
        identities={"ios_idfv": DEVICE},
        extensions={"opendsr.mparticle.com": {"skip_waiting_period": True}},
    )
    done(folder, "privacy", "run")
    assert status(folder)["profiles"] == 0
    assert len(profiles(folder, "--customer-id", ERIKA["customer_id"])) == 1


def test_access_and_portability_are_answered_in_files(folder: Path) -> None:
    asked(folder, "access")
    asked(folder, "portability", name=ID.replace("a7", "b7"))
    done(folder, "privacy", "run", "-o", "answers")
    found = status(folder)
    assert found["request_status"] == "completed"
    assert json.loads((folder / found["results_url"]).read_text())["profiles"][0][
        "user_identities"
    ]["customer_id"] == [ERIKA["customer_id"]]
    assert sorted(one.suffix for one in (folder / "answers").iterdir()) == [
        ".html",
        ".html",
        ".json",
        ".json",
    ]
    forgotten(folder, "--customer-id", ERIKA["customer_id"])
    is_gone(folder)
    assert status(folder)["encoded_request"] is None


def test_the_same_request_twice_is_refused(folder: Path) -> None:
    asked(folder)
    assert "is there already" in asked(folder)[1]
    assert "the same erasure is pending already" in asked(folder, name=ID.replace("a7", "b7"))[1]
    assert asked(folder, "access", name=ID.replace("a7", "c7"))[0] == 0


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"regulation": "hipaa"}, "regulation must be one of gdpr, ccpa"),
        ({"subject_request_id": "1"}, "subject_request_id must be a UUID of version 4"),
        ({"subject_request_type": None}, "subject_request_type must be a text"),
        ({"submitted_time": "yesterday"}, "submitted_time must be a time"),
        ({"subject_identities": {}}, "subject_identities: a request needs an identity"),
        (
            {"subject_identities": {"email": {"value": "a@x.org", "encoding": "sha256"}}},
            "subject_identities.email.encoding must be raw",
        ),
        (
            {"subject_identities": {"email": {"value": ["a"]}}},
            "subject_identities.email.value must be a text",
        ),
        ({"subject_identities": {"shoe": {"value": "7"}}}, "there is no identity type shoe"),
        ({"subject_identities": {"mpid": {"value": "7"}}}, "mpid belongs into the extension"),
        (
            {
                "extensions": {
                    "opendsr.mparticle.com": {"subject_identities": {"mpid": {"value": "7"}}}
                }
            },
            "mpid must be the only identity",
        ),
        ({"extensions": {"opendsr.mparticle.com": {"skip": True}}}, "there is no field skip"),
        ({"status_callback_urls": "x"}, "status_callback_urls must be a list"),
        ({"unknown": 1}, "there is no field unknown"),
        ({"api_version": "2.0"}, "api_version must be 3.0"),
    ],
)
def test_a_wrong_request_is_refused_by_field(
    wrong: dict[str, Any], said: str, folder: Path
) -> None:
    code, text = asked(folder, **wrong)
    assert code == 4
    assert said in text
    assert json.loads(done(folder, "privacy", "requests", "--json").stdout) == []
