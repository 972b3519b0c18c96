"""The same thing has one key and one order in whatever JSON the commands print (docs/json.md).

One store that has a bit of everything is made once; every command that prints JSON is a row of
COMMANDS, and every rule is held against all of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
import typer
from support.doors import call, made_once
from support.places import ROOT
from support.schemas import faults, schema_of

CONFIG = """
[calculated.visits]
type = "count"
event_type = "custom_event"
event = "visit"

[audiences.gold]
criteria = "tier = 'gold'"

[outputs.lake]
type = "jsonl"
path = "lake.jsonl"

[outputs.mail]
type = "webhook"
url = "http://127.0.0.1:9/hook"

[connections.crm-lake]
feed = "crm"
output = "lake"

[connections.crm-mail]
feed = "crm"
output = "mail"
"""
A = [
    {
        "mpid": 11,
        "user_identities": {"customer_id": "A", "email": "a@example.com"},
        "user_attributes": {"tier": "gold", "n": 1, "tag": None},
        "timestamp_unixtime_ms": 1700000000000,
    },
    {
        "mpid": 12,
        "user_identities": {"customer_id": "B", "email": "unknown"},
        "device_info": {"ios_idfv": "5A1F3C52-6F0B-4D8E-9C11-000000000001", "os_version": "17"},
        "consent_state": {
            "gdpr": {"mkt": {"consented": True, "timestamp_unixtime_ms": 1700000000001}}
        },
        "timestamp_unixtime_ms": 1700000000001,
        "events": [
            {
                "event_type": "custom_event",
                "data": {
                    "event_name": "visit",
                    "custom_event_type": "other",
                    "timestamp_unixtime_ms": 1700000000000 + n,
                },
            }
            for n in (5, 3, 9)
        ]
        + [{"event_type": "session_start", "data": {"timestamp_unixtime_ms": 1700000000020}}],
    },
    {
        "mpid": 13,
        "device_info": {"android_uuid": "X"},
        "user_attributes": {"tier": "tin"},
        "timestamp_unixtime_ms": 1700000000002,
    },
    {
        "user_identities": {"email": "a@example.com"},
        "user_attributes": {"deep": {}},
        "timestamp_unixtime_ms": 1700000000003,
    },
    {"user_attributes": {"tier": "nobody"}},
    {"user_identities": {"email": "a@example.com"}, "user_attributes": []},
]
B = [
    {
        "user_identities": {"customer_id": "A", "email": "new@example.com"},
        "user_attributes": {"tier": "lead", "n": 2},
        "deleted_user_attributes": ["tag"],
        "timestamp_unixtime_ms": 1700000000100,
    },
    {
        "mpid": 11,
        "user_attributes": {"tier": "lead"},
        "deleted_user_attributes": ["n"],
        "timestamp_unixtime_ms": 1700000000101,
    },
    {
        "user_identities": {"customer_id": "B"},
        "user_attributes": {"tier": "gold"},
        "timestamp_unixtime_ms": 1700000000102,
        "attribution_info": {"service_provider": "s", "publisher": "p", "campaign": "c"},
        "events": [
            {
                "event_type": "custom_event",
                "data": {
                    "event_name": "visit",
                    "custom_event_type": "other",
                    "timestamp_unixtime_ms": 1700000000004,
                },
            }
        ],
    },
]


def make(folder: Path) -> None:
    (folder / "c.toml").write_text(CONFIG)
    for name, lines in (("a.jsonl", A), ("b.jsonl", B)):
        (folder / name).write_text("".join(json.dumps(one) + "\n" for one in lines))
    (folder / "ids.csv").write_text("email\na@example.com\nnobody@example.com\n")
    duckdb.connect().execute(
        "copy (select * from (values ('A', 'iron', 'p@example.com'), ('C', 'iron',"
        " 'c@example.com'), (null, 'x', 'n/a')) as t(customer_id, tier, email))"
        f" to '{folder / 'p.parquet'}' (format parquet)"
    )
    (folder / "erasure.json").write_text(
        json.dumps(
            {
                "regulation": "gdpr",
                "subject_request_id": "a7551968-d5d6-44b2-9831-815ac9017798",
                "subject_request_type": "erasure",
                "submitted_time": "2026-11-20T15:00:00Z",
                "subject_identities": {"email": {"value": "c@example.com", "encoding": "raw"}},
                "api_version": "3.0",
            }
        )
    )
    assert call("feeds", "add", "crm", "--source", "custom-feed", folder=folder).exit_code == 0
    assert call("config", "apply", "c.toml", folder=folder).exit_code == 0
    for arguments, status in (
        (("import", "a.jsonl", "--feed", "crm"), 3),
        (("import", "b.jsonl", "--feed", "crm"), 0),
        (("import", "p.parquet", "--feed", "lake", "--source", "warehouse"), 3),
        (("import", "p.parquet", "--feed", "look", "--protection", "read-only", "--again"), 3),
        (("alias", "--from", "13", "--to", "12", "--now"), 0),
        (("modify", "--mpid", "11", "--remove", "email=new@example.com"), 0),
        (("set", "--mpid", "12", "tier=tin"), 0),
        (("imports", "undo", "7", "--yes"), 0),
        (("forward", "--attempts", "1", "--pause", "0", "--timeout", "0.2"), None),
        (("privacy", "request", "erasure.json"), 0),
    ):
        done = call(*arguments, folder=folder)
        assert status is None or done.exit_code == status, (arguments, done.output)
    assert call("backup", "backup.duckdb", folder=folder).exit_code == 0
    with duckdb.connect(folder / "profiles.duckdb") as connection:
        connection.execute(
            "update outbox set state = 'dead', why = 'HTTP 400', failed_ms = 1700000000000"
            " where output = 'mail' and import = 2"
        )


made = made_once(make)
JSON, LINES = "one document", "a document a line"
COMMANDS: list[tuple[str, str]] = [
    ("import p.parquet --feed new --dry-run --json", JSON),
    ("plan b.jsonl --feed other -o x.plan --json", JSON),
    ("imports list --json", JSON),
    ("imports show 3 --json", JSON),
    ("export imports", LINES),
    ("diff 0 6 --json", LINES),
    ("diff 6 0 --json", LINES),
    ("show --mpid 11 --json", JSON),
    ("show --mpid 11 --json --history --section timeline", JSON),
    (
        (
            "show --mpid 12 --json --history --section timeline --section devices --section"
            " consent --section attribution"
        ),
        JSON,
    ),
    ("show --mpid 13 --json --history --section timeline", JSON),
    ("explain --mpid 11 --json", JSON),
    ("explain --mpid 12 --json", JSON),
    ("explain identity --mpid 11 --json", JSON),
    ("explain identity --mpid 12 --json", JSON),
    ("explain identity --mpid 11 --and customer_id=B --json", JSON),
    *[
        (f"explain row {row} --json", JSON)
        for row in (
            "a.jsonl:1",
            "a.jsonl:2",
            "a.jsonl:4",
            "a.jsonl:5",
            "b.jsonl:1",
            "p.parquet:1",
            "p.parquet:3",
        )
    ],
    ("explain rules --json", JSON),
    ("identify --email a@example.com --other unknown --json", JSON),
    ("search a@ --json", JSON),
    ("search --where tier='gold' --json", JSON),
    ("lookup ids.csv --field tier", LINES),
    ("events --json", LINES),
    ("events --mpid 12 --json", LINES),
    ("stream --json", LINES),
    ("feeds list --json", JSON),
    ("feeds show crm --json", JSON),
    ("calculated list --json", JSON),
    ("calculated show visits --json", JSON),
    ("calculated preview v --type count --event visit --json", JSON),
    ("audiences list --json", JSON),
    ("audiences show gold --json", JSON),
    ("audiences preview tier='gold' --json", JSON),
    ("audiences members gold --json", LINES),
    ("audiences diff gold --json", LINES),
    ("outbox list --json", JSON),
    ("enrich b.jsonl --feed crm --json", LINES),
    ("usage --json", JSON),
    ("stats --json", JSON),
    ("check --json", JSON),
    ("check --backup backup.duckdb --json", JSON),
    ("retention show --json", JSON),
    ("retention set --lifetime-days 900000 --json", JSON),
    ("privacy requests --json", JSON),
    ("privacy show a7551968-d5d6-44b2-9831-815ac9017798 --json", JSON),
    ("forget --mpid 12 --dry-run --json", JSON),
    ("access --mpid 12", JSON),
    ("access --mpid 11", JSON),
    ("export profiles --provenance", LINES),
    ("export profiles --whole", LINES),
    ("export identities", LINES),
    ("export attributes", LINES),
]


FREE = frozenset(
    {
        "user_attributes",
        "user_identities",
        "device_identities",
        "rest",
        "event",
        "batch",
        "info",
        "said",
        "columns",
        "attribution",
        "partner_identities",
        "consent_state",
        "definition",
        "request",
        "state",
        "held",
        "stated",
        "limits",
        "verdicts",
    }
)
"""Members whose own members are somebody else's: names of attributes, or as a batch states them."""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Any]]:
    """Return the documents that each command prints."""
    folder = made(tmp_path_factory.mktemp("json"))
    found: dict[str, list[Any]] = {}
    for line, shape in COMMANDS:
        done = call(*line.split(), folder=folder)
        assert done.exit_code in (0, 3), (line, done.output, done.exception)
        assert done.stdout, line
        found[line] = (
            [json.loads(done.stdout)]
            if shape is JSON
            else [json.loads(one) for one in done.stdout.splitlines()]
        )
    return found


