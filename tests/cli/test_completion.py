"""The shell completes from the store only what no shell reads anything into: tried in real shells,
at TAB and at Enter.
"""

from __future__ import annotations

import json
import os
import pty
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.doors import call, made_once, run
from support.effort import spread_now
from support.places import ROOT

KEYS = [
    "\\$(touch RAN)",
    "pay$(touch RAN)",
    "`touch RAN`",
    "p\\`touch RAN\\`",
    '"; touch RAN; "',
    "'; touch RAN; '",
    "'$(touch RAN)",
    "x\n$(touch RAN)",
    "<(touch RAN)",
    "\x1b[2Jx",
    "$FirstName",
    "a b",
    "-rf",
    "--yes",
    "~root",
    "*",
    "x{a,b}",
    "a=b",
    "=ls",
    "a|b",
    "a&b",
    "a;b",
    "a:b",
    "(x)",
    "[x]",
    "?",
    "!x",
    "#x",
    "\u202egpj",
    "ok",
    "tier",
    "e.mail_2@x+y-z",
    "naïve",
]
BLANK = "a\\ b"  # bash reads the backslash, and so one word
INERT = [BLANK, "e.mail_2@x+y-z", "naïve", "ok", "tier"]


def make_store(folder: Path) -> None:
    rows = [
        {"user_identities": {"customer_id": f"C{n}"}, "user_attributes": {key: "1"}}
        for n, key in enumerate(KEYS)
    ]
    (folder / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name in ("crm", "f$(touch RAN)", "\\$(touch RAN)"):
        done = call(
            "--workspace",
            name.replace("f", "w"),
            "import",
            "a.jsonl",
            "--feed",
            name,
            folder=folder,
        )
        assert done.exit_code == 0, done.output


hostile_store = made_once(make_store)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return hostile_store(tmp_path)


def offered(folder: Path, line: str, shell: str = "bash") -> str:
    words = f"profilectl {line}"
    return run(
        folder=folder,
        _PROFILECTL_COMPLETE=f"complete_{shell}",
        COMP_WORDS=words,
        COMP_CWORD=str(len(words.split(" ")) - 1),
        _TYPER_COMPLETE_ARGS=words,
        _TYPER_COMPLETE_FISH_ACTION="get-args",
    ).stdout


@pytest.mark.parametrize(("line", "found"), spread_now([
    ("diff --attribute ", INERT), ("set --customer-id C1 ", [f"{key}=" for key in INERT]), ("import a.jsonl --feed ", ["crm"]), ("feeds show ", ["crm"]),
    ("--workspace ", ["crm"]), ("imports show ", ["1", "2", "3"]), ("export profiles --fields tier,o", ["tier,ok", "tier,other", *(f"tier,other_id_{n}" for n in range(2, 11))]),
    ("export profiles --fields '$(touch RAN)',o", []),
], 3))  # fmt: skip
def test_only_what_is_inert_is_offered(line: str, found: list[str], folder: Path) -> None:
    assert sorted(filter(None, offered(folder, line).split("\n"))) == sorted(found)


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("help imp", {"import", "imports"}),
        ("help ident", {"identify", "identities"}),
        ("help export b", {"batches"}),
        ("help show s", set()),
    ],
)
def test_commands_are_offered_behind_help(line: str, found: set[str], folder: Path) -> None:
    assert set(offered(folder, line).split()) == found


def test_options_and_commands_are_offered_still(folder: Path) -> None:
    assert {"--attribute", "--json"} <= set(offered(folder, "diff --").split())
    assert {"import", "show"} <= set(offered(folder, "").split())


@pytest.mark.parametrize("line", ["", "diff --", "privacy ", "import --"])
def test_the_help_beside_a_value_is_inert(line: str, folder: Path) -> None:
    """zsh evaluates it between double quotes."""
    told = offered(folder, line, "zsh")
    assert told.startswith("_arguments '*: :((")
    inside = told.removeprefix("_arguments '*: :((").removesuffix("\n").removesuffix("))'")
    assert not set("`$\\'!") & set(inside.replace("''", "").replace("\\\\:", ""))
    assert inside.count('"') == 4 * len(inside.splitlines())


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a folder with `profilectl` as it is installed."""
    path = tmp_path_factory.mktemp("bin") / "profilectl"
    path.write_text(
        f'#!/bin/sh\nexec {sys.executable} -c \'import sys; sys.argv[0] = "profilectl";'
        ' from profilectl.cli.app import main; main()\' "$@"\n'
    )
    path.chmod(0o755)
    return path.parent


def shell_environment(command: Path, folder: Path) -> dict[str, str]:
    root = str(ROOT)
    return {
        "PATH": f"{command}:{os.environ['PATH']}",
        "HOME": str(folder),
        "PYTHONPATH": root,
        "TERM": "dumb",
        "LC_ALL": "C.UTF-8",
        "LANG": "C.UTF-8",
    }


def script(command: Path, folder: Path, shell: str) -> Path:
    """Write down the completion script that Typer makes for a shell."""
    done = subprocess.run(
        ["profilectl"],
        executable=str(command / "profilectl"),
        cwd=folder,
        env=shell_environment(command, folder) | {"_PROFILECTL_COMPLETE": f"source_{shell}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    path = folder / f"completion.{shell}"
    path.write_text(done.stdout)
    return path


@pytest.mark.skipif(not shutil.which("bash"), reason="no bash")
def test_nothing_runs_in_bash_at_tab_or_at_enter(command: Path, folder: Path) -> None:
    source = script(command, folder, "bash")
    tried = f"""
