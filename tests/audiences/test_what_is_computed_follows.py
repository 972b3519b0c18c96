"""What is computed follows whatever brings or takes events: aliases, erasure, retention, undo,
changes by hand.

After every step of a random life all values and memberships are those of a computation anew, and
those that the one-person twins give (standing.person_of, calculated.value_of, membership.holds), in
each workspace.
"""

from __future__ import annotations

import contextlib
import json
import re
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st
from support.doors import call
from support.effort import at_length

from profilectl.audiences.one_person import ages_out_ms, person_of
from profilectl.audiences.people import people_of
from profilectl.audiences.refresh import refresh_store
from profilectl.audiences.refresh_plan import RefreshRequest
from profilectl.codes import InputRefused, NobodyFound, UsageError
from profilectl.importing.corrections.alias import alias_profiles
from profilectl.importing.request import ImportRequest
from profilectl.importing.run import import_files
from profilectl.importing.undo import undo_import
from profilectl.privacy.forget import ForgetRequest as Forgetting
from profilectl.privacy.forget import forget
from profilectl.privacy.retention import apply_retention
from profilectl.profiles.played import activities
from profilectl.profiles.read_model import profiles_of
from profilectl.rules.audience import audience_of
from profilectl.rules.calculated import definition_of, value_of
from profilectl.rules.feed import Feed
from profilectl.rules.membership import holds
from profilectl.rules.retention import DAY_MS, clocks_of
from profilectl.store.definitions import audiences, calculations, put_audience, put_calculation
from profilectl.store.opening import open_store
from profilectl.store.scratch import Scratch

BEGIN_MS = 1_790_000_000_000
WORKSPACES = ("default", "eu")
CALCULATED: dict[str, dict[str, Any]] = {
    "bought": {"type": "count", "event": "buy"},
    "spent": {"type": "sum", "event": "buy", "of": "price"},
    "lately": {"type": "count", "event": "buy", "within": "30 days"},
}
AUDIENCES: dict[str, dict[str, Any]] = {
    "buyers": {"criteria": "count(event 'buy') >= 2"},
    "spenders": {"criteria": "spent > 5"},
    "spring": {"criteria": "attribution.campaign = 'spring'"},
    "nested": {"criteria": "audience 'buyers' or audience 'spring'"},
    "new": {"criteria": "first_seen within 40 days"},
    "phones": {"criteria": "device.platform = 'iOS'"},
    "mailed": {"criteria": "email exists"},
}
FEEDS = {"default": "app", "eu": "eu-app"}


def bought(price: str, at_ms: int) -> dict[str, Any]:
    attributes = {"price": price}
    return {
        "event_type": "custom_event",
        "data": {
            "event_name": "buy",
            "custom_event_type": "other",
            "timestamp_unixtime_ms": at_ms,
            "custom_attributes": attributes,
        },
    }


@dataclass(frozen=True)
class Step:
    """One act of a life.

    act: import, alias, forget, retention, modify or undo; day: when; what: its own arguments.
    """

    act: str
    day: int
    what: tuple[Any, ...] = ()


PEOPLE = ("C1", "C2", "C3", "C4")
ACTS = ("import", "import", "import", "alias", "alias", "forget", "retention", "modify", "undo")


