"""What commands really print and write is as their schemas say.

tests/cli/test_json_keys.py holds the documents of its store against them; here are the commands
that change something, the files beside the documents, and what speaks to others.
"""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from support import asking_uid2
from support.doors import call
from support.output_receiver import receiver
from support.pushing import tried
from support.receiver import Do, always, receiving
from support.schemas import faults, schema_of
from support.uid2_operator import operator

from profilectl.codes import ProfilectlError, UsageError
from profilectl.schemas.catalog import LINES, SCHEMAS

CONFIG = """
[identity]
strategy = "default"
[calculated.spent]
type = "sum"
event = "visit"
of = "custom_attributes.amount"
within = "30 days"
[outputs.lake]
type = "jsonl"
path = "lake.jsonl"
[outputs.mail]
type = "webhook"
url = "http://127.0.0.1:9/hook"
[connections.crm-mail]
feed = "crm"
output = "mail"
"""
MEMBERS = """
[audiences.gold]
criteria = "tier = 'gold'"
[connections.gold-mail]
audience = "gold"
output = "mail"
identities = ["email"]
"""
CUSTOMERS = """customer_id,email,tier,note
A,a@example.com,gold,
B,b@example.com,tin,old
,,lost,
C,unknown,tin,x
"""
NEWER = """customer_id,email,tier
A,new@example.com,iron
B,a@example.com,tin
"""


def stdout_of(line: str, folder: Path, *, status: int = 0) -> str:
    """Run a command; return what it prints."""
    process = call(*shlex.split(line), folder=folder)
    error = process.exception
    exit_status = error.exit if isinstance(error, ProfilectlError) else process.exit_code
    assert exit_status == status, (line, process.output, error)
    return process.stdout


def documents(name: str, text: str) -> list[Any]:
    """Read the documents of a schema."""
    if SCHEMAS[name].form == LINES:
        return [json.loads(line) for line in text.splitlines()]
    return [json.loads(text)]


def check(line: str, folder: Path, *, status: int = 0, name: str = "") -> list[Any]:
    """Run a command, hold what it prints against its schema, and return it."""
    schema = name or schema_of(shlex.split(line))
    printed_documents = documents(schema, stdout_of(line, folder, status=status))
    assert printed_documents, line
    assert faults(schema, printed_documents) == [], line
    return printed_documents


def check_file(path: Path, name: str) -> list[Any]:
    """Hold the lines of a file against a schema, and return them."""
    printed_documents = documents(name, path.read_text("utf-8"))
    assert printed_documents, path
    assert faults(name, printed_documents) == []
    return printed_documents


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c.toml").write_text(CONFIG)
    (tmp_path / "first.csv").write_text(CUSTOMERS)
    (tmp_path / "second.csv").write_text(NEWER)
    return tmp_path


@pytest.fixture
def filled(folder: Path) -> Path:
    """Return a folder with a store of two imports."""
    stdout_of("import first.csv --feed crm", folder, status=3)
    stdout_of("import second.csv --feed crm", folder)
    return folder


def test_imports_their_files_and_their_undo(folder: Path) -> None:
    with_files = "--rejects r.jsonl --rejects-as-input r.csv --explain-rows e.jsonl"
    check(f"import first.csv --feed crm --dry-run --json {with_files}", folder, status=3)
    (report,) = check(f"import first.csv --feed crm {with_files} --json", folder, status=3)
    assert report["rejects_as_input"] == "r.csv"
    assert len(check_file(folder / "r.jsonl", "rejects")) == 1
    codes = check_file(folder / "e.jsonl", "explain-rows")
    assert {"NO_IDENTITY", "IDENTITY_PLACEHOLDER"} <= {line["code"] for line in codes}
    (again,) = check("import first.csv --feed crm --json", folder)
    assert again["already_imported"] == 1
    check("import second.csv --feed crm --dry-run --json", folder)
    check("plan second.csv --feed crm -o second.plan --json", folder)
    check("plan show second.plan --json", folder)
    check("apply second.plan --json", folder)
    check("diff --json", folder)
    check("set --customer-id A tier=iron note='' --json", folder)
    check("set --customer-id A --delete note tier=gold --json", folder)
    check("modify --customer-id A --remove email=new@example.com --json", folder)
    check("modify --customer-id A --add email=second@example.com --json", folder)
    nobody = check("show customer_id=A --json", folder, name="show", status=7)
    assert nobody[0]["profiles"] == []
    (a,), (b,) = (check(f"show {value} --json", folder)[0]["profiles"] for value in ("A", "B"))
    check(f"alias --from {a['mpid']} --to {b['mpid']} --now --json", folder)
    (undone,) = check("imports undo 3 --replay --yes --json", folder)
    assert undone["replayed"]
    check("imports list --json", folder)
    check("imports show 1 --json", folder)
    check("imports show 3 --json", folder)


