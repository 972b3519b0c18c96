"""Every write fails once: a command is run with the N-th call by which it changes its folder
failing, for every N.

The library that does it is failing.c, the process that commands are forked from failing_server.py.
Whatever fails, the store is the one before or the one after, to the last value of every table;
`check` finds it sound; the exit status and the words are true; the same command given again ends in
the one after, and nothing is left that a whole run would not have left.
"""

from __future__ import annotations

import enum
import functools
import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import pytest
from support.doors import _Server

STORE = "profiles.duckdb"
NEEDED = "PROFILECTL_NEEDS_CC"
"""A variable that says that there must be a C compiler: .ci/run sets it, so that nothing is left
out there unseen.
"""


class Mode(enum.IntEnum):
    """What becomes of the call that is meant (failing.c)."""

    COUNT = 0
    FAIL = 1
    FULL = 2
    SHORT = 3
    KILL = 4
    TORN = 5
    AFTER = 6


KILLS = (Mode.KILL, Mode.TORN, Mode.AFTER)
HALVES = (Mode.SHORT, Mode.TORN)
WRITES = ("write", "pwrite", "writev", "pwritev", "copy")


@functools.cache
def _library() -> Path:
    """Compile the library, once a process."""
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if compiler is None:
        if os.environ.get(NEEDED):
            pytest.fail(
                f"there is no C compiler, and {NEEDED} says that there is to be one:"
                " apt-get install gcc libc6-dev"
            )
        pytest.skip("needs a C compiler")
    made = Path(tempfile.mkdtemp(prefix="profilectl-failing.")) / "failing.so"
    source = Path(__file__).with_name("failing.c")
    subprocess.run(
        [
            compiler,
            "-shared",
            "-fPIC",
            "-O1",
            "-Wall",
            "-Werror",
            "-o",
            str(made),
            str(source),
            "-ldl",
        ],
        check=True,
    )
    return made


@functools.cache
def _server() -> _Server:
    return _Server("failing_server.py", LD_PRELOAD=str(_library()))


@dataclass(frozen=True)
class Ran:
    """What a command did.

    calls: those that changed its folder, as (name, path); fired: the one that was meant came.
    """

    status: int
    stdout: str
    stderr: str
    calls: list[tuple[str, str]]
    fired: bool


def ran(folder: Path, *arguments: str, mode: Mode | None = None, at: int = 0) -> Ran:
    """Run a command; mode: on a disk that fails at the so-manyeth call."""
    with tempfile.NamedTemporaryFile("r", prefix="profilectl-calls.") as log:
        environment = {**os.environ, "COLUMNS": "100", "NO_COLOR": "1", **SECRETS}
        environment.pop("PROFILECTL_STORE", None)
        if mode is not None:
            environment |= {
                "FAILING_LOG": log.name,
                "FAILING_FOLDER": str(folder),
                "FAILING_MODE": str(int(mode)),
                "FAILING_AT": str(at),
            }
        done = _server().run(arguments, folder, environment, None)
        lines = [line.split(" ", 2) for line in log.read().splitlines()]
    return Ran(
        done.returncode,
        done.stdout,
        done.stderr,
        [(name, path) for _, name, path in lines],
        any(sign == "!" for sign, _, _ in lines),
    )


SECRETS = {"PROFILECTL_PUSH_KEY": "key", "PROFILECTL_PUSH_SECRET": "secret"}

# What a store holds


def held(folder: Path, store: str = STORE) -> dict[str, Any] | None:
    """Return every value of every table of a store; None: there is no store. The file is not
    touched.
    """
    path = folder / store
    if not path.exists():
        return None
    log = path.with_name(path.name + ".wal")
    return _held(path.read_bytes(), log.read_bytes() if log.exists() else b"")


@functools.lru_cache(maxsize=400)
def _held(content: bytes, log: bytes) -> dict[str, Any]:
    try:
        return _read(content, log)
    except duckdb.Error as error:
        return {
            "unreadable": str(error)[:200],
            **dict.fromkeys(("import", "outbox", "forwarded", "sent_profile"), ()),
        }


