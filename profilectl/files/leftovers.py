"""The files and folders that a command makes beside its output, and those that a killed one left.

A folder of ours is called `.NAME.XXXXXXXX.KIND`, a file that is not complete yet
`.NAME.XXXXXXXX.profilectl`. The process that makes one holds a lock on it, which goes with the
process, however that ends. So a path of such a name that nobody locks is left over. It is removed
where it is ours beyond doubt: it belongs to the user, it is what its name says, and a folder holds
MARK, which nobody else could put there. (In a folder that others write to, they can give any name
to anything.)
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import stat
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from profilectl.codes import StoreUnusable

KINDS = ("scratch", "new", "copy", "snapshot", "parts")
"""The purposes of the folders that a process makes."""
MARK = ".profilectl"
"""The file by which a folder is known as ours; it names the link folder that goes with it, where
there is one.
"""
_FOLDER = re.compile(rf"\..+\.[a-z0-9_]{{8}}\.(?:{'|'.join(KINDS)})", re.DOTALL)
_FILE = re.compile(r"\..+\.[a-z0-9_]{8}\.profilectl", re.DOTALL)
_LOCK = re.compile(r"\..+\.forward", re.DOTALL)
"""The file by which one process alone forwards (delivery.run); it is empty."""
_LINK = re.compile(r"profilectl-[a-z0-9_]{8}")

IN_USE = "a command that still runs is at it"
ANOTHER_USERS = "it belongs to another user"
UNKNOWN = "it is not known to be of profilectl"
NO_LOCKS = "this file system has no locks, so a command may still be at it"


@dataclass(frozen=True, slots=True)
class Left:
    """A file or folder under a name of ours that was not removed."""

    path: Path
    """Where it is."""
    why: str
    """Why it was not removed, as a person reads it."""


_making = threading.Lock()
_own_paths: set[str] = set()
"""The paths that this process has made and not removed yet."""
_private_depth = 0
"""How many threads are within private_files."""
_umask = 0
"""The umask before the first of them."""


@contextlib.contextmanager
def private_files() -> Iterator[None]:
    """Have every file that is made meanwhile be for its owner only, also those of DuckDB.

    DuckDB makes the log of a store late and under the umask. The umask is the process's: threads
    that are within this at the same time share it, and the last one out gives back the one from
    before. The command has this umask from its beginning.
    """
    global _private_depth, _umask  # noqa: PLW0603 - the umask is the process's
    with _making:
        if not _private_depth:
            _umask = os.umask(0o077)
        _private_depth += 1
    try:
        yield
    finally:
        with _making:
            _private_depth -= 1
            if not _private_depth:
                os.umask(_umask)


def sync_folder(folder: Path) -> None:
    """Force the names in a folder to the disk: only then a new name outlives a power cut.

    A folder that cannot do it (on some networks) is left as it is. Raises OSError where the disk
    fails.
    """
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except PermissionError:  # a folder that may be written and not listed
        return
    try:
        os.fsync(handle)
    # Some file systems cannot force a folder to the disk.
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EBADF, errno.ENOSYS, errno.EOPNOTSUPP):
            raise
    finally:
        os.close(handle)


def put_new(new: Path, path: Path) -> bool:
    """Give a complete file its name for good, unless there is one of that name by now.

    Return whether it got the name.
    """
    # To link fails where the name is there; to rename would replace the file of that name.
    try:
        os.link(new, path)
        new.unlink()
    except FileExistsError:
        return False
    except OSError:  # a file system without hard links
        if path.exists():
            return False
        new.rename(path)
    sync_folder(path.absolute().parent)
    return True


def put(new: Path, path: Path) -> None:
    """Give a complete file or folder its name for good, and replace the one that had it."""
    os.replace(new, path)
    sync_folder(path.absolute().parent)


def stem(name: str) -> str:
    """Return the beginning of a name, short enough to be put into another name."""
    return name.encode("utf-8", "surrogateescape")[:100].decode("utf-8", "ignore")


def locked_file(path: Path) -> tuple[Path, int]:
    """Make a file beside a path, for its owner only, and lock it; return it and its handle.

    Raises OSError.
    """
    import tempfile

    while True:
        handle, name = tempfile.mkstemp(
            prefix=f".{stem(path.name)}.", suffix=".profilectl", dir=path.absolute().parent
        )
        _lock(handle)
        # Another process may have removed it before it was locked.
        if _is_there(Path(name), handle):
            _own_paths.add(name)
            return Path(name), handle
        os.close(handle)


def drop_file(path: Path) -> None:
    """Remove a file that locked_file made, where it has no other name by now."""
    _own_paths.discard(str(path))
    with contextlib.suppress(OSError):
        path.unlink()


@contextlib.contextmanager
def folder_beside(path: Path, kind: str) -> Iterator[Path]:
    """Make a folder beside a path, for its owner only, and remove it at the end.

    Those that killed processes have left there are removed as well. kind: one of KINDS. Raises
    StoreUnusable.
    """
    assert kind in KINDS
    try:
        folder, lock = _locked_folder(path, kind)
    except OSError as error:
        raise unwritable(path, str(error.strerror)) from None
    _own_paths.add(str(folder))
    try:
        sweep(folder.parent)
        yield folder
    finally:
        _empty(folder, lock)
        os.close(lock)
        _own_paths.discard(str(folder))


def unwritable(path: Path, why: str) -> StoreUnusable:
    """Return the error of a path beside which nothing can be made."""
    return StoreUnusable(
        f"the folder {path.parent} cannot be written: {why}", "name another with --store or -o"
    )


def _locked_folder(path: Path, kind: str) -> tuple[Path, int]:
    """Make a folder, lock and mark it; return it and its lock.

    Another is made if a process took the first for left over before it was locked. Raises OSError.
    """
    while True:
        folder = _new_folder(path, kind)
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


def _new_folder(path: Path, kind: str) -> Path:
    """Make a folder of a new name, for its owner only. Raises OSError.

    As tempfile.mkdtemp does it: that module takes 5 ms to load, the random numbers with it.
    """
    while True:
        name = f".{stem(path.name)}.{os.urandom(4).hex()}.{kind}"
        folder = path.absolute().parent / name
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
            return folder


def _lock(handle: int) -> None:
    # A file system without locks: nothing is ever taken for left over.
    with contextlib.suppress(OSError):
        fcntl.flock(handle, fcntl.LOCK_EX)


def _is_there(path: Path, handle: int) -> bool:
    """Return whether a path still names the file that is open."""
    try:
        return os.path.samestat(path.lstat(), os.fstat(handle))
    except FileNotFoundError:
        return False


def _empty(folder: Path, lock: int) -> None:
    """Remove a folder of ours that is open and locked.

    The mark goes last: a folder whose removal is cut short is still known as ours.
    """
    link = _link_of(folder, lock)
    for name in os.listdir(lock):
        if name != MARK:
            with contextlib.suppress(OSError):
                if stat.S_ISDIR(os.stat(name, dir_fd=lock, follow_symlinks=False).st_mode):
                    import shutil

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

    The mark says first where that is.
    """
    while True:
        plain = Path(place) / f"profilectl-{os.urandom(4).hex()}"
        # If this process is killed the next one finds the link folder by the mark.
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
        status = plain.lstat()
        if stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid():
            with contextlib.suppress(FileNotFoundError):
                if (plain / "scratch").readlink() == folder:
                    os.unlink(plain / "scratch")
            plain.rmdir()


