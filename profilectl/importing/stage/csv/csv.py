"""CSV -> a relation of cells, every cell the same text as in the file; no type is ever guessed.

There are two ways, and they agree. DuckDB reads the file all at once, and then every byte is
accounted for: header, cells, delimiters, quotes and line ends must add up to the size of the file.
Where they do not, or DuckDB will not read the file (ragged rows, stray quotes, NUL, bytes that are
not UTF-8), Python's csv module reads it record by record. Then just the records that are broken are
rejected (record_reader.py).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import duckdb

from profilectl.codes import Reject
from profilectl.importing.stage.csv.head import Header
from profilectl.importing.stage.csv.record_reader import RecordReader, RowShape, RowTable
from profilectl.importing.stage.source.files import InputFile
from profilectl.importing.stage.source.unpacking import BLOCK
from profilectl.importing.stage.template import SqlTemplate
from profilectl.rules.sql.quoting import quote_text
from profilectl.store.scratch import fetched

SUMMED = 500
"""How many columns are summed one by one."""
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
"""The first cell of a row that is a total of a report, in lower case and without a colon."""
FIGURE = r"[^\p{L}]*"
"""A text of the other cells of such a row: no letters."""

# The rows of a file. Everything is stated, nothing sniffed: a sniffer changes values (design.md 3).
READ_CSV = SqlTemplate("""
create temp table {table} as
select *
from read_csv(
  {path},
  auto_detect = false,
  columns = {types},
  header = false,
  skip = {skip},
  delim = {delimiter},
  quote = {quote},
  escape = {quote},
  comment = '',
  nullstr = '',
  strict_mode = true,
  null_padding = false,
  ignore_errors = false,
  hive_partitioning = false,
  max_line_size = 4000000{line_end}
)
""")
# Not every byte was accounted for: the rows are read again, carefully.
DROP = SqlTemplate("drop table {table}")

# The rows, the quotes and the line ends inside cells, and the lengths of the cells.
SUMS = SqlTemplate("""
select count(*), {quotes}, {feeds}, {lengths}
from {rows}
""")
# Each row with all its cells put together.
WITH_TEXT = SqlTemplate("(select *, concat({columns}) as cells from {table})")
# How often a character stands inside cells. Most cells have none, and to see that is cheap.
COUNTED = SqlTemplate("""
coalesce(
  sum(
    case
      when contains(cells, {character})
      then strlen(cells) - strlen(replace(cells, {character}, ''))
      else 0
    end
  ),
  0
)
""")
# Rows of a single column that are empty, or blank lines.
EMPTY_FIRST_CELLS = SqlTemplate("select count(*) from {table} where c0 is null")
# Counts over the rows.
VALUES_OF = SqlTemplate("select {columns} from {table}")

# The line of each row: where no cell holds a line end it follows from the place, and no column is
# written.
LINES_BY_PLACE = SqlTemplate("""
create temp view {table}_line as
select rowid as seq, rowid + {first_line} as line
from {table}
""")
# The same where cells hold line ends: each row begins after all line ends before it.
LINES_COUNTED = SqlTemplate("""
create temp table {table}_line as
select seq,
       {first_line} + seq + coalesce(
         sum(breaks) over (order by seq rows between unbounded preceding and 1 preceding), 0
       )::bigint as line
from (
  select seq,
         case
           when contains(cells, chr(10)) then strlen(cells) - strlen(replace(cells, chr(10), ''))
           else 0
         end as breaks
  from (
    select rowid as seq, concat({columns}) as cells
    from {table}
  )
)
""")

# Rows that are no person's.
IS_HEADER_CELL = SqlTemplate("({cell} in ({written}, {name}) or trim({cell}, ' \ufeff') = {name})")
# Whether there is a row that meets a condition.
ANY_ROW = SqlTemplate("select 1 from {table} where {condition} limit 1")
# The header again, as where files were put together.
HEADERS = SqlTemplate("""
select rowid as seq, 'HEADER_REPEATED' as code, '' as detail
from {table}
where {is_header}
""")
# A total of a report: a word for it, and numbers.
REPORT_TOTALS = SqlTemplate("""
select rowid as seq, 'REPORT_TOTAL' as code, c0 as detail
from {table}
where {is_total}
  and len(
    list_filter(
      [{others}]::varchar[],
      lambda cell: cell is not null and not regexp_full_match(cell, '{figure}')
    )
  ) = 0
