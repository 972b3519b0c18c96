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
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from support import forkserver
from support.places import ROOT, SCRIPTS, SUPPORT
from sybil import Document, Region
from sybil.parsers.markdown.lexers import FencedCodeBlockLexer

from profilectl.cli.pages import FOLDED, is_everywhere
from profilectl.codes import CODES
from profilectl.version import __version__

DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
ANYTHING = "..."


# Examples: a console block is commands after `$ ` and what each prints, stdout and stderr
# together. A command that takes several lines goes on after `> `, as a shell shows it.


@dataclass(frozen=True)
class Step:
    """A command of an example, and what it is to print."""

    command: str
    """The command, of one line or several."""
    expected: str
    """What it is to print; `...` matches any text."""
    line: int
    """Where it stands in its block, from 0."""


def steps(block: str) -> list[Step]:
    """Return the commands of a console block, in order."""
    examples: list[Step] = []
    for number, line in enumerate(block.splitlines()):
        if line.startswith("$ "):
            examples.append(Step(line[2:], "", number))
        elif not examples:
            raise ValueError(f"a console block begins with a command, not with {line!r}")
        elif line.startswith("> ") and not examples[-1].expected:
            command = f"{examples[-1].command}\n{line[2:]}"
            examples[-1] = replace(examples[-1], command=command)
        else:
            examples[-1] = replace(examples[-1], expected=f"{examples[-1].expected}{line}\n")
    return examples


def lines_of(text: str) -> str:
    """Return a text without what the eye does not see: blanks at the end of lines, blank lines."""
    return "\n".join(line.rstrip() for line in text.splitlines() if line.strip())


def agrees(expected: str, printed: str) -> bool:
    """Return whether a text is as expected; `...` matches any text, also none."""
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
    """A block of a document that is run."""

    path: Path
    """The document."""
    line: int
    """Where the block begins, from 1."""
    before: list[Step]
    """The commands that are run first."""
    steps: list[Step] = field(default_factory=list)
    """The commands of a console block."""
    program: str = ""
    """The text of a Python block."""

    def __str__(self) -> str:
        return f"{self.path.name}:{self.line}"


def fenced(path: Path, language: str) -> list[tuple[int, str]]:
    """Return the line and the text of each block of a language."""

    def regions(document: Document) -> Iterator[Region]:
        for block in FencedCodeBlockLexer(language)(document):
            source = block.lexemes["source"]
            yield Region(block.start, block.end, parsed=source, evaluator=lambda example: None)

    return [
        (example.line, str(example.parsed))
        for example in Document.parse(str(path), regions).examples()
    ]


