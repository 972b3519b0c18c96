"""Identities changed by hand, and the past of one profile carried over to another: both are
imports.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, note, seed, settings
from hypothesis import strategies as st
from support.doors import run_here
from support.effort import at_length, spread_now
from support.equivalence import NOW_MS, canonical, engine_canonical, stated_settings, text_of
from support.histories import CUSTOMERS, DEVICES, EMAILS, PHONES, History, histories
from support.played_histories import breaches, declare, exported, opened, request_for

from profilectl.codes import InputRefused
from profilectl.importing.corrections.alias import alias_profiles
from profilectl.importing.corrections.identities import StatedChange, modify_identities
from profilectl.importing.run import import_files
from profilectl.importing.undo import undo_import
from profilectl.profiles.read_model import profiles_of
from profilectl.rules.batch import Batch, read_document
from profilectl.rules.fields import UnusableRow
from profilectl.rules.identity import BY_NAME, Judging, UsableIdentity, display, key_of, usable
from profilectl.rules.interpreter import InterpretedProfile, Interpreter
from profilectl.rules.resolution import IdentityChange
from profilectl.rules.text.moments import latest_ms
from profilectl.rules.text.values import parse_json
from profilectl.store.settings import settings_from

VALUES = {"customer_id": CUSTOMERS, "email": EMAILS, "mobile_number": PHONES, "ios_idfv": DEVICES}


Drawn = tuple[str, str | None, int | None, int | None]
"""A change before anybody knows the profile: a type, which value it loses (most likely one that it
has), and gets.
"""


@st.composite
def changes(draw: st.DrawFn) -> list[Drawn]:
    kinds = draw(st.lists(st.sampled_from(sorted(VALUES)), min_size=1, max_size=3))
    return [
        (
            kind,
            draw(st.sampled_from([None] * 9 + ["A"])),
            draw(st.one_of(st.none(), st.integers(0, 3))),
            draw(st.one_of(st.none(), st.integers(0, 3))),
        )
        for kind in kinds
    ]


def stated_for(person: InterpretedProfile, drawn: list[Drawn]) -> list[StatedChange]:
    """Return the changes as somebody would state them of this profile."""
    found: list[StatedChange] = []
    for wanted, odd, loses, gets in drawn:
        kind, old = wanted, odd
        if loses is not None and person.identities:
            held = person.identities[loses % len(person.identities)][0]
            kind, old = (held.type, held.value) if held.type in VALUES else (kind, None)
        new = VALUES[kind][gets % len(VALUES[kind])] if gets is not None else None
        if old is not None or new is not None:
            found.append((kind, old, new))
    return found


@st.composite
def courses(draw: st.DrawFn) -> tuple[History, list[list[tuple[int, list[Drawn]]]]]:
    """A history, and after each of its imports some modifications of the n-th profile."""
    history = draw(histories())
    after = [
        draw(st.lists(st.tuples(st.integers(0, 5), changes()), max_size=3)) for _ in history.imports
    ]
    return history, after


def rule_change(
    kind: str, old: str | None, new: str | None, judging: Judging
) -> IdentityChange | None:
    """The change that the rule is given; None where the new value may not be used."""
    was = (
        UsableIdentity(kind, display(old), key_of(BY_NAME[kind], display(old)))
        if old is not None
        else None
    )
    if new is None:
        return IdentityChange(kind, was)
    found = usable(BY_NAME[kind], new, judging)
    return IdentityChange(kind, was, found) if isinstance(found, UsableIdentity) else None


def follow(history: History, after: list[list[tuple[int, list[Drawn]]]]) -> None:  # noqa: C901  one course, step by step
    """Run a course through the store and the interpreter, and compare after every step."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "store.duckdb"
        declare(path, history)
        with opened(path) as store:
            secret = store.meta("secret")
        found = settings_from(stated_settings(history))
        interpreter = Interpreter(found.rules, history.priority, secret)
        feeds = {name: history.feed(name, n) for n, name in enumerate(history.feeds, 1)}
        starts: list[int] = []
        clock = 0
        for number, (one, modifications) in enumerate(zip(history.imports, after, strict=True)):
            rows: list[Batch | UnusableRow] = []
            for row in one.rows:
                try:
                    rows.append(
                        read_document(
                            parse_json(text_of(row)),
                            replace(found.reading, latest_ms=latest_ms(NOW_MS)),
                        )
                    )
                except UnusableRow as error:
                    rows.append(error)
            import_files(path, replace(request_for(folder, number, one), now_ms=NOW_MS + clock))
            starts.append(interpreter.arrivals)
            interpreter.run(feeds[one.feed], one.protection, rows, NOW_MS + clock, one.environment)
            interpreter.arrivals = max(interpreter.arrivals, starts[-1] + (not rows))
            clock += 1
            for place, drawn in modifications:
                people = sorted(interpreter.people)
                if not people:
                    continue
                profile = people[place % len(people)]
                person = interpreter.people[profile]
                stated = stated_for(person, drawn)
                if not stated:
                    continue
                expected: Any = None
                ruled = [rule_change(*one, found.rules.judging) for one in stated]
                begins = interpreter.arrivals
                if None not in ruled:
                    with contextlib.suppress(InputRefused):
                        expected = interpreter.modify(
                            profile, [one for one in ruled if one], NOW_MS + clock
                        ).as_json()
                before = exported(path)
                note(f"modify {person.mpid} {stated}: {'refused' if expected is None else 'done'}")
                try:
                    report = modify_identities(
                        path,
                        ("mpid", str(person.mpid)),
                        stated,
                        feed="hand",
                        environment=person.environment,
                        now_ms=NOW_MS + clock,
                    )
                except InputRefused:
                    assert expected is None
                    assert exported(path) == before
                    continue
                assert report.counts.as_json() == expected
                is_idle = interpreter.arrivals == begins
                assert is_idle == (report.number is None) == (exported(path) == before)
                starts += [] if is_idle else [begins]
                clock += 1
                if (
                    place == 0 and not is_idle
                ):  # taken back, and made again by the interpreter's arrivals
                    after_it = exported(path)
                    undo_import(path, report.number or 0)
                    assert exported(path) == before
                    again = modify_identities(
                        path,
                        ("mpid", str(person.mpid)),
                        stated,
                        feed="hand",
                        environment=person.environment,
                        now_ms=NOW_MS + clock - 1,
                        first_arrival=begins,
                    )
                    starts.append(begins)
                    assert exported(path) == after_it
                    assert again.counts.as_json() == expected
                    starts.pop()
        with opened(path) as store:
            lines = [
                line
                for (line,) in store.scratch.rows(
                    "select line from"
                    f" ({profiles_of(store).json_lines('', provenance=True)}) order by"
                    " profile"
                )
            ]
        ours = [engine_canonical(parse_json(line)) for line in lines]
        theirs = [canonical(person, starts) for _, person in sorted(interpreter.people.items())]
        for one in (*ours, *theirs):  # an import that was taken back has a number too
            one["provenance"] = {
                key: (value[0], value[1], value[3], value[4])
                for key, value in one["provenance"].items()
            }
        assert ours == theirs
        assert not breaches(path)


