"""Opening a store: found or made, brought up to this version, attached, and detached at the end."""

from __future__ import annotations

import contextlib
import os
import secrets
import time
import warnings
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path

import duckdb

from profilectl.codes import StoreBusy, StoreUnusable
from profilectl.files.leftovers import private_files, put_new
from profilectl.store.attaching import SCHEMA_VERSION, attach, check_path, must_exist, plain
from profilectl.store.catalog import remember
from profilectl.store.same_store import check_in_place, is_held
from profilectl.store.scratch import Scratch, attaching, private_folder
from profilectl.store.segments import hash_fingerprint
from profilectl.store.store import DISK_FAILED, OpenStore
from profilectl.store.store_key import store_key, wrong_key
from profilectl.store.upgrade import known_version, upgrade_store

UNREFRESHED = "audiences and calculated attributes could not be brought up to date"
"""What is told where a refresh that follows a change fails."""


class StoreLost(StoreUnusable):
    """The disk took half of a block of the store, which cannot be opened any more: whatever was
    done is gone with it.
    """


class LeftUndone(UserWarning):
    """A change is committed, and something that follows it did not succeed; says what makes up for
    it.
    """


@contextlib.contextmanager
def once_done(done: str, what: str, remedy: str, *, busy: bool = False) -> Iterator[None]:
    """What follows a commit: its failure is told, and is not the change's. busy: a store that is
    busy is left to the next, without a word.
    """
    try:
        yield
    except Exception as error:  # whatever it is, the change is committed, and must not be taken for one that is not
        if busy and isinstance(error, StoreBusy):
            return
        if isinstance(error, StoreLost):
            raise
        # Only what kind of failure: its words may hold what a row says.
        warnings.warn(
            f"{done}, but {what} ({type(error).__name__}); {remedy}", LeftUndone, stacklevel=2
        )


@contextlib.contextmanager
def shown_after(done: str, remedy: str) -> Iterator[None]:
    """What is read to be shown after a commit: where the store cannot be opened for it, the words
    say that the change is done.
    """
    try:
        yield
    except StoreLost:
        raise
    except StoreUnusable as error:
        raise StoreUnusable(f"{done}, but it cannot be shown: {error}", remedy) from None


@contextlib.contextmanager
def open_store(
    scratch: Scratch,
    path: Path,
    *,
    write: bool = False,
    create: bool = False,
    wait_s: float = 0,
    upgrade: bool = True,
    reads: Sequence[Path] = (),
) -> Iterator[OpenStore]:
    """Attach a store to a scratch and detach it at the end.

    create: make the store where there is none. wait_s: how long to wait for another process.
    upgrade: a store of an older version is brought up to this one first. reads: files that SQL is
    to read meanwhile. Raises StoreBusy, StoreUnusable, also for a store that holds what profilectl
    does not make.
    """
    until = time.monotonic() + wait_s
    scratch.reads += reads
    check_path(path)
    if not path.exists():
        if not create or is_held(path):
            must_exist(path)
        else:
            _make_store(scratch, path)
    with private_files() if write else contextlib.nullcontext():
        yield from _opened(scratch, path, until, write=write, upgrade=upgrade)


def _opened(
    scratch: Scratch, path: Path, until: float, *, write: bool, upgrade: bool
) -> Iterator[OpenStore]:
    attach(scratch, path, write=write, until=until)
    ours = False
    try:
        if known_version(scratch, path) < SCHEMA_VERSION:
            if not upgrade:
                raise StoreUnusable(
                    f"{path} was made by an older profilectl, and a dry run leaves a store as it is",
                    "profilectl check upgrades it, after a backup",
                )
            scratch.run("detach store")
            with private_files():
                upgrade_store(scratch, path, until)
            attach(scratch, path, write=write, until=until)
            known_version(scratch, path)
        ours = True
        yield OpenStore(scratch, path)
        check_in_place(path)
        if write:
            _fold_in(scratch, path)
    finally:
        with contextlib.suppress(duckdb.Error):
            scratch.run("detach store")
            if write and ours:
                remember(path)


