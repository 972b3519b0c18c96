"""Why two are not one profile is told by the rows of every workspace: it is how a row finds them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from support.doors import call

CONFIG = """
[feeds.app]
source = "sdk"
workspace = "main"
[feeds.shop]
source = "sdk"
workspace = "side"
"""


def said(folder: Path, *arguments: str) -> Any:
    done = call(*arguments, "--json", folder=folder)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def took(folder: Path, feed: str, **identities: str) -> None:
    (folder / f"{feed}.jsonl").write_text(json.dumps({"user_identities": identities}) + "\n")
    said(folder, "import", f"{feed}.jsonl", "--feed", feed, "--again")


def test_two_who_are_apart_are_so_in_every_workspace(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(CONFIG)
    assert call("config", "apply", "config.toml", folder=tmp_path).exit_code == 0
    took(tmp_path, "app", customer_id="ann")
    took(tmp_path, "shop", customer_id="bob", other="o1")
    pair = ("explain", "identity", "--customer-id=ann", "--and", "other=o1")
    everywhere = said(tmp_path, *pair)
    assert "a row that carries both would go to" in everywhere["reasons"][-1]
    assert [said(tmp_path, "--workspace", name, *pair) for name in ("main", "side")] == [
        everywhere
    ] * 2
