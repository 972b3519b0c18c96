"""Forgetting people: the store is opened, searched for those meant, and written without them."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from profilectl.codes import InputRefused, NobodyFound
from profilectl.files import progress
from profilectl.files.leftovers import Left, left_in
from profilectl.files.suppression_key import key_path
from profilectl.importing.known import store_suppresses
from profilectl.privacy.carried_opt_outs import OptedOut, keep_opt_outs
from profilectl.privacy.erasure import PreparedErasure, prepare_erasure
from profilectl.privacy.meant import Meant, known_among, meant_by, named
from profilectl.privacy.outcome import Erasure
from profilectl.privacy.staying_out import identities_out, lift, lift_everybody, suppressed_among
from profilectl.profiles.read_model import Profiles, profiles_of
from profilectl.reading.lookup import Lookup, LookupMatch, matches_of
from profilectl.rules.identity import BY_NAME
from profilectl.rules.leaving.output import FILES
from profilectl.rules.resolution import reached
from profilectl.store.attaching import must_exist
from profilectl.store.definitions import outputs
from profilectl.store.opening import open_store
from profilectl.store.scratch import scratch_beside
from profilectl.store.store import OpenStore
from profilectl.store.tellers import WAIT_S, Teller, is_server_of, still_told_by

FILES_IMPORTED = """
select distinct coalesce(import.request->>'folder', '.'), file.path
from store.import_file as file
join store.import as import on import.number = file.import
"""
DEVICE_OF_SOMEBODY = "a device of somebody known"
NOBODY_HAS_IT = "nobody has it"


class Unknown(NamedTuple):
    """Somebody who was named and not found."""

    line: int
    """The line of the file; 0 for an identity of the command line."""
    kind: str
    """The identity type; "" where the line could not be read."""
    value: str
    """The identity."""
    why: str
    """Why nobody was found."""

    def as_json(self) -> dict[str, object]:
        """Return the entry of `not_found`."""
        line = {"line": self.line} if self.line else {}
        return {**line, "type": self.kind, "value": self.value, "why": self.why}


@dataclass(slots=True)
class Forgotten:
    """What forgetting took away, or with dry_run would take."""

    dry_run: bool
    """Whether nothing was written."""
    allow_return: bool
    """Whether the people may come back with a later import."""
    erasure: Erasure
    """What went from the store."""
    lifted: int = 0
    """How many identities of people who were erased before may come back."""
    protected: int = 0
    """How many profiles only a device named: they stay."""
    unknown: list[Unknown] = field(default_factory=list)
    """Those who were not found."""
    opt_outs: list[OptedOut] = field(default_factory=list)
    """People whose opt-out an alias had carried over, and is their own now."""
    backups: list[str] = field(default_factory=list)
    """Copies of the store that lie beside it."""
    told_by: list[Teller] = field(default_factory=list)
    """Servers that may still answer with the erased."""
    key: str | None = None
    """The path of the key of those who stay out, also if it is not made yet; None: nobody does."""
    left: list[Left] = field(default_factory=list)
    """Files of commands that were killed or still run, in the folders that the store knows. They
    may hold the erased.
    """

    def as_json(self) -> dict[str, object]:
        """Return the document of `forget --json`."""
        erasure = self.erasure
        return {
            "dry_run": self.dry_run,
            "allow_return": self.allow_return,
            "profiles": _profiles_json(erasure.profiles),
            "rows": erasure.tables,
            "suppressed": erasure.suppressed,
            "lifted": self.lifted,
            "cleared": {
                "rejects": erasure.rejects,
                "corrections": erasure.corrections,
                "identities_of_others": erasure.faded,
                "requests": erasure.requests,
            },
            "losing": _profiles_json(erasure.losing),
            "opt_outs_kept": _profiles_json(
                [(person.mpid, person.environment) for person in self.opt_outs]
            ),
            "also_held_by": _profiles_json(erasure.shared),
            "not_reached": self.protected,
            "not_found": [unknown.as_json() for unknown in self.unknown],
            "not_touched": self._not_touched(),
            "quoted": [{"kind": kind, "name": name} for kind, name in erasure.quoted],
            "quoted_by_others": None
            if erasure.others is None
            else [{"what": what, "rows": rows} for what, rows in sorted(erasure.others.items())],
            "removals": dict(sorted(erasure.removals.items())),
            "suppression_key": self.key,
            "still_told_by": [teller.as_json() for teller in self.told_by],
        }

    def _not_touched(self) -> dict[str, object]:
        """Return what may hold the erased and is not the store's to change."""
        return {
            "files": self.erasure.files,
            "rejects": self.erasure.rejects_files,
            "answers": self.erasure.answers,
            "backups": self.backups,
            "left_behind": [{"path": str(file.path), "why": file.why} for file in self.left],
            "outputs": self.erasure.outputs,
            "outputs_that_may_have": self.erasure.may_have,
        }


def _profiles_json(profiles: Sequence[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"mpid": mpid, "environment": environment} for mpid, environment in profiles]


