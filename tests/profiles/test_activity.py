"""The user activity view: what it says, how it looks, what stands in its JSON."""

from __future__ import annotations

import json
import re
import stat
from pathlib import Path
from typing import Any

import pytest
from support import people
from support.at_terminal import at_terminal
from support.doors import run_here
from support.effort import spread_now
from support.kept_screens import keep_or_compare

ANSI = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("people")
    people.make(found)
    return found


def shown(folder: Path, *arguments: str, columns: int = 0) -> str:
    """Return what `show` prints, on a terminal so wide or (0) in a pipe."""
    more = {"COLUMNS": str(columns), "FORCE_COLOR": "1"} if columns else {}
    done = run_here("show", *arguments, folder=folder, **people.NOW, **more)
    assert done.returncode == 0, done.stderr
    return ANSI.sub("", done.stdout)


def document(folder: Path, *arguments: str) -> dict[str, Any]:
    done = run_here("show", *arguments, "--json", folder=folder)
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(done.stdout)["profiles"]
    return dict(found)


def test_tables_fit_a_narrow_terminal_and_break_no_word_where_there_is_room(folder: Path) -> None:
    def listed(name: str, columns: int) -> str:
        found = ANSI.sub(
            "", run_here(name, "list", folder=folder, COLUMNS=str(columns), FORCE_COLOR="1").stdout
        )
        assert (
            {len(line) for line in found.splitlines()[1:]}
            == {len(found.splitlines()[1])}
            <= {*range(columns + 1)}
        )
        return found

    narrow, wide = (listed("imports", columns) for columns in (80, 140))
    assert "Imports (a wider terminal shows protection, created, updated too)" in narrow
    assert all(
        word in narrow for word in ("│      1 │ 2026-", "crm.jsonl", "app.jsonl", "in force")
    )
    assert "wider" not in wide
    assert "create-and-update │" in wide
    assert "create-and-update │" in listed("feeds", 80)


# As those of tests/render/test_screens.py: PROFILECTL_KEEP_SCREENS=1 keeps what is printed now.
@pytest.mark.parametrize("columns", [0, 80, 140])
@pytest.mark.parametrize(
    ("name", "arguments"),
    spread_now([
        ("amelie", ["--email", "amelie@example.org"]), ("history", ["--customer-id", "C1", "--history", "--section", "attributes"]),
        ("right-to-left", ["--customer-id", "C2"]), ("double-width", ["--customer-id", "C3"]), ("many", ["--customer-id", "C4", "--batches", "1"]),
        ("several", ["--email", "shared@example.org"]), ("as-of", ["C1", "--as-of", "1"]),
    ], 3),
)  # fmt: skip
def test_the_screen_is_as_it_was_seen(
    name: str, arguments: list[str], columns: int, folder: Path
) -> None:
    found = shown(folder, *arguments, columns=columns)
    keep_or_compare(f"{name}-{columns or 'piped'}", found)
    if columns:
        from rich.cells import cell_len

        assert name == "several" or max(cell_len(line) for line in found.splitlines()) <= columns
    else:
        assert not re.search("[│─╭]", found)


def test_a_line_of_the_timeline_that_goes_on_does_not_look_like_another(folder: Path) -> None:
    found = shown(folder, "--customer-id", "C1", columns=80).splitlines()
    refused = next(place for place, line in enumerate(found) if "silver refused" in line)
    assert found[refused].startswith("│   tier: silver refused, a source")
    assert found[refused + 1].rstrip(" │") == "│     gold"
    narrow = shown(folder, "--customer-id", "C1", columns=44).splitlines()
    heading = next(place for place, line in enumerate(narrow) if "  wh warehouse" in line)
    assert narrow[heading + 1].startswith("│   import 2, wh.csv:2"), narrow[heading : heading + 2]


