"""The screens that were looked at: which command at which store, and what of it never changes."""

from __future__ import annotations

import contextlib
import shlex
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

from support import people
from support.at_terminal import Screen, Size, seen
from support.doors import call, made_once
from support.places import SAMPLES

from profilectl.importing.request import ImportRequest
from profilectl.importing.run import import_files

MESSY = "sample_data/messy"
CONTACTS = f"{MESSY}/contacts.csv"
CONTACTS_READ = f"{CONTACTS} --encoding windows-1252 --skip-lines 2"
WAREHOUSE = f"{MESSY}/warehouse.parquet"
NARROW = Size(columns=80, lines=24)
WIDE = Size(columns=140, lines=40)


def _samples(folder: Path) -> None:
    shutil.copytree(SAMPLES, folder / "sample_data")


def _contacts(folder: Path) -> None:
    """Make a store with the contacts, whose feed remembers how they are read."""
    people.empty(folder)
    _samples(folder)
    with contextlib.chdir(folder):
        import_files(
            folder / "profiles.duckdb",
            ImportRequest(
                [CONTACTS],
                "crm",
                source="csv",
                mapped=[
                    "Contact ID=customer_id",
                    "E-Mail Address=email",
                    "Mobile Phone=mobile_number",
                ],
                encoding="windows-1252",
                skip_lines=2,
                rejects="none",
                remember=True,
                now_ms=people.NOW_MS - 2 * people.DAY_MS,
            ),
        )


def _shop(folder: Path) -> None:
    """Make a store with the contacts and the warehouse, which know the same people."""
    _contacts(folder)
    with contextlib.chdir(folder):
        import_files(
            folder / "profiles.duckdb",
            ImportRequest(
                [WAREHOUSE],
                "warehouse",
                mapped=["customer_key=customer_id", "email_address=email"],
                now_ms=people.NOW_MS - people.DAY_MS,
            ),
        )


