"""What cannot be taken back needs a yes: a person at a terminal is asked, a script gives --yes."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import NamedTuple

import pytest
from support.at_terminal import at_terminal
from support.doors import call, made_once, run, run_here
from support.effort import spread_now

ROWS = "customer_id,email,tier\nA,a@x.org,gold\nB,b@x.org,tin\n"
CONFIGURATION = """
[retention]
retention_days = 1

[audiences.golden]
criteria = "tier = 'gold'"

[calculated.visits]
type = "count"
event = "visit"

[outputs.lake]
type = "jsonl"
path = "lake.jsonl"

[connections.crm-lake]
feed = "crm"
output = "lake"
"""
REQUEST = {
    "subject_request_id": "a7551968-d5d6-44b2-9831-815ac9017798",
    "subject_request_type": "erasure",
    "regulation": "gdpr",
    "submitted_time": "2026-10-01T00:00:00Z",
    "subject_identities": {"email": {"value": "a@x.org", "encoding": "raw"}},
    "api_version": "3.0",
}


def make_store(folder: Path) -> None:
    """Make a store of which each command of ASKING would take something away."""
    (folder / "a.csv").write_text(ROWS)
    (folder / "b.csv").write_text("customer_id,tier\nC,tin\n")
    (folder / "c.toml").write_text(CONFIGURATION)
    (folder / "little.toml").write_text("[history]\nkeep = 5\n")
    (folder / "request.json").write_text(json.dumps(REQUEST))
    for arguments in (
        "feeds add crm",
        "config apply c.toml",
        "import a.csv --feed crm",
        "backup copy.duckdb",
        "import b.csv --feed crm --event visit",
        "privacy request request.json",
    ):
        ended = run_here(*arguments.split(), folder=folder)
        assert ended.returncode == 0, ended.stderr


ready = made_once(make_store)


class Asking(NamedTuple):
    """A command that asks."""

    arguments: str
    """Its words, without --yes."""
    loss: str
    """What it says it takes away."""
    question: str
    """What it asks."""
    unchanged: str
    """What it says after no."""


# fmt: off
ASKING = [
    Asking("forget --email a@x.org", "1 profile would be erased", "Erase this", "erased"),
    Asking("imports undo 2", "import 2: feed crm, 1 row applied", "Take 1 import back", "back"),
    Asking(
        "retention apply --now 2100-01-01",
        "3 profiles would go for good",
        "Remove this for good",
        "removed",
    ),
    Asking(
        "outbox drop --waiting --output lake",
        "waiting, for lake: 1 batch",
        "Drop 1 batch for good",
        "dropped",
    ),
    Asking(
        "audiences remove golden",
        "audience golden would be removed: 1 member, 1 recorded change",
        "Remove it for good",
        "removed",
    ),
    Asking(
        "calculated remove visits",
        "calculated attribute visits would be removed: 1 value",
        "Remove it for good",
        "removed",
    ),
    Asking("compact --keep 0", "any more: 1, 2", "Give up the undo of 2 imports", "merged"),
    Asking("privacy run --now 2100-01-01", "is due", "Erase the people of 1 request", "carried"),
    Asking("restore copy.duckdb --force", "2 imports", "Replace it for good", "restored"),
    Asking(
        "config apply little.toml --prune",
        "audiences.golden: criteria tier = 'gold' -> gone (1 member, 1 recorded change)",
        "Remove 5 entries for good",
        "changed",
    ),
    Asking(
        "config unset connections.crm-lake",
        "connections.crm-lake: feed crm, output lake -> gone",
        "Remove 1 entry for good",
        "changed",
    ),
]
# fmt: on


def names(asking: Asking) -> str:
    return asking.arguments


def state(folder: Path) -> dict[str, str]:
    """Return the hash of each file of a folder."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with a store."""
    return ready(tmp_path)


@pytest.mark.parametrize("asking", ASKING, ids=names)
def test_without_a_terminal_it_ends_with_2_before_anything_is_changed(
    asking: Asking, folder: Path
) -> None:
    before = state(folder)
    ended = run_here(*asking.arguments.split(), folder=folder)
    assert (ended.returncode, ended.stdout) == (2, ""), ended.stderr
    assert asking.loss in ended.stderr
    assert "Try: --yes" in ended.stderr
    assert state(folder) == before


@pytest.mark.parametrize("asking", ASKING, ids=names)
def test_yes_goes_on_without_a_question(asking: Asking, folder: Path) -> None:
    before = state(folder)
    ended = run_here(*asking.arguments.split(), "--yes", folder=folder)
    assert ended.returncode == 0, ended.stderr
    assert asking.question not in ended.stdout + ended.stderr
    assert state(folder) != before


@pytest.mark.parametrize(
    "asking", spread_now([pytest.param(each, id=each.arguments) for each in ASKING], 4)
)
def test_no_at_a_terminal_ends_without_a_change(asking: Asking, folder: Path) -> None:
    before = state(folder)
    screen = at_terminal(*asking.arguments.split(), folder=folder, answer="n\n")
    assert screen.status == 130, screen.text
    assert asking.loss in screen.text
    assert f"{asking.question}" in screen.text
    assert "[y/N]" in screen.text
    assert f"nothing was {asking.unchanged}" in screen.text.replace("taken ", "")
    assert "Traceback" not in screen.text
    assert state(folder) == before


@pytest.mark.parametrize(
    "asking", [ASKING[1], pytest.param(ASKING[0], marks=pytest.mark.slow)], ids=names
)
def test_y_at_a_terminal_goes_on(asking: Asking, folder: Path) -> None:
    before = state(folder)
    screen = at_terminal(*asking.arguments.split(), folder=folder, answer="y\n")
    assert screen.status == 0, screen.text
    assert asking.question in screen.text
    assert state(folder) != before


