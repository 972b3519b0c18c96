"""The store: opening, locking, schema version, feeds, settings, history, segments, compaction.

Nothing above this module names a table of the store or a file lock. The store is attached to a
scratch connection as `store`; it is held open for as short a time as can be.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import duckdb

from profilectl.batch import LIMITS, Reading
from profilectl.codes import InputRefused, StoreBusy, StoreUnusable, UsageError
from profilectl.feed import DEFAULT_PROTECTION, DEFAULT_SOURCE, Feed
from profilectl.identity import HIERARCHY, PLACEHOLDERS, Rules, flags_of
from profilectl.scratch import Scratch, quote_text
from profilectl.segments import Segment, known_identities

SCHEMA_VERSION = 1
MANY_SEGMENTS = 12
"""So many segments are read together without strain; beyond, small neighbours are laid together."""
KEEP_IMPORTS = 4
"""The last imports keep segments of their own, so that they can be taken back."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the configuration says, defaults filled in. stated: only what somebody set."""

    rules: Rules
    priority: str
    reading: Reading
    stated: dict[str, Any]


class Store:
    """An open store. Made by `open_store`; valid within its context only."""

    def __init__(self, scratch: Scratch, path: Path) -> None:
        self.scratch = scratch
        self.path = path

    # settings

    def meta(self, name: str) -> str:
        return str(self.scratch.row("select value from store.meta where name = $name", {"name": name})[0])

    def settings(self) -> Settings:
        """Return the rules in force."""
        stated = {name: json.loads(value) for name, value in self.scratch.rows("select name, value from store.setting")}
        return settings_from(stated)

    def put_settings(self, stated: dict[str, Any]) -> None:
        """Replace all settings; called within a transaction."""
        self.scratch.run("delete from store.setting")
        for name, value in sorted(stated.items()):
            self.scratch.run("insert into store.setting values ($name, $value)", {"name": name, "value": json.dumps(value)})

    # feeds

    def feeds(self) -> list[Feed]:
        found = self.scratch.rows("select name, source, protection, partner, number from store.feed order by name")
        return [Feed(*row) for row in found]

    def feed(self, name: str) -> Feed | None:
        return next((feed for feed in self.feeds() if feed.name == name), None)

    def put_feed(self, feed: Feed) -> Feed:
        """Register a feed, or change its protection level; return it with its number."""
        number = feed.number
        if number:
            self.scratch.run(
                "update store.feed set protection = $protection where number = $number",
                {"protection": feed.protection, "number": number},
            )
        else:
            number = self.scratch.row("select coalesce(max(number), 0) + 1 from store.feed")[0]
            self.scratch.run(
                "insert into store.feed values ($number, $name, $source, $protection, $partner)",
                {"number": number, "name": feed.name, "source": feed.source, "protection": feed.protection,
                 "partner": feed.partner},
            )
        return Feed(feed.name, feed.source, feed.protection, feed.partner, number)

    def imports_by_feed(self) -> dict[int, int]:
        return dict(self.scratch.rows("select feed, count(*) from store.import group by feed"))

    # history

    def next_import(self) -> tuple[int, int]:
        """Return the number of the next import, and its first arrival."""
        number, arrival = self.scratch.row(
            "select coalesce(max(number), 0) + 1, coalesce(max(first_arrival + arrivals), 0) from store.import"
        )
        return int(number), int(arrival)

    def imported_as(self, feed: Feed, sha256: str) -> int | None:
        """Return the newest import that brought a content for a feed."""
        found = self.scratch.row(
            "select max(import.number) from store.import join store.import_file on import_file.import = import.number"
            " where import.feed = $feed and import_file.sha256 = $sha256",
            {"feed": feed.number, "sha256": sha256},
        )
        return found[0] if found[0] is None else int(found[0])

    def empty(self) -> bool:
        return not self.scratch.row("select count(*) from store.import")[0]

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

    def put_segment(self, segment: Segment) -> None:
        self.scratch.run(
            "insert into store.segment values ($number, $first, $last, $rows, $tables, $identities, $keys)",
            {"number": segment.number, "first": segment.first_import, "last": segment.last_import,
             "rows": segment.rows, "tables": list(segment.tables), "identities": list(segment.identities),
             "keys": list(segment.keys)},
        )

    def next_segment(self) -> int:
        return int(self.scratch.row("select coalesce(max(number), 0) + 1 from store.segment")[0])

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit everything or nothing."""
        self.scratch.run("begin transaction")
        try:
            yield
        except BaseException:
            self.scratch.run("rollback")
            raise
        self.scratch.run("commit")

    def compact(self) -> int:
        """Lay neighbouring segments together where there are many; return how many were laid together.

        The newest imports keep their own. Nothing is forgotten: rows stay rows, only their tables
        become fewer. Neighbours are taken from the newest on, as long as the next is not far larger,
        so that a row is written again only a few times in its life.
        """
        segments = self.segments()
        if len(segments) <= MANY_SEGMENTS:
            return 0
        old = segments[:-KEEP_IMPORTS]
        taken = [old.pop()]
        while old and (old[-1].rows <= 4 * sum(one.rows for one in taken) or len(taken) < 2):
            taken.insert(0, old.pop())
        with self.transaction():
            self._lay_together(taken)
        return len(taken)

    def _lay_together(self, taken: Sequence[Segment]) -> None:
        identities = tuple(dict.fromkeys(kind for one in taken for kind in one.identities))
        keys = tuple(dict.fromkeys(key for one in taken for key in one.keys))
        tables = tuple(dict.fromkeys(table for one in taken for table in one.tables))
        made = Segment(
            self.next_segment(), taken[0].first_import, taken[-1].last_import, sum(one.rows for one in taken),
            tables, identities, keys,
        )
        for kind, order in (("row", "profile, arrival"), ("mpid", "mpid"), ("loose", "profile, arrival"),
                            ("blocked", "profile, arrival"), ("blocked_loose", "profile, arrival"), ("rest", "profile, arrival")):
            if kind in tables:
                parts = [self._renamed(one, kind, made) for one in taken if kind in one.tables]
                self.scratch.run(
                    f"create table {made.table(kind)} as select * from ({' union all by name '.join(parts)}) order by {order}"
                )
        if "index" in tables:
            known = known_identities(taken, removals=self.removals())
            self.scratch.run(f"create table {made.table('index')} as select * from ({known}) order by hash")
        for one in taken:
            for kind in one.tables:
                self.scratch.run(f"drop table {one.table(kind)}")
        self.scratch.run("delete from store.segment where number in (select unnest($numbers))",
                         {"numbers": [one.number for one in taken]})
        self.put_segment(made)

    @staticmethod
    def _renamed(one: Segment, kind: str, made: Segment) -> str:
        """Return the SELECT of a segment's table with its attribute columns under the new names."""
        if kind not in ("row", "blocked"):
            return f"(select * from {one.table(kind)})"
        renamed = ", ".join(f"a{place} as x{made.keys.index(key)}" for place, key in enumerate(one.keys))
        kept = f"select * exclude ({', '.join(f'a{n}' for n in range(len(one.keys)))}), {renamed}" if one.keys else "select *"
        inner = f"{kept} from {one.table(kind)}"
        back = ", ".join(f"x{made.keys.index(key)} as a{made.keys.index(key)}" for key in one.keys)
        if not one.keys:
            return f"({inner})"
        return f"(select * exclude ({', '.join(f'x{made.keys.index(key)}' for key in one.keys)}), {back} from ({inner}))"


