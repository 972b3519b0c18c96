"""Backups: a store copied to a file, sealed by its secret, encrypted on request; and put back.

A backup is one file, with the log of the store folded in. It is read back once it is written. An
encrypted one is never on the disk in the clear. Its seal lies beside it: with the secret of the
store, it shows whether the backup is as it was made.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from profilectl.codes import InputRefused, StoreBusy, StoreUnusable, UsageError
from profilectl.files import progress
from profilectl.files.encryption import LOCKED, Keys, decrypt, encrypt, is_encrypted
from profilectl.files.leftovers import folder_beside, sync_folder
from profilectl.files.suppression_key import key_of_store, key_path
from profilectl.files.whole_file import check_target, is_database, whole_file
from profilectl.importing.suppression import guard_of, is_keyed
from profilectl.reading.check import Breach, check
from profilectl.store.attaching import SCHEMA_VERSION, attach, check_path, must_exist, plain
from profilectl.store.copies import BLOCK, copy_store
from profilectl.store.engine import duckdb
from profilectl.store.opening import open_store
from profilectl.store.scratch import Scratch, scratch_beside
from profilectl.store.seal import BACKUP, holds, keyed
from profilectl.store.statements import reading, rows_of
from profilectl.store.store import OpenStore
from profilectl.store.upgrade import known_version

SEAL = 1
"""The version of the form of a seal."""
LARGEST_SEAL = 64 * 1024
"""How many bytes of a seal are read at most."""
SEAL_TYPES = {"profilectl_seal": int, "store_id": str, "made_ms": int, "bytes": int, "seal": str}
"""The members of a seal, with their types."""
ERASES = 4
"""The schema version from which on people can be erased."""
NAME_A_BACKUP = "name a file that profilectl backup has written"
NAME_A_SEAL = "name the seal with --seal; profilectl backup writes one"
MOST_BREACHES = 5
"""How many broken promises of an unsound backup a message names."""

ERASED_SINCE = """
select coalesce(sum(profiles), 0)
from store.erasure
where kind = 'erased' and number > $last
"""
SUM = "select sum(hash(stored)) from stored"
TABLES = "select table_name from duckdb_tables() where database_name = 'store'"


@dataclass(frozen=True, slots=True)
class MadeBackup:
    """A backup that was made."""

    bytes: int
    """How large it is."""
    seal: Path
    """Where its seal is."""
    key: Path | None
    """Where the key of the list of the erased is, which no backup has. None: nobody was erased."""


@dataclass(frozen=True, slots=True)
class Restored:
    """A store that was put back."""

    bytes: int
    """How large it is."""
    encrypted: bool
    """Whether the backup was encrypted."""
    schema_version: int
    """The schema version of the store: an older one is upgraded when it is next used."""
    no_key: str
    """Why those who were erased before the backup cannot be kept out: their key is missing, or is
    that of another store. "": the key is there, or nobody was erased.
    """
    erased_since: int | None
    """How many people are back because the replaced store erased them after the backup was made.
    None: not known.
    """


@dataclass(frozen=True, slots=True)
class VouchedBackup:
    """The word of a store on whether a backup is as it was made."""

    made_ms: int
    """When the seal says that it was made."""
    breaches: list[Breach]
    """What is not as it was; empty: the backup is as it was made."""


def seal_beside(target: Path) -> Path:
    """Return where the seal of a backup is, unless somebody has put it elsewhere."""
    return target.with_name(target.name + ".seal")


def backup_store(
    path: Path, target: Path, *, keys: Keys | None = None, force: bool = False, wait_s: float = 0
) -> MadeBackup:
    """Copy a store to a file, read it back, and seal it.

    With `keys`, it is encrypted for these; with `force`, a file of that name is replaced. Raises
    InputRefused where the file cannot be written, StoreBusy, StoreUnusable.
    """
    must_exist(path)
    seal = seal_beside(target)
    _check_target(path, target, force=force, encrypted=bool(keys))
    check_target(seal, "FILE", replace=force or _is_seal(seal))
    until = time.monotonic() + wait_s
    # Opened once as a store: a file that is no store, or a newer one, is not backed up as one.
    with (
        scratch_beside(path.absolute()) as scratch,
        open_store(scratch, path, wait_s=wait_s) as store,
    ):
        secret, store_id = store.meta("secret"), store.meta("store_id")
        key = key_path(path) if is_keyed(store) else None
    if keys:
        size = _copy_encrypted(path, target, keys, until=until)
    else:
        size = copy_store(path, target, until=until)
    unsealed = {
        "profilectl_seal": SEAL,
        "store_id": store_id,
        "made_ms": time.time_ns() // 1_000_000,
        "bytes": size,
    }
    sealed = {**unsealed, "seal": _sealed(target, secret, unsealed)}
    # The seal comes last: a file without one may have been cut short (_check_target).
    with whole_file(seal, "FILE") as out:
        out.write(json.dumps(sealed, indent=2).encode() + b"\n")
    return MadeBackup(size, seal, key)


def _check_target(path: Path, target: Path, *, force: bool, encrypted: bool) -> None:
    """Check that a backup may be written to a file. Raises InputRefused."""
    _check_apart(path, target)
    is_file = target.is_file() and not target.is_symlink()
    if not force and is_file and not seal_beside(target).exists():
        raise InputRefused(
            f"{target} is there already, and no seal is beside it:"
            " it may be a backup that was cut short",
            "name another FILE, or write it anew with --force",
        )
    check_target(target, "FILE", replace=force, store=True)
    if not encrypted and "?" in str(target.absolute()):
        raise InputRefused(
            f"{target}: DuckDB opens no store with a question mark in its name or its folder's",
            "name another file: a backup is a store",
        )


def _check_apart(path: Path, target: Path) -> None:
    """Refuse a backup in the place of its store, or of the log of any. Raises InputRefused."""
    if target.exists() and target.samefile(path):
        raise InputRefused(f"{target} is the store itself", "name another FILE")
    if target.suffix == ".wal" and is_database(target.with_suffix("")):
        raise InputRefused(
            f"{target} is the name of the log of {target.with_suffix('')}", "name another FILE"
        )


def _copy_encrypted(path: Path, target: Path, keys: Keys, *, until: float) -> int:
    """Write a store to a file, encrypted on the way, while no writer is let in; return its size."""
    with scratch_beside(path.absolute()) as scratch, _locked(scratch, path, until) as content:
        try:
            with whole_file(target, "FILE", store=True) as file:
                out = _Digesting(file)
                encrypt(content, out, keys)
                out.flush()
                if _read_back(file.fileno()) != out.digest.hexdigest():
                    raise StoreUnusable(f"{target} is not what was written", "is the disk sound?")
        except OSError as error:
            raise StoreUnusable(
                f"{path} could not be copied to {target}: {error.strerror}",
                "make room, or name another folder",
            ) from None
    return target.stat().st_size


@contextlib.contextmanager
def _locked(scratch: Scratch, path: Path, until: float) -> Iterator[BinaryIO]:
    """Open the file of a store while it is locked for reading, with no log beside it."""
    log = path.with_name(path.name + ".wal")
    # a writer that comes between two attempts may leave a log again
    for _ in range(3):
        if log.exists():  # somebody was killed: opening the store for writing folds it in
            attach(scratch, path, write=True, until=until)
            scratch.run("checkpoint store")
            scratch.run("detach store")
        attach(scratch, path, write=False, until=until)
        if not log.exists():
            # To close a file gives up all locks that this process has on it, DuckDB's too: so it
            # stays open until the store is detached.
            with path.open("rb") as content:
                yield content
            scratch.run("detach store")
            return
        scratch.run("detach store")
    raise StoreBusy(f"{path} is being written", "wait for it, or give --wait SECONDS")


class _Digesting:
    """A file that remembers the hash of what was written to it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.digest = hashlib.sha256()

    def write(self, block: bytes) -> int:
        """Write a block, and add it to the hash."""
        self.digest.update(block)
        return self._file.write(block)

    def flush(self) -> None:
        """Flush the file."""
        self._file.flush()


