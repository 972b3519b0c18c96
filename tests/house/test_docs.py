"""The documents cannot lie: what they show is run, what the code prints into them is current,
nothing is left out.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from support import forkserver
from support.places import ROOT, SCRIPTS, SUPPORT
from sybil import Document, Region
from sybil.parsers.markdown.lexers import FencedCodeBlockLexer

from profilectl.codes import CODES
from profilectl.version import __version__

DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
ANYTHING = "..."


# Examples: a console block is commands after `$ ` and what each prints, stdout and stderr
# together. A command that takes several lines goes on after `> `, as a shell shows it.


@dataclass(frozen=True)
class Step:
    """A command and what it is to print; line: where it stands in the block, from 0."""

    command: str
    expected: str
    line: int


def steps(block: str) -> list[Step]:
    found: list[tuple[str, list[str], int]] = []
    for number, line in enumerate(block.splitlines()):
        if line.startswith("$ "):
            found.append((line[2:], [], number))
        elif found and line.startswith("> ") and not found[-1][1]:
            command, lines, begins = found[-1]
            found[-1] = (f"{command}\n{line[2:]}", lines, begins)
        elif found:
            found[-1][1].append(line)
        else:
            raise ValueError(f"a console block begins with a command, not with {line!r}")
    return [Step(command, "\n".join(lines), number) for command, lines, number in found]


def lines_of(text: str) -> str:
    """Leave out what the eye does not see: white space at the end of lines, and lines without
    anything else.
    """
    return "\n".join(kept for line in text.splitlines() if (kept := line.rstrip()))


def agrees(expected: str, printed: str) -> bool:
    """Say whether a text is as expected, where `...` stands for anything, also for nothing."""
    parts = []
    for line in lines_of(expected).splitlines():
        if line.strip() == ANYTHING:
            parts.append(r"(?:.*\n)*?")
        else:
            parts.append("[^\n]*?".join(map(re.escape, line.split(ANYTHING))) + "\n")
    return (
        re.fullmatch("".join(parts), lines_of(printed) + "\n" if printed.strip() else "")
        is not None
    )


@dataclass(frozen=True)
class Block:
    """A block: where it begins, and what is to happen in it, after what.

    program: of a Python block.
    """

    path: Path
    line: int
    steps: list[Step]
    before: list[Step]
    program: str = ""

    def __str__(self) -> str:
        return f"{self.path.name}:{self.line}"


def fenced(path: Path, language: str) -> list[tuple[int, str]]:
    """Return the line and the text of each block of a language."""

    def regions(document: Document) -> Iterator[Region]:
        for found in FencedCodeBlockLexer(language)(document):
            yield Region(found.start, found.end, found.lexemes["source"], lambda example: None)

    return [
        (example.line, str(example.parsed))
        for example in Document.parse(str(path), regions).examples()
    ]


def blocks() -> list[Block]:
    found = []
    for path in DOCUMENTS:
        # The console block after this comment comes before every other block of its document.
        _, marked, rest = path.read_text("utf-8").partition("<!-- before each -->\n```console\n")
        first = steps(rest.partition("```")[0]) if marked else []
        for line, text in fenced(path, "console"):
            now = steps(text)
            found.append(Block(path, line, now, [] if now == first else first))
        found += [Block(path, line, [], first, text) for line, text in fenced(path, "python")]
    return found


@pytest.fixture(scope="session")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return a folder with the command profilectl, whose work is done by forks of one process
    (forkserver.py).
    """
    folder = tmp_path_factory.mktemp("bin")
    with tempfile.TemporaryDirectory() as short:  # the name of a socket may not be long
        at = f"{short}/socket"
        server = subprocess.Popen(
            [sys.executable, str(SUPPORT / "forkserver.py"), at],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": SCRIPTS, "LC_ALL": "C.UTF-8"},
        )
        with server:
            assert server.stdout is not None
            assert server.stdout.readline() == b"ready\n"
            shim = folder / "profilectl"
            shim.write_text(forkserver.CALLER.format(python=sys.executable, path=at))
            shim.chmod(0o755)
            yield folder
            server.communicate()


