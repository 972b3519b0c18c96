"""What leaves and what does not: filters, forwarding rules, sampling, each as a case; then through
the command line.
"""

from __future__ import annotations

import json
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from support.doors import call, run_here

from profilectl.codes import UsageError
from profilectl.outputs.as_input import as_input
from profilectl.outputs.packing import parcels_of
from profilectl.rules.feed import Feed
from profilectl.rules.leaving.connection import filtered, refusal, sampled
from profilectl.rules.leaving.connection_config import connection_of
from profilectl.rules.leaving.enrichment import (
    SOURCE_FEED,
    Holding,
    IdMaker,
    LeavingEvent,
    ProfileThen,
    ReceivedBatch,
    completed,
)
from profilectl.rules.leaving.output import DeliveryFate, fate_of, output_of
from profilectl.rules.text.values import Number, hold, parse_json

NAMING = IdMaker("secret")
EVENT: dict[str, Any] = {
    "event_type": "custom_event",
    "data": {
        "event_name": "Viewed",
        "custom_event_type": "other",
        "custom_attributes": {"at": "home", "n": "1"},
    },
}
OTHER: dict[str, Any] = {"event_type": "screen_view", "data": {"screen_name": "start"}}


def outgoing(
    attributes: dict[str, Any] | None = None,
    *,
    events: tuple[dict[str, Any], ...] = (EVENT,),
    feed: str = "sdk",
    consent: dict[str, Any] | None = None,
    attribution: dict[str, Any] | None = None,
    mpid: int = 5,
    identities: tuple[str, ...] = ("customer_id",),
) -> Any:
    said = {
        ("gdpr", "ads") if name != "ccpa" else ("ccpa", "data_sale_opt_out"): {"consented": value}
        for name, value in (consent or {}).items()
    }
    known = ProfileThen(
        mpid,
        [Holding(kind, kind[0], 1) for kind in identities],
        {key: hold(parse_json(json.dumps(value))) for key, value in (attributes or {}).items()},
        consent=said,
        consent_before=said,
        attribution=attribution or {},
    )
    return completed(
        ReceivedBatch(
            Feed("f", feed), 0, "production", 10, 11, [LeavingEvent(10, one) for one in events]
        ),
        known,
        NAMING,
    )


def rules(output: dict[str, Any] | None = None, **table: Any) -> tuple[Any, Any]:
    return connection_of("c", {"feed": "f", "output": "o", **table}), output_of(
        "o", {"type": "jsonl", "path": "o.jsonl", **(output or {})}
    )