def test_a_pipe_gets_no_escapes_and_no_value_is_cut(folder: Path) -> None:
    done = run_here("show", "--customer-id", "C4", folder=folder)
    assert "\x1b" not in done.stdout
    assert "long: " + "x" * 4000 in done.stdout
    assert "lines: one\\u000atwo\\u0009three" in done.stdout
    drawn = shown(folder, "--customer-id", "C4", columns=80)
    assert "3,600morecharacters(--raw)" in re.sub(r"[\s│]|text|custom-feed|crm|30d", "", drawn)
    raw = shown(folder, "--customer-id", "C4", "--raw", "--section", "attributes", columns=80)
    assert sum(line.count("x") for line in raw.splitlines() if re.search("xxxxxxxx", line)) >= 4000


def test_sections_without_data_are_absent(folder: Path) -> None:
    found = shown(folder, "--customer-id", "C2")
    for title in ("Devices", "Consent", "Attribution"):
        assert title not in found
    whole = shown(folder, "--customer-id", "C1")
    assert [
        whole.index(title)
        for title in (
            "User details",
            "Workspace usage",
            "Devices",
            "User attributes",
            "Identities",
            "Consent",
            "Attribution",
            "Timeline",
        )
    ] == sorted(
        whole.index(title)
        for title in (
            "User details",
            "Workspace usage",
            "Devices",
            "User attributes",
            "Identities",
            "Consent",
            "Attribution",
            "Timeline",
        )
    )
    only = shown(folder, "--customer-id", "C1", "--section", "consent", "--section", "devices")
    assert "gdpr  marketing  no" in only
    assert "User attributes" not in only


def test_reserved_attributes_come_first_in_their_own_order(folder: Path) -> None:
    found = shown(folder, "--customer-id", "C1", "--section", "attributes")
    keys = re.findall(r"^  (\S+): .*\[", found, re.MULTILINE)
    assert keys == [
        "$FirstName",
        "$LastName",
        "$City",
        "beta",
        "color",
        "last_page",
        "newsletter",
        "sizes",
        "tier",
        "visits",
        "zip",
    ]


def test_the_timeline_tells_what_each_batch_did_and_why_not(folder: Path) -> None:
    found = document(folder, "--customer-id", "C1", "--section", "timeline")["timeline"][::-1]
    assert [(one["feed"], one["import"], one["line"]) for one in found] == [
        ("app", 3, 3),
        ("app", 3, 1),
        ("wh", 2, 2),
        ("crm", 1, 1),
    ]
    newest, app, warehouse, first = (
        {one["attribute"]: one for one in touch["attributes"]} for touch in found
    )
    assert (newest["color"]["change"], newest["color"]["before"], newest["color"]["value"]) == (
        "changed",
        "green",
        "black",
    )
    assert (
        newest["visits"]["change"],
        newest["visits"]["code"],
        newest["visits"]["value"],
        newest["visits"]["before"],
    ) == ("blocked", "UA_LOWER_PRIORITY", 13, 12)
    assert (app["points"]["change"], app["points"]["before"]) == ("deleted", "0100")
    assert app["color"]["change"] == "changed"
    assert warehouse["tier"]["change"] == "blocked"
    assert {one["change"] for one in first.values()} == {"set"}
    assert [touch["founded"] for touch in found] == [False, False, False, True]
    assert found[1]["identities_added"] == [
        {"type": "mobile_number", "value": "+32470000000"},
        {"type": "ios_idfv", "value": "0a0a0a0a-1111-2222-3333-444444444444"},
    ]


def test_history_has_every_value_an_attribute_has_had(folder: Path) -> None:
    history = document(folder, "--customer-id", "C1", "--history")["history"]
    assert [(one["change"], one.get("value"), one["feed"]) for one in history["color"]] == [
        ("set", "red", "wh"),
        ("changed", "green", "app"),
        ("changed", "black", "app"),
    ]
    assert [(one["change"], one.get("value")) for one in history["points"]] == [
        ("set", "0100"),
        ("deleted", None),
    ]
    assert [one.get("code") for one in history["tier"]] == [
        None,
        "UA_LOWER_PRIORITY",
        "UA_LOWER_PRIORITY",
    ]


