"""Asking a server: requests a second and how long they take, while nothing else goes on and while
imports run.

    python benchmarks/serving.py STORE [--seconds 10] [--connections 32]

STORE is a store whose people have the customer ids C0, C1, ... C<people - 1>; without one it is
made (a million, 12 s). A process of its own asks over loopback, as a client that keeps its
connections; the same two cores do all of it. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parent.parent
COMMAND = [sys.executable, "-m", "profilectl"]
FIELDS = "user_identities,user_attributes,audience_memberships"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("store", type=Path, nargs="?")
    parser.add_argument("--people", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--ask", nargs=2, metavar=("ADDRESS", "TOKEN"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.ask:
        print(json.dumps(asyncio.run(ask(*options.ask, options))))
        return
    with tempfile.TemporaryDirectory(dir=options.store.parent if options.store else None) as name:
        measure(Path(name), options)


def measure(folder: Path, options: argparse.Namespace) -> None:
    store = options.store or folder / "profiles.duckdb"
    if not store.exists():
        make(folder, store, options.people)
    run(folder, "credentials", "new", "api.toml", "--client", "benchmark", "--feed", "benchmark")
    with (folder / "log").open("wb") as log, (folder / "address").open("wb") as out:
        server = subprocess.Popen(
            [
                *COMMAND,
                "--store",
                str(store.absolute()),
                "serve",
                "--credentials",
                "api.toml",
                "--port",
                "0",
                "--rate",
                "1000000",
                "--json",
            ],
            cwd=folder,
            stdout=out,
            stderr=log,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
    try:
        while not (folder / "address").read_text():
            time.sleep(0.05)
        address = json.loads((folder / "address").read_text())["address"]
        token = token_of(
            address, tomllib.loads((folder / "api.toml").read_text())["clients"]["benchmark"]
        )
        print(
            f"{store}: {store.stat().st_size / 1e6:,.0f} MB; a copy of it took {health(address)['copy_ms']} ms; load {os.getloadavg()[0]:.1f}\n"
        )
        print(
            "| work | requests/s | p50 ms | p95 ms | p99 ms | errors | the server's CPU, ms a request |\n|---|---|---|---|---|---|---|"
        )
        for connections in (1, options.connections):
            told(
                f"nothing else, {connections} at a time",
                asked(address, token, options, connections, server.pid),
            )
        importing = subprocess.Popen(
            [sys.executable, "-c", IMPORTS, str(store.absolute()), str(folder)],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
        )
        told(
            f"imports of 10,000 rows one after another, {options.connections} at a time",
            asked(address, token, options, options.connections, server.pid),
        )
        importing.terminate()
        importing.communicate()
        late = [fresh(folder, store, address, number) for number in range(5)]
        print(f"\nnew data after a commit: {', '.join(f'{one:.2f}' for one in late)} s")
    finally:
        server.terminate()
        server.wait()


IMPORTS = """
import random, sys
from pathlib import Path
from profilectl import Store
number = 0
while True:
    number += 1
    file = Path(sys.argv[2]) / "more.csv"
    file.write_text("customer_id,benchmark\\n" + "".join(f"C{random.randrange(1000000)},{number}\\n" for _ in range(10000)))
    Store(sys.argv[1], wait_s=30).import_files(file, feed="benchmark", again=True)
