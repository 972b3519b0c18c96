"""Who is erased is gone: from every table, from the bytes of the file, from what any later import
or undo makes.
"""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
from support.effort import at_length, spread_now
from support.equivalence import (
    NOW_MS,
    canonical,
    engine_canonical,
    played,
    stated_settings,
    text_of,
)
from support.erasing import done, in_file, in_tables, profiles, tried
from support.erika import ALL, DEVICE, ERIKA, forgotten, is_gone, store_with_erika
from support.histories import History, histories

from profilectl.codes import InputRefused, NobodyFound
from profilectl.importing.request import ImportRequest
from profilectl.importing.run import import_files
from profilectl.privacy.forget import ForgetRequest, forget
from profilectl.profiles.read_model import profiles_of
from profilectl.rules.batch import Reading, read_document
from profilectl.rules.fields import UnusableRow
from profilectl.rules.identity import BY_NAME
from profilectl.rules.interpreter import Interpreter
from profilectl.rules.resolution import reached
from profilectl.rules.text.moments import latest_ms
from profilectl.rules.text.values import parse_json
from profilectl.store.opening import open_store
from profilectl.store.scratch import Scratch
from profilectl.store.settings import settings_from


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return store_with_erika(tmp_path)


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
    done(folder, "compact", "--keep", "0", "--yes")
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
        '{"customer_id": "A-1", "email": "shared@example.org"}\n{"email":'
        ' "shared@example.org", "n": "1"}\n'
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
    spread_now(
        [
            (
                "who.csv",
                "email,customer_id\n,CUST-ERIKA-4711\nnobody@example.org,\np00003@example.com,\n",
                (),
            ),
            (
                "who.jsonl",
                (
                    '{"user_identities": {"customer_id": "CUST-ERIKA-4711"}}\n{"email":'
                    ' "nobody@example.org"}\n{"email": "P00003@example.com"}\n'
                ),
                (),
            ),
            ("who.txt", "CUST-ERIKA-4711\nC99999\nC00003\n", ("--type", "customer_id")),
        ],
        3,
    ),
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
    except UnusableRow:
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
                    "select line from"
                    f" ({profiles_of(store).json_lines('', provenance=True)}) order by"
                    " profile"
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


# Requests (domain.md 14, scenario 39)
