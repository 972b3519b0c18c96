"""The manual page: the pages of help in the language of man."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from profilectl.render.help import Example, HelpRow, Page, Section


@dataclass(frozen=True, slots=True)
class Manual:
    """What a manual page is made of."""

    version: str
    """The version of the program."""
    about: str
    """What the program is, in a sentence."""
    program: Page
    """The page of the program."""
    sections: Sequence[Section]
    """More sections, such as the variables of the environment."""
    commands: Sequence[Page]
    """The page of each command, in order."""


def troff_of(manual: Manual) -> str:
    """Return a manual page as man reads it."""
    *groups, options, statuses = manual.program.sections
    name, usage = manual.program.name, manual.program.usage
    about = manual.about[0].lower() + manual.about[1:].rstrip(".")
    lines = [
        f'.TH {name.upper()} 1 "" "{name} {manual.version}" "User Commands"',
        ".ad l",
        ".nh",
        ".SH NAME",
        f"{name} \\- {_text(about)}",
        ".SH SYNOPSIS",
        f".B {_text(usage)}",
        ".SH DESCRIPTION",
        *_paragraphs(manual.program.paragraphs),
        ".SH COMMANDS",
    ]
    for group in groups:
        lines += [f".SS {_text(group.title)}", *_rows(group.rows)]
    options = Section("Options", options.rows)
    for section in (options, statuses, *manual.sections):
        lines += [f".SH {_text(section.title).upper()}", *_rows(section.rows)]
    lines.append(".SH EACH COMMAND")
    for page in manual.commands:
        lines += _command(page)
    return "\n".join(lines) + "\n"


def _command(page: Page) -> Iterator[str]:
    yield f".SS {_text(page.name)}"
    yield f".B {_text(page.usage)}"
    for paragraph in page.paragraphs:
        yield from (".PP", *_paragraphs([paragraph]))
    for section in page.sections:
        yield from (".PP", f".I {_text(section.title)}", *_rows(section.rows))
    for example in page.examples:
        yield from _example(example)


def _example(example: Example) -> Iterator[str]:
    yield ".PP"
    if example.caption:
        yield f"{_text(example.caption)}:"
    yield from (".PP", ".RS 4", ".nf", _text(example.command), ".fi", ".RE")


def _rows(rows: Sequence[HelpRow]) -> Iterator[str]:
    for row in rows:
        yield from (".TP", f".B {_text(row.term)}", _text(row.text))


def _paragraphs(paragraphs: Sequence[str]) -> Iterator[str]:
    for number, paragraph in enumerate(paragraphs):
        if number:
            yield ".PP"
        yield _text(paragraph)


def _text(text: str) -> str:
    """Return a text in which nothing is a command of troff; what is code in it is bold."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq")
    escaped = escaped.replace('"', "\\(dq").replace("^", "\\(ha").replace("~", "\\(ti")
    bold = re.sub(r"`([^`]+)`", r"\\fB\1\\fR", escaped)
    return f"\\&{bold}" if bold.startswith(".") else bold