def blocks() -> list[Block]:
    """Return every block that is run, document by document."""
    every: list[Block] = []
    for path in DOCUMENTS:
        # The console block after this comment comes before every other block of its document.
        _, mark, text = path.read_text("utf-8").partition("<!-- before each -->\n```console\n")
        before = steps(text.partition("```")[0]) if mark else []
        for line, text in fenced(path, "console"):
            examples = steps(text)
            is_before = examples == before
            every.append(Block(path, line, [] if is_before else before, steps=examples))
        every += [Block(path, line, before, program=text) for line, text in fenced(path, "python")]
    return every


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
    process = subprocess.run(
        [*command, "--version"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert process.stdout == f"profilectl {__version__}\n"


def run(step: Step, folder: Path, commands: Path, *, status: int) -> tuple[str, int]:
    """Run a command in a shell, and return what it printed, and its exit status.

    status: the exit status of the command before, for `echo $?`.
    """
    environment = {
        "PATH": f"{commands}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(folder),
        "LC_ALL": "C.UTF-8",
        "NO_COLOR": "1",
    }
    process = subprocess.run(
        ["/bin/sh", "-c", f"(exit {status}); {step.command}"],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=120,
        check=False,
    )
    return process.stdout.decode(), process.returncode


@pytest.fixture(scope="session")
def prepared(
    tmp_path_factory: pytest.TempPathFactory, commands: Path
) -> Callable[[list[Step]], tuple[Path, int]]:
    """Return a function: the folder in which some steps were run, once, and the status after it."""
    folders: dict[str, tuple[Path, int]] = {}

    def folder_after(before: list[Step]) -> tuple[Path, int]:
        key = "\n".join(step.command for step in before)
        if key not in folders:
            folder, status = tmp_path_factory.mktemp("before"), 0
            shutil.copytree(
                ROOT / "sample_data",
                folder / "sample_data",
                ignore=shutil.ignore_patterns("*.rejects.jsonl"),
            )
            for step in before:
                _, status = run(step, folder, commands, status=status)
            folders[key] = folder, status
        return folders[key]

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
        printed, status = run(step, tmp_path, commands, status=status)
        assert agrees(step.expected, printed), (
            f"{block.path}:{block.line + 1 + step.line}: $ {step.command}\n\n{printed}\n"
            f"but the document has\n\n{step.expected}"
        )
    if block.program:
        process = subprocess.run(
            [sys.executable, "-c", block.program],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert process.returncode == 0, f"{block.path}:{block.line}\n{process.stderr}"


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


def prose(*, without: str = "") -> str:
    """Return the documents; without: the name of one to leave out."""
    return "\n".join(path.read_text("utf-8") for path in DOCUMENTS if path.name != without)


def words(text: str) -> set[str]:
    """Return what stands in a document as code, word by word."""
    spans = re.findall(r"`([^`\n]+)`", text) + re.findall(
        r"^[$>] (.+)$|^    (.+)$", text, re.MULTILINE
    )
    flat = " ".join(" ".join(span) if isinstance(span, tuple) else span for span in spans)
    return set(re.split(r"[\s|,=]+", flat))


def every_command(make: ModuleType) -> list[tuple[str, Any]]:
    """Return each command with its name."""
    import typer

    commands = make.walk(typer.main.get_command(make.app), ("profilectl",))
    return [(" ".join(path), command) for path, command in commands]


def option_names(command: Any) -> list[str]:
    """Return the names of the options of a command, without those that every command has."""
    return [
        name
        for option in command.params
        if option.param_type_name == "option"
        and not option.hidden
        and not is_everywhere(option)
        and not FOLDED.intersection(option.opts)
        and "completion" not in option.name
        and option.name != "help"
        for name in option.opts
    ]


def test_every_command_and_option_is_in_the_reference(make: ModuleType) -> None:
    reference = (ROOT / "docs" / "commands.md").read_text("utf-8")
    for path, command in every_command(make):
        assert f"\n## {path}\n" in reference
        section = reference.partition(f"\n## {path}\n")[2].partition("\n## ")[0]
        missing = [name for name in option_names(command) if f"`{name}`" not in section]
        assert not missing, path
    identities = reference.partition("\n## Identities\n")[2]
    assert all(f"| `{name}` VALUE |" in identities for name in FOLDED)


def test_every_command_and_option_is_told_of_beside_the_reference(make: ModuleType) -> None:
    mentioned = words(prose(without="commands.md"))
    missing = [
        f"{path} {name}"
        for path, command in every_command(make)
        for name in option_names(command)
        if name.startswith("--") and name not in mentioned
    ]
    assert not missing
    assert all(path.split()[-1] in mentioned for path, _ in every_command(make))


def test_the_configuration_that_is_shown_is_one(tmp_path: Path) -> None:
    from profilectl.configuration.stated import read_config

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
    document = report.ImportReport(
        number=1,
        feed="f",
        source="s",
        protection="p",
        environment="e",
        files=[],
        already_imported=1,
    ).as_json()
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
    for path in [*DOCUMENTS, ROOT / "CONTRIBUTING.md"]:
        for target in re.findall(r"\]\((?!https?:)([^)]+)\)", path.read_text("utf-8")):
            file, _, anchor = target.partition("#")
            page = (path.parent / file) if file else path
            assert page.exists(), f"{path.name}: {target}"
            if anchor:
                headings = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
                anchors = [
                    re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-")
                    for heading in headings
                ]
                assert anchor in anchors, target


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