COURSES = settings(deadline=None, database=None, suppress_health_check=list(HealthCheck))


@seed(4)
@settings(COURSES, max_examples=2)
@given(courses())
def test_a_modified_store_is_that_of_the_rules(course: tuple[History, Any]) -> None:
    note(course[0].as_case())
    follow(*course)


@pytest.mark.slow
@settings(COURSES, max_examples=at_length(35, by_night=300))
@given(courses())
def test_a_modified_store_is_that_of_the_rules_at_length(course: tuple[History, Any]) -> None:
    note(course[0].as_case())
    follow(*course)


# On the command line


def one(folder: Path, *who: str) -> dict[str, Any]:
    done = run_here("show", *who, "--json", folder=folder)
    assert done.returncode == 0, done.stderr
    (profile,) = json.loads(done.stdout)["profiles"]
    return dict(profile)


def write(folder: Path, *batches: dict[str, Any], name: str = "a.jsonl") -> None:
    (folder / name).write_text("".join(json.dumps(batch) + "\n" for batch in batches))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(
        tmp_path,
        {
            "user_identities": {"customer_id": "C1", "email": "a@example.com"},
            "user_attributes": {"tier": "gold"},
            "timestamp_unixtime_ms": 1_700_000_000_000,
        },
        {
            "user_identities": {"customer_id": "C2", "email": "b@example.com"},
            "timestamp_unixtime_ms": 1_700_000_000_000,
        },
        {
            "device_info": {"ios_idfv": DEVICES[0]},
            "timestamp_unixtime_ms": 1_600_000_000_000,
            "attribution_info": {
                "service_provider": "Ads",
                "publisher": "Weekly",
                "campaign": "Spring",
            },
        },
    )
    assert (
        run_here(
            "import", "a.jsonl", "--feed", "app", "--source", "sdk", folder=tmp_path
        ).returncode
        == 0
    )
    return tmp_path


