"""Who opts out leaves every audience at once, and who withdraws a consent every audience that asks
for it, at every door.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from support.opted_out import (
    AUDIENCES,
    NO_CONSENT,
    OUT,
    batch,
    consent,
    killed,
    ok,
    opt_out,
    store,
    took,
)

from profilectl.store.opening import open_store
from profilectl.store.scratch import Scratch

# fmt: on
ASKING = {name for name in AUDIENCES if name.startswith("c ")}
BY_OR = {"c or", "c or of or"}
"""Of those only a look at all criteria tells who stays, and that is the refresh's."""


def by_alias(folder: Path) -> dict[str, Any]:
    took(
        folder,
        "app",
        {"device_info": {"ios_idfv": "0a0a0a0a-1111-2222-3333-444444444444"}, **opt_out()},
    )
    phone, ann = (
        json.loads(ok(folder, "--workspace", "main", "show", value, "--json"))["profiles"][0][
            "mpid"
        ]
        for value in ("0a0a0a0a-1111-2222-3333-444444444444", "ann")
    )
    done: dict[str, Any] = json.loads(
        ok(
            folder,
            "--workspace",
            "main",
            "alias",
            f"--from={phone}",
            f"--to={ann}",
            "--now",
            "--json",
        )
    )
    return done


def again(folder: Path) -> dict[str, Any]:
    number = took(folder, "app", OUT)["import"]
    ok(folder, "imports", "undo", str(number), "--yes")
    return took(folder, "app", OUT)


def late(folder: Path) -> dict[str, Any]:
    """Opt out in an import that was not followed by a refresh, and let another import come."""
    killed(folder, "app", OUT)
    return took(folder, "app", batch("eve"))


# fmt: off
WAYS: dict[str, tuple[Callable[[Path], dict[str, Any]], bool]] = {
    # who opts out, or withdraws           how                                                  whether it is the consent alone
    "an event":                           (lambda folder: took(folder, "app", OUT),                     False),
    "an event of the other workspace":    (lambda folder: took(folder, "shop", OUT),                    False),
    "an alias":                           (by_alias,                                                    False),
    "an import that is made again":       (again,                                                       False),
    "an import before this one":          (late,                                                        False),
    "a withdrawal":                       (lambda folder: took(folder, "app", NO_CONSENT),              True),
}
STALE = {
    "an event":                           (lambda folder: killed(folder, "app", OUT),                   False),
    "an event of the other workspace":    (lambda folder: killed(folder, "shop", OUT),                  False),
    "a withdrawal":                       (lambda folder: killed(folder, "app", NO_CONSENT),            True),
}
# fmt: on


FEW = ("std", "c std of rt")


def members_at(folder: Path, names: Iterable[str] = FEW) -> dict[str, dict[str, set[str]]]:
    """Return who is in which audience by each door: door -> audience -> people. names: those that
    are listed one by one.
    """
    found: dict[str, dict[str, set[str]]] = {
        door: {} for door in ("members", "csv", "jsonl", "show", "whole", "list")
    }
    for name in names:
        found["members"][name] = {
            json.loads(line)["identities"]["customer_id"][0]
            for line in ok(folder, "audiences", "members", name, "--json").splitlines()
        }
        found["jsonl"][name] = {
            json.loads(line)["identities"]["customer_id"][0]
            for line in ok(folder, "audiences", "export", name, "--format", "jsonl").splitlines()
        }
        rows = csv.DictReader(io.StringIO(ok(folder, "audiences", "export", name)))
        found["csv"][name] = {
            row["identity_value"] for row in rows if row["identity_type"] == "customer_id"
        }
    for person in ("ann", "bob"):
        shown = json.loads(ok(folder, "--workspace", "main", "show", person, "--json"))["profiles"][
            0
        ]
        for one in shown["audience_memberships"]:
            found["show"].setdefault(one["audience_name"], set()).add(person)
    for line in ok(folder, "--workspace", "main", "export", "profiles", "--whole").splitlines():
        profile = json.loads(line)
        for one in profile["audience_memberships"]:
            found["whole"].setdefault(one["audience_name"], set()).update(
                set(profile["user_identities"]["customer_id"]) & {"ann", "bob"}
            )
    for one in json.loads(ok(folder, "audiences", "list", "--json")):
        if one["name"] in names:
            assert (
                one["members"]
                == json.loads(ok(folder, "audiences", "show", one["name"], "--json"))["members"]
            )
        found["list"][one["name"]] = (
            {"ann", "bob"} if one["members"] == 2 else {"bob"} if one["members"] == 1 else set()
        )
    for door in ("show", "whole"):
        found[door] = {name: found[door].get(name, set()) for name in AUDIENCES}
    return found


