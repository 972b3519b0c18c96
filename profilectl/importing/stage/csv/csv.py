"""CSV -> a relation of cells, every cell the same text as in the file; no type is ever guessed.

Two ways that agree. DuckDB reads the file all at once, and then every byte is accounted for:
header, cells, delimiters, quotes and line ends must add up to the size of the file. If they do not,
or DuckDB meets something it will not read (ragged rows, stray quotes, NUL, bytes that are not
UTF-8), Python's csv module reads the file record by record, and rejects just the records that are
broken.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

import duckdb

from profilectl.codes import InputRefused, Reject
from profilectl.importing.stage.csv.head import Header
from profilectl.importing.stage.source.files import InputFile
from profilectl.importing.stage.source.unpacking import BLOCK
from profilectl.rules.sql.quoting import quote_text
from profilectl.store.scratch import fetched

RAW_SHOWN = 64 * 1024
LONGEST_RECORD = 64 * 1024 * 1024
MOST_LINES = 100_000
MOST_BROKEN = 1_000
SUMMED = 500
TOTALS = (
    "total",
    "totals",
    "grand total",
    "sub total",
    "subtotal",
    "total records",
    "total rows",
    "record count",
    "row count",
)
"""How the first cell of a row begins that is a total of a report."""
FIGURE = r"[^\p{L}]*"
"""What stands in the other cells of such a row: no letters."""
ROWS = 20_000


@dataclass(slots=True)
class _Bytes:
    """What a pass over the rows' bytes found. quotes, escapes, returns, feeds: how many of each."""

    size: int = 0
    quotes: int = 0
    escapes: int = 0
    returns: int = 0
    feeds: int = 0
    pairs: int = 0
    nuls: int = 0
    ends: bool = False


def read_rows(
    connection: duckdb.DuckDBPyConnection,
    file: InputFile,
    header: Header,
    table: str,
    reject: Callable[[Reject], None],
    progress: Callable[[int], None] = lambda rows: None,
    *,
    needed: int | None = None,
) -> int:
    """Read the rows of a file into a temporary table and return how many.

    The table has c0, c1, ... (text; null for an empty cell); beside it <table>_line has seq, the
    place of a row, and line, the physical line at which it begins. Rows that cannot be used go to
    reject. needed: how many cells a row must have (None: one for each column); others that are
    missing are empty. Raises InputRefused where hardly a row can.
    """
    count = _read_fast(connection, file, header, table)
    if count is None:
        shape = _Shape(len(header.names), len(header.names) if needed is None else needed)
        count = _read_carefully(connection, file, header, table, shape, reject, progress)
    progress(count)
    return count


def _read_fast(
    connection: duckdb.DuckDBPyConnection, file: InputFile, header: Header, table: str
) -> int | None:
    """Read all at once; None where not every byte is accounted for, with no table left behind."""
    found = _count_bytes(file, header)
    crlf = found.returns > 0
    if found.nuls or found.escapes or not found.size or (crlf and found.pairs != found.returns):
        return None
    quote = quote_text(header.dialect.quote)
    names = [f"c{place}" for place in range(header.width)]
    columns = "{" + ", ".join(f"'{name}': 'VARCHAR'" for name in names) + "}"
    line_end = "" if crlf else ", new_line = '\\n'"
    # Everything is said, nothing sniffed: a sniffer changes values (design.md 3).
    source = (
        f"read_csv({quote_text(str(file.local))}, auto_detect = false, columns = {columns}, header = false,"
        f" skip = {header.lines}, delim = {quote_text(header.dialect.delimiter)}, quote = {quote}, escape = {quote}, comment = '',"
        " nullstr = '', strict_mode = true, null_padding = false, ignore_errors = false, hive_partitioning = false, max_line_size = 4000000"
        f"{line_end})"
    )
    try:
        fetched(connection, f"create temp table {table} as select * from {source}")
    except duckdb.PermissionException:
        # nothing that a file can cause: it was not named before the store was attached
        # (Scratch.confine)
        raise
    except duckdb.Error:
        return None
    count = _accounted(connection, table, names, header, found, crlf)
    if count is None:
        fetched(connection, f"drop table {table}")
    return count


