"""Requests of people: access, answered at once, and requests that are carried out later.

Each public function opens the store, does one thing and closes it.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from profilectl.codes import InputRefused, NobodyFound, StoreUnusable
from profilectl.files import progress
from profilectl.files.leftovers import sync_folder
from profilectl.files.whole_file import check_named
from profilectl.importing.suppression import guard_of
from profilectl.privacy.access import access_document
from profilectl.privacy.carried_opt_outs import keep_opt_outs
from profilectl.privacy.erasure import prepare_erasure
from profilectl.privacy.meant import Meant, meant_by, named
from profilectl.privacy.rewriting import forget_requests
from profilectl.privacy.staying_out import suppressed_among
from profilectl.profiles.read_model import Profiles, profiles_of
from profilectl.reading.identity_chain import identify
from profilectl.rules.feed import ENVIRONMENTS
from profilectl.rules.identity import BY_NAME, display, key_of
from profilectl.rules.sql.identities import digest_of
from profilectl.rules.subject_request import KEPT_MS, VERSION, SubjectRequest, read_request
from profilectl.rules.text.moments import latest_ms, may_be
from profilectl.rules.text.naming import no_such
from profilectl.rules.text.values import NotJson, Value, parse_json
from profilectl.store.history import time_ms
from profilectl.store.opening import open_beside, shown_after
from profilectl.store.store import OpenStore
from profilectl.store.tellers import WAIT_S, Teller, still_told_by

CONTROLLER = "default"
"""The workspace, which OpenDSR names as the controller."""
Writer = Callable[[Path, str, dict[str, Any]], list[Path]]
"""Writes the answer to a request (folder, id, document) and returns the files."""

RECORDS = """
select id, type, regulation, status, submitted_ms, received_ms, due_ms, finished_ms, group_id,
       callbacks, identities, request, sealed, profiles, results