ADS = {"regulation": "gdpr", "purpose": "ads"}
# fmt: off
RULES: list[tuple[str, dict[str, Any], dict[str, Any], dict[str, Any], str | None]] = [
    # what it shows                    connection                                                            output                          batch                                    why it stays
    ("everything leaves",              {},                                                                   {},                             {},                                      None),
    ("no events",                      {},                                                                   {},                             {"events": ()},                          "EVENTLESS"),
    ("no events, accepted",            {},                                                                   {"accepts_eventless": True},    {"events": ()},                          None),
    ("unbound",                        {},                                                                   {"accepts_unbound": False},     {"feed": "custom-feed"},                 "UNBOUND"),
    ("bound",                          {},                                                                   {"accepts_unbound": False},     {"feed": "sdk"},                         None),
    ("attribute, met",                 {"attribute": {"name": "tier", "value": "gold"}},                     {},                             {"attributes": {"tier": "gold"}},        None),
    ("attribute, other case",          {"attribute": {"name": "tier", "value": "gold"}},                     {},                             {"attributes": {"tier": "Gold"}},        "ATTRIBUTE"),
    ("attribute, name's case",         {"attribute": {"name": "tier", "value": "gold"}},                     {},                             {"attributes": {"Tier": "gold"}},        "ATTRIBUTE"),
    ("attribute, missing",             {"attribute": {"name": "tier", "value": "gold"}},                     {},                             {},                                      "ATTRIBUTE"),
    ("attribute, a number",            {"attribute": {"name": "n", "value": "1.50"}},                        {},                             {"attributes": {"n": "1.50"}},           None),
    ("not forwarded, met",             {"attribute": {"name": "tier", "value": "gold", "action": "do-not-forward"}}, {},                     {"attributes": {"tier": "gold"}},        "ATTRIBUTE"),
    ("not forwarded, missing",         {"attribute": {"name": "tier", "value": "gold", "action": "do-not-forward"}}, {},                     {},                                      None),
    ("attribution, met",               {"attribution": {"publisher": "P"}},                                  {},                             {"attribution": {"publisher": "P"}},     None),
    ("attribution, another",           {"attribution": {"publisher": "P"}},                                  {},                             {"attribution": {"publisher": "p"}},     "ATTRIBUTION"),
    ("attribution, none",              {"attribution": {"publisher": "P"}},                                  {},                             {},                                      "ATTRIBUTION"),
    ("ccpa, nothing said",             {"consent": {"regulation": "ccpa"}},                                  {},                             {},                                      None),
    ("ccpa, opted out",                {"consent": {"regulation": "ccpa"}},                                  {},                             {"consent": {"ccpa": True}},             "CONSENT"),
    ("ccpa, not opted out",            {"consent": {"regulation": "ccpa"}},                                  {},                             {"consent": {"ccpa": False}},            None),
    ("gdpr, nothing said",             {"consent": ADS},                                                     {},                             {},                                      "CONSENT"),
    ("gdpr, consented",                {"consent": ADS},                                                     {},                             {"consent": {"ads": True}},              None),
    ("gdpr, refused",                  {"consent": ADS},                                                     {},                             {"consent": {"ads": False}},             "CONSENT"),
    ("two rules, one met",             {"consent": [ADS, {"regulation": "ccpa"}]},                           {},                             {"consent": {"ccpa": False}},            "CONSENT"),
    ("id sync, known",                 {"id_sync": True},                                                    {},                             {},                                      None),
    ("id sync, anonymous",             {"id_sync": True},                                                    {},                             {"identities": ("email",)},              "ID_SYNC"),
    ("nobody in the sample",           {"sampling": 0},                                                      {},                             {},                                      "SAMPLED_OUT"),
]
FILTERS: list[tuple[str, dict[str, Any], dict[str, Any], dict[str, Any] | None]] = [
    # what it shows                 connection                                                                output                             what is left, of those that are named
    ("nothing is off",              {},                                                                       {},                                {"events": 2, "attributes": ["a", "b"], "identities": ["customer_id", "email"]}),
    ("an event type",               {"filter": {"event_types": ["custom_event"]}},                            {},                                {"events": 1}),
    ("an event",                    {"filter": {"events": {"custom_event": ["Viewed"]}}},                     {},                                {"events": 1}),
    ("an event of another type",    {"filter": {"events": {"screen_view": ["Viewed"]}}},                      {},                                {"events": 2}),
    ("an event attribute",          {"filter": {"event_attributes": {"custom_event": {"Viewed": ["at"]}}}},   {},                                {"events": 2, "event_attributes": ["n", SOURCE_FEED]}),
    ("never the feed's name",       {"filter": {"event_attributes": {"custom_event": {"Viewed": [SOURCE_FEED]}}}}, {},                           {"event_attributes": ["at", "n", SOURCE_FEED]}),
    ("all events",                  {"filter": {"event_types": ["custom_event", "screen_view"]}},             {},                                None),
    ("all events, still accepted",  {"filter": {"event_types": ["custom_event", "screen_view"]}},             {"accepts_eventless": True},       {"events": 0}),
    ("an attribute",                {"filter": {"user_attributes": ["a"]}},                                   {},                                {"attributes": ["b"]}),
    ("an identity",                 {"filter": {"user_identities": ["email"]}},                               {},                                {"identities": ["customer_id"]}),
    ("nothing new",                 {},                                                                       {"send_new_data_points": False},   None),
    ("nothing new but a type",      {"only": {"event_types": ["screen_view"], "user_attributes": ["b"]}},     {"send_new_data_points": False},   {"events": 1, "attributes": ["b"], "identities": []}),
    ("an event and its attribute",  {"only": {"event_attributes": {"custom_event": {"Viewed": ["n"]}}}},      {"send_new_data_points": False},   {"events": 1, "event_attributes": ["n", SOURCE_FEED]}),
    ("on and off is off",           {"only": {"event_types": ["screen_view", "custom_event"]}, "filter": {"event_types": ["custom_event"]}}, {"send_new_data_points": False}, {"events": 1}),
]
# fmt: on


