"""Looking at a large store: show, search, lookup of a million, export of all, against plain DuckDB.

    python benchmarks/looking.py STORE [--folder DIR]

STORE is a store that benchmarks/import.py has made. Prints a Markdown table; the floor of the
export is a COPY to Parquet of a table with the same content.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def timed(
    store: Path, *arguments: str, runs: int = 1, stdout: Path | None = None
) -> tuple[float, int, str]:
    """Run a command; return the median seconds, the peak of its memory in MB, and what it printed."""
    seconds, peak, printed = [], 0, ""
    for _ in range(runs):
        program = "import resource, subprocess, sys; done = subprocess.run(sys.argv[2:], stdout=open(sys.argv[1], 'wb')); print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, done.returncode)"
        out = stdout or Path(tempfile.gettempdir()) / "inspect-out"
        began = time.perf_counter()
        done = subprocess.run(
            [
                sys.executable,
                "-c",
                program,
                str(out),
                sys.executable,
                "-m",
                "profilectl",
                "--quiet",
                "--store",
                str(store),
                *arguments,
            ],
            capture_output=True,
            text=True,
            check=True,
        )
        seconds.append(time.perf_counter() - began)
        peak = max(peak, int(done.stdout.split()[0]) // 1024)
        with out.open(encoding="utf-8", errors="replace") as content:
            printed = content.read(2000)
    return statistics.median(seconds), peak, printed


FLOOR = """
import duckdb, sys, time
connection = duckdb.connect(sys.argv[2])
connection.execute("set enable_progress_bar = false")
connection.execute(f"create table all_of_it as select * from read_parquet('{sys.argv[1]}')")
connection.execute("checkpoint")
began = time.perf_counter()
connection.execute(f"copy all_of_it to '{sys.argv[2]}.parquet' (format parquet, compression zstd)")
print(time.perf_counter() - began)
"""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("store", type=Path)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(dir=options.folder, prefix="profilectl-inspect-"))
    print("| work | seconds | peak MB | |\n|---|---|---|---|")
    for words in (
        "show --email person4711@example.com",
        "show --email person4711@example.com --json",
        "explain --email person4711@example.com",
        "search person4711@example.com --exact",
        "search person47110",
        "search 47110 --substring",
        "search 9910[05]00047 --regex --type mobile_number",
        "set --email person4711@example.com x=1",
    ):
        seconds, peak, _ = timed(options.store, *words.split(), runs=3)
        print(f"| `{words}` | {seconds:.2f} | {peak:,} | |", flush=True)
    seconds, peak, printed = timed(
        options.store, "search", "--where", "tier = 'gold' and points > 9990", "--json"
    )
    print(
        f"| `search --where` on two attributes | {seconds:.2f} | {peak:,} | {json.loads(printed)['count'] if printed.endswith(']}') else ''} |",
        flush=True,
    )
    people = folder / "people.txt"
    people.write_text("".join(f"person{n * 7}@example.com\n" for n in range(1_000_000)))
    for more in ([], ["--field", "tier", "--field", "city"]):
        seconds, peak, _ = timed(
            options.store,
            "lookup",
            str(people),
            "--type",
            "email",
            *more,
            stdout=folder / "found.jsonl",
        )
        print(
            f"| lookup of 1,000,000{' with two fields' if more else ''} | {seconds:.2f} | {peak:,} | |",
            flush=True,
        )
    target = folder / "all.parquet"
    seconds, peak, _ = timed(options.store, "export", "profiles", "-o", str(target))
    floor = float(
        subprocess.run(
            [sys.executable, "-c", FLOOR, str(target), str(folder / "floor.duckdb")],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    )
    print(
        f"| export of all to Parquet | {seconds:.2f} | {peak:,} | {seconds / floor:.2f} x `COPY` ({floor:.2f} s) |",
        flush=True,
    )
    for kind, name in (
        ("profiles", "all.jsonl"),
        ("batches", "batches.jsonl"),
        ("attributes", "attributes.parquet"),
        ("identities", "identities.csv"),
    ):
        seconds, peak, _ = timed(options.store, "export", kind, "-o", str(folder / name))
        print(
            f"| export {kind} to {name} | {seconds:.2f} | {peak:,} | {(folder / name).stat().st_size / 1e6:,.0f} MB |",
            flush=True,
        )


if __name__ == "__main__":
    main()
