"""Mutation testing of the rules: each rule is broken once, and a test must notice.

    pip install cosmic-ray
    python benchmarks/mutants.py --output mutants.jsonl

cosmic-ray makes the mutants. Each runs in a process of its own, forked from one that has loaded
everything but profilectl. The quick tests go first: the rules one by one, then every conformance
case through the interpreter. Whoever survives them meets the slower tests of the same rules, on a
copy of the package. What is left is printed, for somebody to explain.

Left out are mutants that no test can notice: in annotations, in what a dataclass may do and in the
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
from typing import Any

ROOT = Path(__file__).parent.parent
MODULES = ("identity", "interpreter", "attributes", "feed", "consent", "batch")
"""The rules of identity, priority, protection, consent and limits."""
QUICK = (
    (
        "tests/rules/test_identity.py",
        "tests/rules/test_consent_sources_and_limits.py",
        "tests/rules/test_interpreter.py",
    ),
    ("tests/rules/test_conformance.py", "-k", "interpreter"),
)
SLOWER = (
    "tests/importing/test_identity_keys.py",
    "tests/importing/test_protection_table.py",
    "tests/importing/test_consent_in_the_future.py",
    "tests/importing/test_environments.py",
    "tests/rules/test_logout.py",
    "tests/importing/test_modify_and_alias.py",
    "tests/privacy/test_privacy.py",
    "tests/privacy/test_retention.py",
    "tests/reading/test_values.py",
    "tests/importing/test_events.py",
    "tests/importing/test_many_columns.py",
    "tests/reading/test_explain.py",
)
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
"""Of the eleven operators that may take another's place: its opposite and its neighbour."""
OTHER_EFFECT = "table/OtherEffect"
EFFECT = r"\bEffect\.([A-Z_]+)"
"""An entry of the table of protection levels."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """One rule broken once."""

    module: str
    """The module, without the package."""
    operator: str
    """What cosmic-ray calls the change."""
    occurrence: int
    """Which of the places in the module that it can change."""
    line: int
    """Where it is, from 1."""

    @property
    def name(self) -> tuple[str, str, int]:
        """What tells it from any other."""
        return self.module, self.operator, self.occurrence


def mutants_of(module: str) -> Iterator[Mutant]:
    """Yield the mutants of a module that a test could notice."""
    from cosmic_ray.ast import ast_nodes, get_ast
    from cosmic_ray.plugins import get_operator, operator_names

    source = (ROOT / "profilectl" / f"{module}.py").read_text("utf-8")
    unseen, lines = set(annotated(source)), source.splitlines()
    for name in operator_names():
        if "Variable" in name or (
            "Replace" in name
            and "Operator_" in name
            and not name.endswith((*CHANGES, "USub_UAdd", "Delete_Not"))
        ):
            continue
        operator = get_operator(name)()
        places = (
            place
            for node in ast_nodes(get_ast(source))
            for place, _ in operator.mutation_positions(node)
        )
        for occurrence, (line, column) in enumerate(places):
            if (line, column) not in unseen and not lines[line - 1].startswith("@dataclass"):
                yield Mutant(module, name, occurrence, line)
    for occurrence, effect in enumerate(re.finditer(EFFECT, source)):
        yield Mutant(module, OTHER_EFFECT, occurrence, source[: effect.start()].count("\n") + 1)


def annotated(source: str) -> Iterator[tuple[int, int]]:
    """Yield the places (line, column) inside annotations."""
    lines = source.splitlines()
    for node in ast.walk(ast.parse(source)):
        stated = [getattr(node, "annotation", None), getattr(node, "returns", None)]
        if isinstance(node, ast.FunctionDef) and node.args.kwonlyargs:
            first = node.args.kwonlyargs[0]
            yield from ((first.lineno, column) for column in range(first.col_offset))
        for annotation in (part for part in stated if part is not None):
            for line in range(annotation.lineno, annotation.end_lineno + 1):
                first = annotation.col_offset if line == annotation.lineno else 0
                last = (
                    annotation.end_col_offset
                    if line == annotation.end_lineno
                    else len(lines[line - 1])
                )
                yield from ((line, column) for column in range(first, last + 1))


def source_of(mutant: Mutant) -> str | None:
    """Return the text of a module with the mutant in it; None where nothing changes."""
    from cosmic_ray.mutating import mutate_code
    from cosmic_ray.plugins import get_operator

    source = (ROOT / "profilectl" / f"{mutant.module}.py").read_text("utf-8")
    if mutant.operator == OTHER_EFFECT:
        effect = [*re.finditer(EFFECT, source)][mutant.occurrence]
        other = "PASS_BY" if effect[1] != "PASS_BY" else "CREATE"
        return source[: effect.start(1)] + other + source[effect.end(1) :]
    changed: str | None = mutate_code(source, get_operator(mutant.operator)(), mutant.occurrence)
    return changed


class Broken(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Gives one module of the package another text."""

    def __init__(self, module: str, source: str) -> None:
        self.name, self.source = f"profilectl.{module}", source

    def find_spec(
        self, name: str, path: Any, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        return importlib.util.spec_from_loader(name, self) if name == self.name else None

    def exec_module(self, module: ModuleType) -> None:
        exec(compile(self.source, f"<{self.name}>", "exec"), module.__dict__)


def killed_quickly(mutant: Mutant, source: str) -> bool:
    """Say whether a quick test notices."""
    return any(fails(mutant, source, tests) for tests in QUICK)


def fails(mutant: Mutant, source: str, tests: Sequence[str]) -> bool:
    """Say whether one of some tests fails with the mutant, in a fork of this process."""
    child = os.fork()
    if not child:
        resource.setrlimit(resource.RLIMIT_CPU, (QUICK_S, QUICK_S))
        resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
        silent = os.open(os.environ.get("MUTANTS_LOG", os.devnull), os.O_WRONLY | os.O_CREAT)
        os.dup2(silent, 1)
        os.dup2(silent, 2)
        sys.meta_path.insert(0, Broken(mutant.module, source))
        try:
            import pytest

            os._exit(
                int(
                    pytest.main(
                        [
                            "-o",
                            "addopts=--import-mode=importlib",
                            "-W",
                            "ignore::pytest.PytestAssertRewriteWarning",
                            "-x",
                            "-q",
                            "-p",
                            "no:cacheprovider",
                            "-p",
                            "no:xdist",
                            f"--basetemp={SCRATCH}/quick",
                            *tests,
                        ]
                    )
                )
            )
        finally:
            os._exit(9)  # pytest itself failed
    until = time.monotonic() + 3 * QUICK_S
    while time.monotonic() < until:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status) != 0
        time.sleep(0.02)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return True


