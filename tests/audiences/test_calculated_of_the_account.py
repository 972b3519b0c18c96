"""A calculated attribute is of one workspace; an attribute of the account is every workspace's
(domain.md 6.3).
"""

from __future__ import annotations

from pathlib import Path

import pytest
from support.doors import run_here
from support.two_workspaces import CONFIGURATION, batch, bring, event, shown

from profilectl.rules.feed import Feed, computed


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    def make(folder: Path) -> None:
        (folder / "profilectl.toml").write_text(CONFIGURATION)
        done = run_here("config", "apply", "profilectl.toml", folder=folder)
        assert done.returncode == 0, done.stderr

    make(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_what_one_workspace_calculates_the_account_may_say_for_the_others(folder: Path) -> None:
    """It was refused for all of them: the shop never saw the account's value."""
    bring(folder, "app", batch("A", event("view")))
    bring(folder, "cards", batch("A", event("buy")))
    report = bring(
        folder, "office", batch("A", user_attributes={"views": "from the account", "tier": "gold"})
    )
    assert report["reasons"] == {}
    assert report["attributes"]["set"] == 2
    assert shown(folder, "web")["user_attributes"] == {
        "views": shown(folder, "web")["user_attributes"]["views"],
        "tier": "gold",
    }
    assert shown(folder, "web")["user_attributes"]["views"] != "from the account"
    shop = shown(folder, "shop")["user_attributes"]
    assert shop["views"] == "from the account"
    assert "buys" in shop


def test_a_feed_of_the_workspace_is_refused_as_before(folder: Path) -> None:
    report = bring(
        folder, "app", batch("A", event("view"), user_attributes={"views": "9", "buys": "9"})
    )
    assert report["reasons"] == {"UA_CALCULATED_READ_ONLY": 1}
    assert report["attributes"]["set"] == 1


def test_the_account_is_refused_only_what_every_workspace_calculates() -> None:
    office, app = Feed("office", "account"), Feed("app", "sdk", workspace="web")
    calculated = {"web": ["views", "visits"], "shop": ["buys", "visits"]}
    assert computed(app, calculated, ["web", "shop"]) == {"views", "visits"}
    assert computed(office, calculated, ["web", "shop"]) == {"visits"}
    assert computed(office, calculated, ["web", "shop", "club"]) == frozenset()
    assert computed(office, {"default": ["views"]}, []) == {"views"}
    assert computed(office, {}, []) == frozenset()
