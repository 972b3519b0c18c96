"""No figure of how the code is written gets worse; and each measure counts what it says."""

from pathlib import Path

import pytest
from house import measures
from support.code.source import read_tree

# What a measure must count, and beside it what it must not: by the name of the measure.
# fmt: off
COUNTED = {
    "over_45": ("def long():\n" + "    pass\n" * 45, "def short():\n" + "    pass\n" * 44),
    "no_reason": (
        "# long, but says nothing\ndef long():\n" + "    pass\n" * 45,
        "# 46 lines: it is a list\n@decorated\ndef long():\n" + "    pass\n" * 45,
    ),
    "wide_lines": ("name = '" + "a" * 92 + "'\n", "name = '" + "a" * 91 + "'\n"),
    "complex": (
        "def f(a):\n" + "    if a:\n        pass\n" * 10,
        "def f(a):\n" + "    if a:\n        pass\n" * 9,
    ),
    "filled_sql": ('A = SqlTemplate("a = {b}")', 'A = SqlTemplate("select {columns}")'),
    "glued_sql": ('f"select * from {table}"', 'f"Nothing comes from {table}."'),
    "vague": ("for one in rows: pass", "for row in rows: pass"),
    "vague_aliases": ('a = "select one.key from row as one"', 'a = "Nobody counts as one."'),
    "anys": ("def f(a: Any): ...", "from typing import Any"),
    "tuples": ("def f() -> dict[str, tuple[int, int, A]]: ...", "def f() -> tuple[int, ...]: ..."),
    "positional": ("f(1, 2, 3, 4)", "f(1, 2, *a, b=4)\nmax(1, 2, 3, 4)\ndef g(*a): g(1, 2, 3, a)"),
    "constructors": (
        "class A:\n    def __init__(self):\n        self.load()",
        "class A:\n    def __init__(self, a):\n        super().__init__()\n        self.a = a",
    ),
    "bare_fields": (
        "@dataclass\nclass A:\n    name: str",
        "@dataclass\nclass A:\n    name: str\n    'What it is called.'\nclass B:\n    name: str",
    ),
    "bare_functions": ("def f(): ...", "def _f(): ...\ndef g():\n    'Do nothing.'"),
    "retired_words": ("'Return whether\\nit is.'\n# so\n# many, whoever", "'Return whether it is.'"),
    "retired_in_messages": ("help('The first so many.')", "help('Show at most N.')"),
    "imports_of_tests": ("from test_a import b\nimport tests.test_c", "from support import test_a"),
}
GLUED = [
    '"select * from " + table',
    'text += " where profile in (select profile from gone)"',
    '"select * from {table}".format(table=name)',
    'f"where arrival >= {number}"',
    'f"{column} is not null"',
    'f"SELECT * FROM {table}"',
    'f"create temp table {name} (seq bigint)"',
]
CONSTANT = [
    '"select * from row"',
    '"select {columns} from row".format(columns=columns)',
    'TEXT = "select {columns} from row"\nTEXT.format(columns=columns)',
    '"select * from row"\n"where seq = $seq"',
    'f"With {number} rows and {columns} columns"',
    'f"the order of {name} and where it is from: {place}"',
]
# fmt: on


def _figure(name: str, text: str, folder: Path) -> float:
    (folder / "module.py").write_text(text + "\n")
    measure = next(measure for measure in measures.MEASURES if measure.name == name)
    return len(measure.places(read_tree(folder, [folder])))


def test_no_figure_gets_worse() -> None:
    bars = measures.read_ratchet()
    assert bars
    worse = measures.worse_than(bars, measures.figures_of(measures.ROOT))
    assert not worse, "see python tests/house/measures.py --by-file: " + "; ".join(worse)


@pytest.mark.parametrize("name", COUNTED)
def test_a_measure_counts_what_it_says(name: str, tmp_path: Path) -> None:
    counted, passed_over = COUNTED[name]
    assert _figure(name, counted, tmp_path) > 0
    assert _figure(name, passed_over, tmp_path) == 0


@pytest.mark.parametrize("text", GLUED)
def test_sql_put_together_is_counted_once(text: str, tmp_path: Path) -> None:
    assert _figure("glued_sql", text, tmp_path) == 1


@pytest.mark.parametrize("text", CONSTANT)
def test_a_constant_statement_is_not_counted(text: str, tmp_path: Path) -> None:
    assert _figure("glued_sql", text, tmp_path) == 0


def test_a_figure_is_held_to_the_file() -> None:
    figures = {"profilectl": {measure.name: 5.0 for measure in measures.MEASURES}}
    worse = {"profilectl": {"anys": 6.0}}
    assert measures.worse_than(figures, figures) == []
    assert measures.worse_than({"profilectl": {"anys": 4.0}}, figures)
    assert measures.worse_than(figures, {"profilectl": figures["profilectl"] | worse["profilectl"]})


def test_more_comments_than_asked_for_are_not_held() -> None:
    comments = next(measure for measure in measures.MEASURES if measure.name == "comments")
    assert comments.is_worse(1.0, bar=1.1)
    assert not comments.is_worse(3.0, bar=3.5)