def killed_slowly(mutant: Mutant, source: str) -> bool:
    """Say whether a slower test notices: through the command line, on a copy of the package."""
    with tempfile.TemporaryDirectory(dir=SCRATCH) as folder:
        shutil.copytree(
            ROOT / "profilectl",
            Path(folder) / "profilectl",
            ignore=shutil.ignore_patterns("__pycache__"),
        )
        (Path(folder) / "profilectl" / f"{mutant.module}.py").write_text(source, "utf-8")
        tests = [name for name in SLOWER if (ROOT / name).exists()]
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-o",
            "addopts=--import-mode=importlib",
            "-m",
            "not slow",
            "-x",
            "-q",
            "-p",
            "no:cacheprovider",
            "-p",
            "no:xdist",
            f"--basetemp={SCRATCH}/slower",
            *tests,
        ]
        try:
            done = subprocess.run(
                command,
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": folder},
                capture_output=True,
                check=False,
                timeout=SLOWER_S,
                start_new_session=True,
            )
        except subprocess.TimeoutExpired:
            return True
        return done.returncode != 0


def fates_in(output: Path, fate: str) -> set[tuple[str, str, int]]:
    """Return the mutants of an output of before whose fate begins so."""
    lines = [json.loads(line) for line in output.read_text("utf-8").splitlines()]
    return {
        (line["module"], line["operator"], line["occurrence"])
        for line in lines
        if line["fate"].startswith(fate)
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Mutation testing of the rules.")
    parser.add_argument(
        "--module", action="append", choices=MODULES, help="one module (default: all)"
    )
    parser.add_argument(
        "--part", default="1/1", help="which part of the mutants: 1/2 is every other one"
    )
    parser.add_argument("--quick-only", action="store_true", help="do not run the slower tests")
    parser.add_argument(
        "--again", type=Path, help="only the mutants that survived, of an output of before"
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("mutants.jsonl"),
        help="one line for each mutant; those that are in it are not run again",
    )
    options = parser.parse_args()
    place, parts = map(int, options.part.split("/"))
    os.chdir(ROOT)
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    mutants = [mutant for module in options.module or MODULES for mutant in mutants_of(module)][
        place - 1 :: parts
    ]
    if options.again:
        survivors = fates_in(options.again, "survived")
        mutants = [mutant for mutant in mutants if mutant.name in survivors]
    done = fates_in(options.output, "") if options.output.exists() else set()
    mutants = [mutant for mutant in mutants if mutant.name not in done]
    for name in PRELOADED:
        importlib.import_module(name)
    whole = Mutant("consent", "", 0, 1)
    if killed_quickly(whole, (ROOT / "profilectl" / "consent.py").read_text("utf-8")):
        sys.exit("the quick tests fail on the code as it is")
    counts: Counter[str] = Counter()
    with options.output.open("a", encoding="utf-8") as output:
        for number, mutant in enumerate(mutants, start=1):
            source = source_of(mutant)
            if source is None:
                continue
            fate = "killed" if killed_quickly(mutant, source) else "survived quick tests"
            if fate != "killed" and not options.quick_only:
                fate = "killed slowly" if killed_slowly(mutant, source) else "survived"
            counts[fate] += 1
            changed = source.splitlines()[mutant.line - 1].strip()
            output.write(
                json.dumps(
                    {
                        "fate": fate,
                        **{name: getattr(mutant, name) for name in mutant.__slots__},
                        "text": changed,
                    }
                )
                + "\n"
            )
            output.flush()
            if number % 50 == 0:
                print(f"{number} of {len(mutants)}: {dict(counts)}", flush=True)
    print(dict(counts))
    shutil.rmtree(SCRATCH)


if __name__ == "__main__":
    main()
