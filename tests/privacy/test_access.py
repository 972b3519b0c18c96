"""What is known of a person is told whole: everything that an erasure takes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from support.erasing import done, tried
from support.erika import ALL, DEVICE, ERIKA, forgotten, store_with_erika


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return store_with_erika(tmp_path)


HOSTILE = {
    "script": "<script>alert(1)</script>",
    "attribute": '"><img src=x onerror=alert(1)>',
    "escape": "\x1b]0;owned\x07\x1b[31m",
    "entity": "&lt;b&gt;",
    "<b>key</b>": "v",
    "ms_ms": "7" * 5000,
    "direction": "a\u202eb",
}


def test_access_tells_everything_that_erasure_takes(folder: Path) -> None:
    text = done(folder, "access", "--customer-id", ERIKA["customer_id"]).stdout
    # What an undone correction had set is nobody's any more, what a repeated request is called says
    # nothing of her.
    assert [one for one in ALL if one.lower() not in text.lower()] == [
        ERIKA["undone"],
        ERIKA["request"],
    ]
    document = json.loads(text)
    (one,) = document["profiles"]
    assert {
        "mpid",
        "identities",
        "devices",
        "consent",
        "user_attributes",
        "provenance",
        "blocked",
        "history",
        "timeline",
    } <= set(one)
    assert {(held["type"], held["value"]) for held in one["identities"] if not held["held"]} >= {
        ("email", ERIKA["old_email"])
    }
    assert one["timeline"][0]["file"] == "people.csv"
    assert any(touch.get("events") for touch in one["timeline"])
    assert [row["code"] for row in document["rejected_rows"]] == ["JSON_INVALID"]


def test_access_is_for_its_owner_only_and_nothing_in_the_page_runs(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(
        json.dumps(
            {
                "user_identities": {"email": "h@example.org", "other": "<i>x</i>"},
                "user_attributes": HOSTILE,
                "consent_state": {
                    "gdpr": {"<u>p": {"consented": True, "timestamp_unixtime_ms": 1}}
                },
            }
        )
        + "\n"
    )
    done(tmp_path, "import", "a.jsonl", "--feed", "<b>f</b>")
    done(tmp_path, "access", "--email", "h@example.org", "-o", "h.json", "--html", "h.html")
    assert {(tmp_path / name).stat().st_mode & 0o777 for name in ("h.json", "h.html")} == {0o600}
    page = (tmp_path / "h.html").read_text("utf-8")
    tags = set(re.findall(r"<(/?[a-zA-Z!][a-zA-Z0-9]*)", page))
    assert tags <= {
        f"{slash}{name}"
        for slash in ("", "/")
        for name in (
            "html",
            "head",
            "meta",
            "title",
            "style",
            "body",
            "h1",
            "h2",
            "h3",
            "p",
            "table",
            "tr",
            "th",
            "td",
            "div",
        )
    } | {"!doctype"}
    assert not set(page) & {"\x1b", "\x07", "\u202e"}
    assert "default-src 'none'" in page
    held = json.loads((tmp_path / "h.json").read_text())["profiles"][0]["user_attributes"]
    assert held["script"] == HOSTILE["script"]
    assert held["escape"] == HOSTILE["escape"]


def test_access_of_nobody_and_of_several(folder: Path) -> None:
    assert tried(folder, "access", "--email", "nobody@example.org")[0] == 7
    assert tried(folder, "access", "--ios-idfv", DEVICE)[0] == 4
    forgotten(folder, "--customer-id", ERIKA["customer_id"])
    assert tried(folder, "access", "--customer-id", ERIKA["customer_id"]) == (
        7,
        f"nobody has the customer_id {ERIKA['customer_id']}\nthey were erased",
    )
