"""Members of an audience go to outputs: who enters is added there, who leaves is removed, whoever
is unkind in between."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import pytest
from support.doors import call, made_once
from support.effort import at_length
from support.output_receiver import receiver, unkind
from support.places import ROOT

from profilectl.store.scratch import Scratch

FAST = ("--pause", "0.01", "--attempts", "20")
HEADER = "mpid,scanned_timestamp_ms,identity_value,identity_type"


def done(folder: Path, *arguments: str, status: int = 0) -> str:
    found = call(*arguments, folder=folder)
    assert found.exit_code == status, (arguments, found.output, found.exception)
    return found.stdout


def refused(folder: Path, *arguments: str) -> tuple[str, str]:
    """Return what a command says that is refused, and what is to be done."""
    found = call(*arguments, folder=folder)
    assert found.exit_code != 0, (arguments, found.output)
    return str(found.exception), str(getattr(found.exception, "hint", ""))


def config(
    connection: str = "", output: str = 'type = "jsonl"\npath = "mail.jsonl"', more: str = ""
) -> str:
    return (
        '[feeds.crm]\nsource = "custom-feed"\n[feeds.app]\nsource = "sdk"\n'
        f"[audiences.gold]\ncriteria = \"tier = 'gold'\"\n[outputs.mail]\n{output}\n"
        f'[connections.gold-mail]\naudience = "gold"\noutput = "mail"\n{connection}\n{more}\n'
    )


def applied(folder: Path, text: str) -> None:
    (folder / "c.toml").write_text(text)
    done(folder, *["config", "apply", "c.toml", "--prune", "--yes"])


def rows_of(people: dict[str, str | None], **more: Any) -> list[dict[str, Any]]:
    """Return batches of people and their tiers."""
    return [
        {
            "user_identities": {
                "customer_id": name,
                "email": f" {name}@Example.org",
                "mobile_number": f"+44 7700 9000{place:02}",
            },
            **(
                {"user_attributes": {"tier": tier}}
                if tier
                else {"deleted_user_attributes": ["tier"]}
            ),
            **more,
        }
        for place, (name, tier) in enumerate(people.items())
    ]


def imported(folder: Path, batches: Sequence[dict[str, Any]], feed: str = "app") -> None:
    (folder / "in.jsonl").write_text("".join(json.dumps(one) + "\n" for one in batches))
    done(folder, "import", "in.jsonl", "--feed", feed, "--again")


@made_once
def golden(folder: Path) -> None:
    """Make a store in which Ann and Bob are gold and Cid is not, without a connection."""
    applied(folder, config().partition("[connections")[0])
    imported(folder, rows_of({"Ann": "gold", "Bob": "gold", "Cid": "silver"}))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return golden(tmp_path)


def lines(folder: Path, name: str = "mail.jsonl") -> list[dict[str, Any]]:
    path = folder / name
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def said(documents: Sequence[dict[str, Any]]) -> list[tuple[str, str]]:
    """Return what was said of whom: the action, and the customer id."""
    found = []
    for one in documents:
        (profile,) = one["user_profiles"]
        (audience,) = profile["audiences"]
        values = {each["type"]: each["value"] for each in profile["user_identities"]}
        found.append(
            (audience["action"], values.get("customer_id", values.get("email", profile["mpid"])))
        )
    return found


def members(folder: Path, audience: str = "gold") -> set[str]:
    return {
        json.loads(line)["mpid"]
        for line in done(
            folder, "audiences", "members", audience, "--limit", "0", "--json"
        ).splitlines()
    }


def held(documents: Sequence[dict[str, Any]]) -> set[str]:
    """Return the members that a receiver has after some messages: the MPIDs."""
    found: set[str] = set()
    for one in documents:
        (profile,) = one["user_profiles"]
        action = profile["audiences"][0]["action"]
        found = found - {profile["mpid"]} if action == "delete" else found | {profile["mpid"]}
    return found


def everything(folder: Path) -> str:
    """Return all that the tables of a store say."""
    with duckdb.connect(str(folder / "profiles.duckdb"), read_only=True) as store:
        names = [
            name for (name,) in store.execute("select table_name from duckdb_tables()").fetchall()
        ]
        return "\n".join(str(store.execute(f'select * from "{name}"').fetchall()) for name in names)


# the configuration


def test_a_connection_of_an_audience_is_declared_written_back_and_read_again(folder: Path) -> None:
    stated = (
        'identities = ["email", "mobile_number"]\nhash = "sha256"\nphone = "digits"\n'
        'attributes = ["tier"]\nactive = false\n'
        'consent = { regulation = "gdpr", purpose = "marketing" }'
    )
    applied(folder, config(stated))
    exported = done(folder, "config", "export")
    assert 'audience = "gold"' in exported
    assert 'identities = ["email", "mobile_number"]' in exported
    (folder / "again.toml").write_text(exported)
    assert "nothing to change" in call("config", "apply", "again.toml", folder=folder).stderr


@pytest.mark.parametrize(("connection", "output", "message"), [
    ('audience = "gols"\noutput = "mail"', "", "there is no audience gols"),
    ('audience = "gold"\noutput = "mial"', "", "there is no output mial"),
    ('audience = "gold"\nfeed = "app"\noutput = "mail"', "", "either a feed or an audience"),
    ('output = "mail"', "", "needs feed or audience"),
    ('audience = "gold"\noutput = "mail"\nidentities = ["emial"]', "", "there is no identity type 'emial'"),
    ('audience = "gold"\noutput = "mail"\nidentities = []', "", "identities"),
    ('audience = "gold"\noutput = "mail"\nhash = "md5"', "", "hash = 'md5'"),
    ('audience = "gold"\noutput = "mail"\nphone = "digits"', "", "phone"),
    ('audience = "gold"\noutput = "mail"\nattributes = "tier"', "", "attributes must be a list"),
    ('audience = "gold"\noutput = "mail"\nactive = 1', "", "active must be true or false"),
    ('audience = "gold"\noutput = "mail"\nsampling = 5', "", "there is no key sampling"),
    ('audience = "gold"\noutput = "mail"\nconsent = { regulation = "x" }', "", "consent must be"),
    ((
'audience = "gold"\noutput = "mail"\n[connections.b]\naudience = "gold"\noutput ='
' "mail"'
), "", "connects the same audience and output"),
    ('audience = "gold"\noutput = "mail"', 'type = "events-api"\nhost = "us1"', "takes batches of feeds, not audiences"),
    ('feed = "app"\noutput = "mail"', 'type = "csv"\npath = "m.csv"', "takes audiences, not batches of feeds"),
    ((
'audience = "gold"\noutput = "mail"\n[audiences.b]\ncriteria = "tier exists"\n'
'[connections.b]\naudience = "b"\noutput = "mail"'
), 'type = "csv"\npath = "m.csv"', "one audience"),
    ('audience = "gold"\noutput = "mail"', 'type = "csv"\npath = "m.csv"\ncontent = "some"', "content = 'some'"),
    ('audience = "gold"\noutput = "mail"', 'type = "csv"\npath = "m/"', "a file"),
    ('audience = "gold"\noutput = "mail"', 'type = "csv"\npath = "profiles.duckdb"', "the store itself"),
    ('audience = "gold"\noutput = "mail"', 'type = "csv"\npath = "m.csv"\n[outputs.b]\ntype = "jsonl"\npath = "./m.csv"', "the same file"),
])  # fmt: skip
def test_what_a_connection_cannot_mean_is_refused_in_words(
    connection: str, output: str, message: str, folder: Path
) -> None:
    output = output or 'type = "jsonl"\npath = "m.jsonl"'
    text = (
        config().partition("[outputs")[0]
        + f"[outputs.mail]\n{output}\n[connections.a]\n{connection}\n"
    )
    if "events-api" in output:
        text = text.replace('"us1"', '"https://s2s.us1.mparticle.com"')
    (folder / "c.toml").write_text(text)
    assert message in refused(folder, *["config", "apply", "c.toml", "--prune"])[0]


def test_an_audience_that_is_connected_is_not_removed(folder: Path) -> None:
    applied(folder, config())
    assert "gold-mail" in refused(folder, *["audiences", "remove", "gold", "--yes"])[0]


# what leaves


def test_who_is_in_it_already_goes_first_then_who_enters_and_who_leaves(folder: Path) -> None:
    applied(folder, config('attributes = ["tier", "city"]'))
    waiting = json.loads(done(folder, "outbox", "list", "--json"))["outputs"]
    assert [
        (
            one["output"],
            one["feed"],
            one["audience"],
            one["waiting"],
            one["connection"],
            one["active"],
        )
        for one in waiting
    ] == [("mail", None, "gold", 2, "gold-mail", True)]
    done(folder, "forward")
    first = lines(folder)
    assert said(first) == [("add", "Ann"), ("add", "Bob")]
    since = {
        json.loads(line)["mpid"]: json.loads(line)["since_ms"]
        for line in done(folder, "audiences", "members", "gold", "--json").splitlines()
    }
    assert first[0] == {
        "type": "audience_membership_change_request",
        "id": first[0]["id"],
        "timestamp_ms": first[0]["timestamp_ms"],
        "environment": "production",
        "user_profiles": [
            {
                "mpid": first[0]["user_profiles"][0]["mpid"],
                "user_identities": [
                    {"type": "customer_id", "encoding": "raw", "value": "Ann"},
                    {"type": "email", "encoding": "raw", "value": "Ann@Example.org"},
                    {"type": "mobile_number", "encoding": "raw", "value": "+44 7700 900000"},
                ],
                "device_identities": [],
                "partner_identities": [],
                "audiences": [
                    {
                        "audience_id": 1,
                        "audience_name": "gold",
                        "action": "add",
                        "since_ms": since[first[0]["user_profiles"][0]["mpid"]],
                        "user_attributes": [{"key": "tier", "value": "gold", "action": "upsert"}],
                    }
                ],
            }
        ],
    }
    imported(folder, rows_of({"Ann": "silver", "Bob": "gold", "Cid": "gold"}))
    done(folder, "forward")
    assert sorted(said(lines(folder)[2:])) == [("add", "Cid"), ("delete", "Ann")]
    assert held(lines(folder)) == members(folder)
    done(folder, "forward")
    assert len(lines(folder)) == 4
    assert json.loads(done(folder, "outbox", "list", "--json"))["left"] == {
        "mail": {"delivered": 4}
    }


@pytest.mark.slow
def test_an_attribute_that_is_shared_is_updated_where_it_changes(folder: Path) -> None:
    applied(folder, config('attributes = ["city", "tier"]'))
    done(folder, "forward")
    imported(
        folder,
        [{"user_identities": {"customer_id": "Ann"}, "user_attributes": {"city": "Ulm", "age": 9}}],
    )
    imported(folder, [{"user_identities": {"customer_id": "Bob"}, "user_attributes": {"age": 9}}])
    done(folder, "forward")
    imported(
        folder, [{"user_identities": {"customer_id": "Ann"}, "deleted_user_attributes": ["city"]}]
    )
    done(folder, "forward")
    told = [one["user_profiles"][0]["audiences"][0] for one in lines(folder)[2:]]
    assert [(one["action"], one["user_attributes"]) for one in told] == [
        ("attribute_update", [{"key": "city", "value": "Ulm", "action": "upsert"}]),
        ("attribute_update", [{"key": "city", "action": "delete"}]),
    ]


def test_identities_are_chosen_and_hashed_as_receivers_hash_them(folder: Path) -> None:
    applied(folder, config('identities = ["email", "mobile_number"]\nhash = "sha256"'))
    done(folder, "forward")
    (ann, _) = (one["user_profiles"][0] for one in lines(folder))
    digests = [
        hashlib.sha256(text.encode()).hexdigest() for text in ("ann@example.org", "+447700900000")
    ]
    assert ann["user_identities"] == [
        {"type": kind, "encoding": "sha256", "value": digest}
        for kind, digest in zip(("email", "mobile_number"), digests, strict=True)
    ]
    applied(folder, config('identities = ["mobile_number"]\nhash = "sha256"\nphone = "digits"'))
    done(folder, "forward", "--full")
    assert (
        lines(folder)[2]["user_profiles"][0]["user_identities"][0]["value"]
        == hashlib.sha256(b"447700900000").hexdigest()
    )


def test_identities_are_those_at_the_time_of_sending(folder: Path) -> None:
    applied(folder, config('identities = ["email"]'))
    imported(folder, [{"user_identities": {"customer_id": "Ann", "email": "later@example.org"}}])
    done(folder, "forward")
    values = [each["value"] for each in lines(folder)[0]["user_profiles"][0]["user_identities"]]
    assert "later@example.org" in values


def test_a_connection_that_is_not_active_stops_and_makes_up_for_it(folder: Path) -> None:
    applied(folder, config("active = false"))
    done(folder, "forward")
    assert lines(folder) == []
    applied(folder, config())
    done(folder, "forward")
    applied(folder, config("active = false"))
    imported(folder, rows_of({"Ann": None, "Cid": "gold"}))
    done(folder, "forward")
    assert len(lines(folder)) == 2
    applied(folder, config())
    done(folder, "forward")
    assert held(lines(folder)) == members(folder)
    assert len(lines(folder)) == 4


def test_a_full_one_sends_the_whole_membership_again_to_the_output_that_is_named(
    folder: Path,
) -> None:
    more = (
        '[outputs.hook]\ntype = "jsonl"\npath = "hook.jsonl"\n[connections.gold-hook]\n'
        'audience = "gold"\noutput = "hook"'
    )
    applied(folder, config(more=more))
    done(folder, "forward")
    done(folder, "forward", "--full", "--output", "hook")
    assert [len(lines(folder)), len(lines(folder, "hook.jsonl"))] == [2, 4]
    assert len({one["id"] for one in lines(folder, "hook.jsonl")}) == 4
    assert "lake" in refused(folder, "forward", "--full", "--output", "lake")[0]


@pytest.mark.slow
def test_who_came_and_went_before_anything_was_sent_is_not_told(folder: Path) -> None:
    applied(folder, config())
    imported(folder, rows_of({"Ann": "silver"}))
    done(folder, "forward")
    assert said(lines(folder)) == [("add", "Bob")]


def test_an_import_that_is_taken_back_is_taken_back_there_with_the_identities_it_had(
    folder: Path,
) -> None:
    applied(folder, config())
    imported(folder, rows_of({"Dan": "gold"}))
    done(folder, "forward")
    assert said(lines(folder)[2:]) == [("add", "Dan")]
    done(folder, "imports", "undo", "2", "--yes")
    done(folder, "forward")
    assert said(lines(folder)[3:]) == [("delete", "Dan")]
    assert held(lines(folder)) == members(folder)


# who must not be there


def test_whoever_is_erased_is_removed_there_and_nothing_of_them_stays(folder: Path) -> None:
    applied(folder, config('identities = ["email"]\nhash = "sha256"'))
    done(folder, "forward")
    told = done(folder, "forget", "--customer-id", "Ann", "--yes")
    assert "1 removal waits for mail" in told
    assert "ann@example.org" not in everything(folder).lower()
    digest = hashlib.sha256(b"ann@example.org").hexdigest()
    assert digest in everything(folder)
    done(folder, "forward")
    (profile,) = lines(folder)[2]["user_profiles"]
    assert profile["user_identities"] == [{"type": "email", "encoding": "sha256", "value": digest}]
    assert profile["audiences"][0]["action"] == "delete"
    assert digest not in everything(folder)
    assert profile["mpid"] not in everything(folder)
    assert held(lines(folder)) == members(folder)
    done(folder, "check")


@pytest.mark.parametrize(
    "command",
    ["forward", pytest.param("outbox drop --waiting --output mail --yes", marks=pytest.mark.slow)],
)
def test_no_byte_of_whoever_is_erased_stays_in_the_file_once_the_removal_has_left(
    command: str, folder: Path
) -> None:
    applied(folder, config('identities = ["email"]'))
    done(folder, "forward")
    done(folder, "forget", "--customer-id", "Ann", "--yes")
    assert b"Ann@Example.org" in stored(folder)
    done(folder, *command.split())
    assert b"Ann@Example.org" not in stored(folder)
    done(folder, "check")


def stored(folder: Path) -> bytes:
    return b"".join(one.read_bytes() for one in folder.glob("profiles.duckdb*"))


def test_whoever_is_erased_before_anything_was_sent_is_not_told_to_anybody(folder: Path) -> None:
    applied(folder, config())
    assert "removal" not in done(folder, "forget", "--customer-id", "Ann", "--yes")
    done(folder, "forward")
    assert said(lines(folder)) == [("add", "Bob")]


def test_a_privacy_request_and_retention_are_told_as_well(folder: Path) -> None:
    applied(folder, config(more="[retention]\nlifetime_days = 30\nretention_days = 60"))
    done(folder, "forward")
    later = time.strftime("%Y-%m-%d", time.gmtime(time.time() + 40 * 86400))
    done(folder, "retention", "apply", "--yes", "--now", later)
    done(folder, "forward")
    assert sorted(said(lines(folder)[2:])) == [("delete", "Ann"), ("delete", "Bob")]


@pytest.mark.slow
def test_a_profile_beyond_retention_is_removed_there(folder: Path) -> None:
    applied(folder, config(more="[retention]\nlifetime_days = 30\nretention_days = 60"))
    done(folder, "forward")
    later = time.strftime("%Y-%m-%d", time.gmtime(time.time() + 70 * 86400))
    done(folder, "retention", "apply", "--yes", "--now", later)
    done(folder, "forward")
    assert sorted(said(lines(folder)[2:])) == [("delete", "Ann"), ("delete", "Bob")]
    assert "Ann" not in everything(folder)


@pytest.mark.slow
def test_an_output_that_is_not_connected_any_more_is_named_as_not_told(folder: Path) -> None:
    applied(folder, config())
    done(folder, "forward")
    applied(folder, config().partition("[connections")[0])
    told = json.loads(done(folder, "forget", "--customer-id", "Ann", "--yes", "--json"))
    assert (told["removals"], told["not_touched"]["outputs"]) == ({}, ["mail"])


def opt_out(name: str) -> dict[str, Any]:
    return {
        "user_identities": {"customer_id": name},
        "events": [{"event_type": "opt_out", "data": {"is_opted_out": True}}],
    }


def test_whoever_opts_out_is_removed_there_and_never_added(folder: Path) -> None:
    applied(folder, config())
    imported(folder, [opt_out("Ann")])
    done(folder, "forward")
    assert said(lines(folder)) == [("add", "Bob")]
    imported(folder, [opt_out("Bob")])
    done(folder, "forward", "--full")
    assert said(lines(folder)[1:]) == [("delete", "Bob")]


def test_an_opt_out_is_heeded_also_where_the_audience_was_not_computed_since(folder: Path) -> None:
    standard = config().replace("criteria = ", 'kind = "standard"\ncriteria = ')
    applied(folder, standard)
    done(folder, "audiences", "refresh", "gold")
    done(folder, "forward")
    imported(folder, [opt_out("Bob")])
    done(folder, "forward")
    assert sorted(said(lines(folder))) == [("add", "Ann"), ("add", "Bob"), ("delete", "Bob")]


def test_consent_that_a_connection_asks_for_is_heeded_at_once(folder: Path) -> None:
    def consent(name: str, given: bool, at_ms: int) -> dict[str, Any]:
        return {
            "user_identities": {"customer_id": name},
            "consent_state": {
                "gdpr": {"marketing": {"consented": given, "timestamp_unixtime_ms": at_ms}}
            },
        }

    now = int(time.time() * 1000)
    applied(folder, config('consent = { regulation = "gdpr", purpose = "marketing" }'))
    done(folder, "forward")
    assert lines(folder) == [], "nobody has consented"
    imported(
        folder,
        [
            consent("Ann", True, now - 5000),
            consent("Bob", True, now - 5000),
            consent("Cid", True, now - 5000),
        ],
    )
    done(folder, "forward")
    assert said(lines(folder)) == [("add", "Ann"), ("add", "Bob")]
    imported(folder, [consent("Ann", False, now - 4000)])
    done(folder, "forward")
    assert said(lines(folder)[2:]) == [("delete", "Ann")]
    applied(folder, config('consent = { regulation = "ccpa" }'))
    done(folder, "forward")
    assert said(lines(folder)[3:]) == [("add", "Ann")], "of the sale nobody has opted out"


# how


def test_a_webhook_gets_each_message_under_one_id_and_in_order_for_each_person(
    folder: Path,
) -> None:
    chance = random.Random(1)
    with receiver(lambda got: 202 if chance.random() < 0.5 else 503) as there:
        applied(folder, config(output=f'type = "webhook"\nurl = "{there.url}"'))
        done(folder, "forward", *FAST)
        imported(folder, rows_of({"Ann": None, "Cid": "gold"}))
        done(folder, "forward", *FAST)
    assert held([one.document for one in there.accepted()]) == members(folder)
    for one in there.got:
        assert one.headers["idempotency-key"] == one.document["id"]
    assert len({one.document["id"] for one in there.got}) == len(there.accepted()) == 4


def test_what_is_refused_is_listed_tried_again_and_dropped(folder: Path) -> None:
    with receiver(lambda got: 400) as there:
        applied(folder, config(output=f'type = "webhook"\nurl = "{there.url}"'))
        done(folder, "forward", status=3)
        dead = json.loads(done(folder, "outbox", "list", "--json"))["dead"]
        assert [(one["output"], one["audience"], one["action"], one["why"]) for one in dead] == [
            ("mail", "gold", "add", "HTTP 400")
        ] * 2
        imported(folder, rows_of({"Cid": None}))
        done(folder, "forward")
        assert len(there.got) == 2, "what is dead is not sent again by itself"
        assert json.loads(done(folder, "outbox", "retry", "--json")) == {"waiting_again": 2}
        there.answer = lambda got: (
            202 if got.document["user_profiles"][0]["user_identities"][0]["value"] == "Ann" else 400
        )
        done(folder, "forward", status=3)
        assert json.loads(done(folder, "outbox", "drop", "--yes", "--json"))["dropped"] == 1
        imported(folder, rows_of({"Cid": None, "Bob": "gold"}))
        done(folder, "forward")
        assert len(there.got) == 4, "what was dropped never leaves"
        assert json.loads(done(folder, "outbox", "list", "--json"))["left"] == {
            "mail": {"delivered": 1, "dropped": 1}
        }


@pytest.mark.slow
def test_a_limit_leaves_the_others_waiting(folder: Path) -> None:
    applied(folder, config())
    assert json.loads(done(folder, "forward", "--limit", "1", "--json"))[0]["waiting"] == 1
    assert [one["delivered"] for one in json.loads(done(folder, "forward", "--json"))] == [1]


@pytest.mark.slow
def test_batches_and_audiences_go_to_one_output(folder: Path) -> None:
    applied(folder, config(more='[connections.app-mail]\nfeed = "app"\noutput = "mail"'))
    imported(
        folder,
        rows_of(
            {"Ann": "gold"}, events=[{"event_type": "screen_view", "data": {"screen_name": "home"}}]
        ),
    )
    done(folder, "forward")
    found = lines(folder)
    assert [one.get("type", "batch") for one in found] == [
        "batch",
        *["audience_membership_change_request"] * 2,
    ]
    store = (folder / "profiles.duckdb").read_bytes()
    whole = (folder / "mail.jsonl").read_bytes()
    imported(folder, rows_of({"Cid": "gold"}))
    store = (folder / "profiles.duckdb").read_bytes()
    done(folder, "forward")
    whole = (folder / "mail.jsonl").read_bytes()
    for cut in (0, 40):  # killed before the store knew
        (folder / "profiles.duckdb").write_bytes(store)
        (folder / "mail.jsonl").write_bytes(whole[: len(whole) - cut])
        done(folder, "forward")
        assert held(lines(folder)[1:]) == members(folder)
        assert len(lines(folder)) == 4, cut


# files


def cells(folder: Path, name: str = "m.csv") -> list[list[str]]:
    with (folder / name).open(newline="", encoding="utf-8") as content:
        return list(csv.reader(content))


def test_a_csv_of_changes_has_a_row_for_each_identity_and_is_appended_to(folder: Path) -> None:
    applied(
        folder,
        config(
            'identities = ["email", "customer_id"]\nattributes = ["tier"]',
            output='type = "csv"\npath = "m.csv"',
        ),
    )
    done(folder, "forward")
    imported(folder, rows_of({"Ann": "silver"}))
    done(folder, "forward")
    header, *rows = cells(folder)
    assert header == [
        *HEADER.split(","),
        "change",
        "since_ms",
        "user_attributes.tier",
        "message_id",
    ]
    assert [(one[2], one[3], one[4], one[6]) for one in rows] == [
        ("Ann", "customer_id", "add", "gold"),
        ("Ann@Example.org", "email", "add", "gold"),
        ("Bob", "customer_id", "add", "gold"),
        ("Bob@Example.org", "email", "add", "gold"),
        ("Ann", "customer_id", "delete", ""),
        ("Ann@Example.org", "email", "delete", ""),
    ]
    assert (folder / "m.csv").stat().st_mode & 0o777 == 0o600


def test_a_csv_that_was_cut_off_is_mended_and_no_row_stands_twice(folder: Path) -> None:
    applied(folder, config(output='type = "csv"\npath = "m.csv"'))
    store = (folder / "profiles.duckdb").read_bytes()
    done(folder, "forward")
    whole = (folder / "m.csv").read_bytes()
    for kept in (len(whole) - 1, len(whole) // 2, 5):
        (folder / "profiles.duckdb").write_bytes(store)
        (folder / "m.csv").write_bytes(whole[:kept])
        done(folder, "forward")
        assert [one[:4] for one in cells(folder)] == [
            one[:4] for one in csv.reader(whole.decode().splitlines())
        ], kept
    (folder / "m.csv").write_text("name,city\nAnn,Ulm\n")
    done(folder, "forward", "--full", status=9)
    assert (folder / "m.csv").read_text() == "name,city\nAnn,Ulm\n"


def test_a_csv_of_the_full_list_is_the_membership_whatever_was_sent(folder: Path) -> None:
    applied(
        folder,
        config(
            'identities = ["customer_id"]', output='type = "csv"\npath = "m.csv"\ncontent = "full"'
        ),
    )
    done(folder, "forward")
    header, *rows = cells(folder)
    assert header == HEADER.split(",")
    assert [one[2:] for one in rows] == [["Ann", "customer_id"], ["Bob", "customer_id"]]
    imported(folder, [*rows_of({"Ann": None, "Cid": "gold"}), opt_out("Bob")])
    told = json.loads(done(folder, "forward", "--json"))[0]
    assert (told["delivered"], told["waiting"]) == (3, 0)
    assert [one[2:] for one in cells(folder)[1:]] == [["Cid", "customer_id"]]
    (folder / "m.csv").write_text("mine\n")
    done(folder, "forward", status=9)
    assert (folder / "m.csv").read_text() == "mine\n"


@pytest.mark.slow
def test_a_spreadsheet_runs_nothing_of_a_csv(folder: Path) -> None:
    imported(
        folder, [{"user_identities": {"customer_id": "=1+1"}, "user_attributes": {"tier": "gold"}}]
    )
    for content in ("full", "changes"):
        applied(
            folder,
            config(
                'identities = ["customer_id"]',
                output=(
                    f'type = "csv"\npath = "{content}.csv"\ncontent = "{content}"\n'
                    "safe_for_spreadsheets = true"
                ),
            ),
        )
        done(folder, "forward")
        assert "'=1+1" in [one[2] for one in cells(folder, f"{content}.csv")]


@pytest.mark.slow
def test_another_place_of_an_output_gets_the_whole_membership(folder: Path) -> None:
    applied(folder, config())
    done(folder, "forward")
    applied(folder, config(output='type = "jsonl"\npath = "moved.jsonl"'))
    done(folder, "forward")
    assert held(lines(folder, "moved.jsonl")) == members(folder)


def test_a_push_of_an_audience_pushes_its_members(folder: Path) -> None:
    done(folder, "push", "--audience", "gold", "--dry-run", "out.jsonl")
    names = {
        batch["user_identities"]["customer_id"]
        for line in (folder / "out.jsonl").read_text().splitlines()
        for batch in json.loads(line)
    }
    assert names == {"Ann", "Bob"}
    assert (
        "there is no audience gols"
        in refused(folder, "push", "--audience", "gols", "--dry-run", "x.jsonl")[0]
    )


# killed

# A child that counts its statements, what it writes and what it sends, and is killed at the
# so-manyeth; 0: it says how many there are.
COUNTING = """
import os, signal, sys
from profilectl.outputs.delivery.http import HttpSender
from profilectl.store.scratch import Scratch
place, seen = int(sys.argv.pop(1)), 0
def count():
    global seen
    seen += 1
    if seen == place:
        os.kill(os.getpid(), signal.SIGKILL)