@st.composite
def lives(draw: st.DrawFn) -> tuple[list[Step], bool]:
    """Return the steps of a life, and whether Lifetime Profiles are on."""
    steps: list[Step] = []
    day = 0
    first = [
        "import",
        "import",
        "alias",
        draw(st.sampled_from(["forget", "retention", "alias", "undo"])),
    ]
    for act in [*first, *draw(st.lists(st.sampled_from(ACTS), max_size=3))]:
        day += draw(st.sampled_from([0, 0, 5, 25, 40]))
        what: tuple[Any, ...] = ()
        if act == "import":
            at_ms = BEGIN_MS + day * DAY_MS
            rows = []
            for customer in (
                PEOPLE
                if len(steps) < 2
                else draw(st.lists(st.sampled_from(PEOPLE), min_size=1, max_size=3))
            ):
                row: dict[str, Any] = {
                    "user_identities": {"customer_id": customer},
                    "timestamp_unixtime_ms": at_ms,
                }
                times = [
                    at_ms - draw(st.sampled_from([0, 3, 30])) * DAY_MS
                    for _ in range(draw(st.integers(0, 2)))
                ]
                row["events"] = [
                    bought(draw(st.sampled_from(["1", "2.5", "7"])), time) for time in times
                ]
                if draw(st.integers(0, 9)) == 0:
                    data = {"is_opted_out": draw(st.booleans()), "timestamp_unixtime_ms": at_ms}
                    row["events"].append({"event_type": "opt_out", "data": data})
                if draw(st.integers(0, 2)) == 0:
                    campaign = draw(st.sampled_from(["spring", "summer"]))
                    row["attribution_info"] = {
                        "service_provider": "a",
                        "publisher": "p",
                        "campaign": campaign,
                    }
                if draw(st.integers(0, 3)) == 0:
                    row["device_info"] = {"platform": draw(st.sampled_from(["iOS", "Android"]))}
                rows.append(row)
            what = (draw(st.sampled_from(WORKSPACES)), rows)
        elif act == "alias":
            what = tuple(draw(st.permutations(PEOPLE)))[:2]
        elif act in ("forget", "modify"):
            givers = [each.what[0] for each in steps if each.act == "alias"]
            what = (
                draw(st.sampled_from(givers or PEOPLE)),
                draw(st.sampled_from(["a@example.com", "b@example.com"])),
            )
        elif act == "undo":
            what = (draw(st.integers(1, 6)),)
        steps.append(Step(act, day, what))
    return steps, draw(st.sampled_from([False, False, True]))


def mpid_of(path: Path, customer: str) -> str:
    """Return the MPID of whoever has a customer id; nobody's: 7."""
    with contextlib.closing(Scratch(path.parent)) as scratch, open_store(scratch, path) as store:
        profiles = profiles_of(store, every=True)
        holders = activities(profiles, profiles.find("customer_id", customer))
        return str(holders[0].mpid) if holders else "7"


def take(path: Path, step: Step, number: int) -> None:
    """Carry out a step; what is refused is no step."""
    now_ms = BEGIN_MS + step.day * DAY_MS
    with contextlib.suppress(InputRefused, NobodyFound, UsageError):
        if step.act == "import":
            workspace, rows = step.what
            file = path.parent / f"{number}.jsonl"
            file.write_text("".join(json.dumps(row) + "\n" for row in rows))
            import_files(
                path, ImportRequest([str(file)], FEEDS[workspace], now_ms=now_ms, again=True)
            )
        elif step.act == "alias":
            alias_profiles(
                path, *(mpid_of(path, each) for each in step.what), at_once=True, now_ms=now_ms
            )
        elif step.act == "forget":
            forget(path, Forgetting(("customer_id", step.what[0])), now_ms=now_ms)
        elif step.act == "retention":
            apply_retention(path, now=now_ms)
        elif step.act == "modify":
            file = path.parent / f"{number}.jsonl"
            row = {"user_identities": {"customer_id": step.what[0], "email": step.what[1]}}
            file.write_text(json.dumps(row) + "\n")
            import_files(
                path,
                ImportRequest(
                    [str(file)], "app", now_ms=now_ms, again=True, protection="update-only"
                ),
            )
        elif step.act == "undo":
            undo_import(path, step.what[0], cascade=True)


def computed(scratch: Scratch) -> tuple[set[tuple[int, str, str]], set[tuple[int, str]]]:
    """Return the calculated values and the memberships of the attached store."""
    members = (
        "select profile, audience.name from store.membership join store.audience on"
        " audience.number = membership.audience"
    )
    return set(scratch.rows("select profile, name, held from store.calculated")), set(
        scratch.rows(members)
    )


