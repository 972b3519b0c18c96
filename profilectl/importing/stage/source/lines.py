"""The physical lines of a file, in SQL."""

from __future__ import annotations

from profilectl.importing.stage.template import SqlTemplate

LONGEST_LINE = 4_000_000
"""How many bytes a line may have, as in LINES_OF_FILE."""
LINE_ENDS = {b"\n": ",\n  new_line = '\\n'", b"\r\n": ""}
"""What DuckDB is to be informed of what lines end in; of \\r\\n it finds no line if it is."""

# The lines of a file. No character separates columns and none quotes: a line is one cell, byte for
# byte.
LINES_OF_FILE = SqlTemplate("""
select line
from read_csv(
  {path},
  auto_detect = false,
  header = false,
  columns = {'line': 'VARCHAR'},
  delim = '\x01',
  quote = '',
  escape = '',
  comment = '',
  strict_mode = true,
  null_padding = false,
  hive_partitioning = false,
  max_line_size = 4000000{line_end}
)
""")
