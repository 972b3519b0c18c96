"""Forgetting people, from outside: open the store, find who is meant, write it anew without them."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from profilectl.codes import InputRefused, NobodyFound
from profilectl.files.leftovers import Left, left_in
from profilectl.files.suppression_key import key_path
from profilectl.importing.suppression import store_suppresses
from profilectl.privacy.carried_opt_outs import OptedOut, keep_opt_outs
from profilectl.privacy.erased import Erasure, Meant, known_among, meant_by
from profilectl.privacy.erasure import Leaving
from profilectl.privacy.staying_out import lift, lift_everybody, suppressed_among
from profilectl.profiles.read_model import Profiles, profiles_of
from profilectl.reading.lookup import Lookup, LookupMatch, found_in
from profilectl.rules.identity import BY_NAME
from profilectl.rules.leaving.output import FILES
from profilectl.rules.resolution import reached
from profilectl.store.attaching import must_exist
from profilectl.store.definitions import outputs
from profilectl.store.opening import open_store
from profilectl.store.scratch import scratch_beside
from profilectl.store.store import OpenStore
from profilectl.store.tellers import WAIT_S, Teller, is_server_of, still_told_by


@dataclass(slots=True)
class Forgotten:
    """What forgetting did, or with dry_run would do.

    unknown: (line or 0, type, value, why) of those who were not found; protected: profiles that
    only a device named. opt_outs: people whose opt-out an alias had carried over, and is their own
    now. backups: copies of the store that lie beside it. told_by: servers that may still tell of
    them.
    """

    dry_run: bool
    allow_return: bool
    erasure: Erasure
    lifted: int = 0
    protected: int = 0
    unknown: list[tuple[int, str, str, str]] = field(default_factory=list)
    opt_outs: list[OptedOut] = field(default_factory=list)
    backups: list[str] = field(default_factory=list)
    told_by: list[Teller] = field(default_factory=list)
    key: str | None = None
    """Where the key of those who stay out is, or would be made; None: nobody stays out."""
    left: list[Left] = field(default_factory=list)
    """What commands that were killed, or still run, have in the folders that the store knows, and
    which may hold the erased.
    """

    def as_json(self) -> dict[str, Any]:
        """Return the document of `forget --json`."""
        gone = self.erasure
        return {
            "dry_run": self.dry_run,
            "allow_return": self.allow_return,
            "profiles": [
                {"mpid": mpid, "environment": environment} for mpid, environment in gone.profiles
            ],
            "rows": gone.tables,
            "suppressed": gone.suppressed,
            "lifted": self.lifted,
            "cleared": {
                "rejects": gone.rejects,
                "corrections": gone.corrections,
                "identities_of_others": gone.faded,
                "requests": gone.requests,
            },
            "losing": [
                {"mpid": mpid, "environment": environment} for mpid, environment in gone.losing
            ],
            "opt_outs_kept": [
                {"mpid": one.mpid, "environment": one.environment} for one in self.opt_outs
            ],
            "also_held_by": [
                {"mpid": mpid, "environment": environment} for mpid, environment in gone.shared
            ],
            "not_reached": self.protected,
            "not_found": [
                {**({"line": line} if line else {}), "type": kind, "value": value, "why": why}
                for line, kind, value, why in self.unknown
            ],
            "not_touched": {
                "files": gone.files,
                "rejects": gone.rejects_files,
                "answers": gone.answers,
                "backups": self.backups,
                "left_behind": [{"path": str(one.path), "why": one.why} for one in self.left],
                "outputs": gone.outputs,
                "outputs_that_may_have": gone.may_have,
            },
            "quoted": [{"kind": kind, "name": name} for kind, name in gone.quoted],
            "quoted_by_others": None
            if gone.others is None
            else [{"what": what, "rows": rows} for what, rows in sorted(gone.others.items())],
            "removals": dict(sorted(gone.removals.items())),
            "suppression_key": self.key,
            "still_told_by": [one.as_json() for one in self.told_by],
        }


@dataclass(frozen=True, slots=True)
class ForgetRequest:
    """Who is to be forgotten: an identity (type, "mpid" or "any", and value), or a file of them,
    read as lookup reads one.

    pick: which of several profiles, from 1; every: all of them; max_unpacked: the size that the
    file may unpack to.
    """

    who: tuple[str, str] | None = None
    file: Path | None = None
    kind: str | None = None
    pick: int | None = None
    every: bool = False
    max_unpacked: str | None = None


def forget(
    store_path: Path,
    asked: ForgetRequest,
    *,
    allow_return: bool = False,
    dry_run: bool = False,
    wait_s: float = 0,
    servers_s: float = WAIT_S,
    now_ms: int | None = None,
) -> Forgotten:
    """Erase people, and keep them out from now on; allow_return: let them come back instead.
    servers_s: how long to wait until no server tells of them any more.

    Raises NobodyFound where there is nothing to erase, UsageError where one identity means several
    profiles, InputRefused where a device alone means somebody who is known, StoreBusy,
    StoreUnusable; then the store is as before.
    """
    must_exist(store_path)
    now_ms = now_ms if now_ms is not None else time.time_ns() // 1_000_000
    reads = [asked.file] if asked.file else []
    opt_outs = keep_opt_outs(
        store_path,
        lambda profiles: _leaving(profiles, asked),
        wait_s=wait_s,
        now_ms=now_ms,
        dry_run=dry_run,
        reads=reads,
    )
    with (
        scratch_beside(store_path.absolute()) as scratch,
        open_store(
            scratch, store_path, write=not dry_run, wait_s=wait_s, upgrade=not dry_run, reads=reads
        ) as store,
    ):
        profiles = profiles_of(store, every=True)
        folders = _known_folders(store)
        done = Forgotten(dry_run, allow_return, Erasure(), opt_outs=opt_outs)
        meant = _meant(profiles, asked, done)
        leaving = Leaving(profiles, meant, allow_return=allow_return, now_ms=now_ms)
        done.erasure = leaving.outcome
        store_id = store.meta("store_id")
        done.backups = sorted(
            str(one) for one in store_path.parent.glob(f"{store_path.name}.schema-*.backup")
        )
        out = suppressed_among(store, [one for one in meant if not one.profiles])
        if leaving.outcome.anything() or out:
            done.key = (
                str(key_path(store_path))
                if scratch.count("newly_suppressed") or store_suppresses(scratch)
                else None
            )
        if leaving.outcome.anything() and not dry_run:
            leaving.write()
        elif not leaving.outcome.anything():
            _nobody(meant, out, done, allow_return=allow_return)
    if leaving.outcome.anything() and not dry_run:
        done.told_by = still_told_by(store_path, store_id, servers_s)
    # A living server was asked: it tells nobody of them, or is named as one that does.
    done.left = [one for one in left_in(folders) if not is_server_of(store_path, one.path)]
    if allow_return and out:
        done.lifted = _lift(store_path, out, dry_run=dry_run, wait_s=wait_s, now_ms=now_ms)
    return done


def lift_all(store_path: Path, *, wait_s: float = 0, now_ms: int | None = None) -> int:
    """Let everybody in again who was erased, also where the key of the list is lost; return how
    many identities.

    Raises NobodyFound where nobody was erased, StoreBusy, StoreUnusable; then the store is as
    before.
    """
    must_exist(store_path)
    now_ms = now_ms if now_ms is not None else time.time_ns() // 1_000_000
    with (
        scratch_beside(store_path.absolute()) as scratch,
        open_store(scratch, store_path, write=True, wait_s=wait_s) as store,
    ):
        if not store_suppresses(scratch):
            raise NobodyFound("nobody was erased from this store")
        return lift_everybody(store, now_ms=now_ms)


def _known_folders(store: OpenStore) -> list[Path]:
    """Return the folders that a store knows of: its own, those of the files that were imported and
    of outputs that are files, and the system's folder for what is temporary.
    """
    here = store.path.absolute().parent
    files = store.scratch.rows(
        "select distinct coalesce(import.request->>'folder', '.'), import_file.path from store.import_file join store.import on import.number = import_file.import"
    )
    written = [here / one.place for one in outputs(store) if one.type in FILES]
    return [
        here,
        *sorted(
            {(here / folder / path).parent for folder, path in files}
            | {one.parent for one in written}
        ),
        Path(tempfile.gettempdir()),
    ]


def _leaving(profiles: Profiles, asked: ForgetRequest) -> list[int]:
    """Return the profiles that a request reaches."""
    return [
        profile
        for one in _meant(profiles, asked, Forgotten(True, False, Erasure()))
        for profile in one.profiles
    ]


def _lift(
    store_path: Path, out: Sequence[Meant], *, dry_run: bool, wait_s: float, now_ms: int
) -> int:
    if dry_run:
        return len(out)
    with (
        scratch_beside(store_path.absolute()) as scratch,
        open_store(scratch, store_path, write=True, wait_s=wait_s) as store,
    ):
        return sum(lift(store, one.kind, one.value, now_ms=now_ms) for one in out)


def _nobody(
    meant: Sequence[Meant], out: Sequence[Meant], done: Forgotten, *, allow_return: bool
) -> None:
    """Say why there is nothing to erase; but people may still be let back."""
    if done.protected:
        one = next(one for one in meant if one.protected)
        raise InputRefused(
            f"the {one.kind} {one.value} is a device of somebody known: alone it reaches nobody",
            "name the person by a login identity, or by --mpid: profilectl show finds them",
        )
    if out and allow_return:
        return
    if len(meant) == 1 and not done.unknown[1:]:
        one = meant[0]
        hint = (
            "they were erased already, and stay out: --allow-return lets them come back"
            if out
            else ""
        )
        raise NobodyFound(
            f"nobody has the {'identity or MPID' if one.kind == 'any' else one.kind} {one.value}",
            hint,
        )
    raise NobodyFound(
        "nobody in the file was found",
        "they were erased already, or never were there" if meant else "",
    )


def _meant(profiles: Profiles, asked: ForgetRequest, done: Forgotten) -> list[Meant]:
    """Find whom the request means, and note who was not found."""
    if asked.who:
        found = [meant_by(profiles, *asked.who, pick=asked.pick, every=asked.every)]
    else:
        assert asked.file is not None
        found = _of_file(profiles, asked, done)
    for one in found:
        done.protected += len(one.protected)
        if not one.profiles and asked.who:
            done.unknown.append(
                (
                    0,
                    one.kind,
                    one.value,
                    "a device of somebody known" if one.protected else "nobody has it",
                )
            )
    return found


def _of_file(profiles: Profiles, asked: ForgetRequest, done: Forgotten) -> list[Meant]:
    """Return whom the lines of a file mean, each in all environments."""
    assert asked.file is not None
    lines: dict[int, list[LookupMatch]] = {}
    for one in found_in(profiles, asked.file, Lookup(asked.kind, max_unpacked=asked.max_unpacked)):
        lines.setdefault(one.line, []).append(one)
    devices = {name for name, kind in BY_NAME.items() if kind.device}
    known = known_among(
        profiles,
        {
            profile
            for answers in lines.values()
            for one in answers
            if one.kind in devices
            for profile in one.profiles
        },
    )
    found: list[Meant] = []
    for line, answers in lines.items():
        first = next((one for one in answers if one.profiles), answers[0])
        if first.fault or first.kind is None or first.value is None:
            done.unknown.append(
                (line, first.kind or "", first.value or "", first.fault or "no identity")
            )
            continue
        holders = [
            profile
            for answer in answers
            if answer.kind == first.kind
            for profile in answer.profiles
        ]
        kept_off = tuple(
            profile
            for profile in holders
            if not reached(device=first.kind in devices, known=profile in known)
        )
        meant = Meant(
            first.kind,
            first.value,
            tuple(profile for profile in holders if profile not in kept_off),
            kept_off,
        )
        if not meant.profiles:
            done.unknown.append(
                (
                    line,
                    first.kind,
                    first.value,
                    "a device of somebody known" if kept_off else "nobody has it",
                )
            )
        elif not asked.every and any(
            len(answer.profiles) > 1 for answer in answers if answer.kind == first.kind
        ):
            done.unknown.append(
                (
                    line,
                    first.kind,
                    first.value,
                    f"{len(meant.profiles)} profiles have it: --all erases all of them",
                )
            )
            continue
        found.append(meant)
    return found
