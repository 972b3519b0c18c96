"""The cells of a CSV file, and the values of a Parquet file -> staged columns.

Each column's meaning is known (stage.columns); here it becomes the expressions that make a staged
column of it, the rows it spoils, and the values that break a limit.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from profilectl.batch import TYPED_FIELDS, Field, Reading, deleted_keys
from profilectl.codes import InputRefused
from profilectl.fields import Unusable
from profilectl.identity import BY_NAME
from profilectl.identity_sql import code_of, trimmed, usable_key
from profilectl.scratch import Scratch, quote_text
from profilectl.stage.event_cells import EventCells
from profilectl.stage.nested import clash, members_sql, object_sql, tree_of, value_sql
from profilectl.stage.staged import LOOSE, AttributeColumns, StagedFile
from profilectl.value_sql import whole_number


@dataclass(frozen=True, slots=True)
class Fault:
    """What makes a row unusable: the code, and as SQL the condition and what more there is to say."""

    code: str
    condition: str
    detail: str


@dataclass(slots=True)
class Cell:
    """One column of a file: the SQL that reads it, what it means, how it is held.

    text: its value as text. held: its value as profilectl.values holds it. over: the code of the
    limit a value breaks, as SQL that gives null for none; None where no value can. fault: what makes a row
    unusable, besides what a text can say. json: its text is JSON, of a number, a boolean or a list.
    """

    field: Field
    text: str
    held: str
    over: str | None = None
    fault: Fault | None = None
    json: bool = False


def string_held(text: str) -> str:
    """Return the SQL that holds a string (values.hold)."""
    return f"case when starts_with({text}, chr(31)) then chr(31) || '''' || {text} else {text} end"


def string_over(text: str, most: int) -> str:
    """Return the SQL that names the limit a string breaks; most: characters."""
    return f"case when strlen({text}) > {most} and length({text}) > {most} then 'UA_VALUE_TOO_LONG' end"


@dataclass(slots=True)
class Assembly:
    """The staged relation of a file whose rows are a relation of cells, put together column by column."""

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
    loose: list[tuple[str, str]] = field(default_factory=list)
    kept: list[tuple[str, str]] = field(default_factory=list)
    rejects: list[str] = field(default_factory=list)
    skips: list[str] = field(default_factory=list)
    long: str = ""
    events: list[str] = field(default_factory=list)
    undefined: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    json: set[str] = field(default_factory=set)

    def add(self, cells: list[Cell]) -> None:
        """Take in the columns of a file, in their order."""
        for cell in cells:
            if cell.fault:
                self._reject(cell.fault.code, cell.fault.condition, cell.fault.detail)
            if cell.field.kind == "plain":
                self._plain(cell)
            elif cell.field.kind == "identity":
                self.identities.setdefault(cell.field.name, []).append(cell.text)
            elif cell.field.kind == "kept":
                self._keep(cell)
            elif cell.field.kind == "unknown identity":
                self._skip("IDENTITY_UNKNOWN_TYPE", f"{cell.text} is not null")
        for said in self.undefined.values():
            self._skip("CONSENT_PURPOSE_UNDEFINED", f"({' or '.join(said)})")
        self._events([cell for cell in cells if cell.field.kind == "event"])
        self._attributes([cell for cell in cells if cell.field.kind == "attribute"])
        for name, texts in self.identities.items():
            if len(texts) > 1:
                self._several(name, texts)

    def _several(self, name: str, texts: list[str]) -> None:
        """Hold the columns of one identity type against each other, and remark on those that are nobody's: what is
        staged of a row is the first that may be used."""
        kind, judging = BY_NAME[name], self.reading.judging
        first = f"coalesce({', '.join(usable_key(kind, text, judging) for text in texts)})"
        for text in texts:
            self._reject("IDENTITY_DUPLICATE_TYPE", f"{first} <> {usable_key(kind, text, judging)}", quote_text(name))
            self.skips.append(
                f"select seq, code, null as attribute from (select {self.seq} as seq, {code_of(kind, text, judging)} as code"
                f" from {self.source}) where code is not null"
            )

    def _keep(self, cell: Cell) -> None:
        root, *steps = cell.field.name.split(".")
        if root == "consent_state" and len(steps) > 1 and not self.reading.defines(steps[0], steps[1]):
            self.undefined.setdefault((steps[0], steps[1]), []).append(f"{cell.text} is not null")
        else:
            self.kept.append((cell.field.name, cell.text))
            if cell.json:
                self.json.add(cell.field.name)

    def _events(self, cells: list[Cell]) -> None:
        if not cells:
            return
        made = EventCells([(cell.field.name.removeprefix("events."), cell.text) for cell in cells], self.event_type)
        clash = made.clash()
        if clash:
            raise InputRefused(f"the column events.{clash[0]} stands for a value, and events.{clash[1]} for a part of it", "map or ignore one of them")
        self.rejects.append(
            f"select seq, 'BATCH_INVALID' as code, detail from (select {self.seq} as seq, {made.fault()} as detail from {self.source}) where detail is not null"
        )
        self._skip("EVENT_OVER_LIMIT", f"{made.filled()} and {made.over()}")
        self.events.append(made.select(self.seq, self.source))

    def _reject(self, code: str, condition: str, detail: str) -> None:
        self.rejects.append(
            f"select {self.seq} as seq, '{code}' as code, {detail} as detail from {self.source} where {condition}"
        )

    def _skip(self, code: str, condition: str) -> None:
        self.skips.append(f"select {self.seq} as seq, '{code}' as code, null as attribute from {self.source} where {condition}")

    def _plain(self, cell: Cell) -> None:
        text = cell.text
        if cell.field.name in ("mpid", "timestamp_unixtime_ms"):
            code = "MPID_INVALID" if cell.field.name == "mpid" else "TIMESTAMP_INVALID"
            number = whole_number(trimmed(text))
            zero = f" or {number} = 0" if cell.field.name == "mpid" else ""
            self._reject(code, f"{text} <> '' and ({number} is null{zero})", f"{text}[:40]")
            self.plain["mpid" if cell.field.name == "mpid" else "at_ms"] = number
        elif cell.field.name == "environment":
            self._reject("ENVIRONMENT_INVALID", f"{text} not in ('', 'production', 'development')", f"{text}[:40]")
            self.plain["environment"] = f"nullif({text}, '')"
        elif cell.field.name == "source_request_id":
            self.plain["request"] = f"nullif({text}, '')"
        else:
            self._deleted(text)

    def _deleted(self, text: str) -> None:
        """A cell names one attribute, or holds a JSON list of names; each distinct cell is read once."""
        found = self.scratch.rows(f"select distinct {text} from {self.source} where {text} is not null")
        read: list[tuple[str, list[str] | None, str]] = []
        for (cell,) in found:
            try:
                read.append((cell, list(deleted_keys(cell)), ""))
            except Unusable as error:
                read.append((cell, None, error.detail))
        name = f"{self.source}_deleted"
        self.scratch.load(name, [("cell", "VARCHAR"), ("keys", "VARCHAR[]"), ("detail", "VARCHAR")], read)
        self.rejects.append(
            f"select {self.source}.{self.seq} as seq, 'DELETED_INVALID' as code, {name}.detail from {self.source} "
            f"join {name} on {name}.cell = {text} where {name}.keys is null"
        )
        self.plain["deleted"] = f"(select keys from {name} where {name}.cell = {text})"

    def _attributes(self, cells: list[Cell]) -> None:
        if len(cells) > self.reading.limits["attributes"]:
            self._many(cells)
            return
        harmless = self._within([cell for cell in cells if cell.over == string_over(cell.text, self.reading.limits["value"])])
        for cell in cells:
            key, held = cell.field.name, cell.held
            over = None if cell.text in harmless else cell.over
            if len(key) > self.reading.limits["key"]:
                over = "'UA_KEY_TOO_LONG'"
            if over:
                self.skips.append(
                    f"select seq, code, {quote_text(key)} as attribute from (select {self.seq} as seq, {over} as code from {self.source} "
                    f"where {cell.text} is not null) where code is not null"
                )
                held = f"case when {over} is null then {held} end"
            if self.empty == "delete":
                held = f"case when {cell.text} is null then chr(31) else {held} end"
            elif self.empty == "set":
                held = f"case when {cell.text} is null then '' else {held} end"
            column = self.keys.column(key) if len(key) <= self.reading.limits["key"] else None
            if column:
                self.attributes[column] = held
            elif len(key) <= self.reading.limits["key"]:
                self.loose.append((key, held))

    def _within(self, cells: list[Cell]) -> set[str]:
        """Return the columns of strings in which no value is over the limit: one look at all of them."""
        if not cells:
            return set()
        longest = ", ".join(f"max(strlen({cell.text}))" for cell in cells)
        found = self.scratch.row(f"select {longest} from {self.source}")
        return {cell.text for cell, most in zip(cells, found, strict=True) if (most or 0) <= self.reading.limits["value"]}

    def _many(self, cells: list[Cell]) -> None:
        """Lay the attributes of a file with more columns than a batch may have end to end, and keep
        the first of each row that are within the limit."""
        most, longest = self.reading.limits["attributes"], self.reading.limits["key"]
        other = {"ignore": "null", "delete": "chr(31)", "set": "''"}[self.empty]
        held = ", ".join(f"case when {cell.text} is null then {other} else {cell.held} end" for cell in cells)
        over = ", ".join(
            f"case when {cell.text} is not null then {self._over(cell, longest)} end" if self._over(cell, longest) else "null"
            for cell in cells
        )
        name = f"{self.source}_long"
        self.scratch.load(f"{name}_key", [("place", "BIGINT"), ("key", "VARCHAR")],
                          [(place, cell.field.name) for place, cell in enumerate(cells)])
        self.scratch.make(
            name,
            "select seq, place, held, case when nth > "
            f"{most} and held is distinct from chr(31) then 'UA_TOO_MANY' else over end as code from"
            " (select *, count(*) filter (held is distinct from chr(31)) over (partition by seq order by place) as nth from"
            f" (select {self.seq} as seq, unnest(range({len(cells)})) as place, unnest([{held}]::varchar[]) as held,"
            f" unnest([{over}]::varchar[]) as over from {self.source}) where held is not null or over is not null)",
        )
        self.skips.append(f"select seq, code, key as attribute from {name} join {name}_key using (place) where code is not null")
        self.long = f"select seq, key, held as value from {name} join {name}_key using (place) where code is null"

    @staticmethod
    def _over(cell: Cell, longest: int) -> str | None:
        return "'UA_KEY_TOO_LONG'" if len(cell.field.name) > longest else cell.over

    def staged(self, like: StagedFile) -> StagedFile:
        """Complete what is known of a file with the SELECT of its rows."""
        columns = [f"{self.seq} as seq"]
        if self.kept:
            self.plain["rest"] = self._rest()
        columns += [f"{expression} as {name}" for name, expression in self.plain.items()]
        for name, texts in self.identities.items():
            stated = texts[0] if len(texts) == 1 else f"coalesce({', '.join(self._usable(name, text) for text in texts)})"
            columns.append(f"{stated} as i_{name}")
        columns += [f"{expression} as {name}" for name, expression in self.attributes.items()]
        like.select = f"select {', '.join(columns)} from {self.source}"
        like.plain, like.identities, like.columns = list(self.plain), list(self.identities), list(self.attributes)
        like.rejects, like.skips = self.rejects, self.skips
        like.loose, like.events = self._loose(), self.events
        return like

    def _usable(self, name: str, text: str) -> str:
        """Return the SQL of an identity where it may be used, else null."""
        return f"case when {usable_key(BY_NAME[name], text, self.reading.judging)} is not null then {text} end"

    def _rest(self) -> str:
        """Return the SQL of the JSON object of the fields kept for later work."""
        columns = {
            tuple(name.split(".")): text if name in self.json else value_sql(text, typed=name.endswith(TYPED_FIELDS))
            for name, text in self.kept
        }
        found = clash(list(columns))
        if found:
            raise InputRefused(f"the column {'.'.join(found[0])} stands for a value, and {'.'.join(found[1])} for a part of it", "map or ignore one of them")
        said = [f"{text} is not null" for name, text in self.kept if name.startswith("device_info.")]
        for name, texts in self.identities.items() if said else ():
            if BY_NAME[name].device:  # what is said of a device stays with what names it
                path = (name,) if name == "mp_deviceid" else ("device_info", name)
                columns[path] = f"case when {' or '.join(said)} then to_json(coalesce({', '.join(texts)}))::varchar end"
        return object_sql(members_sql(tree_of(columns)))

    def _loose(self) -> str | None:
        name = f"{self.source}_loose"
        if self.long:
            self.scratch.make(name, self.long, keep=False)
            return name
        if not self.loose:
            return None
        self.scratch.load(name, LOOSE, [])
        for key, held in self.loose:
            self.scratch.run(
                f"insert into {name} select seq, $key, value from "
                f"(select {self.seq} as seq, {held} as value from {self.source}) where value is not null",
                {"key": key},
            )
        return name
