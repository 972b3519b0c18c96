"""What a command makes beside what it writes, and how what a killed one leaves is known and
removed.

A folder of ours is called `.NAME.XXXXXXXX.KIND`, a file that is not complete yet
`.NAME.XXXXXXXX.profilectl`. Whoever makes
one holds a lock on it, which goes with the process, however that ends. So a thing of such a name
that nobody locks is left
over. It is removed where it is ours beyond doubt: it belongs to the user, it is what its name
says, and a folder holds MARK,
which nobody else could put there. (In a folder that others write to, they can give any name to
anything.)
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import secrets
import shutil
import stat
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from profilectl.codes import StoreUnusable

KINDS = ("scratch", "new", "copy", "snapshot", "parts")
"""What the folders that a process makes are for."""
MARK = ".profilectl"
"""The file by which a folder is known as ours; it names the link folder that goes with it, where
there is one."""
_FOLDER = re.compile(rf"\..+\.[a-z0-9_]{{8}}\.(?:{'|'.join(KINDS)})", re.DOTALL)
_FILE = re.compile(r"\..+\.[a-z0-9_]{8}\.profilectl", re.DOTALL)
_LOCK = re.compile(r"\..+\.forward", re.DOTALL)
"""The file by which one process alone forwards (delivery.run); it is empty."""
_LINK = re.compile(r"profilectl-[a-z0-9_]{8}")

IN_USE = "a command that still runs is at it"
OTHERS = "it belongs to another user"
UNKNOWN = "it is not known to be of profilectl"
NO_LOCKS = "this file system has no locks, so nobody can say whether a command is still at it"


@dataclass(frozen=True, slots=True)
class Left:
    """What lies in a folder under a name of ours and was not removed."""

    path: Path
    """Where it is."""
    why: str
    """Why it was not removed, as a person reads it."""


_making = threading.Lock()
_held: set[str] = set()
"""The paths of what this process has made and not removed yet."""
_private = 0
_umask = 0


@contextlib.contextmanager
def private_files() -> Iterator[None]:
    """Have everything that is made meanwhile be for its owner only, whoever makes it.

    DuckDB makes the log of a store late and under the umask. The umask is the process's: threads
    that are within this at the
    same time share it, and the last one out gives back what was there before. The command has this
    umask from its beginning.
    """
    global _private, _umask  # noqa: PLW0603 - the umask is the process's
    with _making:
        if not _private:
            _umask = os.umask(0o077)
        _private += 1
    try:
        yield
    finally:
        with _making:
            _private -= 1
            if not _private:
                os.umask(_umask)


def sync_folder(folder: Path) -> None:
    """Force the names in a folder to the disk: a new name, or a rename, outlives a power cut only
    then.

    Raises OSError where the disk fails; what cannot do it (some network folders) is left as it is.
    """
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except PermissionError:  # a folder that may be written and not listed
        return
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EBADF, errno.ENOSYS, errno.EOPNOTSUPP):
            raise
    finally:
        os.close(handle)


def put_new(made: Path, path: Path) -> bool:
    """Give a complete file its name for good, unless there is one of that name by now; say whether
    it was given."""
    try:
        os.link(made, path)
        made.unlink()
    except FileExistsError:
        return False
    except OSError:  # a file system without hard links
        if path.exists():
            return False
        made.rename(path)
    sync_folder(path.absolute().parent)
    return True


def put(made: Path, path: Path) -> None:
    """Give a complete file or folder its name for good, in the place of what had it."""
    os.replace(made, path)
    sync_folder(path.absolute().parent)


def stem(name: str) -> str:
    """Return as much of a name as another name can hold beside a beginning and an ending."""
    return name.encode("utf-8", "surrogateescape")[:100].decode("utf-8", "ignore")


def locked_file(path: Path) -> tuple[Path, int]:
    """Make a file beside a path, for its owner only, and lock it; return it and its handle. Raises
    OSError."""
    while True:
        handle, name = tempfile.mkstemp(
            prefix=f".{stem(path.name)}.", suffix=".profilectl", dir=path.absolute().parent
        )
        _lock(handle)
        if _is_there(Path(name), handle):
            _held.add(name)
            return Path(name), handle
        os.close(handle)


def drop_file(made: Path) -> None:
    """Remove a file that locked_file made, where it has no other name by now."""
    _held.discard(str(made))
    with contextlib.suppress(OSError):
        made.unlink()


@contextlib.contextmanager
def folder_beside(path: Path, kind: str) -> Iterator[Path]:
    """Make a folder beside a path, for its owner only, and remove it at the end. kind: one of
    KINDS. Raises StoreUnusable.

    What killed processes have left there is removed as well.
    """
    assert kind in KINDS
    try:
        folder, lock = _locked_folder(path, kind)
    except OSError as error:
        raise unwritable(path, str(error.strerror)) from None
    _held.add(str(folder))
    try:
        sweep(folder.parent)
        yield folder
    finally:
        _empty(folder, lock)
        os.close(lock)
        _held.discard(str(folder))


def unwritable(path: Path, why: str) -> StoreUnusable:
    """Return what is raised where nothing can be made beside a path."""
    return StoreUnusable(
        f"the folder {path.parent} cannot be written: {why}", "name another with --store or -o"
    )


def _locked_folder(path: Path, kind: str) -> tuple[Path, int]:
    """Make a folder, lock and mark it; another one, where somebody took it for left over in
    between."""
    while True:
        folder = Path(
            tempfile.mkdtemp(
                prefix=f".{stem(path.name)}.", suffix=f".{kind}", dir=path.absolute().parent
            )
        )
        try:
            lock = os.open(folder, os.O_RDONLY)
        except FileNotFoundError:
            continue
        _lock(lock)
        try:
            if _is_there(folder, lock):
                os.close(os.open(MARK, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=lock))
                return folder, lock
        except OSError:
            folder.rmdir()
            os.close(lock)
            raise
        os.close(lock)


def _lock(handle: int) -> None:
    with contextlib.suppress(
        OSError
    ):  # a file system without locks: nothing is ever taken for left over
        fcntl.flock(handle, fcntl.LOCK_EX)


def _is_there(path: Path, handle: int) -> bool:
    """Say whether a path still names what is open."""
    try:
        return os.path.samestat(path.lstat(), os.fstat(handle))
    except FileNotFoundError:
        return False


def _empty(folder: Path, lock: int) -> None:
    """Remove a folder of ours that is open and locked. The mark goes last: what is cut short is
    still known as ours."""
    link = _link_of(folder, lock)
    for name in os.listdir(lock):
        if name != MARK:
            with contextlib.suppress(OSError):
                if stat.S_ISDIR(os.stat(name, dir_fd=lock, follow_symlinks=False).st_mode):
                    shutil.rmtree(name, ignore_errors=True, dir_fd=lock)
                else:
                    os.unlink(name, dir_fd=lock)
    if link is not None:
        _unlink(link, folder)
    if os.listdir(lock) in ([], [MARK]):
        with contextlib.suppress(OSError):
            os.unlink(MARK, dir_fd=lock)
        with contextlib.suppress(OSError):
            folder.rmdir()


# A folder by a plain path


@contextlib.contextmanager
def linked(folder: Path, place: str) -> Iterator[Path]:
    """Yield another path to a folder of ours: a link to it, in a folder made for that in a place.
    The mark says where, first."""
    while True:
        plain = Path(place) / f"profilectl-{secrets.token_hex(4)}"
        (folder / MARK).write_bytes(os.fsencode(plain))
        with contextlib.suppress(FileExistsError):
            plain.mkdir(mode=0o700)
            break
    try:
        (plain / "scratch").symlink_to(folder)
        yield plain / "scratch"
    finally:
        _unlink(plain, folder)


def _link_of(folder: Path, lock: int) -> Path | None:
    """Return the folder with the link to a folder of ours, where its mark names one."""
    try:
        handle = os.open(MARK, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=lock)
    except OSError:
        return None
    with os.fdopen(handle, "rb") as mark:
        plain = Path(os.fsdecode(mark.read(4096)))
    return plain if _LINK.fullmatch(plain.name) and plain.is_absolute() else None


def _unlink(plain: Path, folder: Path) -> None:
    """Remove the folder that holds nothing but the link to a folder of ours."""
    with contextlib.suppress(OSError):
        there = plain.lstat()
        if stat.S_ISDIR(there.st_mode) and there.st_uid == os.geteuid():
            with contextlib.suppress(FileNotFoundError):
                if (plain / "scratch").readlink() == folder:
                    os.unlink(plain / "scratch")
            plain.rmdir()


# What is left over


def sweep(folder: Path) -> list[Left]:
    """Remove from a folder what killed processes have left, and return what has such a name and
    stays. One listing."""
    names: list[str] = []
    with contextlib.suppress(OSError), os.scandir(folder) as there:
        names = [one.name for one in there if one.name.startswith(".")]
    left = []
    for name in names:
        path = folder / name
        remove = (
            _remove_folder
            if _FOLDER.fullmatch(name)
            else _remove_file
            if _FILE.fullmatch(name) or _LOCK.fullmatch(name)
            else None
        )
        if remove is not None and str(path) not in _held:
            why = _why_it_stays(remove, path)
            if why is not None:
                left.append(Left(path, why))
    return left


def _why_it_stays(remove: Callable[[Path, int], str | None], path: Path) -> str | None:
    """Remove something, or say why not."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY)
    except FileNotFoundError:
        return None
    except OSError:
        with contextlib.suppress(OSError):
            return OTHERS if path.lstat().st_uid != os.geteuid() else UNKNOWN
        return None
    try:
        if os.fstat(handle).st_uid != os.geteuid():
            return OTHERS
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return IN_USE
        except OSError:
            return NO_LOCKS
        return remove(path, handle) if _is_there(path, handle) else None
    finally:
        os.close(handle)