def test_identities_are_added_removed_and_replaced(folder: Path) -> None:
    done = run_here(
        "modify",
        "--customer-id",
        "C1",
        "--remove",
        "email=A@example.com",
        "--add",
        "email=new@example.com",
        "--add",
        "mobile-number=+1",
        "--json",
        folder=folder,
    )
    report = json.loads(done.stdout)
    assert (report["import"], report["identities"]) == (2, {"added": 2, "moved": 0, "removed": 1})
    assert report["rows"] == {"read": 2, "applied": 2, "dropped": 0, "rejected": 0}
    assert one(folder, "--email", "new@example.com")["user_identities"] == {
        "customer_id": ["C1"],
        "email": ["new@example.com"],
        "mobile_number": ["+1"],
    }
    assert run_here("show", "--email", "a@example.com", folder=folder).returncode == 7
    assert "(modify):1" in run_here("explain", "row", "(modify):1", folder=folder).stdout
    assert run_here("check", folder=folder).returncode == 0
    assert run_here("imports", "undo", "2", "--yes", folder=folder).returncode == 0
    assert one(folder, "--email", "a@example.com")["user_identities"]["email"] == ["a@example.com"]


def test_a_unique_identity_goes_over_and_is_told(folder: Path) -> None:
    (folder / "c.toml").write_text('[identity]\nstrategy = "link"\n')
    assert run_here("config", "apply", "c.toml", folder=folder).returncode == 0
    done = run_here("modify", "--customer-id", "C1", "--add", "email=b@example.com", folder=folder)
    assert done.stdout == "import 2: 1 moved, 1 removed\n"
    assert one(folder, "--customer-id", "C1")["user_identities"]["email"] == ["b@example.com"]
    assert "email" not in one(folder, "--customer-id", "C2")["user_identities"]
    assert run_here("check", folder=folder).returncode == 0


REFUSED = {
    "a value it does not have": (
        ["--remove", "email=b@example.com"],
        "does not have the email b@example.com",
    ),
    "an immutable one": (
        ["--remove", "customer_id=C1", "--add", "customer_id=C9"],
        "customer_id is immutable",
    ),
    "a second immutable one": (["--add", "customer_id=C9"], "customer_id is immutable"),
    "a placeholder": (["--add", "email=null"], ": the identity is a placeholder\n"),
    "no device": (["--add", "ios_idfv=7"], "not a GUID"),
}


@pytest.mark.parametrize("why", spread_now(REFUSED, 3))
def test_a_modification_is_all_or_nothing(why: str, folder: Path) -> None:
    arguments, said = REFUSED[why]
    before = run_here("export", "profiles", "--sorted", folder=folder).stdout
    done = run_here(
        "modify", "--customer-id", "C1", "--add", "mobile_number=+7", *arguments, folder=folder
    )
    assert done.returncode == 4
    assert said in done.stderr
    assert run_here("export", "profiles", "--sorted", folder=folder).stdout == before


def test_another_profiles_immutable_identity_stays_there(folder: Path) -> None:
    done = run_here("modify", "--ios-idfv", DEVICES[0], "--add", "customer_id=C1", folder=folder)
    assert done.returncode == 4
    assert "another profile has the customer_id C1" in done.stderr


def test_usage_of_modify(folder: Path) -> None:
    for arguments in (
        ["--customer-id", "C1", "--add", "email= "],
        ["--customer-id", "C1"],
        ["--customer-id", "C1", "--add", "x"],
        ["--customer-id", "C1", "--add", "mpid=7"],
        ["--add", "email=x@example.com"],
    ):
        assert run_here("modify", *arguments, folder=folder).returncode == 2, arguments
    assert (
        run_here(
            "modify", "--customer-id", "C9", "--add", "email=x@example.com", folder=folder
        ).returncode
        == 7
    )
    assert (
        run_here("feeds", "add", "mute", "--protection", "read-only", folder=folder).returncode == 0
    )
    assert (
        run_here(
            "modify",
            "--customer-id",
            "C1",
            "--add",
            "email=x@example.com",
            "--feed",
            "mute",
            folder=folder,
        ).returncode
        == 4
    )
    before = run_here("export", "profiles", "--sorted", folder=folder).stdout
    assert (
        run_here(
            "modify",
            "--customer-id",
            "C1",
            "--add",
            "email=x@example.com",
            "--dry-run",
            folder=folder,
        ).stdout
        == "dry run: 1 added\n"
    )
    assert run_here("export", "profiles", "--sorted", folder=folder).stdout == before


