"""How long do files take whose shape is not that of the plain rows?

Every shape is held against the same content in its plain shape, wide and long files against the
floor. Times are CPU seconds of the whole process: they say the same on a machine that others use.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import Bench
from process import Sample, alternate, measure, profilectl, run_sql, say
from report import Answer, megabytes, seconds_text

# An import ends with 3 if it rejects rows.
WITH_REJECTS = '"$@" || test $? -eq 3'
HEADINGS = ("work", "CPU s", "peak MB", "x", "of", "at most", "slow rows", "verdict")

# A batch with two orders. `varying`: an order has 1 to 19 products, else always 10.
ORDER_BATCHES = """
create macro roll(n, purpose, sides) as (hash(n, purpose) % sides)::bigint;
create macro product_of(n, place) as
    '{"id":"sku-' || roll(n + place, 'sku', 5000) || '","name":"Thing ' || roll(n, 'thing', 900)
    || '","price":' || roll(n * 31 + place, 'price', 9000) / 100 || ',"quantity":'
    || 1 + roll(n, 'quantity', 3) || '}';
create macro order_of(n, e) as
    '{"event_type":"commerce_event","data":{"timestamp_unixtime_ms":'
    || (1720000000000 + roll(n + e, 'at', 5000000000)) || ',"currency_code":"EUR"'
    || ',"product_action":{"action":"purchase","transaction_id":"T-' || n || '-' || e
    || '","total_amount":' || roll(n, 'total', 100000) / 100 || ',"products":['
    || array_to_string(
           list_transform(
               range(
                   case when getvariable('varying') then 1 + roll(n * 7 + e, 'length', 19) else 10
                   end
               ),
               lambda place: product_of(n, place)
           ),
           ','
       ) || ']}}}';
