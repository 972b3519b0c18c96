"""An export of profiles as JSON lines -> staged rows.

A line becomes several rows, one for each batch that it takes to make its profile again
(profilectl.rules.leaving.exported_line).
"""

from __future__ import annotations

import mmap
from dataclasses import replace

from profilectl.importing.stage.json.jsonl import staged_lines
from profilectl.importing.stage.json.line_reader import LineReader, physical_lines
from profilectl.importing.stage.source.files import InputFile
from profilectl.importing.stage.staged import BatchRows, Rejects, StagedFile
from profilectl.importing.stage.task import StageTask
from profilectl.importing.stage.template import SqlTemplate
from profilectl.rules.batch import Reading, read_document
from profilectl.rules.feed import ENVIRONMENTS
from profilectl.rules.identity import BY_NAME
from profilectl.rules.leaving.exported_line import MADE_ANEW, is_profile, read_profile
from profilectl.rules.sql.identities import usable_key
from profilectl.rules.sql.quoting import quote_text
from profilectl.rules.text.values import NotJson, Value, parse_json
from profilectl.store.scratch import Scratch

MARK = b'"device_identities"'
"""A text that every line of an export has, and hardly a batch."""
LINES = [("seq", "BIGINT"), ("line", "BIGINT"), ("founds", "BOOLEAN")]
"""The line at which a row stands. founds: the row says the MPID alone, and is needed only where an
identity is somebody else's too.
"""

# The identities of one type that rows state.
IDENTITIES = SqlTemplate("""
select seq, {type} as type, {environment} as environment, key
from (
  select *, {key} as key
  from {rows}
)
where key is not null
""")
# The lines that have an identity which another line has too.
SHARING_LINES = SqlTemplate("""
select line
from (
  select line, min(line) over same_identity as first_line, max(line) over same_identity as last_line
  from ({identities})
  join {lines} using (seq)
  window same_identity as (partition by type, environment, key)
)
where first_line < last_line
""")
NO_LINES = "select 0 where false"
# The rows that say an MPID alone and are not needed.
IDLE_ROWS = SqlTemplate("""
select seq
from {lines}
where founds and line not in ({sharing_lines})
""")
# They go from the rows, and from the lines of the rows.
DROP_IDLE = SqlTemplate("delete from {relation} where seq in (select seq from {idle})")


def holds_profiles(file: InputFile) -> bool:
    """Return whether a file of JSON lines has a line of an export of profiles."""
    if not file.local.stat().st_size:
        return False
    with (
        file.local.open("rb") as stream,
        mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content,
    ):
        place = content.find(MARK)
        while place >= 0:
            end = content.find(b"\n", place)
            end = len(content) if end < 0 else end
            if _is_profile(content[content.rfind(b"\n", 0, place) + 1 : end]):
                return True
            place = content.find(MARK, end)
    return False


def _is_profile(line: bytes) -> bool:
    try:
        return is_profile(parse_json(line.decode("utf-8-sig")))
    except (NotJson, UnicodeDecodeError):
        return False


def read_profiles(task: StageTask, reading: Reading) -> StagedFile:
    """Stage a file with lines of an export of profiles, one line after the other."""
    file, scratch = task.file, task.scratch
    rows = BatchRows.create(scratch, f"{task.name}_slow", task.keys)
    reader = _ProfileReader.create(scratch, file.name, rows, reading=reading, rejects=task.rejects)
    for number, raw in physical_lines(file):
        reader.read(number, raw)
        if number % rows.BLOCK == 0:
            task.progress(number)
    rows.flush()
    reader.flush()
    staged = staged_lines(file, task.name, [], rows=rows, lines=reader.seq)
    _drop_idle(scratch, staged, rows.name, reader=reader)
    count = scratch.count(rows.name)
    profiles = "profile" if reader.profiles == 1 else "profiles"
    notices = [f"{file.name}: {reader.profiles:,} exported {profiles}, read as {count:,} batches"]
    if reader.made_anew:
        members = ", ".join(sorted(reader.made_anew))
        notices.append(f"{file.name}: not read, because it is made anew: {members}")
    return replace(staged, lines=reader.lines, rows=count, notices=notices)


class _ProfileReader(LineReader):
    """Reads lines each of which may be several rows."""

    def __init__(
        self, scratch: Scratch, name: str, rows: BatchRows, *, reading: Reading, rejects: Rejects
    ) -> None:
        super().__init__(name, rows, reading, rejects=rejects)
        self._scratch, self.lines = scratch, f"{rows.name}_line"
        self.seq = self.profiles = 0
        self.made_anew: set[str] = set()
        self._rows_of_lines: list[tuple[int, int, bool]] = []

    @classmethod
    def create(
        cls, scratch: Scratch, name: str, rows: BatchRows, *, reading: Reading, rejects: Rejects
    ) -> _ProfileReader:
        """Make the relation of the lines at which rows stand, empty."""
        reader = cls(scratch, name, rows, reading=reading, rejects=rejects)
        scratch.load(reader.lines, LINES, [])
        return reader

    def _take(self, number: int, document: Value) -> None:
        of_profile = is_profile(document)
        if of_profile:
            assert isinstance(document, dict)
            batches = read_profile(document, self.reading)
            self.profiles += 1
            self.made_anew |= document.keys() & MADE_ANEW
        else:
            batches = [read_document(document, self.reading)]
        for place, batch in enumerate(batches):
            self.rows.add(self.seq, batch)
            self._rows_of_lines.append((self.seq, number, of_profile and not place))
            self.seq += 1
        if len(self._rows_of_lines) >= BatchRows.BLOCK:
            self.flush()

    def flush(self) -> None:
        """Write down the lines at which rows stand."""
        if self._rows_of_lines:
            self._scratch.append(self.lines, LINES, self._rows_of_lines)
            self._rows_of_lines = []


def _drop_idle(scratch: Scratch, staged: StagedFile, rows: str, *, reader: _ProfileReader) -> None:
    """Remove the rows that say an MPID alone and are not needed.

    They are needed where another line has an identity of their line too.
    """
    environment = "null"
    if "environment" in staged.plain:
        environment = f"coalesce(environment, {quote_text(ENVIRONMENTS[0])})"
    identities = "\nunion all\n".join(
        IDENTITIES(
            type=quote_text(kind),
            environment=environment,
            key=usable_key(BY_NAME[kind], f"i_{kind}", reader.reading.judging),
            rows=rows,
        )
        for kind in staged.identities
    )
    sharing = NO_LINES
    if identities:
        sharing = SHARING_LINES(identities=identities, lines=reader.lines)
    idle = f"{rows}_idle"
    scratch.make(idle, IDLE_ROWS(lines=reader.lines, sharing_lines=sharing))
    for relation in (rows, reader.lines):
        scratch.run(DROP_IDLE(relation=relation, idle=idle))
