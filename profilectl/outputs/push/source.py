"""Where the batches of a push come from: the profiles of a store, or a file of batches.

A source yields rows in the order of their positions, a block at a time, so that memory does not
grow with the store; the store is open only while a stretch of it is read.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol

from profilectl.codes import InputRefused
from profilectl.importing.stage.source.files import InputFile, Named, open_files
from profilectl.importing.stage.source.unpacking import check_memory
from profilectl.outputs.packing import PackedBatch, Track, parcels_of
from profilectl.outputs.push.ages import AgedBatch, Ages
from profilectl.outputs.push.host import AcceptedProfile, Host, compare, note_under_way
from profilectl.profiles.read_model import Profiles, profiles_of
from profilectl.reading.exporting.export import ExportRequest, choose, stretches, touched_in
from profilectl.reading.exporting.extract import batches, tell_sharing
from profilectl.reading.several_rows import tell_several
from profilectl.rules.fields import UnusableRow
from profilectl.rules.text.values import NotJson, Value, parse_json, to_json
from profilectl.store.opening import open_store
from profilectl.store.scratch import Scratch
from profilectl.store.segments import known_mpids
from profilectl.store.store import OpenStore

BLOCK = 1_000
"""How many rows are made ready at once."""
PATIENCE_S = 60.0
"""How long a push that has begun waits for a busy store."""
LONGEST_LINE = 16 * 1024 * 1024
"""The bytes of the longest line that is read."""
FORMATS = ("jsonl", "json")

Name = Callable[[int, int, str], str]
"""From position, part and content to a source_request_id."""

ALL_PROFILES = "select profile from every_profile"
# ... those that the workspace has seen.
SEEN_PROFILES = """
select profile
from every_profile
where profile in (select profile from seen_profile)
"""
# ... those that choose (reading/exporting/export.py) has chosen.
CHOSEN_OF_STANDING = """
select profile
from standing
where profile in (select profile from chosen)
"""
# How many profiles the push is about.
PROFILES_BEFORE = "select count(*) from standing where profile < $until"
# The batches of a stretch of profiles. The hole is their SELECT. It is no view, because DuckDB
# would bind its columns, one for each attribute, twice.
PUSH_LINE = """
select _profile, _mpid::varchar as mpid, _arrival as part, line, []::varchar[] as deleted
from ({batches})
"""
# ... with the attributes that were deleted since an import, but for masked ones, which never left.
PUSH_LINE_WITH_DELETED = """
select batch._profile, batch._mpid::varchar as mpid, batch._arrival as part, batch.line,
       list_filter(
           coalesce(deleted.keys, []), lambda key: not list_contains(masked.keys, key)
       ) as deleted
