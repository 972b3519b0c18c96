"""What names nothing, and what nobody has: one answer, at the doors where there was another."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from support.doors import made_once, run_here

IDFV = "0a0a0a0a-1111-2222-3333-444444444444"


@made_once
def store(folder: Path) -> None:
    """One user, with an event and a device."""
    event = {
        "event_type": "custom_event",
        "data": {"event_name": "Product Viewed", "custom_event_type": "other"},
    }
    batch = {
        "user_identities": {"customer_id": "A", "email": "a@example.org"}, "events": [event],
        "user_attributes": {"tier": "gold"}, "device_info": {"ios_idfv": IDFV},
    }  # fmt: skip
    (folder / "a.jsonl").write_text(json.dumps(batch) + "\n")
    (folder / "list.txt").write_text("A\n")
    done = run_here("import", "a.jsonl", "--feed", "crm", folder=folder)
    assert done.returncode == 0, done.stderr


EMPTY = {
    'search ""': "TEXT is empty",
    'search " " --exact': "TEXT is empty",
    'show ""': "VALUE is empty",
    'explain ""': "VALUE is empty",
    'explain identity ""': "VALUE is empty",
    'access ""': "VALUE is empty",
    'forget "" --yes': "VALUE is empty",
    'events ""': "VALUE is empty",
    "show --identity email=": "--identity email= is empty",
    "diff 1 --identity email=": "--identity email= is empty",
    "explain identity A --and email=": "--and email= is empty",
    'feeds add p --source partner --partner ""': "--partner is empty",
    'import a.jsonl --feed p --source partner --partner ""': "--partner is empty",
    "credentials new c.toml --of-workspace =3": "--of-workspace =3: must be NAME=NUMBER",
}
UNKNOWN = {
    'events --name "product viewd"': (
        2,
        "--name product viewd: there is no event product viewd",
        "Product Viewed",
    ),
    "export imports --since 99": (2, "there is no import 99", "Try: 1;"),
    "stream --device nobody": (7, "nobody has the device identity nobody", ""),
    "stream --device a@example.org": (7, "nobody has the device identity a@example.org", ""),
    "diff 1 --identity email=b@example.org": (
        7,
        "nobody has the email b@example.org",
        "Try: profilectl search finds",
    ),
    "show b@example.org": (7, "nobody has", "Try: profilectl search finds"),
    "explain --email b@example.org": (7, "nobody has", "Try: profilectl search finds"),
    "diff 1 --identity mpid=3": (7, "nobody has the mpid 3", ""),
    "explain row b.jsonl:1": (4, "no import in force brought a file b.jsonl", "Try: a.jsonl;"),
    "search A --environment prod": (2, "must be one of production, development", "production?"),
    "privacy requests --group G7": (
        2,
        "--group G7: there is no group of requests G7, and no other",
        "",
    ),
}


@pytest.mark.parametrize("command", EMPTY)
def test_what_is_empty_means_nobody_and_not_everybody(command: str, tmp_path: Path) -> None:
    done = run_here(*shlex.split(command), folder=store(tmp_path))
    assert (done.returncode, done.stdout) == (2, "")
    assert EMPTY[command] in done.stderr
    assert not (tmp_path / "c.toml").exists()


@pytest.mark.parametrize("command", UNKNOWN)
def test_what_nobody_has_is_said(command: str, tmp_path: Path) -> None:
    status, message, hint = UNKNOWN[command]
    done = run_here(*shlex.split(command), folder=store(tmp_path))
    assert (done.returncode, done.stdout) == (status, "")
    assert message in done.stderr
    assert hint in done.stderr


@pytest.mark.parametrize(
    ("command", "has_hint"),
    [
        ("search example", True),
        ("search example --exact", True),
        ("search nobody --substring", False),
        ("search --where \"tier = 'tin'\"", False),
        ("show --mpid 3", False),
    ],
)
def test_a_search_that_finds_nobody_says_how_to_find_more(
    command: str, has_hint: bool, tmp_path: Path
) -> None:
    done = run_here(*shlex.split(command), folder=store(tmp_path))
    assert done.returncode == 7
    assert ("--substring" in done.stderr) == has_hint


def test_what_somebody_has_is_no_such_thing(tmp_path: Path) -> None:
    folder = store(tmp_path)
    known = (
        f"stream --device {IDFV}",
        "events --name 'Product Viewed'",
        "events --name 'Product Viewed' --type screen_view",
        "export imports --since 1",
        "diff 1 --identity email=a@example.org",
        "search --where \"tier = 'gold'\"",
    )
    for command in known:
        assert run_here(*shlex.split(command), folder=folder).returncode == 0, command


def test_what_is_deleted_in_vain_has_a_name_like_it(tmp_path: Path) -> None:
    done = run_here("set", "A", "--delete", "tierr", folder=store(tmp_path))
    assert done.stderr == "there is no attribute tierr; did you mean tier?\n"
    done = run_here("set", "A", "--delete", "nothing", folder=tmp_path)
    assert done.stderr == "there is no attribute nothing\n"
    done = run_here("set", "A", "--delete", "tier", folder=tmp_path)
    assert done.stderr == ""
    done = run_here("set", "A", "--delete", "tier", folder=tmp_path)  # the store knows it still
    assert done.stderr == ""