def test_a_document_is_as_its_schema_says(told: dict[str, list[Any]]) -> None:
    assert [
        fault
        for command, documents in told.items()
        for fault in faults(schema_of(command.split()), documents)
    ] == []


def name_of(command: str) -> str:
    """Return the name of a command: its words before the first option or value."""
    words = command.split()
    return (
        " ".join(words[:2])
        if words[0] in ("imports", "audiences", "export", "explain")
        else words[0]
    )


def objects(value: Any, name: str, path: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield (name of the list or member it stands in, path, object) of every object of ours in a
    document.
    """
    if isinstance(value, list):
        for one in value:
            yield from objects(one, name, path)
    elif isinstance(value, dict):
        yield name, path, value
        for key, one in value.items():
            if key in FREE:
                continue
            # by attribute, or code
            if key in ("history", "provenance", "reasons") and isinstance(one, dict):
                for each in one.values():
                    yield from objects(each, key, f"{path}.{key}")
            else:
                yield from objects(one, key, f"{path}.{key}")


def every(told: dict[str, list[Any]]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for command, documents in told.items():
        for document in documents:
            yield from objects(document, name_of(command), command)


def tables() -> tuple[list[tuple[str, list[str], list[str]]], list[tuple[list[str], str]]]:
    """Read the tables of docs/json.md: (thing, members, where), and (lists, what they are in the
    order of).
    """
    things, histories = [], []
    for line in (ROOT / "docs" / "json.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        quoted = [cell.split("`")[1::2] for cell in cells]
        if len(cells) == 3 and quoted[1]:
            things.append((cells[0], quoted[1], quoted[2]))
        elif len(cells) == 2 and quoted[1]:
            histories.append((quoted[0], quoted[1][0]))
    return things, histories


THINGS, HISTORIES = tables()


def test_a_row_of_a_parquet_file_is_a_row_and_any_other_a_line(told: dict[str, list[Any]]) -> None:
    seen = set()
    for _, path, one in every(told):
        if "file" in one:
            unit = "row" if one["file"].endswith(".parquet") else "line"
            assert [name for name in ("line", "row") if name in one] == [unit], (path, one)
            seen.add(unit)
    assert seen == {"line", "row"}


@pytest.mark.parametrize(("thing", "members", "where"), THINGS, ids=[thing for thing, *_ in THINGS])
def test_the_same_thing_has_the_same_members_everywhere(
    told: dict[str, list[Any]], thing: str, members: list[str], where: list[str]
) -> None:
    unseen = set(where)
    for name, path, one in every(told):
        place = "enrich outputs" if path.startswith("enrich") and name == "outputs" else name
        if place not in where or not applies(place, path, one):
            continue
        unseen.discard(place)
        assert not [member for member in members if member not in one], (path, one)
    assert not unseen


def applies(name: str, path: str, one: dict[str, Any]) -> bool:
    """Return whether an object is the thing, where its place alone does not say so."""
    match name:
        case "attributes":
            return (
                "set" not in one
                and "priority" not in one
                and "fill_rate" not in one
                and "winner" not in one
                and ".examples" not in path
            )
        case "provenance":
            return one["source"] != "calculated"
        case "identities_added" | "identities_removed" | "events":
            return "added" not in one
        case "rows":
            return path.startswith("explain row")
        case "blocked":
            return path.startswith("access")
    return True


NAMES = {name_of(line) for line, _ in COMMANDS}
"""The names of commands; the events inside a batch are in its own order."""
ORIGIN = {"feed", "import", "file", "set_ms", "line", "row"}
LEFT_OUT: dict[str, set[str]] = {
    "files": {"columns"},  # a file of JSON has none
    "provenance": ORIGIN,
    "export attributes": ORIGIN,  # of a calculated attribute
    "remarks": {"attribute", "type", "value"},  # by what it is said of
}
"""What a thing may lack, by where it stands, besides the values and the line or row (docs/json.md).
"""
COUNTED = {"audiences", "warnings", "reasons", "left_out", "identities", "environments"}
"""Members whose own members are names: of audiences, codes, types."""
NULLED = {"value", "before", "after"}
"""A tag is null, so these are left out where there is nothing."""


def alike(
    told: dict[str, list[Any]], *, within: bool
) -> Iterator[tuple[tuple[object, ...], list[dict[str, Any]]]]:
    """Yield the objects of one kind: of one command line (within), or of all that print the like
    under that name.
    """
    kinds: dict[tuple[object, ...], list[dict[str, Any]]] = {}
    for name, path, one in every(told):
        command = next(line for line in told if path.startswith(line))
        if name not in COUNTED:
            change = one["change"] if isinstance(one.get("change"), str) else None
            place = (
                (path,)
                if within
                else (name_of(command), path.removeprefix(command), "--whole" in command)
            )
            kinds.setdefault(
                (*place, name, change, one.get("applied") is True, "type" in one), []
            ).append(one)
    yield from kinds.items()


def test_a_key_is_always_there(told: dict[str, list[Any]]) -> None:
    for kind, found in alike(told, within=True):
        keys = (
            {key for one in found for key in one}
            - NULLED
            - {"line", "row"}
            - LEFT_OUT.get(str(kind[1]), set())
        )
        assert not {key for key in keys if not all(key in one for one in found)}, kind


def test_no_key_is_null_in_one_place_and_left_out_in_another(told: dict[str, list[Any]]) -> None:
    for kind, found in alike(told, within=False):
        keys = {key for one in found for key in one if one[key] is None} - NULLED
        assert not {key for key in keys if not all(key in one for one in found)}, kind


@pytest.mark.parametrize(("lists", "key"), HISTORIES)
def test_a_history_is_told_oldest_first(
    told: dict[str, list[Any]], lists: list[str], key: str
) -> None:
    unseen = set(lists)
    for command, documents in told.items():
        if name_of(command) in lists:
            whole = documents[0] if isinstance(documents[0], list) else documents
            assert [one[key] for one in whole] == sorted(one[key] for one in whole), command
            unseen.discard(name_of(command))
        for path, name, found in histories_in(documents, command):
            if (
                name in lists
                and name not in NAMES
                and len(found) > 1
                and all(isinstance(one, dict) and key in one for one in found)
            ):
                assert [one[key] for one in found] == sorted(one[key] for one in found), path
                unseen.discard(name)
    assert unseen <= {"rows", "losers"}


def histories_in(value: Any, path: str, name: str = "") -> Iterator[tuple[str, str, list[Any]]]:
    """Yield every list in a document, with the name of the member it stands in."""
    if isinstance(value, list):
        yield path, name, value
        for one in value:
            yield from histories_in(one, path, name)
    elif isinstance(value, dict):
        for key, one in value.items():
            if key not in FREE:
                yield from histories_in(one, f"{path}.{key}", name if name == "history" else key)


def test_every_command_that_prints_json_is_held_against_the_rules() -> None:
    """A new command with --json belongs into COMMANDS, or says here why it is not there."""
    from profilectl.cli.app import app

    covered = {name_of(line) for line, _ in COMMANDS} | {
        line.split()[0] + " " + line.split()[1] for line, _ in COMMANDS
    }
    found = {name for name, options in json_commands(app) if options}
    assert not {name for name in found if name not in covered and name not in ELSEWHERE}


ELSEWHERE = {
    # changes something, and prints the report of an import, or counts
    "apply": "",
    "set": "",
    "modify": "",
    "alias": "",
    "imports undo": "",
    "backup": "",
    "restore": "",
    "compact": "",
    "plan make": "the same as plan",
    "plan show": "the same as plan",
    "calculated add": "as show",
    "calculated activate": "as show",
    "calculated deactivate": "as show",
    "calculated recalculate": "as list",
    "audiences add": "as show",
    "audiences refresh": "as list",
    "retention set": "as show",
    "config apply": "the changes",
    "config set": "the changes",
    "columns": "the table of columns, tested in tests/importing/columns",
    "config unset": "the changes",
    "retention apply": "counts",
    "retention show": "days",
    "privacy request": "as the platform has it",
    "privacy lift-all": "counts",
    "privacy cancel": "the same",
    "privacy run": "the same",
    "privacy requests": "the same",
    "privacy show": "the same",
    # speaks to others
    "serve": "its address",
    "credentials new": "where they are written",
    "push": "counts",
    "forward": "counts",
    "uid2 run": "counts",
    "outbox drop": "counts",
    "outbox retry": "counts",
    "explain attribute": "the long name of explain",
    # the form of what was written, tested in tests/schemas
    "calculated remove": "a name",
    "audiences remove": "a name",
    "audiences export": "as audiences members",
    "feeds add": "as feeds show",
    "feeds set": "as feeds show",
    "config export": "as the TOML file",
    "export batches": "as the platform has it",
    "schema": "the schemas themselves",
}


def json_commands(group: Any, prefix: str = "") -> Iterator[tuple[str, bool]]:
    """Yield the name of each command, and whether it takes --json."""
    command = (
        typer.main.get_command(group) if not prefix and not hasattr(group, "commands") else group
    )
    for name, one in sorted(command.commands.items()):
        if hasattr(one, "commands"):
            yield from json_commands(one, f"{prefix}{name} ")
        else:
            yield f"{prefix}{name}", any("--json" in parameter.opts for parameter in one.params)
