"""How many requests does a server answer a second, and how long does each take?

Alone, and while imports run. Another process (client.py) asks over loopback, on the same cores.
The store's people have the customer ids C0, C1, ...; it is made unless --store names one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import client
from bench import Bench
from process import environment, import_file, measure, profilectl, say
from report import Answer, megabytes

HEADINGS = (
    "work", "requests/s", "p50 ms", "p95 ms", "p99 ms", "errors", "the server's CPU, ms a request",
)  # fmt: skip
FLOORS = {
    "constant": "floor: the HTTP library answers a constant",
    "query": "floor: ... and DuckDB finds one profile for each request",
}
FLOOR = Path(__file__).with_name("serving_floor.py")
CLIENT = Path(__file__).with_name("client.py")
FRESH_TIMES = 5

# Imports of 10,000 rows, one after another, until it is stopped.
IMPORTS = """
import random, sys
from pathlib import Path
from profilectl import Store
number = 0
while True:
    number += 1
    file = Path(sys.argv[2]) / "more.csv"
    ids = (random.randrange(int(sys.argv[3])) for _ in range(10000))
    file.write_text("customer_id,benchmark\\n" + "".join(f"C{id},{number}\\n" for id in ids))
    Store(sys.argv[1], wait_s=30).import_files(file, feed="benchmark", again=True)
"""


@dataclass(frozen=True, slots=True)
class Server:
    """A server that runs."""

    address: str
    """Where it answers."""
    token: str
    """The token of a client."""
    process: int
    """The number of its process."""
    store: Path
    """The store that it serves."""
    folder: Path
    """Where files may be made."""


def answer(bench: Bench) -> Answer:
    """Ask over one connection, over several, and over several while imports run."""
    with bench.room() as room:
        store = bench.options.store or _make_store(bench, room)
        floors = [_floor(bench, store.absolute(), room, work) for work in FLOORS]
        with _running(store.absolute(), room) as server:
            notes = [_store_note(server)]
            many = bench.options.connections
            rows = [
                _asked(
                    f"nothing else, {connections} at a time",
                    bench,
                    server,
                    connections=connections,
                )
                for connections in (1, many)
            ]
            with _importing(bench, server):
                title = f"imports of 10,000 rows one after another, {many} at a time"
                rows.append(_asked(title, bench, server, connections=many))
            late = [f"{_seconds_until_fresh(server, number):.2f}" for number in range(FRESH_TIMES)]
            notes.append(f"New data are served after {', '.join(late)} s.")
    return Answer(HEADINGS, [*floors, *rows], notes)


def _make_store(bench: Bench, room: Path) -> Path:
    store = room / "profiles.duckdb"
    import_file(store, bench.data.people(), feed="people", source="csv")
    return store


@contextmanager
def _running(store: Path, room: Path) -> Iterator[Server]:
    """Start a server, and stop it in the end."""
    new_client = ("credentials", "new", "api.toml", "--client", "benchmark", "--feed", "benchmark")
    measure([sys.executable, "-m", "profilectl", *new_client], folder=room)
    serve = ("serve", "--credentials", "api.toml", "--port", "0", "--rate", "1000000", "--json")
    with (room / "log").open("wb") as log, (room / "address").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "profilectl", "--store", store, *serve],
            cwd=room,
            stdout=output,
            stderr=log,
            env=environment(),
        )
    try:
        while not (room / "address").read_text():
            time.sleep(0.05)
        address = json.loads((room / "address").read_text())["address"]
        credentials = tomllib.loads((room / "api.toml").read_text())["clients"]["benchmark"]
        token = client.token_of(address, credentials)
        yield Server(address=address, token=token, process=process.pid, store=store, folder=room)
    finally:
        process.terminate()
        process.wait()


def _floor(bench: Bench, store: Path, room: Path, work: str) -> tuple[str, ...]:
    """Ask a server that does nothing else."""
    with (room / "floor").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, FLOOR, work, store], stdout=output, env=environment()
        )
    try:
        while not (room / "floor").read_text().endswith("}\n"):
            time.sleep(0.05)
        address = json.loads((room / "floor").read_text())["address"]
        server = Server(
            address=address, token="none", process=process.pid, store=store, folder=room
        )
        many = bench.options.connections
        return _asked(f"{FLOORS[work]}, {many} at a time", bench, server, connections=many)
    finally:
        process.terminate()
        process.wait()


@contextmanager
def _importing(bench: Bench, server: Server) -> Iterator[None]:
    """Import until the block ends."""
    arguments = [str(server.store), str(server.folder), str(bench.sizes.people)]
    process = subprocess.Popen(
        [sys.executable, "-c", IMPORTS, *arguments], env=environment(), stdout=subprocess.PIPE
    )
    try:
        yield
    finally:
        process.terminate()
        process.communicate()


def _store_note(server: Server) -> str:
    copy_ms = client.health(server.address)["copy_ms"]
    size = megabytes(server.store.stat().st_size)
    load = os.getloadavg()[0]
    return f"The store has {size} MB; a copy of it took {copy_ms} ms; load {load:.1f}."


def _asked(title: str, bench: Bench, server: Server, *, connections: int) -> tuple[str, ...]:
    """Ask for some seconds."""
    before = _cpu_seconds(server.process)
    job = {
        "address": server.address,
        "token": server.token,
        "people": bench.sizes.people,
        "seconds": bench.options.seconds,
        "connections": connections,
    }
    figures = json.loads(measure([sys.executable, CLIENT], stdin=json.dumps(job)).printed)
    cpu_ms = (_cpu_seconds(server.process) - before) / figures["count"] * 1000
    say(f"  {title}: {figures['rate']:,.0f} requests/s")
    return (
        title,
        f"{figures['rate']:,.0f}",
        f"{figures['p50']:.0f}",
        f"{figures['p95']:.0f}",
        f"{figures['p99']:.0f}",
        f"{figures['errors']:.0f}",
        f"{cpu_ms:.2f}",
    )


def _cpu_seconds(process: int) -> float:
    """Return the CPU time of a process, which other work hardly changes. Linux only."""
    numbers = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(numbers[11]) + int(numbers[12])) / os.sysconf("SC_CLK_TCK")


def _seconds_until_fresh(server: Server, number: int) -> float:
    """Return the seconds from the end of an import until its data are served."""
    with tempfile.TemporaryDirectory(dir=server.folder) as name:
        file = Path(name) / "fresh.csv"
        file.write_text(f"customer_id,fresh\nNEW{number}-{time.time_ns()},1\n")
        before = client.health(server.address)["import"]
        profilectl(server.store, "import", file, "--feed", "benchmark")
    began = time.perf_counter()
    while client.health(server.address)["import"] == before:
        time.sleep(0.01)
    return time.perf_counter() - began