@pytest.mark.parametrize("answer", ["\n", "\x03", "\x04"], ids=["enter", "Ctrl-C", "Ctrl-D"])
def test_only_a_yes_is_a_yes(answer: str, folder: Path) -> None:
    before = state(folder)
    screen = at_terminal("audiences", "remove", "golden", folder=folder, answer=answer)
    assert screen.status == 130, screen.text
    assert screen.text.endswith("\nError: nothing was removed\n")
    assert state(folder) == before


def test_ci_is_nobody_even_where_it_has_a_terminal(folder: Path) -> None:
    before = state(folder)
    screen = at_terminal("imports", "undo", "2", folder=folder, answer="y\n", CI="true")
    assert screen.status == 2, screen.text
    assert "Try: --yes" in screen.text
    assert state(folder) == before


def test_a_pipe_behind_it_is_no_terminal(folder: Path) -> None:
    ended = run("imports", "undo", "2", folder=folder, stdin=b"y\n")
    assert ended.returncode == 2, "an answer in a pipe is none"


NOTHING_TO_LOSE = [
    "retention apply",
    "outbox drop",
    "compact",
    "privacy run",
    "config apply c.toml --prune",
    "config apply little.toml",
    "config unset identity.hierarchy",
    "--store new.duckdb restore copy.duckdb --force",
]


@pytest.mark.parametrize("arguments", NOTHING_TO_LOSE)
def test_where_nothing_would_be_lost_nothing_is_asked(arguments: str, folder: Path) -> None:
    ended = run_here(*arguments.split(), folder=folder)
    assert ended.returncode == 0, ended.stderr


REFUSED: list[tuple[str, int]] = [
    ("forget --email nobody@x.org", 7),
    ("imports undo 7", 2),
    ("outbox drop --output nowhere", 2),
    ("audiences remove silver", 2),
    ("calculated remove steps", 2),
    ("config apply no.toml --prune", 4),
    ("config unset audiences.silver", 2),
    ("--store no.duckdb retention apply", 6),
    ("--store no.duckdb compact", 6),
    ("privacy lift-all", 7),
    ("restore a.csv --force", 2),
]


@pytest.mark.parametrize(("arguments", "status"), REFUSED)
def test_what_cannot_be_done_is_said_before_the_question(
    arguments: str, status: int, folder: Path
) -> None:
    ended = run_here(*arguments.split(), folder=folder)
    assert ended.returncode == status, ended.stderr


def test_all_erased_people_are_let_in_by_word_only(folder: Path) -> None:
    assert call(*["forget", "--email", "a@x.org", "--yes"], folder=folder).exit_code == 0
    before = state(folder)
    ended = run_here("privacy", "lift-all", folder=folder)
    assert ended.returncode == 2
    assert "keeps 2 identities out" in ended.stderr
    assert state(folder) == before


def test_a_store_that_cannot_be_read_is_replaced_by_word_only(folder: Path) -> None:
    (folder / "profiles.duckdb").write_bytes(b"not a store" * 1000)
    ended = run_here("restore", "copy.duckdb", "--force", folder=folder)
    assert ended.returncode == 2
    assert "a store that cannot be read, 11,000 bytes" in ended.stderr
    assert run_here(*["restore", "copy.duckdb", "--force", "--yes"], folder=folder).returncode == 0


def test_a_name_cannot_act_on_the_terminal(folder: Path) -> None:
    assert call(*("audiences", "add", "a\x1b[2Jb", "tier exists"), folder=folder).exit_code == 0
    screen = at_terminal("audiences", "remove", "a\x1b[2Jb", folder=folder, answer="n\n")
    assert screen.status == 130
    assert "\x1b[2J" not in screen.text


def test_a_question_asks_for_what_it_named(folder: Path) -> None:
    """What came between the question and the answer is not removed with what was agreed to."""
    from profilectl.codes import StoreBusy
    from profilectl.configuration.actions import apply_file

    store, file = folder / "profiles.duckdb", folder / "little.toml"
    agreed = [each for each in apply_file(store, file, prune=True, dry_run=True) if each.removes]
    assert call(*("audiences", "add", "later", "tier exists"), folder=folder).exit_code == 0
    with pytest.raises(StoreBusy, match=r"audiences\.later would go too"):
        apply_file(store, file, prune=True, agreed=agreed)


SHARED = """
[audiences.golden]
criteria = "tier = 'gold'"
[outputs.mail]
type = "jsonl"
path = "mail.jsonl"
[connections.golden-mail]
audience = "golden"
output = "mail"
"""


@pytest.mark.parametrize(
    "arguments", ["config set outputs.mail.path=post.jsonl", "config apply moved.toml"]
)
def test_what_waits_for_an_output_is_not_lost_with_its_place_unasked(
    arguments: str, folder: Path
) -> None:
    (folder / "shared.toml").write_text(SHARED)
    (folder / "moved.toml").write_text(SHARED.replace("mail.jsonl", "post.jsonl"))
    assert run_here("config", "apply", "shared.toml", folder=folder).returncode == 0
    before = state(folder)
    ended = run_here(*arguments.split(), folder=folder)
    assert ended.returncode == 2, ended.stderr
    assert (
        "outputs.mail: type jsonl, path mail.jsonl -> type jsonl, path post.jsonl" in ended.stderr
    )
    assert "(1 waiting message)" in ended.stderr
    assert state(folder) == before
    assert run_here(*arguments.split(), "--yes", folder=folder).returncode == 0