@pytest.mark.parametrize(
    ("says", "connection", "output", "batch", "why"), RULES, ids=[one[0] for one in RULES]
)
def test_forwarding_rules(
    says: str,
    connection: dict[str, Any],
    output: dict[str, Any],
    batch: dict[str, Any],
    why: str | None,
) -> None:
    assert refusal(outgoing(**batch), *rules(output, **connection), ["customer_id"]) == why, says


@pytest.mark.parametrize(
    ("says", "connection", "output", "left"), FILTERS, ids=[one[0] for one in FILTERS]
)
def test_the_data_filter(
    says: str, connection: dict[str, Any], output: dict[str, Any], left: dict[str, Any] | None
) -> None:
    one = outgoing(
        {"a": "1", "b": "2"},
        events=(EVENT, OTHER),
        feed="custom-feed",
        identities=("customer_id", "email"),
    )
    found: Any = filtered(one.document, *rules(output, **connection))
    if left is None or found is None:
        assert found is left, says
        return
    events = found.get("events", [])
    told = {
        "events": len(events),
        "attributes": list(found["user_attributes"]),
        "identities": [one["identity_type"] for one in found["user_identities"]],
        "event_attributes": sorted(
            events[0]["data"]["custom_attributes"], key=lambda key: (key == SOURCE_FEED, key)
        )
        if events
        else [],
    }
    assert {name: told[name] for name in left} == left, says


def test_the_sample_is_of_users_and_grows() -> None:
    # Computed by hand: int.from_bytes(sha256(b"o5").digest()[:8], "big") % 10000 and its like.
    import hashlib

    share = {
        percent: [mpid for mpid in range(-500, 500) if sampled("o", mpid, Decimal(percent))]
        for percent in (0, 10, 50, 100)
    }
    assert [len(share[percent]) for percent in (0, 100)] == [0, 1000]
    assert 60 < len(share[10]) < 140
    assert set(share[10]) < set(share[50])
    assert share[10] == [
        mpid
        for mpid in range(-500, 500)
        if int(hashlib.sha256(f"o{mpid}".encode()).hexdigest()[:16], 16) % 10_000 < 1000
    ]
    assert share[50] != [mpid for mpid in range(-500, 500) if sampled("other", mpid, Decimal(50))]


@pytest.mark.parametrize(("status", "fate"), [
    (200, DeliveryFate.DELIVERED), (202, DeliveryFate.DELIVERED), (408, DeliveryFate.AGAIN), (500, DeliveryFate.AGAIN), (502, DeliveryFate.AGAIN), (503, DeliveryFate.AGAIN), (504, DeliveryFate.AGAIN),
    (400, DeliveryFate.DEAD), (413, DeliveryFate.DEAD), (414, DeliveryFate.DEAD), (525, DeliveryFate.DEAD), (409, DeliveryFate.KNOWN), (401, DeliveryFate.STOP), (429, DeliveryFate.LATER), (301, DeliveryFate.STOP), (422, DeliveryFate.DEAD),
])  # fmt: skip
def test_what_an_answer_means(status: int, fate: DeliveryFate) -> None:
    assert fate_of(status) is fate