@pytest.mark.slow
def test_what_came_of_no_file_is_made_again(folder: Path) -> None:
    write(
        folder,
        {"user_identities": {"customer_id": "C1"}, "user_attributes": {"x": 1}},
        name="b.jsonl",
    )
    assert run_here("import", "b.jsonl", "--feed", "other", folder=folder).returncode == 0
    assert (
        run_here(
            "modify", "--customer-id", "C1", "--add", "email=new@example.com", folder=folder
        ).returncode
        == 0
    )
    anonymous, known = (
        one(folder, "--ios-idfv", DEVICES[0])["mpid"],
        one(folder, "--customer-id", "C1")["mpid"],
    )
    assert (
        run_here("alias", f"--from={anonymous}", f"--to={known}", "--now", folder=folder).returncode
        == 0
    )
    done = run_here("imports", "undo", "2", "--replay", "--yes", folder=folder)
    assert done.returncode == 0, done.stderr
    profile = one(folder, "--customer-id", "C1")
    assert profile["user_identities"]["email"] == ["a@example.com", "new@example.com"]
    assert profile["first_seen_ms"] == 1_600_000_000_000
    assert "x" not in profile["user_attributes"]
    assert run_here("check", folder=folder).returncode == 0


# Aliases


@pytest.mark.slow
def test_an_alias_carries_the_past_over(folder: Path) -> None:
    anonymous, known = one(folder, "--ios-idfv", DEVICES[0]), one(folder, "--customer-id", "C1")
    before = run_here("export", "profiles", "--sorted", folder=folder).stdout
    done = run_here("alias", f"--from={anonymous['mpid']}", f"--to={known['mpid']}", folder=folder)
    assert done.returncode == 0, done.stderr
    assert "in 24 hours" in done.stdout
    assert run_here("export", "profiles", "--sorted", folder=folder).stdout == before
    for mpid in (anonymous["mpid"], known["mpid"]):
        assert (
            f"alias: MPID {known['mpid']} has the past of MPID {anonymous['mpid']} from"
            in run_here("show", f"--mpid={mpid}", folder=folder).stdout
        )
    # A day later it is in force: the first-seen date and the attribution, and nothing else.
    assert run_here("imports", "undo", "2", "--yes", folder=folder).returncode == 0
    alias_profiles(
        folder / "profiles.duckdb",
        anonymous["mpid"],
        known["mpid"],
        now_ms=1_790_000_000_000 - 25 * 3_600_000,
    )
    now = one(folder, "--customer-id", "C1")
    assert now["first_seen_ms"] == 1_600_000_000_000
    assert {key: value for key, value in now.items() if key != "first_seen_ms"} == {
        key: value for key, value in known.items() if key != "first_seen_ms"
    }
    assert (
        "campaign: Spring"
        in run_here("show", "--customer-id", "C1", "--section", "attribution", folder=folder).stdout
    )
    assert (
        '"first_seen_ms":1600000000000'
        in run_here("export", "profiles", "--where", "customer_id = 'C1'", folder=folder).stdout
    )
    assert (
        run_here(
            "show", "--customer-id", "C1", "--as-of", "1", "--json", folder=folder
        ).stdout.count("1600000000000")
        == 0
    )
    assert run_here("check", folder=folder).returncode == 0
    # What is older still, and comes later, counts as ever; the last import undone gives the store
    # before it.
    write(
        folder,
        {"user_identities": {"customer_id": "C1"}, "timestamp_unixtime_ms": 1_500_000_000_000},
        name="old.jsonl",
    )
    with_alias = run_here("export", "profiles", "--sorted", folder=folder).stdout
    assert run_here("import", "old.jsonl", "--feed", "app", folder=folder).returncode == 0
    assert one(folder, "--customer-id", "C1")["first_seen_ms"] == 1_500_000_000_000
    assert run_here("imports", "undo", "4", "--yes", folder=folder).returncode == 0
    assert run_here("export", "profiles", "--sorted", folder=folder).stdout == with_alias
    assert run_here("imports", "undo", "3", "--yes", folder=folder).returncode == 0
    assert run_here("export", "profiles", "--sorted", folder=folder).stdout == before


