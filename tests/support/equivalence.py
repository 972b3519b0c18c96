"""What the engine and the interpreter make of one history, in a form that can be compared."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from hypothesis import note
from support.histories import History

from profilectl.importing.request import ImportRequest
from profilectl.importing.run import import_files
from profilectl.profiles.read_model import profiles_of
from profilectl.rules.batch import Batch, read_document
from profilectl.rules.feed import DEFAULT_WORKSPACE, Feed, workspaces_of
from profilectl.rules.fields import UnusableRow
from profilectl.rules.identity import BY_NAME
from profilectl.rules.interpreter import Interpreter
from profilectl.rules.text.moments import latest_ms
from profilectl.rules.text.values import held_json, parse_json
from profilectl.store.opening import open_store
from profilectl.store.scratch import Scratch
from profilectl.store.settings import settings_from

NOW_MS = 1_790_000_000_000


def text_of(row: dict[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False, separators=(",", ":"))


def stated_settings(history: History) -> dict[str, Any]:
    stated = {f"identity.{name}": value for name, value in history.identity.items()}
    return stated | {"attributes.priority": history.priority}


def by_engine(
    history: History, folder: Path, prefix: int = 10**9
) -> tuple[list[Any], list[Any], str]:
    """Return the profiles, the reports and the secret of the store that the engine leaves."""
    path, reports = folder / "store.duckdb", []
    scratch = Scratch(folder)
    with open_store(scratch, path, create=True, write=True) as store, store.transaction():
        store.put_settings(stated_settings(history))
        for name in history.feeds:
            store.put_feed(history.feed(name))
    for number, one in enumerate(history.imports):
        file = folder / f"{number}.jsonl"
        file.write_text("".join(text_of(row) + "\n" for row in one.rows) or "\n")
        request = ImportRequest(
            [str(file)],
            one.feed,
            protection=one.protection,
            environment=one.environment,
            again=True,
            now_ms=NOW_MS + number,
            call=one.call,
        )
        reports.append(import_files(path, request).counts.as_json())
    with open_store(scratch, path) as store:
        lines: list[str] = []
        for workspace in workspaces_of(store.feeds()) or [DEFAULT_WORKSPACE]:
            profiles = profiles_of(store, workspace=workspace)
            lines += [
                line
                for (line,) in scratch.rows(
                    f"select line from ({profiles.json_lines('', provenance=True)}) order"
                    " by profile"
                )
            ]
        secret = store.meta("secret")
    scratch.close()
    return [parse_json(line) for line in lines], reports, secret


def played(
    history: History,
    secret: str,
    after: Callable[[Interpreter, int], None] = lambda interpreter, number: None,
) -> tuple[Interpreter, list[Any], list[int]]:
    """Run a history through the interpreter; after is told of each import.

    Returns it, the reports, and the first arrival of each import.
    """
    found = settings_from(stated_settings(history))
    interpreter = Interpreter(found.rules, history.priority, secret)
    feeds = {name: history.feed(name, number) for number, name in enumerate(history.feeds, start=1)}
    reports, starts = [], []
    for number, one in enumerate(history.imports):
        rows: list[Batch | UnusableRow] = []
        for row in one.rows:
            try:
                rows.append(
                    read_document(
                        parse_json(text_of(row)),
                        replace(found.reading, latest_ms=latest_ms(NOW_MS + number)),
                    )
                )
            except UnusableRow as error:
                rows.append(error)
        starts.append(interpreter.arrivals)
        reports.append(
            interpreter.run(
                feeds[one.feed], one.protection, rows, NOW_MS + number, one.environment, one.call
            ).as_json()
        )
        # an empty file has one blank line
        interpreter.arrivals = max(interpreter.arrivals, starts[-1] + (not rows))
        after(interpreter, number)
    return interpreter, reports, starts


def by_interpreter(history: History, secret: str) -> tuple[list[Any], list[Any]]:
    """Return the profiles and the reports by the interpreter."""
    interpreter, reports, starts = played(history, secret)
    feeds = [history.feed(name) for name in history.feeds]
    return [
        canonical(person, starts, workspace)
        for workspace in workspaces_of(feeds) or [DEFAULT_WORKSPACE]
        for _, person in sorted(interpreter.people.items())
    ], reports


def canonical(person: Any, starts: list[int], workspace: str = DEFAULT_WORKSPACE) -> dict[str, Any]:
    cells = person.attributes(Feed("", workspace=workspace))
    identities: dict[bool, dict[str, list[str]]] = {False: {}, True: {}}
    for one, _ in person.identities:
        identities[BY_NAME[one.type].device].setdefault(one.type, []).append(one.value)
    provenance = {}
    for key, cell in sorted(cells.items()):
        number = max(place for place, start in enumerate(starts) if start <= cell.arrival)
        provenance[key] = (
            cell.feed.source,
            cell.feed.name,
            number + 1,
            cell.arrival - starts[number] + 1,
            cell.at_ms,
        )
    return {
        "mpid": str(person.mpid),
        "environment": person.environment,
        "first_seen_ms": person.first_seen_ms,
        "last_seen_ms": person.last_seen_ms,
        "user_identities": identities[False],
        "device_identities": identities[True],
        "user_attributes": {key: held_json(cell.held) for key, cell in sorted(cells.items())},
        "provenance": provenance,
    }


def engine_canonical(profile: dict[str, Any]) -> dict[str, Any]:
    from profilectl.rules.text.values import to_json

    return {
        "mpid": profile["mpid"],
        "environment": profile["environment"],
        "first_seen_ms": int(profile["first_seen_ms"]),
        "last_seen_ms": int(profile["last_seen_ms"]),
        "user_identities": profile["user_identities"],
        "device_identities": profile["device_identities"],
        "user_attributes": {
            key: to_json(value) for key, value in sorted(profile["user_attributes"].items())
        },
        "provenance": {
            key: (
                one["source"],
                one["feed"],
                int(one["import"]),
                int(one["line"]),
                int(one["set_ms"]),
            )
            for key, one in sorted(profile["provenance"].items())
        },
    }


def check(history: History) -> None:
    """Compare both in a test of Hypothesis."""
    note(history.as_case())
    compare(history)


def compare(history: History) -> None:
    """Compare what the engine leaves of a history with what the interpreter does."""
    with tempfile.TemporaryDirectory() as folder:
        profiles, reports, secret = by_engine(history, Path(folder))
    expected, counts = by_interpreter(history, secret)
    for number, (ours, theirs) in enumerate(zip(reports, counts, strict=True)):
        assert ours == theirs, f"the report of import {number + 1}"
    assert [engine_canonical(one) for one in profiles] == expected
