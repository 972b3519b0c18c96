"""An open store: its settings, feeds, imports and segments, and the transaction that changes it.

It is attached to a scratch as `store`, for as short a time as possible: a process that writes shuts
everybody else out, and one that reads shuts writers out. opening.py opens and makes stores.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from profilectl.codes import InputRefused, StoreUnusable, UsageError
from profilectl.rules.feed import (
    ACCOUNT,
    DEFAULT_PROTECTION,
    DEFAULT_WORKSPACE,
    Feed,
    source_named_by,
)
from profilectl.rules.mpid import mix_of
from profilectl.rules.workspace import chosen_workspace
from profilectl.store.attaching import plain, store_name
from profilectl.store.engine import duckdb
from profilectl.store.scratch import Scratch
from profilectl.store.segments import Segment

if TYPE_CHECKING:
    from profilectl.rules.reimport import EarlierImport
    from profilectl.store.settings import Settings

DISK_FAILED = (duckdb.IOException, duckdb.FatalException, duckdb.InternalException)
"""The errors of DuckDB if the disk does not take everything that is written."""


META = "select value from store.meta where name = $name"
SETTINGS = "select name, value from store.setting"
DROP_SETTINGS = "delete from store.setting"
PUT_SETTING = "insert into store.setting values ($name, $value)"

FEEDS = """
select name, source, protection, partner, number, workspace
from store.feed
order by name
"""
CHANGE_FEED = """
update store.feed
set protection = $protection, import = null
where number = $number
"""
PUT_FEED = """
insert into store.feed
values ($number, $name, $source, $protection, $partner, $import, $workspace, null)
"""
READING = "select reading from store.feed where name = $name"
READINGS = "select name, reading from store.feed where reading is not null order by name"
PUT_READING = "update store.feed set reading = $reading where name = $name"
# A feed that went with its import still has its number in store.import.
NEXT_FEED = """
select 1 + greatest(
    coalesce((select max(number) from store.feed), 0),
    coalesce((select max(feed) from store.import), 0)
)
"""
IMPORTS_BY_FEED = """
select feed, count(*)
from store.import
where undone_ms is null
group by feed
"""

DEFINITIONS = """
select (select count(*) from store.calculation) + (select count(*) from store.audience)
"""
# A definition names its workspace only if that is not the default one (Definition.as_table).
CALCULATED = """
select name, coalesce(definition->>'workspace', $default)
from store.calculation
where not coalesce((definition->>'draft')::boolean, false)
order by name
"""

IMPORTS = "select number, undone_ms is not null from store.import order by number"
NEXT_IMPORT = """
select coalesce(max(number), 0) + 1, coalesce(max(first_arrival + arrivals), 0)
from store.import
"""
# The newest first, as reimport.content_status takes them.
BROUGHT = """
select import.number, import.protection, import.request, import.report, import_file.path
from store.import
join store.import_file on import_file.import = import.number
where import.feed = $feed and import.undone_ms is null and import_file.sha256 = $sha256
order by number desc, import_file.path
"""
NEXT_ERASURE = "select coalesce(max(number), 0) + 1 from store.erasure"

SEGMENTS = """
select number, first_import, last_import, rows, tables, identities, keys,
       coalesce(by_hand, false)