@dataclass(frozen=True, slots=True)
class ForgetRequest:
    """Whom to forget: an identity, or a file of them that is read as lookup reads one."""

    who: tuple[str, str] | None = None
    """An identity: its type, "mpid" or "any", and the value."""
    file: Path | None = None
    """A file of identities."""
    kind: str | None = None
    """What the file is a list of; None: it is CSV with a header."""
    pick: int | None = None
    """Which of several profiles is meant, from 1."""
    every: bool = False
    """Whether all of several profiles are meant."""
    max_unpacked: str | None = None
    """The size that the file may unpack to."""


@dataclass(slots=True)
class _Names:
    """Whom a request means, and those it named who were not found."""

    profiles: Profiles
    """The read model in which they were looked for."""
    named_by: list[Meant] = field(default_factory=list)
    """The identities that were named, with the profiles they reach."""
    unknown: list[Unknown] = field(default_factory=list)
    """Those who were not found."""

    @property
    def protected(self) -> int:
        """How many profiles only a device named."""
        return sum(len(name.protected) for name in self.named_by)


# 50 lines: one erasure from beginning to end, with what is asked of the store before and after.
def forget(
    store_path: Path,
    request: ForgetRequest,
    *,
    allow_return: bool = False,
    dry_run: bool = False,
    wait_s: float = 0,
    servers_s: float = WAIT_S,
    now_ms: int | None = None,
) -> Forgotten:
    """Erase people, and keep them out from now on.

    allow_return: let them come back instead; servers_s: how long to wait until no server answers
    with them any more. Raises NobodyFound where there is nothing to erase, UsageError where one
    identity means several profiles, InputRefused where a device alone means somebody who is known,
    StoreBusy, StoreUnusable; then the store is as before.
    """
    must_exist(store_path)
    now_ms = _now_ms(now_ms)
    reads = [request.file] if request.file else []
    # The opt-outs come first: they are an import, and the aliases that carried them go below.
    opt_outs = keep_opt_outs(
        store_path,
        lambda profiles: _leaving(profiles, request),
        wait_s=wait_s,
        now_ms=now_ms,
        dry_run=dry_run,
        reads=reads,
    )
    forgotten = Forgotten(dry_run, allow_return, Erasure(), opt_outs=opt_outs)
    with (
        scratch_beside(store_path.absolute()) as scratch,
        open_store(
            scratch, store_path, write=not dry_run, wait_s=wait_s, upgrade=not dry_run, reads=reads
        ) as store,
    ):
        folders = _known_folders(store)
        store_id = store.meta("store_id")
        progress.step("finding")
        names = _names(profiles_of(store, every=True), request)
        prepared = prepare_erasure(
            names.profiles, names.named_by, allow_return=allow_return, now_ms=now_ms
        )
        out = suppressed_among(store, [name for name in names.named_by if not name.profiles])
        _report(forgotten, names, prepared, store_path=store_path, stays_out=bool(out))
        writes = forgotten.erasure.anything() and not dry_run
        if writes:
            prepared.write()
        elif not forgotten.erasure.anything():
            _refuse_nobody(names, out, allow_return=allow_return)
    if writes:
        forgotten.told_by = still_told_by(store_path, store_id, servers_s)
    # A server that runs was asked above: it is in told_by if it may still answer with the erased.
    forgotten.left = [file for file in left_in(folders) if not is_server_of(store_path, file.path)]
    if allow_return and out:
        forgotten.lifted = _lift(store_path, out, dry_run=dry_run, wait_s=wait_s, now_ms=now_ms)
    return forgotten


def _now_ms(now_ms: int | None) -> int:
    return now_ms if now_ms is not None else time.time_ns() // 1_000_000


def _report(
    forgotten: Forgotten,
    names: _Names,
    prepared: PreparedErasure,
    *,
    store_path: Path,
    stays_out: bool,
) -> None:
    """Report what is about to be erased. stays_out: whether somebody named was erased before."""
    forgotten.erasure = prepared.outcome
    forgotten.protected = names.protected
    forgotten.unknown = names.unknown
    backups = store_path.parent.glob(f"{store_path.name}.schema-*.backup")
    forgotten.backups = sorted(map(str, backups))
    scratch = prepared.erased.scratch
    if (prepared.outcome.anything() or stays_out) and (
        scratch.count("newly_suppressed") or store_suppresses(scratch)
    ):
        forgotten.key = str(key_path(store_path))


def lift_all(
    store_path: Path, *, dry_run: bool = False, wait_s: float = 0, now_ms: int | None = None
) -> int:
    """Let everybody in again who was erased, also where the key of the list is lost.

    Return the number of identities; with dry_run, of those that would be let in. Raises NobodyFound
    where nobody was erased, StoreBusy, StoreUnusable; then the store is as before.
    """
    must_exist(store_path)
    with (
        scratch_beside(store_path.absolute()) as scratch,
        open_store(
            scratch, store_path, write=not dry_run, wait_s=wait_s, upgrade=not dry_run
        ) as store,
    ):
        if not store_suppresses(scratch):
            raise NobodyFound("nobody was erased from this store")
        if dry_run:
            return identities_out(scratch)
        return lift_everybody(store, now_ms=_now_ms(now_ms))


