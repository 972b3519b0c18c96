"""The servers that answer out of a store, and the wait for them after an erasure.

A server (`profilectl serve`) answers out of a copy of the store. It has a folder beside the store,
which it keeps locked for as long as it lives, and in it a file that says which server it is. A
process that has erased somebody puts a question there, an empty file. The server removes it once
all its answers come from a copy that was made after the question. So no clocks are compared, and
nobody waits for a server that was killed.

A folder may be a stranger's. So only a limited number of folders, bytes and characters are read,
and no links are followed.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import glob
import itertools
import json
import os
import re
import secrets
import stat
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

WORD = "server.json"
"""The file in which a server says who it is."""
QUESTION = "ask-"
"""The beginning of the name of a question."""
PLACE = ".snapshot"
"""The end of the name of a server's folder."""
MOST_FOLDERS = 100
MOST_BYTES = 4096
MOST_QUESTIONS = 1000
WAIT_S = 30.0
"""The time for which a process that erased somebody waits for servers by default, in seconds."""
LOOK_S = 0.02
"""The pause between two looks for an answer, in seconds."""
ADDRESS = re.compile(r"http://[0-9A-Za-z.:\[\]%_-]{1,200}")


@dataclass(frozen=True, slots=True)
class Teller:
    """A server that tells of a store."""

    process: int | None = None
    """Its process; None: it does not say, like a server that is only starting."""
    address: str | None = None
    """Its address; None: it does not say."""
    store_id: str | None = None
    """The id of the store that it serves; None: it does not say."""
    user: int | None = None
    """Its user, if its folder cannot be looked into; else None."""

    def as_json(self) -> dict[str, object]:
        """Return the server as `--json` names it."""
        return {"process": self.process, "address": self.address, "user": self.user}

    def __str__(self) -> str:
        if self.user is not None:
            return f"a server of the user {self.user}, which cannot be asked"
        process = f"process {self.process}" if self.process is not None else "a server that starts"
        return f"{self.address} ({process})" if self.address else process


# The server's side.


def say_who(folder: Path, teller: Teller) -> None:
    """Write down in the folder of a server which server it is."""
    document = {
        "process": teller.process,
        "address": teller.address,
        "store_id": teller.store_id,
    }
    new_file = folder / f"{WORD}.new"
    handle = os.open(new_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(handle, "w") as out:
        json.dump(document, out)
    # Renamed when it is whole: nobody reads half of it.
    new_file.rename(folder / WORD)


def questions_in(folder: Path) -> list[Path]:
    """Return the questions that were put to the server of a folder. Raises OSError."""
    with os.scandir(folder) as files:
        names = (file.name for file in files if file.name.startswith(QUESTION))
        return [folder / name for name in itertools.islice(names, MOST_QUESTIONS)]


def answer(questions: Sequence[Path]) -> None:
    """Answer questions, by removing them: no answer comes from an older copy any more."""
    for question in questions:
        with contextlib.suppress(OSError):
            question.unlink()


# The side of a process that erased somebody.


@dataclass(slots=True)
class _Asked:
    """A server that was asked."""

    folder: Path
    """Its folder."""
    question: Path | None
    """The question that was put there; None: none could be put."""
    teller: Teller = field(default_factory=Teller)
    """The server."""

    def tells(self) -> bool:
        """Return whether the server lives and has not answered yet."""
        if self.question is not None and not self.question.exists():
            return False
        return is_living(self.folder)


def still_told_by(path: Path, store_id: str, within_s: float) -> list[Teller]:
    """Return the living servers that may still answer out of the store as it was before this call.

    It waits for their answers `within_s` seconds at most. Only servers on this machine are known.
    The store must not be open, or no server could copy it.
    """
    servers = [_ask(folder) for folder in living(path)]
    questions = [server.question for server in servers if server.question is not None]
    until = time.monotonic() + within_s
    try:
        while True:
            servers = [
                server for server in servers if server.tells() and _is_meant(server, store_id)
            ]
            if not any(server.question for server in servers) or time.monotonic() >= until:
                return [server.teller for server in servers]
            time.sleep(LOOK_S)
    finally:
        answer(questions)


def living(path: Path) -> list[Path]:
    """Return the folders of the living servers of a store, as far as they can be known."""
    return [folder for folder in _folders(path) if is_living(folder)]


def _folders(path: Path) -> Iterator[Path]:
    """Yield the folders of servers beside a store that belong to root, us or the store's owner."""
    parent, prefix = path.absolute().parent, f".{path.name[:100]}."
    with contextlib.suppress(OSError):
        owners = {0, os.getuid(), path.stat().st_uid}
        named = f"{glob.escape(prefix)}*{PLACE}"
        of_servers = itertools.islice(parent.glob(named), MOST_FOLDERS)
        for folder in of_servers:
            with contextlib.suppress(OSError):
                file = folder.lstat()
                if stat.S_ISDIR(file.st_mode) and file.st_uid in owners:
                    yield folder


def is_server_of(path: Path, folder: Path) -> bool:
    """Return whether a folder beside a store is that of a living server (still_told_by asks it)."""
    beside = folder.parent == path.absolute().parent
    named = folder.name.startswith(f".{path.name[:100]}.") and folder.name.endswith(PLACE)
    return beside and named and _teller_of(folder).process is not None and is_living(folder)


def is_living(folder: Path) -> bool:
    """Return whether a server lives: its process holds its folder locked."""
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except PermissionError:
        return True  # another user's: it cannot be known
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # a file system without locks
        process = _teller_of(folder).process
        return process is not None and _runs(process)
    finally:
        os.close(handle)
    return False


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except OSError as error:
        return error.errno == errno.EPERM
    return True


def _ask(folder: Path) -> _Asked:
    question = folder / f"{QUESTION}{secrets.token_hex(8)}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    try:
        os.close(os.open(question, flags, 0o600))
    except PermissionError:
        return _Asked(folder, None, Teller(user=folder.lstat().st_uid))
    except OSError:  # it ends just now, or the disk is full
        return _Asked(folder, None, _teller_of(folder))
    return _Asked(folder, question, _teller_of(folder))


def _is_meant(server: _Asked, store_id: str) -> bool:
    """Return whether a server serves a store, or may: one that is only starting does not say."""
    if server.teller.user is None:
        server.teller = _teller_of(server.folder)
    return server.teller.store_id in (None, store_id)


def _teller_of(folder: Path) -> Teller:
    """Return a server as it describes itself, without members that cannot be true."""
    try:
        handle = os.open(folder / WORD, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(handle, "rb") as content:
            if not stat.S_ISREG(os.fstat(content.fileno()).st_mode):
                return Teller()
            document = json.loads(content.read(MOST_BYTES))
    except (OSError, ValueError, RecursionError):
        return Teller()
    if not isinstance(document, dict):
        return Teller()
    process, address, store_id = map(document.get, ("process", "address", "store_id"))
    return Teller(
        process if type(process) is int and 0 < process < 2**31 else None,
        address if isinstance(address, str) and ADDRESS.fullmatch(address) else None,
        store_id if isinstance(store_id, str) and len(store_id) <= 64 else None,
    )