from store.segment
order by first_import
"""
REMOVED = "select count(*) from store.removed"
DROP_SEGMENT = "delete from store.segment where number = $number"
NEXT_SEGMENT = "select coalesce(max(number), 0) + 1 from store.segment"

COLUMNS = """
select table_name, column_name
from duckdb_columns()
where database_name = 'store'
order by table_name, column_index
"""


@dataclass(frozen=True, slots=True)
class State:
    """Everything that the outcome of an import rests on, besides its files.

    Two equal states give equal outcomes; compaction does not change a state.
    """

    store: str
    """The name of the store (attaching.store_name)."""
    imports: tuple[tuple[int, bool], ...]
    """The imports: the number of each, and whether it was undone."""
    settings: dict[str, Any]
    """The settings that somebody set."""
    feeds: tuple[Feed, ...]
    """The feeds, by name."""
    calculated: tuple[str, ...] = ()
    """The names of the calculated attributes."""
    erasure: int = 0
    """The number of the last act of erasure."""


class OpenStore:
    """An open store. Made by `open_store`; valid within its context only."""

    def __init__(self, scratch: Scratch, path: Path) -> None:
        self.scratch = scratch
        self.path = path
        self.workspace = chosen_workspace()
        self._secret: str | None = None

    def means(self, workspace: str) -> bool:
        """Return whether a workspace is the one that --workspace names, or none is named."""
        return self.workspace in (None, workspace)

    # settings

    def meta(self, name: str) -> str:
        """Return an entry of store.meta, such as the secret. Raises StoreUnusable if it is gone."""
        if name == "secret" and self._secret is not None:
            return self._secret
        rows = self.scratch.rows(META, {"name": name})
        if not rows:
            raise StoreUnusable(f"{self.path} is damaged: its {name} is gone", "restore a backup")
        if name == "secret":  # it never changes, and up to six steps of an import need it
            self._secret = str(rows[0][0])
        return str(rows[0][0])

    def settings(self) -> Settings:
        """Return the settings in force. Raises StoreUnusable."""
        # Imported here, with the rules of batches: who reads one person needs none of them.
        from profilectl.store.settings import settings_from

        try:
            rows = self.scratch.rows(SETTINGS)
            return settings_from({name: json.loads(value) for name, value in rows})
        except (ValueError, RecursionError, TypeError, KeyError):
            raise StoreUnusable(
                f"{self.path} is damaged: a setting in it is none", "restore a backup"
            ) from None

    def put_settings(self, settings: dict[str, Any]) -> None:
        """Replace all settings; called within a transaction."""
        self.scratch.run(DROP_SETTINGS)
        for name, value in sorted(settings.items()):
            self.scratch.run(PUT_SETTING, {"name": name, "value": json.dumps(value)})

    # feeds

    def feeds(self) -> list[Feed]:
        """Return the feeds, by name."""
        return [Feed(*row) for row in self.scratch.rows(FEEDS)]

    def feed(self, name: str) -> Feed | None:
        """Return a feed by its name; None: there is none."""
        return next((feed for feed in self.feeds() if feed.name == name), None)

    def put_feed(self, feed: Feed, *, by_import: int | None = None) -> Feed:
        """Register a feed, or change its protection level; return it with its number.

        `by_import` is the import that registers it; if that is undone, the feed goes too. None:
        somebody declares the feed, and it stays.
        """
        number = feed.number
        if number and self.feed(feed.name):
            self.scratch.run(CHANGE_FEED, {"protection": feed.protection, "number": number})
        else:
            number = number or self.next_feed()
            self.scratch.run(
                PUT_FEED,
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

    def reading(self, name: str) -> dict[str, object]:
        """Return the reading of a feed (reimport.FeedReading); {}: it has none."""
        rows = self.scratch.rows(READING, {"name": name})
        return self._read(rows[0][0]) if rows and rows[0][0] else {}

    def readings(self) -> dict[str, dict[str, object]]:
        """Return the readings of all feeds that have one, by their names."""
        return {name: self._read(reading) for name, reading in self.scratch.rows(READINGS)}

    def _read(self, reading: str) -> dict[str, object]:
        """Return a reading that the store holds. Raises StoreUnusable for what is none."""
        # Imported here: only an import, and what lists feeds, needs the rules of readings.
        from profilectl.rules.reimport import checked_reading

        try:
            return checked_reading("a reading in the store", json.loads(reading))
        except (ValueError, RecursionError, UsageError):
            raise StoreUnusable(
                f"{self.path} is damaged: the reading of a feed in it is none", "restore a backup"
            ) from None

    def put_reading(self, name: str, reading: Mapping[str, object]) -> None:
        """Make a reading that of a feed; {} takes it away. Called within a transaction."""
        text = json.dumps(reading) if reading else None
        self.scratch.run(PUT_READING, {"name": name, "reading": text})

    def next_feed(self) -> int:
        """Return the number of the next feed; no number is used twice, even if a feed is gone."""
        return int(self.scratch.row(NEXT_FEED)[0])

    def imports_by_feed(self) -> dict[int, int]:
        """Return how many imports in force each feed has, by its number."""
        return dict(self.scratch.rows(IMPORTS_BY_FEED))

    # calculated attributes and audiences

    def has_definitions(self) -> bool:
        """Return whether anything must be kept up to date after an import."""
        return bool(self.scratch.row(DEFINITIONS)[0])

    def calculated(self, workspace: str | None = None) -> list[str]:
        """Return the names of the calculated attributes that are no drafts.

        With `workspace` only its own are returned; None: all.
        """
        return sorted(
            name
            for owner, names in self.calculated_by_workspace().items()
            for name in names
            if workspace in (None, owner)
        )

    def calculated_by_workspace(self) -> dict[str, list[str]]:
        """Return the names of the calculated attributes that are no drafts, by their workspace."""
        by_workspace: dict[str, list[str]] = {}
        for name, workspace in self.scratch.rows(CALCULATED, {"default": DEFAULT_WORKSPACE}):
            by_workspace.setdefault(workspace, []).append(name)
        return by_workspace

    # history

    def state(self) -> State:
        """Return what the outcome of an import rests on."""
        return State(
            store=store_name(self.meta("secret")),
            imports=tuple((number, undone) for number, undone in self.scratch.rows(IMPORTS)),
            settings=self.settings().stated,
            feeds=tuple(self.feeds()),
            calculated=tuple(self.calculated()),
            erasure=self.next_erasure() - 1,
        )

    def next_import(self) -> tuple[int, int]:
        """Return the number of the next import, and its first arrival.

        Neither is ever used twice, even if an import was undone: a profile's MPID follows from its
        arrival.
        """
        number, arrival = self.scratch.row(NEXT_IMPORT)
        return int(number), int(arrival)

    def brought(self, feed: Feed, sha256: str) -> list[EarlierImport]:
        """Return the imports in force that brought a content for a feed, the newest first."""
        from profilectl.rules.reimport import EarlierImport, way_of

        rows = self.scratch.rows(BROUGHT, {"feed": feed.number, "sha256": sha256})
        return [
            EarlierImport(
                number,
                way_of(json.loads(request) if request else {}, protection),
                json.loads(report)["rows"]["applied"],
                path=path,
            )
            for number, protection, request, report, path in rows
        ]

    def next_erasure(self) -> int:
        """Return the number of the next act of erasure."""
        return int(self.scratch.row(NEXT_ERASURE)[0])

    # segments

    def segments(self, listed_by: str = SEGMENTS) -> list[Segment]:
        """Return the segments, oldest first. listed_by: the SELECT that lists them."""
        listed, mix = self.scratch.rows(listed_by), mix_of(self.meta("secret"))
        return [
            Segment(
                number=number,
                first_import=first_import,
                last_import=last_import,
                rows=rows,
                tables=tuple(tables),
                identities=tuple(identities),
                keys=tuple(keys),
                mix=mix,
                by_hand=by_hand,
            )
            for number, first_import, last_import, rows, tables, identities, keys, by_hand in listed
        ]

    def removals(self) -> bool:
        """Return whether an identity was ever taken from a profile."""
        return bool(self.scratch.row(REMOVED)[0])

    def put_segment(self, segment: Segment, *, into: str = "store") -> None:
        """Add a segment to the list, of the store or of another database (`into`)."""
        self.scratch.run(
            f"insert into {into}.segment values"
            " ($number, $first_import, $last_import, $rows, $tables, $identities, $keys, $by_hand)",
            {
                "number": segment.number,
                "first_import": segment.first_import,
                "last_import": segment.last_import,
                "rows": segment.rows,
                "tables": list(segment.tables),
                "identities": list(segment.identities),
                "keys": list(segment.keys),
                "by_hand": segment.by_hand,
            },
        )

    def drop_segment(self, segment: Segment) -> None:
        """Drop the tables of a segment, and take it off the list."""
        for kind in segment.tables:
            self.scratch.run(f"drop table {segment.table(kind)}")
        self.scratch.run(DROP_SEGMENT, {"number": segment.number})

    def next_segment(self) -> int:
        """Return the number of the next segment."""
        return int(self.scratch.row(NEXT_SEGMENT)[0])

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit everything or nothing. Raises StoreUnusable if the disk does not take it."""
        self.scratch.run("begin transaction")
        try:
            yield
            self.scratch.run("commit")
        except BaseException as error:
            # After a failed write DuckDB refuses the rollback too; the file is as before in any
            # case.
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
    import getpass

    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container without a password file
        user = str(os.getuid())
    # The name that socket.gethostname() gives, without 6 ms to load that.
    return f"{user}@{os.uname().nodename}"


def choose_feed(
    known: Feed | None,
    name: str,
    source: str | None,
    protection: str | None,
    partner: str | None,
    workspace: str | None = None,
) -> Feed:
    """Return the feed of an import: the registered one, or a new one (design.md R7 to R9).

    Raises UsageError for a partner without the source partner, InputRefused if the source, the
    partner or the workspace differs from the registered one.
    """
    if known is None:
        source = source or source_named_by(name)
        if partner and source != "partner":
            raise UsageError("--partner goes with --source partner")
        return Feed(
            name=name,
            source=source,
            protection=protection or DEFAULT_PROTECTION,
            partner=partner,
            workspace=DEFAULT_WORKSPACE if source == ACCOUNT else workspace or DEFAULT_WORKSPACE,
        )
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
            f"the feed {name} is registered with partner {known.partner or known.name},"
            f" not {partner}"
        )
    return known


def columns_of(scratch: Scratch) -> dict[str, list[str]]:
    """Return the columns of every table of the attached store."""
    columns: dict[str, list[str]] = {}
    for table, column in scratch.rows(COLUMNS):
        columns.setdefault(table, []).append(column)
    return columns