def test_what_an_alias_may_not_be(folder: Path) -> None:
    anonymous, known, other = (
        one(folder, *who)["mpid"]
        for who in (("--ios-idfv", DEVICES[0]), ("--customer-id", "C1"), ("--customer-id", "C2"))
    )

    def alias(source: str, destination: str, *more: str) -> tuple[int, str]:
        done = run_here("alias", f"--from={source}", f"--to={destination}", *more, folder=folder)
        return done.returncode, done.stderr

    assert alias(known, known)[0] == 2
    assert alias("x", known)[0] == 2
    assert alias(anonymous, "7")[0] == 7
    assert alias(anonymous, known, "--start", "2020-01-01", "--end", "2020-06-01")[0] == 2
    assert alias(anonymous, known, "--start", "2020-06-02", "--end", "2020-06-01")[0] == 2
    assert alias(anonymous, known, "--start", "yesterday")[0] == 2
    assert alias(anonymous, known, "--dry-run")[0] == 0
    assert alias(anonymous, known, "--start", "2020-01-01", "--end", "2020-02-01")[0] == 0
    assert (
        "overlapping window"
        in alias(anonymous, other, "--start", "2020-01-15", "--end", "2020-03-01")[1]
    )
    assert alias(anonymous, other, "--start", "2020-02-02", "--end", "2020-03-01")[0] == 0
    assert "was the destination" in alias(known, other)[1]
    assert "was the source" in alias(other, anonymous)[1]
    (folder / "c.toml").write_text('[identity]\nstrategy = "best-match"\n')
    assert run_here("config", "apply", "c.toml", folder=folder).returncode == 0
    assert (
        "knows no aliases"
        in alias(anonymous, known, "--start", "2021-01-15", "--end", "2021-02-01")[1]
    )


@pytest.mark.slow
def test_an_alias_carries_the_events_of_its_window_over(tmp_path: Path) -> None:
    """What is computed of them is so at once, is of the destination as well, and goes with the
    alias (domain.md 4.5).
    """
    now_ms, day = time.time_ns() // 1_000_000, 86_400_000

    def event(name: str, days: int) -> dict[str, Any]:
        return {
            "event_type": "custom_event",
            "data": {
                "event_name": name,
                "custom_event_type": "other",
                "timestamp_unixtime_ms": now_ms - days * day,
            },
        }

    def bring(name: str, *batches: dict[str, Any]) -> None:
        (tmp_path / name).write_text("".join(json.dumps(one) + "\n" for one in batches))
        assert run_here("import", name, "--feed", "app", folder=tmp_path).returncode == 0

    def told() -> tuple[Any, list[str], list[str]]:
        (one,) = json.loads(run_here("show", "--mpid", "43", "--json", folder=tmp_path).stdout)[
            "profiles"
        ]
        happened = [
            json.loads(line)["name"]
            for line in run_here(
                "events", "--mpid", "43", "--json", folder=tmp_path
            ).stdout.splitlines()
        ]
        return (
            one["user_attributes"].get("buys"),
            [each["audience_name"] for each in one["audience_memberships"]],
            happened,
        )

    bring(
        "a.jsonl",
        {
            "mpid": 42,
            "device_info": {"ios_idfv": "0a0a0a0a-1111-2222-3333-444444444444"},
            "events": [event("buy", 10), event("buy", 100)],
        },
        {"mpid": 43, "user_identities": {"customer_id": "A"}, "events": [event("view", 1)]},
    )
    for arguments in (
        ("calculated", "add", "buys", "--type", "count", "--event", "buy"),
        ("audiences", "add", "buyers", "event 'buy'"),
        ("audiences", "add", "mailed", "email exists"),
    ):
        assert run_here(*arguments, folder=tmp_path).returncode == 0
    assert told() == (None, [], ["view"])
    assert run_here("alias", "--from", "42", "--to", "43", "--now", folder=tmp_path).returncode == 0
    assert told() == (1, ["buyers"], ["buy", "view"])
    # after the alias: it stays with whom it is of
    bring("b.jsonl", {"mpid": 42, "events": [event("buy", 5)]})
    assert run_here("calculated", "recalculate", folder=tmp_path).returncode == 0
    assert told() == (1, ["buyers"], ["buy", "view"])
    assert (
        run_here(
            "modify", "--mpid", "43", "--add", "email=a@example.com", folder=tmp_path
        ).returncode
        == 0
    )
    assert told()[1] == ["buyers", "mailed"]
    assert run_here("imports", "undo", "2", "--yes", folder=tmp_path).returncode == 0
    assert told() == (None, ["mailed"], ["view"])
    assert run_here("check", folder=tmp_path).returncode == 0
