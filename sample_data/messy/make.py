"""Make three messy files of one shop's customers, as a stranger's systems write them.

`python sample_data/messy/make.py` makes them again, byte for byte (the Parquet file for the same
version of pyarrow). Nobody in them exists. The walk in docs/messy-files.md imports them.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

SEED = 1918
PEOPLE = 300
FIRST = (
    "Jürgen", "Anaïs", "Søren", "Zoë", "Björn", "François", "Mia", "Noah", "Élodie", "Ömer",
    "Paula", "Håkon", "Ines", "Tomás", "Greta", "Ruud",
)  # fmt: skip
LAST = (
    "Müller", "Lefèvre", "Ødegård", "Núñez", "Groß", "Peñalver", "Smit", "Dubois", "Å", "Öztürk",
    "Keller", "Van den Berg", "Silva", "O'Neill", "Weiß", "Jensen",
)  # fmt: skip
CITIES = (("20095", "Hamburg"), ("01067", "Dresden"), ("75001", "Paris"), ("0150", "Oslo"))
GROUPS = ("A", "B", "Großhandel", "")
PLANS = ("free", "plus", "family")
ASCII = str.maketrans(
    {"ü": "ue", "ï": "i", "ø": "o", "ë": "e", "ö": "oe", "ç": "c", "É": "e", "Ö": "oe", "å": "a",
     "á": "a", "è": "e", "Ø": "o", "ú": "u", "ñ": "n", "ß": "ss", "Å": "a", " ": "", "'": ""}
)  # fmt: skip


@dataclass(frozen=True)
class Person:
    """A customer of the shop."""

    number: int
    """The number that the CRM gives."""
    first: str
    """The first name."""
    last: str
    """The last name."""
    email: str
    """The address that all three systems know, each in its own spelling."""
    place: tuple[str, str]
    """The postcode, which may begin with 0, and the city."""


def main(folder: Path) -> None:
    """Write the three files into a folder."""
    chance = random.Random(SEED)
    people = [some_person(chance, number) for number in range(1, PEOPLE + 1)]
    write_contacts(folder / "contacts.csv", chance, people[:240])
    write_warehouse(folder / "warehouse.parquet", chance, people[60:])
    write_app(folder / "app.jsonl", chance, people[100:])


def some_person(chance: random.Random, number: int) -> Person:
    """Return a customer. The number is in the address, so that no two people share one."""
    first, last = chance.choice(FIRST), chance.choice(LAST)
    name = f"{first}.{last}".translate(ASCII).lower()
    return Person(number, first, last, f"{name}{number}@example.com", chance.choice(CITIES))


def write_contacts(path: Path, chance: random.Random, people: Sequence[Person]) -> None:
    """Write what a CRM exports: windows-1252, semicolons, its own names, a title, a footer."""
    lines = ["Kontakte - Export vom 27.11.2026", ""]
    lines.append("Contact ID;First Name;Last Name;E-Mail Address;Mobile Phone;Zip;Customer Group")
    for person in people:
        phone = f"+49 170 {chance.randint(1000000, 9999999)}" if chance.random() < 0.6 else ""
        email = person.email.upper() if chance.random() < 0.1 else person.email
        cells = (
            f"C-{person.number:05}", person.first, person.last, email, phone, person.place[0],
            chance.choice(GROUPS),
        )  # fmt: skip
        lines.append(";".join(f'"{cell}"' if " " in cell else cell for cell in cells))
    lines.append(f"Summe: {len(people)} Kontakte")
    path.write_bytes("".join(f"{line}\r\n" for line in lines).encode("windows-1252"))


def write_warehouse(path: Path, chance: random.Random, people: Sequence[Person]) -> None:
    """Write a table of a warehouse: typed columns, structs, keys of its own."""
    rows = [
        {
            "customer_key": 900_000 + person.number,
            "email_address": person.email,
            "name": {"first": person.first, "last": person.last},
            "address": {"postcode": person.place[0], "city": person.place[1]},
            "loyalty": {
                "points": Decimal(chance.randint(0, 99_999)).scaleb(-2),
                "tier": chance.choice(("bronze", "silver", "gold", None)),
            },
            "newsletter": chance.choice((True, False, None)),
        }
        for person in people
    ]
    schema = pa.schema(
        [
            ("customer_key", pa.int64()),
            ("email_address", pa.string()),
            ("name", pa.struct([("first", pa.string()), ("last", pa.string())])),
            ("address", pa.struct([("postcode", pa.string()), ("city", pa.string())])),
            ("loyalty", pa.struct([("points", pa.decimal128(9, 2)), ("tier", pa.string())])),
            ("newsletter", pa.bool_()),
        ]
    )
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path)


def write_app(path: Path, chance: random.Random, people: Sequence[Person]) -> None:
    """Write what an app logs: one object a line, its properties within one another."""
    lines = []
    for person in people:
        anonymous = chance.random() < 0.1
        row: dict[str, object] = {
            "userId": None if anonymous else person.email,
            "properties": {
                "plan": {"name": chance.choice(PLANS), "since": f"20{chance.randint(19, 26)}"},
                "app": {"version": f"{chance.randint(1, 4)}.{chance.randint(0, 20)}"},
                "push": chance.random() < 0.5,
            },
        }
        lines.append(json.dumps(row, ensure_ascii=False) + "\n")
    path.write_text("".join(lines), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