def test_the_installed_command_is_ours() -> None:
    """... which the documents mean. It is in its place where the package is installed."""
    installed = Path(sys.executable).with_name("profilectl")
    command = [str(installed)] if installed.exists() else [sys.executable, "-m", "profilectl"]
    done = subprocess.run(
        [*command, "--version"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.stdout == f"profilectl {__version__}\n"


def run(step: Step, folder: Path, commands: Path, before: int) -> tuple[str, int]:
    """Run a command in a shell; before: the exit status of the command before, for `echo $?`."""
    environment = {
        "PATH": f"{commands}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(folder),
        "LC_ALL": "C.UTF-8",
        "NO_COLOR": "1",
    }
    done = subprocess.run(
        ["/bin/sh", "-c", f"(exit {before}); {step.command}"],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=120,
        check=False,
    )
    return done.stdout.decode(), done.returncode


@pytest.fixture(scope="session")
def prepared(
    tmp_path_factory: pytest.TempPathFactory, commands: Path
) -> Callable[[list[Step]], tuple[Path, int]]:
    """Return what gives the folder in which some steps were done, once, and the exit status of the
    last.
    """
    done: dict[str, tuple[Path, int]] = {}

    def folder_after(before: list[Step]) -> tuple[Path, int]:
        key = "\n".join(step.command for step in before)
        if key not in done:
            folder, status = tmp_path_factory.mktemp("before"), 0
            shutil.copytree(
                ROOT / "sample_data",
                folder / "sample_data",
                ignore=shutil.ignore_patterns("*.rejects.jsonl"),
            )
            for step in before:
                _, status = run(step, folder, commands, status)
            done[key] = folder, status
        return done[key]

    return folder_after


# README.md goes first, with the quick tests; the documents take their time.
IN_TURN = [
    pytest.param(
        block, id=str(block), marks=[] if block.path.name == "README.md" else [pytest.mark.slow]
    )
    for block in blocks()
]


@pytest.mark.parametrize("block", IN_TURN)
def test_a_document_shows_what_is_printed(
    block: Block, tmp_path: Path, commands: Path, prepared: Callable[[list[Step]], tuple[Path, int]]
) -> None:
    folder, status = prepared(block.before)
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True, symlinks=True)
    for step in block.steps:
        printed, status = run(step, tmp_path, commands, status)
        assert agrees(step.expected, printed), (
            f"{block.path}:{block.line + 1 + step.line}: $ {step.command}\n\n{printed}\n"
            f"but the document has\n\n{step.expected}"
        )
    if block.program:
        done = subprocess.run(
            [sys.executable, "-c", block.program],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{block.path}:{block.line}\n{done.stderr}"


def test_an_example_that_is_wrong_is_seen() -> None:
    printed = "one\n\n  two 2,000 rows  \nthree\n"
    assert agrees("one\n  two ... rows\nthree", printed)
    assert agrees("one\n...", printed)
    assert agrees("...\nthree", printed)
    assert not agrees("one\n  two ... rows", printed), "a line is missing at the end"
    assert not agrees("one\n...\nfour", printed)
    assert not agrees("", printed), "nothing was to be printed"
    assert not agrees("one", ""), "something was to be printed"
    assert agrees("", "")


# What the code prints into the documents, and what they must name.


@pytest.fixture(scope="module")
def make() -> ModuleType:
    """Return docs/make.py as a module."""
    spec = importlib.util.spec_from_file_location("docs_make", ROOT / "docs" / "make.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_made_parts_are_current(make: ModuleType) -> None:
    assert make.stale() == [], "python docs/make.py writes them"


def test_every_made_part_is_used(make: ModuleType) -> None:
    used = {name for path in DOCUMENTS for _, name, _ in make.PART.findall(path.read_text("utf-8"))}
    assert used == set(make.PARTS)


def prose(make: ModuleType, *, without: str = "") -> str:
    """Return the documents; without: the name of one to leave out."""
    return "\n".join(path.read_text("utf-8") for path in DOCUMENTS if path.name != without)


def words(text: str) -> set[str]:
    """Return what stands in a document as code, word by word."""
    spans = re.findall(r"`([^`\n]+)`", text) + re.findall(
        r"^[$>] (.+)$|^    (.+)$", text, re.MULTILINE
    )
    flat = " ".join(" ".join(one) if isinstance(one, tuple) else one for one in spans)
    return set(re.split(r"[\s|,=]+", flat))


def every_command(make: ModuleType) -> list[tuple[str, Any]]:
    import typer

    found = make.walk(typer.main.get_command(make.app), ("profilectl",))
    return [(" ".join(path), command) for path, command in found]


def test_every_command_and_option_is_in_the_reference(make: ModuleType) -> None:
    reference = (ROOT / "docs" / "commands.md").read_text("utf-8")
    for path, command in every_command(make):
        assert f"\n## {path}\n" in reference
        section = reference.partition(f"\n## {path}\n")[2].partition("\n## ")[0]
        for one in command.params:
            if (
                one.param_type_name == "option"
                and not one.hidden
                and "completion" not in one.name
                and one.name != "help"
            ):
                assert all(f"`{name}`" in section for name in one.opts), f"{path} {one.opts}"


def test_every_command_and_option_is_told_of_beside_the_reference(make: ModuleType) -> None:
    told = words(prose(make, without="commands.md"))
    of_identity = {f"--{kind.name.replace('_', '-')}" for kind in make.TYPES}
    missing = [
        f"{path} {name}"
        for path, command in every_command(make)
        for one in command.params
        if one.param_type_name == "option"
        and not one.hidden
        and "completion" not in one.name
        and one.name != "help"
        for name in one.opts
        if name.startswith("--") and name not in told | of_identity
    ]
    assert not missing
    assert all(path.split()[-1] in told for path, _ in every_command(make))


def test_the_configuration_that_is_shown_is_one(tmp_path: Path) -> None:
    from profilectl.configuration import read_config

    shown = re.findall(
        r"^```toml\n(.*?)^```",
        (ROOT / "docs" / "configuration.md").read_text("utf-8"),
        re.DOTALL | re.MULTILINE,
    )
    assert shown
    for number, text in enumerate(shown):
        file = tmp_path / f"{number}.toml"
        file.write_text(text)
        assert read_config(file).feeds


def test_every_code_stands_in_the_rules_with_its_sentence() -> None:
    rules = (ROOT / "docs" / "rules.md").read_text("utf-8")
    missing = [
        code for code, meaning in CODES.items() if f"| `{code}` | {meaning.sentence} |" not in rules
    ]
    assert not missing


def test_every_key_of_a_report_is_explained() -> None:
    from profilectl.rules import counts as report

    text = (ROOT / "docs" / "importing.md").read_text("utf-8").partition("## The report")[2]
    document = report.ImportReport(1, "f", "s", "p", "e", [], already_imported=1).as_json()
    groups = {
        "rows": report.ROWS,
        "profiles": report.PROFILES,
        "identities": report.IDENTITIES,
        "attributes": report.ATTRIBUTES,
    }
    for key in document:
        assert f"`{key}`" in text or f"`{key}." in text, key
        assert all(
            f"`{member}`" in text or f"`{key}.{member}`" in text for member in groups.get(key, ())
        ), key


def test_every_table_of_the_store_is_explained() -> None:
    schema = (ROOT / "profilectl" / "store" / "schema.sql").read_text("utf-8")
    text = (ROOT / "docs" / "store.md").read_text("utf-8")
    assert [
        name
        for name in re.findall(r"create table store\.(\w+)", schema)
        if f"| `{name}` |" not in text
    ] == []


def test_links_lead_somewhere() -> None:
    for path in DOCUMENTS:
        for target in re.findall(r"\]\((?!https?:)([^)]+)\)", path.read_text("utf-8")):
            file, _, anchor = target.partition("#")
            found = (path.parent / file) if file else path
            assert found.exists(), f"{path.name}: {target}"
            if anchor:
                headings = re.findall(r"^#+ (.+)$", found.read_text("utf-8"), re.MULTILINE)
                assert anchor in [
                    re.sub(r"[^\w -]", "", one).lower().replace(" ", "-") for one in headings
                ], target


def test_every_measure_of_security_has_the_test_it_names() -> None:
    named = re.findall(
        r"`(test_\w+\.py)::(test_\w+)`", (ROOT / "docs" / "security.md").read_text("utf-8")
    )
    assert len(named) > 25
    texts = {
        path.name: path.read_text("utf-8") for path in sorted((ROOT / "tests").rglob("test_*.py"))
    }
    missing = [
        f"{file}::{test}" for file, test in named if f"def {test}(" not in texts.get(file, "")
    ]
    assert missing == []
