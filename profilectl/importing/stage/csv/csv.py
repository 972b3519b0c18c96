"""CSV -> a relation of cells, every cell the same text as in the file; no type is ever guessed.

There are two ways, and they agree. DuckDB reads the file all at once, and then every byte is
accounted for: header, cells, delimiters, quotes and line ends must add up to the size of the file.
Where they do not, or DuckDB will not read the file (ragged rows, stray quotes, NUL, bytes that are
not UTF-8), Python's csv module reads it record by record. Then just the records that are broken are
rejected (record_reader.py).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from profilectl.codes import Reject
from profilectl.importing.stage.csv.head import Header
from profilectl.importing.stage.csv.record_reader import RecordReader, RowShape, RowTable
from profilectl.importing.stage.source.files import InputFile
from profilectl.importing.stage.source.unpacking import BLOCK
from profilectl.importing.stage.template import SqlTemplate
from profilectl.rules.sql.quoting import quote_text
from profilectl.rules.text.values import MARK
from profilectl.store.engine import duckdb
from profilectl.store.scratch import fetched

LOOKED_AT = 10
"""How many cells of a row are compared with the header at first."""
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
TOTAL_BEGINS = sorted(
    {ord(letter) for word in TOTALS for letter in word[0] + word[0].upper() + " :"}
)
"""The codes of the characters that such a cell may begin with."""
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

# The rows, the quotes and the line ends inside cells, how many rows look like the header or a
# total, and the lengths of the cells, sums first. Four passes took three times as long.
SUMS = SqlTemplate("""
select count(*), {quotes}, {feeds}, {headers}, {totals}, {lengths}
from {rows}
""")
# How many rows look like something; few pass the first condition, which is quick.
LOOKING_LIKE = SqlTemplate("count_if(case when {quick} then {condition} else false end)")
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
# A cell that may be the name of its column.
HAS_NAME = SqlTemplate("contains({cell}, {name})")
# A first cell that is a word for a total, and one that may be, by its first character.
IS_TOTAL = SqlTemplate("lower(trim(c0, ' :')) in ({words})")
MAY_BE_TOTAL = SqlTemplate("ascii(c0) in ({begins})")
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
    """The blocks with a NUL byte."""
    marks: int = 0
    """The blocks with the mark of held values."""
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
    longest: Mapping[str, int] = field(default_factory=dict)
    """The bytes of the longest cell of each column, where that is known."""
    may_have_header: bool = True
    """Whether a row may be the header again."""
    may_have_total: bool = True
    """Whether a row may be a total of a report."""
    may_have_mark: bool = True
    """Whether a cell may begin with the mark of held values."""


@dataclass(frozen=True, slots=True)
class CellSums:
    """What a pass over the cells finds."""

    count: int
    """How many rows there are."""
    quotes: int
    """How many quotes stand inside cells."""
    feeds: int
    """How many line ends stand inside cells."""
    headers: int
    """How many rows look like the header."""
    totals: int
    """How many rows look like a total of a report."""
    length: int
    """The bytes of all cells."""
    longest: Mapping[str, int]
    """The bytes of the longest cell of each column; empty for a very wide file."""


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
            counts.feeds += block.count(b"\n")
            # To see that a character is not there takes a tenth of counting it.
            if quote and quote in block:
                counts.quotes += block.count(quote)
            if escape and escape in block:
                counts.escapes += block.count(escape)
            counts.nuls += b"\0" in block
            counts.marks += MARK.encode() in block
            if b"\r" in block:
                counts.returns += block.count(b"\r")
                counts.pairs += block.count(b"\r\n")
            counts.pairs += before == b"\r" and block[:1] == b"\n"
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
    sums = _sums(connection, table, columns, header=header, counts=counts)
    unended = 0 if counts.ends else 1
    # A quote in a cell stands twice in the file; the other quotes enclose cells.
    enclosing = counts.quotes - 2 * sums.quotes
    line_ends = (sums.count - unended) * counts.line_end
    delimiters = sums.count * (len(columns) - 1)
    size = sums.length + sums.quotes + delimiters + line_ends + enclosing
    lines = sums.count - unended + sums.feeds
    if len(columns) == 1 and fetched(connection, EMPTY_FIRST_CELLS(table=table))[0][0]:
        # a blank line, or an empty cell? Of a single column only the careful way can tell.
        return None
    if size != counts.size or enclosing < 0 or enclosing % 2 or lines != counts.feeds:
        return None
    superfluous = " + ".join(f"count({column})" for column in columns[len(header.names) :])
    if superfluous and fetched(connection, VALUES_OF(columns=superfluous, table=table))[0][0]:
        return None
    by_place = sums.feeds == 0
    numbering = LINES_BY_PLACE if by_place else LINES_COUNTED
    fetched(
        connection,
        numbering(table=table, first_line=header.lines + 1, columns=", ".join(columns)),
    )
    return CsvRows(
        sums.count,
        by_place,
        longest=sums.longest,
        may_have_header=sums.headers > 0,
        may_have_total=sums.totals > 0,
        may_have_mark=counts.marks > 0,
    )


def _sums(
    connection: duckdb.DuckDBPyConnection,
    table: str,
    columns: list[str],
    *,
    header: Header,
    counts: ByteCounts,
) -> CellSums:
    """Return what one pass over the cells finds."""
    # One sum a column is the fastest; of a wide file planning them would take longer than putting
    # the cells together.
    is_wide = len(columns) > SUMMED
    rows, quotes, feeds = table, "0", "0"
    if counts.quotes or is_wide:
        rows = WITH_TEXT(columns=", ".join(columns), table=table)
    if counts.quotes:
        quotes = COUNTED(character=quote_text(header.dialect.quote))
        feeds = COUNTED(character="chr(10)")
    lengths = ["sum(strlen(cells))"]
    if not is_wide:
        lengths = [f"{of}(strlen({name}))" for of in ("sum", "max") for name in columns]
    select = SUMS(
        quotes=quotes,
        feeds=feeds,
        headers=_headers_counted(header),
        totals=LOOKING_LIKE(
            quick=MAY_BE_TOTAL(begins=", ".join(map(str, TOTAL_BEGINS))), condition=_is_total()
        ),
        lengths=", ".join(lengths),
        rows=rows,
    )
    sums = [int(str(value or 0)) for value in fetched(connection, select)[0]]
    count, quotes_inside, feeds_inside, headers, totals, *sizes = sums
    return CellSums(
        count,
        quotes_inside,
        feeds_inside,
        headers=headers,
        totals=totals,
        length=sum(sizes if is_wide else sizes[: len(columns)]),
        longest={} if is_wide else dict(zip(columns, sizes[len(columns) :], strict=True)),
    )


def _headers_counted(header: Header) -> str:
    """Return the SQL of how many rows look like the header, by a few of its cells."""
    named = [(f"c{place}", name) for place, name in enumerate(header.names) if name]
    conditions = _header_cells(header)[:LOOKED_AT]
    if not conditions:
        return "0"
    cell, name = named[0]
    quick = HAS_NAME(cell=cell, name=quote_text(name))
    return LOOKING_LIKE(quick=quick, condition=" and ".join(conditions))


def _header_cells(header: Header) -> list[str]:
    """Return for each named column the condition that a cell is its name."""
    if not header.has_header:
        return []
    return [
        IS_HEADER_CELL(cell=f"c{place}", written=quote_text(written), name=quote_text(name))
        for place, (written, name) in enumerate(zip(header.written, header.names, strict=True))
        if name
    ]


def header_repeated(
    connection: duckdb.DuckDBPyConnection, header: Header, table: str
) -> str | None:
    """Return the SELECT (seq, code, detail) of the rows that are the header again, or None.

    Such a row has the name of each named column in its cell.
    """
    conditions = _header_cells(header)
    if not conditions:
        return None
    # A few cells say almost always that there is none, and are quick to plan.
    some = " and ".join(conditions[:LOOKED_AT])
    if not fetched(connection, ANY_ROW(table=table, condition=some)):
        return None
    return HEADERS(table=table, is_header=" and ".join(conditions))


def _is_total() -> str:
    return IS_TOTAL(words=", ".join(map(quote_text, TOTALS)))


def report_totals(connection: duckdb.DuckDBPyConnection, table: str, width: int) -> str | None:
    """Return the SELECT (seq, code, detail) of the rows that are totals of a report, or None.

    Such a row is nobody's: it begins with a word for a total, and has nothing but numbers besides.
    """
    if not fetched(connection, ANY_ROW(table=table, condition=_is_total())):
        return None
    other_cells = ", ".join(f"c{place}" for place in range(1, width))
    return REPORT_TOTALS(table=table, is_total=_is_total(), others=other_cells, figure=FIGURE)


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
