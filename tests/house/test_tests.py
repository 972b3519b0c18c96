"""The tests mirror the packages, and what several of them share stands in support/."""

from __future__ import annotations

import ast

from support.places import ROOT, TESTS

PACKAGES = {
    "rules", "files", "store", "profiles", "audiences", "importing",
    "reading", "outputs", "privacy", "server", "render", "cli", "library", "schemas",
}  # fmt: skip
STEPS = {"stage", "sift", "resolve", "merge", "commit"}


def test_each_folder_of_tests_is_that_of_a_package() -> None:
    folders = {path.parent.relative_to(TESTS) for path in TESTS.rglob("test_*.py")}
    assert {folder.parts[0] for folder in folders} == {*PACKAGES, "benchmarks", "house"}
    packages = {folder for folder in folders if folder.parts[0] in PACKAGES}
    assert [folder for folder in packages if not (ROOT / "profilectl" / folder).is_dir()] == []
    assert list(TESTS.glob("test_*.py")) == []


def test_each_step_of_an_import_has_its_file() -> None:
    files = {path.stem for path in (TESTS / "importing").glob("test_*.py")}
    assert {f"test_{step}" for step in STEPS} <= files


def test_no_test_file_imports_another() -> None:
    names = {path.stem for path in TESTS.rglob("test_*.py")}
    for path in TESTS.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom):
                imported = {*(node.module or "").split("."), *(name.name for name in node.names)}
            elif isinstance(node, ast.Import):
                imported = {part for name in node.names for part in name.name.split(".")}
            else:
                continue
            assert not imported & names, f"{path.name}:{node.lineno}"
