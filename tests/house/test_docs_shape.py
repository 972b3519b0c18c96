"""The documents have a shape: a short README, four shelves, guides that open alike, short lines."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = next(folder for folder in Path(__file__).resolve().parents if (folder / "docs").is_dir())
DOCS = ROOT / "docs"
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.glob("*.md"))]
README_LINES = 120
LINE = 100
CELL = 160
OPENING_EXAMPLE = 8
"""The lines of a guide's first example."""
WAY = 6
"""The files of one way through the code."""


def linked(text: str) -> list[str]:
    """Return the pages of docs/ that a text links to, without what stands after #."""
    return re.findall(r"\]\(([\w-]+\.md)(?:#[\w-]+)?\)", text)


def shelf(name: str) -> str:
    """Return one shelf of docs/README.md."""
    return (
        (DOCS / "README.md").read_text("utf-8").partition(f"\n## {name}\n")[2].partition("\n## ")[0]
    )


def outside_of_code(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines of a document that stand in no fenced block, with their numbers."""
    fenced = False
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        if line.startswith("```"):
            fenced = not fenced
        elif not fenced:
            yield number, line


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= README_LINES


def test_every_page_stands_on_one_shelf() -> None:
    names = ("Start", "Guides", "Reference", "How it works")
    shelves = {name: set(linked(shelf(name))) for name in names}
    assert all(shelves.values())
    pages = sorted(page for of_a_shelf in shelves.values() for page in of_a_shelf)
    assert pages == sorted(path.name for path in DOCS.glob("*.md") if path.name != "README.md")


@pytest.mark.parametrize("page", linked(shelf("Guides")))
def test_a_guide_opens_with_a_sentence_and_a_short_example(page: str) -> None:
    heading, purpose, example, *_ = (DOCS / page).read_text("utf-8").split("\n\n")
    assert heading.startswith("# ")
    sentence = " ".join(purpose.split())
    assert sentence.endswith(".")
    assert not re.search(r"[.!?] [A-Z`]", sentence), (
        f"{page} opens with more than one sentence: {sentence}"
    )
    whole = (DOCS / page).read_text("utf-8")
    assert example.startswith("```"), f"{page} has no example after its first sentence"
    block = whole[whole.index("```") :].split("\n```", 1)[0].splitlines()[1:]
    assert 1 <= len(block) <= OPENING_EXAMPLE, f"the first example of {page} has {len(block)} lines"


def test_no_cell_of_a_table_is_long() -> None:
    long = [
        f"{path.name}:{number}: {len(cell.strip())} characters"
        for path in DOCUMENTS
        for number, line in outside_of_code(path)
        if line.startswith("|")
        for cell in re.split(r"(?<!\\)\|", line)
        if len(cell.strip()) > CELL
    ]
    assert long == []


def test_no_line_is_long() -> None:
    long = [
        f"{path.name}:{number}: {len(line)} characters"
        for path in DOCUMENTS
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if len(line) > LINE
        and not line.startswith("|")
        # The example of a command's --help is one line.
        and not (path.name == "commands.md" and line.startswith("`profilectl "))
    ]
    assert long == []


def test_a_way_through_the_code_has_six_files_at_most() -> None:
    sections = (DOCS / "ways.md").read_text("utf-8").split("\n## ")[1:]
    ways = {part.partition("\n")[0]: re.findall(r"^\d\. ", part, re.MULTILINE) for part in sections}
    assert sum(bool(steps) for steps in ways.values()) == 4
    assert all(len(steps) <= WAY for steps in ways.values())


@pytest.mark.parametrize(
    "page", [DOCS / "ways.md", ROOT / "CONTRIBUTING.md"], ids=lambda path: path.name
)
def test_every_file_that_is_named_is_there(page: Path) -> None:
    names = re.findall(r"`([\w/]+/[\w/]*(?:\.py|\.sql)?|codes\.py)`", page.read_text("utf-8"))
    assert names
    places = (ROOT / "profilectl", ROOT)
    assert [name for name in names if not any((place / name).exists() for place in places)] == []


def test_what_is_said_to_decide_stands_in_its_file() -> None:
    answers = (DOCS / "ways.md").read_text("utf-8").partition("## Where is it decided?")[2]
    named = re.findall(r"`([\w/]+\.py)`: (?:the table )?`(\w+)`", answers)
    assert len(named) == 5
    texts = {path: (ROOT / "profilectl" / path).read_text("utf-8") for path, _ in named}
    missing = [
        (path, name)
        for path, name in named
        if not re.search(rf"^(?:def )?{name}\b", texts[path], re.MULTILINE)
    ]
    assert missing == []