def test_the_events_api_takes_another_form() -> None:
    known = ProfileThen(
        5,
        [Holding("email", "old@x", 1), Holding("email", "new@x", 2)],
        {"n": hold(Number("9")), "l": hold(["1", Number("2")]), "t": hold(None)},
    )
    outgoing = completed(
        ReceivedBatch(Feed("f"), 0, "production", 10, 11, [LeavingEvent(10, EVENT)]), known, NAMING
    ).document
    (parcel,) = parcels_of(as_input(outgoing), 0, lambda part, content: "id")
    document: Any = parse_json(parcel.body.decode())
    assert document["user_identities"] == {"email": "new@x"}
    assert document["user_attributes"] == {"n": "9", "l": ["1", "2"], "t": None}
    assert not {"timestamp_unixtime_ms", "batch_id", "source_info", "system_notifications"} & set(
        document
    )
    assert document["events"] == [
        {**EVENT, "data": {**EVENT["data"], "timestamp_unixtime_ms": "10"}}
    ]


WRONG = [
    ({"type": "ftp", "path": "x"}, {}, "type = 'ftp'"),
    ({"type": "jsonl"}, {}, "needs path"),
    ({"type": "webhook", "url": "http://example.com"}, {}, "plain http"),
    ({"type": "webhook", "url": "https://u:p@example.com"}, {}, "credentials do not belong"),
    ({"type": "webhook", "url": "https://x.org", "secret": "s"}, {}, "there is no key secret"),
    ({}, {"sampling": 101}, "sampling"),
    ({}, {"sampling": "1.234"}, "sampling"),
    ({}, {"attribute": {"name": "a"}}, "attribute needs name and value"),
    ({}, {"consent": {"regulation": "hipaa"}}, "consent must be"),
    ({}, {"consent": {"regulation": "gdpr"}}, "purpose"),
    ({}, {"filter": {"events": ["x"]}}, "events must be a table"),
    ({}, {"filter": {"user_identities": ["ios_idfv"]}}, "no user identity"),
    ({}, {"rule": 1}, "there is no key rule"),
    ({}, {"active": 1}, "active must be"),
]


@pytest.mark.parametrize(("output", "connection", "message"), WRONG, ids=[one[2] for one in WRONG])
def test_a_wrong_configuration_is_named(
    output: dict[str, Any], connection: dict[str, Any], message: str
) -> None:
    def read() -> None:
        if output:
            output_of("o", output)
        connection_of("c", {"feed": "f", "output": "o", **connection})

    with pytest.raises(UsageError) as found:
        read()
    assert message in found.value.message


CONNECTED = (
    '[feeds.f]\n[outputs.o]\ntype = "jsonl"\npath = "o"\nsend_new_data_points = false\n'
    '[connections.c]\nfeed = "f"\noutput = "o"\n'
)


@pytest.mark.parametrize(("text", "said"), [
    ((
'[outputs.a-b]\ntype = "webhook"\nurl = "https://x.org"\n[outputs.a_b]\ntype ='
' "webhook"\nurl = "https://y.org"\n'
), "would have the same credentials: PROFILECTL_OUTPUT_A_B_SECRET"),
    ((
'[consent]\ngdpr_purposes = ["marketing"]\n[feeds.f]\n[outputs.o]\ntype = "jsonl"\n'
'path = "o"\n[connections.c]\nfeed = "f"\noutput = "o"\nconsent = { regulation ='
' "gdpr", purpose = "marketting" }\n'
),
     "there is no purpose marketting"),
    ('[outputs.o]\ntype = "events-api"\nhost = "https://x.org?a=b"\n', "host https://x.org?a=b: this is no address"),
    (f'{CONNECTED}attribute = {{ name = "", value = "x" }}\n', "attribute needs name and value"),
    ((
f'{CONNECTED}only = {{ events = {{ custom_event = ["Viewed"] }}, event_attributes = {{'
f' custom_event = {{ Viewed = ["a"] }} }} }}\n'
), "Viewed goes with all its attributes by events"),
    ((
f'{CONNECTED}only = {{ event_types = ["custom_event"], event_attributes = {{'
f' custom_event = {{ Viewed = ["a"] }} }} }}\n'
), "Viewed goes with all its attributes by event_types"),
])  # fmt: skip
def test_a_configuration_that_could_only_go_wrong_is_refused(
    text: str, said: str, tmp_path: Path
) -> None:
    (tmp_path / "c.toml").write_text(text)
    assert said in run_here("config", "apply", "c.toml", folder=tmp_path).stderr