""")

# The rows with a seq, in which a cell that has one of some texts is empty.
WITHOUT_NULLS = SqlTemplate("select rowid as seq, {columns} from {table}")
# A cell, empty where it has one of the texts.
WITHOUT_NULL = SqlTemplate("case when {cell} in ({nulls}) then null else {cell} end as {cell}")


@dataclass(slots=True)
class ByteCounts:
    """The counts of a pass over the bytes of the rows."""

    size: int = 0
    """The bytes."""
    quotes: int = 0
    """The characters that enclose cells."""
    escapes: int = 0
    """The characters that may stand before a quote."""
    returns: int = 0
    r"""The \r."""
    feeds: int = 0
    r"""The \n."""
    pairs: int = 0
    r"""The \r\n."""
    nuls: int = 0
    """The NUL bytes."""
    ends: bool = False
    r"""Whether the last byte is \n."""

    @property
    def has_crlf(self) -> bool:
        """Return whether lines end in two characters."""
        return self.returns > 0

    @property
    def line_end(self) -> int:
        """Return how many characters a line ends in."""
        return 2 if self.has_crlf else 1


@dataclass(frozen=True, slots=True)
class CsvRows:
    """The rows of a file that were read into a table."""

    count: int
    """How many they are."""
    by_place: bool
    """Whether each row is one line, so that its line follows from its place."""


def read_rows(
    connection: duckdb.DuckDBPyConnection,
    file: InputFile,
    header: Header,
    table: str,
    reject: Callable[[Reject], None],
    progress: Callable[[int], None] = lambda rows: None,
    *,
    needed: int | None = None,
) -> CsvRows:
    """Read the rows of a file into a temporary table.

    The table has c0, c1, ... (text; null for an empty cell); beside it <table>_line has seq, the
    place of a row, and line, the physical line at which it begins. Rows that cannot be used go to
    reject. needed: how many cells a row must have (None: one for each column); other cells that are
    missing are empty. Raises InputRefused where hardly a row can be read.
    """
    rows = _read_fast(connection, file, header, table=table)
    if rows is None:
        width = len(header.names)
        shape = RowShape(width, width if needed is None else needed)
        reader = RecordReader(file, header, shape=shape, reject=reject)
        careful_table = RowTable.create(connection, table, width)
        rows = CsvRows(_read_carefully(careful_table, reader, progress), by_place=False)
    progress(rows.count)
    return rows


def _read_carefully(table: RowTable, reader: RecordReader, progress: Callable[[int], None]) -> int:
    """Read record by record; a broken one costs only the line at which it begins."""
    for record in reader.records():
        if table.add(record):
            progress(table.count)
    table.flush()
    return table.count


def _read_fast(
    connection: duckdb.DuckDBPyConnection, file: InputFile, header: Header, *, table: str
) -> CsvRows | None:
    """Read all at once; None where not every byte is accounted for, with no table left behind."""
    counts = _count_bytes(file, header)
    if counts.nuls or counts.escapes or not counts.size:
        return None
    if counts.has_crlf and counts.pairs != counts.returns:
        return None
    columns = [f"c{place}" for place in range(header.width)]
    types = ", ".join(f"'{column}': 'VARCHAR'" for column in columns)
    statement = READ_CSV(
        table=table,
        path=quote_text(str(file.local)),
        types="{" + types + "}",
        skip=header.lines,
        delimiter=quote_text(header.dialect.delimiter),
        quote=quote_text(header.dialect.quote),
        line_end="" if counts.has_crlf else ",\n  new_line = '\\n'",
    )
    try:
        fetched(connection, statement)
    except duckdb.PermissionException:
        # Nothing that a file can cause: it was not named before the store was attached
        # (Scratch.confine).
        raise
    except duckdb.Error:
        return None
    rows = _accounted(connection, table, columns, header=header, counts=counts)
    if rows is None:
        fetched(connection, DROP(table=table))
    return rows


def _count_bytes(file: InputFile, header: Header) -> ByteCounts:
    """Count what stands in the bytes behind the head of a file."""
    counts, before = ByteCounts(), b""
    quote, escape = header.dialect.quote.encode(), header.dialect.escape.encode()
    with file.local.open("rb") as stream:
        stream.seek(header.end)
        while block := stream.read(BLOCK):
            counts.size += len(block)
            counts.quotes += block.count(quote) if quote else 0
            counts.escapes += block.count(escape) if escape else 0
            counts.returns += block.count(b"\r")
            counts.feeds += block.count(b"\n")
            counts.nuls += block.count(b"\0")
            counts.pairs += block.count(b"\r\n") + (before == b"\r" and block[:1] == b"\n")
            before = block[-1:]
    counts.ends = before == b"\n"
    return counts


def _accounted(
    connection: duckdb.DuckDBPyConnection,
    table: str,
    columns: list[str],
    *,
    header: Header,
    counts: ByteCounts,
) -> CsvRows | None:
    """Return the rows if cells, delimiters, quotes and line ends add up to the file."""
    count, quotes_inside, feeds_inside, length = _sums(
        connection, table, columns, header=header, counts=counts
    )
    unended = 0 if counts.ends else 1
    # A quote in a cell stands twice in the file; the other quotes enclose cells.
    enclosing = counts.quotes - 2 * quotes_inside
    line_ends = (count - unended) * counts.line_end
    delimiters = count * (len(columns) - 1)
    size = length + quotes_inside + delimiters + line_ends + enclosing
    lines = count - unended + feeds_inside
    if len(columns) == 1 and fetched(connection, EMPTY_FIRST_CELLS(table=table))[0][0]:
        # a blank line, or an empty cell? Of a single column only the careful way can tell.
        return None
    if size != counts.size or enclosing < 0 or enclosing % 2 or lines != counts.feeds:
        return None
    superfluous = " + ".join(f"count({column})" for column in columns[len(header.names) :])
    if superfluous and fetched(connection, VALUES_OF(columns=superfluous, table=table))[0][0]:
        return None
    by_place = feeds_inside == 0
    numbering = LINES_BY_PLACE if by_place else LINES_COUNTED
    fetched(
        connection,
        numbering(table=table, first_line=header.lines + 1, columns=", ".join(columns)),
    )
    return CsvRows(count, by_place)


def _sums(
    connection: duckdb.DuckDBPyConnection,
    table: str,
    columns: list[str],
    *,
    header: Header,
    counts: ByteCounts,
) -> list[int]:
    """Return the rows, the quotes and line ends inside cells, and the length of all cells."""
    # One sum a column is the fastest; of a wide file planning them would take longer than putting
    # the cells together.
    is_wide = len(columns) > SUMMED
    rows, quotes, feeds = table, "0", "0"
    if counts.quotes or is_wide:
        rows = WITH_TEXT(columns=", ".join(columns), table=table)
    if counts.quotes:
        quotes = COUNTED(character=quote_text(header.dialect.quote))
        feeds = COUNTED(character="chr(10)")
    lengths = ["sum(strlen(cells))"] if is_wide else [f"sum(strlen({name}))" for name in columns]
    select = SUMS(quotes=quotes, feeds=feeds, lengths=", ".join(lengths), rows=rows)
    sums = [int(str(value or 0)) for value in fetched(connection, select)[0]]
    return [*sums[:3], sum(sums[3:])]


def header_repeated(
    connection: duckdb.DuckDBPyConnection, header: Header, table: str
) -> str | None:
    """Return the SELECT (seq, code, detail) of the rows that are the header again, or None.

    Such a row has the name of each named column in its cell.
    """
    if not header.has_header:
        return None
    conditions = [
        IS_HEADER_CELL(cell=f"c{place}", written=quote_text(written), name=quote_text(name))
        for place, (written, name) in enumerate(zip(header.written, header.names, strict=True))
        if name
    ]
    if not conditions:
        return None
    # A few cells say almost always that there is none, and are quick to plan.
    some = " and ".join(conditions[:10])
    if not fetched(connection, ANY_ROW(table=table, condition=some)):
        return None
    return HEADERS(table=table, is_header=" and ".join(conditions))


def report_totals(connection: duckdb.DuckDBPyConnection, table: str, width: int) -> str | None:
    """Return the SELECT (seq, code, detail) of the rows that are totals of a report, or None.

    Such a row is nobody's: it begins with a word for a total, and has nothing but numbers besides.
    """
    is_total = f"lower(trim(c0, ' :')) in ({', '.join(map(quote_text, TOTALS))})"
    if not fetched(connection, ANY_ROW(table=table, condition=is_total)):
        return None
    other_cells = ", ".join(f"c{place}" for place in range(1, width))
    return REPORT_TOTALS(table=table, is_total=is_total, others=other_cells, figure=FIGURE)


def without_nulls(table: str, header: Header, nulls: Collection[str]) -> str:
    """Return the SELECT of the rows with a seq, in which a cell with one of some texts is empty."""
    texts = ", ".join(map(quote_text, sorted(nulls)))
    columns = ", ".join(
        WITHOUT_NULL(cell=f"c{place}", nulls=texts) for place in range(len(header.names))
    )
    return WITHOUT_NULLS(columns=columns, table=table)


def filled(connection: duckdb.DuckDBPyConnection, table: str, places: Sequence[int]) -> list[int]:
    """Return which of the columns at some places have a value."""
    if not places:
        return []
    columns = ", ".join(f"count(c{place})" for place in places)
    counts = fetched(connection, VALUES_OF(columns=columns, table=table))[0]
    return [place for place, count in zip(places, counts, strict=True) if count]