def _count_bytes(file: InputFile, header: Header) -> _Bytes:
    found, last = _Bytes(), b""
    quote, escape = header.dialect.quote.encode(), header.dialect.escape.encode()
    with file.local.open("rb") as stream:
        stream.seek(header.end)
        while block := stream.read(BLOCK):
            found.size += len(block)
            found.quotes += block.count(quote) if quote else 0
            found.escapes += block.count(escape) if escape else 0
            found.returns += block.count(b"\r")
            found.feeds += block.count(b"\n")
            found.nuls += block.count(b"\0")
            found.pairs += block.count(b"\r\n") + (last == b"\r" and block[:1] == b"\n")
            last = block[-1:]
    found.ends = last == b"\n"
    return found


def _accounted(
    connection: duckdb.DuckDBPyConnection,
    table: str,
    names: list[str],
    header: Header,
    found: _Bytes,
    crlf: bool,
) -> int | None:
    """Return the number of rows if cells, delimiters, quotes and line ends add up to the file."""
    # One sum a column is the fastest; of a wide file planning them would take longer than putting
    # the cells together.
    wide = len(names) > SUMMED
    inside, feeds = "0", "0"
    source = table
    if found.quotes or wide:
        source = f"(select *, concat({', '.join(names)}) as one from {table})"
    if found.quotes:
        quote = quote_text(header.dialect.quote)
        inside = f"coalesce(sum(case when contains(one, {quote}) then strlen(one) - strlen(replace(one, {quote}, '')) else 0 end), 0)"
        feeds = "coalesce(sum(case when contains(one, chr(10)) then strlen(one) - strlen(replace(one, chr(10), '')) else 0 end), 0)"
    cells = ["sum(strlen(one))"] if wide else [f"sum(strlen({name}))" for name in names]
    sums = fetched(
        connection, f"select count(*), {inside}, {feeds}, {', '.join(cells)} from {source}"
    )[0]
    count, quotes_inside, feeds_inside, *lengths = (int(str(value or 0)) for value in sums)
    length = sum(lengths)
    ends = count * (2 if crlf else 1) - (0 if found.ends else 2 if crlf else 1)
    # A quote in a cell stands twice in the file; what is left of the quotes encloses cells.
    enclosing = found.quotes - 2 * quotes_inside
    size = length + quotes_inside + count * (len(names) - 1) + ends + enclosing
    lines = count - (0 if found.ends else 1) + feeds_inside
    if (
        len(names) == 1
        and fetched(connection, f"select count(*) from {table} where c0 is null")[0][0]
    ):
        # a blank line, or an empty cell? Of a single column only the careful way can tell.
        return None
    if size != found.size or enclosing < 0 or enclosing % 2 or lines != found.feeds:
        return None
    superfluous = " + ".join(f"count({name})" for name in names[len(header.names) :])
    if superfluous and fetched(connection, f"select {superfluous} from {table}")[0][0]:
        return None
    _number_lines(connection, table, names, header, several=feeds_inside > 0)
    return count


def _number_lines(
    connection: duckdb.DuckDBPyConnection,
    table: str,
    names: list[str],
    header: Header,
    *,
    several: bool,
) -> None:
    first = header.lines + 1
    if not several:
        # Where no cell holds a line end the line follows from the place: no column is written.
        fetched(
            connection,
            f"create temp view {table}_line as select rowid as seq, rowid + {first} as line from {table}",
        )
        return
    breaks = "case when contains(one, chr(10)) then strlen(one) - strlen(replace(one, chr(10), '')) else 0 end"
    fetched(
        connection,
        f"create temp table {table}_line as select seq, {first} + seq + coalesce(sum(breaks) over"
        " (order by seq rows between unbounded preceding and 1 preceding), 0)::bigint as line"
        f" from (select seq, {breaks} as breaks from (select rowid as seq, concat({', '.join(names)}) as one from {table}))",
    )