CONFIG = """
[feeds.crm]
[feeds.web]
source = "sdk"
[feeds.reader]
protection = "read-only"
[feeds.updater]
protection = "update-only"
[feeds.punchh]
source = "partner"

[calculated.views]
type = "count"
event = "view"
[calculated.seen]
type = "last_value"
event = "view"
of = "at"

[outputs.lake]
type = "jsonl"
path = "lake.jsonl"
[outputs.slim]
type = "jsonl"
path = "slim/"
[outputs.all]
type = "jsonl"
path = "all.jsonl"
accepts_eventless = true

[connections.a]
feed = "crm"
output = "lake"
consent = { regulation = "ccpa" }
[connections.b]
feed = "web"
output = "lake"
consent = { regulation = "ccpa" }
[connections.c]
feed = "reader"
output = "lake"
[connections.d]
feed = "updater"
output = "lake"
[connections.e]
feed = "web"
output = "slim"
sampling = "99.99"
filter = { user_attributes = ["tier"], events = { custom_event = ["secret"] } }
attribute = [{ name = "tier", value = "lead", action = "do-not-forward" }]
[connections.f]
feed = "crm"
output = "all"
active = false
"""


def view(**attributes: str) -> dict[str, Any]:
    return {
        "event_type": "custom_event",
        "data": {
            "event_name": "view",
            "custom_event_type": "navigation",
            "custom_attributes": attributes,
        },
    }


def done(folder: Path, *arguments: str, status: int = 0) -> str:
    found = call(*arguments, folder=folder)
    assert found.exit_code == status, found.output
    return found.stdout


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "c.toml").write_text(CONFIG)
    done(tmp_path, "config", "apply", "c.toml")
    return tmp_path


def imported(folder: Path, feed: str, *batches: dict[str, Any], status: int = 0) -> None:
    (folder / "in.jsonl").write_text("".join(json.dumps(one) + "\n" for one in batches))
    done(folder, "import", "in.jsonl", "--feed", feed, "--again", status=status)


def forwarded(folder: Path, path: str = "lake.jsonl") -> list[dict[str, Any]]:
    """Forward, and return all that has left."""
    done(folder, "forward")
    found = sorted((folder / path).glob("*.jsonl")) if (folder / path).is_dir() else [folder / path]
    return [
        json.loads(line) for one in found if one.exists() for line in one.read_text().splitlines()
    ]


A = {"user_identities": {"customer_id": "A", "email": "a@x.org"}}


def test_the_configuration_goes_round(folder: Path) -> None:
    text = done(folder, "config", "export")
    (folder / "again.toml").write_text(text)
    assert "nothing" in done(folder, "config", "apply", "again.toml").lower() or not re.search(
        "outputs|connections", done(folder, "config", "apply", "again.toml")
    )
    assert done(folder, "config", "export") == text
    assert 'sampling = "99.99"' in text


def test_what_is_not_declared_any_more_is_gone(folder: Path) -> None:
    (folder / "less.toml").write_text(
        '[outputs.lake]\ntype = "jsonl"\npath = "lake.jsonl"\naccepts_eventless = true\n'
    )
    told = call(*["config", "apply", "less.toml", "--prune", "--dry-run"], folder=folder).stderr
    assert re.search(r"^connections\.a: .* -> gone$", told, re.MULTILINE), told
    assert re.search(r"^outputs\.all: .* -> gone$", told, re.MULTILINE), told
    assert "accepts_eventless true" in told
    assert 'filter {"user_attributes": ["tier"], "events"' in told or 'filter {"events"' in told
    assert "default" not in told