def left(folder: Path, name: str) -> list[str]:
    return [
        one["change"]
        for one in map(json.loads, ok(folder, "audiences", "diff", name, "--json").splitlines())
    ]


def due(folder: Path, name: str) -> int:
    """Return how many of an audience the operator of UID2 would be asked about."""
    done: int = json.loads(
        ok(
            folder,
            "--workspace",
            AUDIENCES[name][2],
            "uid2",
            "run",
            "--audience",
            name,
            "--dry-run",
            "--json",
        )
    )["profiles"]["due"]
    return done


def some_quickly(ways: Iterable[str], *quick: str) -> list[Any]:
    return [pytest.param(way, marks=() if way in quick else pytest.mark.slow) for way in ways]


@pytest.mark.slow
def test_both_are_in_every_audience_at_first(tmp_path: Path) -> None:
    store(tmp_path)
    for door, found in members_at(tmp_path).items():
        assert all(people == {"ann", "bob"} for people in found.values()), door
    assert {name: due(tmp_path, name) for name in ("std", "c std of rt")} == {
        "std": 2,
        "c std of rt": 2,
    }


@pytest.mark.slow
@pytest.mark.parametrize("way", some_quickly(WAYS, "a withdrawal"))
def test_who_opts_out_or_withdraws_leaves_at_once(tmp_path: Path, way: str) -> None:
    store(tmp_path)
    act, of_consent = WAYS[way]
    report = act(tmp_path)
    gone = ASKING if of_consent else set(AUDIENCES)
    for door, found in members_at(tmp_path).items():
        assert {name for name, people in found.items() if "ann" not in people} == gone & set(
            found
        ), door
        assert all("bob" in people for people in found.values()), door
    assert {name: left(tmp_path, name)[-1] for name in FEW} == {
        name: "left" if name in gone else "entered" for name in FEW
    }
    if "audiences" in report and way not in (
        "an import before this one",
        "an import that is made again",
    ):
        assert {name for name, moved in report["audiences"].items() if moved["left"] == 1} == gone
    assert {name: due(tmp_path, name) for name in ("std", "c std of rt")} == {
        "std": 2 if of_consent else 1,
        "c std of rt": 1,
    }


@pytest.mark.slow
@pytest.mark.parametrize("way", some_quickly(STALE, "an event"))
def test_a_store_that_was_not_brought_up_to_date_hands_nobody_out_who_is_out(
    tmp_path: Path, way: str
) -> None:
    store(tmp_path)
    act, of_consent = STALE[way]
    act(tmp_path)
    gone = ASKING - BY_OR if of_consent else set(AUDIENCES)
    for door, found in members_at(tmp_path).items():
        assert {name for name, people in found.items() if "ann" not in people} == gone & set(
            found
        ), door
        assert all("bob" in people for people in found.values()), door
    assert {name: due(tmp_path, name) for name in ("std", "c std of rt")} == {
        "std": 2 if of_consent else 1,
        "c std of rt": 1,
    }
    ok(tmp_path, "audiences", "refresh", "rt")
    found = members_at(tmp_path)["list"]
    assert {name for name, people in found.items() if people == {"bob"}} == gone | (
        BY_OR if of_consent else set()
    )
    assert {name: left(tmp_path, name)[-1] for name in FEW} == {
        name: "left" if name in gone else "entered" for name in FEW
    }


