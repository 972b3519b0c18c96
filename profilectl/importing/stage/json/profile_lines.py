"""An export of profiles as JSON lines -> staged rows: a line is as many rows as it takes batches
(profilectl.rules.leaving.exported_line).
"""

from __future__ import annotations

import mmap
from collections.abc import Callable

from profilectl.importing.stage.json.jsonl import LineReader, physical_lines, staged_lines
from profilectl.importing.stage.source.files import InputFile
from profilectl.importing.stage.staged import AttributeColumns, BatchRows, Rejects, StagedFile
from profilectl.rules.batch import Reading, read_document
from profilectl.rules.feed import ENVIRONMENTS
from profilectl.rules.identity import BY_NAME
from profilectl.rules.leaving.exported_line import MADE_ANEW, is_profile, read_profile
from profilectl.rules.sql.identities import usable_key
from profilectl.rules.sql.quoting import quote_text
from profilectl.rules.text.values import NotJson, Value, parse_json
from profilectl.store.scratch import Scratch

MARK = b'"device_identities"'
"""What every line of an export has, and hardly a batch."""
LINES = [("seq", "BIGINT"), ("line", "BIGINT"), ("founds", "BOOLEAN")]
"""Where a row stands; founds: it says the MPID alone, and is needed only where an identity is
somebody else's too.
"""


def holds_profiles(file: InputFile) -> bool:
    """Say whether a file of JSON lines has a line of an export of profiles."""
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
            try:
                if is_profile(
                    parse_json(
                        content[content.rfind(b"\n", 0, place) + 1 : end].decode("utf-8-sig")
                    )
                ):
                    return True
            except (NotJson, UnicodeDecodeError):
                pass
            place = content.find(MARK, end)
    return False


def read_profiles(
    scratch: Scratch,
    file: InputFile,
    name: str,
    keys: AttributeColumns,
    reading: Reading,
    rejects: Rejects,
    progress: Callable[[int], None],
) -> StagedFile:
    """Stage a file with lines of an export of profiles, one line after the other."""
    rows = BatchRows(scratch, f"{name}_slow", keys)
    reader = _ProfileReader(scratch, file.name, rows, reading, rejects)
    for number, raw in physical_lines(file):
        reader.read(number, raw)
        if number % rows.BLOCK == 0:
            progress(number)
    rows.flush()
    reader.flush()
    staged = staged_lines(file, name, [], rows, reader.seq)
    staged.lines = reader.lines
    _drop_founders(scratch, staged, rows.name, reader.lines, reading)
    staged.rows = scratch.count(rows.name)
    staged.notices.append(
        f"{file.name}: {reader.profiles:,} exported {'profile' if reader.profiles == 1 else 'profiles'}, read as {staged.rows:,} batches"
    )
    if reader.made_anew:
        staged.notices.append(
            f"{file.name}: not read, because it is made anew: {', '.join(sorted(reader.made_anew))}"
        )
    return staged


class _ProfileReader(LineReader):
    """Reads lines of which one may be several rows."""

    def __init__(
        self, scratch: Scratch, name: str, rows: BatchRows, reading: Reading, rejects: Rejects
    ) -> None:
        super().__init__(name, rows, reading, rejects)
        self._scratch, self.lines = scratch, f"{rows.name}_line"
        self.seq = self.profiles = 0
        self.made_anew: set[str] = set()
        self._rows_of_lines: list[tuple[int, int, bool]] = []
        scratch.load(self.lines, LINES, [])

    def _take(self, number: int, document: Value) -> None:
        whole = is_profile(document)
        batches = (
            read_profile(document, self.reading)
            if whole
            else [read_document(document, self.reading)]
        )
        if whole:
            assert isinstance(document, dict)
            self.profiles += 1
            self.made_anew |= document.keys() & MADE_ANEW
        for place, batch in enumerate(batches):
            self.rows.add(self.seq, batch)
            self._rows_of_lines.append((self.seq, number, whole and not place))
            self.seq += 1
        if len(self._rows_of_lines) >= BatchRows.BLOCK:
            self.flush()

    def flush(self) -> None:
        """Write down where the rows stand."""
        if self._rows_of_lines:
            self._scratch.append(self.lines, LINES, self._rows_of_lines)
            self._rows_of_lines = []


def _drop_founders(
    scratch: Scratch, staged: StagedFile, rows: str, lines: str, reading: Reading
) -> None:
    """Take out the rows that say an MPID alone where none of the line's identities is another
    line's too.
    """
    environment = (
        f"coalesce(environment, {quote_text(ENVIRONMENTS[0])})"
        if "environment" in staged.plain
        else "null"
    )
    claims = " union all ".join(
        f"select seq, {quote_text(kind)} as type, {environment} as environment, key from"
        f" (select *, {usable_key(BY_NAME[kind], f'i_{kind}', reading.judging)} as key from {rows}) where key is not null"
        for kind in staged.identities
    )
    shared = (
        f"select line from (select line, min(line) over same as first, max(line) over same as last from ({claims})"
        f" join {lines} using (seq) window same as (partition by type, environment, key)) where first < last"
        if claims
        else "select 0 where false"
    )
    scratch.make(f"{rows}_idle", f"select seq from {lines} where founds and line not in ({shared})")
    for relation in (rows, lines):
        scratch.run(f"delete from {relation} where seq in (select seq from {rows}_idle)")