def test_scenario_35_an_eventless_value_rides_with_the_next_event(folder: Path) -> None:
    imported(folder, "crm", {**A, "user_attributes": {"tier": "gold"}})
    assert forwarded(folder) == []
    imported(folder, "web", {"user_identities": {"customer_id": "A"}, "events": [view()]})
    [batch] = forwarded(folder)
    assert batch["user_attributes"]["tier"] == "gold"
    assert [(one["identity_type"], one["identity"]) for one in batch["user_identities"]] == [
        ("customer_id", "A"),
        ("email", "a@x.org"),
    ]
    [slim] = forwarded(folder, "slim/")
    assert "tier" not in slim["user_attributes"]
    assert slim["source_request_id"] != batch["source_request_id"]
    assert slim["batch_id"] == batch["batch_id"]


def test_scenario_25_update_only(folder: Path) -> None:
    imported(
        folder,
        "updater",
        {
            "user_identities": {"customer_id": "Z"},
            "user_attributes": {"x": "1"},
            "events": [view()],
        },
    )
    assert forwarded(folder) == []
    imported(folder, "crm", {**A, "user_attributes": {"tier": "gold"}})
    imported(
        folder,
        "updater",
        {
            "user_identities": {"customer_id": "A"},
            "user_attributes": {"x": "1"},
            "events": [view()],
        },
    )
    [batch] = forwarded(folder)
    assert (batch["user_attributes"]["tier"], batch["user_attributes"]["x"]) == ("gold", "1")
    used = json.loads(done(folder, "usage", "--json"))
    assert [
        (one["feed"], one["batches"], one["billable"], one["update_only_misses"])
        for one in used["imports"]
    ] == [
        ("crm", 1, 0, 0),
        ("updater", 1, 1, 1),
        ("updater", 1, 1, 0),
    ]
    assert used["months"][0]["mtu"] == 1


def test_scenario_26_read_only(folder: Path) -> None:
    imported(folder, "crm", {**A, "user_attributes": {"tier": "gold"}})
    before = done(folder, "export", "profiles")
    batch = {
        "user_identities": {"customer_id": "A", "email": "new@x.org"},
        "user_attributes": {"x": 1.50, "l": ["1"]},
        "events": [view(at="home")],
        "deleted_user_attributes": ["tier"],
        "device_info": {"ios_idfv": "0a0a0a0a-1111-2222-3333-444444444444", "brand": "b"},
        "mpid": 5,
    }
    imported(
        folder,
        "reader",
        batch,
        {"user_identities": {"customer_id": "nobody"}, "events": [view()]},
        {"user_identities": {"customer_id": "A"}, "user_attributes": {"y": "1"}},
    )
    found = forwarded(folder)
    assert done(folder, "export", "profiles") == before
    assert len(found) == 2
    assert all("mpid" not in one for one in found)
    assert found[0]["user_attributes"] == {"l": ["1"], "x": 1.5}
    assert [(one["identity_type"], one["identity"]) for one in found[0]["user_identities"]] == [
        ("customer_id", "A"),
        ("email", "new@x.org"),
    ]
    assert found[0]["deleted_user_attributes"] == ["tier"]
    assert found[0]["device_info"] == {
        "ios_idfv": "0a0a0a0a-1111-2222-3333-444444444444",
        "brand": "b",
    }
    assert found[0]["events"][0]["data"]["custom_attributes"] == {
        "at": "home",
        SOURCE_FEED: "reader",
    }
    used = [
        one
        for one in json.loads(done(folder, "usage", "--json"))["imports"]
        if one["feed"] == "reader"
    ]
    assert [(one["batches"], one["billable"], one["events"]) for one in used] == [(3, 2, 2)]


def test_scenario_34_consent(folder: Path) -> None:
    def said(consented: bool, at: int) -> dict[str, Any]:
        return {
            "consent_state": {
                "ccpa": {"data_sale_opt_out": {"consented": consented, "timestamp_unixtime_ms": at}}
            }
        }

    imported(folder, "crm", {**A, **said(True, 10), "events": [view()]})
    imported(folder, "crm", {**A, **said(False, 5), "events": [view()]})
    imported(folder, "punchh", {**A, **said(False, 99)})
    imported(folder, "web", {**A, "events": [view()]})
    assert forwarded(folder) == []
    assert json.loads(done(folder, "outbox", "list", "--json"))["left"]["lake"] == {"CONSENT": 3}
    imported(folder, "crm", {**A, **said(False, 11), "events": [view()]})
    [batch] = forwarded(folder)
    assert batch["consent_state"]["ccpa"]["data_sale_opt_out"]["consented"] is False
    [notice] = batch["system_notifications"]
    assert (
        notice["type"],
        notice["data"]["current"]["consented"],
        notice["data"]["old"]["timestamp_unixtime_ms"],
    ) == ("ccpa_change", False, 10)


