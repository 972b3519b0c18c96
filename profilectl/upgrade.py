"""A store made by an older version -> this version: a backup, then one transaction.

Each step takes a store from one schema version to the next; a store several versions old takes them
all in the same transaction. What an older version did not write down stays unknown (null), and what
rests on it is refused in words rather than guessed.
"""

from __future__ import annotations

import warnings
from pathlib import Path

from profilectl.copies import copy_store
from profilectl.scratch import Scratch
from profilectl.segments import hash_fingerprint
from profilectl.store import SCHEMA_VERSION, Store, attach, version_of

STEPS: dict[int, tuple[str, ...]] = {
    # Schema 2: who imported, with what, resting on which earlier imports, and what was taken back.
    1: (
        "alter table store.import add column made_by varchar",
        "alter table store.import add column request varchar",
        "alter table store.import add column needs integer[]",
        "alter table store.import add column undone_ms bigint",
        "alter table store.import add column undone_by varchar",
        "alter table store.feed add column import integer",
        "insert into store.meta values ('hash_fingerprint', $fingerprint)",
    ),
    # Schema 3: aliases.
    2: (
        """create table store.alias (
            import integer not null, arrival bigint not null, source bigint not null, destination bigint not null,
            start_ms bigint not null, end_ms bigint not null, due_ms bigint not null, first_seen_ms bigint not null,
            attribution varchar
        )""",
    ),
}

class StoreUpgraded(UserWarning):
    """A store was brought up to this version; says where the backup is."""


def upgrade_store(scratch: Scratch, path: Path, until: float) -> None:
    """Bring a store up to this version. until: how long to wait for other processes, as time.monotonic.

    Warns with StoreUpgraded. Raises StoreBusy, StoreUnusable; then the store is as before.
    """
    attach(scratch, path, write=False, until=until)
    try:
        version = version_of(scratch, path)
    finally:
        scratch.run("detach store")
    if version == SCHEMA_VERSION:
        return  # another process was faster
    backup = _free_name(path, version)
    copy_store(path, backup, until=until)
    attach(scratch, path, write=True, until=until)
    try:
        found = version_of(scratch, path)
        with Store(scratch, path).transaction():
            for number in range(found, SCHEMA_VERSION):
                for statement in STEPS[number]:
                    bound = {"fingerprint": hash_fingerprint(scratch)} if "$fingerprint" in statement else {}
                    scratch.run(statement, bound)
            scratch.run(
                "update store.meta set value = $version where name = 'schema_version'", {"version": str(SCHEMA_VERSION)}
            )
    finally:
        scratch.run("detach store")
    warnings.warn(
        f"{path}: upgraded from schema {version} to {SCHEMA_VERSION}; the store as it was is in {backup}", StoreUpgraded, stacklevel=2
    )


def _free_name(path: Path, version: int) -> Path:
    name, place = f"{path.name}.schema-{version}.backup", 1
    while (found := path.with_name(name)).exists():
        place += 1
        name = f"{path.name}.schema-{version}.{place}.backup"
    return found