@dataclass(frozen=True, slots=True)
class _Shape:
    """How many cells a row has.

    width: one for each column. needed: so many must be there; what lacks is empty.
    """

    width: int
    needed: int

    def fit(self, cells: list[str]) -> None:
        """Make a row as wide as it is to be, where that takes nothing from it and invents nothing."""
        if len(cells) > self.width and not any(cells[self.width :]):
            del cells[self.width :]
        elif self.needed <= len(cells) < self.width:
            cells += [""] * (self.width - len(cells))


class _PhysicalLines:
    """The physical lines of a file, which can be taken back from the reader that took them."""

    def __init__(self, file: InputFile, header: Header) -> None:
        self._stream = file.local.open(encoding="utf-8", errors="surrogateescape", newline="")
        self._stream.seek(0)
        if self._stream.read(1) != "\ufeff":
            self._stream.seek(0)
        for _ in range(header.lines):
            self._stream.readline()
        self.number = header.lines
        self.taken: list[str] = []
        self._again: list[str] = []

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._again.pop() if self._again else self._stream.readline()
        if not line:
            raise StopIteration
        if (
            sum(map(len, self.taken[-1:])) + len(line) > LONGEST_RECORD
            or len(self.taken) >= MOST_LINES
        ):
            self.taken.append(line)
            raise csv.Error("the record is longer than a record may be")
        self.number += 1
        self.taken.append(line)
        return line

    def begin(self) -> int:
        """Begin a record; return its first line."""
        self.taken = []
        return self.number + 1

    def take_back(self) -> None:
        """Give back all lines of the record but its first."""
        self._again += reversed(self.taken[1:])
        self.number -= len(self.taken) - 1
        del self.taken[1:]

    def close(self) -> None:
        self._stream.close()


def _read_carefully(
    connection: duckdb.DuckDBPyConnection,
    file: InputFile,
    header: Header,
    table: str,
    shape: _Shape,
    reject: Callable[[Reject], None],
    progress: Callable[[int], None],
) -> int:
    """Read record by record; a broken one costs only the line at which it begins."""
    csv.field_size_limit(LONGEST_RECORD)
    columns = ", ".join(f"c{place} VARCHAR" for place in range(shape.width))
    fetched(connection, f"create temp table {table} ({columns})")
    fetched(connection, f"create temp table {table}_line (seq BIGINT, line BIGINT)")
    lines, broken, count = _PhysicalLines(file, header), 0, 0
    rows: list[list[str]] = []
    numbers: list[int] = []
    reader = header.dialect.records(lines)
    while True:
        first = lines.begin()
        try:
            cells = next(reader)
        except StopIteration:
            break
        except csv.Error as error:
            broken += 1
            if broken > MOST_BROKEN:
                raise InputRefused(
                    f"{file.name}:{first}: quotes are broken in more than {MOST_BROKEN:,} rows",
                    "are --delimiter and --quote right?",
                ) from None
            lines.take_back()
            reader = header.dialect.records(lines)
            _reject(
                file, first, lines.taken, _fault(error, lines.taken, header.dialect.quote), reject
            )
            continue
        if not cells:
            continue
        shape.fit(cells)
        fault = _row_fault(cells, shape.width)
        if fault:
            _reject(file, first, lines.taken, fault, reject)
            continue
        rows.append(cells)
        numbers.append(first)
        if len(rows) >= ROWS:
            count = _append(connection, table, rows, numbers, count)
            rows, numbers = [], []
            progress(count)
    lines.close()
    return _append(connection, table, rows, numbers, count)


def _fault(error: csv.Error, taken: list[str], quote: str) -> tuple[str, str]:
    if "longer" in str(error) or "field limit" in str(error):
        return "ROW_TOO_LONG", f"over {LONGEST_RECORD // 1024**2} MiB or {MOST_LINES:,} lines"
    place = taken[0].find(quote) + 1 if taken and quote else 0
    return "CSV_QUOTE", f"the quote at column {place}" if place else ""