def _read(content: bytes, log: bytes) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="profilectl-held.") as name:
        path = Path(name) / "store"
        path.write_bytes(content)
        if log:
            path.with_name("store.wal").write_bytes(log)
        with duckdb.connect(str(path)) as store:
            tables = [
                table
                for (table,) in store.execute("select table_name from duckdb_tables()").fetchall()
            ]
            found = {
                table: store.execute(f'select * from "{table}" order by all').fetchall()
                for table in tables
            }
            found["import"] = [
                (*row[:9], _without_durations(row[9]), *row[10:])
                for row in store.execute("select * from import order by number").fetchall()
            ]
    return found


def _without_durations(report: str) -> str:
    return DURATIONS.sub(b"", report.encode()).decode()


DURATIONS = re.compile(rb'"(elapsed_ms|locked_ms)": ?\d+|"seal": "[0-9a-f]+"')
"""How long things took, and what seals a plan that says so."""


def files_of(folder: Path) -> dict[str, bytes]:
    """Return what lies beside a store, by name; folders and what they hold too.

    Of the store itself and of other stores nothing.
    """
    return {
        str(one.relative_to(folder)): b"" if one.is_dir() else DURATIONS.sub(b"", one.read_bytes())
        for one in sorted(folder.rglob("*"))
        if not (
            one.is_file()
            and (one.name in (STORE, f"{STORE}.wal") or one.read_bytes()[8:12] == b"DUCK")
        )
    }


def stores_of(folder: Path) -> list[str]:
    """Return the names of the stores and databases in a folder, the store itself left out."""
    return sorted(
        one.name
        for one in folder.iterdir()
        if one.is_file() and one.name != STORE and one.read_bytes()[8:12] == b"DUCK"
    )


# What is tried


def words(operation: Operation) -> list[str]:
    """Return the command."""
    return [operation.url() if word == "{url}" else word for word in operation.arguments.split()]


@dataclass(frozen=True)
class Operation:
    """A command that is tried at every call."""

    name: str
    make: Callable[[Path], None]
    """Makes the folder it is run in."""
    arguments: str
    """The command; what is split at blanks."""
    ends: int = 0
    """Its exit status when all goes well."""
    repeats: bool = False
    """It does the same once more where it is given again."""
    falls_back: str = ""
    """The file that is written instead where the one that was named cannot be."""
    again: tuple[int, ...] = (0, 3)
    """With which exit status it may end when it is given again and all was done before."""
    told_missing: tuple[str, str] = ("", "")
    """A file that may be missing after the command was given again, where the command refuses to go
    on and says so in these words.
    """
    true_words: str = ""
    """What it says, as a pattern, where it fails after the store is the one after."""
    between: Callable[[dict[str, Any]], dict[str, Any]] | None = None
    """Of a command of several commits: what of a store is to be the one before or the one after."""
    compared: Callable[[dict[str, Any]], dict[str, Any]] = lambda found: found
    """What of a store is compared in the end."""
    appended: tuple[str, ...] = ()
    """Files that are added to: they may end in a cut line, which the next run mends."""
    looked: Callable[[Path], None] | None = None
    """What else must hold in a folder after each run."""
    url: Callable[[], str] = lambda: ""
    """The address that {url} stands for in the command."""
    begun: Callable[[], None] = lambda: None
    """What is done before each try."""


@dataclass
class Ground:
    """An operation, the folder it begins in, and what a whole run leaves."""

    operation: Operation
    folder: Path
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    files_before: dict[str, bytes]
    files: dict[str, bytes]
    stores: list[str]
    calls: list[tuple[str, str]]
    sound: dict[str, bool] = field(default_factory=dict)
    finished: dict[str, str] = field(default_factory=dict)

    def copy(self, folder: Path) -> Path:
        """Begin anew. The path is the same each time: it is in the history of an import."""
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.folder, folder)
        self.operation.begun()
        return folder


def ground_of(operation: Operation, folder: Path) -> Ground:
    """Make the ground of an operation in a folder."""
    begin, work = folder / "begin", folder / "work"
    begin.mkdir()
    operation.make(begin)
    ground = Ground(operation, begin, held(begin), None, files_of(begin), {}, [], [])
    ground.copy(work)
    done = ran(work, *words(operation), mode=Mode.COUNT)
    assert done.status == operation.ends, (operation.name, done)
    assert done.calls, "nothing is counted: is the library preloaded?"
    ground.after, ground.files, ground.stores, ground.calls = (
        held(work),
        files_of(work),
        stores_of(work),
        done.calls,
    )
    return ground


