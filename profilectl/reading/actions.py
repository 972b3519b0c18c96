"""Reading a store: each function opens it, does one thing and closes it.

What is asked of one person stands in people.py.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from profilectl.codes import NobodyFound
from profilectl.files.whole_file import check_target
from profilectl.profiles.activity import Activity
from profilectl.profiles.played import activities
from profilectl.profiles.read_model import Profiles, profiles_of
from profilectl.reading.explain import rules_in_force
from profilectl.reading.identity_chain import Apart, Identified, Link, apart, chain, identify
from profilectl.reading.names import names_of, within
from profilectl.reading.people import attribute_named
from profilectl.reading.row_fate import RowFate, explain_row
from profilectl.store.opening import open_beside, open_store
from profilectl.store.scratch import folder_beside_or_elsewhere, scratch_beside
from profilectl.store.store import OpenStore

if TYPE_CHECKING:
    import pyarrow

    from profilectl.reading.diff import Wanted
    from profilectl.reading.exporting.export import ExportRequest
    from profilectl.reading.lookup import Lookup
    from profilectl.reading.stream import Arrived, Unowned

LOOK_UP_MEMORY = "500MB"
"""The memory of a look-up of many, beside the file itself. Beyond it, DuckDB spills to disk, which
costs such a look-up little.
"""


# Why


def explain_identities(
    store_path: Path, first: tuple[str, str], second: tuple[str, str], *, wait_s: float = 0
) -> Apart:
    """Return why two identities are not one profile, or that they are."""
    with open_beside(store_path, wait_s=wait_s) as store:
        # Identities are the same in all workspaces.
        return apart(profiles_of(store, every=True), first, second)


def explain_chains(
    store_path: Path, kind: str, value: str, *, wait_s: float = 0
) -> list[tuple[Activity, list[Link]]]:
    """Return each profile that holds an identity, with the rows that joined its identities."""
    with open_beside(store_path, wait_s=wait_s) as store:
        profiles = profiles_of(store)
        people = activities(profiles, profiles.find(kind, value))
        return [(person, chain(profiles, person)) for person in people]


def identify_user(
    store_path: Path, environment: str, identities: Mapping[str, str], *, wait_s: float = 0
) -> Identified:
    """Return where identities (type -> value) lead, step by step, changing nothing."""
    with open_beside(store_path, wait_s=wait_s) as store:
        # Identities are the same in all workspaces.
        return identify(profiles_of(store, every=True), environment, identities)


def explain_one_row(store_path: Path, file: str, line: int, *, wait_s: float = 0) -> list[RowFate]:
    """Return what became of a row in every import in force that brought its file."""
    with open_beside(store_path, wait_s=wait_s) as store:
        return explain_row(profiles_of(store), file, line)


def explain_rules(store_path: Path, *, wait_s: float = 0) -> dict[str, object]:
    """Return the tables of the rules in force."""
    with open_beside(store_path, wait_s=wait_s) as store:
        return rules_in_force(profiles_of(store))


# What came in, and what it changed


def read_batches(
    store_path: Path,
    *,
    after: int | None,
    limit: int,
    feed: str | None,
    environment: str | None,
    device: str | None,
    wait_s: float = 0,
) -> tuple[int, list[Arrived | Unowned]]:
    """Return the last arrival there is, and the batches that arrived last, oldest first.

    With `after`, only batches after this arrival are returned.
    """
    from profilectl.reading.stream import batches_of

    with open_beside(store_path, wait_s=wait_s) as store:
        batches = batches_of(
            profiles_of(store),
            after=after,
            limit=limit,
            feed=feed,
            environment=environment,
            device=device,
        )
        return store.next_import()[1] - 1, batches


@dataclass(frozen=True, slots=True)
class DiffRequest:
    """Which states to compare, and which of the changes to tell."""

    older: int | None = None
    """The import whose changes they are, or the one whose state is left; None: the newest."""
    newer: int | None = None
    """The import whose state is reached; None: the changes are those of one import."""
    who: tuple[str, str] | None = None
    """An identity (type, value): only profiles that have it are compared; None: all are."""
    changes: Sequence[str] = ()
    """The kinds of changes; empty: all."""
    attributes: Sequence[str] = ()
    """The attributes, as somebody names them; empty: all, and identities too."""


def changes_of(
    store_path: Path, request: DiffRequest, *, wait_s: float = 0
) -> Iterator[tuple[str, ...]]:
    """Yield the changes of an import, or between the states after two, profile by profile.

    Each is (JSON line, mpid, change, what, before, after, import, place, the row that had brought a
    lost identity). Raises NobodyFound, UsageError, InputRefused, StoreBusy, StoreUnusable.
    """
    from profilectl.reading.diff import differences, span_of

    with open_beside(store_path, wait_s=wait_s) as store:
        profiles, span = profiles_of(store), span_of(store, request.older, request.newer)
        yield from differences(profiles, span, _wanted(profiles, request))


def changed_lines(
    store_path: Path, request: DiffRequest, *, wait_s: float = 0
) -> Iterator[memoryview]:
    """Yield the JSON lines of all changes, many at once, each with its end.

    Raises what changes_of raises.
    """
    from profilectl.reading.diff import json_lines, span_of

    with open_beside(store_path, wait_s=wait_s) as store:
        profiles, span = profiles_of(store), span_of(store, request.older, request.newer)
        yield from json_lines(profiles, span, _wanted(profiles, request))


def _wanted(profiles: Profiles, request: DiffRequest) -> Wanted:
    """Return which changes are wanted. Raises NobodyFound, UsageError."""
    from profilectl.reading.diff import Wanted

    people = profiles.find(*request.who) if request.who else None
    if request.who and not people:
        raise NobodyFound.of(*request.who)
    attributes = [attribute_named(profiles, name) for name in request.attributes]
    return Wanted(people, changes=request.changes, attributes=attributes)


# Many at once


@contextlib.contextmanager
def folder_for_input(store: Path) -> Iterator[Path]:
    """Make a folder for input from a stream, private to its owner; it is removed at the end."""
    with folder_beside_or_elsewhere(store.absolute()) as folder:
        yield folder


def copied(stream: BinaryIO, path: Path) -> None:
    """Copy a stream to a file.

    Raises InputRefused where the disk has no room for it.
    """
    from profilectl.importing.stage.source.unpacking import blocks_of, with_space

    with (
        path.open("wb") as out,
        contextlib.closing(with_space("-", blocks_of(stream), path.parent)) as blocks,
    ):
        out.writelines(blocks)


def look_up_file(
    store_path: Path, path: Path, request: Lookup, *, wait_s: float = 0
) -> Iterator[bytes]:
    """Yield a line for each line of a file of identities, in blocks.

    Raises InputRefused, StoreBusy, StoreUnusable.
    """
    from profilectl.reading.lookup import look_up

    with (
        scratch_beside(store_path.absolute(), LOOK_UP_MEMORY) as scratch,
        open_store(scratch, store_path, wait_s=wait_s, reads=[path]) as store,
    ):
        yield from look_up(_profiles_looked_up(store, request), path, request)


def look_up_values(
    store_path: Path, values: Sequence[str], request: Lookup, *, wait_s: float = 0
) -> pyarrow.Table:
    """Return a table of (type, value, mpid, profiles, fields...) for identities, in their order."""
    from profilectl.reading.lookup import look_up_list

    with (
        scratch_beside(store_path.absolute(), LOOK_UP_MEMORY) as scratch,
        open_store(scratch, store_path, wait_s=wait_s) as store,
    ):
        return look_up_list(_profiles_looked_up(store, request), values, request)


def _profiles_looked_up(store: OpenStore, request: Lookup) -> Profiles:
    """Return the read model of a look-up: identities are the same in all workspaces."""
    return profiles_of(store, every=store.workspace is None and not request.fields)


def export_store(
    store_path: Path,
    request: ExportRequest,
    output: BinaryIO | Path,
    *,
    wait_s: float = 0,
    memory_limit: str | None = None,
    progress: Callable[[str, int], None] = lambda step, rows: None,
) -> int:
    """Write an export, and return how many rows or lines it has.

    Raises what export.export_to raises, StoreBusy, StoreUnusable.
    """
    from profilectl.files.sinks import check_folder
    from profilectl.reading.exporting.export import check_wanted, export_to

    check_wanted(request)
    if not store_path.exists():
        with open_beside(store_path, wait_s=wait_s):
            return 0
    if isinstance(output, Path):
        (check_folder if request.partition_by or request.max_rows else check_target)(output)
    beside = output if isinstance(output, Path) else store_path
    with (
        scratch_beside(beside.absolute(), memory_limit) as scratch,
        open_store(scratch, store_path, wait_s=wait_s) as store,
    ):
        return export_to(store, request, output, progress=lambda rows: progress("exporting", rows))


def names_in(store_path: Path, kind: str, *, within_s: float | None = None) -> list[str]:
    """Return the names of a kind in a store: one of names.KINDS.

    within_s: the time after which DuckDB raises InterruptException; None: none.
    """
    with (
        scratch_beside(store_path.absolute()) as scratch,
        contextlib.nullcontext() if within_s is None else within(scratch, within_s),
        open_store(scratch, store_path, upgrade=False) as store,
    ):
        return names_of(store, kind)
