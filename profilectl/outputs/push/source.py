"""Where the batches of a push come from: the profiles of a store, or a file of batches.

A source yields rows in the order of their positions, a block at a time, so that memory does not
grow with the store; the store is open only while a stretch of it is read.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from profilectl.codes import InputRefused
from profilectl.importing.stage.source.files import Named, open_files
from profilectl.importing.stage.source.unpacking import check_memory
from profilectl.outputs.packing import PackedBatch, Track, parcels_of
from profilectl.outputs.push.ages import Ages
from profilectl.outputs.push.known import Host, Noted, compare, note_under_way
from profilectl.profiles.read_model import Profiles, profiles_of
from profilectl.reading.export import Wanted, choose, stretches, touched_in
from profilectl.reading.extract import batches, tell_sharing
from profilectl.rules.fields import Unusable
from profilectl.rules.sql.quoting import quote_text
from profilectl.rules.text.values import NotJson, Value, parse_json, to_json
from profilectl.store.opening import open_store
from profilectl.store.scratch import Scratch
from profilectl.store.segments import known_mpids
from profilectl.store.store import OpenStore

BLOCK = 1_000
"""So many rows are made ready at once."""
PATIENCE_S = 60.0
"""How long a push that has begun waits for a busy store."""
LONGEST_LINE = 16 * 1024 * 1024
FORMATS = ("jsonl", "json")

Name = Callable[[int, int, str], str]
"""From position, part and content to a source_request_id."""


@dataclass(frozen=True, slots=True)
class Bad:
    """A batch that cannot be sent: which part of its row, why, and its text."""

    part: int
    error: Unusable
    raw: str


@dataclass(slots=True)
class Row:
    """A profile, or a line of a file, with its batches.

    place: where it is, for a person: mpid, or file and line. noted: what is written down where all
    of it is accepted. profile: whose the events are. unchanged: the host has it as it is.
    """

    position: int
    place: dict[str, Any]
    parcels: list[PackedBatch] = field(default_factory=list)
    bad: list[Bad] = field(default_factory=list)
    noted: Noted | None = None
    profile: int | None = None
    unchanged: bool = False

    def add_text(
        self,
        text: str,
        name: Name,
        *,
        with_times: bool = False,
        deleted: Sequence[str] = (),
        ages: Ages | None = None,
    ) -> None:
        """Add a batch as JSON text. deleted: attributes that it deletes as well."""
        try:
            document = parse_json(text)
        except NotJson as error:
            self.bad.append(Bad(self._next(), Unusable(error.code, error.detail), text))
            return
        if deleted and isinstance(document, dict):
            document["deleted_user_attributes"] = list(deleted)
        self.add(document, name, with_times=with_times, ages=ages)

    def add(
        self, document: Value, name: Name, *, with_times: bool = False, ages: Ages | None = None
    ) -> None:
        """Add a batch; where it cannot be sent, say why.

        ages: which of its events are historical, where it may have some.
        """
        for leaving, historical in ages.parted(document) if ages else ((document, False),):
            part = self._next()
            try:
                self.parcels += parcels_of(
                    leaving,
                    self.position,
                    lambda part, content: name(self.position, part, content),
                    first_part=part,
                    with_times=with_times,
                    historical=historical,
                )
            except Unusable as error:
                self.bad.append(Bad(part, error, to_json(leaving)))

    def _next(self) -> int:
        return len(self.parcels) + len(self.bad)


class PushSource(Protocol):
    """Gives the rows of a push.

    total: how many there are, done ones included; first: the first position there can be;
    unchanged: how many the host has that are no rows.
    """

    total: int
    first: int
    unchanged: int

    def blocks(self, track: Track, name: Name) -> Iterator[list[Row]]: ...


class OfStore:
    """The profiles of a store.

    What an import deleted, the batches of a push of that import delete as well.

    until: the profiles before it were there when a push of them begins now. workspace: whose they
    are. host: what they are compared with. Raises what reading a store raises, UsageError and
    InputRefused for what is wanted.
    """

    first = 0
    unchanged = 0

    def __init__(
        self, scratch: Scratch, path: Path, wanted: Wanted, *, with_times: bool, wait_s: float
    ) -> None:
        self._scratch, self._path, self._wanted = scratch, path, wanted
        self._with_times, self._wait_s = with_times, wait_s
        self.host = Host()
        with self._open() as store:
            profiles = self._profiles(store)
            choose(profiles, wanted)
            self._since = next((first for first, _ in touched_in(store, wanted)), None)
            profiles.tell_several()
            if wanted.with_mpid:
                tell_sharing(profiles)
            seen = f" where profile in ({profiles.seen()})" if profiles.feeds else ""
            scratch.make(
                "standing", f"select profile from ({known_mpids(profiles.segments)}){seen}"
            )
            if scratch.has("chosen"):
                scratch.make(
                    "wanted",
                    "select profile from standing where profile in (select profile from chosen)",
                )
                scratch.rename("wanted", "standing")
            self._cells = len(profiles.identities) + len(profiles.keys)
            self._kept = profiles
            self.workspace = profiles.workspace
            self.until = store.next_import()[1]
        self.end_before(self.until, self.host)
        self._wait_s = max(wait_s, PATIENCE_S)

    def end_before(self, until: int, host: Host) -> None:
        """Leave out the profiles from one on: they were founded after the push was begun. host:
        what they are compared with.
        """
        self.until, self.host = until, host
        self.total = int(
            self._scratch.row(f"select count(*) from standing where profile < {until}")[0]
        )

    def _open(self, *, write: bool = False) -> Any:
        return open_store(self._scratch, self._path, write=write, wait_s=self._wait_s)

    @staticmethod
    def _profiles(store: OpenStore) -> Profiles:
        profiles = profiles_of(store)
        profiles.only_seen = True
        return profiles

    def blocks(self, track: Track, name: Name) -> Iterator[list[Row]]:
        """Yield the profiles that are not done, in order.

        The store must not be open for writing during next().
        """
        for where in list(stretches(self._kept, self._cells, track.start, self.until)):
            with self._open() as store:
                self._read(self._profiles(store), where)
            if self.host.noting and self._scratch.count("push_changed"):
                with self._open(write=True) as store:
                    note_under_way(store, self.host)
            yield from in_blocks(self._rows(track, name))

    def _read(self, profiles: Profiles, where: str) -> None:
        """Make `push_row`: the batches of a stretch, as the store has them now, where they are not
        what the host has.
        """
        # The platform computes its own: neither a calculated value nor what it masks leaves.
        masked, profiles.calculated = profiles.calculated, []
        profiles.keys = [key for key in profiles.keys if key not in masked]
        profiles.loose_keys = [key for key in profiles.loose_keys if key not in masked]
        profiles.several = self._kept.several
        select = batches(profiles, where, self._wanted.telling(times=self._with_times))
        if self._since is None:
            select = f"select _profile, _mpid::varchar as mpid, _arrival as part, line, []::varchar[] as deleted from ({select})"
        else:
            names = ", ".join(map(quote_text, masked))
            gone = (
                f"list_filter(coalesce(keys, []), lambda key: key not in ({names}))"
                if masked
                else "coalesce(keys, [])"
            )
            select = (
                f"select _profile, _mpid::varchar as mpid, _arrival as part, line, {gone} as deleted from ({select})"
                f" left join ({profiles.deleted(where, self._since)}) as deleted on deleted.profile = _profile"
            )
        self._scratch.make("push_line", select)
        compare(profiles.store, self.host, where, masked)

    def _rows(self, track: Track, name: Name) -> Iterator[Row]:
        cursor = self._scratch.connection.execute(
            "select _profile, mpid, line, deleted, digest, keys, turn from push_row order by _profile, part"
        )
        lines = itertools.chain.from_iterable(iter(lambda: cursor.fetchmany(BLOCK), []))
        for profile, of_one in itertools.groupby(lines, key=lambda line: line[0]):
            if track.is_done(profile):
                continue
            row: Row | None = None
            for _, mpid, line, deleted, digest, keys, turn in of_one:
                first = row is None
                row = row or Row(
                    profile,
                    {"mpid": mpid},
                    noted=Noted(profile, digest, keys) if self.host.noting else None,
                    unchanged=line is None,
                )
                if line is None:
                    continue
                row.add_text(
                    line,
                    _named(name, turn),
                    with_times=self._with_times,
                    deleted=deleted if first else (),
                )
            assert row is not None
            yield row


def _named(name: Name, turn: int) -> Name:
    """Return what names batches after others were sent before so often."""
    return (
        (lambda position, part, content: name(position, part, f"{turn} {content}"))
        if turn
        else name
    )


class OfFile:
    """A file of batches: JSON lines, a batch each, or a JSON document with one or an array of them;
    packed or not.

    sha256: of the file as it is; ages: which of its events are historical. Raises InputRefused for
    what is no such file.
    """

    first = 1
    unchanged = 0

    def __init__(
        self, scratch: Scratch, path: Path, *, with_times: bool, max_unpacked: str | None = None
    ) -> None:
        self._with_times, self.ages = with_times, Ages()
        found = open_files(
            [Named(str(path))],
            format=None,
            encoding=None,
            spill=scratch.folder,
            max_unpacked=max_unpacked,
        ).files
        if len(found) != 1 or found[0].format not in FORMATS:
            raise InputRefused(
                f"{path} is no file of batches",
                "name one .jsonl or .json file; profilectl export batches writes one",
            )
        self._file = found[0]
        self.sha256 = self._file.sha256
        self._documents = self._array() if self._file.format == "json" else None
        if self._documents is not None:
            self.total = len(self._documents)
        else:
            with self._file.local.open("rb") as stream:
                self.total = sum(1 for line in _lines(stream) if line is None or line.strip())

    def _array(self) -> list[Value]:
        check_memory(self._file.name, self._file.local, "write it as JSON lines, a batch each")
        text = self._file.local.read_bytes()
        try:
            found = parse_json(text.decode().removeprefix("\ufeff"))
        except UnicodeDecodeError:
            raise InputRefused(f"{self._file.name} is not UTF-8") from None
        except NotJson as error:
            before = text.decode()[: error.position] if error.position is not None else ""
            where = (
                f":{before.count(chr(10)) + 1}:{len(before) - before.rfind(chr(10))}"
                if error.position is not None
                else ""
            )
            raise InputRefused(
                f"{self._file.name}{where}: {error.detail}", "mend it and push it again"
            ) from None
        return found if isinstance(found, list) else [found]

    def blocks(self, track: Track, name: Name) -> Iterator[list[Row]]:
        """Yield the batches that are not done, in order."""
        yield from in_blocks(self._rows(track, name))

    def _rows(self, track: Track, name: Name) -> Iterator[Row]:
        unit = "line" if self._documents is None else "row"
        for position, raw in enumerate(self._raw(), start=1):
            if raw == b"" or track.is_done(position):
                continue
            row = Row(position, {"file": self._file.name, unit: position})
            if raw is None:
                row.bad.append(Bad(0, Unusable("ROW_TOO_LONG"), ""))
            elif isinstance(raw, bytes):
                try:
                    row.add_text(raw.decode(), name, with_times=self._with_times, ages=self.ages)
                except UnicodeDecodeError:
                    row.bad.append(
                        Bad(0, Unusable("ENCODING_INVALID"), raw.decode(errors="replace"))
                    )
            else:
                row.add(raw[0], name, with_times=self._with_times, ages=self.ages)
            yield row

    def _raw(self) -> Iterator[bytes | tuple[Value] | None]:
        """Yield each line without its end, empty where there is nothing in it; or each member of an
        array.
        """
        if self._documents is not None:
            yield from ((one,) for one in self._documents)
            return
        with self._file.local.open("rb") as stream:
            for place, line in enumerate(_lines(stream)):
                if line is None:
                    yield None
                else:
                    yield (line.removeprefix(b"\xef\xbb\xbf") if not place else line).strip(
                        b" \t\r\n"
                    )


def _lines(stream: Any) -> Iterator[bytes | None]:
    """Yield lines, None for one that is too long to be read."""
    while line := stream.readline(LONGEST_LINE):
        if len(line) == LONGEST_LINE and not line.endswith(b"\n"):
            while (rest := stream.readline(LONGEST_LINE)) and not rest.endswith(b"\n"):
                pass
            yield None
        else:
            yield line


def in_blocks(rows: Iterator[Row]) -> Iterator[list[Row]]:
    """Yield rows in blocks."""
    while block := list(itertools.islice(rows, BLOCK)):
        yield block