VISITED_MS = 1_795_200_000_000
"""When the visits are imported: after the last of them."""
AFTER_VISITS = {"SOURCE_DATE_EPOCH": str(VISITED_MS // 1000 + 86_400)}
"""When they are looked at."""


def _visits(folder: Path) -> None:
    """Make a store with visits: sessions, screens and purchases."""
    people.empty(folder)
    _samples(folder)
    with contextlib.chdir(folder):
        import_files(
            folder / "profiles.duckdb",
            ImportRequest(["sample_data/activity.jsonl"], "app", now_ms=VISITED_MS),
        )


STATED = """
[audiences.gold]
criteria = "tier = 'gold'"

[calculated.purchases]
type = "count"
event_type = "commerce_event"
event = "purchase"

[outputs.lake]
type = "jsonl"
path = "lake.jsonl"

[connections.crm-lake]
feed = "crm"
output = "lake"

[retention]
retention_days = 400
"""


def _configured(folder: Path) -> None:
    """Make the store of people with all that a configuration can state."""
    people.make(folder)
    (folder / "stated.toml").write_text(STATED)
    (folder / "little.toml").write_text("[history]\nkeep = 5\n")
    with patch("time.time_ns", return_value=people.NOW_MS * 1_000_000):
        assert call("config", "apply", "stated.toml", folder=folder).exit_code == 0


FOLDERS: Mapping[str, Callable[[Path], object]] = {
    "samples": made_once(_samples),
    "contacts": made_once(_contacts),
    "shop": made_once(_shop),
    "people": people.make,
    "configured": made_once(_configured),
    "visits": made_once(_visits),
}
"""What a folder has before its command, by name."""


class Viewed(NamedTuple):
    """A screen that was looked at."""

    name: str
    """Its name: that of its files."""
    of: str
    """What the folder has before, one of FOLDERS."""
    command: str
    """The words after `profilectl`, as a shell takes them."""
    status: int = 0
    """The exit status."""
    answer: str = ""
    """What is answered to its question."""
    asks: str = "[y/N]: "
    """The end of its question."""

    def at(self, size: Size, folder: Path, **more: str) -> Screen:
        """Run the command at a terminal of this size; its text is all that the terminal was sent.

        more: variables of its environment.
        """
        FOLDERS[self.of](folder)
        return seen(
            *shlex.split(self.command),
            folder=folder,
            size=size,
            answer=self.answer,
            asks=self.asks,
            **(AFTER_VISITS if self.of == "visits" else people.NOW),
            **more,
        )


MAPPED = '--map "Contact ID=customer_id" --map "E-Mail Address=email"'
# fmt: off
VIEWED = [
    Viewed("columns-csv", "samples", f"columns {CONTACTS_READ}"),
    Viewed("columns-jsonl", "samples", f"columns {MESSY}/app.jsonl"),
    Viewed("columns-parquet", "samples", "columns sample_data/crm.parquet"),
    Viewed("columns-several", "samples",
           f"columns {WAREHOUSE} {MESSY}/app.jsonl sample_data/newsletter-custom_event.csv"),
    Viewed("import-encoding", "samples", f"import {CONTACTS} --feed crm", status=4),
    Viewed("import-rejects", "samples", f"import {CONTACTS_READ} --feed crm {MAPPED}", status=3),
    Viewed("import-advice", "contacts",
           f"import {WAREHOUSE} --feed warehouse --map customer_key=customer_id"
           " --map email_address=email"),
    Viewed("import-dry-run", "people", "import wh.csv --feed shop --dry-run"),
    Viewed("imports-list", "shop", "imports list"),
    Viewed("imports-undo", "shop", "imports undo 2", status=130, answer="n\n"),
    Viewed("forget", "shop", "forget --email mia.a61@example.com --all", status=130, answer="n\n"),
    Viewed("prune", "configured", "config apply little.toml --prune", status=130, answer="n\n"),
    Viewed("feeds-show", "contacts", "feeds show crm"),
    Viewed("stats", "shop", "stats"),
    Viewed("explain-row", "shop", f"explain row {WAREHOUSE}:1"),
    Viewed("explain-attribute", "people", "explain attribute C1 --attribute tier"),
    Viewed("preview", "people", "audiences preview 'tier exists'"),
    Viewed("calculated-list", "configured", "calculated list"),
    Viewed("events", "visits", "events --limit 4"),
    Viewed("search-nobody", "people", "search lie@", status=7),
    Viewed("amelie", "people", "show --email amelie@example.org"),
    Viewed("help", "samples", "--help"),
    Viewed("help-import", "samples", "import --help"),
    Viewed("help-show", "samples", "help show"),
]
VIEWED_BY_NIGHT = [
    Viewed("import-nobody", "samples", f"import {CONTACTS_READ} --feed crm", status=4),
    Viewed("import-again", "contacts", f"import {CONTACTS} --feed crm"),
    Viewed("imports-show", "shop", "imports show 2"),
    Viewed("imports-undo-refused", "shop", "imports undo 1", status=4),
    Viewed("feeds-list", "people", "feeds list"),
    Viewed("explain-identity", "people", "explain identity C1"),
    Viewed("explain-rules", "people", "explain rules"),
    Viewed("audiences-list", "configured", "audiences list"),
    Viewed("audiences-members", "configured", "audiences members gold"),
    Viewed("usage", "people", "usage"),
    Viewed("show-several", "people", "show shared@example.org --section details", answer="2\n",
           asks="Which (1 to 2): "),
    Viewed("show-visits", "visits", "show 0011364"),
    Viewed("stream", "visits", "stream --limit 3"),
    Viewed("search", "people", "search shared"),
    Viewed("show-nobody", "people", "show --email nobody@example.org", status=7),
]
# fmt: on
"""The screens, each with the folder, the command and how it ends: of every run, and others."""