def _remove_folder(folder: Path, lock: int) -> str | None:
    if not stat.S_ISDIR(os.fstat(lock).st_mode):
        return UNKNOWN
    try:
        mark = os.stat(MARK, dir_fd=lock, follow_symlinks=False)
        if not stat.S_ISREG(mark.st_mode) or mark.st_uid != os.geteuid():
            return UNKNOWN
    except FileNotFoundError:  # killed before it was marked: then it is empty
        with contextlib.suppress(OSError):
            folder.rmdir()
        return UNKNOWN if folder.exists() else None
    _empty(folder, lock)
    return "it could not be removed" if folder.exists() else None


def _remove_file(path: Path, handle: int) -> str | None:
    there = os.fstat(handle)
    if not stat.S_ISREG(there.st_mode) or (_LOCK.fullmatch(path.name) and there.st_size):
        return UNKNOWN
    try:
        os.unlink(path)
    except OSError as error:
        return f"it could not be removed: {error.strerror}"
    return None


def left_in(folders: Iterable[Path]) -> list[Left]:
    """Remove what killed processes have left in folders, and return what stays, in order, each
    once."""
    left = {
        one.path: one
        for folder in dict.fromkeys(map(Path.absolute, folders))
        for one in sweep(folder)
    }
    return [left[path] for path in sorted(left)]