def _row_fault(cells: list[str], width: int) -> tuple[str, str] | None:
    if len(cells) != width:
        code = "CSV_TOO_FEW_CELLS" if len(cells) < width else "CSV_TOO_MANY_CELLS"
        return code, f"{len(cells)} cells, the header has {width} columns"
    for place, cell in enumerate(cells, start=1):
        if "\0" in cell:
            return "NUL_CHARACTER", f"column {place}"
        if not cell.isascii() and any("\udc80" <= one <= "\udcff" for one in cell):
            return "ENCODING_INVALID", f"column {place}"
    return None


def _reject(
    file: InputFile,
    line: int,
    taken: list[str],
    fault: tuple[str, str],
    reject: Callable[[Reject], None],
) -> None:
    raw = (
        "".join(taken)[:RAW_SHOWN]
        .rstrip("\r\n")
        .encode("utf-8", "surrogateescape")
        .decode("utf-8", "backslashreplace")
    )
    reject(Reject(file.name, line, fault[0], raw, fault[1]))


def _append(
    connection: duckdb.DuckDBPyConnection,
    table: str,
    rows: list[list[str]],
    numbers: list[int],
    count: int,
) -> int:
    if rows:
        width = len(rows[0])
        lists = ", ".join(f"unnest($c{place}::VARCHAR[])" for place in range(width))
        bound: dict[str, object] = {
            f"c{place}": [row[place] or None for row in rows] for place in range(width)
        }
        fetched(connection, f"insert into {table} select {lists}", bound)
        fetched(
            connection,
            f"insert into {table}_line select unnest($seq::BIGINT[]), unnest($line::BIGINT[])",
            {"seq": list(range(count, count + len(numbers))), "line": numbers},
        )
    return count + len(rows)


def header_repeated(
    connection: duckdb.DuckDBPyConnection, header: Header, table: str
) -> str | None:
    """Return the SELECT (seq, code, detail) of the rows that are the header again, in all named
    cells; None where there are none.
    """
    if not header.has_header:
        return None
    said = [
        f"(c{place} in ({quote_text(written)}, {quote_text(name)}) or trim(c{place}, ' \ufeff') = {quote_text(name)})"
        for place, (written, name) in enumerate(zip(header.written, header.names, strict=True))
        if name
    ]
    if not said or not fetched(
        connection, f"select 1 from {table} where {' and '.join(said[:10])} limit 1"
    ):
        return None
    return f"select rowid as seq, 'HEADER_REPEATED' as code, '' as detail from {table} where {' and '.join(said)}"


def report_totals(connection: duckdb.DuckDBPyConnection, table: str, width: int) -> str | None:
    """Return the SELECT (seq, code, detail) of the rows that are totals of a report, which are
    nobody's; None where there are none.

    Such a row begins with a word for a total, and whatever else it holds is a number.
    """
    listed = ", ".join(map(quote_text, TOTALS))
    named = f"lower(trim(c0, ' :')) in ({listed})"
    if not fetched(connection, f"select 1 from {table} where {named} limit 1"):
        return None
    others = f"[{', '.join(f'c{place}' for place in range(1, width))}]::varchar[]"
    words = f"list_filter({others}, lambda cell: cell is not null and not regexp_full_match(cell, '{FIGURE}'))"
    return f"select rowid as seq, 'REPORT_TOTAL' as code, c0 as detail from {table} where {named} and len({words}) = 0"


def without_nulls(table: str, header: Header, nulls: Collection[str]) -> str:
    """Return the SELECT of the rows with a seq, in which a cell that is one of some texts is empty."""
    listed = ", ".join(map(quote_text, sorted(nulls)))
    cells = ", ".join(
        f"case when c{place} in ({listed}) then null else c{place} end as c{place}"
        for place in range(len(header.names))
    )
    return f"select rowid as seq, {cells} from {table}"


def filled(connection: duckdb.DuckDBPyConnection, table: str, places: Sequence[int]) -> list[int]:
    """Return those of some columns that have a value."""
    if not places:
        return []
    counts = fetched(
        connection, f"select {', '.join(f'count(c{place})' for place in places)} from {table}"
    )[0]
    return [place for place, count in zip(places, counts, strict=True) if count]
