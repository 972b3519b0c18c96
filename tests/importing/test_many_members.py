"""Objects with thousands of members cost what their members cost, or are refused in words: they
never end a process, or have no end.
"""

from __future__ import annotations

import json
from pathlib import Path

import duckdb
import pytest
from support.doors import call, run_here
from support.places import ROOT

from profilectl.importing.request import ImportRequest
from profilectl.importing.run import import_files


def test_a_struct_of_thousands_of_members_is_refused_in_words(tmp_path: Path) -> None:
    """9,000 had no end: each member was read out of all of them."""
    members = ", ".join(f"'f{n}': 'x'" for n in range(9_000))
    duckdb.connect().execute(
        f"copy (select 'u' as customer_id, {{{members}}} as s) to '{tmp_path / 'a.parquet'}'"
    )
    done = run_here("import", "a.parquet", "--feed", "f", folder=tmp_path)
    assert done.returncode == 4, done.stderr
    assert "a.parquet: 9,000 members of structs; at most 1,000 can be read" in done.stderr


@pytest.mark.slow
def test_consent_to_thousands_of_purposes_costs_what_it_says(tmp_path: Path) -> None:
    """The document was made anew for each purpose: 12,000 in one row took 20 seconds, at import and
    whenever it was shown.
    """
    said = {
        f'p"{n}.*[$': {"consented": n % 2 == 0, "timestamp_unixtime_ms": 5 + n}
        for n in range(12_000)
    }
    partners = {f"p{n}": "x" for n in range(12_000)}
    (tmp_path / "a.jsonl").write_text(
        json.dumps(
            {
                "user_identities": {"customer_id": "A"},
                "consent_state": {"gdpr": said},
                "partner_identities": partners,
            }
        )
        + "\n"
    )
    done = import_files(
        tmp_path / "profiles.duckdb", ImportRequest([str(tmp_path / "a.jsonl")], "f")
    )
    assert sum(seconds for step, seconds in done.steps if step in ("rejected", "consent_ahead")) < 5
    person = json.loads(call("export", "profiles", "--whole", folder=tmp_path).stdout)
    assert person["consent_state"]["gdpr"] == said
    assert person["partner_identities"] == partners


def test_max_expression_depth_stays_duckdbs_own() -> None:
    root = ROOT / "profilectl"
    assert not [path for path in root.rglob("*.py") if "max_expression_depth" in path.read_text()]
