"""What the tables of the benchmarks say: verdicts, exponents, pictures, and what is compared."""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest
from support.places import ROOT

BENCHMARKS = ROOT / "benchmarks"


class Modules:
    """The modules of the benchmarks, which are scripts in no package."""

    def __getattr__(self, name: str) -> ModuleType:
        """Return a module by its name."""
        return import_module(name)


@pytest.fixture
def benchmarks(monkeypatch: pytest.MonkeyPatch) -> Iterator[Modules]:
    """Return the modules of the benchmarks; nothing else can import them afterwards."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(BENCHMARKS)
    yield Modules()
    for name in set(sys.modules) - before:
        if (BENCHMARKS / f"{name}.py").exists():
            del sys.modules[name]


def sample(modules: Modules, seconds: float, peak: int = 0) -> object:
    """Return a process that took some seconds."""
    return modules.process.Sample(seconds=seconds, cpu_seconds=seconds, peak=peak)


@pytest.mark.parametrize(
    ("seconds", "peak", "verdict"),
    [(3.9, 99, "within"), (4.1, 99, "over"), (3.9, 100, "over")],
)
def test_a_target_is_a_multiple_and_some_seconds_and_a_memory(
    seconds: float, peak: int, verdict: str, benchmarks: Modules
) -> None:
    floor = [sample(benchmarks, 1.0)]
    target = benchmarks.report.Target(3.0, "floor", floor, most_bytes=100, more_s=1.0)
    work = [sample(benchmarks, seconds, peak)]
    line = benchmarks.report.Line("work", work, floor, target=target)
    assert line.cells()[-1] == verdict
    assert len(line.cells()) == len(benchmarks.report.HEADINGS)


@pytest.mark.parametrize(("value", "verdict"), [(0.75, "within"), (0.76, "over")])
def test_a_figure_has_a_verdict(value: float, verdict: str, benchmarks: Modules) -> None:
    figure = benchmarks.report.Figure("store", value, 0.75, unit="x the CSV file")
    assert figure.cells()[-3:] == ("0.75 x the CSV file", f"{value} x the CSV file", verdict)
    assert len(figure.cells()) == len(benchmarks.report.HEADINGS)


@pytest.mark.parametrize(
    ("power", "words"), [(1, "to the power of 1.00"), (2, "to the power of 2.00")]
)
def test_the_exponent_of_growth_is_that_above_the_start(
    power: int, words: str, benchmarks: Modules
) -> None:
    start = 0.5
    times = {rows: start + (rows / 1000) ** power for rows in (10, 1000, 3000, 10_000)}
    sentence = benchmarks.shared_value._verdict(times, start)
    assert words in sentence
    assert sentence.endswith("within." if power == 1 else "over.")
    assert "3 sizes" in sentence


def test_too_few_sizes_have_no_exponent(benchmarks: Modules) -> None:
    assert "no exponent is fitted" in benchmarks.shared_value._verdict({9: 1.0}, 0.9)


def test_a_scale_is_of_all_sizes_and_of_no_other_number(
    monkeypatch: pytest.MonkeyPatch, benchmarks: Modules
) -> None:
    monkeypatch.setattr(sys, "argv", ["run.py", "growth", "--scale", "0.1", "--people", "7"])
    options = benchmarks.run._options()
    assert (options.rows, options.large_rows, options.people) == (100_000, 1_000_000, 7)
    assert (options.connections, options.runs) == (32, 3)
    # The picture in the repository is of the full size only.
    assert options.picture is None


def test_the_full_size_draws_the_picture_of_the_repository(
    monkeypatch: pytest.MonkeyPatch, benchmarks: Modules
) -> None:
    monkeypatch.setattr(sys, "argv", ["run.py", "growth"])
    assert benchmarks.run._options().picture == BENCHMARKS / "growth.svg"


def test_only_the_huge_import_is_left_out_of_all(
    monkeypatch: pytest.MonkeyPatch, benchmarks: Modules
) -> None:
    monkeypatch.setattr(sys, "argv", ["run.py", "--all"])
    run = benchmarks.run
    assert set(run.QUESTIONS) - set(run._chosen(run._options())) == {"huge"}


def test_another_answer_is_no_comparison(benchmarks: Modules) -> None:
    bench = benchmarks.bench.Bench(options=None, folder=Path())
    report = '{"profiles": {"created": 2}, "identities": {"added": 3}, "attributes": {"set": 4}}'
    bench.plain_import = [benchmarks.process.Sample(1.0, 1.0, 0, printed=report)]
    same = {"profiles": 2, "identities": 3, "attributes": 4}
    bench.check_counts(same)
    with pytest.raises(benchmarks.process.Failed, match="another answer"):
        bench.check_counts({**same, "profiles": 1})


def test_without_postgresql_the_answer_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, benchmarks: Modules
) -> None:
    monkeypatch.setattr(benchmarks.postgresql, "_programs", lambda: None)
    with pytest.raises(benchmarks.process.Failed, match="apt-get install postgresql"):
        benchmarks.postgresql.answer(None)


def test_dicts_follow_the_rules(tmp_path: Path, benchmarks: Modules) -> None:
    file = tmp_path / "people.csv"
    file.write_text(
        "customer_id,email,mobile_number,tier\n"
        ",ann@example.com,1,gold\n"  # nobody has a customer id yet
        ",bob@example.com,2,\n"
        ",Ann@example.com,2,iron\n"  # the phone comes first: bob's
        "C1,ann@example.com,,\n"  # ann and bob have it; bob was seen last, and is C1 now
        ",bob@example.com,,\n"  # C1 is found by their customer id only: somebody new
        "C1,,3,silver\n"
        "C2,,3,\n"  # somebody new
    )
    people = benchmarks.plain_dicts.load(file).everybody
    assert [sorted(person.identities) for person in people] == [
        [("email", "ann@example.com"), ("mobile_number", "1")],
        [
            ("customer_id", "C1"),
            ("email", "ann@example.com"),
            ("email", "bob@example.com"),
            ("mobile_number", "2"),
            ("mobile_number", "3"),
        ],
        [("email", "bob@example.com")],
        [("customer_id", "C2"), ("mobile_number", "3")],
    ]
    assert [person.values for person in people] == [
        {"tier": ("gold", 2)},
        {"tier": ("silver", 7)},
        {},
        {},
    ]


def test_a_picture_has_logarithmic_axes_and_two_schemes_of_colour(benchmarks: Modules) -> None:
    picture = benchmarks.picture
    points = [picture.Point(10**power, 10 ** (power - 4)) for power in (4, 5, 6)]
    curve = picture.Curve("rows & seconds", "#d9730d", points)
    drawn = picture.draw("growth", [curve], across="rows", upwards="seconds")
    root = ElementTree.fromstring(drawn)
    texts = [text.text for text in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"growth", "rows", "seconds", "rows & seconds", "10,000", "1M", "100"} <= set(texts)
    line = root.find("{http://www.w3.org/2000/svg}polyline")
    assert line is not None
    places = [tuple(map(float, place.split(","))) for place in line.attrib["points"].split()]
    # A straight line through each decade, upwards.
    assert places[1][0] - places[0][0] == pytest.approx(places[2][0] - places[1][0], abs=0.2)
    assert places[0][1] - places[1][1] == pytest.approx(places[1][1] - places[2][1], abs=0.2)
    assert places[0][1] > places[2][1]
    assert "prefers-color-scheme: dark" in drawn


@pytest.mark.slow
def test_what_diff_writes_is_written_by_hand_too(benchmarks: Modules, tmp_path: Path) -> None:
    sizes = benchmarks.data.Sizes(
        rows=1000, profiles=1000, large_rows=1000, people=1000, events=1000
    )
    data = benchmarks.data.Data(tmp_path, sizes)
    store = tmp_path / "profiles.duckdb"
    for file, feed in ((data.plain(), "first"), (data.later(), "second")):
        benchmarks.process.import_file(store, file, feed=feed, source="csv")
    title, *_, remark = benchmarks.looking._diff_row(store, tmp_path)  # raises where they differ
    assert title == "`diff --json` of one import"
    assert "x by hand" in remark
