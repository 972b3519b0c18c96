"""What people ask for, from outside: access to what is held about them, and requests that are kept
and carried out.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from profilectl.codes import InputRefused, NobodyFound, StoreUnusable
from profilectl.files.leftovers import sync_folder
from profilectl.files.whole_file import check_named
from profilectl.importing.suppression import guard_of
from profilectl.privacy.access import access_document
from profilectl.privacy.carried_opt_outs import keep_opt_outs
from profilectl.privacy.erased import Meant, meant_by
from profilectl.privacy.erasure import Leaving
from profilectl.privacy.rewriting import forget_requests
from profilectl.privacy.staying_out import suppressed_among
from profilectl.profiles.read_model import Profiles, profiles_of
from profilectl.reading.explain import identify
from profilectl.rules.feed import ENVIRONMENTS
from profilectl.rules.identity import BY_NAME, display, key_of
from profilectl.rules.sql.identities import hash_of
from profilectl.rules.subject_request import KEPT_MS, VERSION, read_request
from profilectl.rules.text.moments import latest_ms, may_be
from profilectl.rules.text.naming import no_such
from profilectl.rules.text.values import NotJson, Value, parse_json
from profilectl.store.history import time_ms
from profilectl.store.opening import open_store, shown_after
from profilectl.store.scratch import scratch_beside
from profilectl.store.store import OpenStore
from profilectl.store.tellers import WAIT_S, Teller, still_told_by

CONTROLLER = "default"
"""The workspace, which OpenDSR names as the controller."""
COLUMNS = (
    "id", "type", "regulation", "status", "submitted_ms", "received_ms", "due_ms", "finished_ms", "group_id", "callbacks", "identities", "request",
    "sealed", "profiles", "results",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Record:
    """The record of a request, as the store keeps it (schema.sql).

    told_by: servers that may still tell of who was erased just now.
    """

    id: str
    type: str
    regulation: str
    status: str
    submitted_ms: int
    received_ms: int
    due_ms: int
    finished_ms: int | None
    group_id: str | None
    callbacks: list[str]
    identities: str | None
    request: str | None
    sealed: str
    profiles: int | None
    results: str | None
    told_by: tuple[Teller, ...] | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the status as OpenDSR tells it."""
        return {
            "controller_id": CONTROLLER,
            "subject_request_id": self.id,
            "subject_request_type": self.type,
            "regulation": self.regulation,
            "request_status": self.status,
            "submitted_time": _told(self.submitted_ms),
            "received_time": _told(self.received_ms),
            "expected_completion_time": _told(self.due_ms),
            "completed_time": _told(self.finished_ms) if self.finished_ms is not None else None,
            "group_id": self.group_id,
            "status_callback_urls": self.callbacks,
            "api_version": VERSION,
            "results_url": self.results,
            "profiles": self.profiles,
            "encoded_request": self.request,
            **(
                {}
                if self.told_by is None
                else {"still_told_by": [one.as_json() for one in self.told_by]}
            ),
        }


