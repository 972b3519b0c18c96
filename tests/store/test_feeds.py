"""A feed that has a source's name has that source; and what a source means is said when a feed is
registered (R7).
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.doors import call, run_here
from support.effort import first_now

from profilectl.rules.feed import meaning_of
from profilectl.rules.priority import FEED_SOURCES, SOURCES, Owner, verdict

CUSTOM = (
    "custom-feed, rank 3: its values beat the SDK's; a CSV upload to the platform is --source"
    " csv, rank 5"
)


@pytest.mark.parametrize(
    "name",
    first_now(
        ["crm", "warehouse", *sorted({*FEED_SOURCES} - {"warehouse"}), "Warehouse", "calculated"], 3
    ),
)
def test_a_feed_has_the_source_of_its_name_by_import_and_by_declaration(
    name: str, tmp_path: Path
) -> None:
    expected = name if name in FEED_SOURCES else "custom-feed"
    (tmp_path / "a.csv").write_text("customer_id,n\nA,1\n")
    assert (
        json.loads(
            call("import", "a.csv", "--feed", name, "--json", "--dry-run", folder=tmp_path).stdout
        )["source"]
        == expected
    )
    report = json.loads(call("import", "a.csv", "--feed", name, "--json", folder=tmp_path).stdout)
    assert (report["source"], report["notices"]) == (expected, [meaning_of(expected)])
    (tmp_path / "feeds.toml").write_text(f'[feeds."{name}"]\nprotection = "update-only"\n')
    for store in ("declared.duckdb", "added.duckdb"):
        command = (
            ("config", "apply", "feeds.toml")
            if store.startswith("declared")
            else ("feeds", "add", name)
        )
        assert call("--store", store, *command, folder=tmp_path).exit_code == 0
        listed = json.loads(
            call("--store", store, "feeds", "list", "--json", folder=tmp_path).stdout
        )
        assert [(one["name"], one["source"]) for one in listed] == [(name, expected)]


def test_a_stated_source_and_one_that_is_registered_stay(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("customer_id,n\nA,1\n")
    report = json.loads(
        call(
            "import",
            "a.csv",
            "--feed",
            "warehouse",
            "--source",
            "custom-feed",
            "--json",
            folder=tmp_path,
        ).stdout
    )
    assert (report["source"], report["notices"]) == ("custom-feed", [CUSTOM])
    (tmp_path / "feeds.toml").write_text('[feeds.warehouse]\nprotection = "update-only"\n')
    done = call("config", "apply", "feeds.toml", folder=tmp_path)
    assert done.exit_code == 0, done.output
    report = json.loads(
        call("import", "a.csv", "--feed", "warehouse", "--again", "--json", folder=tmp_path).stdout
    )
    assert (report["source"], report["notices"]) == ("custom-feed", [])


def test_a_partner_may_be_named_for_a_feed_called_partner(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("customer_id,n\nA,1\n")
    assert (
        call(
            "import", "a.csv", "--feed", "partner", "--partner", "Punchh", folder=tmp_path
        ).exit_code
        == 0
    )
    assert (
        run_here(
            "import", "a.csv", "--feed", "crm", "--partner", "Punchh", folder=tmp_path
        ).returncode
        == 2
    )


@pytest.mark.parametrize("source", FEED_SOURCES)
def test_what_is_said_of_a_source_is_what_the_rule_does(source: str) -> None:
    said = meaning_of(source)
    assert said.startswith(f"{source}, rank {SOURCES[source].rank}: its values beat ")
    beaten = [
        one
        for one in FEED_SOURCES
        if one != source and verdict(Owner(source, "x"), Owner(one, "y"), "rank") == "SET"
    ]
    assert ("no other" in said) == (not beaten)


def test_a_custom_feed_is_told_how_a_csv_upload_is_ranked(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("customer_id,n\nA,1\n")
    assert CUSTOM in run_here("import", "a.csv", "--feed", "crm", folder=tmp_path).stderr
    assert CUSTOM in run_here("--store", "b.duckdb", "feeds", "add", "crm", folder=tmp_path).stderr
