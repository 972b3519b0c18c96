"""The definitions of a store: calculated attributes, audiences, outputs and connections."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from profilectl.codes import InputRefused, UsageError
from profilectl.rules.audience import Audience, audience_of
from profilectl.rules.calculated import Definition, definition_of
from profilectl.rules.criteria.references import order_of_evaluation
from profilectl.rules.criteria.text import marked, quoted
from profilectl.rules.criteria.tree import reads
from profilectl.rules.event.field import caseless
from profilectl.rules.feed import DEFAULT_WORKSPACE, workspaces_of
from profilectl.rules.leaving.audience_connection import (
    AudienceConnection,
    audience_connection_of,
    is_of_audience,
)
from profilectl.rules.leaving.connection import Connection, ConsentRule
from profilectl.rules.leaving.connection_config import check_connection, connection_of
from profilectl.rules.leaving.output import TYPES, Output, output_of, variable
from profilectl.rules.text.naming import advice, instead, no_such
from profilectl.rules.workspace import no_workspace, several_workspaces
from profilectl.store.store import OpenStore

CALCULATIONS = """
select name, definition, changed_ms, filled_ms
from store.calculation
order by name
"""
PUT_CALCULATION = "insert into store.calculation values ($name, $definition, $now, null)"
DROP_CALCULATION = "delete from store.calculation where name = $name"
DROP_CALCULATED = "delete from store.calculated where name = $name"
# Without filled_ms, the next refresh evaluates an audience for everybody.
EVALUATE_AGAIN = "update store.audience set filled_ms = null where number = $number"

AUDIENCES = """
select number, name, definition, changed_ms, filled_ms
from store.audience
order by number
"""
CHANGE_AUDIENCE = """
update store.audience
set definition = $definition, changed_ms = $now, filled_ms = null
where name = $name
"""
# The number of an audience that is gone is not used again: changes of it may still be on record.
NEXT_AUDIENCE = """
select 1 + greatest(
    coalesce((select max(number) from store.audience), 0),
    coalesce((select max(audience) from store.membership_change), 0)
)
"""
PUT_AUDIENCE = "insert into store.audience values ($number, $name, $definition, $now, null)"
FORGET_AUDIENCE = (
    "delete from store.membership where audience = $number",
    "delete from store.membership_change where audience = $number",
    "delete from store.audience_told where audience = $number",
    "delete from store.audience_outbox where audience = $number",
    "delete from store.audience where number = $number",
)

OUTPUTS = "select name, definition from store.output order by name"
CONNECTIONS = "select name, definition from store.connection order by name"
DROP_OUTPUTS = "delete from store.output"
PUT_OUTPUT = "insert into store.output values ($name, $definition)"
DROP_CONNECTIONS = "delete from store.connection"
PUT_CONNECTION = "insert into store.connection values ($name, $definition)"
# An output that has another place now has got no members there yet.
FORGET_TOLD = (
    "delete from store.audience_told where output = $output",
    "delete from store.audience_outbox where output = $output",
)
OUTPUT_NAMES = "select name from store.output"
# An output that is declared again later begins anew.
DROP_SINCE = """
delete from store.output_since
where not list_contains($names::varchar[], output)
"""
PUT_SINCE = "insert into store.output_since values ($output, $arrival)"


@dataclass(frozen=True, slots=True)
class Calculation:
    """A calculated attribute of a store."""

    definition: Definition
    """Its definition."""
    changed_ms: int
    """When it was defined, or last changed."""
    filled_ms: int | None
    """When it was last computed for everybody; None: never."""

    @property
    def name(self) -> str:
        """Its name."""
        return self.definition.name


@dataclass(frozen=True, slots=True)
class Defined:
    """An audience of a store."""

    number: int
    """Its number, which is never used again."""
    audience: Audience
    """Its name, kind and criteria."""
    changed_ms: int
    """When it was defined, or last changed."""
    filled_ms: int | None
    """When it was last evaluated for everybody; None: never."""

    @property
    def name(self) -> str:
        """Its name."""
        return self.audience.name


def has_unfilled(store: OpenStore) -> bool:
    """Return whether a definition was never computed for everybody, for want of a refresh."""
    # A draft is not computed, and a standard audience only when somebody refreshes it.
    return any(
        each.filled_ms is None and not each.definition.draft for each in calculations(store)
    ) or any(
        audience.filled_ms is None and audience.audience.kind == "real-time"
        for audience in audiences(store)
    )


def calculations(store: OpenStore) -> list[Calculation]:
    """Return the calculated attributes of a store, by name."""
    # The name is the one that its values are kept under: older versions made stores in which a
    # reserved name is spelled otherwise in the definition.
    return [
        Calculation(
            replace(definition_of(name, json.loads(text)), name=name), changed_ms, filled_ms
        )
        for name, text, changed_ms, filled_ms in store.scratch.rows(CALCULATIONS)
    ]


def put_calculation(store: OpenStore, definition: Definition, now_ms: int) -> None:
    """Define a calculated attribute, or change it; called within a transaction.

    If it computes something else than before, it has no values until it is computed again.
    """
    same = next((each for each in calculations(store) if each.name == definition.name), None)
    if same and same.definition == definition:
        return
    # Dropped first, so that its old values go, and audiences that read it are evaluated again.
    drop_calculation(store, definition.name)
    table = json.dumps(definition.as_table())
    bound = {"name": definition.name, "definition": table, "now": now_ms}
    store.scratch.run(PUT_CALCULATION, bound)


def drop_calculation(store: OpenStore, name: str) -> None:
    """Forget a calculated attribute and its values; called within a transaction.

    Audiences that read it must be evaluated again for everybody: a stored attribute of that name,
    which it masked, is in force again (domain.md 6.3).
    """
    for audience in audiences(store):
        reads_it = name in reads(audience.audience.tree).attributes
        if audience.audience.kind == "real-time" and reads_it:
            store.scratch.run(EVALUATE_AGAIN, {"number": audience.number})
    store.scratch.run(DROP_CALCULATION, {"name": name})
    store.scratch.run(DROP_CALCULATED, {"name": name})


def audiences(store: OpenStore) -> list[Defined]:
    """Return the audiences of a store, by number."""
    return [
        Defined(
            number=number,
            audience=audience_of(name, json.loads(text)),
            changed_ms=changed_ms,
            filled_ms=filled_ms,
        )
        for number, name, text, changed_ms, filled_ms in store.scratch.rows(AUDIENCES)
    ]


def audience_defined(store: OpenStore, name: str) -> Defined:
    """Return an audience by its name.

    Raises UsageError if there is none, InputRefused if it belongs to another workspace than
    --workspace names.
    """
    defined = audiences(store)
    audience = next((each for each in defined if each.name == name), None)
    if audience is None:
        own = [each.name for each in defined if store.means(each.audience.workspace)]
        raise no_such("audience", name, own, lists="profilectl audiences list")
    check_meant(store, f"audience {name}", audience.audience.workspace)
    return audience


def check_references(declared: Sequence[Audience]) -> None:
    """Check that audiences refer to one another as they may (domain.md 11.2).

    Raises UsageError, with a mark at a name that nobody has.
    """
    names = {caseless(audience.name) for audience in declared}
    for audience in declared:
        for referred in reads(audience.tree).audiences:
            if caseless(referred) not in names:
                criteria = audience.criteria
                # The name stands in the expression as it was written (criteria/text.py).
                at = criteria.index(f"audience {quoted(referred)}") + len("audience ")
                unlike = [each.name for each in declared if each is not audience]
                raise UsageError(
                    f"audience {audience.name} refers to {referred}: there is no such audience:"
                    f" {marked(criteria, at)}",
                    advice(referred, unlike, "profilectl audiences list"),
                )
    order_of_evaluation({audience.name: audience.tree for audience in declared})


def put_audience(store: OpenStore, audience: Audience, now_ms: int) -> int:
    """Define an audience, or change it; return its number.

    Called within a transaction. Members stay members until it is evaluated again. Raises UsageError
    for a reference that cannot be.
    """
    defined = audiences(store)
    unlike = [each.audience for each in defined if each.name != audience.name]
    check_references([*unlike, audience])
    return _put(store, defined, audience, now_ms=now_ms)


def replace_audiences(store: OpenStore, declared: Sequence[Audience], now_ms: int) -> None:
    """Make these the audiences of a store; called within a transaction, after check_references."""
    defined = audiences(store)
    names = {audience.name for audience in declared}
    for audience in defined:
        if audience.name not in names:
            _forget(store, audience.number)
    for new_audience in declared:
        _put(store, defined, new_audience, now_ms=now_ms)


def _put(store: OpenStore, defined: Sequence[Defined], audience: Audience, *, now_ms: int) -> int:
    """Define an audience, or change the one that has its name; return its number."""
    same = next((each for each in defined if each.name == audience.name), None)
    if same and same.audience == audience:
        return same.number
    bound = {"name": audience.name, "definition": json.dumps(audience.as_table()), "now": now_ms}
    if same:
        store.scratch.run(CHANGE_AUDIENCE, bound)
        return same.number
    number = int(store.scratch.row(NEXT_AUDIENCE)[0])
    store.scratch.run(PUT_AUDIENCE, {**bound, "number": number})
    return number


def check_unused(store: OpenStore, name: str) -> None:
    """Check that an audience may be removed.

    Raises UsageError while another refers to it, or a connection leads it to an output.
    """
    defined = audiences(store)
    using = [
        each.name
        for each in defined
        if each.name != name
        and caseless(name) in map(caseless, reads(each.audience.tree).audiences)
    ]
    if using:
        refer = "refers" if len(using) == 1 else "refer"
        raise UsageError(
            f"audience {name} is in use: {', '.join(using)} {refer} to it",
            f"remove {using[0]} first, or give it other criteria with audiences add --replace",
        )
    connected = [each.name for each in audience_connections(store) if each.audience == name]
    if connected:
        connect = "connects" if len(connected) == 1 else "connect"
        raise UsageError(
            f"audience {name} is in use: {', '.join(connected)} {connect} it to an output",
            f"profilectl config unset connections.{connected[0]} first",
        )


def drop_audience(store: OpenStore, name: str) -> None:
    """Forget an audience and its memberships; called within a transaction, after check_unused."""
    for audience in audiences(store):
        if audience.name == name:
            _forget(store, audience.number)


def _forget(store: OpenStore, number: int) -> None:
    for statement in FORGET_AUDIENCE:
        store.scratch.run(statement, {"number": number})


def workspace_for(store: OpenStore, own: str) -> str:
    """Return the workspace of a definition.

    It is the one that --workspace names, else `own`, which the definition states, else the only
    one there is. Raises UsageError where several could be meant, or there is none of that name.
    """
    workspaces = workspaces_of(store.feeds())
    # The default workspace is also that of a definition that states none.
    workspace = store.workspace or (own if own != DEFAULT_WORKSPACE else None)
    if workspace is None and len(workspaces) > 1:
        raise several_workspaces(workspaces)
    if workspace is not None and workspaces and workspace not in workspaces:
        raise no_workspace(workspace, workspaces)
    return workspace or next(iter(workspaces), DEFAULT_WORKSPACE)


def check_meant(store: OpenStore, subject: str, workspace: str) -> None:
    """Check that something belongs to the workspace that --workspace names. Raises InputRefused."""
    if store.workspace not in (None, workspace):
        raise InputRefused(
            f"the {subject} belongs to the workspace {workspace}, not to {store.workspace}",
            f"--workspace {workspace}",
        )


def check_workspace(store: OpenStore) -> None:
    """Check that the workspace that --workspace names exists. Raises UsageError."""
    workspaces = workspaces_of(store.feeds())
    if store.workspace is not None and workspaces and store.workspace not in workspaces:
        raise no_workspace(store.workspace, workspaces)


def workspaces_defined(store: OpenStore) -> list[str]:
    """Return the workspaces that have calculated attributes or audiences, sorted."""
    return sorted(
        {
            *(each.definition.workspace for each in calculations(store)),
            *(audience.audience.workspace for audience in audiences(store)),
        }
    )


def outputs(store: OpenStore) -> list[Output]:
    """Return the outputs of a store, by name."""
    return [output_of(name, json.loads(text)) for name, text in store.scratch.rows(OUTPUTS)]


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
    return [(name, json.loads(text)) for name, text in store.scratch.rows(CONNECTIONS)]


def replace_connections(
    store: OpenStore,
    wanted_outputs: Sequence[Output],
    declared: Sequence[Connection],
    of_audiences: Sequence[AudienceConnection] = (),
) -> None:
    """Make these the outputs and connections of a store.

    Called within a transaction, after check_connections. Batches that wait for an output that is
    gone go on waiting (outputs/outbox.py).
    """
    scratch = store.scratch
    _note_since(store, [output.name for output in wanted_outputs])
    places = {output.name: (output.type, output.place) for output in wanted_outputs}
    for output in outputs(store):
        place = (output.type, output.place)
        if places.get(output.name, place) != place:
            for statement in FORGET_TOLD:
                scratch.run(statement, {"output": output.name})
    scratch.run(DROP_OUTPUTS)
    for output in wanted_outputs:
        scratch.run(PUT_OUTPUT, _as_row(output.name, output.as_table()))
    scratch.run(DROP_CONNECTIONS)
    of_both = [
        *((each.name, each.as_table()) for each in declared),
        *((each.name, each.as_table()) for each in of_audiences),
    ]
    for name, table in sorted(of_both, key=lambda row: row[0]):
        scratch.run(PUT_CONNECTION, _as_row(name, table))


def _as_row(name: str, table: object) -> dict[str, str]:
    return {"name": name, "definition": json.dumps(table, ensure_ascii=False)}


def _note_since(store: OpenStore, names: Sequence[str]) -> None:
    """Write down the arrival from which on each new output gets the deletions of attributes.

    It is not known of an output that an older version declared.
    """
    before = {name for (name,) in store.scratch.rows(OUTPUT_NAMES)}
    store.scratch.run(DROP_SINCE, {"names": list(names)})
    for output in names:
        if output not in before:
            arrival = store.next_import()[1]
            store.scratch.run(PUT_SINCE, {"output": output, "arrival": arrival})


def check_connections(
    wanted_outputs: Sequence[Output],
    declared: Sequence[Connection],
    purposes: Collection[str] | None = None,
) -> None:
    """Check outputs, and the connections of feeds with them.

    No two outputs may have the same secrets. A connection must name an output that exists, no two
    may connect the same feed and output, and a rule on consent must name a purpose that may be
    stated. `purposes` are consent.gdpr_purposes; None: any. Raises UsageError.
    """
    _check_outputs(wanted_outputs)
    by_name = {output.name: output for output in wanted_outputs}
    connected: dict[tuple[str, str], str] = {}
    for connection in declared:
        name = connection.name
        check_connection(connection)
        if connection.output not in by_name:
            raise UsageError(
                f"connection {name}: there is no output {connection.output}",
                instead(connection.output, by_name, _declare("outputs", by_name)),
            )
        before = connected.setdefault((connection.feed, connection.output), name)
        if before != name:
            raise UsageError(
                f"connection {name}: {before} connects the same feed and output",
                "a batch goes to an output once",
            )
        _check_purposes(name, connection.consents, purposes)
        output = by_name[connection.output]
        if output.type == "csv":
            raise UsageError(
                f"connection {name}: the output {output.name} is a csv:"
                " it takes audiences, not batches of feeds",
                'send batches to an output of type "jsonl"',
            )
        if connection.only is not None and output.send_new_data_points:
            raise UsageError(
                f"connection {name}: only counts where the output has send_new_data_points = false",
                "use filter, or set it",
            )


def _check_outputs(wanted_outputs: Sequence[Output]) -> None:
    """Check the addresses of outputs, and that no two have the same secrets. Raises UsageError."""
    by_variable: dict[str, str] = {}
    for output in wanted_outputs:
        name = output.name
        if output.type == "events-api" and "?" in output.place:
            raise UsageError(
                f"output {name}: host {output.place}: this is no address",
                "for example https://s2s.us1.mparticle.com",
            )
        if TYPES[output.type].secret:
            # Names that differ in other characters only have the same variables (output.variable).
            before = by_variable.setdefault(variable(name, ""), name)
            if before != name:
                raise UsageError(
                    f"the outputs {before} and {name} would have the same credentials:"
                    f" {variable(name, 'secret')}",
                    "names must differ in letters or digits",
                )


def _declare(section: str, names: Iterable[str]) -> str:
    """Return the advice on a name that is not declared, with the names that are."""
    listed = ", ".join(sorted(names))
    return f"declare it: [{section}.NAME]; " + (
        f"there are {listed}" if listed else f"there are no {section} yet"
    )


def check_audience_connections(
    wanted_outputs: Sequence[Output],
    declared: Sequence[AudienceConnection],
    there: Collection[str],
    purposes: Collection[str] | None = None,
) -> None:
    """Check that connections of audiences name audiences and outputs that go together.

    `there` are the names of the audiences. Raises UsageError.
    """
    by_name = {output.name: output for output in wanted_outputs}
    connected: dict[tuple[str, str], str] = {}
    files: dict[str, str] = {}
    for connection in declared:
        name, prefix = connection.name, f"connection {connection.name}"
        if connection.audience not in there:
            raise UsageError(
                f"{prefix}: there is no audience {connection.audience}",
                instead(connection.audience, there, _declare("audiences", there)),
            )
        if connection.output not in by_name:
            raise UsageError(
                f"{prefix}: there is no output {connection.output}",
                instead(connection.output, by_name, _declare("outputs", by_name)),
            )
        output = by_name[connection.output]
        if output.type == "events-api":
            raise UsageError(
                f"{prefix}: the output {output.name} is an events-api:"
                " it takes batches of feeds, not audiences",
                'use one of type "webhook", "jsonl" or "csv"',
            )
        before = connected.setdefault((connection.audience, output.name), name)
        if before != name:
            raise UsageError(
                f"{prefix}: {before} connects the same audience and output",
                "an audience is connected to an output once",
            )
        if output.type == "csv" and files.setdefault(output.name, name) != name:
            raise UsageError(
                f"{prefix}: the output {output.name} is a csv, and has {files[output.name]}"
                " already: a file holds one audience",
                "give it an output of its own",
            )
        _check_purposes(name, connection.consents, purposes)


def _check_purposes(
    name: str, rules: Sequence[ConsentRule], purposes: Collection[str] | None
) -> None:
    """Check that rules name purposes that consent may be about. Raises UsageError."""
    for rule in rules:
        regulation, purpose = rule.purpose
        if regulation == "gdpr" and purposes is not None and purpose not in purposes:
            raise UsageError(
                f"connection {name}: consent: there is no purpose {purpose}",
                f"consent.gdpr_purposes has {', '.join(sorted(purposes)) or 'none'}",
            )
