"""Waiting batches put together as they leave, each with its profile as it was after the batch.

The rows of the profiles are read once and played through in the order of arrival
(profiles/played.py). At each waiting batch the profile is what it was then: later arrivals are left
out. The rules are in rules/leaving/enrichment.py.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from profilectl.files import progress
from profilectl.outputs.handed_over import Riding
from profilectl.outputs.outbox import FeedRoute, WaitingBatch
from profilectl.profiles.activity import Activity, Touch
from profilectl.profiles.played import activities
from profilectl.profiles.read_model import account_profiles, profiles_of
from profilectl.rules.batch import Reading
from profilectl.rules.calculated import Definition
from profilectl.rules.consent import Purpose, Statement, replaces, statements_of
from profilectl.rules.event.event import Occurred, opted_out
from profilectl.rules.feed import NO_WORKSPACE, Feed, completed_in, workspaces_of
from profilectl.rules.identity import BY_NAME, UsableIdentity, display, usable
from profilectl.rules.leaving.connection import filtered, refusal
from profilectl.rules.leaving.enrichment import (
    Holding,
    IdMaker,
    LeavingEvent,
    MembershipSince,
    Outgoing,
    ProfileThen,
    ReceivedBatch,
    addressed,
    as_received,
    calculated_at,
    completed,
)
from profilectl.rules.priority import CONSENT_SOURCES
from profilectl.rules.text.values import Value, parse_json
from profilectl.store.definitions import audiences, calculations
from profilectl.store.store import OpenStore

# The audiences that each profile was in when the batch arrived. The changes that its own import
# made came after it. A change by a command has no import, so its time is compared instead.
MEMBERSHIPS_AT_ARRIVAL = """
select batch.arrival, batch.workspace, past.audience,
       arg_max(past.at_ms, (past.at_ms, past.rowid)) as since_ms
from arrived as batch
join store.membership_change as past
  on past.profile = batch.profile
  and case when past.import is null then past.at_ms < batch.received_ms
           else past.import < batch.number end
