"""A look-up of one identity a line is decided in one step: its answers are those of all steps."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.doors import call, made_once

from profilectl.profiles.read_model import profiles_of
from profilectl.reading.lookup import Lookup, LookupMatch, matches_of
from profilectl.store.opening import open_store
from profilectl.store.scratch import Scratch


def person(tier: str, **identities: str) -> dict[str, object]:
    return {"user_identities": identities, "user_attributes": {"tier": tier}}


PEOPLE = [
    person("gold", customer_id="C1", email="a@example.com"),
    person('a,"b', customer_id="C2", email="Shared@example.com"),
    person("tin", customer_id="C3", email="shared@example.com"),
    {**person("tin", email="dev@example.com"), "environment": "development"},
]
VALUES = {
    "email": ["A@example.com", "", " shared@example.com ", "nobody@example.com", "dev@example.com"],
    "customer_id": ["C1", "c1", "", "C3", "é\u2028"],
    "mpid": ["1", "x", "", "9223372036854775808"],
}


def make(folder: Path) -> None:
    (folder / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in PEOPLE))
    assert call("import", "a.jsonl", "--feed", "crm", folder=folder).exit_code == 0


made = made_once(make)


@pytest.mark.parametrize("kind", VALUES)
@pytest.mark.parametrize("fields", [(), ("--field", "tier")])
def test_the_answers_are_those_of_a_file_with_a_second_identity_that_is_empty(
    tmp_path: Path, kind: str, fields: tuple[str, ...]
) -> None:
    folder = made(tmp_path)
    shown = json.loads(call("show", "--email", "a@example.com", "--json", folder=folder).stdout)
    values = VALUES[kind] + [shown["profiles"][0]["mpid"]]
    (folder / "alone.csv").write_text("\n".join([f"{kind},x", *(f'"{one}",' for one in values)]))
    (folder / "both.csv").write_text(
        "\n".join([f"{kind},google", *(f'"{one}",' for one in values)])
    )
    for form in ("jsonl", "csv"):
        done = [
            call("lookup", name, "--format", form, *fields, folder=folder)
            for name in ("alone.csv", "both.csv")
        ]
        assert [one.exit_code for one in done] == [0, 0], done[0].stderr
        assert done[0].stdout == done[1].stdout
        assert done[0].stdout.count("\n") == len(values) + (form == "csv")
    alone, both = (matches(folder, name) for name in ("alone.csv", "both.csv"))
    assert alone == both
    assert any(match.profiles for match in alone)


def matches(folder: Path, name: str) -> list[LookupMatch]:
    scratch = Scratch(folder)
    try:
        with open_store(scratch, folder / "profiles.duckdb") as store:
            return matches_of(profiles_of(store, every=True), folder / name, Lookup())
    finally:
        scratch.close()
