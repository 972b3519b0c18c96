"""The table of domain.md 7, row by row through the real command: protection x match x events x
(stored, streamed, forwarded, billed).
"""

from __future__ import annotations

import functools
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
from support.doors import call, run_here

VIEW: dict[str, Any] = {
    "event_type": "custom_event",
    "data": {"event_name": "Viewed", "custom_event_type": "other"},
}
OPT_OUT: dict[str, Any] = {"event_type": "opt_out", "data": {"is_opted_out": True}}
LEVELS = ("create-and-update", "update-only", "read-only")
CONFIG = (
    "".join(
        (
            f'[feeds.{level}]\nprotection = "{level}"\n[connections.{level}]\nfeed ='
            f' "{level}"\noutput = "lake"\n'
        )
        for level in LEVELS
    )
    + """
[feeds.crm]
[outputs.lake]
type = "jsonl"
path = "lake.jsonl"
"""
)


@dataclass(frozen=True)
class Case:
    """A batch that brings x = new to somebody who has tier = gold, if anybody knows them."""

    level: str
    """The protection of its feed."""
    who: str
    """known, unknown, or another way in which the batch names its person (NAMED)."""
    events: str
    """none, a view, or an opt-out."""
    stored: str
    """created, updated, unchanged or nobody."""
    streamed: str
    """mpid, or the code that stands beside an empty MPID."""
    forwarded: str
    """enriched, as it came, or nothing."""
    billed: bool
    """Whether it is billable."""
    why: str
    """The sentence of the source that says so."""


# fmt: off
CASES = (
    #    level                who              events     stored       streamed                forwarded     billed  why
    Case("create-and-update", "unknown",       "none",    "created",   "mpid",                 "nothing",    False,  "7: created; most event integrations take no batch without events"),
    Case("create-and-update", "unknown",       "view",    "created",   "mpid",                 "enriched",   True,   "7: created, forwarded, an ordinary event"),
    Case("create-and-update", "known",         "none",    "updated",   "mpid",                 "nothing",    False,  "7: updated; the value rides with the next event"),
    Case("create-and-update", "known",         "view",    "updated",   "mpid",                 "enriched",   True,   "7: updated, forwarded enriched"),
    Case("update-only",       "unknown",       "none",    "nobody",    "UPDATE_ONLY_NO_MATCH", "nothing",    True,   "7: dropped, and billed for the search"),
    Case("update-only",       "unknown",       "view",    "nobody",    "UPDATE_ONLY_NO_MATCH", "nothing",    True,   "7: dropped, not forwarded, billed"),
    Case("update-only",       "known",         "none",    "updated",   "mpid",                 "nothing",    False,  "7: updated; 7 PROP ii: without events not billable"),
    Case("update-only",       "known",         "view",    "updated",   "mpid",                 "enriched",   True,   "7: updated, forwarded enriched"),
    Case("read-only",         "unknown",       "none",    "nobody",    "READ_ONLY",            "nothing",    False,  "7: nothing to send; 7 PROP ii: not billable"),
    Case("read-only",         "unknown",       "view",    "nobody",    "READ_ONLY",            "as it came", True,   "7: no profile, no MPID, forwarded as ingested; billed as ordinary"),
    Case("read-only",         "known",         "none",    "unchanged", "READ_ONLY",            "nothing",    False,  "7: unchanged, nothing to send"),
    Case("read-only",         "known",         "view",    "unchanged", "READ_ONLY",            "as it came", True,   "7 PROP i: unchanged, forwarded without MPID and without enrichment"),
    # what the PROPs of section 7 add
    Case("update-only",       "protected",     "view",    "unchanged", "UPDATE_ONLY_NO_MATCH", "nothing",    True,   "7 PROP iii: a match that login protection keeps out is none"),
    Case("update-only",       "wrong mpid",    "view",    "updated",   "mpid",                 "enriched",   True,   "7 PROP v: an unknown MPID with known identities resolves by these"),
    Case("update-only",       "only mpid",     "view",    "nobody",    "UPDATE_ONLY_NO_MATCH", "nothing",    True,   "4.4: an unknown MPID founds nothing where the feed may only update"),
    Case("read-only",         "known",         "opt out", "unchanged", "READ_ONLY",            "as it came", True,   "7 PROP vi: an opt-out is user data, and blocked as well"),
)
# fmt: on
EVENTS = {"none": [], "view": [VIEW], "opt out": [VIEW, OPT_OUT]}
SUMS = {"none": 0, "view": 1, "opt out": 2}


