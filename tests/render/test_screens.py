"""What a person sees at a terminal of 80 x 24 and of 140 x 40: screens that were looked at.

The screens are the files of tests/cases/screens, the commands those of support/viewed.py. This
writes them anew, as they are now; look at each that `git diff` shows before you keep it:

    PROFILECTL_KEEP_SCREENS=1 python -m pytest -m "" tests/render/test_screens.py
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len
from support.at_terminal import Size
from support.kept_screens import keep_or_compare
from support.places import SCREENS
from support.terminal_text import Styled, shown, styled
from support.viewed import NARROW, VIEWED, VIEWED_BY_NIGHT, WIDE, Viewed

CHANGING = {
    r"in [0-9.]+ s \([0-9,]+ rows? a second": "in 0.2 s (1,200 rows a second",
    r"in [0-9.]+ s$": "in 0.2 s",
    r"[0-9,]+ bytes": "2,109,440 bytes",
    r"by [^ ]+@[^ ]+, ": "by ann@shop, ",
}
"""What differs from run to run or from machine to machine, and what a screen has in its place.

Numbers of profiles and times do not: the stores have one secret, and their imports one time.
"""
TO_COPY = re.compile(r" {4}profilectl |  --map ")
"""The beginning of a command that is to be copied: it is on one line, however long."""
READABLE = {31, 32, 35, 36}
"""The colours that are read on white and on black: no black, no white, no yellow, no blue (many
terminals have a dark one), none that is bright.
"""


def text_of(sent: str) -> str:
    """Return what a terminal shows, without what changes."""
    text = shown(sent)
    for pattern, same in CHANGING.items():
        text = re.sub(pattern, same, text, flags=re.MULTILINE)
    return text


def is_too_long(line: str, columns: int) -> bool:
    return cell_len(line) > columns and not TO_COPY.match(line)


def relies_on_a_background(part: Styled) -> bool:
    """Return whether letters can be read on white only, or on black only."""
    if not part.text.strip():
        return False
    own = part.foreground == () or (len(part.foreground) == 1 and part.foreground[0] in READABLE)
    return part.background != () or not own


def at_times(every: int) -> list[Any]:
    """Return the screens: each n-th of the usual ones for every run, the others as slow tests."""
    return [
        pytest.param(
            viewed,
            id=viewed.name,
            marks=[pytest.mark.slow] if place % every or place >= len(VIEWED) else [],
        )
        for place, viewed in enumerate([*VIEWED, *VIEWED_BY_NIGHT])
    ]


@pytest.mark.parametrize("viewed", at_times(1))
def test_a_narrow_screen_is_as_it_was_seen(viewed: Viewed, tmp_path: Path) -> None:
    check(viewed, NARROW, tmp_path)


@pytest.mark.parametrize("viewed", at_times(4))
def test_a_wide_screen_is_as_it_was_seen(viewed: Viewed, tmp_path: Path) -> None:
    check(viewed, WIDE, tmp_path)


def test_every_kept_screen_is_of_a_command() -> None:
    show = {"history", "right-to-left", "double-width", "many", "several", "as-of"}
    kept = {file.stem.rpartition("-")[0] for file in SCREENS.iterdir()}
    assert kept == {viewed.name for viewed in [*VIEWED, *VIEWED_BY_NIGHT]} | show | {"browse"}


def check(viewed: Viewed, size: Size, folder: Path) -> None:
    """Compare a screen with the one that was kept, and its styles with what any terminal shows."""
    screen = viewed.at(size, folder)
    assert screen.status == viewed.status, screen.text
    text = text_of(screen.text)
    keep_or_compare(f"{viewed.name}-{size.columns}", text)
    assert [line for line in text.splitlines() if is_too_long(line, size.columns)] == []
    assert [part for part in styled(screen.text) if relies_on_a_background(part)] == []


PLAIN = {"NO_COLOR": {"NO_COLOR": "1"}, "dumb": {"TERM": "dumb"}}


@pytest.mark.parametrize("variables", PLAIN)
@pytest.mark.parametrize("viewed", at_times(8))
def test_without_colours_the_text_is_the_same(
    viewed: Viewed, variables: str, tmp_path: Path
) -> None:
    screen = viewed.at(NARROW, tmp_path, **PLAIN[variables])
    keep_or_compare(f"{viewed.name}-80", text_of(screen.text))
    colours = [
        part for part in styled(screen.text) if (part.foreground, part.background) != ((), ())
    ]
    assert colours == []
    if variables == "dumb":
        assert "\x1b" not in screen.text