def _told(ms: int) -> str:
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

    who: an identity type (or mpid, any) and value.

    Raises NobodyFound, UsageError where several are meant, InputRefused where a device alone means
    somebody known.
    """
    with _open(store_path, wait_s) as store:
        profiles = profiles_of(store, every=True)
        meant = meant_by(profiles, *who, pick=pick, every=every)
        if not meant.profiles:
            if meant.protected:
                raise InputRefused(
                    f"the {meant.kind} {meant.value} is a device of somebody known: alone it reaches nobody",
                    "name the person by a login identity, or by --mpid",
                )
            gone = _were_erased(store, meant)
            raise NobodyFound(
                f"nobody has the {'identity or MPID' if meant.kind == 'any' else meant.kind} {meant.value}",
                "they were erased" if gone else "",
            )
        return access_document(profiles, meant.profiles, (meant.kind, meant.value), _now(now_ms))


def _were_erased(store: OpenStore, meant: Meant) -> bool:
    """Say whether somebody was erased, as far as that can be known without the key of those who
    stay out.
    """
    with contextlib.suppress(StoreUnusable):
        return bool(suppressed_among(store, [meant]))
    return False


def _now(now_ms: int | None) -> int:
    return now_ms if now_ms is not None else time.time_ns() // 1_000_000


@contextlib.contextmanager
def _open(path: Path, wait_s: float, *, write: bool = False) -> Iterator[OpenStore]:
    with (
        scratch_beside(path.absolute()) as scratch,
        open_store(scratch, path, write=write, wait_s=wait_s) as store,
    ):
        yield store


# Requests


def submit(store_path: Path, file: Path, *, wait_s: float = 0, now_ms: int | None = None) -> Record:
    """Take a request of a file in.

    Raises InputRefused for what is no request, and for one that is there already.
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
    with _open(store_path, wait_s, write=True) as store:
        secret = store.meta("secret")
        hashes = sorted(
            f"{hash_of(secret, '', kind, key_of(BY_NAME[kind], value)):032x}"
            if kind in BY_NAME
            else hashlib.md5(f"{secret}:{value}".encode(), usedforsecurity=False).hexdigest()
            for kind, value in request.identities
        )
        sealed = hashlib.sha256(" ".join(hashes).encode()).hexdigest()
        for one in _records(store):
            if one.id == request.id:
                raise InputRefused(
                    f"{file}: the request {request.id} is there already: {one.status}"
                )
            if (
                one.sealed == sealed
                and one.type == request.type
                and one.status in ("pending", "in_progress")
            ):
                raise InputRefused(
                    f"{file}: the same {one.type} is {one.status} already, as {one.id}",
                    f"profilectl privacy show {one.id}",
                )
        found = Record(
            request.id,
            request.type,
            request.regulation,
            "pending",
            request.submitted_ms,
            received_ms,
            request.due_ms(received_ms),
            None,
            request.group_id,
            list(request.callbacks),
            json.dumps(request.identities, ensure_ascii=False),
            base64.b64encode(text.encode()).decode(),
            sealed,
            None,
            None,
        )
        with store.transaction():
            store.scratch.run(
                f"insert into store.subject_request ({', '.join(COLUMNS)}) values ({', '.join(f'${name}' for name in COLUMNS)})",
                {name: getattr(found, name) for name in COLUMNS},
            )
        return found


def _records(
    store: OpenStore, where: str = "", bound: dict[str, Any] | None = None
) -> list[Record]:
    rows = store.scratch.rows(
        f"select {', '.join(COLUMNS)} from store.subject_request {where} order by received_ms, id",
        bound,
    )
    return [Record(*row) for row in rows]


def records(store_path: Path, *, group: str | None = None, wait_s: float = 0) -> list[Record]:
    """Return the requests, oldest first; group: only those of a group_id. Raises UsageError where
    there is none of it.
    """
    with _open(store_path, wait_s) as store:
        found = _records(
            store, "where group_id = $group" if group else "", {"group": group} if group else None
        )
        if group and not found:
            known = sorted({one.group_id for one in _records(store) if one.group_id})
            raise no_such("group of requests", group, known, option="--group")
        return found


def record_of(store_path: Path, name: str, *, wait_s: float = 0) -> Record:
    """Return one request. Raises UsageError where there is none of that id."""
    with _open(store_path, wait_s) as store:
        return _one(store, name)


def _one(store: OpenStore, name: str) -> Record:
    found = _records(store, "where id = $id", {"id": name.lower()})
    if not found:
        raise no_such(
            "request",
            name,
            [one.id for one in _records(store, "", None)],
            lists="profilectl privacy requests",
        )
    return found[0]


def cancel(store_path: Path, name: str, *, wait_s: float = 0, now_ms: int | None = None) -> Record:
    """Cancel a request. Raises InputRefused for one that is not pending any more."""
    with _open(store_path, wait_s, write=True) as store:
        one = _one(store, name)
        if one.status != "pending":
            raise InputRefused(
                f"the request {one.id} is {one.status}: only a pending one can be cancelled"
            )
        with store.transaction():
            _set(store, [one.id], "cancelled", _now(now_ms))
        return _one(store, name)


def _set(
    store: OpenStore, names: Sequence[str], status: str, finished_ms: int | None = None
) -> None:
    store.scratch.run(
        "update store.subject_request set status = $status, finished_ms = $finished where id in (select unnest($ids::varchar[]))",
        {"status": status, "finished": finished_ms, "ids": list(names)},
    )