@pytest.mark.parametrize(
    ("as_of", "color"),
    spread_now(
        [
            ("1", None),
            ("2", "red"),
            ("3", "black"),
            ("2026-08-30", None),
            ("2026-09-05", "red"),
            ("2027-01-01T00:00:00Z", "black"),
        ],
        3,
    ),
)
def test_as_of_shows_the_state_that_was(as_of: str, color: str | None, folder: Path) -> None:
    found = document(folder, "--customer-id", "C1", "--as-of", as_of)
    assert found["user_attributes"].get("color") == color
    assert ("mobile_number" in found["user_identities"]) == (color == "black")


def test_as_of_before_everything_finds_nobody_and_nonsense_is_refused(folder: Path) -> None:
    assert run_here("show", "C1", "--as-of", "2020-01-01", folder=folder).returncode == 7
    assert run_here("show", "C1", "--as-of", "0", folder=folder).returncode == 7
    assert run_here("show", "C1", "--as-of", "9", folder=folder).returncode == 2
    assert run_here("show", "C1", "--as-of", "yesterday", folder=folder).returncode == 2


def test_an_identity_that_was_moved_is_found_as_of_the_time_it_was_there(tmp_path: Path) -> None:
    people.make(tmp_path)
    (tmp_path / "c.toml").write_text(
        '[identity]\nstrategy = "conversion"\nlogin = []\nunique = ["email"]\nimmutable = []\n'
    )
    assert run_here("config", "apply", "c.toml", folder=tmp_path).returncode == 0
    people.bring(
        tmp_path,
        "m.jsonl",
        people.lines([{"user_identities": {"customer_id": "C1", "email": "shared@example.org"}}]),
        0,
        "crm",
    )
    now = json.loads(
        run_here("show", "--email", "shared@example.org", "--json", folder=tmp_path).stdout
    )["profiles"]
    assert [one["user_identities"]["customer_id"] for one in now] == [["C1"]]
    then = json.loads(
        run_here(
            "show", "--email", "shared@example.org", "--as-of", "3", "--json", folder=tmp_path
        ).stdout
    )["profiles"]
    assert [one["user_identities"]["customer_id"] for one in then] == [["C2"], ["C3"]]
    lost = run_here(
        "show", "--customer-id", "C1", "--section", "identities", folder=tmp_path
    ).stdout
    assert "amelie@example.org" in lost
    assert "lost by crm (custom-feed), import 4, m.jsonl:1" in lost