def expected(
    scratch: Scratch, path: Path, now_ms: int
) -> tuple[set[tuple[int, str, str]], set[tuple[int, str]]]:
    """Return the same as the twins for one person have it."""
    values: set[tuple[int, str, str]] = set()
    members: set[tuple[int, str]] = set()
    with open_store(scratch, path) as store:
        for workspace in WORKSPACES:
            profiles = people_of(store, workspace, now_ms=now_ms)
            defined = [
                each.definition
                for each in calculations(store)
                if each.definition.workspace == workspace
            ]
            known = [each for each in audiences(store) if each.audience.workspace == workspace]
            everybody = [
                profile
                for (profile,) in scratch.rows(
                    f"select distinct profile from ({profiles.seen()}) order by 1"
                )
            ]
            for activity in activities(profiles, everybody):
                if activity.dormant:
                    continue
                ends_ms = ages_out_ms(profiles, activity, clocks_of(store.settings().stated))
                held = {each.name: value_of(each, activity.counted(), now_ms) for each in defined}
                values |= {
                    (activity.profile, name, value)
                    for name, value in held.items()
                    if value is not None
                }
                if ends_ms is not None and ends_ms <= now_ms:
                    continue  # beyond the lifetime nobody is in an audience
                person = person_of(activity, held)
                for nested in (False, True):
                    entered = {
                        each.name
                        for each in known
                        if ("audience '" in each.audience.criteria) is nested
                        if holds(each.audience.tree, person, now_ms, each.audience.lookback)
                    }
                    members |= {(activity.profile, name) for name in entered}
                    person = replace(person, audiences=[*person.audiences, *entered])
    return values, members


def check_life(steps: list[Step], lifetime_profiles: bool) -> None:
    note(repr((steps, lifetime_profiles)))
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "store.duckdb"
        scratch = Scratch(Path(name))
        with open_store(scratch, path, create=True, write=True) as store, store.transaction():
            store.put_settings(
                {
                    "retention.lifetime_days": 60,
                    "retention.retention_days": 100,
                    "retention.lifetime_profiles": lifetime_profiles,
                }
            )
            for workspace, feed in FEEDS.items():
                store.put_feed(Feed(feed, "sdk", workspace=workspace))
                suffix = "" if workspace == "default" else f"_{workspace}"
                for key, table in CALCULATED.items():
                    put_calculation(
                        store, replace(definition_of(key + suffix, table), workspace=workspace), 0
                    )
                for key, table in AUDIENCES.items():
                    criteria = (
                        re.sub(r"'(buyers|spring)'", rf"'\1{suffix}'", table["criteria"])
                        if "audience" in table["criteria"]
                        else table["criteria"]
                    )
                    criteria = criteria.replace("spent", f"spent{suffix}")
                    put_audience(
                        store,
                        replace(
                            audience_of(key + suffix, {"criteria": criteria}), workspace=workspace
                        ),
                        0,
                    )
        for number, step in enumerate(steps):
            now_ms = BEGIN_MS + step.day * DAY_MS
            take(path, step, number)
            refresh_store(path, now_ms=now_ms)
            with open_store(scratch, path):
                followed = computed(scratch)
            with open_store(scratch, path) as store:
                every = RefreshRequest(
                    [each.name for each in calculations(store)],
                    [each.name for each in audiences(store)],
                )
            refresh_store(path, now_ms=now_ms, request=every)
            with open_store(scratch, path):
                anew = computed(scratch)
            assert followed == anew, step
            assert followed == expected(scratch, path, now_ms), step
        scratch.close()


# Each way by itself, through the command line


NOW_MS = time.time_ns() // 1_000_000


def bring(folder: Path, feed: str, *batches: dict[str, Any]) -> None:
    (folder / "rows.jsonl").write_text("".join(json.dumps(batch) + "\n" for batch in batches))
    done = call("import", "rows.jsonl", "--feed", feed, "--again", folder=folder)
    assert done.exit_code == 0, done.stderr


def batch(customer: str, *events: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"user_identities": {"customer_id": customer}, "events": list(events), **more}


def commanded(folder: Path, *arguments: str) -> str:
    done = call(*arguments, folder=folder)
    assert done.exit_code == 0, done.stderr
    return done.stdout


def standing(folder: Path, customer: str, *more: str) -> tuple[dict[str, Any], list[str]]:
    """Return the attributes and the audiences of a person."""
    (profile,) = json.loads(commanded(folder, *more, "show", "--customer-id", customer, "--json"))[
        "profiles"
    ]
    return profile["user_attributes"], [
        each["audience_name"] for each in profile["audience_memberships"]
    ]


def carried_over(folder: Path, source: str, destination: str) -> None:
    mpids = [mpid_of(folder / "profiles.duckdb", customer) for customer in (source, destination)]
    commanded(folder, "alias", f"--from={mpids[0]}", f"--to={mpids[1]}", "--now")


SECRET = "oh-so-private"