def _known_folders(store: OpenStore) -> list[Path]:
    """Return the folders that a store knows of.

    They are its own, those of the files that were imported and of outputs that are files, and the
    system's folder for temporary files.
    """
    here = store.path.absolute().parent
    imported = {
        (here / folder / path).parent for folder, path in store.scratch.rows(FILES_IMPORTED)
    }
    written = {(here / output.place).parent for output in outputs(store) if output.type in FILES}
    return [here, *sorted(imported | written), Path(tempfile.gettempdir())]


def _leaving(profiles: Profiles, request: ForgetRequest) -> list[int]:
    """Return the profiles that a request reaches."""
    return [profile for name in _names(profiles, request).named_by for profile in name.profiles]


def _lift(
    store_path: Path, out: Sequence[Meant], *, dry_run: bool, wait_s: float, now_ms: int
) -> int:
    """Let people come back; return how many identities were lifted."""
    if dry_run:
        return len(out)
    with (
        scratch_beside(store_path.absolute()) as scratch,
        open_store(scratch, store_path, write=True, wait_s=wait_s) as store,
    ):
        return sum(lift(store, name.kind, name.value, now_ms=now_ms) for name in out)


def _refuse_nobody(names: _Names, out: Sequence[Meant], *, allow_return: bool) -> None:
    """Raise the error of a request that erases nobody, unless it lets people come back.

    Raises InputRefused, NobodyFound.
    """
    if names.protected:
        device = next(name for name in names.named_by if name.protected)
        raise InputRefused(
            f"the {device.kind} {device.value} is a device of somebody known:"
            " alone it reaches nobody",
            "name the person by a login identity, or by --mpid: profilectl show finds them",
        )
    if out and allow_return:
        return
    if len(names.named_by) == 1 and not names.unknown[1:]:
        name = names.named_by[0]
        hint = "they were erased already, and stay out: --allow-return lets them come back"
        raise NobodyFound(f"nobody has the {named(name.kind)} {name.value}", hint if out else "")
    raise NobodyFound(
        "nobody in the file was found",
        "they were erased already, or never were there" if names.named_by else "",
    )


def _names(profiles: Profiles, request: ForgetRequest) -> _Names:
    """Find whom a request means."""
    if request.file is not None and not request.who:
        return _names_of_file(profiles, request.file, request)
    assert request.who is not None
    name = meant_by(profiles, *request.who, pick=request.pick, every=request.every)
    if name.profiles:
        return _Names(profiles, [name])
    return _Names(profiles, [name], [Unknown(0, name.kind, name.value, why=_why_nobody(name))])


def _why_nobody(name: Meant) -> str:
    return DEVICE_OF_SOMEBODY if name.protected else NOBODY_HAS_IT


def _names_of_file(profiles: Profiles, file: Path, request: ForgetRequest) -> _Names:
    """Return whom the lines of a file mean, each in all environments."""
    lines: dict[int, list[LookupMatch]] = {}
    for match in matches_of(
        profiles, file, Lookup(request.kind, max_unpacked=request.max_unpacked)
    ):
        lines.setdefault(match.line, []).append(match)
    holders = {
        profile
        for matches in lines.values()
        for match in matches
        if _is_device(match)
        for profile in match.profiles
    }
    # One statement for all lines, not one for each.
    login_holders = known_among(profiles, holders)
    names = _Names(profiles)
    for line, matches in lines.items():
        _add_line(names, matches, login_holders, every=request.every, line=line)
    return names


def _is_device(match: LookupMatch) -> bool:
    return match.kind is not None and match.kind in BY_NAME and BY_NAME[match.kind].device


def _add_line(
    names: _Names,
    matches: Sequence[LookupMatch],
    login_holders: set[int],
    *,
    every: bool,
    line: int,
) -> None:
    """Add whom a line means. matches: one for each environment."""
    best = next((match for match in matches if match.profiles), matches[0])
    if best.fault or best.kind is None or best.value is None:
        why = best.fault or "no identity"
        names.unknown.append(Unknown(line, best.kind or "", best.value or "", why=why))
        return
    alike = [match for match in matches if match.kind == best.kind]
    holders = [profile for match in alike for profile in match.profiles]
    reach = tuple(
        profile
        for profile in holders
        if reached(device=_is_device(best), known=profile in login_holders)
    )
    protected = tuple(profile for profile in holders if profile not in reach)
    name = Meant(best.kind, best.value, profiles=reach, protected=protected)
    if not reach:
        why = _why_nobody(name)
    elif not every and any(len(match.profiles) > 1 for match in alike):
        why = f"{len(reach)} profiles have it: --all erases all of them"
    else:
        why = ""
    if why:
        names.unknown.append(Unknown(line, best.kind, best.value, why=why))
    # A line that several profiles match erases none of them. One that matches nobody is kept, since
    # the identity may be in other texts of the store.
    if not reach or not why:
        names.named_by.append(name)