from ({batches}) as batch
cross join (select $masked::varchar[] as keys) as masked
left join ({deleted}) as deleted on deleted.profile = batch._profile
"""
# The batches of a profile lie side by side, in order.
ROWS = """
select _profile, mpid, line, deleted, digest, keys, turn
from push_row
order by _profile, part
"""


class PushLine(NamedTuple):
    """A row of `push_row`: a batch of a profile, or a profile that is unchanged."""

    profile: int
    """The profile."""
    mpid: str
    """Its MPID."""
    line: str | None
    """The JSON of the batch; None: the host has the profile as it is."""
    deleted: list[str]
    """The attributes that the first batch of the profile deletes."""
    digest: str
    """The digest of the batches of the profile."""
    keys: str
    """The names of its attributes, as a JSON list."""
    turn: int
    """How often other batches of it were sent before."""


@dataclass(frozen=True, slots=True)
class Bad:
    """A batch that cannot be sent."""

    part: int
    """Which of the batches of its row it is."""
    error: UnusableRow
    """Why it cannot be sent."""
    raw: str
    """Its text."""


@dataclass(slots=True)
class Row:
    """A profile, or a line of a file, with its batches."""

    position: int
    """Its position in the push."""
    place: dict[str, str | int]
    """Where it is, for a person: mpid, or file and line."""
    parcels: list[PackedBatch] = field(default_factory=list)
    """Its batches."""
    bad: list[Bad] = field(default_factory=list)
    """Its batches that cannot be sent."""
    accepted: AcceptedProfile | None = None
    """What is written down where all of it is accepted."""
    profile: int | None = None
    """Whose the events are."""
    unchanged: bool = False
    """Whether the host has it as it is."""

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
            self.bad.append(Bad(self._next(), UnusableRow(error.code, error.detail), text))
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
        whole = AgedBatch(document, historical=False)
        for leaving, historical in ages.parted(document) if ages else (whole,):
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
            except UnusableRow as error:
                self.bad.append(Bad(part, error, to_json(leaving)))

    def _next(self) -> int:
        return len(self.parcels) + len(self.bad)


class PushSource(Protocol):
    """Gives the rows of a push."""

    total: int
    """How many rows there are, done ones included."""
    begin: int
    """The first position there can be."""
    unchanged: int
    """How many the host has that are no rows."""

    def blocks(self, track: Track, name: Name) -> Iterator[list[Row]]:
        """Yield the rows that are not done, in order."""


@dataclass(slots=True)
class OfStore:
    """The profiles of a store.

    In a push of one import, batches also delete the attributes that the import deleted.
    """

    scratch: Scratch
    """Where relations are made; it has `standing`, the profiles that are pushed."""
    path: Path
    """The store."""
    selection: ExportRequest
    """The profiles that are pushed."""
    profiles: Profiles
    """The profiles as they were when the push was begun."""
    with_times: bool
    """Whether batches say timestamp_unixtime_ms."""
    wait_s: float
    """How long it waits for a busy store."""
    since: int | None
    """Batches delete the attributes that were deleted from this arrival on; None: they do not."""
    workspace: str | None
    """Whose profiles they are."""
    until: int
    """The profiles before this one were there when a push of them begins now."""
    host: Host = field(default_factory=Host)
    """What they are compared with."""
    total: int = 0
    """How many profiles there are, done ones included."""
    begin: int = 0
    """The first position there can be."""
    unchanged: int = 0
    """How many the host has that are no rows."""

    def end_before(self, until: int, host: Host) -> None:
        """Leave out the profiles from `until` on: they were founded after the push was begun.

        host: what they are compared with.
        """
        self.until, self.host = until, host
        self.total = int(self.scratch.row(PROFILES_BEFORE, {"until": until})[0])

    def _open(self, *, write: bool = False) -> AbstractContextManager[OpenStore]:
        return open_store(self.scratch, self.path, write=write, wait_s=self.wait_s)

    def blocks(self, track: Track, name: Name) -> Iterator[list[Row]]:
        """Yield the profiles that are not done, in order.

        The store must not be open for writing during next().
        """
        cells = len(self.profiles.identities) + len(self.profiles.keys)
        for stretch in list(stretches(self.profiles, cells, begin=track.start, end=self.until)):
            with self._open() as store:
                self._read(_profiles_seen(store), stretch)
            if self.host.noting and self.scratch.count("push_changed_profile"):
                with self._open(write=True) as store:
                    note_under_way(store, self.host)
            yield from in_blocks(self._rows(track, name))

    def _read(self, profiles: Profiles, stretch: str) -> None:
        """Make `push_row`: the batches of a stretch, where they are not what the host has."""
        # The platform computes its own: neither a calculated value nor what it masks leaves.
        masked, profiles.calculated = profiles.calculated, []
        profiles.keys = [key for key in profiles.keys if key not in masked]
        profiles.loose_keys = [key for key in profiles.loose_keys if key not in masked]
        profiles.several = self.profiles.several
        telling = self.selection.telling(times=self.with_times)
        select = batches(profiles, stretch, telling)
        if self.since is None:
            self.scratch.make("push_line", PUSH_LINE.format(batches=select))
        else:
            deleted = profiles.deleted(stretch, self.since)
            with_deleted = PUSH_LINE_WITH_DELETED.format(batches=select, deleted=deleted)
            self.scratch.make("push_line", with_deleted, {"masked": masked})
        compare(profiles.store, self.host, stretch, masked=masked)

    def _rows(self, track: Track, name: Name) -> Iterator[Row]:
        cursor = self.scratch.connection.execute(ROWS)
        fetched = itertools.chain.from_iterable(iter(lambda: cursor.fetchmany(BLOCK), []))
        lines = map(PushLine._make, fetched)
        for profile, group in itertools.groupby(lines, key=lambda line: line.profile):
            if not track.is_done(profile):
                yield self._row_of(list(group), name)

    def _row_of(self, lines: Sequence[PushLine], name: Name) -> Row:
        """Return the row of a profile."""
        begin = lines[0]
        row = Row(
            position=begin.profile,
            place={"mpid": begin.mpid},
            accepted=(
                AcceptedProfile(begin.profile, begin.digest, begin.keys)
                if self.host.noting
                else None
            ),
            unchanged=begin.line is None,
        )
        for place, line in enumerate(lines):
            if line.line is not None:
                row.add_text(
                    line.line,
                    _named(name, line.turn),
                    with_times=self.with_times,
                    deleted=() if place else line.deleted,
                )
        return row


def profiles_of_store(
    scratch: Scratch, path: Path, selection: ExportRequest, *, with_times: bool, wait_s: float
) -> OfStore:
    """Make `standing`, the profiles of a store that are pushed, and return them as a source.

    with_times: whether batches say timestamp_unixtime_ms. Raises what reading a store raises,
    UsageError and InputRefused for the selection.
    """
    with open_store(scratch, path, wait_s=wait_s) as store:
        profiles = _profiles_seen(store)
        choose(profiles, selection)
        since = next((arrival for arrival, _ in touched_in(store, selection)), None)
        tell_several(profiles)
        if selection.with_mpid:
            tell_sharing(profiles)
        scratch.make("every_profile", known_mpids(profiles.segments), keep=False)
        if profiles.feeds:
            scratch.make("seen_profile", profiles.seen(), keep=False)
        scratch.make("standing", SEEN_PROFILES if profiles.feeds else ALL_PROFILES)
        if scratch.has("chosen"):
            scratch.make("chosen_standing", CHOSEN_OF_STANDING)
            scratch.rename("chosen_standing", "standing")
        source = OfStore(
            scratch=scratch,
            path=path,
            selection=selection,
            profiles=profiles,
            with_times=with_times,
            wait_s=max(wait_s, PATIENCE_S),
            since=since,
            workspace=profiles.workspace,
            until=store.next_import()[1],
        )
    source.end_before(source.until, source.host)
    return source


def _profiles_seen(store: OpenStore) -> Profiles:
    profiles = profiles_of(store)
    profiles.only_seen = True
    return profiles


def _named(name: Name, turn: int) -> Name:
    """Return the function that names the batches of a profile.

    turn: how often other batches of it were sent before; the same content then gets another id.
    """
    if not turn:
        return name
    return lambda position, part, content: name(position, part, f"{turn} {content}")


@dataclass(slots=True)
class OfFile:
    """A file of batches, packed or not.

    It has JSON lines, a batch each, or a JSON document with one batch or an array of them.
    """

    file: InputFile
    """The file."""
    with_times: bool
    """Whether batches say timestamp_unixtime_ms."""
    total: int
    """How many batches there are, done ones included."""
    documents: list[Value] | None = None
    """The batches of a JSON document; None: they are lines."""
    ages: Ages = field(default_factory=Ages)
    """Which of its events are historical."""
    begin: int = 1
    """The first position there can be."""
    unchanged: int = 0
    """How many the host has that are no rows."""

    @property
    def sha256(self) -> str:
        """The hash of the file as it is."""
        return self.file.sha256

    def blocks(self, track: Track, name: Name) -> Iterator[list[Row]]:
        """Yield the batches that are not done, in order."""
        yield from in_blocks(self._rows(track, name))

    def _rows(self, track: Track, name: Name) -> Iterator[Row]:
        unit = "line" if self.documents is None else "row"
        for position, raw in enumerate(self._raw(), start=1):
            if raw == b"" or track.is_done(position):
                continue
            row = Row(position, {"file": self.file.name, unit: position})
            if raw is None:
                row.bad.append(Bad(0, UnusableRow("ROW_TOO_LONG"), ""))
            elif isinstance(raw, bytes):
                try:
                    row.add_text(raw.decode(), name, with_times=self.with_times, ages=self.ages)
                except UnicodeDecodeError:
                    row.bad.append(
                        Bad(0, UnusableRow("ENCODING_INVALID"), raw.decode(errors="replace"))
                    )
            else:
                row.add(raw[0], name, with_times=self.with_times, ages=self.ages)
            yield row

    def _raw(self) -> Iterator[bytes | tuple[Value] | None]:
        """Yield each line without its end, or each member of an array.

        A line is empty where there is nothing in it, None where it is too long.
        """
        if self.documents is not None:
            yield from ((document,) for document in self.documents)
            return
        with self.file.local.open("rb") as stream:
            for place, line in enumerate(_lines(stream)):
                if line is None:
                    yield None
                else:
                    yield (line.removeprefix(b"\xef\xbb\xbf") if not place else line).strip(
                        b" \t\r\n"
                    )


def batches_of_file(
    scratch: Scratch, path: Path, *, with_times: bool, max_unpacked: str | None = None
) -> OfFile:
    """Return the batches of a file as a source.

    with_times: whether batches say timestamp_unixtime_ms. Raises InputRefused for a file that has
    no batches.
    """
    files = open_files(
        [Named(str(path))],
        format=None,
        encoding=None,
        spill=scratch.folder,
        max_unpacked=max_unpacked,
    ).files
    if len(files) != 1 or files[0].format not in FORMATS:
        raise InputRefused(
            f"{path} is no file of batches",
            "name one .jsonl or .json file; profilectl export batches writes one",
        )
    (file,) = files
    if file.format == "json":
        documents = _array(file)
        return OfFile(file, with_times, total=len(documents), documents=documents)
    with file.local.open("rb") as stream:
        total = sum(1 for line in _lines(stream) if line is None or line.strip())
    return OfFile(file, with_times, total)


def _array(file: InputFile) -> list[Value]:
    """Return the members of a JSON document. Raises InputRefused."""
    check_memory(file.name, file.local, "write it as JSON lines, a batch each")
    text = file.local.read_bytes()
    try:
        document = parse_json(text.decode().removeprefix("\ufeff"))
    except UnicodeDecodeError:
        raise InputRefused(f"{file.name} is not UTF-8") from None
    except NotJson as error:
        place = ""
        if error.position is not None:
            before = text.decode()[: error.position]
            place = f":{before.count(chr(10)) + 1}:{len(before) - before.rfind(chr(10))}"
        raise InputRefused(
            f"{file.name}{place}: {error.detail}", "mend it and push it again"
        ) from None
    return document if isinstance(document, list) else [document]


def _lines(stream: BinaryIO) -> Iterator[bytes | None]:
    """Yield lines, None for one that is too long to be read."""
    while line := stream.readline(LONGEST_LINE):
        if len(line) == LONGEST_LINE and not line.endswith(b"\n"):
            while (more := stream.readline(LONGEST_LINE)) and not more.endswith(b"\n"):
                pass
            yield None
        else:
            yield line


def in_blocks(rows: Iterator[Row]) -> Iterator[list[Row]]:
    """Yield rows in blocks."""
    while block := list(itertools.islice(rows, BLOCK)):
        yield block