source {source}
for words in "profilectl diff --attribute" "profilectl set --customer-id C1" "profilectl --workspace" "profilectl import a.jsonl --feed"; do
    COMP_WORDS=($words ""); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
    _profilectl_completion profilectl
    printf '%s\\n' "${{COMPREPLY[@]}}"
    for word in "${{COMPREPLY[@]}}"; do eval "true $word"; done
done
"""
    done = subprocess.run(
        ["bash", "--norc", "-c", tried],
        cwd=folder,
        env=shell_environment(command, folder),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert "tier" in done.stdout.split(), done.stderr
    assert not (folder / "RAN").exists()


def typed_in_zsh(folder: Path, environment: dict[str, str], lines: list[str]) -> str:
    """Type into an interactive zsh, and return what stands on its terminal."""
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(folder)
        os.execvpe("zsh", ["zsh", "-f", "-i"], environment)
    seen = b""
    try:
        for line in lines:
            os.write(terminal, line.encode())
            seen += b"".join(_shown(terminal, 25 if line.endswith(("\t", "DONE\n")) else 2))
    finally:
        os.close(terminal)
        os.kill(child, 9)
        os.waitpid(child, 0)
    return seen.decode(errors="replace")


def _shown(terminal: int, within_s: float) -> Iterator[bytes]:
    """Read until the terminal is quiet for a moment after it showed something."""
    until = time.monotonic() + within_s
    quiet_s = within_s
    while time.monotonic() < until and select.select([terminal], [], [], quiet_s)[0]:
        try:
            yield os.read(terminal, 65_536)
        except OSError:
            return
        quiet_s = 0.7


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("zsh"), reason="no zsh")
def test_nothing_runs_in_zsh_at_tab_or_at_enter(command: Path, folder: Path) -> None:
    source = script(command, folder, "zsh")
    setup = ["autoload -Uz compinit; compinit -u -D; LISTMAX=1000\n", f"source {source}\n"]
    tabs = [
        "true; profilectl diff --attribute \t",
        "\t",
        "\x15",
        "profilectl --workspace \t",
        "\t",
        "\x15",
        "profilectl diff --\t",
        "\x15",
        "profilectl \t",
        "\x15",
    ]
    seen = typed_in_zsh(
        folder,
        shell_environment(command, folder),
        [*setup, *tabs, "profilectl diff --attribute ti\t", "\x01true \n", "echo DONE\n"],
    )
    assert "naïve" in seen
    assert "DONE" in seen
    assert not (folder / "RAN").exists()


def test_the_shell_completes_what_the_store_has(tmp_path: Path) -> None:
    for number in (1, 2):
        (tmp_path / "a.csv").write_text(f"customer_id,tier\nA,{number}\n")
        assert (
            run("--workspace", "eu", "import", "a.csv", "--feed", "crm", folder=tmp_path).returncode
            == 0
        )
    assert run(*["imports", "undo", "2", "--yes"], folder=tmp_path).returncode == 0
    for line, found in (
        ("diff --attribute ", ["tier"]), ("diff ", ["1"]), ("diff --identity em", ["email="]), ("imports undo ", ["1"]), ("imports show ", ["1", "2"]),
        ("--workspace ", ["eu"]), ("feeds show c", ["crm"]), ("feeds add c", []),
    ):  # fmt: skip
        words = f"profilectl {line}"
        done = run(
            folder=tmp_path,
            _PROFILECTL_COMPLETE="complete_bash",
            COMP_WORDS=words,
            COMP_CWORD=str(len(words.split(" ")) - 1),
        )
        assert done.stdout.split() == found, line


COLUMNS = {
    "legacy.csv": "Tier;E-Mail;First Name;$(touch RAN)\n1;2;3;4\n",
    "members.jsonl": '{"user_identities":{},"tier":1}\n{"visits":2}\n{"cut',
}


@pytest.fixture
def with_files(folder: Path) -> Path:
    for name, text in COLUMNS.items():
        (folder / name).write_text(text)
    (folder / "old.csv").write_bytes("Straße,tier\n".encode("windows-1252"))
    words = ("--workspace", "crm", "audiences", "add", "golden", "tier exists")
    done = call(*words, folder=folder)
    assert done.exit_code == 0, done.output
    return folder


@pytest.mark.parametrize(("line", "found"), [
    ("import legacy.csv --map ", ["Tier=", "E-Mail=", "First\\ Name="]),
    ("import legacy.csv --feed crm --map T", ["Tier="]),
    ("import members.jsonl --map ", ["user_identities=", "tier=", "visits="]),
    ("import old.csv --map ", ["Straße=", "tier="]),
    ("import nosuch.csv --map ", []),
    ("import a.jsonl legacy.csv --map Tier=", []),
    ("--workspace crm audiences show ", ["golden"]),
    ("--workspace crm push --audience g", ["golden"]),
])  # fmt: skip
def test_audiences_and_columns_of_the_named_file_are_offered(
    line: str, found: list[str], with_files: Path
) -> None:
    assert sorted(filter(None, offered(with_files, line).split("\n"))) == sorted(found)


def test_an_import_is_offered_with_its_feed_and_day(folder: Path) -> None:
    told = offered(folder, "imports show ", "zsh")
    assert "crm, 20" in told


@pytest.mark.parametrize(("line", "shell", "found"), [
    ("import legacy.csv --map F", "bash", ["First\\ Name="]),
    ("import legacy.csv --map First\\ ", "bash", ["First\\ Name="]),
    ('import legacy.csv --map "F', "bash", ["First Name="]),
    ('import legacy.csv --map "First N', "bash", ["First Name="]),
    ("import legacy.csv --map F", "fish", ["First Name="]),
    ("diff --attribute 'a", "bash", ["a b"]),
])  # fmt: skip
def test_a_name_with_a_blank_is_one_word(
    line: str, shell: str, found: list[str], with_files: Path
) -> None:
    words = f"profilectl {line}"
    place = 4 if line.startswith("import") else 3
    shown = run(
        folder=with_files,
        _PROFILECTL_COMPLETE=f"complete_{shell}",
        COMP_WORDS=words,
        COMP_CWORD=str(place),
        _TYPER_COMPLETE_ARGS=words,
        _TYPER_COMPLETE_FISH_ACTION="get-args",
    ).stdout
    assert list(filter(None, shown.split("\n"))) == found


@made_once
def declared(folder: Path) -> None:
    (folder / "c.toml").write_text(
        '[identity]\nstrategy = "link"\n[feeds.crm]\n[feeds.acme]\nsource = "partner"\n'
        'partner = "Acme"\n[outputs.lake]\ntype = "jsonl"\npath = "out.jsonl"\n'
        '[audiences.gold]\ncriteria = "tier exists"\n'
        '[calculated.visits]\ntype = "count"\nevent = "Visit"\n'
    )
    event = {
        "event_type": "custom_event",
        "data": {"event_name": "Visit", "custom_event_type": "other"},
    }
    row = {"user_identities": {"customer_id": "C1"}, "events": [event]}
    (folder / "a.jsonl").write_text(json.dumps(row) + "\n")
    for words in (["config", "apply", "c.toml"], ["import", "a.jsonl", "--feed", "crm"]):
        assert call(*words, folder=folder).exit_code == 0


@pytest.mark.parametrize(("line", "found"), [
    ("uid2 run --audience ", ["gold"]), ("uid2 run --feed a", ["acme"]),
    ("config set identity.str", ["identity.strategy="]),
    ("config set feeds.crm.prot", ["feeds.crm.protection="]),
    ("config set identity.strategy=", []), ("config unset identity.", ["identity.strategy"]),
    ("config unset audiences.", ["audiences.gold", "audiences.gold.criteria"]),
    ("outbox list --output ", ["lake"]), ("forward --output l", ["lake"]),
    ("enrich --output ", ["lake"]),
    ("calculated show ", ["visits"]), ("calculated recalculate v", ["visits"]),
    ("events C1 --name ", ["Visit"]), ("calculated add x --event V", ["Visit"]),
    ("import a.jsonl --event ", ["Visit"]), ("import a.jsonl --partner ", ["Acme"]),
    ("credentials new --feed c", ["crm"]), ("events C1 --feed ", ["acme", "crm"]),
])  # fmt: skip
def test_what_the_store_has_is_offered_where_it_is_typed(
    line: str, found: list[str], tmp_path: Path
) -> None:
    assert sorted(filter(None, offered(declared(tmp_path), line).split("\n"))) == found


def test_a_store_that_takes_long_offers_nothing(tmp_path: Path) -> None:
    from profilectl.reading.names import within
    from profilectl.store.engine import duckdb
    from profilectl.store.scratch import scratch_beside

    begins = time.monotonic()
    with (
        scratch_beside(tmp_path / "s") as scratch,
        within(scratch, 0.2),
        pytest.raises((duckdb.Error, KeyboardInterrupt, RuntimeError)),
    ):
        scratch.rows("select count(*) from range(100000000000) t(i) where i * 7 % 3 = 1")
    assert time.monotonic() - begins < 30


def test_a_store_that_cannot_be_read_and_a_broken_file_offer_nothing(tmp_path: Path) -> None:
    (tmp_path / "profiles.duckdb").write_bytes(b"no store")
    (tmp_path / "x.parquet").write_bytes(b"no parquet")
    for line in ("audiences show ", "imports show ", "import x.parquet --map "):
        assert offered(tmp_path, line).strip() == ""
