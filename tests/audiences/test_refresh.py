"""What imports bring up to date is what computing everything anew comes to."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, note, seed, settings
from support.doors import call, run_here
from support.effort import at_length
from support.lives import BEGIN_MS, DAY_MS, lives

import profilectl.audiences.refresh
import profilectl.importing.run
from profilectl.audiences.refresh import refresh_store
from profilectl.audiences.refresh_plan import RefreshRequest
from profilectl.importing.request import ImportRequest
from profilectl.importing.run import import_files
from profilectl.importing.undo import to_undo, undo
from profilectl.rules.audience import audience_of
from profilectl.rules.calculated import definition_of
from profilectl.rules.feed import Feed
from profilectl.store.definitions import put_audience, put_calculation
from profilectl.store.opening import open_store
from profilectl.store.scratch import Scratch
from profilectl.store.store import OpenStore

CALCULATED: dict[str, dict[str, Any]] = {
    "all": {"type": "count", "event": "buy"},
    "recent": {"type": "count", "event": "buy", "within": "2 days"},
    "spent": {"type": "sum", "event": "buy", "of": "price", "where": "price > 1"},
    "tier": {"type": "last_value", "event": "buy", "of": "sku"},
    "last": {"type": "last_timestamp", "event_type": "session_start", "within": "1 week"},
}
AUDIENCES: dict[str, dict[str, Any]] = {
    "buyers": {"criteria": "count(event 'buy' within 3d) >= 2"},
    "sleepers": {"criteria": "event 'buy' exclude event 'buy' within 1d"},
    "rich": {"criteria": "spent > 5 and email exists"},
    "recent": {"criteria": "recent >= 1", "lookback": "5 days"},
    "new": {"criteria": "first_seen within 2d"},
    "both": {"criteria": "audience 'buyers' and audience 'rich'"},
    "granted": {"criteria": "consent gdpr.marketing is granted"},
    "phones": {"criteria": "device.platform = 'iOS'"},
}
# nobody moves by dates alone: then only those are looked at whom something touched
UNDATED = {name: table for name, table in AUDIENCES.items() if name != "new"}
ACROSS: dict[str, dict[str, Any]] = {
    # audiences of two workspaces that refer to one another's, whichever comes first
    "web buyers": {"criteria": "count(event 'buy' within 2d) >= 1", "workspace": "web"},
    "web lately": {"criteria": "lately >= 1 and not audience 'loyal new'", "workspace": "web"},
    "web new": {"criteria": "first_seen within 2d", "workspace": "web"},
    "web idle": {"criteria": "tier exists exclude audience 'loyal buyers'", "workspace": "web"},
    "web both": {"criteria": "audience 'loyal new' and audience 'web buyers'", "workspace": "web"},
    "loyal buyers": {"criteria": "spent > 3", "workspace": "loyal"},
    "loyal new": {"criteria": "event 'buy' within 1d or k = 'x'", "workspace": "loyal"},
    "loyal idle": {"criteria": "tier exists exclude audience 'web buyers'", "workspace": "loyal"},
    "loyal both": {"criteria": "audience 'web new' or audience 'loyal new'", "workspace": "loyal"},
}


def kept(path: Path) -> list[Any]:
    scratch = Scratch(path.parent)
    with open_store(scratch, path):
        found = [
            scratch.rows(f"select {columns} from store.{table} order by all")
            for table, columns in (("calculated", "*"), ("membership", "profile, audience"))
        ]
    scratch.close()
    return found


def define(store: OpenStore, audiences: dict[str, dict[str, Any]]) -> None:
    with store.transaction():
        for name, table in CALCULATED.items():
            put_calculation(
                store,
                definition_of(
                    name, table | ({"workspace": "loyal"} if audiences is ACROSS else {})
                ),
                0,
            )
        if audiences is ACROSS:
            put_calculation(
                store,
                definition_of(
                    "lately",
                    {"type": "count", "event": "buy", "within": "2 days", "workspace": "web"},
                ),
                0,
            )
        for name, table in sorted(
            audiences.items(), key=lambda one: "audience '" in one[1]["criteria"]
        ):
            put_audience(store, audience_of(name, table), 0)
        if audiences is ACROSS:
            store.put_feed(Feed("f", workspace="web"))
            store.put_feed(Feed("g", workspace="loyal"))


def check(
    steps: list[tuple[str, int, list[dict[str, Any]]]],
    audiences: dict[str, dict[str, Any]] = AUDIENCES,
) -> None:
    note(json.dumps(steps, indent=1))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "store.duckdb"
        scratch = Scratch(Path(folder))
        with open_store(scratch, path, create=True, write=True) as store:
            define(store, audiences)
        done: list[int] = []
        for number, (what, day, rows) in enumerate(steps):
            now_ms = BEGIN_MS + day * DAY_MS
            if what in "fg" and rows:
                file = Path(folder) / f"{number}.jsonl"
                file.write_text("".join(json.dumps(row) + "\n" for row in rows))
                report = import_files(
                    path, ImportRequest([str(file)], what, now_ms=now_ms, again=True)
                )
                assert report.number
                done.append(report.number)
            elif what == "undo" and done:
                with open_store(scratch, path, write=True) as store:
                    undo(store, to_undo(store, done.pop(), cascade=True))
            refresh_store(path, now_ms=now_ms)
        scratch.close()
        anew = Path(folder) / "anew.duckdb"
        shutil.copy(path, anew)
        refresh_store(
            anew, now_ms=now_ms, request=RefreshRequest([*CALCULATED, "lately"], list(audiences))
        )
        assert kept(path) == kept(anew)


@settings(max_examples=2, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(lives())
def test_refreshed_is_computed_anew(steps: list[tuple[str, int, list[dict[str, Any]]]]) -> None:
    check(steps)


@settings(max_examples=2, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(lives())
def test_the_touched_are_computed_as_everybody_is(
    steps: list[tuple[str, int, list[dict[str, Any]]]],
) -> None:
    check(steps, UNDATED)


def test_an_audience_reads_the_new_values_of_those_who_were_touched(tmp_path: Path) -> None:
    def bring(name: str, prices: dict[str, int]) -> dict[str, Any]:
        lines = [
            {
                "user_identities": {"customer_id": person},
                "events": [
                    {
                        "event_type": "custom_event",
                        "data": {
                            "event_name": "buy",
                            "custom_event_type": "other",
                            "custom_attributes": {"price": price},
                        },
                    }
                ],
            }
            for person, price in prices.items()
        ]
        (tmp_path / name).write_text("".join(json.dumps(line) + "\n" for line in lines))
        words = ("import", name, "--feed", "f", "--source", "custom-feed", "--json")
        report: dict[str, Any] = json.loads(call(*words, folder=tmp_path).stdout)
        return report

    bring("a.jsonl", {"A": 3, "B": 4, "C": 9})
    (tmp_path / "c.toml").write_text(
        '[calculated.spent]\ntype = "sum"\nevent = "buy"\nof = "price"\n'
        '[audiences.rich]\ncriteria = "spent >= 5"\n'
        '[audiences.thrifty]\ncriteria = "spent < 5"\n'
    )
    assert call("config", "apply", "c.toml", folder=tmp_path).exit_code == 0
    report = bring("b.jsonl", {"A": 2, "C": 1})
    assert report["audiences"] == {
        "rich": {"entered": 1, "left": 0},
        "thrifty": {"entered": 0, "left": 1},
    }


@pytest.mark.slow
@settings(max_examples=2, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(lives("fg"))
def test_refreshed_is_computed_anew_where_workspaces_refer_to_one_another(
    steps: list[tuple[str, int, list[dict[str, Any]]]],
) -> None:
    check(steps, ACROSS)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(4))
def test_refreshed_is_computed_anew_at_length(part: int) -> None:
    @seed(part)
    @settings(
        max_examples=at_length(12, by_night=500),
        deadline=None,
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    @given(lives("fg") if part in (1, 2) else lives())
    def at_length_(steps: list[tuple[str, int, list[dict[str, Any]]]]) -> None:
        check(steps, (AUDIENCES, ACROSS, ACROSS, UNDATED)[part])

    at_length_()


def test_a_calculated_attribute_masks_one_of_its_name_and_gives_it_back(tmp_path: Path) -> None:
    """domain.md 16, scenario 15."""
    event = {
        "event_type": "custom_event",
        "data": {"event_name": "order", "custom_event_type": "transaction"},
    }
    (tmp_path / "a.jsonl").write_text(
        json.dumps(
            {
                "user_identities": {"customer_id": "A"},
                "user_attributes": {"orders": "stored"},
                "events": [event, event],
            }
        )
        + "\n"
    )
    (tmp_path / "b.jsonl").write_text(
        json.dumps(
            {
                "user_identities": {"customer_id": "A"},
                "user_attributes": {"orders": "99"},
                "deleted_user_attributes": ["x"],
            }
        )
        + "\n"
    )
    assert call("import", "a.jsonl", "--feed", "f", folder=tmp_path).exit_code == 0
    assert (
        call(
            "calculated", "add", "orders", "--type", "count", "--event", "order", folder=tmp_path
        ).exit_code
        == 0
    )

    def value() -> Any:
        return json.loads(call("show", "--customer-id", "A", "--json", folder=tmp_path).stdout)[
            "profiles"
        ][0]["user_attributes"]["orders"]

    assert value() == 2
    report = json.loads(call("import", "b.jsonl", "--feed", "f", "--json", folder=tmp_path).stdout)
    assert report["reasons"] == {"UA_CALCULATED_READ_ONLY": 1}
    assert report["attributes"]["blocked"] == 1
    assert value() == 2
    assert call("check", folder=tmp_path).exit_code == 0
    told = call("explain", "--customer-id", "A", "--attribute", "orders", folder=tmp_path).stdout
    assert (
        "orders = 2\n  calculated (rank 1): count of custom_event order\n  masks stored,"
        " from f (custom-feed), import 1"
    ) in told
    assert "not 99, from f (custom-feed), import 2" in told
    assert "refused, UA_CALCULATED_READ_ONLY" in told
    assert call("calculated", "deactivate", "orders", folder=tmp_path).exit_code == 0
    assert value() == "stored"


def test_a_reserved_name_is_one_in_any_case(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(
        '{"user_identities": {"customer_id": "A"}, "events": [{"event_type":'
        ' "session_start", "data": {}}]}'
    )
    assert run_here("import", "a.jsonl", "--feed", "f", folder=tmp_path).returncode == 0
    define = ("--type", "count", "--event-type", "session_start")
    assert (
        json.loads(
            run_here("calculated", "add", "$age", *define, "--json", folder=tmp_path).stdout
        )["name"]
        == "$Age"
    )
    assert run_here("calculated", "add", "$AGE", *define, folder=tmp_path).returncode == 4
    assert (
        json.loads(run_here("calculated", "show", "$agE", "--json", folder=tmp_path).stdout)[
            "profiles"
        ]
        == 1
    )
    assert (
        json.loads(run_here("calculated", "recalculate", "$age", "--json", folder=tmp_path).stdout)[
            0
        ]["name"]
        == "$Age"
    )
    assert run_here("calculated", "remove", "--yes", "$age", folder=tmp_path).returncode == 0
    assert json.loads(run_here("calculated", "list", "--json", folder=tmp_path).stdout) == []
    (tmp_path / "c.toml").write_text(
        '[calculated."$age"]\ntype = "count"\n[calculated."$Age"]\ntype = "count"\n'
    )
    refused = run_here("config", "apply", "c.toml", folder=tmp_path)
    assert (refused.returncode, "calculated.$Age is there twice" in refused.stderr) == (4, True)


def test_a_report_says_who_entered_and_left(tmp_path: Path) -> None:
    for name, tier in (("a", "gold"), ("b", "silver")):
        (tmp_path / f"{name}.csv").write_text(f"customer_id,tier\nA,{tier}\nB,gold\n")
    assert call("import", "a.csv", "--feed", "f", folder=tmp_path).exit_code == 0
    assert call("audiences", "add", "gold", "tier = 'GOLD'", folder=tmp_path).exit_code == 0
    report = json.loads(call("import", "b.csv", "--feed", "f", "--json", folder=tmp_path).stdout)
    assert report["audiences"] == {"gold": {"entered": 0, "left": 1}}
    moved = [
        json.loads(line)
        for line in call(
            "audiences", "diff", "gold", "--import", "2", "--json", folder=tmp_path
        ).stdout.splitlines()
    ]
    assert [(one["change"], one["import"]) for one in moved] == [("left", 2)]
    assert [
        json.loads(line)["identities"]
        for line in call(
            "audiences", "members", "gold", "--json", folder=tmp_path
        ).stdout.splitlines()
    ] == [{"customer_id": ["B"]}]
    assert call("imports", "undo", "2", "--yes", folder=tmp_path).exit_code == 0
    assert (
        json.loads(call("audiences", "show", "gold", "--json", folder=tmp_path).stdout)["members"]
        == 2
    )


def test_an_import_run_again_makes_up_for_a_refresh_that_was_not_come_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, tier in (("a", "gold"), ("b", "silver")):
        (tmp_path / f"{name}.csv").write_text(f"customer_id,tier\nA,{tier}\nB,gold\n")
    assert call("import", "a.csv", "--feed", "f", folder=tmp_path).exit_code == 0
    assert call("audiences", "add", "gold", "tier = 'GOLD'", folder=tmp_path).exit_code == 0
    with monkeypatch.context() as patch:
        patch.setattr(profilectl.importing.run, "refresh_after", lambda *stopped: None)
        assert call("import", "b.csv", "--feed", "f", folder=tmp_path).exit_code == 0
    dry = json.loads(
        call("import", "b.csv", "--feed", "f", "--json", "--dry-run", folder=tmp_path).stdout
    )
    report = json.loads(call("import", "b.csv", "--feed", "f", "--json", folder=tmp_path).stdout)
    again = json.loads(call("import", "b.csv", "--feed", "f", "--json", folder=tmp_path).stdout)
    assert [one["already_imported"] for one in (dry, report, again)] == [2, 2, 2]
    assert [one.get("audiences") for one in (dry, report, again)] == [
        None,
        {"gold": {"entered": 0, "left": 1}},
        None,
    ]
    moved = [
        json.loads(line)
        for line in call(
            "audiences", "diff", "gold", "--import", "2", "--json", folder=tmp_path
        ).stdout.splitlines()
    ]
    assert [(one["change"], one["import"]) for one in moved] == [("left", 2)]


def test_an_audience_is_of_the_last_time_it_was_looked_at(tmp_path: Path) -> None:
    for name, kind in (("gold", "real-time"), ("now and then", "standard")):
        assert (
            run_here(
                "audiences", "add", name, "tier = 'gold'", "--kind", kind, folder=tmp_path
            ).returncode
            == 0
        )
    assert run_here("audiences", "refresh", folder=tmp_path).returncode == 0
    before = {
        one["name"]: one["refreshed_ms"]
        for one in json.loads(run_here("audiences", "list", "--json", folder=tmp_path).stdout)
    }
    _gold(tmp_path, "A")
    after = {
        one["name"]: one["refreshed_ms"]
        for one in json.loads(run_here("audiences", "list", "--json", folder=tmp_path).stdout)
    }
    assert after["gold"] > before["gold"]
    assert after["now and then"] == before["now and then"]
    (since,) = {
        json.loads(line)["since_ms"]
        for line in run_here(
            "audiences", "export", "gold", "--format", "jsonl", folder=tmp_path
        ).stdout.splitlines()
    }
    assert f",{after['gold']}," in run_here("audiences", "export", "gold", folder=tmp_path).stdout
    assert after["gold"] >= since


def test_a_preview_shows_people_with_numbers_of_any_size(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(
        '{"user_identities":{"customer_id":"D"},"user_attributes":{"n":1e400}}'
    )
    assert run_here("import", "a.jsonl", "--feed", "app", folder=tmp_path).returncode == 0
    found = json.loads(
        run_here("audiences", "preview", "customer_id exists", "--json", folder=tmp_path).stdout
    )
    assert [one["user_identities"] for one in found["sample"]] == [{"customer_id": ["D"]}]


def test_criteria_that_cannot_be_point_at_the_place(tmp_path: Path) -> None:
    done = run_here("audiences", "preview", "tier = 'gold' and and", folder=tmp_path)
    assert done.returncode == 2
    assert "at character 19: tier = 'gold' and >>>and" in done.stderr


def test_who_refers_to_whom_is_said_where_it_cannot_be(tmp_path: Path) -> None:
    for name, criteria in (("g", "tier = 'gold'"), ("nest", "tier = 'tin' or audience 'G'")):
        assert run_here("audiences", "add", name, criteria, folder=tmp_path).returncode == 0
    removed = run_here("audiences", "remove", "--yes", "g", folder=tmp_path)
    assert (removed.returncode, "audience g is in use: nest refers to it" in removed.stderr) == (
        2,
        True,
    )
    preview = run_here("audiences", "preview", "tier = 'a' and audience 'nope'", folder=tmp_path)
    assert (
        preview.returncode,
        "no such audience: tier = 'a' and audience >>>'nope'" in preview.stderr,
    ) == (2, True)
    assert (
        run_here("audiences", "remove", "--yes", "nest", folder=tmp_path).returncode
        == run_here("audiences", "remove", "--yes", "g", folder=tmp_path).returncode
        == 0
    )


def test_the_changes_of_an_import_that_is_not_there_are_refused(tmp_path: Path) -> None:
    assert run_here("audiences", "add", "g", "tier = 'gold'", folder=tmp_path).returncode == 0
    _gold(tmp_path, "A")
    assert run_here("audiences", "diff", "g", "--import", "1", folder=tmp_path).returncode == 0
    refused = run_here("audiences", "diff", "g", "--import", "99", folder=tmp_path)
    assert (refused.returncode, "there is no import 99" in refused.stderr) == (2, True)


def _gold(folder: Path, *names: str) -> None:
    for name in names:
        (folder / f"{name}.csv").write_text(f"customer_id,tier\n{name},gold\n")
        assert (
            run_here("import", f"{name}.csv", "--feed", f"feed-{name}", folder=folder).returncode
            == 0
        )


def _standing(folder: Path, audience: str) -> tuple[list[str], dict[str, int]]:
    """Return the members of an audience, and what its changes add up to."""
    members = [
        json.loads(line)["identities"]["customer_id"][0]
        for line in run_here(
            "audiences", "members", audience, "--json", folder=folder
        ).stdout.splitlines()
    ]
    total: dict[str, int] = {}
    for line in run_here(
        "audiences", "diff", audience, "--json", folder=folder
    ).stdout.splitlines():
        one = json.loads(line)
        total[one["mpid"]] = total.get(one["mpid"], 0) + (1 if one["change"] == "entered" else -1)
    return members, total


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["real-time", "standard"])
@pytest.mark.parametrize("how", [(), ("--replay",)])
def test_an_undo_leaves_memberships_and_their_changes_in_accord(
    kind: str, how: tuple[str, ...], tmp_path: Path
) -> None:
    _gold(tmp_path, "X", "A", "C")
    run_here("audiences", "add", "gold", "tier = 'gold'", "--kind", kind, folder=tmp_path)
    run_here("audiences", "refresh", "gold", folder=tmp_path)
    assert run_here("imports", "undo", "1", *how, "--yes", folder=tmp_path).returncode == 0
    members, total = _standing(tmp_path, "gold")
    assert members == ["A", "C"]
    assert sorted(total.values()) == [0, 1, 1]
    assert None not in total


def test_a_time_that_was_tried_does_not_mix_up_the_order_of_changes(tmp_path: Path) -> None:
    _gold(tmp_path, "A")
    run_here("audiences", "add", "new", "first_seen within 10 days", folder=tmp_path)
    run_here("audiences", "refresh", "new", "--now", "2090-01-30", folder=tmp_path)
    run_here("audiences", "refresh", "new", folder=tmp_path)
    changes = [
        json.loads(line)["change"]
        for line in run_here(
            "audiences", "diff", "new", "--json", folder=tmp_path
        ).stdout.splitlines()
    ]
    assert changes == ["entered", "left", "entered"]


def test_what_rests_on_both_a_new_calculated_attribute_and_another_workspace_is_evaluated(
    tmp_path: Path,
) -> None:
    event = {
        "event_type": "custom_event",
        "data": {"event_name": "buy", "custom_event_type": "other"},
    }
    for feed, workspace in (("f", "web"), ("g", "loyal")):
        (tmp_path / "a.jsonl").write_text(
            json.dumps(
                {
                    "user_identities": {"customer_id": "A"},
                    "user_attributes": {"k": "x"},
                    "events": [event],
                }
            )
            + "\n"
        )
        assert (
            run_here(
                "--workspace", workspace, "import", "a.jsonl", "--feed", feed, folder=tmp_path
            ).returncode
            == 0
        )
    for words in (
        ("loyal", "audiences", "add", "kin", "k = 'x'"),
        ("web", "audiences", "add", "both", "n >= 1 and audience 'kin'"),
        ("web", "calculated", "add", "n", "--type", "count", "--event", "buy"),
    ):
        assert run_here("--workspace", *words, folder=tmp_path).returncode == 0
    assert (
        len(run_here("audiences", "members", "both", "--json", folder=tmp_path).stdout.splitlines())
        == 1
    )


@pytest.mark.slow
def test_what_comes_in_between_two_stages_is_looked_at_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for workspace, words in (
        ("web", ("feeds", "add", "f")),
        ("shop", ("feeds", "add", "g")),
        ("shop", ("audiences", "add", "kin", "k exists")),
        ("web", ("audiences", "add", "both", "tier exists and audience 'kin'")),
        ("web", ("audiences", "add", "gold", "tier = 'gold'")),
        ("shop", ("audiences", "add", "tin", "k = 'tin'")),
    ):
        assert run_here("--workspace", workspace, *words, folder=tmp_path).returncode == 0
    path, once = tmp_path / "profiles.duckdb", []
    monkeypatch.chdir(tmp_path)
    write = profilectl.audiences.refresh.write_stage

    def writes(store: Any, *arguments: Any, **named: Any) -> Any:
        """Write the last stage; before it, once, another process imports."""
        if named["last"] and not once:
            once.append(True)
            store.scratch.run("detach store")
            try:
                for name, feed, text in (
                    ("b", "f", "customer_id,tier\nB,gold\n"),
                    ("c", "g", "customer_id,k\nC,tin\n"),
                ):
                    (tmp_path / f"{name}.csv").write_text(text)
                    with monkeypatch.context() as patch:
                        patch.setattr(
                            profilectl.importing.run, "refresh_after", lambda *stopped: None
                        )
                        import_files(path, ImportRequest([f"{name}.csv"], feed))
            finally:
                store.scratch.run(f"attach '{path}' as store")
        return write(store, *arguments, **named)

    monkeypatch.setattr(profilectl.audiences.refresh, "write_stage", writes)
    (tmp_path / "a.csv").write_text("customer_id,tier\nA,gold\n")
    import_files(path, ImportRequest(["a.csv"], "f"))
    assert once
    refresh_store(path)
    found = {
        name: len(
            run_here("audiences", "members", name, "--json", folder=tmp_path).stdout.splitlines()
        )
        for name in ("gold", "tin")
    }
    assert found == {"gold": 2, "tin": 1}