def settings_from(stated: dict[str, Any]) -> Settings:
    """Return settings with the defaults filled in."""
    identity = {name.partition(".")[2]: value for name, value in stated.items() if name.startswith("identity.")}
    strategy = identity.get("strategy", "default")
    flags = flags_of(strategy, identity)
    rules = Rules(
        strategy=strategy,
        hierarchy=tuple(identity.get("hierarchy", HIERARCHY)),
        unique_conflict=identity.get("unique_conflict", "move"),
        placeholders=frozenset(value.lower() for value in identity.get("placeholders", PLACEHOLDERS)),
        login=flags["login"], unique=flags["unique"], immutable=flags["immutable"],
    )
    limits = {name: stated.get(f"limits.{name}", most) for name, most in LIMITS.items()}
    return Settings(rules, stated.get("attributes.priority", "rank"), Reading(rules.placeholders, limits), stated)


@contextlib.contextmanager
def open_store(
    scratch: Scratch, path: Path, *, write: bool = False, create: bool = False, wait_s: float = 0
) -> Iterator[Store]:
    """Attach a store to a scratch and detach it at the end.

    create: make the store where there is none. wait_s: how long to wait for another process.
    Raises StoreBusy, StoreUnusable.
    """
    if not path.exists():
        if not create:
            raise StoreUnusable(f"there is no store at {path}", "import a file to make one, or name it with --store")
        if not path.parent.is_dir():
            raise StoreUnusable(f"there is no folder {path.parent} for the store")
    elif path.is_dir():
        raise StoreUnusable(f"{path} is a folder, not a store")
    made = not path.exists()
    _attach(scratch, path, write=write or made, until=time.monotonic() + wait_s)
    try:
        if made:
            make_schema(scratch)
        else:
            _check_schema(scratch, path)
        yield Store(scratch, path)
    finally:
        with contextlib.suppress(duckdb.Error):
            scratch.run("detach store")