def test_whoever_lost_an_identity_is_told_to_which_row(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(
        '[identity]\nstrategy = "conversion"\nunique = ["customer_id", "email"]\n'
    )
    (tmp_path / "1.csv").write_text("customer_id,email\nA,a@example.com\nB,b@example.com\n")
    (tmp_path / "2.csv").write_text("customer_id,email\nB,a@example.com\n")
    for arguments in (
        ("config", "apply", "c.toml"),
        ("import", "1.csv", "--feed", "f"),
        ("import", "2.csv", "--feed", "f"),
    ):
        assert run_here(*arguments, folder=tmp_path).returncode == 0
    loser, winner = (
        json.loads(run_here("show", "--customer-id", one, "--json", folder=tmp_path).stdout)[
            "profiles"
        ][0]["mpid"]
        for one in "AB"
    )
    told = f"- email a@example.com: the row made it one of MPID {winner}"
    assert told in run_here("show", "--customer-id", "A", folder=tmp_path).stdout
    assert told in run_here("explain", "identity", "--customer-id", "A", folder=tmp_path).stdout
    apart = run_here(
        "explain", "identity", "--customer-id", "A", "--and", "email=a@example.com", folder=tmp_path
    ).stdout
    assert (
        f"profile {loser} held email a@example.com until import 2, 2.csv:2, took it away" in apart
    )
    assert (
        f"took the email from MPID {loser}"
        in run_here("explain", "row", "2.csv:2", folder=tmp_path).stdout
    )
    newest = json.loads(
        run_here(
            "show", "--customer-id", "A", "--section", "timeline", "--json", folder=tmp_path
        ).stdout
    )["profiles"][0]["timeline"][-1]
    assert (newest["import"], newest["taken_by"], newest["identities_removed"]) == (
        2,
        winner,
        [{"type": "email", "value": "a@example.com"}],
    )


def test_one_of_several_is_picked(folder: Path) -> None:
    listed = run_here("show", "shared@example.org", folder=folder)
    assert listed.returncode == 0
    assert "--pick" in listed.stderr
    assert "Timeline" not in listed.stdout
    assert "太郎" in run_here("show", "shared@example.org", "--pick", "2", folder=folder).stdout
    assert run_here("show", "shared@example.org", "--pick", "3", folder=folder).returncode == 2
    assert (
        len(
            json.loads(run_here("show", "shared@example.org", "--json", folder=folder).stdout)[
                "profiles"
            ]
        )
        == 2
    )


def test_a_person_at_a_terminal_says_which_of_several(folder: Path) -> None:
    screen = at_terminal(
        "show", "shared@example.org", folder=folder, answer="3\nx\n2\n", asks="Which (1 to 2): "
    )
    assert screen.status == 0, screen.text
    assert screen.text.count("a number from 1 to 2") == 2
    assert "太郎" in screen.text.split("Which (1 to 2): ")[-1]


@pytest.mark.parametrize("answer", ["\x03", "\x04"], ids=["Ctrl-C", "Ctrl-D"])
def test_who_does_not_say_which_is_shown_nobody(answer: str, folder: Path) -> None:
    screen = at_terminal(
        "show", "shared@example.org", folder=folder, answer=answer, asks="Which (1 to 2): "
    )
    assert screen.status == 130, screen.text
    assert "Timeline" not in screen.text


def test_anybody_is_found_by_any_identity_or_mpid(folder: Path) -> None:
    mpid = document(folder, "C1")["mpid"]
    for value in (
        "amelie@example.org",
        "AMELIE@example.org",
        "+32470000000",
        "0A0A0A0A-1111-2222-3333-444444444444",
    ):
        assert document(folder, value)["mpid"] == mpid
    assert document(folder, f"--mpid={mpid}")["mpid"] == mpid
    assert run_here("show", "nobody", folder=folder).returncode == 7


@pytest.mark.parametrize("form", ["svg", "html"])
def test_the_view_is_saved_for_a_ticket(form: str, folder: Path, tmp_path: Path) -> None:
    target = tmp_path / f"a.{form}"
    done = run_here("show", "C1", f"--save-{form}", str(target), folder=folder)
    assert done.returncode == 0, done.stderr
    text = target.read_text("utf-8").replace("&#160;", " ").replace("\xa0", " ")
    assert "Amélie" in text
    assert "User attributes" in text
    assert stat.S_IMODE(target.stat().st_mode) == 0o600


def test_a_hostile_value_stays_text_in_a_saved_page(tmp_path: Path) -> None:
    people.make(tmp_path)
    people.bring(
        tmp_path,
        "h.jsonl",
        people.lines(
            [
                {
                    "user_identities": {"customer_id": "H"},
                    "user_attributes": {
                        "<script>alert(1)</script>": "</text><script>x</script>\x1b[31m"
                    },
                }
            ]
        ),
        0,
        "crm",
    )
    for form in ("svg", "html"):
        assert run_here("show", "H", f"--save-{form}", f"h.{form}", folder=tmp_path).returncode == 0
        assert "<script>" not in (tmp_path / f"h.{form}").read_text("utf-8")