def named(place: int, who: str) -> dict[str, Any]:
    """Return how a batch names its person."""
    match who:
        case "protected":
            return {"user_identities": {"email": f"{place}@example.com"}}
        case "wrong mpid":
            return {"mpid": 777, "user_identities": {"customer_id": f"C{place}"}}
        case "only mpid":
            return {"mpid": 778}
    return {"user_identities": {"customer_id": f"C{place}"}}


def fine(*arguments: str, folder: Path) -> str:
    done = call(*arguments, folder=folder)
    assert done.exit_code == 0, done.output
    return done.stdout


@functools.cache
def happened() -> dict[str, Any]:
    """Bring all cases into one store, each by a row of its own; return what the commands say of
    them.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "c.toml").write_text(CONFIG)
        fine("config", "apply", "c.toml", folder=folder)
        people = [
            {
                "user_identities": {"customer_id": f"C{place}", "email": f"{place}@example.com"},
                "user_attributes": {"tier": "gold"},
            }
            for place, case in enumerate(CASES)
            if case.who not in ("unknown", "only mpid")
        ]
        (folder / "people.jsonl").write_text("".join(json.dumps(one) + "\n" for one in people))
        fine("--quiet", "import", "people.jsonl", "--feed", "crm", folder=folder)
        enriched = {}
        for level in LEVELS:
            places = [place for place, case in enumerate(CASES) if case.level == level]
            batches = [
                {
                    **named(place, CASES[place].who),
                    "user_attributes": {"x": "new"},
                    "events": EVENTS[CASES[place].events],
                }
                for place in places
            ]
            (folder / f"{level}.jsonl").write_text(
                "".join(json.dumps(one) + "\n" for one in batches)
            )
            told = fine(
                "enrich", f"{level}.jsonl", "--feed", level, "--json", folder=folder
            ).splitlines()
            enriched |= dict(zip(places, map(json.loads, told), strict=True))
            fine("--quiet", "import", f"{level}.jsonl", "--feed", level, folder=folder)
        fine("forward", folder=folder)
        profiles = [
            json.loads(line)
            for line in fine("export", "profiles", "--whole", folder=folder).splitlines()
        ]
        return {
            "profiles": {
                one["user_identities"].get("customer_id", [""])[0]: one for one in profiles
            },
            "stream": [
                json.loads(line)
                for line in fine("stream", "--limit", "0", "--json", folder=folder).splitlines()
            ],
            "lake": [json.loads(line) for line in (folder / "lake.jsonl").read_text().splitlines()],
            "ledger": [
                json.loads(line) for line in fine("usage", "--rows", folder=folder).splitlines()
            ],
            "usage": json.loads(fine("usage", "--json", folder=folder)),
            "imports": {
                number: json.loads(fine("imports", "show", str(number), "--json", folder=folder))
                for number in (2, 3, 4)
            },
            "shown": {
                number: fine("imports", "show", str(number), folder=folder) for number in (2, 3, 4)
            },
            "plain": fine("stream", "--limit", "0", folder=folder),
            "enriched": enriched,
            "told": {
                level: fine("enrich", f"{level}.jsonl", "--feed", level, folder=folder)
                for level in LEVELS[1:]
            },
            "store": (folder / "profiles.duckdb").read_bytes(),
        }


def where(case: Case) -> tuple[str, int]:
    """Return the file and the row of a case."""
    return f"{case.level}.jsonl", 1 + sum(
        1 for one in CASES[: CASES.index(case)] if one.level == case.level
    )


def of(rows: list[dict[str, Any]], case: Case, key: str) -> dict[str, Any]:
    [found] = [one for one in rows if (one["file"], one[key]) == where(case)]
    return found


def check_stored(case: Case) -> None:
    person = happened()["profiles"].get(f"C{CASES.index(case)}")
    expected = {
        "created": {"x": "new"},
        "updated": {"tier": "gold", "x": "new"},
        "unchanged": {"tier": "gold"},
        "nobody": None,
    }[case.stored]
    assert (person["user_attributes"] if person else None) == expected, case.why
    assert person is None or not person["is_opted_out"], case.why


def check_streamed(case: Case) -> None:
    line = of(happened()["stream"], case, "line")
    assert (line["feed"], line["environment"], [one["type"] for one in line["events"]]) == (
        case.level,
        "production",
        [one["event_type"] for one in EVENTS[case.events]],
    ), case.why
    if case.streamed == "mpid":
        assert line["mpid"].lstrip("-").isdecimal(), case.why
        assert line["code"] is None, case.why
    else:
        assert (line["mpid"], line["code"]) == (None, case.streamed), case.why
        assert line["message"], case.why


def check_forwarded(case: Case) -> None:
    place = CASES.index(case)
    # A batch names its case by its person; whoever is named by something else alone does not leave
    # in any case.
    found = [
        one
        for one in happened()["lake"]
        if {"identity_type": "customer_id", "identity": f"C{place}"}.items()
        <= {
            **next(
                (each for each in one["user_identities"] if each["identity_type"] == "customer_id"),
                {},
            )
        }.items()
    ]
    assert len(found) == (case.forwarded != "nothing"), case.why
    told = happened()["enriched"][place]
    assert [one["leaves"] for one in told["outputs"]] == [case.forwarded != "nothing"], case.why
    for one in found:
        assert [each["event_type"] for each in one["events"]] == [
            each["event_type"] for each in EVENTS[case.events]
        ], case.why
        enriched = {"x": "new"} if case.stored == "created" else {"tier": "gold", "x": "new"}
        assert one["user_attributes"] == (
            enriched if case.forwarded == "enriched" else {"x": "new"}
        ), case.why
        assert ("mpid" in one) is (case.forwarded == "enriched"), case.why
        batch = told["outputs"][0]["batch"]
        # the copy dates the identities itself
        ours = (
            ("user_identities", "user_attributes")
            if case.stored != "created"
            else ("user_attributes",)
        )
        assert [
            [each["identity"] for each in batch[name]] if name == "user_identities" else batch[name]
            for name in ours
        ] == [
            [each["identity"] for each in one[name]] if name == "user_identities" else one[name]
            for name in ours
        ], case.why
    assert told["enriched"] is (case.streamed == "mpid"), case.why


def check_billed(case: Case) -> None:
    row = of(happened()["ledger"], case, "line")
    assert (row["billable"], row["events"], row["code"]) == (
        case.billed,
        SUMS[case.events],
        None if case.streamed == "mpid" else case.streamed,
    ), case.why


def test_the_table_holds() -> None:
    # One test: each process that has a part of it would bring all cases in anew.
    wrong = []
    for case in CASES:
        for check in (check_stored, check_streamed, check_forwarded, check_billed):
            try:
                check(case)
            except AssertionError as error:
                wrong.append(f"{case.level}, {case.who}, {case.events}: {check.__name__}: {error}")
    assert not wrong, "\n".join(wrong)


def test_imports_the_plain_stream_and_enrich_tell_what_nobody_has() -> None:
    for level in LEVELS:
        check_import(level)
    check_plain_stream()
    check_enrich()


def check_import(level: str) -> None:
    number = 2 + LEVELS.index(level)
    expected: dict[str, Any] = {}
    for case in CASES:
        if case.level == level and case.streamed != "mpid":
            found = expected.setdefault(
                case.streamed, {"batches": 0, "with_events": 0, "events": 0, "event_types": {}}
            )
            found["batches"] += 1
            found["with_events"] += bool(SUMS[case.events])
            found["events"] += SUMS[case.events]
            for one in EVENTS[case.events]:
                found["event_types"][one["event_type"]] = (
                    found["event_types"].get(one["event_type"], 0) + 1
                )
    assert happened()["imports"][number]["kept_out"] == expected
    used = next(one for one in happened()["usage"]["imports"] if one["import"] == number)
    assert used["events"] == sum(SUMS[case.events] for case in CASES if case.level == level)
    assert used["read_only"] == expected.get("READ_ONLY", {"batches": 0})["batches"]
    assert ("without MPID" in happened()["shown"][number]) is (level != "create-and-update")


def check_plain_stream() -> None:
    plain = happened()["plain"]
    assert "read-only.jsonl:4" in plain
    assert (
        "no MPID: the feed may only read: what has events leaves as it came, and nothing"
        " of it is kept"
    ) in plain
    assert (
        "no MPID: the feed may only update, and nobody matched: it is dropped, and counted"
        " for the bill"
    ) in plain
    assert "1 custom_event, 1 opt_out" in plain


def check_enrich() -> None:
    told = happened()["told"]
    one = told["read-only"].split("read-only.jsonl:")[1]  # unknown, without events
    assert (
        "READ_ONLY: the feed may only read: what has events leaves as it came, and nothing"
        " of it is kept"
    ) in one
    assert "without MPID, and with nothing of a profile" in one
    assert "-> lake: does not leave: the batch has no events, and nothing of it is kept" in one
    assert "rides with the next event" not in told["read-only"]
    assert (
        "-> lake: does not leave: the feed may only update, and nobody matched"
        in told["update-only"]
    )


def test_of_a_batch_that_nobody_has_no_value_is_kept(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(CONFIG)
    fine("config", "apply", "c.toml", folder=tmp_path)
    secret = {
        "user_identities": {"customer_id": "Geheimnis-1", "email": "geheimnis@example.com"},
        "user_attributes": {"x": "Geheimnis-2"},
        "events": [
            {
                **VIEW,
                "data": {
                    **VIEW["data"],
                    "event_name": "Geheimnis-3",
                    "custom_attributes": {"a": "Geheimnis-4"},
                },
            }
        ],
    }
    (tmp_path / "b.jsonl").write_text(json.dumps(secret) + "\n")
    for level in LEVELS[1:]:
        fine("--quiet", "import", "b.jsonl", "--feed", level, folder=tmp_path)
    fine("forward", folder=tmp_path)
    said = [
        fine(*command, folder=tmp_path)
        for command in (
            ("stream", "--json"),
            ("usage", "--rows"),
            ("imports", "show", "1", "--json"),
            ("imports", "show", "2", "--json"),
        )
    ]
    assert "eheimnis" not in "".join(said)
    with duckdb.connect(tmp_path / "profiles.duckdb") as store:
        tables = [
            name for (name,) in store.execute("select table_name from duckdb_tables()").fetchall()
        ]
        assert "eheimnis" not in "".join(
            str(store.execute(f"from {name}").fetchall()) for name in tables
        )


def test_the_stream_chooses_among_batches_without_an_mpid(tmp_path: Path) -> None:
    (tmp_path / "profiles.duckdb").write_bytes(happened()["store"])

    def streamed(*options: str) -> list[dict[str, Any]]:
        return [
            json.loads(line)
            for line in fine("stream", "--json", *options, folder=tmp_path).splitlines()
        ]

    assert {one["feed"] for one in streamed("--limit", "0", "--feed", "read-only")} == {"read-only"}
    assert len(streamed("--limit", "3")) == 3
    assert [one["line"] for one in streamed("--limit", "2")] == [4, 5]
    assert streamed("--limit", "0", "--environment", "development") == []
    # nobody has it
    assert (
        run_here(
            "stream", "--device", "5a5a5a5a-1111-2222-3333-444444444444", folder=tmp_path
        ).returncode
        == 7
    )
    fine("imports", "undo", "4", "--yes", folder=tmp_path)
    assert streamed("--limit", "0", "--feed", "read-only") == []
    assert "kept_out" not in json.loads(fine("imports", "show", "4", "--json", folder=tmp_path))
