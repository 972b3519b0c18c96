"""A saved plan: what an import would do, bound to the files, the feed, the rules and the store.

A plan is a dry run written down. Applying it makes the same import again, after it was compared
with what the plan rests on, and commits only if it comes to the same numbers.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from profilectl.codes import InputRefused, PlanMoved, UsageError
from profilectl.files.whole_file import check_apart, check_target, whole_file
from profilectl.importing.content import with_reading
from profilectl.importing.plans.plan_form import FORM, document_of
from profilectl.importing.request import ImportRequest, rejects_path, remembered, request_of
from profilectl.importing.run import import_files
from profilectl.importing.stage.source.files import name_files
from profilectl.rules.counts import ImportReport
from profilectl.rules.feed import Feed
from profilectl.rules.workspace import chosen_workspace
from profilectl.store.attaching import store_name
from profilectl.store.opening import open_store
from profilectl.store.scratch import scratch_beside
from profilectl.store.seal import PLAN, holds, seal_of
from profilectl.store.store import State, who
from profilectl.version import __version__

UNSIGNED = (
    "it was made before there was a store, which would sign it:"
    " who can write the file can change what it says"
)
"""Why nothing vouches for a plan that was made without a store."""
# fmt: off
OUTCOME = (
    "feed", "source", "protection", "environment", "files", "rows", "profiles", "identities",
    "attributes", "events", "reasons", "warnings",
)
"""The keys of a report that an applied plan must come to again."""
# fmt: on


def make_plan(
    store_path: Path, request: ImportRequest, output: Path
) -> tuple[ImportReport, dict[str, Any]]:
    """Run an import dry, write the plan of it with mode 0600, and return the report and the plan.

    Raises what import_files raises; UsageError if the plan could never be applied.
    """
    if "-" in request.paths:
        raise UsageError("a plan needs files: standard input is gone when the plan is applied")
    check_target(output, "-o")
    request = with_reading(store_path, request)
    outputs = [
        ("-o", output),
        ("--rejects", rejects_path(request)),
        ("--explain-rows", request.explain_rows),
    ]
    manifest = [request.manifest] if request.manifest else []
    check_apart(outputs, [*(named.path for named in name_files(request.paths)), *manifest])
    states: list[State] = []
    exists = store_path.exists()
    report = import_files(
        store_path,
        replace(request, dry_run=True, checked=lambda report, state: states.append(state)),
    )
    # Without a store the dry run has one in memory, whose name means nothing later.
    state = states[-1]
    plan = {
        "profilectl_plan": FORM,
        "version": __version__,
        "created_ms": time.time_ns() // 1_000_000,
        "made_by": who(),
        "state": {**asdict(state), "store": state.store if exists else None},
        "request": remembered(request),
        "report": report.as_json(),
    }
    secret = _signing(store_path, state.store, request.wait_s) if exists else ""
    # What is sealed is the plan as JSON gives it back to the reader: lists, no tuples.
    plan["seal"] = sealed(json.loads(orjson.dumps(plan)), secret)
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


def sealed(plan: Mapping[str, Any], secret: str) -> str:
    """Return the seal of what a plan says, its own left out.

    secret: the store's; "" if there is no store yet.
    """
    content = {name: value for name, value in plan.items() if name != "seal"}
    return seal_of(secret, PLAN, json.dumps(content, sort_keys=True).encode())


class SavedPlan(NamedTuple):
    """A plan that was read."""

    plan: dict[str, Any]
    """What it says."""
    text: str
    """Its text."""
    why_unsealed: str
    """Why nothing vouches for it; "" if the store does."""


def read_plan(path: Path, store_path: Path, *, wait_s: float = 0) -> SavedPlan:
    """Read a saved plan.

    Raises InputRefused if it is no plan, or was changed since it was made.
    """
    plan, text = document_of(path)
    name = plan["state"]["store"]
    if name is None:
        # A seal without a secret tells damage, but no forgery.
        _check_seal(path, plan, "")
        return SavedPlan(plan, text, UNSIGNED)
    why = "so nothing says that the plan is as it was made"
    if not store_path.exists():
        return SavedPlan(plan, text, f"the store it was made for is not at {store_path}, {why}")
    secret = _secret_of(store_path, wait_s)
    if not holds(name, store_name(secret)):
        return SavedPlan(plan, text, f"{store_path} is not the store it was made for, {why}")
    _check_seal(path, plan, secret)
    return SavedPlan(plan, text, "")


def files_of(path: Path) -> list[str]:
    """Return the files that a plan imports, or its own name: what is no plan is refused later."""
    try:
        request = document_of(path)[0]["request"]
    except InputRefused:
        return [str(path)]
    return [str(Path(request["folder"], name)) for name in request["paths"]]


def _secret_of(store_path: Path, wait_s: float) -> str:
    with (
        scratch_beside(store_path.absolute()) as scratch,
        open_store(scratch, store_path, wait_s=wait_s, upgrade=False) as store,
    ):
        return store.meta("secret")


def _check_seal(path: Path, plan: Mapping[str, Any], secret: str) -> None:
    if not holds(plan["seal"], sealed(plan, secret)):
        raise InputRefused(
            f"{path} was changed after it was made",
            "make the plan again: it is applied as it was read, or not at all",
        )


def _vouched(path: Path, store_path: Path, wait_s: float) -> dict[str, Any]:
    """Return a plan that may be applied to a store.

    That is one that the store vouches for or, if there is no store, one that was made without.
    """
    saved = read_plan(path, store_path, wait_s=wait_s)
    exists = store_path.exists()
    if saved.plan["state"]["store"] is None:
        if exists:
            raise _moved(path, [f"{store_path} was made since, and did not sign it"])
    elif saved.why_unsealed:
        raise _moved(
            path, ["the store is another one" if exists else f"there is no store at {store_path}"]
        )
    return saved.plan


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
    outputs = {
        "rejects": rejects,
        "rejects_as_input": rejects_as_input,
        "explain_rows": explain_rows,
    }
    check_apart(
        [(f"--{name.replace('_', '-')}", target) for name, target in outputs.items()], [path]
    )
    _check_made_for(plan, path)
    try:
        request = request_of(
            plan["request"], **outputs, memory_limit=memory_limit, wait_s=wait_s, progress=progress
        )
    except (InputRefused, TypeError, KeyError) as error:
        raise _moved(path, [str(error)]) from None
    checks = _Checks(path, _state_of(plan), plan["report"])
    try:
        return import_files(
            store_path, replace(request, opened=checks.opened, checked=checks.checked)
        )
    except InputRefused as error:
        raise _moved(path, [error.message]) from None


def _check_made_for(plan: Mapping[str, Any], path: Path) -> None:
    """Refuse a plan of another version, or for another workspace than the chosen one."""
    if plan["version"] != __version__:
        raise PlanMoved(
            f"{path} was made by profilectl {plan['version']}, this is {__version__}",
            "make the plan again",
        )
    chosen, planned_for = chosen_workspace(), plan["request"].get("workspace")
    if chosen not in (None, planned_for) and planned_for is not None:
        raise UsageError(
            f"{path} is a plan for the workspace {planned_for}, not for {chosen}",
            "apply it without --workspace",
        )


def _state_of(plan: Mapping[str, Any]) -> State:
    """Return the state of the store that a plan was made on; `store` is "" if there was none."""
    state = plan["state"]
    return State(
        store=state["store"] or "",
        imports=tuple((number, undone) for number, undone in state["imports"]),
        settings=state["settings"],
        feeds=tuple(Feed(**feed) for feed in state["feeds"]),
        calculated=tuple(state["calculated"]),
        erasure=state["erasure"],
    )


@dataclass(frozen=True, slots=True)
class _Checks:
    """Compares an import with the plan that it is made by; each method raises PlanMoved."""

    path: Path
    """The file of the plan."""
    planned_state: State
    """The state of the store that the plan was made on."""
    planned: Mapping[str, Any]
    """The report of the dry run."""

    def opened(self, report: ImportReport, state: State) -> None:
        """Compare the files and the store, before anything is read."""
        differences = _moved_files(self.planned["files"], report)
        differences += moved(self.planned_state, state)
        if differences:
            raise _moved(self.path, differences)

    def checked(self, report: ImportReport, state: State) -> None:
        """Compare the outcome, before it is written."""
        # Through JSON, as the plan went.
        outcome = json.loads(orjson.dumps(report.as_json()))
        # Again, because the store may have moved while the files were read.
        differences = moved(self.planned_state, state)
        differences += [
            f"{name}: planned {_counts(self.planned[name])}, now {_counts(outcome[name])}"
            for name in OUTCOME
            if self.planned.get(name) != outcome[name]
        ]
        if differences:
            raise _moved(self.path, differences)


def _moved(path: Path, differences: list[str]) -> PlanMoved:
    return PlanMoved(
        f"{path} no longer fits: " + "; ".join(differences),
        "make the plan again; nothing was imported",
    )


def _moved_files(planned: list[dict[str, Any]], report: ImportReport) -> list[str]:
    """Return in words which files are not those that were planned."""
    before = {file["path"]: file["sha256"] for file in planned}
    after = {file.path: file.sha256 for file in report.files}
    differences = [
        f"{path} has another content"
        for path in before
        if path in after and after[path] != before[path]
    ]
    differences += [
        f"{path} is not among the files any more" for path in before if path not in after
    ]
    return differences + [f"{path} is among the files now" for path in after if path not in before]


def moved(before: State, after: State) -> list[str]:
    """Return in words what differs between two states of a store.

    `before.store` is empty if there was no store.
    """
    if before.store and before.store != after.store:
        return ["the store is another one"]
    differences = _moved_imports(dict(before.imports), dict(after.imports))
    if before.erasure != after.erasure:
        differences.append("people were erased since, or may come back")
    for name in sorted(before.settings.keys() | after.settings.keys()):
        old, new = before.settings.get(name), after.settings.get(name)
        if old != new:
            differences.append(f"the setting {name} was {_quoted(old)}, is {_quoted(new)}")
    differences += _moved_feeds(before.feeds, after.feeds)
    for name in sorted({*before.calculated} ^ {*after.calculated}):
        if name in after.calculated:
            differences.append(f"{name} is a calculated attribute")
        else:
            differences.append(f"{name} is no calculated attribute any more")
    return differences


def _moved_imports(before: Mapping[int, bool], after: Mapping[int, bool]) -> list[str]:
    """Return in words which imports were made or undone.

    before, after: whether each was undone, by its number.
    """
    differences = [
        f"import {number} was made since" + (", and undone" if undone else "")
        for number, undone in after.items()
        if number not in before
    ]
    differences += [
        f"import {number} was undone since"
        for number in after
        if after[number] and before.get(number) is False
    ]
    return differences + [
        f"import {number} is not in the store any more" for number in before if number not in after
    ]


def _moved_feeds(before: Sequence[Feed], after: Sequence[Feed]) -> list[str]:
    """Return in words which feeds were registered, removed or changed."""
    old, new = ({feed.number: feed for feed in feeds} for feeds in (before, after))
    differences = []
    for number in sorted(old.keys() | new.keys()):
        was, feed = old.get(number), new.get(number)
        if was and feed is None:
            differences.append(f"the feed {was.name} is not registered any more")
        elif feed and was is None:
            differences.append(f"the feed {feed.name} was registered since")
        elif was and feed and was != feed:
            differences.append(
                f"the feed {feed.name} was {was.source}, {was.protection},"
                f" is {feed.source}, {feed.protection}"
            )
    return differences


def _counts(value: object) -> str:
    """Return the numbers of a report in words."""
    if isinstance(value, dict):
        return ", ".join(f"{number:,} {name}" for name, number in value.items()) or "none"
    return json.dumps(value, ensure_ascii=False)


def _quoted(value: object) -> str:
    return "not set" if value is None else json.dumps(value, ensure_ascii=False)
