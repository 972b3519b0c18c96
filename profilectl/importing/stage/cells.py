"""The cells of a CSV file, and the values of a Parquet file -> staged columns.

Each column's meaning is known (stage.columns); here it becomes the expressions that make a staged
column of it, the rows it spoils, and the values that break a limit.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from profilectl.codes import InputRefused
from profilectl.importing.stage.events.event_cells import EventCells
from profilectl.importing.stage.member_cells import member_fault
from profilectl.importing.stage.nested import clash, members_sql, object_sql, tree_of, value_sql
from profilectl.importing.stage.staged import AttributeColumns, StagedFile
from profilectl.rules.batch import (
    TYPED_FIELDS,
    BatchField,
    Reading,
    deleted_keys,
    is_unknown_reserved,
)
from profilectl.rules.batch_members import is_boolean
from profilectl.rules.fields import Unusable
from profilectl.rules.identity import BY_NAME
from profilectl.rules.sql.identities import code_of, trimmed, usable_key
from profilectl.rules.sql.quoting import quote_text
from profilectl.rules.sql.values import whole_number
from profilectl.store.scratch import Scratch


@dataclass(frozen=True, slots=True)
class CellFault:
    """What makes a row unusable: the code, and as SQL the condition and what more there is to say."""

    code: str
    condition: str
    detail: str


@dataclass(slots=True)
class Cell:
    """One column of a file: the SQL that reads it, what it means, how it is held.

    text: its value as text. held: its value as profilectl.rules.text.values holds it. over: the code of the
    limit a value breaks, as SQL that gives null for none; None where no value can. faults: what
    makes a row unusable, besides what a text can say. json: its text is JSON, of a number, a
    boolean or a list.
    """

    field: BatchField
    text: str
    held: str
    over: str | None = None
    faults: tuple[CellFault, ...] = ()
    json: bool = False


def string_held(text: str) -> str:
    """Return the SQL that holds a string (values.hold)."""
    return f"case when starts_with({text}, chr(31)) then chr(31) || '''' || {text} else {text} end"


def string_over(text: str, most: int) -> str:
    """Return the SQL that names the limit a string breaks; most: characters."""
    return f"case when strlen({text}) > {most} and length({text}) > {most} then 'UA_VALUE_TOO_LONG' end"


LISTED = 500
"""So many columns of a file are looked at in one statement: to plan one that names many more takes
longer than to read.
"""


NESTED_COLUMNS = 300
"""So many columns may be members of an object (an event, a device, a consent); three times the
attributes of an event.
"""
LONG_SQL = 5_000
"""So many characters of SQL are planned once, and what they come to is written down."""


@dataclass(frozen=True, slots=True)
class Cut:
    """Where the attributes of each row of a wide file end: the place of the first column that is
    left out.
    """

    first: int
    """Every row has the columns before this place."""
    last: int
    """No row has a column from this place on."""
    relation: str | None = None
    """(row, place) of the rows that end; None where all end at the same place, or none does."""

    def spares(self, place: int) -> str | None:
        """Return the condition that a row has the column at a place; None where every row has."""
        return (
            None
            if place < self.first
            else "false"
            if place >= self.last
            else f"coalesce(cut > {place}, true)"
        )


@dataclass(slots=True)
class Assembly:
    """The staged relation of a file whose rows are a relation of cells, put together column by
    column.
    """

    scratch: Scratch
    source: str
    seq: str
    keys: AttributeColumns
    reading: Reading
    empty: str = "ignore"
    event_type: str | None = None
    plain: dict[str, str] = field(default_factory=dict)
    identities: dict[str, list[str]] = field(default_factory=dict)
    attributes: dict[str, str] = field(default_factory=dict)
    loose_texts: list[tuple[int, str]] = field(default_factory=list)
    loose_values: list[tuple[int, str, str]] = field(default_factory=list)
    cut: Cut = field(default_factory=lambda: Cut(0, 0))
    kept: list[tuple[str, str]] = field(default_factory=list)
    rejects: list[str] = field(default_factory=list)
    skips: list[str] = field(default_factory=list)
    events: list[str] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    undefined: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    json: set[str] = field(default_factory=set)

    def add(self, cells: list[Cell]) -> None:
        """Take in the columns of a file, in their order."""
        for cell in cells:
            for wrong in cell.faults:
                self._reject(wrong.code, wrong.condition, wrong.detail)
            if cell.field.kind == "plain":
                self._plain(cell)
            elif cell.field.kind == "identity":
                self.identities.setdefault(cell.field.name, []).append(cell.text)
            elif cell.field.kind == "kept":
                self._keep(cell)
        unknown = [
            f"{cell.text} is not null" for cell in cells if cell.field.kind == "unknown identity"
        ]
        self._skip_each("IDENTITY_UNKNOWN_TYPE", unknown)
        for purpose, said in self.undefined.items():
            self._skip("CONSENT_PURPOSE_UNDEFINED", f"({' or '.join(said)})", ".".join(purpose))
        if fault := member_fault(self.kept, self.json):
            self._invalid(fault)
        self._events([cell for cell in cells if cell.field.kind == "event"])
        self._attributes([cell for cell in cells if cell.field.kind == "attribute"])
        for name, texts in self.identities.items():
            if len(texts) > 1:
                self._several(name, texts)

    def _several(self, name: str, texts: list[str]) -> None:
        """Hold the columns of one identity type against each other, and remark on those that are
        nobody's: what is staged of a row is the first that may be used.
        """
        listed = f"[{', '.join(texts)}]"
        keys = f"list_transform({listed}, lambda text: {self._key(name, 'text')})"
        self._reject("IDENTITY_DUPLICATE_TYPE", f"len(list_distinct({keys})) > 1", quote_text(name))
        code = code_of(BY_NAME[name], "text", self.reading.judging)
        self.skips.append(
            "select seq, code, null as attribute from"
            f" (select {self.seq} as seq, unnest(list_transform({listed}, lambda text: {code})) as code"
            f" from {self.source}) where code is not null"
        )

    def _key(self, name: str, text: str) -> str:
        return usable_key(BY_NAME[name], text, self.reading.judging)

    def _keep(self, cell: Cell) -> None:
        root, *steps = cell.field.name.split(".")
        if (
            root == "consent_state"
            and len(steps) > 1
            and not self.reading.defines(steps[0], steps[1])
        ):
            self.undefined.setdefault((steps[0], steps[1]), []).append(f"{cell.text} is not null")
        else:
            self.kept.append((cell.field.name, cell.text))
            if cell.json:
                self.json.add(cell.field.name)

    def _events(self, cells: list[Cell]) -> None:
        if not cells:
            return
        _check_nested(len(cells), "events")
        made = EventCells(
            [(cell.field.name.removeprefix("events."), cell.text) for cell in cells],
            self.event_type,
        )
        clash = made.clash()
        if clash:
            raise InputRefused(
                f"the column events.{clash[0]} stands for a value, and events.{clash[1]} for a part of it",
                "map or ignore one of them",
            )
        self._invalid(made.fault())
        self._skip("EVENT_OVER_LIMIT", f"{made.filled()} and {made.over()}")
        select = made.select(self.seq, self.source)
        if len(select) > LONG_SQL:
            self.scratch.make(f"{self.source}_cells", select)
            select = f"select * from {self.source}_cells"
        self.events.append(select)

    def _invalid(self, fault: str) -> None:
        """Reject the rows of which the SQL `fault` says what is wrong with their batch."""
        self.rejects.append(
            f"select seq, 'BATCH_INVALID' as code, detail from (select {self.seq} as seq, {fault} as detail from {self.source}) where detail is not null"
        )

    def _reject(self, code: str, condition: str, detail: str) -> None:
        self.rejects.append(
            f"select {self.seq} as seq, '{code}' as code, {detail} as detail from {self.source} where {condition}"
        )

    def _skip(self, code: str, condition: str, attribute: str | None = None) -> None:
        named = quote_text(attribute) if attribute is not None else "null"
        self.skips.append(
            f"select {self.seq} as seq, '{code}' as code, {named} as attribute from {self.source} where {condition}"
        )

    def _skip_each(self, code: str, conditions: list[str]) -> None:
        """Count a code once for each of the conditions that a row meets."""
        if conditions:
            met = f"unnest(list_filter([{', '.join(conditions)}], lambda met: met))"
            self.skips.append(
                f"select seq, '{code}' as code, null as attribute from (select {self.seq} as seq, {met} as met from {self.source})"
            )

    def _plain(self, cell: Cell) -> None:
        text = cell.text
        if cell.field.name in ("mpid", "timestamp_unixtime_ms"):
            code = "MPID_INVALID" if cell.field.name == "mpid" else "TIMESTAMP_INVALID"
            number = whole_number(trimmed(text))
            zero = f" or {number} = 0" if cell.field.name == "mpid" else ""
            self._reject(code, f"{text} <> '' and ({number} is null{zero})", f"{text}[:40]")
            self.plain["mpid" if cell.field.name == "mpid" else "at_ms"] = number
        elif cell.field.name == "environment":
            self._reject(
                "ENVIRONMENT_INVALID",
                f"{text} not in ('', 'production', 'development')",
                f"{text}[:40]",
            )
            self.plain["environment"] = f"nullif({text}, '')"
        elif cell.field.name == "source_request_id":
            self.plain["request"] = f"nullif({text}, '')"
        else:
            self._deleted(text)

    def _deleted(self, text: str) -> None:
        """A cell names one attribute, or holds a JSON list of names; each distinct cell is read
        once.
        """
        found = self.scratch.rows(
            f"select distinct {text} from {self.source} where {text} is not null"
        )
        read: list[tuple[str, list[str] | None, str]] = []
        for (cell,) in found:
            try:
                read.append((cell, list(deleted_keys(cell)), ""))
            except Unusable as error:
                read.append((cell, None, error.detail))
        self.gone = {key for _, keys, _ in read for key in keys or ()}
        name = f"{self.source}_deleted"
        self.scratch.load(
            name, [("cell", "VARCHAR"), ("keys", "VARCHAR[]"), ("detail", "VARCHAR")], read
        )
        self.rejects.append(
            f"select {self.source}.{self.seq} as seq, 'DELETED_INVALID' as code, {name}.detail from {self.source} "
            f"join {name} on {name}.cell = {text} where {name}.keys is null"
        )
        self.plain["deleted"] = f"(select keys from {name} where {name}.cell = {text})"

    def _attributes(self, cells: list[Cell]) -> None:
        self.cut = self._end_rows(cells)
        longest = self.reading.limits["key"]
        strings = [
            cell
            for place, cell in enumerate(cells)
            if self._is_string(cell) and self.cut.spares(place) != "false"
        ]
        harmless = self._within(strings)
        for place, cell in enumerate(cells):
            key, spared = cell.field.name, self.cut.spares(place)
            if spared == "false" and self.empty != "delete":
                continue
            over = None if cell.text in harmless else cell.over
            column = self.keys.column(key) if len(key) <= longest else None
            if column:
                self.attributes[column] = self._wide(cell, over, spared)
                self._warn(key, self.attributes[column])
            elif len(key) <= longest and self._is_string(cell):
                self.loose_texts.append((place, cell.text))
            elif len(key) <= longest:
                self.loose_values.append(
                    (place, self._stated(cell.text, cell.held), over or "null")
                )
            else:
                stated = "true" if self.empty == "set" else f"{cell.text} is not null"
                self.loose_values.append(
                    (place, "null", f"case when {stated} then 'UA_KEY_TOO_LONG' end")
                )
        self._lay_loose(cells, spoiled=len(harmless) < len(strings))

    def _warn(self, key: str, held: str) -> None:
        """Say of the rows that set an attribute what is worth knowing of its key."""
        unknown, deleted = is_unknown_reserved(key), key in self.gone
        if unknown or deleted:
            gone = self.plain["deleted"] if deleted else "null"
            rows = f"select {self.source}.{self.seq} as seq, {held} as held, {gone} as gone from {self._ended}"
            sets = f"as attribute from ({rows}) where held <> chr(31)"
            if unknown:
                self.skips.append(
                    f"select seq, 'UA_RESERVED_UNKNOWN' as code, {quote_text(key)} {sets}"
                )
            if deleted:
                self.skips.append(
                    f"select seq, 'UA_SET_AND_DELETED' as code, {quote_text(key)} {sets} and list_contains(gone, {quote_text(key)})"
                )

    def _warn_loose(self, keys: list[str]) -> None:
        """The same of attributes without a column of their own."""
        name = f"{self.source}_long"
        sets = f"(select seq, key from {name} join {self.source}_key using (place) where code is null and held <> chr(31))"
        unknown = ", ".join(quote_text(key) for key in keys if is_unknown_reserved(key))
        if unknown:
            self.skips.append(
                f"select seq, 'UA_RESERVED_UNKNOWN' as code, key as attribute from {sets} where key in ({unknown})"
            )
        if self.gone.intersection(keys):
            deleted = f"(select {self.seq} as seq, unnest({self.plain['deleted']}) as key from {self.source})"
            self.skips.append(
                f"select seq, 'UA_SET_AND_DELETED' as code, key as attribute from {sets} join {deleted} using (seq, key)"
            )

    def _wide(self, cell: Cell, over: str | None, spared: str | None) -> str:
        """Return the SQL of an attribute that has a column of its own; what breaks a limit is left
        out.
        """
        held = cell.held
        if over:
            self.skips.append(
                f"select seq, code, {quote_text(cell.field.name)} as attribute from (select {self.source}.{self.seq} as seq, {over} as code from {self._ended} "
                f"where {cell.text} is not null and {spared or 'true'}) where code is not null"
            )
            held = f"case when {over} is null then {held} end"
        return self._stated(cell.text, f"case when {spared} then {held} end" if spared else held)

    def _stated(self, text: str, held: str) -> str:
        """Return the SQL of what a cell does, an empty one included (design.md R6)."""
        empty = {"ignore": None, "delete": "chr(31)", "set": "''"}[self.empty]
        return f"case when {text} is null then {empty} else {held} end" if empty else held

    def _is_string(self, cell: Cell) -> bool:
        """Say whether a cell holds a string, which is read as every other is."""
        return (cell.held, cell.over) == (
            string_held(cell.text),
            string_over(cell.text, self.reading.limits["value"]),
        )

    def _end_rows(self, cells: list[Cell]) -> Cut:
        """Find where the attributes of each row end: a batch has the first so many that are filled."""
        most, size = self.reading.limits["attributes"], len(cells)
        if size <= most:
            return Cut(size, size)
        if self.empty == "set":
            self._skip_beyond(f"unnest(range({most}, {size}))", cells)
            return Cut(most, most)
        filled = ", ".join(f"{cell.text} is not null" for cell in cells)
        places = f"list_where(range({size})::usmallint[], [{filled}])"
        name = f"{self.source}_cut"
        self.scratch.make(
            name,
            f"select row, cut from (select {self.seq} as row, {places}[{most + 1}]::integer as cut from {self.source})"
            " where cut is not null",
        )
        ends, first, last, rows = self.scratch.row(
            f"select count(*), min(cut), max(cut), (select count(*) from {self.source}) from {name}"
        )
        if not ends:
            return Cut(size, size)
        self._skip_beyond(f"unnest({places}[{most + 1}:])", cells)
        if ends < rows:
            last = size
        return Cut(first, last, None if first == last else name)

    def _skip_beyond(self, places: str, cells: list[Cell]) -> None:
        """Name what is left out of each row; places: the SQL that yields the places of the columns."""
        self._name_places(cells)
        most = self.reading.limits["attributes"]
        self.notices.append(
            f"{len(cells):,} columns are attributes, and a batch has at most {most:,}: of each row the first {most:,} that are filled"
            f" are taken, in the order of the columns; the columns after {cells[most - 1].field.name!r} may be left out (UA_TOO_MANY)"
        )
        self.skips.append(
            f"select seq, 'UA_TOO_MANY' as code, key as attribute from (select {self.seq} as seq, {places} as place"
            f" from {self.source}) join {self.source}_key using (place)"
        )

    def _name_places(self, cells: list[Cell]) -> None:
        names = [(place, cell.field.name) for place, cell in enumerate(cells)]
        self.scratch.load(f"{self.source}_key", [("place", "BIGINT"), ("key", "VARCHAR")], names)

    @property
    def _ended(self) -> str:
        """The rows of the file, with cut: where the attributes of a row end, if that differs from
        row to row.
        """
        if not self.cut.relation:
            return self.source
        return f"{self.source} left join {self.cut.relation} as ends on ends.row = {self.source}.{self.seq}"

    def _within(self, cells: list[Cell]) -> set[str]:
        """Return the columns of strings in which no value is over the limit: one look at all of
        them.
        """
        harmless: set[str] = set()
        for start in range(0, len(cells), LISTED):
            stretch = cells[start : start + LISTED]
            longest = ", ".join(f"max(strlen({cell.text}))" for cell in stretch)
            found = self.scratch.row(f"select {longest} from {self.source}")
            most = self.reading.limits["value"]
            harmless |= {
                cell.text for cell, size in zip(stretch, found, strict=True) if (size or 0) <= most
            }
        return harmless

    def _lay_loose(self, cells: list[Cell], *, spoiled: bool) -> None:
        """Lay the attributes without a column of their own end to end, one row a value.

        spoiled: a string may be too long.
        """
        if not self.loose_texts and not self.loose_values:
            return
        name = f"{self.source}_long"
        self._name_places(cells)
        self.scratch.load(
            name,
            [("seq", "BIGINT"), ("place", "BIGINT"), ("held", "VARCHAR"), ("code", "VARCHAR")],
            [],
        )
        over = string_over("value", self.reading.limits["value"]) if spoiled else "null"
        held = self._stated("value", string_held("value"))
        for start in range(0, len(self.loose_texts), LISTED):
            stretch = self.loose_texts[start : start + LISTED]
            places, texts = [place for place, _ in stretch], ", ".join(text for _, text in stretch)
            self._lay(name, f"unnest([{texts}]) as value", held, over, places, "value is null")
        for start in range(0, len(self.loose_values), LISTED):
            typed = self.loose_values[start : start + LISTED]
            places, values = (
                [place for place, _, _ in typed],
                ", ".join(value for _, value, _ in typed),
            )
            codes = ", ".join(code for _, _, code in typed)
            listed = f"unnest([{values}]::varchar[]) as value, unnest([{codes}]::varchar[]) as code"
            self._lay(name, listed, "value", "code", places, "value = chr(31)")
        self.skips.append(
            f"select seq, code, key as attribute from {name} join {self.source}_key using (place) where code is not null"
        )
        self._warn_loose([cell.field.name for cell in cells])

    def _lay(
        self, name: str, listed: str, held: str, over: str, places: list[int], deletes: str
    ) -> None:
        """Add the values of some columns to the relation of those laid end to end.

        deletes: the condition of an empty cell.
        """
        ends = "cut" if self.cut.relation else str(self.cut.last)
        spared = "coalesce(cut > place, true)"
        # To delete is not to have: it does not count to the limit.
        stays = f"({spared} or {deletes})" if self.empty == "delete" else spared
        self.scratch.run(
            f"insert into {name} select seq, place, held, code from (select seq, place, case when {stays} then {held} end as held,"
            f" case when {spared} then {over} end as code"
            f" from (select {self.source}.{self.seq} as seq, {ends} as cut, unnest({places}) as place, {listed} from {self._ended}))"
            " where held is not null or code is not null",
            step=f"{name} {places[0]}",
        )

    def staged(self, like: StagedFile) -> StagedFile:
        """Complete what is known of a file with the SELECT of its rows."""
        columns = [f"{self.source}.{self.seq} as seq"]
        if self.kept:
            self.plain["rest"] = self._rest()
        columns += [f"{expression} as {name}" for name, expression in self.plain.items()]
        for name, texts in self.identities.items():
            stated = texts[0]
            if len(texts) > 1:
                usable = f"list_filter([{', '.join(texts)}], lambda text: {self._key(name, 'text')} is not null)[1]"
                stated = f"coalesce({usable}, {', '.join(texts)})"
            columns.append(f"{stated} as i_{name}")
        columns += [f"{expression} as {name}" for name, expression in self.attributes.items()]
        like.select = f"select {', '.join(columns)} from {self._ended}"
        like.plain, like.identities, like.columns = (
            list(self.plain),
            list(self.identities),
            list(self.attributes),
        )
        like.rejects, like.skips = self.rejects, self.skips
        like.loose, like.events = self._loose(), self.events
        like.notices += [f"{like.name}: {notice}" for notice in self.notices]
        return like

    def _rest(self) -> str:
        """Return the SQL of the JSON object of the fields kept for later work."""
        _check_nested(len(self.kept), self.kept[0][0].partition(".")[0])
        columns = {
            tuple(name.split(".")): text
            if name in self.json and not is_boolean(name)
            else value_sql(text, typed=name.endswith(TYPED_FIELDS), boolean=is_boolean(name))
            for name, text in self.kept
        }
        found = clash(list(columns))
        if found:
            raise InputRefused(
                f"the column {'.'.join(found[0])} stands for a value, and {'.'.join(found[1])} for a part of it",
                "map or ignore one of them",
            )
        said = [
            f"{text} is not null" for name, text in self.kept if name.startswith("device_info.")
        ]
        for name, texts in self.identities.items() if said else ():
            if BY_NAME[name].device:  # what is said of a device stays with what names it
                path = (name,) if name == "mp_deviceid" else ("device_info", name)
                columns[path] = (
                    f"case when {' or '.join(said)} then to_json(coalesce({', '.join(texts)}))::varchar end"
                )
        return self._written("rest", object_sql(members_sql(tree_of(columns))))

    def _written(self, name: str, sql: str) -> str:
        """Return the SQL of a value of each row: written down once where it is so long that to plan
        it again and again costs more.
        """
        if len(sql) < LONG_SQL:
            return sql
        table = f"{self.source}_{name}"
        self.scratch.make(table, f"select {self.seq} as row, {sql} as value from {self.source}")
        return f"(select value from {table} where row = {self.source}.{self.seq})"

    def _loose(self) -> str | None:
        if not self.loose_texts and not self.loose_values:
            return None
        name = f"{self.source}_loose"
        self.scratch.make(
            name,
            f"select seq, key, held as value from {self.source}_long join {self.source}_key using (place) where code is null",
            keep=False,
        )
        return name


def _check_nested(columns: int, root: str) -> None:
    """Raise InputRefused where more columns make an object than can be planned in seconds."""
    if columns > NESTED_COLUMNS:
        raise InputRefused(
            f"{columns:,} columns are of {root} and the like; at most {NESTED_COLUMNS} can be read",
            "map the others to ignore, or write the rows as JSON lines",
        )
