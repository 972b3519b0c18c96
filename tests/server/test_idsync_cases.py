"""In every conformance case, IDSync decides as `profilectl identify` and as an import."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from support.conformance import CASES, expanded
from support.doors import by_command_line, call
from support.signing_in import Room, room_of

from profilectl.codes import NobodyFound
from profilectl.rules.batch import Reading, read_document
from profilectl.rules.fields import UnusableRow
from profilectl.rules.identity import type_named
from profilectl.rules.text.values import NotJson, parse_json

MOST = 3
"""So many sets of identities of a case are asked about."""
OFTEN = 200
"""Every such case is tried in the default run, all of them with the slow tests."""
NOT_OF_IDENTITY = ("user_attributes", "deleted_user_attributes", "events")


def said_of_identity(case: dict[str, Any]) -> str:
    """Return what of a case can lead to somebody: hundreds differ in their attributes only."""
    feeds = case["given"]["feeds"]
    when = [
        [
            one.get("protection", feeds.get(one["feed"], {}).get("protection")),
            one.get("environment"),
            one.get("options"),
            one.get("lines"),
            one.get("csv"),
            [
                {name: value for name, value in batch.items() if name not in NOT_OF_IDENTITY}
                for batch in one.get("batches", [])
            ],
        ]
        for one in case["when"]
    ]
    return json.dumps([case["given"].get("config", {}).get("identity"), when], sort_keys=True)


ONCE = {said_of_identity(case.values[0]): case for case in reversed(CASES)}
RUNS = [
    pytest.param(case.values[0], id=case.id, marks=[] if place % OFTEN == 5 else [pytest.mark.slow])
    for place, case in enumerate(reversed(ONCE.values()))
]


@pytest.mark.parametrize("case", RUNS)
def test_idsync_decides_as_identify_and_as_an_import(case: dict[str, Any], tmp_path: Path) -> None:
    case = expanded(copy.deepcopy(case))
    by_command_line(case, tmp_path)
    feeds = [
        name
        for name, one in case["given"]["feeds"].items()
        if one.get("protection", "create-and-update") == "create-and-update"
    ]
    with room_of(tmp_path, feeds or ["nobody"]) as app:
        for environment, identities in questions(case):
            agree(app, environment, identities, (feeds or ["nobody"])[0])


def questions(case: dict[str, Any]) -> list[tuple[str, dict[str, str]]]:
    """Return what to ask about: the identities of the last batches of a case, all together, and one
    alone.
    """
    found: list[tuple[str, dict[str, str]]] = []
    for one in reversed(case["when"]):
        for document in reversed([*one.get("batches", []), *map(parsed, one.get("lines", []))]):
            try:
                batch = read_document(parse_json(json.dumps(document)), Reading())
            except (UnusableRow, NotJson):
                continue
            identities = {each.type: each.value for each in batch.identities}
            environment = batch.environment or one.get("environment", "production")
            for some in (identities, dict(list(identities.items())[-1:])):
                if some and (environment, some) not in found:
                    found.append((environment, some))
    return found[:MOST]


def parsed(line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None


def agree(app: Room, environment: str, identities: dict[str, str], feed: str) -> None:
    """Ask three times: the command, a search, and a request that writes."""
    flags = [f"--{kind.replace('_', '-')}={value}" for kind, value in identities.items()]
    told = call("identify", *flags, "--environment", environment, "--json", folder=app.folder)
    assert told.exit_code == 0 or isinstance(told.exception, NobodyFound), told.output
    expected = json.loads(told.stdout.splitlines()[0])
    body = {"environment": environment, "known_identities": identities}
    searched = app.send("search", body, feed)
    if not expected["usable"]:
        assert searched.status_code == 400
        return
    assert (searched.json().get("mpid"), searched.status_code) == (
        expected["mpid"],
        200 if expected["mpid"] else 404,
    )
    assert app.send("login?read_only=true", body, feed).json().get("mpid") == expected["mpid"]
    written = app.send("identify", body, feed).json()
    if expected["mpid"]:
        assert written["mpid"] == expected["mpid"]
        assert written["matched_identities"] == searched.json()["matched_identities"]
        assert {type_named(name) for name in written["matched_identities"]}
    else:
        assert written["matched_identities"] == {}
        again = app.send("search", body, feed)
        assert again.json().get("mpid") in (written["mpid"], None), (
            "who is new is found again, where anything of it is a way to find somebody"
        )


def test_users_are_found_among_those_of_every_workspace(tmp_path: Path) -> None:
    """The command ended with a fault where another workspace had seen the user, and asked which one
    was meant.
    """
    (tmp_path / "config.toml").write_text(
        '[feeds.a]\nworkspace = "one"\n[feeds.b]\nworkspace = "two"\n'
    )
    assert call("config", "apply", "config.toml", folder=tmp_path).exit_code == 0
    with room_of(tmp_path, ["a", "b"]) as app:
        known = app.mpid("login", "a", customerid="A", email="a@example.com")
        assert app.mpid("search", "b", customerid="A") == known
        assert app.mpid("login", "b", customerid="A") == known
        app.ask("login", "b", customerid="B")
        for workspace in ([], ["--workspace", "one"]):
            told = call(*workspace, "identify", "--customer-id", "B", "--json", folder=tmp_path)
            assert told.exit_code == 0, told.output