def test_a_dry_run_before_there_is_a_store(folder: Path) -> None:
    check("import first.csv --feed crm --dry-run --json", folder, status=3)
    check("plan first.csv --feed crm -o p.plan --json", folder, status=3)


def test_looking_and_writing(filled: Path) -> None:
    (filled / "ids.csv").write_text("customer_id\nA\nnobody\n\n")
    looked_up, *_ = check("lookup ids.csv --field tier --json", filled)
    assert looked_up["user_attributes"] == {"tier": "iron"}
    check("identify --customer-id A --email b@example.com --json", filled)
    check("search --where \"tier = 'iron'\" --json", filled)
    for kind in ("profiles", "identities", "attributes", "batches", "imports"):
        check(f"export {kind} --json", filled)
        (written,) = check(f"export {kind} --json -o x.{kind}.gz", filled, name="export-written")
        assert (written["kind"], written["output"]) == (kind, f"x.{kind}.gz")
        assert written["exported"] == len(stdout_of(f"export {kind}", filled).splitlines())
    check("access --customer-id A --json", filled)
    (files,) = check("access --customer-id A --json -o a.json", filled, name="access-written")
    assert files == {"written": ["a.json"]}
    assert faults("access", [json.loads((filled / "a.json").read_text())]) == []


@pytest.mark.parametrize(
    "line", ["export profiles --json --format csv", "audiences export x --json --format csv"]
)
def test_json_on_standard_output_is_no_other_format(line: str, filled: Path) -> None:
    process = call(*shlex.split(line), folder=filled)
    assert isinstance(process.exception, UsageError)
    assert process.stdout == ""
    assert process.exception.message == "--json and --format csv exclude each other"


def test_feeds_and_configuration(folder: Path) -> None:
    (feed,) = check("feeds add punchh --source partner --partner Punchh --json", folder)
    assert feed["partner"] == "Punchh"
    (feed,) = check("feeds set punchh --protection update-only --json", folder)
    assert feed["protection"] == "update-only"
    check("feeds add crm --json", folder)
    (changes,) = check("config apply c.toml --dry-run --json", folder)
    assert changes["dry_run"]
    (changes,) = check("config apply c.toml --json", folder)
    check("config set identity.unique_conflict=keep --dry-run --json", folder)
    check("config unset calculated.spent --dry-run --json", folder)
    stated = {"name": "identity.strategy", "before": None, "after": "default"}
    assert stated | {"removes": False, "lost": {}} in changes["changes"]
    (config,) = check("config export --json", folder)
    assert config["outputs"]["lake"]["path"] == "lake.jsonl"


def test_calculated_attributes_and_audiences(filled: Path) -> None:
    check("calculated add visits --type count --event visit --json", filled)
    check("calculated add old --type count --event visit --within '5 days' --draft --json", filled)
    check("calculated activate old --json", filled)
    check("calculated deactivate old --json", filled)
    check("calculated recalculate --json", filled)
    check("calculated list --json", filled)
    check("calculated remove old --yes --json", filled)
    check("audiences add gold \"tier = 'iron'\" --json", filled)
    check('audiences add all "tier exists" --kind standard --json', filled)
    check("audiences refresh --json", filled)
    check("audiences members gold --json", filled)
    check("audiences export gold --json", filled)
    (written,) = check("audiences export gold --json -o g.zip", filled, name="export-written")
    assert written == {"exported": 1, "kind": "members", "output": "g.zip"}
    check("audiences diff gold --json", filled)
    assert check("audiences remove all --yes --json", filled) == [{"removed": "all"}]