def _read_back(handle: int) -> str:
    digest, place = hashlib.sha256(), 0
    while block := os.pread(handle, BLOCK, place):
        digest.update(block)
        place += len(block)
    return digest.hexdigest()


def _sealed(target: Path, secret: str, unsealed: dict[str, object]) -> str:
    """Return the seal of a file and of what is stated beside it."""
    seal = keyed(secret, BACKUP)
    seal.update(json.dumps(unsealed, sort_keys=True).encode() + b"\n")
    with target.open("rb") as content:
        while block := content.read(BLOCK):
            seal.update(block)
    return seal.hexdigest()


def _check_plain(path: Path, hint: str) -> None:
    """Refuse a path that is there and is no plain file: to read a pipe might never end.

    Raises InputRefused. A folder is reported when it is opened.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        raise InputRefused(f"{path} is not a plain file", hint)


def _is_seal(path: Path) -> bool:
    try:
        return bool(_read_seal(path))
    except InputRefused:
        return False


def _read_seal(path: Path) -> dict[str, Any]:
    """Return a seal. Raises InputRefused where there is none."""
    _check_plain(path, NAME_A_SEAL)
    try:
        with path.open("rb") as content:
            document = json.loads(content.read(LARGEST_SEAL))
    except OSError as error:
        raise InputRefused(f"{path}: {error.strerror}", NAME_A_SEAL) from None
    except (ValueError, RecursionError):
        document = None
    if (
        not isinstance(document, dict)
        or document.keys() != SEAL_TYPES.keys()
        or any(type(document[name]) is not kind for name, kind in SEAL_TYPES.items())
        or document["profilectl_seal"] != SEAL
    ):
        raise InputRefused(
            f"{path} is no seal of a backup",
            "name the one that profilectl backup has written with --seal",
        )
    return document


def vouch(
    path: Path, backup: Path, *, seal: Path | None = None, wait_s: float = 0
) -> VouchedBackup:
    """Return whether a backup is as it was made from a store, by the secret of the store.

    `seal` is where the seal is, if it is not beside the backup. Raises InputRefused where there is
    no backup or no seal, or where it is of another store; StoreBusy, StoreUnusable.
    """
    must_exist(path)
    _check_plain(backup, NAME_A_BACKUP)
    if not backup.exists():
        raise InputRefused(f"{backup} cannot be read: {os.strerror(errno.ENOENT)}", NAME_A_BACKUP)
    sealed = _read_seal(seal or seal_beside(backup))
    unsealed = {name: value for name, value in sealed.items() if name != "seal"}
    with (
        scratch_beside(path.absolute()) as scratch,
        open_store(scratch, path, wait_s=wait_s) as store,
    ):
        secret, store_id = store.meta("secret"), store.meta("store_id")
    if sealed["store_id"] != store_id:
        raise InputRefused(
            f"{backup} was made from another store than {path}, which cannot vouch for it",
            "name that store with --store",
        )
    try:
        is_unchanged = holds(sealed["seal"], _sealed(backup, secret, unsealed))
    except OSError as error:
        raise InputRefused(f"{backup} cannot be read: {error.strerror}", NAME_A_BACKUP) from None
    changed = Breach("backup", f"{backup} or its seal was changed after it was made")
    return VouchedBackup(sealed["made_ms"], [] if is_unchanged else [changed])


def restore_store(
    path: Path, backup: Path, *, keys: Keys, force: bool = False, wait_s: float = 0
) -> Restored:
    """Make a store of a backup, if the backup is sound; all of it or nothing.

    With `force`, it replaces a store that is there. Raises InputRefused where there is a store, or
    for a wrong key; StoreBusy; StoreUnusable for a file that is damaged, or no backup.
    """
    check_path(path)
    _check_plain(backup, NAME_A_BACKUP)
    _check_room(path, force=force)
    until = time.monotonic() + wait_s
    encrypted = _is_encrypted(path, backup)
    # beside the store, so that giving it its name moves no bytes
    with folder_beside(path, "new") as folder:
        restored = folder / "store"
        if encrypted:
            _decrypt(backup, restored, keys)
        else:
            copy_store(backup, restored, until=until)
        sound = _check_sound(folder, restored, backup=backup, path=path)
        replaces = force and path.exists()
        erased_since = _erased_since(folder, path, sound, until=until) if replaces else 0
        size = restored.stat().st_size
        _put(folder, restored, path, force=force, until=until)
    return Restored(
        bytes=size,
        encrypted=encrypted,
        schema_version=sound.version,
        no_key=sound.no_key,
        erased_since=erased_since,
    )


def is_locked(backup: Path) -> bool:
    """Return whether a backup needs a passphrase."""
    _check_plain(backup, NAME_A_BACKUP)
    try:
        with backup.open("rb") as content:
            return content.read(len(LOCKED)) == LOCKED
    except OSError:
        return False  # restore_store reports it


def _check_room(path: Path, *, force: bool) -> None:
    """Check that nothing is written over. Raises InputRefused."""
    for file in (path, path.with_name(path.name + ".wal")):
        if file.exists() and not force:
            what = "a store" if file == path else "the log of a store that is gone"
            raise InputRefused(
                f"there is {what} at {file}; it is not written over",
                "name another with --store, or give --force",
            )


def _is_encrypted(path: Path, backup: Path) -> bool:
    """Return whether a backup is encrypted.

    Raises InputRefused where it cannot be read, StoreUnusable where it is no backup.
    """
    try:
        if path.exists() and path.samefile(backup):
            raise UsageError(f"{backup} is the store itself", "name another store with --store")
        encrypted = is_encrypted(backup)
    except OSError as error:
        raise InputRefused(f"{backup} cannot be read: {error.strerror}", NAME_A_BACKUP) from None
    if not encrypted and not is_database(backup):
        raise StoreUnusable(f"{backup} is neither a store nor an encrypted one", NAME_A_BACKUP)
    return encrypted


def _decrypt(backup: Path, restored: Path, keys: Keys) -> None:
    """Write the content of an encrypted backup to a new file.

    Raises StoreUnusable where that is no store, or cannot be written.
    """
    try:
        handle = os.open(restored, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with backup.open("rb") as content, os.fdopen(handle, "wb") as out:
            decrypt(content, out, keys, name=str(backup))
            out.flush()
            os.fsync(out.fileno())
    except OSError as error:
        raise StoreUnusable(
            f"{backup} could not be restored: {error.strerror or error}",
            "make room, or name another folder",
        ) from None
    if not is_database(restored):
        raise StoreUnusable(f"what is in {backup} is no store", NAME_A_BACKUP)


@dataclass(frozen=True, slots=True)
class _SoundStore:
    """A store that was made of a backup and is sound."""

    version: int
    """Its schema version."""
    no_key: str
    """What is wrong with the key of the list of the erased at its new place; "": nothing."""
    secret: str
    """Its secret, by which it is known as the same store."""
    erasures: int
    """The number of its last act of erasure; 0: there was none."""


def _check_sound(folder: Path, restored: Path, *, backup: Path, path: Path) -> _SoundStore:
    """Check a store that was made of a backup; `path` is where it is to be.

    Raises StoreUnusable where one of its promises is broken.
    """
    with contextlib.closing(Scratch(folder)) as scratch:
        try:
            attach(scratch, restored, write=False, until=time.monotonic())
            version = known_version(scratch, restored)
            store = OpenStore(scratch, restored)
            is_current = version == SCHEMA_VERSION
            # the promises are those of the schema of today
            breaches = _breaches(store) if is_current else _unreadable(scratch)
            sound = _SoundStore(
                version=version,
                no_key=_no_key(store, path) if is_current else "",
                secret=store.meta("secret"),
                erasures=_last_erasure(store) if version >= ERASES else 0,
            )
            scratch.run("detach store")
        except StoreUnusable as error:
            message = error.message.replace(str(restored), str(backup))
            raise StoreUnusable(message, error.hint) from None
        except duckdb.Error as error:
            message = f"{backup} is damaged: {plain(error)}".replace(str(restored), str(backup))
            raise StoreUnusable(message, "use another backup") from None
    if breaches:
        raise StoreUnusable(
            f"{backup} is not sound: {'; '.join(breaches[:MOST_BREACHES])}",
            "use another backup; a plain one is a store, which profilectl check --repair may mend",
        )
    return sound


def _breaches(store: OpenStore) -> list[str]:
    progress.step("readable")
    return [f"{breach.promise}: {breach.message}" for breach in check(store)]


def _last_erasure(store: OpenStore) -> int:
    return store.next_erasure() - 1


def _erased_since(folder: Path, path: Path, sound: _SoundStore, *, until: float) -> int | None:
    """Return how many people of a backup were erased since from the store that is there.

    None: that store cannot be read.
    """
    with contextlib.closing(Scratch(folder)) as scratch:
        try:
            attach(scratch, path, write=False, until=until)
            try:
                store = OpenStore(scratch, path)
                if known_version(scratch, path) < ERASES or store.meta("secret") != sound.secret:
                    return 0
                return int(scratch.row(ERASED_SINCE, {"last": sound.erasures})[0])
            finally:
                scratch.run("detach store")
        except StoreBusy:
            raise
        except (StoreUnusable, duckdb.Error):
            return None


def _no_key(store: OpenStore, path: Path) -> str:
    """Return why a store would take nothing in at its new place: the key of its list is not there.

    "": it would take something in.
    """
    try:
        with key_of_store(path):
            guard_of(store)
    except StoreUnusable as error:
        return f"{error.message}; nothing is taken in until it is there: {error.hint}"
    return ""


def _unreadable(scratch: Scratch) -> list[str]:
    """Return a sentence for each table of an older store that cannot be read to its last block."""
    damaged = []
    for (name,) in scratch.rows(TABLES):
        try:
            scratch.run(reading(SUM, stored=rows_of(name)))
        except duckdb.Error as error:
            damaged.append(f"the table {name} cannot be read: {plain(error)}")
    return damaged


def _put(folder: Path, restored: Path, path: Path, *, force: bool, until: float) -> None:
    """Give a restored store its name, while nobody has the store that is there open."""
    # the bytes must be on the disk before they have the name
    with restored.open("rb") as content:
        os.fsync(content.fileno())
    with (
        contextlib.closing(Scratch(folder)) as scratch,
        _shut_out(scratch, path, until) if force else contextlib.nullcontext(),
    ):
        try:
            if force:
                # The log is of the store that goes. DuckDB would read it into the new one.
                path.with_name(path.name + ".wal").unlink(missing_ok=True)
                restored.replace(path)
            else:
                _link(restored, path)
        except FileExistsError:
            raise InputRefused(
                f"there is a store at {path} by now; it is not written over",
                "name another with --store, or give --force",
            ) from None
        except OSError as error:
            raise StoreUnusable(
                f"{path} could not be written: {error.strerror}", "name another with --store"
            ) from None
    with contextlib.suppress(OSError):
        sync_folder(path.absolute().parent)


def _link(restored: Path, path: Path) -> None:
    """Give a file a name that no other file has. Raises FileExistsError."""
    try:
        os.link(restored, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        if path.exists():
            raise FileExistsError from None
        restored.rename(path)


@contextlib.contextmanager
def _shut_out(scratch: Scratch, path: Path, until: float) -> Iterator[None]:
    """Hold the store that is to be replaced, so that nobody writes to it in the meantime.

    A damaged store is not held: nobody can open it.
    """
    if not path.exists():
        yield
        return
    try:
        attach(scratch, path, write=True, until=until)
    except StoreUnusable:
        yield
        return
    with contextlib.suppress(duckdb.Error):
        scratch.run("checkpoint store")
    yield
    with contextlib.suppress(duckdb.Error):
        scratch.run("detach store")
