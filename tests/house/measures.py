"""Measure how the code is written, and hold each figure so that it can only get better.

    python tests/house/measures.py                    the table, for profilectl/ and tests/
    python tests/house/measures.py --by-file PATH...  each place that counts, as path:line: what
    python tests/house/measures.py --write            put better figures into measures.toml

`measures.toml` holds the figures that must not get worse; `test_measures.py` fails when one does.
Standard library only, and ruff for the complexity. What a measure counts stands in places.py.
"""

import argparse
import statistics
import sys
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests"))  # a script: pytest does this for the tests

from support.code import glued, places  # noqa: E402
from support.code.source import Place, Tree, read_tree  # noqa: E402

RATCHET = Path(__file__).with_name("measures.toml")

# The figures of a part of the repository (profilectl, tests), by the name of the measure.
Figures = dict[str, float]


def _count(_: Tree, counted: list[Place]) -> float:
    return len(counted)


def _nowhere(_: Tree) -> list[Place]:
    return []


def _per_lines(lines: int) -> Callable[[Tree, list[Place]], float]:
    return lambda tree, counted: lines * len(counted) / max(len(tree.lines), 1)


def _percent_of_names(tree: Tree, counted: list[Place]) -> float:
    return 100 * len(counted) / max(sum(len(module.bound) for module in tree.modules), 1)


def _most_in_a_folder(tree: Tree, _: list[Place]) -> float:
    return max(places.folders(tree).values(), default=0)


def _mean_complexity(tree: Tree, _: list[Place]) -> float:
    return statistics.fmean(places.complexities(tree) or [0])


def _modules(tree: Tree, _: list[Place]) -> float:
    return len(tree.modules)


def _lines(tree: Tree, _: list[Place]) -> float:
    return len(tree.lines)


def _length(percent: int) -> Callable[[Tree, list[Place]], float]:
    return lambda tree, _: _reached_by(tree.lengths, percent)


def _width(percent: int) -> Callable[[Tree, list[Place]], float]:
    return lambda tree, _: _reached_by(tree.widths, percent)


