"""A saved plan: what an import would do, bound to the files, the feed, the rules and the store.

A plan is a dry run written down. Applying it makes the same import again, after it was compared
with what the plan rests on, and commits only if it comes to the same numbers.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import orjson

from profilectl.codes import InputRefused, PlanMoved, UsageError
from profilectl.files.whole_file import check_apart, check_target, whole_file
from profilectl.importing.plan_form import FORM, document_of
from profilectl.importing.request import ImportRequest, remembered, request_of
from profilectl.importing.run import import_files
from profilectl.importing.stage.source.files import expand
from profilectl.rules.counts import ImportReport
from profilectl.rules.feed import Feed
from profilectl.rules.workspace import chosen_workspace
from profilectl.store.attaching import store_name
from profilectl.store.opening import open_store
from profilectl.store.scratch import scratch_beside
from profilectl.store.seal import PLAN, holds, seal_of
from profilectl.store.store import State, who
from profilectl.version import __version__

UNSIGNED = "it was made before there was a store, which would sign it: who can write the file can change what it says"
OUTCOME = (
    "feed",
    "source",
    "protection",
    "environment",
    "files",
    "rows",
    "profiles",
    "identities",
    "attributes",
    "events",
    "reasons",
    "warnings",
)
"""The keys of a report that an applied plan must come to again."""


def make_plan(
    store_path: Path, request: ImportRequest, output: Path
) -> tuple[ImportReport, dict[str, Any]]:
    """Run an import dry, write the plan of it with mode 0600, and return the report and the plan.

    Raises what import_files raises; UsageError where the plan could never be applied.
    """
    if "-" in request.paths:
        raise UsageError("a plan needs files: standard input is gone when the plan is applied")
    check_target(output, "-o")
    outputs = [
        ("-o", output),
        ("--rejects", request.rejects),
        ("--explain-rows", request.explain_rows),
    ]
    check_apart(
        outputs, [*expand(request.paths), *([request.manifest] if request.manifest else [])]
    )
    seen: list[State] = []
    exists = store_path.exists()
    report = import_files(
        store_path, replace(request, dry_run=True, checked=lambda report, state: seen.append(state))
    )
    plan = {
        "profilectl_plan": FORM,
        "version": __version__,
        "created_ms": time.time_ns() // 1_000_000,
        "made_by": who(),
        "state": {**asdict(seen[-1]), "store": seen[-1].store if exists else None},
        "request": remembered(request),
        "report": report.as_json(),
    }
    plan["seal"] = sealed(
        json.loads(orjson.dumps(plan)),
        _signing(store_path, seen[-1].store, request.wait_s) if exists else "",
    )
    with whole_file(output, "-o") as out:
        out.write(orjson.dumps(plan, option=orjson.OPT_INDENT_2) + b"\n")
    return report, plan


def _signing(store_path: Path, name: str, wait_s: float) -> str:
    """Return the secret of the store that a plan was made for."""
    secret = _secret_of(store_path, wait_s)
    if store_name(secret) != name:
        raise PlanMoved(
            f"{store_path} is another store than it was a moment ago", "make the plan again"
        )
    return secret


def sealed(plan: dict[str, Any], secret: str) -> str:
    """Return the seal of what a plan says, its own left out.

    secret: the store's; "" where there is no store yet.
    """
    said = {name: value for name, value in plan.items() if name != "seal"}
    return seal_of(secret, PLAN, json.dumps(said, sort_keys=True).encode())


def read_plan(
    path: Path, store_path: Path, *, wait_s: float = 0
) -> tuple[dict[str, Any], str, str]:
    """Read a saved plan; return it, its text, and why nothing vouches for it: "" where the store
    does.

    Raises InputRefused where it is no plan, or was changed since it was made.
    """
    plan, text = document_of(path)
    name = plan["state"]["store"]
    if name is None:
        _check_seal(path, plan, "")
        return plan, text, UNSIGNED
    if not store_path.exists():
        return (
            plan,
            text,
            f"the store it was made for is not at {store_path}, so nothing says that the plan is as it was made",
        )
    secret = _secret_of(store_path, wait_s)
    if not holds(name, store_name(secret)):
        return (
            plan,
            text,
            f"{store_path} is not the store it was made for, so nothing says that the plan is as it was made",
        )
    _check_seal(path, plan, secret)
    return plan, text, ""


def _secret_of(store_path: Path, wait_s: float) -> str:
    with (
        scratch_beside(store_path.absolute()) as scratch,
        open_store(scratch, store_path, wait_s=wait_s, upgrade=False) as store,
    ):
        return store.meta("secret")


def _check_seal(path: Path, plan: dict[str, Any], secret: str) -> None:
    if not holds(plan["seal"], sealed(plan, secret)):
        raise InputRefused(
            f"{path} was changed after it was made",
            "make the plan again: it is applied as it was read, or not at all",
        )


def _vouched(path: Path, store_path: Path, wait_s: float) -> dict[str, Any]:
    """Return a plan that may be applied to a store: one that it vouches for, or where there is none
    one that was made so.
    """
    plan, _, why = read_plan(path, store_path, wait_s=wait_s)
    if plan["state"]["store"] is None:
        if store_path.exists():
            raise _moved(path, [f"{store_path} was made since, and did not sign it"])
    elif why:
        raise _moved(
            path,
            [
                "the store is another one"
                if store_path.exists()
                else f"there is no store at {store_path}"
            ],
        )
    return plan


def apply_plan(
    store_path: Path,
    path: Path,
    *,
    rejects: str | None = None,
    rejects_as_input: str | None = None,
    explain_rows: str | None = None,
    memory_limit: str | None = None,
    wait_s: float = 0,
    progress: Callable[[str, int], None] = lambda step, rows: None,
) -> ImportReport:
    """Make the import that a plan says.

    Raises PlanMoved, saying what has moved; then nothing was written.
    """
    plan = _vouched(path, store_path, wait_s)
    check_apart(
        [
            ("--rejects", rejects),
            ("--rejects-as-input", rejects_as_input),
            ("--explain-rows", explain_rows),
        ],
        [path],
    )
    if plan["version"] != __version__:
        raise PlanMoved(
            f"{path} was made by profilectl {plan['version']}, this is {__version__}",
            "make the plan again",
        )
    meant, planned_for = chosen_workspace(), plan["request"].get("workspace")
    if meant not in (None, planned_for) and planned_for is not None:
        raise UsageError(
            f"{path} is a plan for the workspace {planned_for}, not for {meant}",
            "apply it without --workspace",
        )
    planned = plan["report"]
    state = plan["state"]
    then = State(
        state["store"] or "",
        tuple((number, undone) for number, undone in state["imports"]),
        state["settings"],
        tuple(Feed(**feed) for feed in state["feeds"]),
        tuple(state["calculated"]),
        state["erasure"],
    )
    try:
        request = request_of(
            plan["request"],
            rejects=rejects,
            rejects_as_input=rejects_as_input,
            explain_rows=explain_rows,
            memory_limit=memory_limit,
            wait_s=wait_s,
            progress=progress,
        )
    except (InputRefused, TypeError, KeyError) as error:
        raise _moved(path, [str(error)]) from None

    def opened(report: ImportReport, now: State) -> None:
        found = _moved_files(planned["files"], report) + moved(then, now)
        if found:
            raise _moved(path, found)

    def checked(report: ImportReport, now: State) -> None:
        found = moved(then, now)
        outcome = json.loads(orjson.dumps(report.as_json()))
        found += [
            f"{name}: planned {_counts(planned[name])}, now {_counts(outcome[name])}"
            for name in OUTCOME
            if planned.get(name) != outcome[name]
        ]
        if found:
            raise _moved(path, found)

    try:
        return import_files(store_path, replace(request, opened=opened, checked=checked))
    except InputRefused as error:
        raise _moved(path, [error.message]) from None


def _moved(path: Path, found: list[str]) -> PlanMoved:
    return PlanMoved(
        f"{path} no longer fits: " + "; ".join(found), "make the plan again; nothing was imported"
    )


def _moved_files(planned: list[dict[str, Any]], report: ImportReport) -> list[str]:
    then = {one["path"]: one["sha256"] for one in planned}
    now = {one.path: one.sha256 for one in report.files}
    found = [
        f"{path} has another content" for path in then if path in now and now[path] != then[path]
    ]
    found += [f"{path} is not among the files any more" for path in then if path not in now]
    return found + [f"{path} is among the files now" for path in now if path not in then]


def moved(then: State, now: State) -> list[str]:
    """Say in words what differs between two states of a store.

    An empty `then.store`: there was none.
    """
    found = []
    if then.store and then.store != now.store:
        return ["the store is another one"]
    before, after = dict(then.imports), dict(now.imports)
    found += [
        f"import {number} was made since" + (", and undone" if undone else "")
        for number, undone in after.items()
        if number not in before
    ]
    found += [
        f"import {number} was undone since"
        for number in after
        if after[number] and before.get(number) is False
    ]
    found += [
        f"import {number} is not in the store any more" for number in before if number not in after
    ]
    if then.erasure != now.erasure:
        found.append("people were erased since, or may come back")
    for name in sorted(then.settings.keys() | now.settings.keys()):
        if then.settings.get(name) != now.settings.get(name):
            found.append(
                f"the setting {name} was {_said(then.settings.get(name))}, is {_said(now.settings.get(name))}"
            )
    feeds_then, feeds_now = ({feed.number: feed for feed in state.feeds} for state in (then, now))
    for number in sorted(feeds_then.keys() | feeds_now.keys()):
        old, new = feeds_then.get(number), feeds_now.get(number)
        if new is None and old is not None:
            found.append(f"the feed {old.name} is not registered any more")
        elif old is None and new is not None:
            found.append(f"the feed {new.name} was registered since")
        elif old != new and old is not None and new is not None:
            found.append(
                f"the feed {new.name} was {old.source}, {old.protection}, is {new.source}, {new.protection}"
            )
    for name in sorted({*then.calculated} ^ {*now.calculated}):
        found.append(
            f"{name} is {'' if name in now.calculated else 'no '}calculated attribute{'' if name in now.calculated else ' any more'}"
        )
    return found


def _counts(value: Any) -> str:
    return (
        ", ".join(f"{number:,} {name}" for name, number in value.items()) or "none"
        if isinstance(value, dict)
        else json.dumps(value, ensure_ascii=False)
    )


def _said(value: Any) -> str:
    return "not set" if value is None else json.dumps(value, ensure_ascii=False)