def test_a_batch_leaves_with_the_profile_as_it_was_after_it(folder: Path) -> None:
    imported(
        folder,
        "web",
        {**A, "user_attributes": {"drink": "Beer"}, "events": [view(at="home")]},
        {**A, "user_attributes": {"drink": "Coke"}, "events": [view(at="shop")]},
    )
    imported(
        folder,
        "web",
        {**A, "deleted_user_attributes": ["drink", "never"], "events": [view(at="end")]},
    )
    imported(folder, "crm", {**A, "user_attributes": {"drink": "Tea"}})
    found = forwarded(folder)
    assert [one["user_attributes"].get("drink") for one in found] == ["Beer", "Coke", None]
    assert [one.get("deleted_user_attributes") for one in found] == [None, None, ["drink"]]
    # A count goes with the batch that raised it, a last value with the next one (domain.md 11.1).
    assert [one["user_attributes"]["views"] for one in found] == [1, 2, 3]
    assert [one["user_attributes"].get("seen") for one in found] == [None, "home", "shop"]


def test_memberships_leave_with_lifetime_profiles_as_they_were_before_the_batch(
    folder: Path,
) -> None:
    done(folder, "audiences", "add", "gold", "tier = 'gold'")
    done(folder, "audiences", "add", "viewers", "count(event 'view') >= 2")
    imported(folder, "web", {**A, "user_attributes": {"tier": "gold"}, "events": [view()]})
    imported(folder, "web", {**A, "events": [view()]})
    assert all("audience_memberships" not in one for one in forwarded(folder)), (
        "only with Lifetime Profiles"
    )
    done(folder, "retention", "set", "--lifetime-profiles")
    imported(folder, "web", {**A, "events": [view()]})
    imported(folder, "web", {**A, "user_attributes": {"tier": "iron"}, "events": [view()]})
    imported(
        folder,
        "web",
        {**A, "events": [view()]},
        {"user_identities": {"customer_id": "B"}, "events": [view()]},
    )
    found = [
        [one["audience_name"] for one in batch.get("audience_memberships", [])]
        for batch in forwarded(folder)[2:]
    ]
    assert found == [["gold", "viewers"], ["gold", "viewers"], ["viewers"], []]


def test_an_opt_out_leaves_and_so_does_what_follows(folder: Path) -> None:
    imported(
        folder,
        "web",
        {**A, "events": [{"event_type": "opt_out", "data": {"is_opted_out": True}}]},
        {**A, "events": [view()]},
    )
    assert [one["events"][0]["event_type"] for one in forwarded(folder)] == [
        "opt_out",
        "custom_event",
    ]


def test_an_import_that_is_undone_does_not_leave(folder: Path) -> None:
    imported(folder, "web", {**A, "events": [view()]})
    done(folder, *["imports", "undo", "1", "--yes"])
    assert forwarded(folder) == []


def test_an_import_that_is_made_again_leaves_once(folder: Path) -> None:
    for number, content in enumerate(
        (
            {**A, "user_attributes": {"x": "1"}},
            {**A, "events": [view()]},
            {**A, "events": [view(), view()]},
        )
    ):
        (folder / f"{number}.jsonl").write_text(json.dumps(content) + "\n")
        done(folder, "import", f"{number}.jsonl", "--feed", "web")
    assert len(forwarded(folder)) == 2
    done(folder, *["imports", "undo", "1", "--replay", "--yes"])
    assert len(forwarded(folder)) == 2
    assert json.loads(done(folder, "forward", "--json"))[0]["waiting"] == 0