def test_upkeep(filled: Path) -> None:
    check("check --json", filled)
    check("stats --json", filled)
    (backup,) = check("backup b.duckdb --json", filled)
    check("check --backup b.duckdb --json", filled)
    check("--store other.duckdb restore b.duckdb --json", filled, name="restore")
    assert backup["encrypted"] is False
    check("compact --keep 1 --json", filled)
    check("retention set --lifetime-days 90 --json", filled)
    check("retention apply --dry-run --now 2031-01-01 --json", filled)
    check("credentials new api.toml --client app --feed crm --json", filled)
    check("serve --openapi", filled, name="serve-openapi")


def test_requests_of_people(filled: Path) -> None:
    request = {
        "regulation": "gdpr",
        "subject_request_id": "a7551968-d5d6-44b2-9831-815ac9017798",
        "subject_request_type": "erasure",
        "submitted_time": "2026-11-20T15:00:00Z",
        "subject_identities": {"email": {"value": "new@example.com", "encoding": "raw"}},
        "api_version": "3.0",
    }
    (filled / "r.json").write_text(json.dumps(request))
    (taken_in,) = check("privacy request r.json --json", filled)
    check(f"privacy show {taken_in['subject_request_id']} --json", filled)
    check(f"privacy cancel {taken_in['subject_request_id']} --json", filled)
    check("privacy requests --json", filled)
    check("privacy run --json", filled)
    (erased,) = check("forget --customer-id B --yes --json", filled)
    assert erased["suppressed"]
    check("privacy lift-all --yes --json", filled)


def test_what_leaves(folder: Path) -> None:
    stdout_of("feeds add crm", folder)
    (folder / "c.toml").write_text(CONFIG + MEMBERS)
    stdout_of("config apply c.toml", folder)
    stdout_of("import first.csv --feed crm --event visit", folder, status=3)
    check("enrich second.csv --feed crm --json", folder)
    check("outbox list --json", folder)
    with receiver(lambda request: 400) as refusing:
        (folder / "c.toml").write_text(
            (CONFIG + MEMBERS).replace("http://127.0.0.1:9/hook", refusing.url)
        )
        stdout_of("config apply c.toml --yes", folder)
        process = call(*shlex.split("forward --json --pause 0"), folder=folder)
        assert faults("forward", documents("forward", process.stdout)) == []
    (outbox,) = check("outbox list --json", folder)
    assert {dead["audience"] for dead in outbox["dead"]} == {None, "gold"}
    check("outbox retry --json", folder)
    check("outbox drop --waiting --output mail --dry-run --yes --json", folder)
    check("outbox drop --waiting --output mail --yes --json", folder)
    check("usage --json", folder)


def test_a_push(filled: Path) -> None:
    check("push --estimate --json", filled)
    check("push --dry-run q.jsonl --json", filled)
    with receiving(always(Do(status=400))) as platform:
        line = f"push --host {platform.url} --refused refused.jsonl --json"
        status, stdout, _ = tried(filled, *line.split())
    assert status == 3
    assert faults("push", documents("push", stdout)) == []
    refused = check_file(filled / "refused.jsonl", "push-refused")
    assert {"mpid", "part", "code"} <= refused[0].keys()
    stdout_of("export batches -o b.jsonl", filled)
    with receiving(always(Do(status=400))) as platform:
        line = f"push b.jsonl --host {platform.url} --refused file.jsonl --json"
        tried(filled, *line.split())
    assert check_file(filled / "file.jsonl", "push-refused")[0]["line"] == 1


def test_uid2(filled: Path) -> None:
    check("uid2 run --dry-run --json", filled)
    with operator() as stub:
        outcome = asking_uid2.ask(filled, stub)
    assert outcome.requests == 1
    assert faults("uid2-run", [json.loads(json.dumps(outcome.as_json()))]) == []
