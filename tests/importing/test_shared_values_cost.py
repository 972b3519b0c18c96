"""One value on many rows and on many profiles: the work grows with their number, not with its
square.
"""

from __future__ import annotations

import gc
import json
import random
import time
from pathlib import Path
from typing import Any

import pytest
from support.doors import run_here
from support.effort import spread_now

from profilectl.rules import resolution
from profilectl.rules.identity import Rules, UsableIdentity
from profilectl.rules.resolution import Claim, Records, decide
from profilectl.store.settings import settings_from

MANY = 8_000


def office(folder: Path, name: str, first: int, rows: int, *, keyed: bool = True) -> None:
    """Write rows with one company-wide e-mail, each with a customer_id of its own, or without."""
    lines = [
        f"{f'C{n},' if keyed else ''}office@example.com,{first}\n"
        for n in range(first, first + rows)
    ]
    (folder / name).write_text(f"{'customer_id,' if keyed else ''}email,n\n" + "".join(lines))


def brought(folder: Path, name: str) -> dict[str, Any]:
    done = run_here(
        "import", name, "--feed", "f", "--json", "--memory-limit", "300MB", folder=folder
    )
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def test_a_company_wide_email_on_many_rows_and_many_profiles_fits_into_little_memory(
    tmp_path: Path,
) -> None:
    office(tmp_path, "a.csv", 0, MANY)
    office(tmp_path, "b.csv", MANY // 2, MANY)
    office(tmp_path, "c.csv", 0, MANY, keyed=False)
    assert brought(tmp_path, "a.csv")["profiles"]["created"] == MANY
    report = brought(tmp_path, "b.csv")
    assert (report["profiles"]["created"], report["profiles"]["updated"]) == (MANY // 2, MANY // 2)
    report = brought(tmp_path, "c.csv")
    assert (report["profiles"]["created"], report["identities"]["added"]) == (1, 1)


def test_many_lines_of_one_shared_value_are_looked_up_once(tmp_path: Path) -> None:
    office(tmp_path, "a.csv", 0, MANY)
    brought(tmp_path, "a.csv")
    (tmp_path / "list.csv").write_text("email\n" + "office@example.com\n" * MANY)
    done = run_here("lookup", "list.csv", "--format", "csv", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(f"{MANY} profiles have it") == MANY


@pytest.mark.parametrize(
    "strategy", spread_now(["default", "conversion", "link", "isolation", "best-match"], 3)
)
def test_whom_a_row_finds_does_not_depend_on_how_many_hold_its_values(
    strategy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = settings_from({"identity.strategy": strategy}).rules
    if strategy == "conversion":
        rules = Rules(
            strategy,
            login=frozenset({"customer_id", "email"}),
            unique=frozenset({"customer_id"}),
            immutable=frozenset({"customer_id"}),
        )
    for seed in range(40):
        decided = []
        for few in (0, 10**9):
            monkeypatch.setattr(resolution, "FEW_HOLDERS", few)
            records, dice = Records(), random.Random(seed)
            decided.append(
                [
                    decide(claim_of(arrival, dice), records, rules, create=dice.random() < 0.9)
                    for arrival in range(60)
                ]
            )
        assert decided[0] == decided[1]


def claim_of(arrival: int, dice: random.Random) -> Claim:
    values = {
        "customer_id": "ABCD",
        "email": "xyz",
        "mobile_number": "123",
        "other": "o",
        "ios_idfv": "de",
    }
    stated = [(kind, dice.choice(values[kind])) for kind in values if dice.random() < 0.4]
    return Claim(
        arrival,
        tuple(UsableIdentity(kind, key, key) for kind, key in stated),
        dice.choice([None, None, None, 7, 8]),
    )


def test_rows_that_go_the_slow_way_take_no_more_time_each_with_more_holders() -> None:
    def taken(holders: int) -> float:
        records, rules = Records(), settings_from({"identity.strategy": "conversion"}).rules
        for profile in range(holders):
            records.add(profile, "customer_id", f"C{profile}")
            records.add(profile, "email", "office@example.com")
        claims = [
            Claim(
                holders + n,
                (
                    UsableIdentity("customer_id", "", f"N{n}"),
                    UsableIdentity("email", "", "office@example.com"),
                    UsableIdentity("other", "", f"O{n}"),
                ),
            )
            for n in range(300)
        ]
        decide(claims[0], records, rules, create=True)
        # One pass of the garbage collector over 60,000 people takes longer than all the rows.
        gc.disable()
        try:
            began = time.process_time()
            for claim in claims[1:]:
                decide(claim, records, rules, create=True)
            return time.process_time() - began
        finally:
            gc.enable()

    assert taken(60_000) < 20 * max(taken(600), 0.002)