def secret_bought(at_ms: int) -> dict[str, Any]:
    event = bought("3", at_ms)
    event["data"]["custom_attributes"]["what"] = SECRET
    return event


@pytest.fixture
def aliased(tmp_path: Path) -> Path:
    """Return a folder with a store in which what A bought is B's as well."""
    bring(tmp_path, "app", batch("A", secret_bought(NOW_MS - DAY_MS)), batch("B"))
    commanded(
        tmp_path,
        "calculated",
        "add",
        "things",
        "--type",
        "unique_list",
        "--event",
        "buy",
        "--of",
        "what",
    )
    commanded(tmp_path, "audiences", "add", "buyers", "event 'buy'")
    commanded(tmp_path, "audiences", "add", "ever", "event 'buy'", "--kind", "standard")
    carried_over(tmp_path, "A", "B")
    commanded(tmp_path, "audiences", "refresh", "ever")
    assert standing(tmp_path, "B") == ({"things": [SECRET]}, ["buyers", "ever"])
    return tmp_path


def test_whoever_is_forgotten_leaves_nothing_in_whom_an_alias_made_heir(aliased: Path) -> None:
    done = json.loads(commanded(aliased, "forget", "--customer-id", "A", "--yes", "--json"))
    assert [each["mpid"] for each in done.get("losing", ())] == [
        mpid_of(aliased / "profiles.duckdb", "B")
    ]
    assert SECRET.encode() not in (aliased / "profiles.duckdb").read_bytes()
    assert standing(aliased, "B") == ({}, [])
    assert "left" in commanded(aliased, "audiences", "diff", "buyers")
    commanded(aliased, "check")


def test_a_request_for_erasure_takes_it_from_the_heir_too(aliased: Path) -> None:
    request = {
        "regulation": "gdpr",
        "subject_request_id": "a7551968-d5d6-44b2-9831-815ac9017798",
        "subject_request_type": "erasure",
        "submitted_time": "2026-11-02T15:00:00Z",
        "api_version": "3.0",
        "subject_identities": {"controller_customer_id": {"value": "A", "encoding": "raw"}},
        "extensions": {"opendsr.mparticle.com": {"skip_waiting_period": True}},
    }
    (aliased / "request.json").write_text(json.dumps(request))
    commanded(aliased, "privacy", "request", "request.json")
    commanded(aliased, "privacy", "run", "--yes")
    assert SECRET.encode() not in (aliased / "profiles.duckdb").read_bytes()
    assert standing(aliased, "B") == ({}, [])


def test_events_that_retention_takes_away_are_not_counted_any_more(tmp_path: Path) -> None:
    old_ms = NOW_MS - 80 * DAY_MS
    bring(
        tmp_path,
        "app",
        batch("A", bought("3", old_ms), timestamp_unixtime_ms=old_ms),
        batch("A", bought("4", NOW_MS)),
        batch("B"),
    )
    commanded(
        tmp_path, "calculated", "add", "spent", "--type", "sum", "--event", "buy", "--of", "price"
    )
    commanded(tmp_path, "audiences", "add", "twice", "count(event 'buy') >= 2")
    carried_over(tmp_path, "A", "B")
    assert standing(tmp_path, "A") == standing(tmp_path, "B") == ({"spent": 7}, ["twice"])
    commanded(tmp_path, "retention", "set", "--lifetime-days", "20", "--retention-days", "60")
    commanded(tmp_path, "retention", "apply", "--yes")
    assert standing(tmp_path, "A") == standing(tmp_path, "B") == ({"spent": 4}, [])


def test_an_attribution_that_an_alias_carried_over_is_seen_by_criteria(tmp_path: Path) -> None:
    credit = {"service_provider": "s", "publisher": "p", "campaign": "spring"}
    bring(tmp_path, "app", batch("A", attribution_info=credit), batch("B", bought("1", NOW_MS)))
    commanded(tmp_path, "audiences", "add", "spring", "attribution.campaign = 'spring'")
    carried_over(tmp_path, "A", "B")
    assert standing(tmp_path, "B") == ({}, ["spring"])
    assert (
        json.loads(
            commanded(tmp_path, "audiences", "preview", "attribution.campaign = 'spring'", "--json")
        )["members"]
        == 2
    )
    commanded(tmp_path, "imports", "undo", "2", "--yes")
    assert standing(tmp_path, "B") == ({}, [])


