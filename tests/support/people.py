"""A store that is the same on every machine: fixed secret, fixed times, a few people worth looking
at.
"""

from __future__ import annotations

import contextlib
import functools
import json
import tempfile
from pathlib import Path
from typing import Any

from profilectl.importing.request import ImportRequest
from profilectl.importing.run import import_files
from profilectl.store.opening import open_store
from profilectl.store.scratch import Scratch

NOW_MS = 1_790_000_000_000
DAY_MS = 86_400_000
NOW = {"SOURCE_DATE_EPOCH": str(NOW_MS // 1000)}

CRM = [
    {
        "user_identities": {"customer_id": "C1", "email": "amelie@example.org"},
        "user_attributes": {
            "$FirstName": "Amélie",
            "$LastName": "Lefèvre",
            "$City": "Liège",
            "tier": "gold",
            "visits": 12,
            "newsletter": True,
            "sizes": ["40", "41"],
            "beta": None,
            "zip": "01234",
        },
    },
    {
        "user_identities": {"customer_id": "C2", "email": "shared@example.org"},
        "user_attributes": {
            "$FirstName": "שָׂרָה",
            "$LastName": "לוי",
            "שפה": "עברית",
            "tier": "iron",
        },
    },
    {
        "user_identities": {"customer_id": "C3", "email": "shared@example.org"},
        "user_attributes": {
            "$FirstName": "山田",
            "$LastName": "太郎",
            "都市": "東京都千代田区",
            "tier": "tin",
        },
    },
    {
        "user_identities": {"customer_id": "C4", "email": "many@example.org"},
        "user_attributes": {
            "$Age": 41,
            "long": "x" * 4000,
            "lines": "one\ntwo\tthree",
            **{f"key{n:03}": f"value {n}" for n in range(90)},
        },
    },
]
WAREHOUSE = (
    "customer_id,email,tier,color,points\nC1,amelie@example.org,silver,red,0100\nC2,,iron,blue,5\n"
)
APP = [
    {
        "timestamp_unixtime_ms": NOW_MS - 3 * DAY_MS,
        "user_identities": {"customer_id": "C1", "mobile_number": "+32470000000"},
        "device_info": {
            "platform": "iOS",
            "ios_idfv": "0a0a0a0a-1111-2222-3333-444444444444",
            "limit_ad_tracking": False,
        },
        "user_attributes": {"color": "green", "tier": "lead", "last_page": "/shoes"},
        "deleted_user_attributes": ["points"],
        "attribution_info": {
            "service_provider": "Ads",
            "publisher": "Weekly",
            "campaign": "Spring",
        },
        "consent_state": {
            "gdpr": {"marketing": {"consented": True, "timestamp_unixtime_ms": NOW_MS - 9 * DAY_MS}}
        },
    },
    {
        "timestamp_unixtime_ms": NOW_MS - 2 * DAY_MS,
        "user_identities": {"customer_id": "C4"},
        "user_attributes": {f"more{n:03}": n for n in range(100)},
    },
    {
        "timestamp_unixtime_ms": NOW_MS - DAY_MS,
        "user_identities": {"customer_id": "C1"},
        "user_attributes": {"color": "black", "visits": 13},
        "consent_state": {
            "gdpr": {"marketing": {"consented": False, "timestamp_unixtime_ms": NOW_MS - DAY_MS}}
        },
    },
]


def make(folder: Path) -> Path:
    """Put the store and its files in a folder and return its path.

    It is made once a process, and copied.
    """
    for name, content in _made().items():
        (folder / name).write_bytes(content)
    (folder / "profiles.duckdb").chmod(0o600)
    return folder / "profiles.duckdb"


@functools.cache
def _made() -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        _make(Path(folder))
        return {one.name: one.read_bytes() for one in Path(folder).iterdir()}


def _make(folder: Path) -> None:
    empty(folder)
    bring(folder, "crm.jsonl", lines(CRM), 30, "crm", source="custom-feed")
    bring(folder, "wh.csv", WAREHOUSE, 20, "wh", source="warehouse")
    bring(folder, "app.jsonl", lines(APP), 1, "app", source="sdk")


def empty(folder: Path) -> None:
    """Make a store without people, which gives them the same MPIDs on every machine."""
    path = folder / "profiles.duckdb"
    with (
        contextlib.closing(Scratch(folder)) as scratch,
        open_store(scratch, path, create=True, write=True) as store,
        store.transaction(),
    ):
        store.scratch.run(
            "update store.meta set value = 'the same everywhere' where name = 'secret'"
        )


def lines(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def bring(folder: Path, name: str, text: str, days_ago: int, feed: str, **options: Any) -> None:
    (folder / name).write_text(text, encoding="utf-8")
    with contextlib.chdir(folder):
        import_files(
            folder / "profiles.duckdb",
            ImportRequest([name], feed, now_ms=NOW_MS - days_ago * DAY_MS, **options),
        )