@pytest.mark.slow
def test_who_comes_back_joins_real_time_audiences_and_standard_ones_when_they_are_refreshed(
    tmp_path: Path,
) -> None:
    store(tmp_path)
    number = took(tmp_path, "app", OUT)["import"]
    ok(tmp_path, "imports", "undo", str(number), "--yes")
    found = members_at(tmp_path)["list"]
    assert {name for name, people in found.items() if "ann" in people} == {"rt", "side rt", "c rt"}
    ok(tmp_path, "audiences", "refresh")
    assert all(people == {"ann", "bob"} for people in members_at(tmp_path)["list"].values())


@pytest.mark.slow
def test_who_was_out_before_an_audience_was_made_never_joins(tmp_path: Path) -> None:
    store(tmp_path)
    took(tmp_path, "app", OUT)
    ok(tmp_path, "audiences", "refresh")
    assert all(people == {"bob"} for people in members_at(tmp_path)["list"].values())
    for criteria in ("tier = 'gold'", "audience 'std'", "not audience 'nobody'"):
        if "nobody" in criteria:
            ok(tmp_path, "--workspace", "main", "audiences", "add", "nobody", "tier = 'none'")
        for kind in ("real-time", "standard"):
            assert (
                json.loads(
                    ok(
                        tmp_path,
                        "--workspace",
                        "main",
                        "audiences",
                        "preview",
                        criteria,
                        "--kind",
                        kind,
                        "--json",
                    )
                )["members"]
                == 1
            )


def test_a_consent_that_is_stated_again_moves_nobody_out_of_a_standard_audience(
    tmp_path: Path,
) -> None:
    store(tmp_path)
    report = took(
        tmp_path, "app", batch("ann", user_attributes={"tier": "silver"}, **consent(True, 30))
    )
    assert {name for name, moved in report["audiences"].items() if moved["left"]} == {"rt"}
    report = took(
        tmp_path,
        "app",
        batch("ann", user_attributes={"tier": "silver"}, **consent(True, 40, purpose="other")),
    )
    assert not report.get("audiences")


@pytest.mark.slow
def test_a_sale_that_is_opted_out_of_is_a_withdrawal(tmp_path: Path) -> None:
    store(tmp_path)
    ok(
        tmp_path,
        "--workspace",
        "main",
        "audiences",
        "add",
        "sold",
        "tier = 'gold' exclude consent ccpa.data_sale_opt_out is granted",
        "--kind",
        "standard",
    )
    ok(tmp_path, "audiences", "refresh", "sold")
    report = took(tmp_path, "app", batch("ann", **consent(True, 20, "ccpa", "data_sale_opt_out")))
    assert report["audiences"] == {"sold": {"entered": 0, "left": 1}}
    assert "ann" not in ok(tmp_path, "audiences", "members", "sold", "--json")


@pytest.mark.slow
def test_a_store_of_an_older_version_has_who_is_out_leave_with_the_next_import(
    tmp_path: Path,
) -> None:
    store(tmp_path)
    took(tmp_path, "app", OUT)
    # as it was left behind
    with (
        contextlib.closing(Scratch(tmp_path)) as scratch,
        open_store(scratch, tmp_path / "profiles.duckdb", write=True),
    ):
        scratch.run("delete from store.meta where name like 'refreshed_barring%'")
        scratch.run(
            "insert into store.membership select profile, audience, at_ms from"
            " store.membership_change where change = 'left'"
        )
    assert all(people == {"bob"} for people in members_at(tmp_path)["list"].values())
    report = took(tmp_path, "app", batch("eve"))
    assert {name for name, moved in report["audiences"].items() if moved["left"] == 1} == set(
        AUDIENCES
    )