def carry_out(
    store_path: Path,
    folder: Path,
    write: Callable[[Path, str, dict[str, Any]], list[Path]],
    *,
    wait_s: float = 0,
    servers_s: float = WAIT_S,
    now: int | str | None = None,
) -> list[Record]:
    """Carry out every request that is due, and forget records of more than a year ago; return those
    that were finished.

    folder: where answers are written; write makes the files of one (folder, id, document) and
    returns them. All erasures are one: the store is written anew once. Stopped in between, it goes
    on where it was. servers_s: how long to wait until no server tells of the erased any more; now:
    the time, in milliseconds or as a text.
    """
    check_named(folder)
    now_ms = time_ms("--now", now) if isinstance(now, str) else _now(now)
    keep_opt_outs(
        store_path, lambda profiles: _erased(profiles, now_ms), wait_s=wait_s, now_ms=now_ms
    )
    with (
        scratch_beside(store_path.absolute()) as scratch,
        open_store(scratch, store_path, write=True, wait_s=wait_s) as store,
    ):
        store_id = store.meta("store_id")
        # Their bytes go with a store that is written anew: a deleted row would lie in the file
        # until others take its place.
        old = [
            one.id
            for one in _records(
                store,
                "where finished_ms is not null and $now - finished_ms > $kept",
                {"now": now_ms, "kept": KEPT_MS},
            )
        ]
        due = _due(store, now_ms)
        if any(one.type == "erasure" for one in due):
            # refused before anything is done, where the list of those who stay out could not be
            # added to
            guard_of(store)
        with store.transaction():
            _set(store, [one.id for one in due], "in_progress")
        profiles = profiles_of(store, every=True)
        for one in due:
            if one.type != "erasure":
                _answer(store, profiles, one, folder, write, now_ms)
        erasures = [one for one in due if one.type == "erasure"]
        if erasures:
            meant = [found for one in erasures for found in _reached(profiles, one)]
            leaving = Leaving(
                profiles,
                meant,
                allow_return=False,
                now_ms=now_ms,
                answered=[one.id for one in erasures],
            )
            leaving.forget_requests(old)
            leaving.write()
        elif old:
            forget_requests(store, old)
    if not due:
        return []
    with (
        shown_after("what was due is done", "see profilectl privacy requests, once that is mended"),
        _open(store_path, max(wait_s, 10)) as store,
    ):
        done = [_one(store, one.id) for one in due]
    if not erasures:
        return done
    told_by = tuple(still_told_by(store_path, store_id, servers_s))
    return [replace(one, told_by=told_by) if one.type == "erasure" else one for one in done]


def _answer(
    store: OpenStore,
    profiles: Profiles,
    one: Record,
    folder: Path,
    write: Callable[[Path, str, dict[str, Any]], list[Path]],
    now_ms: int,
) -> None:
    found = sorted({profile for meant in _reached(profiles, one) for profile in meant.profiles})
    kinds = ", ".join(kind for kind, _ in json.loads(one.identities or "[]"))
    folder.mkdir(mode=0o700, exist_ok=True)
    sync_folder(folder.absolute().parent)
    paths = write(
        folder, one.id, access_document(profiles, found, (kinds, f"request {one.id}"), now_ms)
    )
    with store.transaction():
        store.scratch.run(
            "update store.subject_request set status = 'completed', finished_ms = $now, profiles = $profiles, results = $results where id = $id",
            {"now": now_ms, "profiles": len(found), "results": str(paths[0]), "id": one.id},
        )


def _due(store: OpenStore, now_ms: int) -> list[Record]:
    return _records(
        store, "where status in ('pending', 'in_progress') and due_ms <= $now", {"now": now_ms}
    )


def _erased(profiles: Profiles, now_ms: int) -> list[int]:
    """Return the profiles that the requests erase that are due."""
    erasures = [one for one in _due(profiles.store, now_ms) if one.type == "erasure"]
    return [
        profile
        for one in erasures
        for meant in _reached(profiles, one)
        for profile in meant.profiles
    ]


def _reached(profiles: Profiles, one: Record) -> list[Meant]:
    """Return whom a request reaches: whom a batch with its identities would find, in each
    environment (domain.md 14).
    """
    identities = dict(json.loads(one.identities)) if one.identities else {}
    if "mpid" in identities:
        return [Meant("mpid", identities["mpid"], tuple(profiles.find("mpid", identities["mpid"])))]
    reach = (
        {
            found
            for environment in ENVIRONMENTS
            if (found := identify(profiles, environment, identities).found) is not None
        }
        if identities
        else set()
    )
    meant = []
    for kind, value in identities.items():
        holders = profiles.find(kind, display(value))
        meant.append(
            Meant(
                kind,
                value,
                tuple(one for one in holders if one in reach),
                tuple(one for one in holders if one not in reach),
            )
        )
    return [*meant, Meant("any", "", tuple(reach))] if reach else meant
