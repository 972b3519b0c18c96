"""The configuration: a file changes what it states, single keys are set, and it goes round."""

from __future__ import annotations

import json
import subprocess
import tomllib
from pathlib import Path

import pytest
from support.doors import made_once, run_here
from support.effort import spread_now

from profilectl.rules.settings import SETTINGS

WHOLE = """
[identity]
strategy = "conversion"
hierarchy = ["customer_id", "email", "mobile_number"]
login = ["customer_id"]
unique = ["customer_id"]
immutable = ["customer_id"]
unique_conflict = "keep"
placeholders = ["nobody"]
placeholders_add = ["guest@*"]

[history]
keep = 20

[retention]
lifetime_days = 30
retention_days = 90

[feeds.crm]
source = "custom-feed"
protection = "update-only"

[feeds.punchh]
source = "partner"
protection = "read-only"
partner = "Loyalty Club"

[feeds.web]
source = "sdk"

[calculated.visits]
type = "count"
event = "visit"

[audiences.gold]
criteria = "tier = 'gold'"

[audiences.frequent]
criteria = "visits >= 3"
lookback = "30 days"

[outputs.lake]
type = "jsonl"
path = "lake.jsonl"

[connections.crm-lake]
feed = "crm"
output = "lake"
sampling = "12.5"

[connections.gold-lake]
audience = "gold"
output = "lake"
"""


def configure(folder: Path, *arguments: str, status: int = 0) -> subprocess.CompletedProcess[str]:
    """Run a command of `config`."""
    ended = run_here("config", *arguments, folder=folder)
    assert ended.returncode == status, ended.stdout + ended.stderr
    return ended


def applied_text(folder: Path, text: str, *options: str, status: int = 0) -> str:
    """Apply a configuration; return its messages."""
    (folder / "c.toml").write_text(text)
    return configure(folder, "apply", "c.toml", *options, status=status).stderr


def stored(folder: Path) -> dict[str, dict[str, object]]:
    """Return the configuration of a store."""
    return tomllib.loads(configure(folder, "export").stdout)


def make_store(folder: Path) -> None:
    """Make a store with a whole configuration."""
    applied_text(folder, WHOLE)