from store.subject_request
order by received_ms, id
"""
ADD = """
insert into store.subject_request (
    id, type, regulation, status, submitted_ms, received_ms, due_ms, finished_ms, group_id,
    callbacks, identities, request, sealed, profiles, results
)
values (
    $id, $type, $regulation, $status, $submitted_ms, $received_ms, $due_ms, $finished_ms, $group_id,
    $callbacks, $identities, $request, $sealed, $profiles, $results
)
"""
SET_STATUS = """
update store.subject_request
set status = $status, finished_ms = $finished_ms
where id in (select unnest($ids::varchar[]))
"""
COMPLETE = """
update store.subject_request
set status = 'completed', finished_ms = $now_ms, profiles = $profiles, results = $results
where id = $id
"""


@dataclass(frozen=True, slots=True)
class Record:
    """The record of a request, as the store has it (schema.sql)."""

    id: str
    """The id that the request came with."""
    type: str
    """What is asked for: access, portability or erasure."""
    regulation: str
    """The law that it names."""
    status: str
    """pending, in_progress, completed or cancelled."""
    submitted_ms: int
    """When the person asked, by the request."""
    received_ms: int
    """When it came into the store."""
    due_ms: int
    """When it is carried out."""
    finished_ms: int | None
    """When it was completed or cancelled."""
    group_id: str | None
    """The group that it belongs to."""
    callbacks: list[str]
    """The addresses that want to hear of its status."""
    identities: str | None
    """The identities by which it names the person, as JSON; None once they were erased."""
    request: str | None
    """The request as it came, in base64."""
    sealed: str
    """A hash of the identities, by which the same request is known again."""
    profiles: int | None
    """How many profiles it reached."""
    results: str | None
    """The file with the answer."""
    told_by: tuple[Teller, ...] | None = None
    """Servers that may still answer with the people whom the request erased."""

    def as_json(self) -> dict[str, object]:
        """Return the status as OpenDSR states it."""
        told_by = {}
        if self.told_by is not None:
            told_by = {"still_told_by": [teller.as_json() for teller in self.told_by]}
        finished_ms = self.finished_ms
        return {
            "controller_id": CONTROLLER,
            "subject_request_id": self.id,
            "subject_request_type": self.type,
            "regulation": self.regulation,
            "request_status": self.status,
            "submitted_time": _utc(self.submitted_ms),
            "received_time": _utc(self.received_ms),
            "expected_completion_time": _utc(self.due_ms),
            "completed_time": _utc(finished_ms) if finished_ms is not None else None,
            "group_id": self.group_id,
            "status_callback_urls": self.callbacks,
            "api_version": VERSION,
            "results_url": self.results,
            "profiles": self.profiles,
            "encoded_request": self.request,
            **told_by,
        }

    def is_due(self, now_ms: int) -> bool:
        """Return whether it is to be carried out."""
        return self.status in ("pending", "in_progress") and self.due_ms <= now_ms


def _utc(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def access(
    store_path: Path,
    who: tuple[str, str],
    *,
    pick: int | None = None,
    every: bool = False,
    wait_s: float = 0,
    now_ms: int | None = None,
) -> dict[str, Value]:
    """Return everything held about one person (access.access_document).

    who: an identity type (or mpid, any) and value. Raises NobodyFound, UsageError where several are
    meant, InputRefused where a device alone means somebody known.
    """
    with open_beside(store_path, wait_s=wait_s) as store:
        profiles = profiles_of(store, every=True)
        name = meant_by(profiles, *who, pick=pick, every=every)
        if name.profiles:
            query = (name.kind, name.value)
            return access_document(profiles, name.profiles, query, now_ms=_now(now_ms))
        if name.protected:
            raise InputRefused(
                f"the {name.kind} {name.value} is a device of somebody known:"
                " alone it reaches nobody",
                "name the person by a login identity, or by --mpid",
            )
        raise NobodyFound(
            f"nobody has the {named(name.kind)} {name.value}",
            "they were erased" if _were_erased(store, name) else "",
        )


def _were_erased(store: OpenStore, name: Meant) -> bool:
    """Return whether somebody was erased; False without the key of those who stay out."""
    with contextlib.suppress(StoreUnusable):
        return bool(suppressed_among(store, [name]))
    return False


def _now(now: int | str | None) -> int:
    """Return a time in milliseconds: one that is given so or as a text, else that of now."""
    if isinstance(now, str):
        return time_ms("--now", now)
    return now if now is not None else time.time_ns() // 1_000_000


# Requests


def submit(store_path: Path, file: Path, *, wait_s: float = 0, now_ms: int | None = None) -> Record:
    """Take in the request of a file.

    Raises InputRefused for a file without a request, and for a request that is there already.
    """
    try:
        text = file.read_text(encoding="utf-8")
        document = parse_json(text)
    except OSError as error:
        raise InputRefused(f"{file}: {error.strerror}", "name a file with one request") from None
    except (UnicodeDecodeError, NotJson):
        raise InputRefused(f"{file} is not JSON", "a request is one JSON document") from None
    request, received_ms = read_request(document, str(file)), _now(now_ms)
    if not may_be(request.submitted_ms, latest_ms(received_ms)):
        raise InputRefused(
            f"{file}: submitted_time must lie from 1970 to a year ahead",
            "for example 2026-11-23T18:30:00Z",
        )
    with open_beside(store_path, wait_s=wait_s, write=True) as store:
        record = _record(request, text, received_ms, secret=store.meta("secret"))
        for earlier in _records(store):
            _check_new(record, earlier, file)
        columns = [field.name for field in fields(Record) if field.name != "told_by"]
        with store.transaction():
            store.scratch.run(ADD, {name: getattr(record, name) for name in columns})
        return record


def _record(request: SubjectRequest, text: str, received_ms: int, *, secret: str) -> Record:
    """Return the record of a new request. text: the document that it was read from."""
    # An MPID is of no identity type, so it is hashed apart.
    hashes = sorted(
        f"{digest_of(secret, '', kind, key=key_of(BY_NAME[kind], value)):032x}"
        if kind in BY_NAME
        else hashlib.md5(f"{secret}:{value}".encode(), usedforsecurity=False).hexdigest()
        for kind, value in request.identities
    )
    return Record(
        id=request.id,
        type=request.type,
        regulation=request.regulation,
        status="pending",
        submitted_ms=request.submitted_ms,
        received_ms=received_ms,
        due_ms=request.due_ms(received_ms),
        finished_ms=None,
        group_id=request.group_id,
        callbacks=list(request.callbacks),
        identities=json.dumps(request.identities, ensure_ascii=False),
        request=base64.b64encode(text.encode()).decode(),
        sealed=hashlib.sha256(" ".join(hashes).encode()).hexdigest(),
        profiles=None,
        results=None,
    )


def _check_new(record: Record, earlier: Record, file: Path) -> None:
    """Check that a request does not repeat an earlier one. Raises InputRefused."""
    if earlier.id == record.id:
        raise InputRefused(f"{file}: the request {record.id} is there already: {earlier.status}")
    is_open = earlier.status in ("pending", "in_progress")
    if is_open and earlier.sealed == record.sealed and earlier.type == record.type:
        raise InputRefused(
            f"{file}: the same {earlier.type} is {earlier.status} already, as {earlier.id}",
            f"profilectl privacy show {earlier.id}",
        )


def _records(store: OpenStore) -> list[Record]:
    """Return the requests, oldest first."""
    return [Record(*row) for row in store.scratch.rows(RECORDS)]


def records(store_path: Path, *, group: str | None = None, wait_s: float = 0) -> list[Record]:
    """Return the requests, oldest first.

    group: only those of a group_id. Raises UsageError where there is none of it.
    """
    with open_beside(store_path, wait_s=wait_s) as store:
        every = _records(store)
        if not group:
            return every
        of_group = [record for record in every if record.group_id == group]
        if not of_group:
            groups = sorted({record.group_id for record in every if record.group_id})
            raise no_such("group of requests", group, groups, option="--group")
        return of_group


def record_of(store_path: Path, name: str, *, wait_s: float = 0) -> Record:
    """Return one request. Raises UsageError where there is none of that id."""
    with open_beside(store_path, wait_s=wait_s) as store:
        return _record_of(store, name)


def _record_of(store: OpenStore, name: str) -> Record:
    every = {record.id: record for record in _records(store)}
    record = every.get(name.lower())
    if record is None:
        raise no_such("request", name, list(every), lists="profilectl privacy requests")
    return record


def cancel(store_path: Path, name: str, *, wait_s: float = 0, now_ms: int | None = None) -> Record:
    """Cancel a request. Raises InputRefused for one that is not pending any more."""
    with open_beside(store_path, wait_s=wait_s, write=True) as store:
        record = _record_of(store, name)
        if record.status != "pending":
            raise InputRefused(
                f"the request {record.id} is {record.status}: only a pending one can be cancelled"
            )
        with store.transaction():
            _set_status(store, [record.id], "cancelled", finished_ms=_now(now_ms))
        return _record_of(store, name)


def _set_status(
    store: OpenStore, ids: Sequence[str], status: str, *, finished_ms: int | None = None
) -> None:
    bound = {"status": status, "finished_ms": finished_ms, "ids": list(ids)}
    store.scratch.run(SET_STATUS, bound)


def erasures_due(
    store_path: Path, *, now: int | str | None = None, wait_s: float = 0
) -> list[Record]:
    """Return the requests by which carry_out would erase somebody now, oldest first."""
    now_ms = _now(now)
    with open_beside(store_path, wait_s=wait_s) as store:
        return [
            record
            for record in _records(store)
            if record.type == "erasure" and record.is_due(now_ms)
        ]


def carry_out(
    store_path: Path,
    folder: Path,
    write: Writer,
    *,
    wait_s: float = 0,
    servers_s: float = WAIT_S,
    now: int | str | None = None,
) -> list[Record]:
    """Carry out every request that is due, and forget records of more than a year ago.

    folder: where answers are written; write: writes the files of one; servers_s: how long to wait
    until no server answers with the erased any more; now: the time, in milliseconds or as a text.
    All erasures are one, so the store is written anew once. A run that is stopped goes on where it
    was when it is called again. Return the requests that were finished.
    """
    check_named(folder)
    now_ms = _now(now)
    # The opt-outs come first: they are an import, and the aliases that carried them go below.
    keep_opt_outs(
        store_path, lambda profiles: _erased(profiles, now_ms), wait_s=wait_s, now_ms=now_ms
    )
    with open_beside(store_path, wait_s=wait_s, write=True) as store:
        store_id = store.meta("store_id")
        due = [record for record in _records(store) if record.is_due(now_ms)]
        erasures = [record for record in due if record.type == "erasure"]
        if erasures:
            # It raises before anything is done if the list of those who stay out cannot be added
            # to.
            guard_of(store)
        # From here on nobody can cancel these requests, and an interrupted run goes on with them.
        with store.transaction():
            _set_status(store, [record.id for record in due], "in_progress")
        profiles = profiles_of(store, every=True)
        for record in due:
            if record.type != "erasure":
                _answer(profiles, record, folder=folder, write=write, now_ms=now_ms)
        _erase(profiles, erasures, now_ms)
    if not due:
        return []
    with (
        shown_after("what was due is done", "see profilectl privacy requests, once that is mended"),
        open_beside(store_path, wait_s=max(wait_s, 10)) as store,
    ):
        finished = [_record_of(store, record.id) for record in due]
    if not erasures:
        return finished
    told_by = tuple(still_told_by(store_path, store_id, servers_s))
    return [
        replace(record, told_by=told_by) if record.type == "erasure" else record
        for record in finished
    ]


def _erase(profiles: Profiles, erasures: Sequence[Record], now_ms: int) -> None:
    """Erase the people of some requests, and forget records that are too old.

    The store is written anew, because a deleted row would lie in the file until others take its
    place.
    """
    store = profiles.store
    old = [
        record.id
        for record in _records(store)
        if record.finished_ms is not None and now_ms - record.finished_ms > KEPT_MS
    ]
    if erasures:
        progress.step("finding")
        prepared = prepare_erasure(
            profiles,
            [name for record in erasures for name in _reached(profiles, record)],
            allow_return=False,
            now_ms=now_ms,
            answered=[record.id for record in erasures],
        )
        prepared.forget_requests(old)
        prepared.write()
    elif old:
        forget_requests(store, old)


def _answer(
    profiles: Profiles, record: Record, *, folder: Path, write: Writer, now_ms: int
) -> None:
    """Answer a request for access, and complete it."""
    progress.step("answering")
    names = _reached(profiles, record)
    people = sorted({profile for name in names for profile in name.profiles})
    kinds = ", ".join(kind for kind, _ in json.loads(record.identities or "[]"))
    folder.mkdir(mode=0o700, exist_ok=True)
    sync_folder(folder.absolute().parent)
    document = access_document(profiles, people, (kinds, f"request {record.id}"), now_ms=now_ms)
    paths = write(folder, record.id, document)
    store = profiles.store
    with store.transaction():
        store.scratch.run(
            COMPLETE,
            {
                "now_ms": now_ms,
                "profiles": len(people),
                "results": str(paths[0]),
                "id": record.id,
            },
        )


def _erased(profiles: Profiles, now_ms: int) -> list[int]:
    """Return the profiles that the due erasures reach."""
    return [
        profile
        for record in _records(profiles.store)
        if record.type == "erasure" and record.is_due(now_ms)
        for name in _reached(profiles, record)
        for profile in name.profiles
    ]


def _reached(profiles: Profiles, record: Record) -> list[Meant]:
    """Return whom a request reaches: those that a batch with its identities would find.

    It looks in each environment (domain.md 14).
    """
    identities = dict(json.loads(record.identities)) if record.identities else {}
    if "mpid" in identities:
        mpid = identities["mpid"]
        return [Meant("mpid", mpid, tuple(profiles.find("mpid", mpid)))]
    resolved = {
        identify(profiles, environment, identities).found
        for environment in (ENVIRONMENTS if identities else ())
    }
    reach = tuple(profile for profile in resolved if profile is not None)
    names = []
    for kind, value in identities.items():
        holders = profiles.find(kind, display(value))
        reached = tuple(profile for profile in holders if profile in reach)
        protected = tuple(profile for profile in holders if profile not in reach)
        names.append(Meant(kind, value, profiles=reached, protected=protected))
    return [*names, Meant("any", "", reach)] if reach else names