def _attach(scratch: Scratch, path: Path, *, write: bool, until: float) -> None:
    mode = "" if write else " (read_only)"
    pause = 0.02
    before = os.umask(0o077)
    try:
        while True:
            try:
                return scratch.run(f"attach {quote_text(str(path))} as store{mode}")
            except duckdb.IOException as error:
                busy = _busy(path, error)
                if busy is None:
                    raise StoreUnusable(f"{path} cannot be used as a store: {_plain(error)}") from None
                if time.monotonic() >= until:
                    raise busy from None
                time.sleep(pause)
                pause = min(pause * 1.5, 0.5)
            except duckdb.Error as error:
                raise StoreUnusable(f"{path} cannot be used as a store: {_plain(error)}") from None
    finally:
        os.umask(before)


def _plain(error: Exception) -> str:
    return str(error).splitlines()[0][:300]


def _busy(path: Path, error: Exception) -> StoreBusy | None:
    if "lock" not in str(error):
        return None
    found = re.search(r"PID (\d+)", str(error))
    holder = f"process {found[1]}{_command(found[1])}" if found else "another process"
    return StoreBusy(f"{path} is in use by {holder}", "wait for it, or give --wait SECONDS")


def _command(process: str) -> str:
    with contextlib.suppress(OSError):
        words = Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")
        return " (" + b" ".join(words).decode(errors="replace").strip()[:120] + ")"
    return ""


def make_schema(scratch: Scratch) -> None:
    """Make the fixed tables in the attached, empty store."""
    scratch.run("begin transaction")
    for statement in resources.files("profilectl").joinpath("schema.sql").read_text().split(";\n"):
        if statement.strip():
            scratch.run(statement)
    for name, value in (
        ("schema_version", str(SCHEMA_VERSION)),
        ("secret", secrets.token_hex(16)),
        ("created_ms", str(time.time_ns() // 1_000_000)),
    ):
        scratch.run("insert into store.meta values ($name, $value)", {"name": name, "value": value})
    scratch.run("commit")


def _check_schema(scratch: Scratch, path: Path) -> None:
    try:
        found = scratch.rows("select value from store.meta where name = 'schema_version'")
        version = int(found[0][0])
    except (duckdb.Error, IndexError, ValueError):
        raise StoreUnusable(f"{path} is a DuckDB file, but not a profilectl store", "name another file with --store") from None
    if version > SCHEMA_VERSION:
        raise StoreUnusable(
            f"{path} was made by a newer profilectl (schema {version}, this one knows {SCHEMA_VERSION})",
            "upgrade profilectl; the store was not touched",
        )


def choose_feed(
    known: Feed | None, name: str, source: str | None, protection: str | None, partner: str | None
) -> Feed:
    """Return the feed of an import: the registered one, or a new one (design.md R7 to R9).

    Raises InputRefused where the source or the partner differs from the registered one.
    """
    if known is None:
        if partner and source != "partner":
            raise UsageError("--partner goes with --source partner")
        return Feed(name, source or DEFAULT_SOURCE, protection or DEFAULT_PROTECTION, partner)
    if source and source != known.source:
        raise InputRefused(
            f"the feed {name} is registered with source {known.source}, not {source}",
            "a feed's source is what its attributes' ownership rests on: use another feed name",
        )
    if partner and partner != (known.partner or known.name):
        raise InputRefused(f"the feed {name} is registered with partner {known.partner or known.name}, not {partner}")
    return known