def counting(real):
    def call(*arguments, **more):
        count()
        found = real(*arguments, **more)
        if real is once:
            count()
        return found
    return call
once = HttpSender._once
HttpSender._once = counting(once)
Scratch.run, Scratch.rows = counting(Scratch.run), counting(Scratch.rows)
os.replace, os.fsync, os.write = counting(os.replace), counting(os.fsync), counting(os.write)
from profilectl.cli.app import main
sys.argv[0] = "profilectl"
try:
    main()
finally:
    if not place:
        open("counted", "w").write(str(seen))
"""


def child(folder: Path, place: int) -> bool:
    """Forward in a process that is killed at a place; say whether it was."""
    command = [sys.executable, "-c", COUNTING, str(place), "forward", *FAST]
    found = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=False,
        timeout=120,
    )
    assert found.returncode in (0, -signal.SIGKILL), found.stderr.decode()
    return found.returncode != 0


class Town:
    """People who come and go in a store, and what of them must be where the audience goes."""

    def __init__(self, folder: Path, chance: random.Random, people: int) -> None:
        self.folder, self.chance, self.names = folder, chance, [f"P{n}" for n in range(people)]

    def change(self) -> None:
        """Have some enter, leave, change, opt out, be erased."""
        turn = rows_of(
            {
                name: self.chance.choice(["gold", "gold", "silver"])
                for name in self.chance.sample(self.names, len(self.names) // 2)
            }
        )
        for one in turn:
            one["user_attributes"]["n"] = self.chance.randrange(3)
        turn += [opt_out(self.chance.choice(self.names))] if self.chance.random() < 0.3 else []
        imported(self.folder, turn)
        if self.chance.random() < 0.3:
            call(
                "forget",
                "--customer-id",
                self.chance.choice(self.names),
                "--yes",
                folder=self.folder,
            )

    def check(self, documents: Sequence[dict[str, Any]]) -> None:
        """See that a receiver has who is in the audience, and what they have."""
        assert held(documents) == members(self.folder)
        attributes: dict[str, Any] = {}
        for one in documents:
            (profile,) = one["user_profiles"]
            for each in profile["audiences"][0]["user_attributes"]:
                attributes[profile["mpid"]] = each.get("value")
        exported = {
            one["mpid"]: one["user_attributes"].get("n")
            for one in map(json.loads, done(self.folder, "export", "profiles").splitlines())
        }
        assert {mpid: attributes.get(mpid) for mpid in members(self.folder)} == {
            mpid: exported.get(mpid) for mpid in members(self.folder)
        }
        done(self.folder, "check")


@pytest.mark.slow
@pytest.mark.parametrize("output", ["webhook", "jsonl"])
def test_killed_at_sixty_points_the_receiver_has_who_is_in_the_audience(
    output: str, folder: Path
) -> None:
    chance, kills = random.Random(output), 0
    enough = 60 if output == "webhook" else at_length(15, by_night=60)
    with receiver(unkind(3, share=0.1)) as there:
        place = (
            f'type = "webhook"\nurl = "{there.url}"'
            if output == "webhook"
            else 'type = "jsonl"\npath = "mail.jsonl"'
        )
        applied(folder, config('attributes = ["n"]', output=place))
        town = Town(folder, chance, 30)
        while kills < enough:
            town.change()
            if not kills % 10:
                shutil.copytree(folder, folder.parent / "counting", dirs_exist_ok=True)
                with receiver() as elsewhere:
                    if output == "webhook":
                        address = f'type = "webhook"\nurl = "{elsewhere.url}"'
                        applied(folder.parent / "counting", config('attributes = ["n"]', address))
                    assert not child(folder.parent / "counting", 0)
                count = int((folder.parent / "counting" / "counted").read_text())
            kills += child(folder, chance.randrange(1, count + 1))
            if chance.random() < 0.25:
                done(folder, "forward", *FAST)
                town.check(
                    [one.document for one in there.accepted()]
                    if output == "webhook"
                    else lines(folder)
                )
        done(folder, "forward", *FAST)
        documents = (
            [one.document for one in there.accepted()] if output == "webhook" else lines(folder)
        )
    town.check(documents)
    if output == "jsonl":
        assert len({one["id"] for one in documents}) == len(documents), "no line stands twice"


class Killed(BaseException):
    """Stands for the end of the process."""


def test_stopped_at_any_statement_the_receiver_has_who_is_in_the_audience(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance, seen, place = random.Random(5), 0, 0

    def counting(real: Any) -> Any:
        def counted(*arguments: Any, **more: Any) -> Any:
            nonlocal seen
            seen += 1
            if seen == place:
                raise Killed
            return real(*arguments, **more)

        return counted

    applied(folder, config('attributes = ["n"]'))
    town = Town(folder, chance, 6)
    for stop in (70, 105):
        town.change()
        with monkeypatch.context() as patch, contextlib.suppress(Killed):
            seen, place = 0, stop
            patch.setattr(Scratch, "run", counting(Scratch.run))
            patch.setattr(Scratch, "rows", counting(Scratch.rows))
            call("forward", folder=folder)
    done(folder, "forward")
    town.check(lines(folder))


@pytest.mark.slow
def test_killed_at_any_point_a_csv_of_changes_says_who_is_in_the_audience(folder: Path) -> None:
    chance, kills, enough = random.Random(7), 0, at_length(15, by_night=60)
    applied(folder, config('identities = ["customer_id"]', output='type = "csv"\npath = "m.csv"'))
    town = Town(folder, chance, 400)
    while kills < enough:
        town.change()
        kills += child(folder, chance.randrange(30, 130))
        if chance.random() < 0.25 or kills == enough:
            done(folder, "forward")
            there: set[str] = set()
            for mpid, *_, change, _, _ in cells(folder)[1:]:
                there = there - {mpid} if change == "delete" else there | {mpid}
            assert there == members(folder)
            assert len({tuple(one) for one in cells(folder)}) == len(cells(folder)), (
                "no row stands twice"
            )


def test_the_command_says_what_left(folder: Path) -> None:
    applied(folder, config())
    assert done(folder, "forward") == "mail: 2 changes of audiences delivered, 0 waiting\n"
    assert "delivered" in done(folder, "outbox", "list")