def tried(ground: Ground, work: Path, mode: Mode, at: int) -> tuple[bool, list[str]]:
    """Run the operation with the so-manyeth call failing; return whether it came to that, and what
    is wrong with what is left.
    """
    operation = ground.operation
    ground.copy(work)
    done = ran(work, *words(operation), mode=mode, at=at)
    if not done.fired:
        return False, []
    call = " ".join(done.calls[at - 1]) if at <= len(done.calls) else "?"
    wrong: list[str] = []

    def expect(holds: bool, *said: object) -> None:
        if not holds:
            wrong.append(
                f"{operation.name}: {mode.name} {at} ({call}): "
                + " ".join(map(str, said))
                + f" [{done.status}] {done.stderr[-400:]}"
            )

    if (
        "unreadable" in (held(work) or {})
        and mode in HALVES
        and done.calls[at - 1] == ("pwrite", f"/{STORE}")
    ):
        # DuckDB writes a block of its catalog anew where it lies: of one that is written by half
        # neither is left. It is refused.
        refused = ran(work, "check")
        expect(
            refused.status == 6 and "restore a backup" in refused.stderr,
            "a torn block is read:",
            refused,
        )
        if mode is Mode.SHORT:
            expect(
                done.status == 6 and "can no longer be read" in done.stderr,
                "says it is done, and nothing can be read:",
                done.stdout,
            )
        return True, wrong
    _status(ground, done, mode, work, expect)
    expect(_is_sound(ground, work), "check finds it unsound")
    _again(ground, work, expect)
    return True, wrong


def _status(ground: Ground, done: Ran, mode: Mode, work: Path, expect: Callable[..., None]) -> None:
    """The store is before or after, outputs are whole or as they were, and the exit status says the
    truth.
    """
    operation = ground.operation
    state = held(work)
    part = operation.between or operation.compared
    views = [None if one is None else part(one) for one in (state, ground.before, ground.after)]
    empty = ground.before is None and (state is None or not state["import"])
    is_before, is_after = empty or views[0] == views[1], views[0] == views[2]
    expect(
        is_before or is_after,
        "the store is between:",
        _difference(views[0], views[1]),
        "|",
        _difference(views[0], views[2]),
    )
    files = files_of(work)
    for name in {*ground.files, *ground.files_before} - {*operation.appended}:
        expect(
            files.get(name) in (ground.files_before.get(name), ground.files.get(name)),
            name,
            "is neither whole nor as it was",
        )
    if mode in KILLS:
        expect(done.status == -9, "was not killed")
        return
    expect(
        "Traceback" not in done.stderr and "a fault in profilectl" not in done.stderr,
        "a fault is told",
    )
    if done.status == operation.ends:
        expect(is_after, "says it is done, and it is not")
        missing = [
            name
            for name in ground.files
            if files.get(name) != ground.files[name]
            and name not in operation.appended
            and not _elsewhere(name, ground, files, done.stderr)
        ]
        expect(not missing, "says it is done, and these are missing:", missing)
        return
    expect(done.status in (4, 6, 9), "ends with another exit status")
    expect(bool(done.stderr.strip()), "fails without a word")
    if is_after and not is_before:
        expect(
            bool(operation.true_words and re.search(operation.true_words, done.stderr)),
            "fails though it is done, and does not say so",
        )
    if not is_before:
        expect("is as before" not in done.stderr, "says that the store is as before, and it is not")
    if operation.looked:
        operation.looked(work)


def _elsewhere(name: str, ground: Ground, files: dict[str, bytes], said: str) -> bool:
    """Return whether the content of a file is in another one, and the command says in which."""
    return any(
        content == ground.files[name] and other in said
        for other, content in files.items()
        if other not in ground.files
    )


