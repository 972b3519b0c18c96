"""Single corrections: one batch, made here, imported by the rules of every import.

So a correction has a feed, a source and its priority, stands in the history and can be undone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from profilectl.codes import InputRefused, UsageError, sentence
from profilectl.importing.corrections.as_import import CORRECTIONS
from profilectl.importing.request import ImportRequest
from profilectl.importing.run import import_files
from profilectl.profiles.played import meant_again, one_meant
from profilectl.profiles.read_model import profiles_of
from profilectl.rules.batch import field_named, over_limit
from profilectl.rules.counts import ImportReport
from profilectl.rules.fields import Unusable
from profilectl.rules.text.values import NotJson, Number, Value, parse_json, to_json
from profilectl.store.opening import open_store
from profilectl.store.scratch import scratch_beside

NAME = "(set)"
"""What stands for the file of a correction in the history."""


def assignment(text: str) -> tuple[str, Value]:
    """Return the attribute and value of KEY=TEXT or KEY:=JSON. Raises UsageError for what is
    neither.
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


def attribute_named(name: str) -> str:
    """Return the attribute that a name means, as a column of that name does; user_attributes.NAME
    always means one.

    Raises UsageError for the name of an identity or of another field of a batch.
    """
    try:
        meant = field_named(name)
    except Unusable as error:
        raise UsageError(
            error.detail, f"for an attribute of that name: user_attributes.{name}=..."
        ) from None
    if meant.kind == "attribute":
        return meant.name
    if meant.kind.endswith("identity"):
        raise UsageError(
            f"{name} is an identity",
            f"profilectl modify changes identities; for an attribute of that name: user_attributes.{name}=...",
        )
    raise UsageError(
        f"{name} is a field of a batch, no attribute",
        f"for an attribute of that name: user_attributes.{name}=...",
    )


def correct(
    store_path: Path,
    who: tuple[str, str],
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

    who: an identity type (or mpid, any) and value; pick: which of several profiles, from 1.

    Raises NobodyFound, UsageError where several are meant, InputRefused where the batch breaks a
    limit.
    """
    with (
        scratch_beside(store_path.absolute()) as scratch,
        open_store(scratch, store_path, wait_s=wait_s) as store,
    ):
        one = one_meant(profiles_of(store), who, pick)
    batch: dict[str, Value] = {
        "mpid": Number(str(one.mpid)),
        "environment": one.environment,
        "user_attributes": dict(sets),
    }
    if deletes:
        batch["deleted_user_attributes"] = [attribute_named(key) for key in deletes]
    for key, value in sets.items():
        if code := over_limit(key, value):
            raise InputRefused(f"{key}: {sentence(code)}")
    request = ImportRequest(
        [NAME],
        feed,
        source=source,
        format="jsonl",
        content=to_json(batch) + "\n",
        who=who,
        again=True,
        max_rejects="0",
        dry_run=dry_run,
        wait_s=wait_s,
    )
    return import_files(store_path, request)


def content_again(store_path: Path, kept: Mapping[str, Any]) -> str:
    """Return the content of a correction of the history, about whom it means now (undo --replay).

    kept: its request. What no person named somebody for, such as the answers of an operator, is as
    it was.

    Raises NobodyFound, UsageError where that cannot be said.
    """
    if not kept.get("who"):
        return str(kept["content"])
    batch = cast(dict[str, Value], parse_json(kept["content"]))
    mpid, environment = str(batch["mpid"]), str(batch["environment"])
    who = tuple(kept["who"])
    with scratch_beside(store_path.absolute()) as scratch, open_store(scratch, store_path) as store:
        batch["mpid"] = Number(
            str(meant_again(profiles_of(store), (who[0], who[1]), mpid, environment).mpid)
        )
    return to_json(batch) + "\n"
