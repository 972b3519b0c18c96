"""The calculated attributes, audiences, outputs and connections that a store has: defined, changed,
dropped.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from profilectl.codes import InputRefused, UsageError
from profilectl.rules.audience import Audience, audience_of
from profilectl.rules.calculated import Definition, definition_of
from profilectl.rules.criteria.text import marked, quoted
from profilectl.rules.criteria.tree import order_of_evaluation, reads
from profilectl.rules.event.field import fold
from profilectl.rules.feed import DEFAULT_WORKSPACE, workspaces_of
from profilectl.rules.leaving.audience_connection import (
    AudienceConnection,
    audience_connection_of,
    is_of_audience,
)
from profilectl.rules.leaving.connection import Connection, ConsentRule
from profilectl.rules.leaving.connection_config import check_connection, connection_of
from profilectl.rules.leaving.output import TYPES, Output, output_of, variable
from profilectl.rules.text.naming import advice, no_such
from profilectl.rules.workspace import no_workspace, several_workspaces
from profilectl.store.store import OpenStore


@dataclass(frozen=True, slots=True)
class Calculation:
    """A calculated attribute of a store.

    filled_ms: when it was last computed for everybody, None: never.
    """

    definition: Definition
    changed_ms: int
    filled_ms: int | None

    @property
    def name(self) -> str:
        return self.definition.name


@dataclass(frozen=True, slots=True)
class Defined:
    """An audience of a store. filled_ms: when it was last evaluated for everybody, None: never."""

    number: int
    audience: Audience
    changed_ms: int
    filled_ms: int | None

    @property
    def name(self) -> str:
        return self.audience.name


def has_unfilled(store: OpenStore) -> bool:
    """Say whether something is defined that was never computed: a refresh did not come to it."""
    waits = [one.filled_ms is None and not one.definition.draft for one in calculations(store)]
    return any(
        [
            *waits,
            *(
                one.filled_ms is None and one.audience.kind == "real-time"
                for one in audiences(store)
            ),
        ]
    )


def calculations(store: OpenStore) -> list[Calculation]:
    """Return the calculated attributes of a store, by name."""
    rows = store.scratch.rows(
        "select name, definition, changed_ms, filled_ms from store.calculation order by name"
    )
    # Under the name that its values are kept under: stores have been made in which a reserved one
    # is spelled otherwise.
    return [
        Calculation(replace(definition_of(name, json.loads(text)), name=name), changed, filled)
        for name, text, changed, filled in rows
    ]


def put_calculation(store: OpenStore, definition: Definition, now_ms: int) -> None:
    """Define a calculated attribute, or change it; called within a transaction.

    One that computes something else than before has no values until it is computed again.
    """
    known = next((one for one in calculations(store) if one.name == definition.name), None)
    if known and known.definition == definition:
        return
    drop_calculation(store, definition.name)
    store.scratch.run(
        "insert into store.calculation values ($name, $definition, $now, null)",
        {"name": definition.name, "definition": json.dumps(definition.as_table()), "now": now_ms},
    )


def drop_calculation(store: OpenStore, name: str) -> None:
    """Forget a calculated attribute and its values; called within a transaction.

    Audiences that read it are to be evaluated again for everybody: what it masked is there again,
    or nothing.
    """
    for one in audiences(store):
        if one.audience.kind == "real-time" and name in reads(one.audience.tree).attributes:
            store.scratch.run(
                "update store.audience set filled_ms = null where number = $number",
                {"number": one.number},
            )
    for table in ("calculation", "calculated"):
        store.scratch.run(f"delete from store.{table} where name = $name", {"name": name})


def audiences(store: OpenStore) -> list[Defined]:
    """Return the audiences of a store, by number."""
    rows = store.scratch.rows(
        "select number, name, definition, changed_ms, filled_ms from store.audience order by number"
    )
    return [
        Defined(number, audience_of(name, json.loads(text)), changed, filled)
        for number, name, text, changed, filled in rows
    ]


def audience_defined(store: OpenStore, name: str) -> Defined:
    """Return an audience by its name.

    Raises UsageError where there is none, InputRefused where it belongs to another workspace than
    is meant.
    """
    known = audiences(store)
    found = next((one for one in known if one.name == name), None)
    if found is None:
        there = [one.name for one in known if store.means(one.audience.workspace)]
        raise no_such("audience", name, there, lists="profilectl audiences list")
    check_meant(store, f"audience {name}", found.audience.workspace)
    return found


def check_references(wanted: Sequence[Audience]) -> None:
    """Check that audiences refer to one another as they may (domain.md 11.2).

    Raises UsageError, with a mark at a name that nobody has.
    """
    known = {fold(one.name) for one in wanted}
    for one in wanted:
        for other in reads(one.tree).audiences:
            if fold(other) not in known:
                at = one.criteria.index(f"audience {quoted(other)}") + len("audience ")
                raise UsageError(
                    f"audience {one.name} refers to {other}: there is no such audience: {marked(one.criteria, at)}",
                    advice(
                        other,
                        [each.name for each in wanted if each is not one],
                        "profilectl audiences list",
                    ),
                )
    order_of_evaluation({one.name: one.tree for one in wanted})


def put_audience(store: OpenStore, audience: Audience, now_ms: int) -> int:
    """Define an audience, or change it; return its number.

    Called within a transaction. Members stay members until it is evaluated again. Raises UsageError
    for a reference that cannot be.
    """
    known = audiences(store)
    check_references([*(one.audience for one in known if one.name != audience.name), audience])
    return _put(store, known, audience, now_ms)


def replace_audiences(store: OpenStore, wanted: Sequence[Audience], now_ms: int) -> None:
    """Make these the audiences of a store; called within a transaction, their references checked."""
    known = audiences(store)
    for one in known:
        if one.name not in {audience.name for audience in wanted}:
            _forget(store, one.number)
    for audience in wanted:
        _put(store, known, audience, now_ms)


def _put(store: OpenStore, known: Sequence[Defined], audience: Audience, now_ms: int) -> int:
    same = next((one for one in known if one.name == audience.name), None)
    if same and same.audience == audience:
        return same.number
    bound = {"name": audience.name, "definition": json.dumps(audience.as_table()), "now": now_ms}
    if same:
        store.scratch.run(
            "update store.audience set definition = $definition, changed_ms = $now, filled_ms = null where name = $name",
            bound,
        )
        return same.number
    # The number of an audience that is gone is not used again.
    number = int(
        store.scratch.row(
            "select 1 + greatest(coalesce((select max(number) from store.audience), 0), coalesce((select max(audience) from store.membership_change), 0))"
        )[0]
    )
    store.scratch.run(
        "insert into store.audience values ($number, $name, $definition, $now, null)",
        {**bound, "number": number},
    )
    return number


def drop_audience(store: OpenStore, name: str) -> None:
    """Forget an audience and its memberships; called within a transaction.

    Raises UsageError while another refers to it.
    """
    known = audiences(store)
    using = [
        one.name
        for one in known
        if one.name != name and fold(name) in map(fold, reads(one.audience.tree).audiences)
    ]
    if using:
        raise UsageError(
            f"audience {name} is in use: {', '.join(using)} {'refers' if len(using) == 1 else 'refer'} to it",
            f"remove {using[0]} first, or give it other criteria with audiences add --replace",
        )
    connected = [one.name for one in audience_connections(store) if one.audience == name]
    if connected:
        raise UsageError(
            f"audience {name} is in use: {', '.join(connected)} {'connects' if len(connected) == 1 else 'connect'} it to an output",
            f"take [connections.{connected[0]}] out of the configuration first: profilectl config export, config apply",
        )
    for one in known:
        if one.name == name:
            _forget(store, one.number)


def _forget(store: OpenStore, number: int) -> None:
    for table, column in (
        ("membership", "audience"),
        ("membership_change", "audience"),
        ("audience_told", "audience"),
        ("audience_outbox", "audience"),
        ("audience", "number"),
    ):
        store.scratch.run(f"delete from store.{table} where {column} = $number", {"number": number})


def workspace_for(store: OpenStore, stated: str) -> str:
    """Return the workspace of a definition that names this one: what --workspace names instead, and
    where neither says, the only one there is. Raises UsageError where several could be meant, or
    there is none of that name.
    """
    there = workspaces_of(store.feeds())
    wanted = store.workspace or (stated if stated != DEFAULT_WORKSPACE else None)
    if wanted is None and len(there) > 1:
        raise several_workspaces(there)
    if wanted is not None and there and wanted not in there:
        raise no_workspace(wanted, there)
    return wanted or next(iter(there), DEFAULT_WORKSPACE)


def check_meant(store: OpenStore, what: str, workspace: str) -> None:
    """Refuse what belongs to another workspace than --workspace names. Raises InputRefused."""
    if store.workspace not in (None, workspace):
        raise InputRefused(
            f"the {what} belongs to the workspace {workspace}, not to {store.workspace}",
            f"--workspace {workspace}",
        )


def check_workspace(store: OpenStore) -> None:
    """Refuse a workspace that is named and is none. Raises UsageError."""
    there = workspaces_of(store.feeds())
    if store.workspace is not None and there and store.workspace not in there:
        raise no_workspace(store.workspace, there)


def workspaces_defined(store: OpenStore) -> list[str]:
    """Return the workspaces that have calculated attributes or audiences, sorted."""
    return sorted(
        {
            *(one.definition.workspace for one in calculations(store)),
            *(one.audience.workspace for one in audiences(store)),
        }
    )


def outputs(store: OpenStore) -> list[Output]:
    """Return the outputs of a store, by name."""
    return [
        output_of(name, json.loads(text))
        for name, text in store.scratch.rows(
            "select name, definition from store.output order by name"
        )
    ]


def connections(store: OpenStore) -> list[Connection]:
    """Return the connections of feeds that a store has, by name."""
    return [
        connection_of(name, table)
        for name, table in _connected(store)
        if not is_of_audience(name, table)
    ]


def audience_connections(store: OpenStore) -> list[AudienceConnection]:
    """Return the connections of audiences that a store has, by name."""
    return [
        audience_connection_of(name, table)
        for name, table in _connected(store)
        if is_of_audience(name, table)
    ]


def _connected(store: OpenStore) -> list[tuple[str, dict[str, Any]]]:
    return [
        (name, json.loads(text))
        for name, text in store.scratch.rows(
            "select name, definition from store.connection order by name"
        )
    ]


def replace_connections(
    store: OpenStore,
    wanted_outputs: Sequence[Output],
    wanted: Sequence[Connection],
    of_audiences: Sequence[AudienceConnection] = (),
) -> None:
    """Make these the outputs and connections of a store; called within a transaction, checked.

    What waits for one that is gone goes on waiting (outbox.py). An output that is somewhere else
    now has been told of nobody yet.
    """
    _since_when(store, [one.name for one in wanted_outputs])
    places = {one.name: (one.type, one.place) for one in wanted_outputs}
    for one in outputs(store):
        if places.get(one.name, (one.type, one.place)) != (one.type, one.place):
            for table in ("audience_told", "audience_outbox"):
                store.scratch.run(
                    f"delete from store.{table} where output = $output", {"output": one.name}
                )
    declared = [
        *((one.name, one.as_table()) for one in wanted),
        *((one.name, one.as_table()) for one in of_audiences),
    ]
    for table, tables in (
        ("output", [(one.name, one.as_table()) for one in wanted_outputs]),
        ("connection", sorted(declared, key=lambda one: one[0])),
    ):
        store.scratch.run(f"delete from store.{table}")
        for name, definition in tables:
            store.scratch.run(
                f"insert into store.{table} values ($name, $definition)",
                {"name": name, "definition": json.dumps(definition, ensure_ascii=False)},
            )


def _since_when(store: OpenStore, wanted: Sequence[str]) -> None:
    """Write down from which arrival on outputs are there: what was deleted before is not told them.
    Of one that an older version declared that is not known.
    """
    there = {name for (name,) in store.scratch.rows("select name from store.output")}
    store.scratch.run(
        "delete from store.output_since where not list_contains($wanted::varchar[], output)",
        {"wanted": list(wanted)},
    )
    for output in wanted:
        if output not in there:
            store.scratch.run(
                "insert into store.output_since values ($output, $arrival)",
                {"output": output, "arrival": store.next_import()[1]},
            )


def check_connections(
    wanted_outputs: Sequence[Output],
    wanted: Sequence[Connection],
    purposes: Collection[str] | None = None,
) -> None:
    """Check that connections name outputs that are there, and none twice the same, that no two
    outputs have the same secrets, and that rules ask about purposes that consent may be about.
    purposes: consent.gdpr_purposes, None: any. Raises UsageError.
    """
    names = {one.name for one in wanted_outputs}
    keys: dict[str, str] = {}
    for one_output in wanted_outputs:
        if one_output.type == "events-api" and "?" in one_output.place:
            raise UsageError(
                f"output {one_output.name}: host {one_output.place}: this is no address",
                "for example https://s2s.us1.mparticle.com",
            )
        if (
            TYPES[one_output.type].secret
            and keys.setdefault(variable(one_output.name, ""), one_output.name) != one_output.name
        ):
            raise UsageError(
                f"the outputs {keys[variable(one_output.name, '')]} and {one_output.name} would have the same credentials: {variable(one_output.name, 'secret')}",
                "names must differ in letters or digits",
            )
    there = {one.name: one for one in wanted_outputs}
    seen: dict[tuple[str, str], str] = {}
    for one in wanted:
        check_connection(one)
        if one.output not in names:
            raise UsageError(
                f"connection {one.name}: there is no output {one.output}",
                _declare("outputs", names),
            )
        other = seen.setdefault((one.feed, one.output), one.name)
        if other != one.name:
            raise UsageError(
                f"connection {one.name}: {other} connects the same feed and output",
                "a batch goes to an output once",
            )
        _check_purposes(one.name, one.consents, purposes)
        out = there[one.output]
        if out.type == "csv":
            raise UsageError(
                f"connection {one.name}: the output {one.output} is a csv: it takes audiences, not batches of feeds",
                'send batches to an output of type "jsonl"',
            )
        if one.only is not None and out.send_new_data_points:
            raise UsageError(
                f"connection {one.name}: only counts where the output has send_new_data_points = false",
                "use filter, or set it",
            )


def _declare(section: str, names: Iterable[str]) -> str:
    """Return what to do about a name that is not declared, with those that are."""
    there = ", ".join(sorted(names))
    return f"declare it: [{section}.NAME]; " + (
        f"there are {there}" if there else f"there are no {section} yet"
    )


def check_audience_connections(
    wanted_outputs: Sequence[Output],
    wanted: Sequence[AudienceConnection],
    there: Collection[str],
    purposes: Collection[str] | None = None,
) -> None:
    """Check that connections of audiences name audiences and outputs that are there, and that these
    take them. there: the names of the audiences. Raises UsageError.
    """
    named = {one.name: one for one in wanted_outputs}
    seen: dict[tuple[str, str], str] = {}
    files: dict[str, str] = {}
    for one in wanted:
        where = f"connection {one.name}"
        if one.audience not in there:
            raise UsageError(
                f"{where}: there is no audience {one.audience}", _declare("audiences", there)
            )
        if one.output not in named:
            raise UsageError(
                f"{where}: there is no output {one.output}", _declare("outputs", named)
            )
        if named[one.output].type == "events-api":
            raise UsageError(
                f"{where}: the output {one.output} is an events-api: it takes batches of feeds, not audiences",
                'use one of type "webhook", "jsonl" or "csv"',
            )
        other = seen.setdefault((one.audience, one.output), one.name)
        if other != one.name:
            raise UsageError(
                f"{where}: {other} connects the same audience and output",
                "an output is told of an audience once",
            )
        if named[one.output].type == "csv" and files.setdefault(one.output, one.name) != one.name:
            raise UsageError(
                f"{where}: the output {one.output} is a csv, and has {files[one.output]} already: a file holds one audience",
                "give it an output of its own",
            )
        _check_purposes(one.name, one.consents, purposes)


def _check_purposes(
    name: str, rules: Sequence[ConsentRule], purposes: Collection[str] | None
) -> None:
    for rule in rules:
        if rule.purpose[0] == "gdpr" and purposes is not None and rule.purpose[1] not in purposes:
            raise UsageError(
                f"connection {name}: consent: there is no purpose {rule.purpose[1]}",
                f"consent.gdpr_purposes has {', '.join(sorted(purposes)) or 'none'}",
            )
