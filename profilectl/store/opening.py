"""Opening a store: found or made, brought up to this version, attached, and detached at the end.

The last of five modules that tell how a store is reached: settings, scratch, attaching, segments,
opening.
"""

from __future__ import annotations

import contextlib
import os
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

from profilectl.codes import StoreBusy, StoreUnusable
from profilectl.files.leftovers import folder_beside, private_files, put_new
from profilectl.store.attaching import SCHEMA_VERSION, attach, check_path, must_exist, plain
from profilectl.store.catalog import own_version, remember
from profilectl.store.engine import duckdb
from profilectl.store.same_store import check_in_place, is_held
from profilectl.store.scratch import Scratch, attaching, scratch_beside
from profilectl.store.segments import hash_fingerprint
from profilectl.store.store import DISK_FAILED, OpenStore
from profilectl.store.store_key import store_key, wrong_key

UNREFRESHED = "audiences and calculated attributes could not be brought up to date"
"""The words of the warning if a refresh that follows a change fails."""


PUT_META = "insert into store.meta values ($name, $value)"


class StoreLost(StoreUnusable):
    """A store that cannot be opened any more, because the disk took half of one of its blocks.

    The change that was made is lost too.
    """


class LeftUndone(UserWarning):
    """The warning that a change is committed, but something after it failed; it names a remedy."""


@contextlib.contextmanager
def once_done(change: str, undone: str, remedy: str, *, busy: bool = False) -> Iterator[None]:
    """Run what follows a commit: if it fails, a warning says so, and the change stands.

    `change` says what was committed, `undone` what was not done after it. With `busy`, a busy store
    gets no warning, because the next command makes up for it.
    """
    try:
        yield
    # An exception would make the command fail, as if the change were not committed.
    except Exception as error:
        if busy and isinstance(error, StoreBusy):
            return
        if isinstance(error, StoreLost):
            raise
        # Only the kind of the failure: its words may have values of a row in them.
        warnings.warn(
            f"{change}, but {undone} ({type(error).__name__}); {remedy}", LeftUndone, stacklevel=2
        )


@contextlib.contextmanager
def shown_after(change: str, remedy: str) -> Iterator[None]:
    """Run what shows a change after its commit: an error then says that the change is made.

    `change` says what was committed. Raises StoreUnusable.
    """
    try:
        yield
    except StoreLost:
        raise
    except StoreUnusable as error:
        raise StoreUnusable(f"{change}, but it cannot be shown: {error}", remedy) from None


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

    With `create`, a store is made if there is none; with `upgrade`, one of an older version is
    brought up to this one first. `wait_s` is the longest time to wait for another process, in
    seconds; `reads` are files that SQL is to read meanwhile. Raises StoreBusy, and StoreUnusable,
    also for a store that holds anything that profilectl does not make.
    """
    until = time.monotonic() + wait_s
    scratch.reads += reads
    check_path(path)
    if not path.exists():
        # A store that a process is held to is not made anew: it would be another one.
        if not create or is_held(path):
            must_exist(path)
        else:
            _make_store(scratch, path)
    with private_files() if write else contextlib.nullcontext():
        yield from _opened(scratch, path, until, write=write, upgrade=upgrade)


@contextlib.contextmanager
def open_beside(
    path: Path, *, wait_s: float, write: bool = False, create: bool = False
) -> Iterator[OpenStore]:
    """Open a store with a scratch of its own beside it. Raises what open_store raises."""
    with (
        scratch_beside(path.absolute()) as scratch,
        open_store(scratch, path, write=write, create=create, wait_s=wait_s) as store,
    ):
        yield store


def _opened(
    scratch: Scratch, path: Path, until: float, *, write: bool, upgrade: bool
) -> Iterator[OpenStore]:
    attach(scratch, path, write=write, until=until)
    # Only a store that was checked is remembered as ours at the end (catalog.remember).
    ours = False
    try:
        if own_version(scratch, path) < SCHEMA_VERSION:
            if not upgrade:
                raise StoreUnusable(
                    f"{path} was made by an older profilectl,"
                    " and a dry run leaves a store as it is",
                    "profilectl check upgrades it, after a backup",
                )
            from profilectl.store.upgrade import upgrade_store

            scratch.run("detach store")
            with private_files():
                upgrade_store(scratch, path, until)
            attach(scratch, path, write=write, until=until)
            # Checked again: the store was detached in between, and this may be another file.
            own_version(scratch, path)
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
    """Fold the log into the store. Raises StoreLost.

    Detaching does that too, but does not report a failure. After a failure the log stays, and the
    next command folds it in. Only if a block was half written, the store cannot be read any more.
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
    except duckdb.Error:
        # Somebody reads in another transaction: detaching folds the log in, or the next command.
        return


@contextlib.contextmanager
def store_in_memory(scratch: Scratch, path: Path) -> Iterator[OpenStore]:
    """Attach an empty store that is not on disk, for a dry run before there is a store."""
    scratch.confine(path)
    scratch.run("attach ':memory:' as store")
    make_schema(scratch)
    try:
        yield OpenStore(scratch, path)
    finally:
        scratch.run("detach store")


def _make_store(scratch: Scratch, path: Path) -> None:
    """Make an empty store, whole or not at all.

    Another process may make it at the same time. Raises StoreUnusable.
    """
    try:
        with (
            private_files(),
            folder_beside(path, "new") as folder,
            _unconfined(scratch, folder) as maker,
        ):
            new_store = folder / "store"
            maker.run(attaching(new_store, write=True))
            try:
                make_schema(maker)
            except BaseException:
                with contextlib.suppress(duckdb.Error):
                    maker.run("detach store")
                raise
            maker.run("detach store")  # folds its log in: only then is the file whole
            ours = _put_new(new_store, path)
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
    """Yield a scratch that can make a store in a folder.

    It is another one if this one is confined to its store already, or if stores are encrypted:
    confine loads the module that writes those.
    """
    if not scratch.confined and not store_key():
        yield scratch
        return
    with contextlib.closing(Scratch(folder)) as another:
        another.confine(folder / "store")
        yield another


def _put_new(new_store: Path, path: Path) -> bool:
    """Give a new file its name, unless another process has made a file of that name meanwhile.

    Return whether it did.
    """
    with new_store.open("rb") as content:
        os.fsync(content.fileno())
    return put_new(new_store, path)


def make_schema(scratch: Scratch) -> None:
    """Make the fixed tables in the attached, empty store."""
    import secrets

    scratch.run("begin transaction")
    try:
        schema = Path(__file__).with_name("schema.sql").read_text(encoding="utf-8")
        for statement in schema.split(";\n"):
            if statement.strip():
                scratch.run(statement)
        for name, value in (
            ("schema_version", str(SCHEMA_VERSION)),
            # Its length is that of a short secret (rules/sql/identities.py).
            ("secret", secrets.token_urlsafe(16)),
            ("store_id", secrets.token_hex(16)),
            ("created_ms", str(time.time_ns() // 1_000_000)),
            ("hash_fingerprint", hash_fingerprint(scratch)),
            ("mpids_mixed_from", "0"),
        ):
            scratch.run(PUT_META, {"name": name, "value": value})
        scratch.run("commit")
    except BaseException:
        with contextlib.suppress(duckdb.Error):
            scratch.run("rollback")
        raise
