"""Bytes that were never meant to be: every input is imported, or refused in words, and soon."""

from __future__ import annotations

import faulthandler
import hashlib
import io
import json
import random
import shutil
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.effort import at_length
from support.places import SAMPLES

from profilectl.codes import ProfilectlError
from profilectl.importing.request import ImportRequest
from profilectl.importing.run import import_files
from profilectl.reading.check import check
from profilectl.store.opening import open_store
from profilectl.store.scratch import Scratch

LONGEST_S = 10
TOKENS = [
    b"\0",
    b"\xff",
    b"\xef\xbb\xbf",
    b"\xff\xfe",
    b'"',
    b'""',
    b"\n",
    b"\r",
    b"\r\n",
    b",",
    b";",
    b"\t",
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b"\\",
    b"\\u0000",
    b"\\ud800",
    b"null",
    b"NaN",
    b"1e999",
    b"-0",
    b"9" * 400,
    b"[" * 300,
    b'{"a":' * 300,
    b"user_identities",
    b"user_attributes",
    b"customer_id",
    b"deleted_user_attributes",
    b'"mpid":1',
    b'"environment":"x"',
    b"\xc3",
    b"\xed\xa0\x80",
    "\u2028".encode(),
    "😀".encode(),
    b"\x1f",
    b"\x1fSET",
    b"PAR1",
    b"\x1f\x8b",
    b"PK\x03\x04",
    b"(\xb5/\xfd",
]


def sources() -> dict[str, bytes]:
    """Return small pieces of the sample files, by how their name ends."""

    def lines(name: str, count: int) -> bytes:
        return b"".join((SAMPLES / name).read_bytes().splitlines(keepends=True)[:count])

    table = pq.read_table(SAMPLES / "crm.parquet").slice(0, 12)
    plain, packed = io.BytesIO(), io.BytesIO()
    pq.write_table(table, plain, compression="none", use_dictionary=False)
    pq.write_table(table, packed, compression="zstd")
    nested = io.BytesIO()
    pq.write_table(
        pa.table(
            {"customer_id": ["A", "B"], "n": [1, None], "l": [["x"], []], "s": [{"a": 1}, None]}
        ),
        nested,
        compression="none",
    )
    return {
        "legacy.csv": lines("legacy.csv", 14),
        "loyalty.csv": lines("loyalty.csv", 10),
        "batches.jsonl": lines("batches.jsonl", 8),
        "john.json": (SAMPLES / "john-smith.json").read_bytes(),
        "plain.parquet": plain.getvalue(),
        "packed.parquet": packed.getvalue(),
        "nested.parquet": nested.getvalue(),
    }


def mutated(content: bytes, others: list[bytes], chance: random.Random) -> bytes:
    """Change bytes in one to six places."""
    found = bytearray(content)
    for _ in range(chance.choice([1, 1, 2, 3, 6])):
        at = chance.randrange(len(found) + 1)
        until = min(len(found), at + chance.choice([1, 1, 2, 8, 64, len(found)]))
        match chance.randrange(8):
            case 0 if at < len(found):
                found[at] ^= 1 << chance.randrange(8)
            case 1 if at < len(found):
                found[at] = chance.randrange(256)
            case 2:
                del found[at:until]
            case 3:
                found[at:at] = found[at:until]
            case 4:
                found[at:at] = chance.choice(TOKENS)
            case 5:
                found[at:until] = chance.choice(TOKENS)
            case 6:
                del found[at:]
            case _:
                other = chance.choice(others)
                start = chance.randrange(len(other))
                found[at:at] = other[start : start + chance.choice([1, 16, 200])]
    return bytes(found)


def fuzz(part: int, count: int, folder: Path) -> dict[str, int]:
    """Import so many mutated files, each into a copy of one store; return how they ended."""
    base = folder / "base.duckdb"
    (folder / "base.csv").write_text(
        "customer_id,email,tier\nK-101630,oyvind.moen@example.org,old\n"
        "0004711,elke.vogt@example.org,old\n"
    )
    import_files(base, ImportRequest([str(folder / "base.csv")], "f"))
    before = hashlib.sha256(base.read_bytes()).hexdigest()
    store = folder / "store.duckdb"
    shutil.copy(base, store)
    chance = random.Random(part)
    samples = sources()
    ends = {"imported": 0, "refused": 0, "nothing new": 0}
    for number in range(count):
        name = chance.choice(list(samples))
        content = mutated(samples[name], list(samples.values()), chance)
        file = folder / f"input{Path(name).suffix}"
        file.write_bytes(content)
        kept = folder / f"failed-{part}-{number}{file.suffix}"
        faulthandler.dump_traceback_later(6 * LONGEST_S, exit=True, file=sys.__stderr__)
        began = time.monotonic()
        try:
            report = import_files(
                store,
                ImportRequest(
                    [str(file)],
                    "f",
                    rejects=str(folder / "rejects.jsonl"),
                    encoding_errors=("refuse", "reject")[number % 2],
                ),
            )
        except ProfilectlError as refused:
            ends["refused"] += 1
            assert refused.message  # noqa: PT017
            assert hashlib.sha256(store.read_bytes()).hexdigest() == before, (
                f"refused, but changed: {kept}"
            )
        except Exception:
            kept.write_bytes(content)
            raise
        else:
            rows = report.counts.rows
            if report.number is None:
                ends["nothing new"] += 1
            else:
                ends["imported"] += 1
                assert rows["read"] == rows["applied"] + rows["dropped"] + rows["rejected"], (
                    rows,
                    kept,
                )
                if rows["rejected"]:
                    listed = (folder / "rejects.jsonl").read_bytes().splitlines()
                    assert len(listed) == rows["rejected"]
                    assert all(json.loads(line)["code"] for line in listed)
                if number % 20 == 0:
                    scratch = Scratch(folder)
                    with open_store(scratch, store) as opened:
                        assert check(opened) == [], kept
                    scratch.close()
                shutil.copy(base, store)
        finally:
            faulthandler.cancel_dump_traceback_later()
        took_s = time.monotonic() - began
        assert took_s < LONGEST_S, (took_s, kept)
    return ends


def test_mutated_files_are_imported_or_refused(tmp_path: Path) -> None:
    ends = fuzz(0, 50, tmp_path)
    assert ends["imported"] > 5
    assert ends["refused"] > 5


@pytest.mark.slow
@pytest.mark.parametrize("part", range(1, 21))
def test_mutated_files_at_length_are_imported_or_refused(part: int, tmp_path: Path) -> None:
    count = at_length(100, by_night=1000)  # 2,000 and 20,000 in all
    ends = fuzz(part, count, tmp_path)
    assert sum(ends.values()) == count
    assert ends["imported"] > count // 10
    assert ends["refused"] > count // 10
