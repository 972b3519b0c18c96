"""A batch leaves completed with its profile as it was after it: the store as the interpreter, for
random histories.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, note, seed, settings
from hypothesis import strategies as st
from support.effort import at_length
from support.equivalence import NOW_MS, stated_settings, text_of
from support.eventful_histories import eventful
from support.histories import History
from support.leaving import Watch

from profilectl.importing.request import ImportRequest
from profilectl.importing.run import import_files
from profilectl.outputs.compose import composer_of
from profilectl.outputs.outbox import waiting_for
from profilectl.rules.batch import read_document
from profilectl.rules.calculated import Definition
from profilectl.rules.feed import workspaces_of
from profilectl.rules.fields import UnusableRow
from profilectl.rules.interpreter import Interpreter
from profilectl.rules.leaving.connection import Connection
from profilectl.rules.leaving.enrichment import IdMaker, Outgoing
from profilectl.rules.leaving.output import Output
from profilectl.rules.text.moments import latest_ms
from profilectl.rules.text.values import parse_json, to_json
from profilectl.store.definitions import put_calculation, replace_connections
from profilectl.store.opening import open_store
from profilectl.store.scratch import Scratch
from profilectl.store.settings import settings_from

DEFINITIONS = [
    Definition("views", "count", event="view"),
    Definition("k", "last_value", event="view", of="at"),
    Definition("first", "first_value", event="view", of="at"),
    Definition("lately", "unique_values_count", event="view", of="at", within="30 days"),
]


def told(outgoing: Outgoing) -> str:
    """Return the document, and after it what rules of consent ask about."""
    consents = [
        {".".join(purpose): dict(said) for purpose, said in sorted(one.items())}
        for one in outgoing.consents
    ]
    return to_json([outgoing.document, *consents])


def by_store(
    history: History, folder: Path, definitions: list[Definition], *, lifetime: bool
) -> tuple[dict[int, str], str]:
    """Return what leaves by arrival, as JSON, and the secret of the store."""
    path, scratch = folder / "store.duckdb", Scratch(folder)
    output = Output("o", "jsonl", "o.jsonl", accepts_eventless=True)
    with open_store(scratch, path, create=True, write=True) as store, store.transaction():
        store.put_settings(
            stated_settings(history) | ({"retention.lifetime_profiles": True} if lifetime else {})
        )
        for name in history.feeds:
            store.put_feed(history.feed(name))
        for one in definitions:
            put_calculation(store, one, NOW_MS)
        replace_connections(
            store, [output], [Connection(name, name, "o") for name in history.feeds]
        )
    for number, one in enumerate(history.imports):
        file = folder / f"{number}.jsonl"
        file.write_text("".join(text_of(row) + "\n" for row in one.rows) or "\n")
        import_files(
            path,
            ImportRequest(
                [str(file)],
                one.feed,
                protection=one.protection,
                environment=one.environment,
                again=True,
                now_ms=NOW_MS + number,
            ),
        )
    with open_store(scratch, path) as store:
        composer = composer_of(store)
        composed = composer.compose(
            waiting_for(store, "o", list(composer.feeds), after=-1, limit=10**6)
        )
        secret = store.meta("secret")
    scratch.close()
    return {arrival: told(one) for arrival, one in composed.items()}, secret


def by_interpreter(
    history: History, secret: str, definitions: list[Definition], *, lifetime: bool
) -> dict[int, str]:
    found = settings_from(stated_settings(history))
    interpreter = Interpreter(found.rules, history.priority, secret)
    watch = Watch(
        interpreter,
        IdMaker(secret),
        definitions,
        lifetime,
        workspaces=workspaces_of(history.feed(name) for name in history.feeds),
    )
    feeds = {name: history.feed(name, number) for number, name in enumerate(history.feeds, start=1)}
    leaves = {}
    for number, one in enumerate(history.imports):
        start = interpreter.arrivals
        for row in one.rows:
            arrival = interpreter.arrivals
            try:
                read: Any = read_document(
                    parse_json(text_of(row)), replace(found.reading, latest_ms=latest_ms(NOW_MS))
                )
            except UnusableRow as error:
                read = error
            outgoing = watch.leaves(
                feeds[one.feed], one.protection, read, NOW_MS + number, one.environment
            )
            if outgoing:
                leaves[arrival] = told(outgoing)
        # an empty file has one blank line
        interpreter.arrivals = max(interpreter.arrivals, start + (not one.rows))
    return leaves


def check(history: History, *, calculated: bool, lifetime: bool) -> None:
    note(history.as_case())
    definitions = DEFINITIONS if calculated else []
    with tempfile.TemporaryDirectory() as folder:
        ours, secret = by_store(history, Path(folder), definitions, lifetime=lifetime)
    theirs = by_interpreter(history, secret, definitions, lifetime=lifetime)
    assert sorted(ours) == sorted(theirs)
    for arrival, document in theirs.items():
        assert json.loads(ours[arrival]) == json.loads(document), f"arrival {arrival}"
        assert ours[arrival] == document


quick = settings(
    max_examples=4, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)


@quick
@given(eventful(), st.booleans(), st.booleans())
def test_the_store_completes_as_the_interpreter(
    history: History, calculated: bool, lifetime: bool
) -> None:
    check(history, calculated=calculated, lifetime=lifetime)


@settings(quick, max_examples=4)
@given(eventful(workspaces=True), st.booleans())
def test_the_store_completes_as_the_interpreter_in_every_workspace(
    history: History, calculated: bool
) -> None:
    check(history, calculated=calculated, lifetime=False)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(4))
def test_the_store_completes_as_the_interpreter_at_length(part: int) -> None:
    @seed(part)
    @settings(
        max_examples=at_length(25, by_night=300),
        deadline=None,
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    @given(eventful(workspaces=part % 2 == 1), st.booleans(), st.booleans())
    def compare(history: History, calculated: bool, lifetime: bool) -> None:
        check(history, calculated=calculated, lifetime=lifetime)

    compare()
