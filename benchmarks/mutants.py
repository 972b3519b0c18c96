"""Mutation testing of the rules: each rule is broken once, and a test must notice.

    pip install cosmic-ray
    python benchmarks/mutants.py --output mutants.jsonl

cosmic-ray makes the mutants. Each runs in a process of its own, forked from one that has loaded
everything but profilectl. The quick tests go first: the rules one by one, then every conformance
case through the interpreter. A mutant that survives them meets the slower tests of the same rules,
on a copy of the package. The output has a line for each mutant, with its fate.

Mutants that no test can notice are left out: in annotations, in what a dataclass may do and in the
bare `*` of a list of parameters.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import NamedTuple, NoReturn

ROOT = Path(__file__).parent.parent
# The rules of identity, priority, protection, consent and limits.
MODULES = (
    "rules.identity",
    "rules.resolution",
    "rules.interpreter",
    "rules.priority",
    "rules.feed",
    "rules.consent",
    "rules.batch",
)
# Test files by name, wherever they are below tests/, and options of pytest.
QUICK = (
    (
        "test_identity.py",
        "test_consent_sources_and_limits.py",
        "test_interpreter.py",
    ),
    ("test_conformance.py", "-k", "interpreter"),
)
SLOWER = (
    "test_identity_keys.py",
    "test_protection_table.py",
    "test_consent_in_the_future.py",
    "test_environments.py",
    "test_logout.py",
    "test_modify_and_alias.py",
    "test_erasure.py",
    "test_retention.py",
    "test_values.py",
    "test_events.py",
    "test_many_columns.py",
    "test_explain.py",
)
# Options of every run of pytest: none of pyproject.toml, and it stops at the first failure.
PYTEST = ("-o", "addopts=", "-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist")
PRELOADED = (
    "pytest",
    "_pytest.assertion.rewrite",
    "hypothesis",
    "duckdb",
    "typer.testing",
    "rich.console",
    "orjson",
    "jsonschema",
    "pyarrow",
    "httpx",
)
SCRATCH = Path(
    tempfile.mkdtemp(prefix="mutants-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None)
)
QUICK_S, SLOWER_S = 60, 400
# Of the eleven operators that may take the place of one: its opposite and its neighbour.
CHANGES = (
    "Add_Sub",
    "Sub_Add",
    "Mul_Add",
    "Pow_Mul",
    "Mod_Mul",
    "FloorDiv_Mul",
    "BitOr_BitAnd",
    "BitAnd_BitOr",
    "BitXor_BitAnd",
    "Eq_NotEq",
    "NotEq_Eq",
    "Is_IsNot",
    "IsNot_Is",
    "Lt_LtE",
    "Lt_GtE",
    "LtE_Lt",
    "LtE_Gt",
    "Gt_GtE",
    "Gt_LtE",
    "GtE_Gt",
    "GtE_Lt",
)
OTHER_EFFECT = "table/OtherEffect"
# An entry of the table of protection levels.
EFFECT = r"\bEffect\.([A-Z_]+)"


class Key(NamedTuple):
    """What no mutant shares with another."""

    module: str
    """The module."""
    operator: str
    """What cosmic-ray calls the change."""
    occurrence: int
    """The number of the place."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """One rule broken once; without an operator, a module as it is."""

    module: str
    """The module, without the package: rules.identity."""
    operator: str = ""
    """What cosmic-ray calls the change."""
    occurrence: int = 0
    """The number of the place in the module, of those that it can change."""
    line: int = 1
    """Where it is, from 1."""

    @property
    def path(self) -> Path:
        """Return the file of the module, from the folder of the package."""
        return Path(*self.module.split(".")).with_suffix(".py")

    @property
    def key(self) -> Key:
        """Return what no mutant shares with another."""
        return Key(self.module, self.operator, self.occurrence)


def mutants_of(module: str) -> Iterator[Mutant]:
    """Yield the mutants of a module that a test could notice."""
    from cosmic_ray.ast import ast_nodes, get_ast
    from cosmic_ray.plugins import get_operator, operator_names

    source = text_of(Mutant(module))
    annotations, lines = set(annotated(source)), source.splitlines()
    for name in filter(_is_usable, operator_names()):
        operator = get_operator(name)()
        places = (
            place
            for node in ast_nodes(get_ast(source))
            for place, _ in operator.mutation_positions(node)
        )
        for occurrence, (line, column) in enumerate(places):
            in_dataclass = lines[line - 1].startswith("@dataclass")
            if (line, column) not in annotations and not in_dataclass:
                yield Mutant(module, operator=name, occurrence=occurrence, line=line)
    for occurrence, effect in enumerate(re.finditer(EFFECT, source)):
        line = source[: effect.start()].count("\n") + 1
        yield Mutant(module, operator=OTHER_EFFECT, occurrence=occurrence, line=line)


def _is_usable(operator: str) -> bool:
    if "Variable" in operator:
        return False
    is_change_of_operator = "Replace" in operator and "Operator_" in operator
    return not is_change_of_operator or operator.endswith((*CHANGES, "USub_UAdd", "Delete_Not"))


def text_of(mutant: Mutant) -> str:
    """Return the text of a module as it is."""
    return (ROOT / "profilectl" / mutant.path).read_text("utf-8")


def annotated(source: str) -> Iterator[tuple[int, int]]:
    """Yield the places (line, column) inside annotations."""
    lines = source.splitlines()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef) and node.args.kwonlyargs:
            parameter = node.args.kwonlyargs[0]
            yield from ((parameter.lineno, column) for column in range(parameter.col_offset))
        for annotation in (getattr(node, "annotation", None), getattr(node, "returns", None)):
            if annotation is not None:
                yield from _places_in(annotation, lines)


def _places_in(node: ast.expr, lines: list[str]) -> Iterator[tuple[int, int]]:
    end_line = node.end_lineno or node.lineno
    for line in range(node.lineno, end_line + 1):
        start = node.col_offset if line == node.lineno else 0
        end = (node.end_col_offset or 0) if line == end_line else len(lines[line - 1])
        yield from ((line, column) for column in range(start, end + 1))


def broken_text(mutant: Mutant) -> str | None:
    """Return the text of a module with the mutant in it; None where nothing changes."""
    from cosmic_ray.mutating import mutate_code
    from cosmic_ray.plugins import get_operator

    source = text_of(mutant)
    if mutant.operator == OTHER_EFFECT:
        effect = [*re.finditer(EFFECT, source)][mutant.occurrence]
        replacement = "PASS_BY" if effect[1] != "PASS_BY" else "CREATE"
        return source[: effect.start(1)] + replacement + source[effect.end(1) :]
    changed: str | None = mutate_code(source, get_operator(mutant.operator)(), mutant.occurrence)
    return changed


class Broken(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Gives one module of the package another text."""

    def __init__(self, module: str, source: str) -> None:
        self.name = f"profilectl.{module}"
        self.source = source

    def find_spec(
        self, name: str, path: object, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Return the module, if it is the broken one."""
        return importlib.util.spec_from_loader(name, self) if name == self.name else None

    def exec_module(self, module: ModuleType) -> None:
        """Run the broken text."""
        exec(compile(self.source, f"<{self.name}>", "exec"), module.__dict__)


def killed_quickly(mutant: Mutant, source: str) -> bool:
    """Return whether a quick test notices."""
    return any(fails(mutant, source, tests) for tests in QUICK)


def fails(mutant: Mutant, source: str, tests: Sequence[str]) -> bool:
    """Return whether one of some tests fails with the mutant, in a fork of this process."""
    child = os.fork()
    if not child:
        _run_in_child(mutant, source, tests)
    until = time.monotonic() + 3 * QUICK_S
    while time.monotonic() < until:
        process, status = os.waitpid(child, os.WNOHANG)
        if process:
            return os.waitstatus_to_exitcode(status) != 0
        time.sleep(0.02)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return True


def _run_in_child(mutant: Mutant, source: str, tests: Sequence[str]) -> NoReturn:
    """Run tests with the mutant, and end this process with the status of pytest."""
    resource.setrlimit(resource.RLIMIT_CPU, (QUICK_S, QUICK_S))
    resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
    silent = os.open(os.environ.get("MUTANTS_LOG", os.devnull), os.O_WRONLY | os.O_CREAT)
    os.dup2(silent, 1)
    os.dup2(silent, 2)
    sys.meta_path.insert(0, Broken(mutant.module, source))
    try:
        import pytest

        warning = ("-W", "ignore::pytest.PytestAssertRewriteWarning")
        folder = f"--basetemp={SCRATCH}/quick"
        os._exit(int(pytest.main([*PYTEST, *warning, folder, *paths_of(tests)])))
    finally:
        os._exit(9)  # pytest itself failed


def paths_of(tests: Sequence[str]) -> list[str]:
    """Return the paths of test files, wherever they are below tests/; options stay as they are."""
    paths = []
    for test in tests:
        places = sorted(ROOT.glob(f"tests/**/{test}")) if test.endswith(".py") else []
        paths += [str(place.relative_to(ROOT)) for place in places] or [test]
    return paths


def killed_slowly(mutant: Mutant, source: str) -> bool:
    """Return whether a slower test notices: through the command line, on a copy of the package."""
    with tempfile.TemporaryDirectory(dir=SCRATCH) as folder:
        package = Path(folder) / "profilectl"
        without_caches = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / "profilectl", package, ignore=without_caches)
        (package / mutant.path).write_text(source, "utf-8")
        options = (*PYTEST, "-m", "not slow", f"--basetemp={SCRATCH}/slower")
        try:
            pytest_run = subprocess.run(
                [sys.executable, "-m", "pytest", *options, *paths_of(SLOWER)],
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": folder},
                capture_output=True,
                check=False,
                timeout=SLOWER_S,
                start_new_session=True,
            )
        except subprocess.TimeoutExpired:
            return True
        return pytest_run.returncode != 0


def fates_in(output: Path, fate: str) -> set[Key]:
    """Return the keys of the mutants in an earlier output whose fate begins with a text."""
    lines = [json.loads(line) for line in output.read_text("utf-8").splitlines()]
    return {
        Key(line["module"], line["operator"], line["occurrence"])
        for line in lines
        if line["fate"].startswith(fate)
    }


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Mutation testing of the rules.")
    parser.add_argument("--module", action="append", choices=MODULES, help="one (default: all)")
    parser.add_argument("--part", default="1/1", help="1/2 is every second mutant, from the first")
    parser.add_argument("--quick-only", action="store_true", help="do not run the slower tests")
    parser.add_argument("--again", type=Path, help="only the survivors in an earlier output")
    help_text = "one line a mutant; those that are in it are not run again"
    parser.add_argument("--output", type=Path, default=Path("mutants.jsonl"), help=help_text)
    return parser.parse_args()


def _chosen(options: argparse.Namespace) -> list[Mutant]:
    """Return the mutants that the options ask for, without those that have run."""
    part, parts = map(int, options.part.split("/"))
    mutants = [mutant for module in options.module or MODULES for mutant in mutants_of(module)]
    mutants = mutants[part - 1 :: parts]
    if options.again:
        survivors = fates_in(options.again, "survived")
        mutants = [mutant for mutant in mutants if mutant.key in survivors]
    finished = fates_in(options.output, "") if options.output.exists() else set()
    return [mutant for mutant in mutants if mutant.key not in finished]


def _fate(mutant: Mutant, source: str, *, quick_only: bool) -> str:
    if killed_quickly(mutant, source):
        return "killed"
    if quick_only:
        return "survived quick tests"
    return "killed slowly" if killed_slowly(mutant, source) else "survived"


def main() -> None:
    """Run the mutants, and print how many were noticed by which tests."""
    options = _options()
    os.chdir(ROOT)
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    mutants = _chosen(options)
    for name in PRELOADED:
        importlib.import_module(name)
    whole = Mutant("rules.consent")
    if killed_quickly(whole, text_of(whole)):
        sys.exit("the quick tests fail on the code as it is")
    counts: Counter[str] = Counter()
    with options.output.open("a", encoding="utf-8") as output:
        for number, mutant in enumerate(mutants, start=1):
            source = broken_text(mutant)
            if source is None:
                continue
            fate = _fate(mutant, source, quick_only=options.quick_only)
            counts[fate] += 1
            fields = {name: getattr(mutant, name) for name in mutant.__slots__}
            changed = source.splitlines()[mutant.line - 1].strip()
            output.write(json.dumps({"fate": fate, **fields, "text": changed}) + "\n")
            output.flush()
            if number % 50 == 0:
                print(f"{number} of {len(mutants)}: {dict(counts)}", flush=True)
    print(dict(counts))
    shutil.rmtree(SCRATCH)


if __name__ == "__main__":
    main()
