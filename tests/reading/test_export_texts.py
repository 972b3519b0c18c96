"""The long forms leave as texts of whole profiles where that is quicker, with the same bytes."""

import io
import json
import random
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, given, settings
from support import people
from support.effort import at_length, spread_now
from support.histories import History, histories
from support.played_histories import declare, opened, request_for

from profilectl.importing.run import import_files
from profilectl.reading.exporting.export import ExportRequest, export_to
from profilectl.reading.exporting.long_texts import LongTexts

FORMS = [
    ExportRequest(kind=kind, format=form, safe=safe, in_order=in_order)
    for kind in ("identities", "attributes")
    for form, safe in (("csv", False), ("csv", True), ("jsonl", False))
    for in_order in (False, True)
]
AWKWARD = [
    '"',
    "a,b",
    "\n",
    "\r",
    "\x1f",
    "\x1f'",
    "=1+1",
    "-1",
    "+1.5",
    "\\",
    "\t",
    "ä",
    "😀",
    "x",
]
KINDS = ("customer_id", "email", "other", "other2", "other10")
KEYS = ("a", "a b", "a!", 'a"', "A", "a,b", "é", "b")


def a_row(chance: random.Random, number: int) -> dict[str, Any]:
    def text() -> str:
        return "".join(chance.choices(AWKWARD, k=chance.randint(1, 3)))

    def value() -> Any:
        values = (text(), text(), None, True, number, 1.5, [text(), text()], "")
        return chance.choice(values)

    # one in ten shares its identity with others, and so has several rows
    rows = number if chance.random() < 0.9 else 0
    return {
        "user_identities": {
            kind: f"{text()}{rows}"
            for kind in chance.sample(KINDS, k=chance.randint(1, len(KINDS)))
        },
        "user_attributes": {
            key: value() for key in chance.sample(KEYS, k=chance.randint(0, len(KEYS)))
        },
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of people with awkward values, from three files with blank lines between rows."""
    folder, chance = tmp_path_factory.mktemp("awkward"), random.Random(17)
    for file in range(3):
        rows = [a_row(chance, 1000 * file + number) for number in range(1, 80)]
        text = "".join(json.dumps(row) + "\n" * chance.choice([1, 1, 1, 2]) for row in rows)
        people.bring(
            folder,
            name=f'{file}, "{file}".jsonl',
            text=text,
            days_ago=3 - file,
            feed=f"feed {file},",
        )
    return folder


def written(folder: Path, request: ExportRequest) -> bytes:
    out = io.BytesIO()
    with opened(folder / "profiles.duckdb") as store:
        count = export_to(store, request, out)
    if request.format == "jsonl":
        assert out.getvalue().count(b"\n") == count
    return out.getvalue()


def same_both_ways(folder: Path, request: ExportRequest) -> None:
    quick = written(folder, request)
    with patch.object(LongTexts, "is_quick", property(lambda self: False)):
        assert written(folder, request) == quick, request


@pytest.mark.parametrize(
    "request_", spread_now(FORMS, 5), ids=lambda request: f"{request.kind} {request.format}"
)
def test_texts_of_whole_profiles_are_their_lines(folder: Path, request_: ExportRequest) -> None:
    same_both_ways(folder, request_)


@pytest.mark.parametrize(
    "chosen",
    [{"where": "a exists"}, {"fields": ("a b", "other2", "é")}, {"since": 1, "fields": ("a", "b")}],
)
def test_chosen_ones_are_their_lines_too(folder: Path, chosen: dict[str, Any]) -> None:
    for request in (FORMS[0], FORMS[-1]):
        same_both_ways(folder, replace(request, **chosen))


def test_some_go_one_way_and_some_the_other(folder: Path) -> None:
    """Else the tests before would compare one way with itself."""
    with opened(folder / "profiles.duckdb") as store:
        everybody = export_to(store, ExportRequest(), io.BytesIO())
        export_to(store, FORMS[0], io.BytesIO())
        assert 0 < store.scratch.count("export_other") < everybody / 2


@pytest.mark.slow
def test_any_history_leaves_the_same_both_ways() -> None:
    @settings(
        max_examples=at_length(10, by_night=300),
        deadline=None,
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    @given(histories())
    def compare(history: History) -> None:
        with tempfile.TemporaryDirectory() as place:
            store_path = Path(place) / "profiles.duckdb"
            declare(store_path, history)
            for number, one in enumerate(history.imports):
                import_files(store_path, request_for(Path(place), number, one))
            for request in FORMS[1::2]:
                same_both_ways(Path(place), request)

    compare()
