"""The store: attaching and locking, settings, feeds, segments, one transaction.

The store is attached to a scratch connection as `store`, and for as short a time as can be: whoever
writes shuts everybody else out, whoever reads shuts writers out. opening opens and makes stores.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import duckdb

from profilectl.codes import InputRefused, StoreUnusable, UsageError
from profilectl.rules.feed import (
    ACCOUNT,
    DEFAULT_PROTECTION,
    DEFAULT_WORKSPACE,
    Feed,
    source_named_by,
)
from profilectl.rules.reimport import Brought, way_of
from profilectl.rules.workspace import chosen_workspace
from profilectl.store.attaching import plain, store_name
from profilectl.store.scratch import Scratch
from profilectl.store.segments import Segment
from profilectl.store.settings import Settings, settings_from

DISK_FAILED = (duckdb.IOException, duckdb.FatalException, duckdb.InternalException)
"""What DuckDB raises where the disk does not take what is written, or not to its end."""


@dataclass(frozen=True, slots=True)
class State:
    """What the outcome of an import rests on, besides its files: which store it is, the imports in
    it (number, and whether it was undone), the settings, the feeds, the calculated attributes
    and the last act of erasure. Two equal states give equal outcomes; compaction does not change
    it.
    """

    store: str
    imports: tuple[tuple[int, bool], ...]
    settings: dict[str, Any]
    feeds: tuple[Feed, ...]
    calculated: tuple[str, ...] = ()
    erasure: int = 0


class OpenStore:
    """An open store. Made by `open_store`; valid within its context only."""

    def __init__(self, scratch: Scratch, path: Path) -> None:
        self.scratch = scratch
        self.path = path
        self.workspace = chosen_workspace()

    def means(self, workspace: str) -> bool:
        """Say whether a list is to name what belongs to a workspace: where none is named, all do."""
        return self.workspace in (None, workspace)

    # settings

    def meta(self, name: str) -> str:
        found = self.scratch.rows("select value from store.meta where name = $name", {"name": name})
        if not found:
            raise StoreUnusable(f"{self.path} is damaged: its {name} is gone", "restore a backup")
        return str(found[0][0])

    def settings(self) -> Settings:
        """Return the rules in force."""
        try:
            return settings_from(
                {
                    name: json.loads(value)
                    for name, value in self.scratch.rows("select name, value from store.setting")
                }
            )
        except (ValueError, RecursionError, TypeError, KeyError):
            raise StoreUnusable(
                f"{self.path} is damaged: a setting in it is none", "restore a backup"
            ) from None

    def put_settings(self, stated: dict[str, Any]) -> None:
        """Replace all settings; called within a transaction."""
        self.scratch.run("delete from store.setting")
        for name, value in sorted(stated.items()):
            self.scratch.run(
                "insert into store.setting values ($name, $value)",
                {"name": name, "value": json.dumps(value)},
            )

    # feeds

    def feeds(self) -> list[Feed]:
        found = self.scratch.rows(
            "select name, source, protection, partner, number, workspace from store.feed order by name"
        )
        return [Feed(*row) for row in found]

    def feed(self, name: str) -> Feed | None:
        return next((feed for feed in self.feeds() if feed.name == name), None)

    def put_feed(self, feed: Feed, *, by_import: int | None = None) -> Feed:
        """Register a feed, or change its protection level; return it with its number.

        by_import: the import that registers it; a feed that somebody declares stays when imports
        go.
        """
        number = feed.number
        if number and self.feed(feed.name):
            self.scratch.run(
                "update store.feed set protection = $protection, import = null where number = $number",
                {"protection": feed.protection, "number": number},
            )
        else:
            number = number or self.next_feed()
            self.scratch.run(
                "insert into store.feed values ($number, $name, $source, $protection, $partner, $import, $workspace)",
                {
                    "number": number,
                    "name": feed.name,
                    "source": feed.source,
                    "protection": feed.protection,
                    "partner": feed.partner,
                    "import": by_import,
                    "workspace": feed.workspace,
                },
            )
        return replace(feed, number=number)

    def next_feed(self) -> int:
        """Return the number of the next feed; that of one that is gone is not used again."""
        return int(
            self.scratch.row(
                "select 1 + greatest(coalesce((select max(number) from store.feed), 0), coalesce((select max(feed) from store.import), 0))"
            )[0]
        )

    def imports_by_feed(self) -> dict[int, int]:
        return dict(
            self.scratch.rows(
                "select feed, count(*) from store.import where undone_ms is null group by feed"
            )
        )

    # calculated attributes and audiences

    def has_definitions(self) -> bool:
        """Say whether anything must be kept up to date after an import."""
        return bool(
            self.scratch.row(
                "select (select count(*) from store.calculation) + (select count(*) from store.audience)"
            )[0]
        )

    def calculated(self, workspace: str | None = None) -> list[str]:
        """Return the names of the calculated attributes that are no drafts: of one workspace, or of
        all.
        """
        found = self.calculated_by_workspace()
        return sorted(
            name
            for belongs, names in found.items()
            for name in names
            if workspace in (None, belongs)
        )

    def calculated_by_workspace(self) -> dict[str, list[str]]:
        """Return the names of the calculated attributes that are no drafts, by the workspace that
        calculates them.
        """
        rows = self.scratch.rows(
            "select name, coalesce(definition->>'workspace', $default) from store.calculation"
            " where not coalesce((definition->>'draft')::boolean, false) order by name",
            {"default": DEFAULT_WORKSPACE},
        )
        found: dict[str, list[str]] = {}
        for name, workspace in rows:
            found.setdefault(workspace, []).append(name)
        return found

    # history

    def state(self) -> State:
        """Return what the outcome of an import rests on."""
        imports = self.scratch.rows(
            "select number, undone_ms is not null from store.import order by number"
        )
        return State(
            store_name(self.meta("secret")),
            tuple((number, undone) for number, undone in imports),
            self.settings().stated,
            tuple(self.feeds()),
            tuple(self.calculated()),
            self.next_erasure() - 1,
        )

    def next_import(self) -> tuple[int, int]:
        """Return the number of the next import, and its first arrival.

        Neither is ever used twice, also where an import was undone: a profile's MPID follows from
        its arrival.
        """
        number, arrival = self.scratch.row(
            "select coalesce(max(number), 0) + 1, coalesce(max(first_arrival + arrivals), 0) from store.import"
        )
        return int(number), int(arrival)

    def brought(self, feed: Feed, sha256: str) -> list[Brought]:
        """Return the imports in force that brought a content for a feed, the newest first."""
        rows = self.scratch.rows(
            "select import.number, import.protection, import.request, import.report, import_file.path from store.import"
            " join store.import_file on import_file.import = import.number where import.feed = $feed"
            " and import.undone_ms is null and import_file.sha256 = $sha256 order by number desc, import_file.path",
            {"feed": feed.number, "sha256": sha256},
        )
        return [
            Brought(
                number,
                way_of(json.loads(request) if request else {}, protection),
                json.loads(report)["rows"]["applied"],
                path,
            )
            for number, protection, request, report, path in rows
        ]

    def next_erasure(self) -> int:
        """Return the number of the next act of erasure."""
        return int(self.scratch.row("select coalesce(max(number), 0) + 1 from store.erasure")[0])

    # segments

    def segments(self) -> list[Segment]:
        """Return the segments, oldest first."""
        found = self.scratch.rows(
            "select number, first_import, last_import, rows, tables, identities, keys from store.segment"
            " order by first_import"
        )
        return [Segment(*row[:4], *map(tuple, row[4:])) for row in found]

    def removals(self) -> bool:
        """Say whether an identity was ever taken from a profile."""
        return bool(self.scratch.row("select count(*) from store.removed")[0])

    def put_segment(self, segment: Segment, *, into: str = "store") -> None:
        """Write a segment down. into: the database, where it is not the store itself."""
        self.scratch.run(
            f"insert into {into}.segment values ($number, $first, $last, $rows, $tables, $identities, $keys)",
            {
                "number": segment.number,
                "first": segment.first_import,
                "last": segment.last_import,
                "rows": segment.rows,
                "tables": list(segment.tables),
                "identities": list(segment.identities),
                "keys": list(segment.keys),
            },
        )

    def drop_segment(self, segment: Segment) -> None:
        for kind in segment.tables:
            self.scratch.run(f"drop table {segment.table(kind)}")
        self.scratch.run(
            "delete from store.segment where number = $number", {"number": segment.number}
        )

    def next_segment(self) -> int:
        return int(self.scratch.row("select coalesce(max(number), 0) + 1 from store.segment")[0])

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit everything or nothing. Raises StoreUnusable where the disk does not take it."""
        self.scratch.run("begin transaction")
        try:
            yield
            self.scratch.run("commit")
        except BaseException as error:
            # After a failed write DuckDB takes no further statement; the file is as before all the
            # same.
            with contextlib.suppress(duckdb.Error):
                self.scratch.run("rollback")
            if isinstance(error, DISK_FAILED) or (
                isinstance(error, duckdb.TransactionException) and "Failed to commit" in str(error)
            ):
                raise StoreUnusable(
                    f"{self.path} could not be written: {plain(error)}",
                    "the store is as before; make room, or mend the disk",
                ) from None
            raise