def _difference(found: dict[str, Any] | None, wanted: dict[str, Any] | None) -> str:
    if found is None or wanted is None:
        return f"{'no' if found is None else 'a'} store for {'none' if wanted is None else 'one'}"
    return ", ".join(
        sorted(name for name in {*found, *wanted} if found.get(name) != wanted.get(name))
    )[:300]


def _is_sound(ground: Ground, work: Path) -> bool:
    """Return whether check finds the store sound; it does so once for each content."""
    if not (work / STORE).exists():
        return True
    key = _digest(work)
    if key not in ground.sound:
        with tempfile.TemporaryDirectory(prefix="profilectl-sound.") as name:
            for one in (STORE, f"{STORE}.wal"):
                if (work / one).exists():
                    shutil.copy(work / one, name)
            ground.sound[key] = ran(Path(name), "check").status == 0
    return ground.sound[key]


def _digest(work: Path) -> str:
    digest = hashlib.sha256()
    for one in (STORE, f"{STORE}.wal"):
        digest.update((work / one).read_bytes() if (work / one).exists() else b"-")
    return digest.hexdigest()


def _again(ground: Ground, work: Path, expect: Callable[..., None]) -> None:
    """The command given again ends in the one after, and leaves nothing that a whole run would not
    leave. It is tried once for each content of the folder.
    """
    operation = ground.operation
    names = sorted(re.sub(r"\.[a-z0-9_]{8}(\.|$|/)", ".*.", name) for name in files_of(work))
    outputs = [(work / name).read_bytes() for name in operation.appended if (work / name).exists()]
    if operation.repeats and held(work) == ground.after:
        return
    key = _digest(work) + json.dumps(names) + repr(outputs)
    if key not in ground.finished:
        done = ran(work, *words(operation))
        state = held(work)
        compared = [
            None if one is None else operation.compared(one) for one in (state, ground.after)
        ]
        left = {*files_of(work), *stores_of(work)} - {*ground.files, *ground.stores}
        missing = {*ground.files, *ground.stores} - {*files_of(work), *stores_of(work)}
        said = []
        if operation.falls_back in left:
            missing.discard(next(name for name in ground.files if name == "r.jsonl"))
            left.discard(operation.falls_back)
        if done.status != operation.ends and operation.told_missing[1] in done.stderr:
            missing.discard(operation.told_missing[0])
        if done.status not in (operation.ends, *operation.again):
            said.append(f"given again it ends with {done.status}: {done.stderr[-300:]}")
        if compared[0] != compared[1]:
            said.append(f"given again it leaves another store: {_difference(*compared)}")
        if left:
            said.append(f"is left over: {sorted(left)}")
        if missing:
            said.append(f"is missing in the end: {sorted(missing)}")
        if operation.looked:
            operation.looked(work)
        ground.finished[key] = "; ".join(said)
    expect(not ground.finished[key], ground.finished[key])


def modes_at(ground: Ground, at: int, *, every: bool, whole: bool) -> list[Mode]:
    """Return in which ways a call is tried.

    every: in all of them; whole: it fails, and at each fourth call one of the others in turn; else
    each third call is tried, in all the ways by turns.
    """
    name = ground.calls[at - 1][0]
    ways = [
        Mode.FAIL,
        Mode.KILL,
        *((Mode.TORN, Mode.FULL, Mode.SHORT) if name in WRITES else (Mode.FULL,)),
    ]
    last = [Mode.AFTER] if at == len(ground.calls) else []
    if every:
        return ways + last
    if whole:
        others = ways[1:]
        return [Mode.FAIL, *([others[at // 4 % len(others)]] if at % 4 == 0 else []), *last]
    return [*([ways[at // 3 % len(ways)]] if at % 3 == 1 else []), *last]


def places_of(ground: Ground, many: int) -> list[int]:
    """Return some calls that differ most, spread over the whole of them: the last one of each kind
    at each file.
    """
    seen: dict[tuple[str, str], int] = {}
    for place, (name, path) in enumerate(ground.calls, start=1):
        seen[name, re.sub(r"\.[a-z0-9_]{8}(\.|$|/)", ".*.", path)] = place
    places = sorted(seen.values())
    return (
        places
        if len(places) <= many
        else [places[len(places) * place // many] for place in range(many)]
    )