# Files and folders that are left over


def sweep(folder: Path) -> list[Left]:
    """Remove from a folder what killed processes have left; return what could not be removed."""
    names: list[str] = []
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        names = [entry.name for entry in entries if entry.name.startswith(".")]
    staying = []
    for name in names:
        path = folder / name
        remove = _remover_of(name)
        if remove is not None and str(path) not in _own_paths:
            why = _why_it_stays(remove, path)
            if why is not None:
                staying.append(Left(path, why))
    return staying


def _remover_of(name: str) -> Callable[[Path, int], str | None] | None:
    """Return what removes a path of a name of ours; None for any other name."""
    if _FOLDER.fullmatch(name):
        return _remove_folder
    return _remove_file if _FILE.fullmatch(name) or _LOCK.fullmatch(name) else None


def _why_it_stays(remove: Callable[[Path, int], str | None], path: Path) -> str | None:
    """Remove a path, and return None; or return why it stays."""
    # A name of ours may have been given to anything: no link is followed, no pipe is waited for.
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY)
    except FileNotFoundError:
        return None
    except OSError:
        with contextlib.suppress(OSError):
            return ANOTHER_USERS if path.lstat().st_uid != os.geteuid() else UNKNOWN
        return None
    try:
        if os.fstat(handle).st_uid != os.geteuid():
            return ANOTHER_USERS
        # A lock goes with its process: after a command was killed, nobody has it.
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
    """Remove a folder that is open and locked; return why it stays."""
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
    """Remove a file that is open and locked; return why it stays."""
    status = os.fstat(handle)
    # A lock that has content is somebody's file with such a name.
    if not stat.S_ISREG(status.st_mode) or (_LOCK.fullmatch(path.name) and status.st_size):
        return UNKNOWN
    try:
        os.unlink(path)
    except OSError as error:
        return f"it could not be removed: {error.strerror}"
    return None


def left_in(folders: Iterable[Path]) -> list[Left]:
    """Remove what killed processes have left in folders; return what stays, in order, each once."""
    staying = {
        leftover.path: leftover
        for folder in dict.fromkeys(map(Path.absolute, folders))
        for leftover in sweep(folder)
    }
    return [staying[path] for path in sorted(staying)]