copy (
    select '{"environment":"production","user_identities":{"customer_id":"C' || n || '"}'
           || ',"events":[' || order_of(n, 0) || ',' || order_of(n, 1) || ']}' as line
    from range(getvariable('rows')) as batch(n)
) to (getvariable('path')) (format csv, header false, quote '', escape '', delimiter '\x01')
"""

# The lines of a file, each changed.
CHANGED_LINES = """
copy (
    select {changed}
    from read_csv(
        getvariable('source'), auto_detect = false, header = false, columns = {'line': 'varchar'},
        delim = '\x01', quote = '', escape = ''
    )
) to (getvariable('path')) (format csv, header false, quote '', escape '', delimiter '\x01')
"""
# As most programs write JSON by default: no value has such a text in it.
WITH_BLANKS = """replace(replace(line, '":', '": '), ',"', ', "')"""
# Two digits fewer: a whole number of at most 18 digits fits in 64 bits for sure.
SHORT_MPIDS = """regexp_replace(line, '"mpid":(-?[0-9])[0-9][0-9]', '"mpid":\\1')"""

ROWS_AS_FLAT_LINES = """
copy (from read_csv(getvariable('source'), all_varchar = true))
to (getvariable('path')) (format json)
"""

# Rows of which `bad` of every four state no identity; these are left out where `without` is true.
ROWS_WITH_BAD = """
copy (
    select * exclude (n, customer_id, email, mobile_number),
           case when n % 4 > 0 then coalesce(customer_id, 'N' || n) end as customer_id,
           case when n % 4 > 0 then email end as email
    from (
        select row_number() over () as n, *
        from read_csv(getvariable('source'), all_varchar = true)
        limit getvariable('rows')
    )
    where n % 4 > 0 or not getvariable('without')
) to (getvariable('path')) (format csv, header)
"""

# Rows of `columns` attributes, of which `filled` of every hundred cells have a value of `letters`
# letters.
WIDE_ROWS = """
create macro cell(n, place) as
    case
        when hash(n, place) % 100 < getvariable('filled')
        then left(repeat(md5(n::varchar || '-' || place), 1 + getvariable('letters') // 32),
                  getvariable('letters'))
    end;
copy (
    select 'C' || n as customer_id, {cells}
    from range(getvariable('rows')) as line(n)
) to (getvariable('path')) (format csv, header)
"""


@dataclass(frozen=True, slots=True)
class Shape:
    """A file that is imported."""

    title: str
    """What it is."""
    path: Path
    """The file."""
    base: str = ""
    """The name of what it is compared with; "": nothing."""
    most: float | None = None
    """At most this many times what it is compared with."""


def answer(bench: Bench) -> Answer:
    """Import every shape, each in turn with what it is compared with."""
    shapes = {**_of_lines(bench), **_of_rows(bench), **_of_columns(bench)}
    rows: list[Sequence[str]] = []
    for group in _groups(shapes):
        steps = _steps(bench, group)
        samples = alternate(bench.options.runs, steps)
        rows += [_cells(shape, name, samples) for name, shape in group.items()]
    return Answer(HEADINGS, rows)


def _groups(shapes: Mapping[str, Shape]) -> list[dict[str, Shape]]:
    """Return the shapes with what they are compared with: measured in the same minutes."""
    groups: dict[str, dict[str, Shape]] = {}
    for name, shape in shapes.items():
        base = name if shape.base in ("", "floor") else shape.base
        groups.setdefault(base, {})[name] = shape
    return list(groups.values())


def _steps(bench: Bench, group: Mapping[str, Shape]) -> dict[str, Callable[[], Sample]]:
    steps = {name: _import_step(bench, shape.path) for name, shape in group.items()}
    for name, shape in group.items():
        if shape.base == "floor":
            steps[f"floor {name}"] = bench.floor_step(shape.path)
    return steps


def _import_step(bench: Bench, file: Path) -> Callable[[], Sample]:
    """Return a step that imports a file into an empty store, and may reject rows."""

    def step() -> Sample:
        with bench.room() as room:
            command = [sys.executable, "-m", "profilectl", "--store", room / "profiles.duckdb"]
            named = ["--feed", "bench", "--source", "csv", "--rejects", room / "rejects.jsonl"]
            imports = ["import", file, *named, "--json"]
            return measure(["sh", "-c", WITH_REJECTS, "sh", *command, *imports])

    return step


def _cells(shape: Shape, name: str, samples: Mapping[str, Sequence[Sample]]) -> tuple[str, ...]:
    """Return the cells of a shape, in the order of HEADINGS."""
    seconds = _cpu_seconds(samples[name])
    base = f"floor {name}" if shape.base == "floor" else shape.base
    ratio = seconds / _cpu_seconds(samples[base]) if base else 0.0
    verdict = "-" if shape.most is None else "over" if ratio > shape.most else "within"
    return (
        shape.title,
        seconds_text(seconds),
        megabytes(max(sample.peak for sample in samples[name])),
        f"{ratio:.2f}" if base else "-",
        shape.base or "-",
        "-" if shape.most is None else f"{shape.most:.1f}",
        f"{json.loads(samples[name][-1].printed)['slow_path_rows']:,}",
        verdict,
    )


def _cpu_seconds(samples: Sequence[Sample]) -> float:
    return statistics.median(sample.cpu_seconds for sample in samples)


def _of_lines(bench: Bench) -> dict[str, Shape]:
    """Return the shapes of JSON lines."""
    batches, lines = bench.data.jsonl(), f"{bench.sizes.rows // 20:,}"
    orders, varying = _orders(bench, varying=False), _orders(bench, varying=True)
    blanks = _changed(bench, batches, "blanks", WITH_BLANKS)
    exported = _exported(bench)
    short = _changed(bench, exported, "short", SHORT_MPIDS)
    return {
        "orders": Shape(f"{lines} batches of two orders, always 10 products", orders),
        "varying": Shape("the same, 1 to 19 products", varying, base="orders", most=1.3),
        "batches": Shape(f"{bench.rows_title} JSONL batches", batches),
        "blanks": Shape("the same, with blanks after : and ,", blanks, base="batches", most=1.3),
        "short": Shape("our own export of batches, MPIDs of 17 digits", short),
        "exported": Shape("the same, MPIDs of 19 digits", exported, base="short", most=1.3),
    }


def _of_rows(bench: Bench) -> dict[str, Shape]:
    """Return the shapes of plain rows."""
    plain, flat = bench.data.plain(), _flat(bench)
    rows = bench.sizes.rows * 54 // 100
    good, bad = _with_bad(bench, rows, without=True), _with_bad(bench, rows, without=False)
    parquet, batches = bench.data.parquet(), bench.data.jsonl()
    return {
        "csv": Shape(f"{bench.rows_title} rows CSV", plain),
        "parquet": Shape("the same as Parquet", parquet, base="csv", most=0.9),
        "lines": Shape("the same as JSONL batches", batches, base="csv", most=1.3),
        "flat": Shape("the same as flat JSONL", flat, base="csv", most=1.2),
        "good": Shape(f"{rows * 3 // 4:,} rows CSV", good),
        "bad": Shape(f"and {rows // 4:,} rejects among them", bad, base="good", most=1.1),
    }


def _of_columns(bench: Bench) -> dict[str, Shape]:
    """Return the shapes of files that are wide, or have long texts."""
    rows = bench.sizes.rows
    wide = _wide(bench, rows // 50, columns=200, filled=100, letters=10)
    sparse = _wide(bench, rows // 10, columns=200, filled=5, letters=10)
    long = _wide(bench, rows // 50, columns=3, filled=100, letters=2000)
    return {
        "wide": Shape(f"{rows // 50:,} rows of 200 columns", wide, base="floor"),
        "sparse": Shape(f"{rows // 10:,} rows, 200 columns, 5 % filled", sparse, base="floor"),
        "long": Shape(f"{rows // 50:,} rows, three texts of 2,000", long, base="floor"),
    }


# The files


def _orders(bench: Bench, *, varying: bool) -> Path:
    rows = bench.sizes.rows // 20
    name = f"orders-{rows}-{'varying' if varying else 'plain'}.jsonl"
    return _made(bench, name, ORDER_BATCHES, rows=rows, varying=varying)


def _changed(bench: Bench, source: Path, name: str, changed: str) -> Path:
    """Return the lines of a file, each changed as an expression says."""
    statement = CHANGED_LINES.replace("{changed}", changed)
    return _made(bench, f"{source.stem}-{name}.jsonl", statement, source=str(source))


def _exported(bench: Bench) -> Path:
    """Return the batches that a store of the plain rows exports."""
    path = bench.folder / f"exported-{bench.sizes.rows}.jsonl"
    if not path.exists():
        say(f"  making {path.name}")
        with bench.room() as room:
            store, rows = room / "profiles.duckdb", bench.data.plain()
            profilectl(store, "import", rows, "--feed", "bench", "--source", "csv")
            profilectl(store, "export", "batches", "--output", path)
    return path


def _flat(bench: Bench) -> Path:
    source = bench.data.plain()
    return _made(bench, f"flat-{source.stem}.jsonl", ROWS_AS_FLAT_LINES, source=str(source))


def _with_bad(bench: Bench, rows: int, *, without: bool) -> Path:
    name = f"{'good' if without else 'bad'}-{rows}.csv"
    source = str(bench.data.plain())
    return _made(bench, name, ROWS_WITH_BAD, rows=rows, without=without, source=source)


def _wide(bench: Bench, rows: int, *, columns: int, filled: int, letters: int) -> Path:
    cells = ", ".join(f"cell(n, {place}) as attribute_{place}" for place in range(columns))
    statement = WIDE_ROWS.replace("{cells}", cells)
    name = f"wide-{rows}-{columns}-{filled}-{letters}.csv"
    return _made(bench, name, statement, rows=rows, filled=filled, letters=letters)


def _made(bench: Bench, name: str, statement: str, **variables: str | int | bool) -> Path:
    path = bench.folder / name
    if not path.exists():
        say(f"  making {name}")
        run_sql(statement, path=str(path), **variables)
    return path