group by all
having arg_max(past.change, (past.at_ms, past.rowid)) = 'entered'
order by batch.arrival, past.audience
"""
ARRIVED_COLUMNS = (
    ("arrival", "BIGINT"),
    ("profile", "BIGINT"),
    ("number", "INTEGER"),
    ("received_ms", "BIGINT"),
    ("workspace", "VARCHAR"),
)

Consents = list[dict[Purpose, Statement]]
"""The consent in force in each workspace."""


@dataclass(slots=True)
class _State:
    """A profile while it is played through."""

    attributes: dict[str, str] = field(default_factory=dict)
    """The held values of its attributes."""
    deleted: dict[str, int] = field(default_factory=dict)
    """The attributes that are deleted, and the arrival that deleted each."""
    consent: dict[Purpose, Statement] = field(default_factory=dict)
    """The consent in force."""
    consent_before: dict[Purpose, Statement] = field(default_factory=dict)
    """The consent in force before the batch that was applied last."""
    attributions: list[tuple[int, dict[str, Value]]] = field(default_factory=list)
    """The attributions that it had, and from when on each holds."""

    def apply(self, touch: Touch, due_ms: int) -> None:
        """Apply a batch. due_ms: the time from which it holds, if it is an alias."""
        arrival = touch.origin.arrival
        self.consent_before = dict(self.consent)
        for entry in touch.entries:
            if entry.kind == "deleted":
                self.attributes.pop(entry.key, None)
                self.deleted[entry.key] = arrival
            elif entry.kind != "blocked":
                self.attributes[entry.key] = entry.held
                self.deleted.pop(entry.key, None)
        if touch.origin.feed.source in CONSENT_SOURCES:
            for purpose, statement in statements_of(touch.rest.get("consent_state")).items():
                if replaces(statement, self.consent.get(purpose)):
                    self.consent[purpose] = statement
        attribution = touch.rest.get("attribution_info")
        if isinstance(attribution, dict) and attribution:
            self.attributions.append((due_ms, attribution))

    def attribution_at(self, at_ms: int) -> dict[str, Value]:
        """Return the attribution that holds at a time."""
        # The newest that is due.
        holding = (
            attribution for due_ms, attribution in reversed(self.attributions) if due_ms <= at_ms
        )
        return next(holding, {})


@dataclass(frozen=True, slots=True)
class _Past:
    """What is asked of the past of a profile at each of its batches."""

    activity: Activity
    """All of it."""
    due_ms: Mapping[int, int]
    """When each alias carries over what it does, by its arrival."""
    opt_outs: Sequence[Occurred]
    """The opt-outs, and what took them back."""


@dataclass(frozen=True, slots=True)
class _Surroundings:
    """What the batches of a workspace are completed with, beside their profiles."""

    definitions: Sequence[Definition]
    """The calculated attributes of the workspace."""
    memberships: Mapping[int, list[MembershipSince]]
    """By arrival, the audiences that the profile was in."""
    consents: Mapping[int, Consents]
    """By arrival, for batches of the account, the consent in each workspace after it."""


@dataclass(frozen=True, slots=True)
class Composer:
    """Puts the batches of a store together."""

    store: OpenStore
    """The store."""
    naming: IdMaker
    """Names what leaves."""
    lifetime: bool
    """Whether there are Lifetime Profiles."""
    reading: Reading
    """How batches are read."""
    definitions: Sequence[Definition]
    """The calculated attributes."""
    feeds: dict[int, Feed]
    """The feeds, by number."""
    login: Collection[str]
    """The types of identities that log somebody in."""

    def compose(self, waiting: Sequence[WaitingBatch]) -> dict[int, Outgoing]:
        """Return the batches by arrival; one is left out if its profile is not there any more."""
        composed = {
            batch.arrival: as_received(self._nobodys(batch), self.naming)
            for batch in waiting
            if batch.profile is None
        }
        by_workspace: dict[str, list[WaitingBatch]] = {}
        for batch in waiting:
            if batch.profile is not None:
                by_workspace.setdefault(self.workspace_of(batch), []).append(batch)
        memberships = self._memberships(waiting) if self.lifetime else {}
        consents = self._consents(by_workspace.get(NO_WORKSPACE, []))
        for workspace, batches in by_workspace.items():
            definitions = [
                definition
                for definition in self.definitions
                if not definition.draft and definition.workspace == workspace
            ]
            surroundings = _Surroundings(definitions, memberships, consents)
            composed |= self._composed_in(
                workspace, batches, surroundings, before=len(composed), total=len(waiting)
            )
        return composed

    def _composed_in(
        self,
        workspace: str,
        batches: Sequence[WaitingBatch],
        surroundings: _Surroundings,
        *,
        before: int,
        total: int,
    ) -> dict[int, Outgoing]:
        """Return the batches of a workspace, or of the account, by arrival.

        before: how many batches, of the total, were put together before.
        """
        profiles = (
            account_profiles(self.store)
            if workspace == NO_WORKSPACE
            else profiles_of(self.store, workspace=workspace)
        )
        by_profile: dict[int, dict[int, WaitingBatch]] = {}
        for batch in batches:
            assert batch.profile is not None
            by_profile.setdefault(batch.profile, {})[batch.arrival] = batch
        composed: dict[int, Outgoing] = {}
        for activity in activities(profiles, sorted(by_profile)):
            progress.part(before + len(composed), total)
            composed |= self._played(activity, by_profile[activity.profile], surroundings)
        return composed

    def leaving(
        self, batch: WaitingBatch, outgoing: Outgoing, route: FeedRoute, *, riding: Riding
    ) -> dict[str, Value] | str:
        """Return what leaves of a batch through an active connection, or why nothing does.

        The deletions that ride along leave with it.
        """
        connection, output = route
        view = (self.workspace_of(batch), batch.profile) if batch.profile is not None else None
        outgoing = riding.completed(outgoing, view)
        # Rules and sampling come before the data filter (domain.md 12).
        reason = refusal(outgoing, connection, output, login=self.login)
        if reason:
            return reason
        named = addressed(outgoing, output.name, self.naming)
        document = filtered(named, connection, output)
        if document is None:
            return "FILTERED"
        riding.leaves(outgoing, view, document)
        return document

    def _played(
        self,
        activity: Activity,
        waiting: Mapping[int, WaitingBatch],
        surroundings: _Surroundings,
    ) -> dict[int, Outgoing]:
        """Play a profile through, and put each batch that waits together as it comes."""
        composed: dict[int, Outgoing] = {}
        state = _State()
        past = _past_of(activity)
        newest = max(waiting)
        for touch in activity.touches:
            arrival = touch.origin.arrival
            if arrival > newest:
                break
            state.apply(touch, past.due_ms.get(arrival, 0))
            if arrival in waiting:
                batch = waiting[arrival]
                profile_then = _profile_then(past, state, batch, surroundings=surroundings)
                composed[arrival] = completed(
                    self._received(touch, batch, activity.environment),
                    profile_then,
                    self.naming,
                    lifetime=self.lifetime,
                )
        return composed

    def _memberships(self, waiting: Sequence[WaitingBatch]) -> dict[int, list[MembershipSince]]:
        """Return by arrival the audiences that its profile was in when the batch arrived."""
        scratch = self.store.scratch
        rows = [
            (
                batch.arrival,
                batch.profile,
                batch.number,
                batch.received_ms,
                self.workspace_of(batch),
            )
            for batch in waiting
            if batch.profile is not None
        ]
        scratch.load("arrived", ARRIVED_COLUMNS, rows)
        defined = {audience.number: audience.audience for audience in audiences(self.store)}
        memberships: dict[int, list[MembershipSince]] = {}
        for arrival, workspace, number, since_ms in scratch.rows(MEMBERSHIPS_AT_ARRIVAL):
            audience = defined.get(number)
            if audience is not None and audience.workspace == workspace:
                memberships.setdefault(arrival, []).append(
                    MembershipSince(number, audience.name, since_ms)
                )
        scratch.drop("arrived")
        return memberships

    def workspace_of(self, batch: WaitingBatch) -> str:
        """Return the workspace whose attributes complete a batch."""
        return completed_in(self.feeds[batch.feed], workspaces_of(self.feeds.values()))

    def _consents(self, batches: Sequence[WaitingBatch]) -> dict[int, Consents]:
        """Return the consent in force in each workspace after each batch of the account.

        The key is the arrival of the batch.
        """
        consents: dict[int, Consents] = {}
        arrivals: dict[int, list[int]] = {}
        for batch in batches:
            arrivals.setdefault(batch.profile or 0, []).append(batch.arrival)
        for workspace in workspaces_of(self.feeds.values()) if arrivals else ():
            for activity in activities(
                profiles_of(self.store, workspace=workspace), sorted(arrivals), placed=False
            ):
                for arrival in arrivals[activity.profile]:
                    in_force = activity.consent(arrival)
                    consents.setdefault(arrival, []).append(
                        {purpose: statement for purpose, (statement, _) in in_force.items()}
                    )
        return consents

    def _received(self, touch: Touch, batch: WaitingBatch, environment: str) -> ReceivedBatch:
        origin = touch.origin
        return ReceivedBatch(
            feed=origin.feed,
            arrival=origin.arrival,
            environment=environment,
            at_ms=origin.at_ms,
            received_ms=batch.received_ms,
            events=[LeavingEvent(event.at_ms, _object(event.document)) for event in touch.events],
            rest=touch.rest,
            deleted=[entry.key for entry in touch.entries if entry.kind == "deleted"],
            devices=_devices(self._usable(json.loads(batch.devices or "{}"))),
        )

    def _usable(self, identities: Mapping[str, object]) -> dict[str, str]:
        # The import has judged spoiled numbers already: it left them out or was allowed to take
        # them.
        judging = replace(self.reading.judging, allow_spoiled=True)
        judged = {
            kind: usable(BY_NAME[kind], value, judging)
            for kind, value in identities.items()
            if isinstance(value, str)
        }
        return {
            kind: identity.value
            for kind, identity in judged.items()
            if isinstance(identity, UsableIdentity)
        }

    def _nobodys(self, batch: WaitingBatch) -> ReceivedBatch:
        """Read a batch of a feed that only reads, which the outbox has whole."""
        document = _object(parse_json(batch.content or "{}"))
        identities = self._usable(_object(document.get("identities")))
        deleted, events = document.get("deleted"), document.get("events")
        sent = [
            _sent(_object(event), batch.at_ms)
            for event in (events if isinstance(events, list) else ())
        ]
        return ReceivedBatch(
            feed=self.feeds[batch.feed],
            arrival=batch.arrival,
            environment=str(document["environment"]),
            at_ms=batch.at_ms,
            received_ms=batch.received_ms,
            events=sent,
            rest=_object(document.get("rest")),
            deleted=[str(key) for key in deleted] if isinstance(deleted, list) else [],
            devices=_devices(identities),
            identities=identities,
            attributes=_object(document.get("attributes")),
        )


def composer_of(store: OpenStore) -> Composer:
    """Return the composer of the batches of an open store."""
    settings = store.settings()
    return Composer(
        store=store,
        naming=IdMaker(store.meta("secret")),
        lifetime=bool(settings.stated.get("retention.lifetime_profiles")),
        reading=settings.reading,
        definitions=[calculation.definition for calculation in calculations(store)],
        feeds={feed.number: feed for feed in store.feeds()},
        login=settings.rules.login,
    )


def _past_of(activity: Activity) -> _Past:
    return _Past(
        activity=activity,
        due_ms={
            touch.origin.arrival: touch.alias.due_ms for touch in activity.every() if touch.alias
        },
        opt_outs=[event for event in activity.occurred() if event.type == "opt_out"],
    )


def _profile_then(
    past: _Past, state: _State, batch: WaitingBatch, *, surroundings: _Surroundings
) -> ProfileThen:
    """Return a profile as it was after the batch that was applied last."""
    activity, arrival = past.activity, batch.arrival
    definitions = surroundings.definitions
    # An alias that came later, or was not due yet, had carried nothing over at that time.
    aliases = {
        alias
        for alias, due_ms in past.due_ms.items()
        if alias < arrival and due_ms <= batch.received_ms
    }
    occurred = activity.counted(aliases) if definitions else []
    # An opt-out holds also where no audience was evaluated since.
    out = opted_out(event for event in past.opt_outs if event.arrival < arrival)
    return ProfileThen(
        mpid=activity.mpid,
        identities=_holdings(activity, arrival, batch.held),
        attributes=dict(state.attributes),
        calculated=calculated_at(definitions, occurred, arrival=arrival, now_ms=batch.received_ms),
        consent=dict(state.consent),
        consent_before=state.consent_before,
        attribution=state.attribution_at(batch.received_ms),
        consents=surroundings.consents.get(arrival, ()),
        memberships=() if out else surroundings.memberships.get(arrival, ()),
        gone=dict(state.deleted),
    )


def _holdings(activity: Activity, arrival: int, passing: str | None) -> list[Holding]:
    """Return the identities that a profile held after a batch.

    passing: the JSON of those it held only for a while; the outbox has them.
    """
    holdings = [
        (
            identity.origin.arrival,
            Holding(identity.type, identity.value, identity.origin.at_ms),
        )
        for identity in (*activity.identities, *activity.lost)
        if identity.origin.arrival <= arrival and (identity.lost is None or identity.lost > arrival)
    ]
    holdings += [
        (since, Holding(kind, display(value), at_ms))
        for kind, value, since, at_ms in json.loads(passing or "[]")
    ]
    return [holding for _, holding in sorted(holdings, key=lambda since_holding: since_holding[0])]


def _sent(event: Mapping[str, Value], batch_ms: int) -> LeavingEvent:
    """Return an event of a batch that the outbox has whole. batch_ms: the time of the batch."""
    at_ms = event.get("at_ms")
    return LeavingEvent(
        int(str(at_ms)) if at_ms is not None else batch_ms, _object(event.get("event"))
    )


def _devices(identities: Mapping[str, str]) -> dict[str, str]:
    return {kind: value for kind, value in identities.items() if BY_NAME[kind].device}


def _object(value: Value) -> dict[str, Value]:
    return value if isinstance(value, dict) else {}
