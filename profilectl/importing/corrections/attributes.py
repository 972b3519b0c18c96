"""Single corrections: one batch is made here, and imported by the rules of every import.

So a correction has a feed, a source and its priority, stands in the history and can be undone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from profilectl.codes import InputRefused, UsageError, sentence
from profilectl.importing.corrections.correction import CORRECTIONS, Correction, attribute_named
from profilectl.importing.corrections.interpreted import (
    Unchanged,
    changes_of,
    correct_at_once,
    is_said,
    rows_of_people,
)
from profilectl.profiles.read_model import Profiles, profiles_of
from profilectl.rules.batch import apply_deletes, read_document
from profilectl.rules.batch_limits import over_limit
from profilectl.rules.counts import ImportReport
from profilectl.rules.feed import ENVIRONMENTS
from profilectl.rules.fields import UnusableRow
from profilectl.rules.text.values import NotJson, Number, Value, parse_json, to_json
from profilectl.store.opening import open_store
from profilectl.store.scratch import scratch_beside
from profilectl.store.store import OpenStore, State, choose_feed


def assignment(text: str) -> tuple[str, Value]:
    """Return the attribute and value of KEY=TEXT or KEY:=JSON.

    Raises UsageError for what is neither.
    """
    key, equals, value = text.partition("=")
    typed = key.endswith(":") and bool(equals)
    key = key[:-1] if typed else key
    if not equals or not key:
        raise UsageError(
            f"{text}: must be KEY=VALUE, or KEY:=JSON for a number, true, false, a list or null"
        )
    name = attribute_named(key)
    if not typed:
        return name, value
    try:
        return name, parse_json(value)
    except NotJson as error:
        raise UsageError(
            f"{text}: {value} is not JSON: {error.detail}", f"for a text: {key}={value}"
        ) from None


def correct(
    store_path: Path,
    identity: tuple[str, str],
    sets: Mapping[str, Value],
    deletes: Sequence[str],
    *,
    feed: str = CORRECTIONS,
    source: str | None = None,
    pick: int | None = None,
    dry_run: bool = False,
    wait_s: float = 0,
) -> ImportReport:
    """Set and delete attributes of one profile, as an import of one batch.

    identity: an identity type (or mpid, any) and value; pick: which of several profiles, from 1.

    Raises NobodyFound, UsageError if several are meant, InputRefused if the batch breaks a limit.
    """
    correction = Correction(
        identity=identity,
        pick=pick,
        sets=sets,
        deletes=deletes,
        feed=feed,
        source=source,
        dry_run=dry_run,
        wait_s=wait_s,
    )
    return correct_at_once(store_path, correction) or _import(store_path, correction)


def _import(store_path: Path, correction: Correction) -> ImportReport:
    """Make a correction as all imports are made: with a file of its batch."""
    from profilectl.importing.run import import_files
    from profilectl.profiles.played import one_meant

    with (
        scratch_beside(store_path.absolute()) as scratch,
        open_store(scratch, store_path, wait_s=correction.wait_s) as store,
    ):
        profiles = profiles_of(store)
        person = one_meant(profiles, correction.identity, correction.pick)
        is_nothing_new = _is_said(store, profiles, person.profile, correction=correction)
    request = correction.request(person.mpid, person.environment)
    for key, value in correction.sets.items():
        if code := over_limit(key, value):
            raise InputRefused(f"{key}: {sentence(code)}")

    def checked(report: ImportReport, state: State) -> None:
        if is_nothing_new and not report.dry_run and not changes_of(report.counts):
            raise Unchanged(report)

    try:
        return import_files(store_path, replace(request, checked=checked))
    except Unchanged as unchanged:
        report = unchanged.report
        report.number, report.feed_registered, report.notices = None, False, []
        return report


def _is_said(store: OpenStore, profiles: Profiles, profile: int, *, correction: Correction) -> bool:
    """Return whether what a correction speaks of is its feed's already (interpreted.is_said)."""
    try:
        content = correction.request(1, ENVIRONMENTS[0]).content or ""
        batch = read_document(parse_json(content), store.settings().reading)
    except (NotJson, UnusableRow, UnicodeEncodeError):
        return False  # the import says what is wrong
    keys = list(apply_deletes(batch))
    registered = profiles.registered()
    feed = choose_feed(
        known=next((feed for feed in registered if feed.name == correction.feed), None),
        name=correction.feed,
        source=correction.source,
        protection=None,
        partner=None,
        workspace=store.workspace,
    )
    rows = rows_of_people(profiles, [profile], keys).get(profile, [])
    return is_said(keys, rows, feed, feeds={feed.number: feed for feed in registered})


def content_again(store_path: Path, request: Mapping[str, Any]) -> str:
    """Return the content of a correction of the history, about the person it names now.

    request: what the history has of it (undo --replay). A content for which nobody named a person,
    such as the answers of a UID2 operator, stays as it was.

    Raises NobodyFound, UsageError if nobody, or several, have the identity.
    """
    if not request.get("who"):
        return str(request["content"])
    batch = cast(dict[str, Value], parse_json(request["content"]))
    mpid, environment = str(batch["mpid"]), str(batch["environment"])
    from profilectl.profiles.played import meant_again

    kind, value = request["who"]
    with scratch_beside(store_path.absolute()) as scratch, open_store(scratch, store_path) as store:
        person = meant_again(profiles_of(store), (kind, value), mpid=mpid, environment=environment)
    batch["mpid"] = Number(str(person.mpid))
    return to_json(batch) + "\n"
