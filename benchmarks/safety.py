"""What looking first, taking back and looking after cost: lock, dry run, plan, diff, check, backup,
undo.

    python benchmarks/safety.py [--rows 1000000] [--folder DIR]

Half of the rows' customers are known to the store. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def write_rows(path: Path, first: int, rows: int) -> None:
    """Write a CSV file of customers, eight attributes each."""
    with path.open("w") as out:
        out.write(
            "customer_id,email,mobile_number,first_name,last_name,city,postcode,country,tier,points,signup\n"
        )
        for n in range(first, first + rows):
            out.write(
                f"C{n:09},user{n}@example.com,+4477{n:08},First{n % 997},Last{n % 9973},City{n % 499},{n % 99999:05},GB,"
                f"{('gold', 'silver', '')[n % 3]},{n * 7919 % 50000},20{n % 25:02}-0{n % 9 + 1}-1{n % 9}\n"
            )


def timed(store: Path, *arguments: str) -> tuple[float, str]:
    """Run a command and return its seconds and what it printed."""
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "profilectl", "--quiet", "--store", str(store), *arguments],
        capture_output=True,
        text=True,
        check=True,
    )
    return time.perf_counter() - began, done.stdout


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(dir=options.folder, prefix="profilectl-safety-"))
    first, second, store = folder / "first.csv", folder / "second.csv", folder / "profiles.duckdb"
    write_rows(first, 0, options.rows)
    write_rows(second, options.rows // 2, options.rows)
    print("| work | seconds | |\n|---|---|---|")
    for name, file in (("import, empty store", first), ("import, half known", second)):
        seconds, printed = timed(
            store,
            "import",
            str(file),
            "--feed",
            name.replace(", ", "-"),
            "--source",
            "csv",
            "--json",
        )
        report = json.loads(printed)
        share = report["locked_ms"] / report["elapsed_ms"]
        print(
            f"| {name}, {options.rows:,} rows | {seconds:.2f} | locked {report['locked_ms'] / 1000:.2f} s, {share:.0%} of it |"
        )
    size = store.stat().st_size
    for words in (
        "imports undo 2 --yes",
        f"import {second} --feed x --source csv --dry-run --json",
        f"plan {second} --feed x --source csv -o {folder}/p.plan",
        f"apply {folder}/p.plan",
        "diff 3 --json",
        "check",
        f"backup {folder}/backup.duckdb",
        "stats --json",
        "compact --keep 0",
    ):
        seconds, printed = timed(store, *words.split())
        print(
            f"| {words.split()[0]} {'--dry-run' if '--dry-run' in words else ''} | {seconds:.2f} | {printed.count(chr(10)):,} lines |"
        )
    print(
        f"| size | | {size / 1e6:.0f} MB before, {store.stat().st_size / 1e6:.0f} MB after `compact` |"
    )
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