def test_an_alias_carries_over_of_each_workspace_what_is_its_own(tmp_path: Path) -> None:
    commanded(tmp_path, "feeds", "add", "app", "--source", "sdk")
    commanded(tmp_path, "--workspace", "eu", "feeds", "add", "eu-app", "--source", "sdk")
    for feed, campaign in (("app", "spring"), ("eu-app", "summer")):
        credit = {"service_provider": "s", "publisher": "p", "campaign": campaign}
        bring(tmp_path, feed, batch("A", bought("1", NOW_MS), attribution_info=credit))
    bring(tmp_path, "app", batch("B"))
    for workspace, name in (("default", "bought"), ("eu", "bought_eu")):
        counted = ("calculated", "add", name, "--type", "count", "--event", "buy")
        commanded(tmp_path, "--workspace", workspace, *counted)
    carried_over(tmp_path, "A", "B")
    for workspace, name, campaign in (
        ("default", "bought", "spring"),
        ("eu", "bought_eu", "summer"),
    ):
        assert standing(tmp_path, "B", "--workspace", workspace)[0] == {name: 1}
        show = ("show", "--customer-id", "B", "--section", "attribution", "--json")
        shown = json.loads(commanded(tmp_path, "--workspace", workspace, *show))
        assert shown["profiles"][0]["attribution"]["campaign"] == campaign
        exported = [
            json.loads(line)
            for line in commanded(
                tmp_path, "--workspace", workspace, "export", "profiles"
            ).splitlines()
        ]
        assert {name: 1} in [
            each["user_attributes"]
            for each in exported
            if each["user_identities"]["customer_id"] == ["B"]
        ]
        commanded(
            tmp_path,
            "--workspace",
            workspace,
            "audiences",
            "add",
            f"a-{workspace}",
            f"attribution.campaign = '{campaign}' and event 'buy'",
        )
        assert f"a-{workspace}" in standing(tmp_path, "B", "--workspace", workspace)[1]


def test_a_batch_that_leaves_counts_nothing_that_an_alias_carried_over_later(
    tmp_path: Path,
) -> None:
    (tmp_path / "c.toml").write_text(
        '[outputs.lake]\ntype = "jsonl"\npath = "lake.jsonl"\n[connections.lake]\nfeed ='
        ' "app"\noutput = "lake"\n'
    )
    commanded(tmp_path, "feeds", "add", "app", "--source", "sdk")
    commanded(tmp_path, "config", "apply", "c.toml")
    commanded(
        tmp_path, "calculated", "add", "spent", "--type", "sum", "--event", "buy", "--of", "price"
    )
    bring(tmp_path, "app", batch("A", bought("3", NOW_MS)))
    bring(tmp_path, "app", batch("B", bought("1", NOW_MS)))
    carried_over(tmp_path, "A", "B")
    bring(tmp_path, "app", batch("B", bought("1", NOW_MS)))
    commanded(tmp_path, "forward")
    left = [json.loads(line) for line in (tmp_path / "lake.jsonl").read_text().splitlines()]
    assert [each["user_attributes"]["spent"] for each in left] == [3, 1, 5]


def test_check_finds_what_a_computation_anew_gives_otherwise(aliased: Path) -> None:
    commanded(aliased, "check")
    with duckdb.connect(aliased / "profiles.duckdb") as store:
        store.execute("update calculated set held = 'x'")
        store.execute(
            "delete from membership where profile = (select min(profile) from membership)"
        )
    done = call("check", folder=aliased)
    assert done.exit_code == 6
    assert (
        "things of the workspace default is not what a computation anew gives, in 2 of"
        in done.stdout
    )
    assert (
        "buyers of the workspace default is not what a computation anew gives, in 1 of"
        in done.stdout
    )
    commanded(aliased, "calculated", "recalculate")
    commanded(aliased, "audiences", "refresh")
    commanded(aliased, "check")


@pytest.mark.slow
@settings(
    max_examples=at_length(5, by_night=500), deadline=None, suppress_health_check=list(HealthCheck), database=None,
    phases=[Phase.generate],
)  # fmt: skip
@given(lives())
def test_what_is_computed_follows_every_act(life: tuple[list[Step], bool]) -> None:
    check_life(*life)