def test_whoever_is_erased_does_not_leave(folder: Path) -> None:
    imported(
        folder,
        "web",
        {**A, "events": [view()]},
        {"user_identities": {"customer_id": "B"}, "events": [view()]},
    )
    imported(
        folder,
        "reader",
        {"user_identities": {"email": "A@X.org"}, "events": [view()]},
        {"user_identities": {"email": "b@x.org"}, "events": [view()]},
    )
    told = json.loads(done(folder, "forget", "--yes", "--customer-id", "A", "--json"))
    assert told["rows"]["outbox"] == 3
    found = forwarded(folder)
    assert len(found) == 2
    assert not re.search("a@x", (folder / "lake.jsonl").read_text(), re.IGNORECASE)
    told = json.loads(done(folder, "forget", "--yes", "--customer-id", "B", "--json"))
    assert (told["not_touched"]["outputs"], told["not_touched"]["outputs_that_may_have"]) == (
        ["lake", "slim"],
        [],
    )


def test_where_batches_went_that_only_passed_by_is_told_of_whoever_is_erased(folder: Path) -> None:
    imported(folder, "crm", {**A, "user_attributes": {"tier": "gold"}})
    imported(folder, "reader", {**A, "events": [view()]})
    assert len(forwarded(folder)) == 1
    done_ = call("forget", "--customer-id", "A", "--yes", folder=folder)
    assert (
        "not told: lake, where batches of feeds that only read went; whose they were is not kept"
        in done_.stderr
    )


def test_enrich_shows_what_would_leave_and_stores_nothing(folder: Path) -> None:
    imported(folder, "crm", {**A, "user_attributes": {"tier": "gold"}})
    (folder / "next.jsonl").write_text(
        json.dumps({"user_identities": {"customer_id": "A"}, "events": [view()]})
        + "\n"
        + json.dumps({"user_identities": {"customer_id": "A"}, "user_attributes": {"n": 1}})
        + "\n[1]\n"
    )
    before = (folder / "profiles.duckdb").read_bytes()
    lines = [
        json.loads(line)
        for line in done(
            folder, "enrich", "next.jsonl", "--feed", "web", "--json", status=3
        ).splitlines()
    ]
    assert (folder / "profiles.duckdb").read_bytes() == before
    assert [one["line"] for one in lines] == [1, 2]
    assert [
        (one["output"], one["leaves"], one.get("reason"))
        for line in lines
        for one in line["outputs"]
    ] == [
        ("lake", True, None),
        ("slim", True, None),
        ("lake", False, "EVENTLESS"),
        ("slim", False, "EVENTLESS"),
    ]
    assert lines[0]["batch"]["user_attributes"]["tier"] == "gold"
    assert "tier" not in lines[0]["outputs"][1]["batch"]["user_attributes"]
    imported(folder, "web", {"user_identities": {"customer_id": "A"}, "events": [view()]})
    [left] = forwarded(folder)
    assert left["source_request_id"] == lines[0]["outputs"][0]["batch"]["source_request_id"]
    assert "does not leave" in done(folder, "enrich", "next.jsonl", "--feed", "web", status=3)


def test_a_row_of_a_flat_file_leaves_with_its_device(folder: Path) -> None:
    (folder / "in.csv").write_text(
        "customer_id,device_info.ios_idfv,events.event_type,events.data.screen_name,user_attributes.t,deleted_user_attributes\n"
        ""
        "A,0a0a0a0a-1111-2222-3333-444444444444,screen_view,home,x,\n"
        "A,0A0A0A0A-1111-2222-3333-444444444444,screen_view,end,,t\n"
    )
    done(folder, "import", "in.csv", "--feed", "web")
    first, second = forwarded(folder)
    assert (first["device_info"]["ios_idfv"], second["device_info"]["ios_idfv"]) == (
        "0a0a0a0a-1111-2222-3333-444444444444",
        "0A0A0A0A-1111-2222-3333-444444444444",
    )
    assert (first["user_attributes"]["t"], second.get("deleted_user_attributes")) == ("x", ["t"])
