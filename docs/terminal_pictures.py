"""Pictures of commands at a terminal of 80 columns, as they print; docs/make.py writes them."""

from __future__ import annotations

import io
import re
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
WIDTH = 80
MESSY = "sample_data/messy"
CONTACTS = ("--encoding", "windows-1252", "--skip-lines", "2")
MAPPED = ("--map", "Contact ID=customer_id", "--map", "E-Mail Address=email")
RATE = re.compile(r"in [0-9.]+ s \([0-9,]+ rows? a second\)")
SAME_RATE = "in 0.2 s (1,200 rows a second)"
"""What a picture says of the time, which differs from run to run."""


class Pictured(NamedTuple):
    """A command that has a picture."""

    words: Sequence[str]
    """The words after `profilectl`."""
    before: Sequence[Sequence[str]] = ()
    """The commands that make its store."""
    of_people: bool = False
    """Whether its store is that of tests/support/people.py, the same on every machine."""


PICTURED: Mapping[str, Pictured] = {
    "columns.svg": Pictured(["columns", f"{MESSY}/contacts.csv", *CONTACTS]),
    "import.svg": Pictured(
        ["import", f"{MESSY}/warehouse.parquet", "--feed", "warehouse",
         "--map", "customer_key=customer_id", "--map", "email_address=email"],
        before=[["--quiet", "import", f"{MESSY}/contacts.csv", "--feed", "crm", "--source", "csv",
                 "--rejects", "none", *CONTACTS, *MAPPED]],
    ),
    "preview.svg": Pictured(["audiences", "preview", "tier exists"], of_people=True),
}  # fmt: skip


def picture_of(name: str) -> str:
    """Return the picture of a command at a terminal, as SVG."""
    sys.path.insert(0, str(ROOT / "tests"))
    from support import people
    from support.at_terminal import at_terminal

    pictured = PICTURED[name]
    environment = {**people.NOW, "COLUMNS": str(WIDTH), "NO_COLOR": "", "TERM": "xterm-256color"}
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(ROOT / "sample_data", Path(folder) / "sample_data")
        if pictured.of_people:
            people.make(Path(folder))
        for words in pictured.before:
            at_terminal(*words, folder=Path(folder), **environment)
        screen = at_terminal(*pictured.words, folder=Path(folder), **environment)
    return drawn(pictured.words, screen.text)


def drawn(words: Sequence[str], text: str) -> str:
    """Return the picture of a command and what it printed."""
    from rich.console import Console
    from rich.text import Text

    from profilectl.render.activity import without_fonts

    console = Console(record=True, width=WIDTH, force_terminal=True, file=io.StringIO())
    command = " ".join(f'"{word}"' if " " in word else word for word in words)
    console.print(Text(f"$ profilectl {command}", style="bold"))
    console.print(Text.from_ansi(RATE.sub(SAME_RATE, text).rstrip("\n")))
    return without_fonts(console.export_svg(title=f"profilectl {words[0]}"))