ready = made_once(make_store)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with a store."""
    return ready(tmp_path)


LITTLE = [
    ("[history]\nkeep = 5\n", "history.keep: 20 -> 5"),
    ('[feeds.web]\nprotection = "update-only"\n', "feeds.web.protection: create-and-update -> up"),
    ('[feeds.punchh]\nprotection = "update-only"\n', "feeds.punchh.protection: read-only -> upd"),
    ('[feeds.punchh]\npartner = "Loyalty Club"\n', "nothing to change"),
    ('[feeds.crm]\nsource = "custom-feed"\n', "nothing to change"),
    ("[audiences.gold]\ncriteria = \"tier = 'Gold'\"\n", "audiences.gold: criteria tier = 'gold'"),
    ("[audiences.often]\ncriteria = \"audience 'frequent'\"\n", "audiences.often: "),
    ('[outputs.sea]\ntype = "jsonl"\npath = "sea.jsonl"\n', "outputs.sea: type jsonl"),
    ('[connections.web-lake]\nfeed = "web"\noutput = "lake"\n', "connections.web-lake: feed web"),
    ('[identity]\nlogin = ["customer_id", "email"]\n', "identity.login: "),
    ("[retention]\nlifetime_days = 80\n", "retention.lifetime_days: 30 -> 80"),
    ("", "nothing to change"),
]


@pytest.mark.parametrize(("text", "message"), LITTLE)
def test_a_file_changes_what_it_states_and_leaves_the_rest(
    text: str, message: str, folder: Path
) -> None:
    before = stored(folder)
    assert message in applied_text(folder, text)
    after, stated = stored(folder), tomllib.loads(text)
    for section in {*before, *after}:
        for name in {*before.get(section, {}), *after.get(section, {})}:
            if name not in stated.get(section, {}):
                assert after[section][name] == before[section][name], f"{section}.{name}"
    assert applied_text(folder, text) == "nothing to change\n", "it is idempotent"


REFUSED = [
    ('[feeds.crm]\nsource = "csv"\n', "registered with source custom-feed"),
    ('[feeds.punchh]\npartner = "Another"\n', "and partner Loyalty Club"),
    ('[feeds.crm]\nworkspace = "eu"\n', "belongs to the workspace default"),
    ('[feeds.crm]\npartner = "X"\n', "whose source is partner"),
    ('[identity]\nstrategy = "link"\n', "the strategy link fixes"),
    ('[identity]\nlogin = ["email"]\n', "must be login too"),
    ("[retention]\nretention_days = 10\n", "cannot live 30 days and be kept for 10"),
    ('[connections.a]\nfeed = "crm"\noutput = "lake"\n', "connects the same feed and output"),
    ('[connections.a]\nfeed = "crmm"\noutput = "lake"\n', "there is no feed crmm"),
    ("[audiences.often]\ncriteria = \"audience 'frequentt'\"\n", "there is no such audience"),
    ('[identitty]\nstrategy = "link"\n', "Try: identity"),
    ("[history]\nkep = 3\n", "Try: history.keep"),
    ("x = " + "[" * 5000, "nested too deeply"),
]


@pytest.mark.parametrize(("text", "message"), spread_now(REFUSED, 2))
def test_what_would_not_go_with_the_rest_is_refused(text: str, message: str, folder: Path) -> None:
    before = (folder / "profiles.duckdb").read_bytes()
    assert message in applied_text(folder, text, status=4)
    assert (folder / "profiles.duckdb").read_bytes() == before


def test_what_is_refused_makes_no_store(tmp_path: Path) -> None:
    applied_text(tmp_path, '[identity]\nimmutable = ["email"]\n', status=4)
    configure(tmp_path, "set", "identity.strategy=no", status=2)
    assert not (tmp_path / "profiles.duckdb").exists()


def test_prune_makes_the_file_the_whole_configuration(folder: Path) -> None:
    message = applied_text(
        folder, '[history]\nkeep = 5\n[feeds.crm]\nsource = "custom-feed"\n', "--prune", "--yes"
    )
    # what goes is listed first
    lines = message.splitlines()
    removed = [place for place, line in enumerate(lines) if " -> gone" in line or "default" in line]
    assert removed == list(range(len(removed)))
    assert "audiences.gold: criteria tier = 'gold' -> gone (0 members)" in lines
    assert "history.keep: 20 -> 5" in lines
    after = stored(folder)
    assert after == {
        "history": {"keep": 5},
        "feeds": {
            "crm": {"source": "custom-feed", "protection": "create-and-update"},
            "punchh": {"source": "partner", "protection": "read-only", "partner": "Loyalty Club"},
            "web": {"source": "sdk", "protection": "create-and-update"},
        },
    }


@pytest.mark.parametrize("options", [(), ("--prune",)])
def test_what_was_written_back_changes_nothing(options: tuple[str, ...], folder: Path) -> None:
    text = configure(folder, "export").stdout
    assert applied_text(folder, text, *options) == "nothing to change\n"
    assert (
        run_here(*["--store", "new.duckdb", "config", "apply", "c.toml"], folder=folder).returncode
        == 0
    )
    again = run_here(*["--store", "new.duckdb", "config", "export"], folder=folder).stdout
    assert again == text


VALUES: dict[str, tuple[str, object]] = {
    # a kind of setting -> a value as it is written, and what is stored
    "strategy": ("conversion", "conversion"),
    "types": ("customer_id, email", ["customer_id", "email"]),
    "conflict": ('"keep"', "keep"),
    "nobodys": ('["a,b", "c"]', ["a,b", "c"]),
    "priority": ("first-writer", "first-writer"),
    "strings": ("marketing,ads", ["marketing", "ads"]),
    "limit": ("77", 77),
    "switch": ("true", True),
}


@pytest.mark.parametrize("name", spread_now(SETTINGS, 4))
def test_every_setting_can_be_set_and_unset(name: str, tmp_path: Path) -> None:
    text, value = VALUES[SETTINGS[name][0]]
    needed = ["identity.strategy=conversion"] if name.startswith("identity.") else []
    if name == "identity.immutable":
        needed += ["identity.login=customer_id,email", "identity.unique=customer_id,email"]
    if name == "identity.hierarchy":
        needed += ["identity.login=email", "identity.unique=email", "identity.immutable="]
    message = configure(tmp_path, "set", *needed, f"{name}={text}").stderr
    assert f"{name}: " in message
    section, member = name.split(".")
    assert stored(tmp_path)[section][member] == value
    assert configure(tmp_path, "set", f"{name}={text}").stderr == "nothing to change\n"
    if name != "identity.strategy":
        configure(tmp_path, "unset", name, "--yes")
        assert member not in stored(tmp_path).get(section, {})


SET = [
    (("feeds.crm.protection=read-only",), ("feeds", "crm", "protection"), "read-only"),
    (("audiences.gold.criteria=tier = 'tin'",), ("audiences", "gold", "criteria"), "tier = 'tin'"),
    (("audiences.gold.lookback=7 days",), ("audiences", "gold", "lookback"), "7 days"),
    (("calculated.visits.within=30 days",), ("calculated", "visits", "within"), "30 days"),
    (("calculated.visits.since=2026-01-01",), ("calculated", "visits", "since"), "2026-01-01"),
    (("outputs.lake.accepts_eventless=true",), ("outputs", "lake", "accepts_eventless"), True),
    (("connections.crm-lake.active=false",), ("connections", "crm-lake", "active"), False),
    (
        ("outputs.sea.type=jsonl", "outputs.sea.path=sea.jsonl"),
        ("outputs", "sea", "path"),
        "sea.jsonl",
    ),
    (
        ("connections.web-lake.feed=web", "connections.web-lake.output=lake"),
        ("connections", "web-lake", "feed"),
        "web",
    ),
]


@pytest.mark.parametrize(("assignments", "path", "value"), spread_now(SET, 2))
def test_a_key_of_a_definition_is_set(
    assignments: tuple[str, ...], path: tuple[str, str, str], value: object, folder: Path
) -> None:
    configure(folder, "set", *assignments)
    section, name, member = path
    table = stored(folder)[section][name]
    assert isinstance(table, dict)
    assert table[member] == value


WRONG = [
    ("identity.stratgy=link", "Try: identity.strategy\n"),
    ("strategy=link", "Try: identity.strategy\n"),
    ("history.keeps=3", "Try: history.keep\n"),
    ("identitty.strategy=link", "Try: identity.strategy\n"),
    ("identity=link", "Try: identity.strategy or"),
    ("identity.strategy", "must be KEY=VALUE"),
    ("=link", "must be KEY=VALUE"),
    ("identity.strategy=lnk", "it is one of default"),
    ("identity.login=emial", "Try: email"),
    ("history.keep=many", "must be a whole number"),
    ("history.keep=0", "must be a whole number"),
    ("feeds.crmm.protection=read-only", "Try: crm;"),
    ("feeds.crm.protecton=read-only", "Try: protection\n"),
    ("feeds.crm=read-only", "feeds.crm.source"),
    ("audiences.golden.criteria=tier exists", "Try: gold;"),
    ("audience.gold.criteria=tier exists", "Try: audiences"),
    ("audiences.gold.criterion=x", "Try: criteria"),
    ("outputs.lak.path=x.jsonl", "Try: lake;"),
    ("connections.crm-lak.active=false", "Try: crm-lake;"),
    ("history.keep=3\nretention.lifetime_days = 1", "must be a whole number"),
    ("history.keep=" + "[" * 3000, "must be a whole number"),
    ("history.keep=" + "9" * 5000, "must be a whole number"),
    ("history\n.keep=3", "there is no key"),
]


@pytest.mark.parametrize(("assignment", "message"), spread_now(WRONG, 2))
def test_a_wrong_key_or_value_is_answered_with_what_was_meant(
    assignment: str, message: str, folder: Path
) -> None:
    before = (folder / "profiles.duckdb").read_bytes()
    ended = configure(folder, "set", "history.keep=3", assignment, status=2)
    assert message in ended.stderr
    assert "Traceback" not in ended.stderr
    assert (folder / "profiles.duckdb").read_bytes() == before, "all are set, or none"


def test_a_name_may_have_dots_spaces_and_equals_signs(tmp_path: Path) -> None:
    applied_text(tmp_path, '[feeds."a.b"]\n[feeds."my feed"]\n[feeds."x=y"]\n')
    configure(
        tmp_path,
        "set",
        'feeds."a.b".protection=read-only',
        "feeds.my feed.protection=read-only",
        'feeds."x=y".protection=read-only',
    )
    feeds = stored(tmp_path)["feeds"]
    assert [feed["protection"] for feed in feeds.values() if isinstance(feed, dict)] == [
        "read-only"
    ] * 3


def test_a_list_may_be_empty(folder: Path) -> None:
    configure(folder, "set", "identity.placeholders_add=")
    assert stored(folder)["identity"]["placeholders_add"] == []


def test_both_lists_of_placeholders_count_together(tmp_path: Path) -> None:
    configure(tmp_path, "set", "identity.placeholders=x,y", "identity.placeholders_add=guest@*")
    (tmp_path / "again.toml").write_text(configure(tmp_path, "export").stdout)
    assert configure(tmp_path, "apply", "again.toml", "--prune").stderr == "nothing to change\n"
    rules = json.loads(run_here("explain", "rules", "--json", folder=tmp_path).stdout)
    assert rules["identity"]["placeholders"] == ["guest@*", "x", "y"]
    (tmp_path / "a.csv").write_text("email,customer_id\nguest@shop.org,1\nx,2\nnull,3\n")
    report = json.loads(
        run_here(*["import", "a.csv", "--feed", "f", "--json"], folder=tmp_path).stdout
    )
    assert report["warnings"] == {"IDENTITY_PLACEHOLDER": 2}, "the built-in list is replaced"


UNSET = [
    ("connections.gold-lake", "connections.gold-lake: audience gold"),
    ("calculated.visits.event", "calculated.visits: "),
    ("audiences.frequent.lookback", "audiences.frequent: "),
    ("feeds.crm.protection", "feeds.crm.protection: update-only -> create-and-update"),
    ("history.keep", "history.keep: 20 -> its default"),
    ("limits.key", "nothing to change"),
]


@pytest.mark.parametrize(("key", "message"), UNSET)
def test_a_key_is_taken_out(key: str, message: str, folder: Path) -> None:
    assert message in configure(folder, "unset", key, "--yes").stderr


@pytest.mark.parametrize(
    ("key", "status", "message"),
    spread_now(
        [
            ("feeds.crm", 4, "imports rest on it"),
            ("outputs.lake", 4, "there is no output lake"),
            ("audiences.gold", 4, "there is no audience gold"),
            ("audiences.golden", 2, "Try: gold"),
            ("history.kep", 2, "Try: history.keep"),
            ("history", 2, "Try: history.keep"),
            ("audiences", 2, "audiences.NAME"),
            ("audiences.gold.criteria", 2, "criteria"),
        ],
        3,
    ),
)
def test_what_cannot_be_taken_out_is_refused(
    key: str, status: int, message: str, folder: Path
) -> None:
    ended = configure(folder, "unset", key, "--yes", status=status)
    assert message in ended.stderr


def test_the_difference_is_data_too(folder: Path) -> None:
    ended = configure(folder, "set", "history.keep=3", "--json")
    assert (json.loads(ended.stdout), ended.stderr) == (
        {
            "dry_run": False,
            "changes": [
                {"name": "history.keep", "before": 20, "after": 3, "removes": False, "lost": {}}
            ],
        },
        "",
    )
    apply_json = configure(folder, "apply", "c.toml", "--dry-run", "--json")
    assert json.loads(apply_json.stdout)["changes"][0]["after"] == 20
    assert stored(folder)["history"]["keep"] == 3
