"""Several workspaces in one identity scope: what is each one's own, and what is the person's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.doors import made_once, run_here
from support.effort import spread_now
from support.two_workspaces import CONFIGURATION, batch, bring, event, shown

from profilectl.rules.text.values import parse_json


@made_once
def made(folder: Path) -> None:
    (folder / "shop.toml").write_text(CONFIGURATION)
    assert run_here("config", "apply", "shop.toml", folder=folder).returncode == 0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return made(tmp_path)


def test_each_workspace_computes_of_its_own_events(folder: Path) -> None:
    assert bring(folder, "app", batch("A", event("view"), event("buy")), batch("B"))[
        "audiences"
    ] == {"viewers": {"entered": 1, "left": 0}}
    assert bring(folder, "cards", batch("A", event("buy"), event("view")))["audiences"] == {
        "buyers": {"entered": 1, "left": 0}
    }
    assert shown(folder, "web")["user_attributes"] == {"views": 1}
    assert shown(folder, "shop")["user_attributes"] == {"buys": 1}
    for workspace in ("web", "shop"):  # memberships are the person's
        assert [
            one["audience_name"] for one in shown(folder, workspace)["audience_memberships"]
        ] == ["viewers", "buyers"]
    assert (
        run_here("--workspace", "shop", "events", "A", "--json", folder=folder).stdout.count(
            '"feed":"cards"'
        )
        == 2
    )


def test_a_calculated_name_masks_in_its_own_workspace_only(folder: Path) -> None:
    report = bring(
        folder,
        "app",
        batch("A", event("view"), user_attributes={"buys": "mine", "views": "refused"}),
    )
    assert report["reasons"] == {"UA_CALCULATED_READ_ONLY": 1}
    assert shown(folder, "web")["user_attributes"] == {"buys": "mine", "views": 1}
    # The account speaks for every workspace: its value is seen where the name is not calculated.
    bring(folder, "cards", batch("A", event("buy")))
    report = bring(folder, "office", batch("A", user_attributes={"buys": "the account's"}))
    assert report["reasons"] == {}
    assert shown(folder, "web")["user_attributes"] == {"buys": "the account's", "views": 1}
    assert shown(folder, "shop")["user_attributes"] == {"buys": 1}


def test_an_audience_reads_the_attributes_of_its_workspace_and_the_account(folder: Path) -> None:
    assert not bring(folder, "app", batch("A", user_attributes={"tier": "gold"})).get("audiences")
    assert (
        json.loads(run_here("audiences", "list", "--json", folder=folder).stdout)[1]["members"] == 0
    )
    bring(folder, "cards", batch("A"))
    assert bring(folder, "office", batch("A", user_attributes={"tier": "gold"}))["audiences"] == {
        "buyers": {"entered": 1, "left": 0}
    }


def test_an_opt_out_holds_in_every_workspace(folder: Path) -> None:
    bring(folder, "app", batch("A", event("view")))
    bring(folder, "cards", batch("A", event("buy")))
    report = bring(
        folder, "app", batch("A", {"event_type": "opt_out", "data": {"is_opted_out": True}})
    )
    assert report["audiences"] == {
        "viewers": {"entered": 0, "left": 1},
        "buyers": {"entered": 0, "left": 1},
    }
    for workspace in ("web", "shop"):
        assert shown(folder, workspace)["is_opted_out"] is True
        assert shown(folder, workspace)["audience_memberships"] == []


def test_consent_and_devices_are_the_workspace_s(folder: Path) -> None:
    consent = {"gdpr": {"marketing": {"consented": True, "timestamp_unixtime_ms": 5}}}
    bring(
        folder,
        "app",
        batch(
            "A", consent_state=consent, device_info={"platform": "iOS", "limit_ad_tracking": True}
        ),
    )
    bring(folder, "cards", batch("A", event("buy")))
    assert len(shown(folder, "web", "--section", "consent", "--section", "devices")["consent"]) == 1
    there = shown(folder, "shop", "--section", "consent", "--section", "devices")
    assert (there["consent"], there["devices"]) == ([], [])
    assert there["limit_ad_tracking"] is True
    held = json.loads(run_here("access", "A", folder=folder).stdout)["profiles"][0]["workspaces"]
    assert len(held["web"]["consent"]) == 1
    assert held["shop"]["consent"] == []


@pytest.mark.parametrize(
    "command",
    spread_now(["show A", "export profiles", "explain A", "events A", "diff 1", "stream"], 3),
)
def test_a_reader_is_asked_which_workspace_is_meant(command: str, folder: Path) -> None:
    bring(folder, "app", batch("A", event("view")))
    done = run_here(*command.split(), folder=folder)
    assert done.returncode == 2
    assert "several workspaces: shop, web" in done.stderr
    assert run_here("--workspace", "webb", *command.split(), folder=folder).returncode == 2
    assert run_here(*command.split(), folder=folder, PROFILECTL_WORKSPACE="web").returncode == 0


def test_a_feed_stays_in_its_workspace(folder: Path) -> None:
    (folder / "a.csv").write_text("customer_id\nA\n")
    done = run_here("--workspace", "shop", "import", "a.csv", "--feed", "app", folder=folder)
    assert done.returncode == 4
    assert "belongs to the workspace web" in done.stderr
    # the account's, everywhere
    assert (
        run_here(
            "--workspace", "shop", "import", "a.csv", "--feed", "office", folder=folder
        ).returncode
        == 0
    )
    assert (
        run_here(
            "--workspace", "third", "import", "a.csv", "--feed", "new", folder=folder
        ).returncode
        == 0
    )
    assert (
        '"workspace": "third"' in run_here("feeds", "show", "new", "--json", folder=folder).stdout
    )
    assert (
        run_here(
            "--workspace", "shop", "feeds", "add", "x", "--source", "account", folder=folder
        ).returncode
        == 2
    )


def test_undo_takes_back_what_one_workspace_was_told(folder: Path) -> None:
    bring(folder, "app", batch("A", event("view"), user_attributes={"x": "w"}))
    bring(folder, "cards", batch("A", event("buy"), user_attributes={"x": "s"}))
    assert run_here(*["imports", "undo", "2", "--yes"], folder=folder).returncode == 0
    assert shown(folder, "web")["user_attributes"] == {"views": 1, "x": "w"}
    assert run_here("--workspace", "shop", "export", "profiles", folder=folder).stdout == ""
    assert [
        one["members"]
        for one in json.loads(run_here("audiences", "list", "--json", folder=folder).stdout)
    ] == [1, 0]


def test_a_program_sees_what_the_command_shows(folder: Path) -> None:
    from profilectl import Store

    bring(folder, "app", batch("A", event("view"), user_attributes={"x": "w"}))
    bring(folder, "cards", batch("A", event("buy"), user_attributes={"x": "s"}))
    (one,) = Store(folder / "profiles.duckdb", workspace="shop").profile(customer_id="A")
    assert {key: found.value for key, found in one.attributes.items()} == {"x": "s", "buys": 1}
    assert (one.attributes["buys"].source, one.attributes["buys"].file) == ("calculated", None)
    assert one.audiences == ["viewers", "buyers"]
    assert one.is_opted_out is False


def test_a_definition_is_asked_for_its_workspace_too(folder: Path) -> None:
    bring(folder, "app", batch("A", event("view")))
    for command in (
        ("calculated", "add", "n", "--type", "count"),
        ("calculated", "preview", "n", "--type", "count"),
        ("audiences", "add", "all", "customer_id exists"),
    ):
        assert run_here(*command, folder=folder).returncode == 2, command
        assert run_here("--workspace", "nowhere", *command, folder=folder).returncode == 2
        assert run_here("--workspace", "web", *command, folder=folder).returncode == 0
    (folder / "more.toml").write_text('[audiences.lost]\ncriteria = "customer_id exists"\n')
    done = run_here("config", "apply", "more.toml", folder=folder)
    assert done.returncode == 4
    assert "there is no workspace default" in done.stderr


def test_the_only_workspace_is_meant_where_none_is_named(tmp_path: Path) -> None:
    run_here("--workspace", "web", "feeds", "add", "app", folder=tmp_path)
    (tmp_path / "a.jsonl").write_text(json.dumps(batch("A", event("view"))) + "\n")
    run_here("import", "a.jsonl", "--feed", "app", folder=tmp_path)
    assert (
        json.loads(
            run_here("calculated", "add", "n", "--type", "count", "--json", folder=tmp_path).stdout
        )["profiles"]
        == 1
    )
    assert (
        json.loads(
            run_here("audiences", "add", "seen", "n >= 1", "--json", folder=tmp_path).stdout
        )["members"]
        == 1
    )


def test_a_diff_is_of_one_workspace(folder: Path) -> None:
    bring(folder, "app", batch("A", user_attributes={"x": "w"}))
    bring(folder, "cards", batch("A", user_attributes={"x": "s"}))
    changes = [
        json.loads(line)
        for line in run_here(
            "--workspace", "web", "diff", "2", "--json", folder=folder
        ).stdout.splitlines()
    ]
    assert [one for one in changes if one.get("what") == "x" or one.get("attribute") == "x"] == []
    assert '"s"' in run_here("--workspace", "shop", "diff", "2", "--json", folder=folder).stdout


def members(folder: Path, audience: str) -> list[str]:
    done = run_here("audiences", "members", audience, "--json", folder=folder)
    assert done.returncode == 0, done.stderr
    return [json.loads(line)["identities"]["customer_id"][0] for line in done.stdout.splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize(("near", "far"), [("loyalty", "web"), ("web", "loyalty")])
def test_an_audience_follows_one_of_another_workspace_whichever_comes_first(
    near: str, far: str, tmp_path: Path
) -> None:
    def does(*words: str) -> None:
        done = run_here(*words, folder=tmp_path)
        assert done.returncode == 0, done.stderr

    does("--workspace", far, "feeds", "add", "app", "--source", "sdk")
    does("--workspace", near, "feeds", "add", "cards", "--source", "csv")
    does("--workspace", far, "audiences", "add", "gold", "tier = 'gold'")
    does("--workspace", near, "audiences", "add", "both", "card exists and audience 'gold'")
    for name, text in (
        ("card", "customer_id,card\nC1,1\n"),
        ("gold", "customer_id,tier\nC1,gold\n"),
        ("tin", "customer_id,tier\nC1,tin\n"),
    ):
        (tmp_path / f"{name}.csv").write_text(text)
    does("import", "card.csv", "--feed", "cards")
    done = run_here("import", "gold.csv", "--feed", "app", "--json", folder=tmp_path)
    assert json.loads(done.stdout)["audiences"] == {
        "gold": {"entered": 1, "left": 0},
        "both": {"entered": 1, "left": 0},
    }
    assert json.loads(run_here("imports", "show", "2", "--json", folder=tmp_path).stdout)[
        "audiences"
    ] == {"gold": {"entered": 1, "left": 0}, "both": {"entered": 1, "left": 0}}
    assert members(tmp_path, "both") == ["C1"]
    does("import", "tin.csv", "--feed", "app")
    assert members(tmp_path, "both") == []
    does("imports", "undo", "3", "--yes")
    assert members(tmp_path, "both") == ["C1"]
    does("--workspace", far, "audiences", "add", "gold", "tier = 'tin'", "--replace")
    assert members(tmp_path, "both") == []


def test_what_rested_on_a_calculated_attribute_that_is_gone_is_evaluated_again(
    tmp_path: Path,
) -> None:
    bring(tmp_path, "app", batch("A", event("view")), batch("B", event("view")))
    for how in (
        ("calculated", "deactivate", "visits"),
        ("calculated", "remove", "--yes", "visits"),
        ("config", "apply", "less.toml", "--prune", "--yes"),
    ):
        assert (
            run_here(
                "calculated",
                "add",
                "visits",
                "--type",
                "count",
                "--event",
                "view",
                "--replace",
                folder=tmp_path,
            ).returncode
            == 0
        )
        assert (
            run_here(
                "audiences", "add", "v", "visits >= 1", "--replace", folder=tmp_path
            ).returncode
            == 0
        )
        assert members(tmp_path, "v") == ["A", "B"]
        (tmp_path / "less.toml").write_text('[audiences.v]\ncriteria = "visits >= 1"\n')
        assert run_here(*how, folder=tmp_path).returncode == 0
        assert members(tmp_path, "v") == [], how


def test_provenance_and_access_are_of_each_workspace(folder: Path) -> None:
    bring(folder, "app", batch("A", event("view"), user_attributes={"buys": "7", "tier": "gold"}))
    bring(folder, "cards", batch("A", event("buy"), user_attributes={"tier": "tin"}))
    for workspace, there in (
        ("web", {"views": "calculated", "buys": "sdk", "tier": "sdk"}),
        ("shop", {"buys": "calculated", "tier": "custom-feed"}),
    ):
        done = run_here(
            "--workspace", workspace, "export", "profiles", "--provenance", folder=folder
        )
        parse_json(done.stdout)  # raises where a key stands twice
        assert {
            key: one["source"] for key, one in json.loads(done.stdout)["provenance"].items()
        } == there
        assert {
            key: one["source"] for key, one in shown(folder, workspace)["provenance"].items()
        } == there
    assert run_here("access", "--customer-id", "A", "-o", "a.json", folder=folder).returncode == 0
    told = json.loads((folder / "a.json").read_text())["profiles"][0]
    changes = {
        one["feed"]: {entry["attribute"]: entry["change"] for entry in one["attributes"]}
        for one in told["timeline"]
        if "attributes" in one
    }
    assert (changes["app"]["tier"], changes["cards"]["tier"]) == ("set", "set")


def test_a_membership_ends_when_its_own_workspace_says(folder: Path) -> None:
    assert (
        run_here(
            "--workspace",
            "web",
            "audiences",
            "add",
            "lately",
            "event 'view' within 9 days",
            folder=folder,
        ).returncode
        == 0
    )
    bring(folder, "app", batch("A", event("view")))
    bring(folder, "cards", batch("A"))
    ends = [
        [
            line.split("until ")[1][:10]
            for line in run_here(
                "--workspace", workspace, "show", "A", "--section", "audiences", folder=folder
            ).stdout.splitlines()
            if "lately" in line
        ]
        for workspace in ("web", "shop")
    ]
    assert ends[0] == ends[1] != []


def test_a_batch_of_the_account_leaves_with_values_of_no_workspace(folder: Path) -> None:
    more = (
        '[outputs.lake]\ntype = "jsonl"\npath = "lake.jsonl"\n[connections.c]\nfeed ='
        ' "office"\noutput = "lake"\nconsent = { regulation = "gdpr", purpose = "m" }\n'
    )
    (folder / "shop.toml").write_text(CONFIGURATION + more)
    assert run_here("config", "apply", "shop.toml", folder=folder).returncode == 0

    def said(yes: bool) -> dict[str, Any]:
        return {"gdpr": {"m": {"consented": yes, "timestamp_unixtime_ms": 5}}}

    bring(
        folder,
        "app",
        batch("A", user_attributes={"tier": "visitor", "own": "w"}, consent_state=said(False)),
        batch("B", user_attributes={"own": "w"}),
    )
    bring(
        folder,
        "cards",
        batch("A", user_attributes={"tier": "gold", "other": "l"}, consent_state=said(True)),
        batch("B", consent_state=said(True)),
    )
    bring(
        folder,
        "office",
        batch("A", event("x"), user_attributes={"n": "1"}),
        batch("B", event("x"), user_attributes={"n": "2"}),
        batch("C", event("x")),
    )
    done = run_here("forward", folder=folder)
    assert done.returncode == 0, done.stderr
    (one,) = [json.loads(line) for line in (folder / "lake.jsonl").read_text().splitlines()]
    assert one["user_attributes"] == {"n": "2"}, (
        "of B alone: a workspace of A denies, nobody asked C"
    )


@pytest.mark.parametrize(("command", "status"), spread_now([
    ("audiences remove viewers", 4), ("audiences show viewers", 4), ("audiences members viewers", 4), ("calculated remove views", 4), ("calculated show views", 4),
    ("calculated add views --type count --event buy --replace", 4), ("audiences refresh viewers", 4), ("calculated recalculate views", 4), ("audiences show buyers", 0), ("calculated show buys", 0),
], 3))  # fmt: skip
def test_what_another_workspace_defines_is_not_meant(
    command: str, status: int, folder: Path
) -> None:
    done = run_here("--workspace", "shop", *command.split(), folder=folder)
    assert done.returncode == status, done.stderr
    assert status == 0 or "belongs to the workspace web, not to shop" in done.stderr


def test_an_audience_of_another_workspace_is_not_replaced(folder: Path) -> None:
    done = run_here(
        "--workspace",
        "shop",
        "audiences",
        "add",
        "viewers",
        "buys >= 1",
        "--replace",
        folder=folder,
    )
    assert done.returncode == 4
    assert "belongs to the workspace web, not to shop" in done.stderr


@pytest.mark.parametrize(
    "command", spread_now(["audiences list", "calculated list", "usage", "stats"], 2)
)
def test_a_workspace_that_is_none_is_refused(command: str, folder: Path) -> None:
    done = run_here("--workspace", "nonsense", *command.split(), folder=folder)
    assert done.returncode == 2
    assert "there is no workspace nonsense" in done.stderr


def test_lists_and_counts_are_of_the_workspace_that_is_named(folder: Path) -> None:
    bring(folder, "app", batch("A", event("view"), user_attributes={"tier": "gold", "own": "w"}))
    bring(folder, "cards", batch("A", event("buy"), user_attributes={"tier": "tin"}))

    def of(workspace: str, *words: str) -> Any:
        return json.loads(
            run_here(
                *(("--workspace", workspace) if workspace else ()), *words, "--json", folder=folder
            ).stdout
        )

    assert [one["name"] for one in of("web", "audiences", "list")] == ["viewers"]
    assert [one["name"] for one in of("", "audiences", "list")] == ["viewers", "buyers"]
    assert [one["name"] for one in of("shop", "calculated", "list")] == ["buys"]
    counted = {
        workspace: {
            one["attribute"]: one["sources"] for one in of(workspace, "stats")["attributes"]
        }
        for workspace in ("web", "shop", "")
    }
    assert counted["web"] == {"own": ["sdk"], "tier": ["sdk"], "views": ["calculated"]}
    assert counted["shop"] == {"buys": ["calculated"], "tier": ["custom-feed"]}
    assert set(counted[""]) == {"own", "tier", "views", "buys"}
    assert [
        [one["feed"] for one in of(workspace, "usage")["imports"]]
        for workspace in ("web", "shop", "")
    ] == [["app"], ["cards"], ["app", "cards"]]


def test_identities_and_counts_are_of_those_a_workspace_has_seen(tmp_path: Path) -> None:
    (tmp_path / "w.csv").write_text("customer_id,tier\nA,web\nB,web2\n")
    (tmp_path / "s.csv").write_text("customer_id,email,tier\nA,,gold\nC,c@example.com,silver\n")
    for file, workspace in (("w.csv", "web"), ("s.csv", "shop")):
        assert (
            run_here(
                "--workspace", workspace, "import", file, "--feed", file, folder=tmp_path
            ).returncode
            == 0
        )
    listed = run_here(
        "--workspace", "web", "export", "identities", folder=tmp_path
    ).stdout.splitlines()
    assert sorted(json.loads(line)["value"] for line in listed) == ["A", "B"]
    for workspace, profiles, values in ((None, 3, 4), ("web", 2, 2)):
        said = json.loads(
            run_here(
                *(("--workspace", workspace) if workspace else ()),
                "stats",
                "--json",
                folder=tmp_path,
            ).stdout
        )
        (tier,) = said["attributes"]
        assert (tier["profiles"], tier["distinct_values"]) == (profiles, values)


def test_identities_are_the_same_in_all_and_a_plan_is_for_one(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("customer_id,tier\nA,gold\n")
    for workspace in ("web", "shop"):
        assert (
            run_here(
                "--workspace", workspace, "import", "a.csv", "--feed", workspace, folder=tmp_path
            ).returncode
            == 0
        )
    (tmp_path / "l.txt").write_text("A\n")
    for arguments in (
        ("search", "A"),
        ("lookup", "l.txt", "--type", "any"),
        ("export", "identities"),
    ):
        assert run_here(*arguments, folder=tmp_path).returncode == 0
    assert (
        run_here(
            "--workspace",
            "web",
            "plan",
            "a.csv",
            "--feed",
            "other",
            "-o",
            "a.plan",
            folder=tmp_path,
        ).returncode
        == 0
    )
    refused = run_here("--workspace", "shop", "apply", "a.plan", folder=tmp_path)
    assert (refused.returncode, "a plan for the workspace web, not for shop" in refused.stderr) == (
        2,
        True,
    )
    assert run_here("apply", "a.plan", folder=tmp_path).returncode == 0