def _fold_in(scratch: Scratch, path: Path) -> None:
    """Bring what is in the log into the store, as detaching does, which says nothing where that
    fails. Raises StoreLost.

    What fails leaves the log, and the next command folds it in; but of a block that was written by
    half nothing can be read.
    """
    try:
        scratch.run("checkpoint store")
    except DISK_FAILED as error:
        with contextlib.suppress(duckdb.Error):
            scratch.run("detach store")
        try:
            attach(scratch, path, write=False, until=time.monotonic())
        except StoreBusy:
            return
        except StoreUnusable:
            raise StoreLost(
                f"{path} can no longer be read: the disk took half of a block ({plain(error)})",
                "mend the disk, restore a backup, and give the command again",
            ) from None
    except (
        duckdb.Error
    ):  # somebody reads in another transaction: detaching does it, or the next command
        return


@contextlib.contextmanager
def store_in_memory(scratch: Scratch, path: Path) -> Iterator[OpenStore]:
    """Attach an empty store that is nowhere on disk: what a dry run runs against before there is
    one.
    """
    scratch.confine(path)
    scratch.run("attach ':memory:' as store")
    make_schema(scratch)
    try:
        yield OpenStore(scratch, path)
    finally:
        scratch.run("detach store")


def _make_store(scratch: Scratch, path: Path) -> None:
    """Make an empty store, whole or not at all; another process that makes it at the same time is
    welcome.
    """
    try:
        with (
            private_files(),
            private_folder(path, "new") as folder,
            _unconfined(scratch, folder) as maker,
        ):
            made = folder / "store"
            maker.run(attaching(made, write=True))
            try:
                make_schema(maker)
            except BaseException:
                with contextlib.suppress(duckdb.Error):
                    maker.run("detach store")
                raise
            maker.run("detach store")  # writes what is in its log: only then it is whole
            ours = _put_new(made, path)
        if ours:
            remember(path)
    except DISK_FAILED as error:
        raise StoreUnusable(
            f"{path} could not be made: {plain(error)}", "make room, or name another with --store"
        ) from None
    except duckdb.Error as error:
        raise wrong_key(path, str(error)) or error from None
    except OSError as error:
        raise StoreUnusable(
            f"{path} could not be made: {error.strerror}", "make room, or name another with --store"
        ) from None


@contextlib.contextmanager
def _unconfined(scratch: Scratch, folder: Path) -> Iterator[Scratch]:
    """Yield a scratch that can make a file in a folder: another, where this one has a store
    already.
    """
    if not scratch.confined and not store_key():
        yield scratch
        return
    with contextlib.closing(Scratch(folder)) as another:
        another.confine(folder / "store")
        yield another


def _put_new(made: Path, path: Path) -> bool:
    """Give a new file its name for good, unless there is one of that name by now; say whether it
    did.
    """
    with made.open("rb") as content:
        os.fsync(content.fileno())
    return put_new(made, path)


def make_schema(scratch: Scratch) -> None:
    """Make the fixed tables in the attached, empty store."""
    scratch.run("begin transaction")
    try:
        for statement in (
            resources.files("profilectl.store").joinpath("schema.sql").read_text().split(";\n")
        ):
            if statement.strip():
                scratch.run(statement)
        for name, value in (
            ("schema_version", str(SCHEMA_VERSION)),
            ("secret", secrets.token_hex(16)),
            ("store_id", secrets.token_hex(16)),
            ("created_ms", str(time.time_ns() // 1_000_000)),
            ("hash_fingerprint", hash_fingerprint(scratch)),
        ):
            scratch.run(
                "insert into store.meta values ($name, $value)", {"name": name, "value": value}
            )
        scratch.run("commit")
    except BaseException:
        with contextlib.suppress(duckdb.Error):
            scratch.run("rollback")
        raise
