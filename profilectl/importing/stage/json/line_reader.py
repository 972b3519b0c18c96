"""Lines of JSON, one after another, as profilectl.rules.batch reads them."""

from __future__ import annotations

from collections.abc import Iterator

from profilectl.codes import Reject
from profilectl.importing.stage.json.elements import Places
from profilectl.importing.stage.source.files import InputFile
from profilectl.importing.stage.staged import RAW_SHOWN, BatchRows, Rejects
from profilectl.rules.batch import Reading, read_document
from profilectl.rules.fields import UnusableRow
from profilectl.rules.text.values import NotJson, Value, parse_json

LONGEST_LINE = 64 * 1024 * 1024
"""How many bytes a line may have."""


class LineReader:
    """Reads one line, or one element of a document, after another."""

    def __init__(
        self,
        name: str,
        rows: BatchRows,
        reading: Reading,
        rejects: Rejects,
        places: Places | None = None,
    ) -> None:
        self.rows, self.reading = rows, reading
        self._name, self._rejects, self._places = name, rejects, places
        self.lines_read = 0

    def read(self, number: int, raw: bytes | None) -> None:
        """Read the line of a number, from 1. raw: None for a line that is too long to be one."""
        self.lines_read = number
        text = ""
        try:
            if raw is None:
                raise UnusableRow("ROW_TOO_LONG", f"over {LONGEST_LINE // 1024**2} MiB")
            text = raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
            if not text.strip(" \t\r\n"):
                return
            self._take(number, parse_json(text))
        except UnicodeDecodeError as error:
            shown = error.object.decode("utf-8", "backslashreplace")
            detail = f"byte {error.start + 1}"
            self._reject(number, "ENCODING_INVALID", detail, raw=shown)
        except NotJson as error:
            self._reject(number, error.code, error.detail, raw=text, position=error.position)
        except UnusableRow as error:
            self._reject(number, error.code, error.detail, raw=text)

    def _take(self, number: int, document: Value) -> None:
        """Add what a line says to the rows."""
        self.rows.add(number - 1, read_document(document, self.reading))

    def _reject(
        self, number: int, code: str, detail: str, *, raw: str, position: int | None = None
    ) -> None:
        line = number
        if self._places:
            line = self._places.lines[number - 1]
            detail = self._places.detail(number - 1, detail, raw, position=position)
        elif position is not None:
            detail = f"column {position + 1}: {detail}"
        self._rejects.add(Reject(self._name, line, code, raw=raw[:RAW_SHOWN], detail=detail))


def physical_lines(file: InputFile) -> Iterator[tuple[int, bytes | None]]:
    """Yield the lines of a file with their numbers, from 1; None for one that is too long."""
    with file.local.open("rb") as content:
        number = 0
        while line := content.readline(LONGEST_LINE):
            number += 1
            if len(line) == LONGEST_LINE and not line.endswith(b"\n"):
                while line and not line.endswith(b"\n"):
                    line = content.readline(LONGEST_LINE)
                yield number, None
            else:
                yield number, line