def _reached_by(numbers: list[int], percent: int) -> float:
    """Return the number that `percent` of the numbers do not exceed."""
    return sorted(numbers)[min(len(numbers) * percent // 100, len(numbers) - 1)] if numbers else 0


@dataclass(frozen=True)
class Measure:
    """A figure of how the code is written."""

    name: str
    """Its name in measures.toml."""
    label: str
    """Its name in the table."""
    goal: float | None
    """What issue 16 asks for: at most this, or at least, if higher is better; None: just shown."""
    places: Callable[[Tree], list[Place]] = _nowhere
    """Finds the places that count."""
    figure: Callable[[Tree, list[Place]], float] = _count
    """Makes the figure of them."""
    of_tests: bool = True
    """Whether tests/ are measured too."""
    higher_is_better: bool = False
    """Whether the figure is a least one. It is held only up to its goal: more is not better."""

    def of(self, tree: Tree) -> float:
        """Return the figure, with one decimal."""
        return round(float(self.figure(tree, self.places(tree))), 1)

    def is_worse(self, figure: float, bar: float) -> bool:
        """Return whether a figure is worse than the one it is held to."""
        return figure < min(bar, self.goal or 0) if self.higher_is_better else figure > bar


# fmt: off
MEASURES = [
    Measure("modules", "modules", None, figure=_modules),
    Measure("lines", "lines", None, figure=_lines),
    Measure("folder", "most modules in one folder", 24, figure=_most_in_a_folder),
    Measure("long_files", "files over 600 lines", 0, places.long_files),
    Measure("code_in_init", "__init__.py with code", 0, places.code_in_init),
    Measure("length_50", "lines of a function: median", None, figure=_length(50)),
    Measure("length_90", "... 90 % have at most", None, figure=_length(90)),
    Measure("length_most", "... most", None, figure=_length(100)),
    Measure("over_45", "functions over 45 lines", None, places.long_functions(45)),
    Measure("no_reason", "... without a reason beside them", 0, places.without_reason),
    Measure("over_60", "functions over 60 lines", 0, places.long_functions(60)),
    Measure("width_90", "characters of a line: 90 % have at most", None, figure=_width(90)),
    Measure("width_99", "... 99 % have at most", None, figure=_width(99)),
    Measure("width_most", "... most", None, figure=_width(100)),
    Measure("wide_lines", "lines over 100 characters", 0, places.wide_lines),
    Measure("complexity", "cyclomatic complexity: mean", None, figure=_mean_complexity),
    Measure("complex", "functions with a complexity over 10 (C901)", 0, places.complex_functions),
    Measure("branching", "functions with over 10 branches (PLR0912)", 0, places.branching),
    Measure("glued_sql", "SQL put together as text, per 1,000 lines", 4,
            glued.sql, _per_lines(1000), of_tests=False),
    Measure("filled_sql", "named SQL with other holes, per 1,000 lines", 4,
            glued.filled, _per_lines(1000), of_tests=False),
    Measure("comments", "comments per 100 lines", 3,
            places.comments, _per_lines(100), of_tests=False, higher_is_better=True),
    Measure("vague", "names that say nothing, in % of all", 3,
            places.vague_names, _percent_of_names),
    Measure("vague_files", "files with over 3 % of them", 0, places.vague_files),
    Measure("vague_aliases", "statements of SQL that call a row `one`", 0, places.vague_aliases),
    Measure("repeated_classes", "class names in several modules", 0,
            places.repeated_classes, of_tests=False),
    Measure("anys", "uses of Any", 150, places.anys, of_tests=False),
    Measure("tuples", "functions that return a tuple of 3 or more", 0, places.wide_tuples),
    Measure("positional", "calls with over 3 arguments by position", 0, places.positional_calls),
    Measure("constructors", "constructors that do more than assign", 0, places.busy_constructors),
    Measure("bare_fields", "fields without a sentence", 0, places.bare_fields, of_tests=False),
    Measure("bare_functions", "public functions without a docstring", 0,
            places.bare_functions, of_tests=False),
    Measure("retired_words", "retired words in docstrings and comments", 0, places.retired_words),
    Measure("retired_in_messages", "retired words in messages and help", 0,
            places.retired_in_messages, of_tests=False),
    Measure("imports_of_tests", "imports of one test file by another", 0, places.imports_of_tests),
]
# fmt: on
RATCHETED = [measure for measure in MEASURES if measure.goal is not None]


def figures_of(root: Path) -> dict[str, Figures]:
    """Return the figures of profilectl/ and of tests/, by name."""
    trees = {name: read_tree(root, [root / name]) for name in ("profilectl", "tests")}
    return {
        name: {
            measure.name: measure.of(tree)
            for measure in MEASURES
            if measure.of_tests or name == "profilectl"
        }
        for name, tree in trees.items()
    }


def worse_than(bars: dict[str, Figures], figures: dict[str, Figures]) -> list[str]:
    """Return a sentence for each figure that is worse than the one that measures.toml has."""
    return [
        f"{part}: {measure.label}: {figures[part][measure.name]:g}, and it was {bar:g}"
        for part, of_part in bars.items()
        for measure in RATCHETED
        if (bar := of_part.get(measure.name)) is not None
        and measure.is_worse(figures[part][measure.name], bar)
    ]


def read_ratchet() -> dict[str, Figures]:
    """Return the figures that may not get worse."""
    return tomllib.loads(RATCHET.read_text()) if RATCHET.exists() else {}


def write_ratchet(figures: dict[str, Figures]) -> None:
    """Write the figures that may not get worse from now on."""
    lines = [
        "# No figure may get worse: tests/house/measures.py. Written with --write, not by hand."
    ]
    for part, of_part in figures.items():
        lines += ["", f"[{part}]"]
        lines += [f"{m.name} = {of_part[m.name]:g}" for m in RATCHETED if m.name in of_part]
    RATCHET.write_text("\n".join(lines) + "\n")


def table(figures: dict[str, Figures]) -> str:
    """Return the table, a line for each measure, at most 80 characters wide."""
    lines = [f"{'':<48}{'goal':>9}" + "".join(f"{part:>11}" for part in figures)]
    for measure in MEASURES:
        sign = ">=" if measure.higher_is_better else "<="
        goal = "" if measure.goal is None else f"{sign} {measure.goal:g}"
        cells = [of_part.get(measure.name) for of_part in figures.values()]
        texts = ["-" if cell is None else f"{cell:,.1f}".removesuffix(".0") for cell in cells]
        lines.append(f"{measure.label:<48}{goal:>9}" + "".join(f"{text:>11}" for text in texts))
    return "\n".join(lines) + "\n"


def by_file(tree: Tree) -> str:
    """Return each place that counts, by measure; comments, which are good, are left out."""
    lines = []
    for measure in MEASURES:
        places = [] if measure.higher_is_better else measure.places(tree)
        if places:
            lines += ["", f"{measure.label}: {len(places)}"]
            lines += [f"  {place.path}:{place.line}: {place.what}" for place in sorted(places)]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Print the table, or the places, or write the figures; 1 if a figure got worse."""
    parser = argparse.ArgumentParser(description="Measure how the code is written.")
    parser.add_argument(
        "paths", nargs="*", type=Path, help="Files and folders; else profilectl/ and tests/."
    )
    parser.add_argument(
        "--by-file", action="store_true", help="Print each place as path:line: what."
    )
    parser.add_argument(
        "--write", action="store_true", help="Put better figures into measures.toml."
    )
    parser.add_argument("--root", type=Path, default=ROOT, help="Another copy of the repository.")
    options = parser.parse_args()
    tree = read_tree(
        options.root, options.paths or [options.root / "profilectl", options.root / "tests"]
    )
    if options.by_file:
        sys.stdout.write(by_file(tree))
        return 0
    if options.paths:
        sys.stdout.write(table({"here": {measure.name: measure.of(tree) for measure in MEASURES}}))
        return 0
    figures = figures_of(options.root)
    sys.stdout.write(table(figures))
    worse = worse_than(read_ratchet(), figures)
    if options.write and not worse:
        write_ratchet(figures)
    sys.stdout.write("".join(f"worse: {sentence}\n" for sentence in worse))
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
