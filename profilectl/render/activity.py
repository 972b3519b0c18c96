"""The user activity view: panels on a terminal, plain lines in a pipe, or a picture in a file."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from profilectl.files.whole_file import whole_file
from profilectl.render.panels import panels
from profilectl.render.plain import plain
from profilectl.render.screen import console, print_line
from profilectl.render.sections import View
from profilectl.render.words import age, name_of
from profilectl.rules.text.terminal import visible

if TYPE_CHECKING:
    from profilectl.profiles.activity import Activity

SAVED_WIDTH = 120
"""The columns of a saved view, if COLUMNS is not set."""


def print_activity(activity: Activity, view: View) -> None:
    """Print the view: panels on a terminal, plain lines in a pipe."""
    screen = console()
    if not screen.is_terminal:
        for line in plain(activity, view):
            print_line(line)
        return
    for panel in panels(activity, view, screen.width):
        screen.print(panel)


def save(path: Path, form: str, *, activity: Activity, view: View) -> None:
    """Save the view as a picture or a page. form: svg or html."""
    from rich.console import Console

    width = int(os.environ.get("COLUMNS", "0") or 0) or SAVED_WIDTH
    recorded = Console(
        record=True,
        width=width,
        file=io.StringIO(),
        force_terminal=True,
        highlight=False,
        markup=False,
        emoji=False,
        color_system="truecolor",
    )
    for panel in panels(activity, view, width):
        recorded.print(panel)
    title = visible(f"profilectl show: {name_of(activity)}")
    if form == "svg":
        text = without_fonts(recorded.export_svg(title=title))
    else:
        text = recorded.export_html(inline_styles=True)
    with whole_file(path, f"--save-{form}") as file:
        file.write(text.encode())


def without_fonts(picture: str) -> str:
    """Return an SVG that loads no fonts: the host of a font would learn who opens the file.

    Only the part up to the end of the style is changed; it has no value of a person.
    """
    head, end, drawn = picture.partition("</style>")
    head = re.sub(r"\s*@font-face\s*\{[^}]*\}", "", head)
    return re.sub(r"\s*<!--.*?-->", "", head) + end + drawn


def print_candidates(activities: Sequence[Activity], view: View) -> None:
    """Print several profiles to choose from."""
    for number, activity in enumerate(activities, start=1):
        last_seen = f"last seen {age(activity.last_seen_ms, view.now_ms)}"
        print_line(f"{number:>2}  {name_of(activity)}")
        print_line(f"    MPID {activity.mpid}, {activity.environment}, {last_seen}")
        identities = (f"{identity.type} {identity.value}" for identity in activity.identities)
        print_line("    " + ", ".join(identities))