"""


def make(folder: Path, store: Path, people: int) -> None:
    rows = (
        f"C{n},person{n}@example.com,+3361{n:07},{('gold', 'silver', 'bronze')[n % 3]},{n * 7919 % 10000},{('Lyon', 'Paris')[n % 2]},First{n % 5000},{n % 90}\n"
        for n in range(people)
    )
    with (folder / "people.csv").open("w") as out:
        out.write("customer_id,email,mobile_number,tier,points,city,$FirstName,age\n")
        out.writelines(rows)
    run(
        folder,
        "--store",
        str(store.absolute()),
        "--quiet",
        "import",
        "people.csv",
        "--feed",
        "people",
    )


def run(folder: Path, *arguments: str) -> None:
    subprocess.run(
        [*COMMAND, *arguments],
        cwd=folder,
        check=True,
        capture_output=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def post(
    address: str, path: str, body: object, headers: dict[str, str]
) -> tuple[int, dict[str, object]]:
    import urllib.error
    import urllib.request

    request = urllib.request.Request(
        address + path, json.dumps(body).encode(), {"content-type": "application/json", **headers}
    )
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def health(address: str) -> dict[str, int]:
    import urllib.request

    with urllib.request.urlopen(address + "/healthz") as answer:
        return json.loads(answer.read())


def token_of(address: str, client: dict[str, str]) -> str:
    body = {
        "client_id": client["id"],
        "client_secret": client["secret"],
        "audience": "https://api.mparticle.com",
        "grant_type": "client_credentials",
    }
    return str(post(address, "/oauth/token", body, {})[1]["access_token"])


def fresh(folder: Path, store: Path, address: str, number: int) -> float:
    """Return the seconds from the end of an import until its data are told."""
    (folder / "one.csv").write_text(f"customer_id,fresh\nNEW{number}-{time.time_ns()},1\n")
    before = health(address)["import"]
    run(
        folder,
        "--store",
        str(store.absolute()),
        "--quiet",
        "import",
        "one.csv",
        "--feed",
        "benchmark",
    )
    began = time.perf_counter()
    while health(address)["import"] == before:
        time.sleep(0.01)
    return time.perf_counter() - began


def cpu_s(process: int) -> float:
    """Return the CPU time of a process, as Linux counts it: other work on the machine does not
    change it much.
    """
    told = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(told[11]) + int(told[12])) / os.sysconf("SC_CLK_TCK")


def asked(
    address: str, token: str, options: argparse.Namespace, connections: int, server: int
) -> dict[str, float]:
    before = cpu_s(server)
    done = subprocess.run(
        [
            sys.executable,
            __file__,
            "--people",
            str(options.people),
            "--seconds",
            str(options.seconds),
            "--connections",
            str(connections),
            "--ask",
            address,
            token,
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout)
    return found | {"cpu": (cpu_s(server) - before) / found["count"] * 1000}


def told(work: str, found: dict[str, float]) -> None:
    print(
        f"| {work} | {found['rate']:,.0f} | {found['p50']:.0f} | {found['p95']:.0f} | {found['p99']:.0f} | {found['errors']:.0f} | {found['cpu']:.1f} |",
        flush=True,
    )


async def ask(address: str, token: str, options: argparse.Namespace) -> dict[str, float]:
    """Ask for people at random, over so many connections, each one request after another."""
    took: list[float] = []
    errors = 0
    place = urlsplit(address)
    until = time.perf_counter() + options.seconds

    async def one() -> None:
        nonlocal errors
        reader, writer = await asyncio.open_connection(place.hostname, place.port)
        while time.perf_counter() < until:
            body = json.dumps(
                {
                    "environment_type": "production",
                    "identity": {
                        "type": "customer_id",
                        "value": f"C{random.randrange(options.people)}",
                    },
                }
            ).encode()
            head = (
                f"POST /userprofile/v1/resolve/1/1/1?fields={FIELDS} HTTP/1.1\r\nhost: {place.netloc}\r\nauthorization: Bearer {token}\r\n"
                f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
            )
            began = time.perf_counter()
            writer.write(head.encode() + body)
            answer = await reader.readuntil(b"\r\n\r\n")
            length = int(answer.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            await reader.readexactly(length)
            took.append(time.perf_counter() - began)
            errors += not answer.startswith(b"HTTP/1.1 200")
        writer.close()

    began = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(options.connections)))
    took.sort()
    at = lambda share: took[min(len(took) - 1, int(len(took) * share))] * 1000  # noqa: E731
    return {
        "count": len(took),
        "rate": len(took) / (time.perf_counter() - began),
        "p50": at(0.5),
        "p95": at(0.95),
        "p99": at(0.99),
        "errors": errors,
    }


if __name__ == "__main__":
    main()
