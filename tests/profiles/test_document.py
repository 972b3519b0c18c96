"""The document of one person, made in Python, is the one that the SQL for everybody makes."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, note, settings
from support.doors import run_here
from support.effort import at_length
from support.eventful_histories import eventful
from support.histories import History
from support.played_histories import declare, opened, request_for

from profilectl.importing.run import import_files
from profilectl.profiles.document import documents
from profilectl.profiles.played import activities
from profilectl.profiles.read_model import Profiles, profiles_of
from profilectl.rules.feed import workspaces_of

EVERYBODY = "select distinct profile from ({}) order by profile"
ODD = 'k\x1f\x01\u2028 "\\'
"""A name that JSON has to escape: as json writes it where it has a column, else as DuckDB does."""


def compare(profiles: Profiles) -> int:
    """Compare the documents of all people with those that SQL makes; return how many there are."""
    until = f"where arrival < {profiles.until}" if profiles.until is not None else ""
    rows = profiles.store.scratch.rows(EVERYBODY.format(profiles.rows([], until)))
    numbers = [profile for (profile,) in rows]
    people = activities(profiles, numbers)
    assert documents(profiles, people) == profiles.lines([person.profile for person in people])
    return len(people)


def compare_all(path: Path) -> int:
    """Compare the documents in every workspace, now and as of half of the arrivals."""
    compared = 0
    with opened(path) as store:
        half = store.next_import()[1] // 2
        for workspace in workspaces_of(store.feeds()):
            for until in (None, half):
                compared += compare(profiles_of(store, workspace=workspace, until=until))
    return compared


@pytest.mark.slow
@settings(
    max_examples=at_length(8, by_night=2000),
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
@given(eventful(workspaces=True))
def test_a_document_is_the_one_of_an_export(history: History) -> None:
    note(history.as_case())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "store.duckdb"
        declare(path, history)
        for number, brought in enumerate(history.imports):
            import_files(path, request_for(Path(folder), number, brought))
        compare_all(path)


@pytest.mark.parametrize("keys", [1, 120])
def test_names_and_values_are_escaped_as_duckdb_escapes_them(keys: int, tmp_path: Path) -> None:
    import orjson

    values = ["x\x1fy", "\x1f'z", None, True, ["a\x02", "b"], '\u2028\u00e9\\"', "", "\x7f\ufffe"]
    rows = [
        {
            "user_identities": {"customer_id": f"C{place}", "other": "o\x1b\x9f"},
            "user_attributes": {f"{ODD}{n}": value for n in range(place % keys + 1)},
            **({"environment": "development"} if place % 2 else {}),
        }
        for place, value in enumerate(values * 4)
    ]
    file = tmp_path / "odd.jsonl"
    file.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    imported = run_here("import", "odd.jsonl", "--feed", "f\x1bg", "--json", folder=tmp_path)
    assert imported.returncode in (0, 3), imported.stderr
    imported = run_here(
        *("calculated", "add", "seen", "--type", "count", "--event", "x"), folder=tmp_path
    )
    assert imported.returncode == 0, imported.stderr
    assert compare_all(tmp_path / "profiles.duckdb") > 10
