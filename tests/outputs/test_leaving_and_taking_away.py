"""What leaves and what takes people away, together: erasure, undo, retention, outputs of both
kinds, audiences, pushes.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import duckdb
import pytest
from support.doors import call
from support.output_receiver import receiver
from support.pushing import tried
from support.receiver import receiving

from profilectl.rules.mpid import mix_of


def done(folder: Path, *arguments: str, status: int = 0) -> str:
    found = call(*arguments, folder=folder)
    assert found.exit_code == status, (arguments, found.output, found.exception)
    return found.stdout


def imported(folder: Path, *batches: dict[str, Any], feed: str = "app") -> None:
    (folder / "in.jsonl").write_text("".join(json.dumps(one) + "\n" for one in batches))
    done(folder, "import", "in.jsonl", "--feed", feed, "--again")


def seen(name: str, **more: Any) -> dict[str, Any]:
    """Return a batch of somebody with an event."""
    event = {
        "event_type": "custom_event",
        "data": {"event_name": "seen", "custom_event_type": "other"},
    }
    return {"user_identities": {"customer_id": name}, "events": [event], **more}


def sent(folder: Path, address: str, *options: str) -> dict[str, Any]:
    status, told, noticed = tried(
        folder, "push", "--host", address, "--rate", "0", "--json", *options
    )
    assert status == 0, (told, noticed)
    document: dict[str, Any] = json.loads(told)
    return document


def later(days: int) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(time.time() + days * 86400))


RETAINED = "[retention]\nlifetime_days = 30\nretention_days = 600\n"


def test_what_retention_takes_away_is_deleted_at_the_host_of_a_push(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c.toml").write_text(RETAINED)
    done(tmp_path, "config", "apply", "c.toml")
    imported(
        tmp_path, {"user_identities": {"customer_id": "A"}, "user_attributes": {"tier": "gold"}}
    )
    with receiving() as receiver:
        sent(tmp_path, receiver.url)
        done(tmp_path, "retention", "apply", "--yes", "--now", later(40))
        sent(tmp_path, receiver.url)
        assert receiver.accepted[-1].get("deleted_user_attributes") == ["tier"]
        assert len(receiver.accepted) == 2
        sent(tmp_path, receiver.url)
        assert len(receiver.accepted) == 2


def test_events_that_a_host_accepted_are_not_sent_again_after_retention(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c.toml").write_text(RETAINED)
    done(tmp_path, "config", "apply", "c.toml")
    imported(tmp_path, seen("A", user_attributes={"tier": "gold"}))
    with receiving() as receiver:
        sent(tmp_path, receiver.url, "--events")
        assert len(receiver.accepted) == 1
        done(tmp_path, "retention", "apply", "--yes", "--now", later(40))
        sent(tmp_path, receiver.url, "--events")
        assert len(receiver.accepted) == 1


GOLD = (
    '[feeds.app]\nsource = "sdk"\n[audiences.gold]\ncriteria = "tier = \'gold\'"\n'
    '[outputs.mail]\ntype = "jsonl"\npath = "mail.jsonl"\n[connections.gold-mail]\n'
    'audience = "gold"\noutput = "mail"\n'
)


def in_bytes(folder: Path, text: str) -> bool:
    return any(
        text.lower().encode() in one.read_bytes().lower() for one in folder.glob("profiles.duckdb*")
    )


def test_whoever_was_taken_back_and_waits_to_be_removed_can_be_erased(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(GOLD)
    done(tmp_path, "config", "apply", "c.toml")
    imported(
        tmp_path, {"user_identities": {"customer_id": "BOB-1"}, "user_attributes": {"tier": "gold"}}
    )
    imported(
        tmp_path,
        {"user_identities": {"customer_id": "ANN-4711"}, "user_attributes": {"tier": "gold"}},
    )
    done(tmp_path, "forward")
    done(tmp_path, "imports", "undo", "2", "--yes")
    assert "ANN-4711" in table_text(tmp_path)
    done(tmp_path, "forget", "--customer-id", "ANN-4711", "--yes")
    done(tmp_path, "forward")
    (removed,) = json.loads((tmp_path / "mail.jsonl").read_text().splitlines()[-1])["user_profiles"]
    assert removed["user_identities"][0]["value"] == "ANN-4711"
    assert removed["audiences"][0]["action"] == "delete"
    assert not in_bytes(tmp_path, "ANN-4711")
    assert "ANN-4711" not in table_text(tmp_path)
    done(tmp_path, "check")


MOVED = GOLD.replace("mail.jsonl", "elsewhere.jsonl")
UNCONNECTED = GOLD.partition("[connections")[0]
REMOVE = ("audiences", "remove", "gold", "--yes")
CHANGES = GOLD.replace('"jsonl"', '"csv"').replace("mail.jsonl", "mail.csv")


@pytest.mark.parametrize(("before", "acts"), [
    (GOLD, [MOVED]),
    pytest.param(GOLD, [UNCONNECTED, REMOVE], marks=pytest.mark.slow),
    pytest.param(GOLD, [UNCONNECTED.partition("[audiences")[0]], marks=pytest.mark.slow),
    pytest.param(CHANGES, [CHANGES.replace('csv"\n[', 'csv"\ncontent = "full"\n['), ("forward",)], marks=pytest.mark.slow),
])  # fmt: skip
def test_no_byte_of_whoever_is_erased_stays_however_the_removal_goes(
    before: str, acts: list[str | tuple[str, ...]], tmp_path: Path
) -> None:
    (tmp_path / "c.toml").write_text(before)
    done(tmp_path, "config", "apply", "c.toml")
    people = [
        {"user_identities": {"customer_id": name}, "user_attributes": {"tier": "gold"}}
        for name in ("BOB-1", "ANN-4711")
    ]
    imported(tmp_path, *people)
    done(tmp_path, "forward")
    done(tmp_path, "forget", "--customer-id", "ANN-4711", "--yes")
    assert in_bytes(tmp_path, "ANN-4711")
    for act in acts:
        if isinstance(act, str):
            (tmp_path / "c.toml").write_text(act)
        (tmp_path / "mail.csv").unlink(missing_ok=True)
        done(
            tmp_path,
            *(("config", "apply", "c.toml", "--prune", "--yes") if isinstance(act, str) else act),
        )
    assert "ANN-4711" not in table_text(tmp_path)
    assert not in_bytes(tmp_path, "ANN-4711")
    done(tmp_path, "check")


@pytest.mark.parametrize(
    "leaves", ["opt-out", "forget", pytest.param("undo", marks=pytest.mark.slow)]
)
def test_whoever_is_removed_is_removed_by_the_identities_that_the_output_knew_too(
    leaves: str, tmp_path: Path
) -> None:
    (tmp_path / "c.toml").write_text(GOLD)
    done(tmp_path, "config", "apply", "c.toml")
    gold = {"user_attributes": {"tier": "gold"}}
    imported(
        tmp_path,
        {
            "user_identities": {"customer_id": "A", "email": "old@x.org", "facebook": "goes-to-b"},
            **gold,
        },
        {"user_identities": {"customer_id": "B"}, **gold},
    )
    done(tmp_path, "forward")
    mpids = [json.loads(line)["mpid"] for line in done(tmp_path, "export", "profiles").splitlines()]
    done(
        tmp_path,
        "modify",
        f"--mpid={mpids[0]}",
        "--remove",
        "email=old@x.org",
        "--remove",
        "facebook=goes-to-b",
        "--add",
        "email=new@x.org",
    )
    done(tmp_path, "modify", f"--mpid={mpids[1]}", "--add", "facebook=goes-to-b")
    if leaves == "opt-out":
        imported(
            tmp_path,
            {
                "user_identities": {"customer_id": "A"},
                "events": [{"event_type": "opt_out", "data": {"is_opted_out": True}}],
            },
        )
    elif leaves == "forget":
        done(tmp_path, "forget", "--customer-id", "A", "--yes")
    else:
        done(tmp_path, "imports", "undo", "1", "--cascade", "--yes")
    done(tmp_path, "forward")
    removed = [
        json.loads(line)["user_profiles"][0]
        for line in (tmp_path / "mail.jsonl").read_text().splitlines()
    ]
    values = {
        one["value"]
        for profile in removed
        if profile["audiences"][0]["action"] == "delete" and profile["mpid"] == mpids[0]
        for one in profile["user_identities"]
    }
    assert {"A", "old@x.org", "new@x.org"} <= values
    assert ("goes-to-b" in values) == (leaves == "undo")
    assert not in_bytes(tmp_path, "old@x.org") or leaves != "forget"
    done(tmp_path, "check")


def test_removals_of_stubs_and_of_whoever_is_gone_are_two_messages(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(
        GOLD + "[retention]\nlifetime_days = 30\nretention_days = 60\n"
    )
    done(tmp_path, "config", "apply", "c.toml")
    long_ago = int(time.time() * 1000) - 25 * 86_400_000
    old = {
        "user_identities": {"customer_id": "OLD"},
        "user_attributes": {"tier": "gold"},
        "timestamp_unixtime_ms": long_ago,
    }
    imported(
        tmp_path,
        old,
        {"user_identities": {"customer_id": "NEW"}, "user_attributes": {"tier": "gold"}},
    )
    done(tmp_path, "forward")
    done(tmp_path, "retention", "apply", "--yes", "--now", later(40))
    with duckdb.connect(str(tmp_path / "profiles.duckdb"), read_only=True) as store:
        numbers = store.execute("select number from audience_outbox").fetchall()
    assert len(numbers) == len(set(numbers)) == 2


@pytest.mark.parametrize(
    "protection",
    [
        "read-only",
        "suppressed",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("update-only", "rejected", "repeated")
        ),
    ],
)
def test_of_a_row_that_did_not_apply_no_identity_is_kept_that_was_skipped(
    protection: str, tmp_path: Path
) -> None:
    row: dict[str, Any] = {
        "user_identities": {"customer_id": "EVA"},
        "device_info": {"ios_idfv": "spoiled-of-eva"},
    }
    options: tuple[str, ...] = ("--protection", protection)
    if protection in ("suppressed", "rejected", "repeated"):
        options = ()
        row |= {"source_request_id": "r-1"} if protection == "repeated" else {}
        imported(
            tmp_path,
            {
                "user_identities": {"customer_id": "EVA"},
                **({"source_request_id": "r-1"} if protection == "repeated" else {}),
            },
        )
        row |= {"environment": "nowhere"} if protection == "rejected" else {}
    if protection == "suppressed":
        done(tmp_path, "forget", "--customer-id", "EVA", "--yes")
    (tmp_path / "row.jsonl").write_text(json.dumps(row) + "\n")
    call("import", "row.jsonl", "--feed", "app", *options, folder=tmp_path)
    if protection in ("rejected", "repeated"):
        done(tmp_path, "forget", "--customer-id", "EVA", "--yes")
    assert "spoiled-of-eva" not in table_text(tmp_path)
    said = done(tmp_path, "explain", "row", "row.jsonl:1")
    assert "None" not in said
    assert ("DEVICE_ID_INVALID: ios_idfv: " in said) == (protection != "rejected"), said


def table_text(folder: Path) -> str:
    """Return all that the tables of a store say."""
    with duckdb.connect(str(folder / "profiles.duckdb"), read_only=True) as store:
        names = [
            name for (name,) in store.execute("select table_name from duckdb_tables()").fetchall()
        ]
        return "\n".join(str(store.execute(f'select * from "{name}"').fetchall()) for name in names)


def test_what_is_dropped_is_called_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(GOLD + '[connections.app]\nfeed = "app"\noutput = "mail"\n')
    done(tmp_path, "config", "apply", "c.toml")
    imported(tmp_path, {**seen("A"), "user_attributes": {"tier": "gold"}})
    drop = ("outbox", "drop", "--yes", "--waiting", "--output", "mail")
    assert (
        done(tmp_path, *drop, "--dry-run") == "1 batch and 1 change of audiences would be dropped\n"
    )
    assert json.loads(done(tmp_path, *drop, "--json")) == {"dropped": 2, "dry_run": False}
    assert done(tmp_path, "outbox", "retry") == "0 batches wait again\n"


@pytest.mark.parametrize("what", ["in.jsonl", "--events"])
def test_opt_outs_that_leave_as_they_are_cannot_be_left_out(what: str, tmp_path: Path) -> None:
    imported(tmp_path, seen("A"))
    found = call("push", what, "--opt-outs", "none", "--estimate", folder=tmp_path)
    assert "--opt-outs is of profiles" in str(found.exception)


# Nothing of somebody erased in any table

ERIKA = {
    "customer": "CUST-ERIKA-4711",
    "email": "erika.4711@example.org",
    "skipped": "erika-not-a-guid-4711",
    "device": "DEADBEEF-4711-4111-8111-444444444711",
    "value": "nachtigallenweg-4711",
    "brand": "fable-4711",
    "event": "Erika 4711 seen",
    "partner": "partner-of-erika-4711",
    "document": "document-of-erika-4711",
    "passing": "said-in-passing-4711",
    "unknown": "unknown-erika-4711@example.org",
}
TOGETHER = """
[identity]
strategy = "conversion"
login = ["customer_id"]
unique = ["customer_id"]
immutable = ["customer_id"]
[feeds]
app = { source = "sdk", workspace = "shop" }
ro = { source = "partner", partner = "ro", protection = "read-only", workspace = "shop" }
uo = { source = "warehouse", protection = "update-only", workspace = "news" }
news = { source = "custom-feed", workspace = "news" }
[audiences.gold]
criteria = "tier = 'gold'"
workspace = "shop"
[outputs]
mail = { type = "webhook", url = "URL" }
lake = { type = "jsonl", path = "lake.jsonl" }
list = { type = "csv", path = "gold.csv", content = "full" }
changes = { type = "csv", path = "changes.csv", content = "changes" }
[connections]
app-mail = { feed = "app", output = "mail" }
app-lake = { feed = "app", output = "lake" }
ro-lake = { feed = "ro", output = "lake" }
gold-mail = { audience = "gold", output = "mail", attributes = ["street"] }
gold-list = { audience = "gold", output = "list" }
gold-changes = { audience = "gold", output = "changes", attributes = ["street"] }
"""
NEW_TABLES = {
    "remark",
    "passed_claim",
    "handed_over",
    "sent_profile",
    "sent_event",
    "audience_told",
    "audience_outbox",
    "outbox",
    "alias",
}
"""Where the store below is to have something of Erika."""


def of_erika(**more: Any) -> dict[str, Any]:
    return {
        "user_identities": {"customer_id": ERIKA["customer"], "email": ERIKA["email"]},
        "device_info": {
            "ios_idfv": ERIKA["device"],
            "ios_advertising_id": ERIKA["skipped"],
            "brand": ERIKA["brand"],
        },
        "user_attributes": {"tier": "gold", "street": ERIKA["value"]},
        "partner_identities": {"braze": ERIKA["partner"]},
        "consent_state": {
            "gdpr": {
                "marketing": {
                    "consented": True,
                    "timestamp_unixtime_ms": 5,
                    "document": ERIKA["document"],
                }
            }
        },
        "events": [
            {
                "event_type": "custom_event",
                "data": {"event_name": ERIKA["event"], "custom_event_type": "other"},
            }
        ],
        "source_request_id": f"request-{ERIKA['customer']}",
        **more,
    }


def filled(folder: Path, host: str, hook: str) -> str:
    """Make a store with something of Erika in every table that can have it; return her MPID."""
    (folder / "c.toml").write_text(TOGETHER.replace("URL", hook))
    done(folder, "config", "apply", "c.toml")
    imported(
        folder,
        of_erika(),
        seen("BOB", user_attributes={"tier": "gold"}),
        {"user_identities": {"other": "O-1"}},
    )
    imported(
        folder,
        {
            "user_identities": {"customer_id": ERIKA["customer"]},
            "user_attributes": {"street": ERIKA["value"]},
        },
        feed="news",
    )
    found = call("forward", "--attempts", "1", "--pause", "0", folder=folder)
    assert found.exit_code == 3, (found.output, found.exception)
    for more in ((), ("--events",)):
        assert (
            tried(folder, "--workspace", "shop", "push", "--host", host, "--rate", "0", *more)[0]
            == 0
        )
    imported(
        folder,
        of_erika(source_request_id="2", user_attributes={"tier": "gold", "street": "moved-4711"}),
    )
    imported(
        folder,
        of_erika(
            user_identities={"email": ERIKA["email"]},
            user_attributes={"x": ERIKA["passing"]},
            source_request_id="3",
        ),
        feed="ro",
    )
    imported(
        folder,
        {
            "user_identities": {"email": ERIKA["email"], "other": ERIKA["unknown"]},
            "device_info": {"ios_idfv": "4711-no-guid"},
        },
        feed="uo",
    )
    mpids = [
        json.loads(line)["mpid"]
        for line in done(
            folder,
            "--workspace",
            "shop",
            "export",
            "profiles",
            "--where",
            "tier = 'gold' or other = 'O-1'",
        ).splitlines()
    ]
    done(folder, "alias", f"--from={mpids[0]}", f"--to={mpids[2]}", "--now")
    return str(mpids[0])


def traces(folder: Path, sought: dict[str, set[Any]], text: set[str]) -> dict[str, set[str]]:
    """Return where a store has something of somebody: table -> columns. sought: a kind of column ->
    values of theirs.
    """
    found: dict[str, set[str]] = {}
    kinds = {
        "profile": "profile",
        "source": "profile",
        "destination": "profile",
        "hash": "hash",
        "mpid": "mpid",
        "arrival": "arrival",
    }
    with duckdb.connect(str(folder / "profiles.duckdb"), read_only=True) as store:
        for table, column in store.execute(
            "select table_name, column_name from duckdb_columns() where not internal"
        ).fetchall():
            for (value,) in store.execute(f'select distinct "{column}" from "{table}"').fetchall():
                if value in sought.get(kinds.get(column, ""), ()) or any(
                    one in str(value).lower() for one in text
                ):
                    found.setdefault(table, set()).add(column)
    return found


def of_person(folder: Path, mpid: str) -> dict[str, set[Any]]:
    """Return how the tables name somebody: profile, arrivals of rows, hashes of identities, MPID."""
    with duckdb.connect(str(folder / "profiles.duckdb"), read_only=True) as store:
        names = [
            name for (name,) in store.execute("select table_name from duckdb_tables()").fetchall()
        ]
        rows = " union all ".join(
            f"select profile, arrival from {name}" for name in names if name.startswith("row_")
        )
        # No table holds the MPID: it leads back to the arrival of the founding row.
        ((secret,),) = store.execute("select value from meta where name = 'secret'").fetchall()
        profile = mix_of(secret).arrival(int(mpid))
        arrivals = {
            one
            for (one,) in store.execute(
                f"select arrival from ({rows}) where profile = {profile}"
            ).fetchall()
        }
        index = " union all ".join(
            f"select profile, hash from {name}" for name in names if name.startswith("index_")
        )
        hashes = {
            one
            for (one,) in store.execute(
                f"select hash from ({index}) where profile = {profile}"
            ).fetchall()
        }
    return {"profile": {profile}, "arrival": arrivals, "hash": hashes, "mpid": {int(mpid)}}


@pytest.mark.slow
def test_nothing_of_somebody_erased_is_in_any_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with (
        receiving() as host,
        receiver(lambda got: 400 if b"CUST-ERIKA" in got.body else 202) as hook,
    ):
        mpid = filled(tmp_path, host.url, hook.url)
        person = of_person(tmp_path, mpid)
        values = {one.lower() for one in ERIKA.values()} | {"moved-4711", mpid}
        assert traces(tmp_path, person, values).keys() >= NEW_TABLES
        done(tmp_path, "forget", "--customer-id", ERIKA["customer"], "--yes")
        done(tmp_path, "check")
        numbers = {"erased_row": {"arrival"}, "forwarded": {"arrival"}, "output_since": {"arrival"}}
        assert traces(tmp_path, person, values) == {
            **numbers,
            "audience_outbox": {"mpid", "identities"},
        }
        hook.answer = lambda got: 202
        done(tmp_path, "forward")
        assert traces(tmp_path, person, values) == numbers
        assert [one for one in values if in_bytes(tmp_path, one)] == []
        done(tmp_path, "check")