def who() -> str:
    """Return who runs this: user@machine."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container without a password file
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


def choose_feed(
    known: Feed | None,
    name: str,
    source: str | None,
    protection: str | None,
    partner: str | None,
    workspace: str | None = None,
) -> Feed:
    """Return the feed of an import: the registered one, or a new one (design.md R7 to R9).

    Raises InputRefused where the source, the partner or the workspace differs from the registered
    one.
    """
    if known is None:
        source = source or source_named_by(name)
        if partner and source != "partner":
            raise UsageError("--partner goes with --source partner")
        belongs = DEFAULT_WORKSPACE if source == ACCOUNT else workspace or DEFAULT_WORKSPACE
        return Feed(name, source, protection or DEFAULT_PROTECTION, partner, workspace=belongs)
    if workspace and not known.seen_in(workspace):
        raise InputRefused(
            f"the feed {name} belongs to the workspace {known.workspace}, not to {workspace}",
            "its attributes are that workspace's: use another feed name",
        )
    if source and source != known.source:
        raise InputRefused(
            f"the feed {name} is registered with source {known.source}, not {source}",
            "a feed's source is what its attributes' ownership rests on: use another feed name",
        )
    if partner and partner != (known.partner or known.name):
        raise InputRefused(
            f"the feed {name} is registered with partner {known.partner or known.name}, not {partner}"
        )
    return known


def columns_of(scratch: Scratch) -> dict[str, list[str]]:
    """Return the columns of every table of the attached store."""
    found: dict[str, list[str]] = {}
    for table, column in scratch.rows(
        "select table_name, column_name from duckdb_columns() where database_name = 'store' order by table_name, column_index"
    ):
        found.setdefault(table, []).append(column)
    return found
