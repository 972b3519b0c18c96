"""Waiting batches put together as they leave: each with its profile as it was after it.

The rows of the profiles are read once and played through in the order of arrival (activity.py); at
each batch that waits the profile is what it was then, whatever arrived since. The rules are
enrichment.py's.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

from profilectl.outputs.handed_over import Riding
from profilectl.outputs.outbox import WaitingBatch
from profilectl.profiles.activity import Activity, Touch
from profilectl.profiles.played import activities
from profilectl.profiles.read_model import account_profiles, profiles_of
from profilectl.rules.batch import Reading
from profilectl.rules.calculated import Definition
from profilectl.rules.consent import Purpose, Said, replaces, statements_of
from profilectl.rules.event.event import opted_out
from profilectl.rules.feed import NO_WORKSPACE, Feed, completed_in, workspaces_of
from profilectl.rules.identity import BY_NAME, Usable, display, usable
from profilectl.rules.leaving.connection import Connection, filtered, refusal
from profilectl.rules.leaving.enrichment import (
    Holding,
    MembershipSince,
    Naming,
    Outgoing,
    ProfileThen,
    Received,
    Sent,
    addressed,
    as_received,
    calculated_at,
    completed,
)
from profilectl.rules.leaving.output import Output
from profilectl.rules.priority import CONSENT_SOURCES
from profilectl.rules.text.values import Value, parse_json
from profilectl.store.definitions import audiences, calculations
from profilectl.store.store import OpenStore


@dataclass(frozen=True, slots=True)
class Composer:
    """What is needed to put batches of a store together."""

    store: OpenStore
    naming: Naming
    lifetime: bool
    reading: Reading
    definitions: Sequence[Definition]
    feeds: dict[int, Feed]
    login: Collection[str]

    def compose(self, waiting: Sequence[WaitingBatch]) -> dict[int, Outgoing]:
        """Return the batches by arrival. One whose profile is not there any more is left out."""
        found: dict[int, Outgoing] = {}
        for one in waiting:
            if one.profile is None:
                found[one.arrival] = as_received(self._nobodys(one), self.naming)
        memberships = self._memberships(waiting) if self.lifetime else {}
        consents = self._consents(
            [
                one
                for one in waiting
                if one.profile is not None and self.workspace_of(one) == NO_WORKSPACE
            ]
        )
        by_workspace: dict[str, list[WaitingBatch]] = {}
        for one in waiting:
            if one.profile is not None:
                by_workspace.setdefault(self.workspace_of(one), []).append(one)
        for workspace, ones in by_workspace.items():
            profiles = (
                account_profiles(self.store)
                if workspace == NO_WORKSPACE
                else profiles_of(self.store, workspace=workspace)
            )
            wanted: dict[int, dict[int, WaitingBatch]] = {}
            for one in ones:
                assert one.profile is not None
                wanted.setdefault(one.profile, {})[one.arrival] = one
            definitions = [
                one for one in self.definitions if not one.draft and one.workspace == workspace
            ]
            for activity in activities(profiles, sorted(wanted)):
                found |= self._played(
                    activity, wanted[activity.profile], definitions, memberships, consents
                )
        return found

    def leaving(
        self,
        one: WaitingBatch,
        outgoing: Outgoing,
        connection: Connection,
        to: Output,
        riding: Riding,
    ) -> dict[str, Value] | str:
        """Return what leaves of a batch through an active connection, with the deletions that ride
        along, or why nothing does.
        """
        view = (self.workspace_of(one), one.profile) if one.profile is not None else None
        outgoing = riding.completed(outgoing, view)
        reason = refusal(outgoing, connection, to, self.login)
        left = (
            None if reason else filtered(addressed(outgoing, to.name, self.naming), connection, to)
        )
        if left is None:
            return reason or "FILTERED"
        riding.leaves(outgoing, view, left)
        return left

    def _played(
        self,
        activity: Activity,
        wanted: dict[int, WaitingBatch],
        definitions: Sequence[Definition],
        memberships: dict[int, list[MembershipSince]],
        consents: dict[int, list[dict[Purpose, Said]]],
    ) -> dict[int, Outgoing]:
        """Play a profile through, and put each batch that is wanted together as it comes."""
        found: dict[int, Outgoing] = {}
        attributes: dict[str, str] = {}
        gone: dict[str, int] = {}
        consent: dict[Purpose, Said] = {}
        # from when on it holds, and what it is
        attributions: list[tuple[int, dict[str, Value]]] = []
        due_ms = {
            touch.origin.arrival: touch.alias.due_ms for touch in activity.every() if touch.alias
        }
        answers = [one for one in activity.occurred() if one.type == "opt_out"]
        last = max(wanted)
        for touch in activity.touches:
            arrival = touch.origin.arrival
            if arrival > last:
                break
            before = dict(consent)
            for entry in touch.entries:
                if entry.kind == "deleted":
                    attributes.pop(entry.key, None)
                    gone[entry.key] = arrival
                elif entry.kind != "blocked":
                    attributes[entry.key] = entry.held
                    gone.pop(entry.key, None)
            if touch.origin.feed.source in CONSENT_SOURCES:
                for purpose, said in statements_of(touch.rest.get("consent_state")).items():
                    if replaces(said, consent.get(purpose)):
                        consent[purpose] = said
            stated = touch.rest.get("attribution_info")
            if isinstance(stated, dict) and stated:
                attributions.append((due_ms.get(arrival, 0), stated))
            if arrival in wanted:
                one = wanted[arrival]
                # At that time an alias that came later, or was not due, had carried nothing over.
                aliases = {
                    alias
                    for alias, due in due_ms.items()
                    if alias < arrival and due <= one.received_ms
                }
                occurred = activity.counted(aliases) if definitions else []
                attribution = next(
                    (carried for due, carried in reversed(attributions) if due <= one.received_ms),
                    {},
                )
                calculated = calculated_at(definitions, occurred, arrival, one.received_ms)
                # An opt-out holds also where no audience was evaluated since.
                out = opted_out(event for event in answers if event.arrival < arrival)
                known = ProfileThen(
                    activity.mpid,
                    _holdings(activity, arrival, one.held),
                    dict(attributes),
                    calculated,
                    dict(consent),
                    before,
                    attribution,
                    consents.get(arrival, ()),
                    () if out else memberships.get(arrival, ()),
                    dict(gone),
                )
                found[arrival] = completed(
                    self._received(touch, one, activity.environment),
                    known,
                    self.naming,
                    lifetime=self.lifetime,
                )
        return found

    def _memberships(self, waiting: Sequence[WaitingBatch]) -> dict[int, list[MembershipSince]]:
        """Return by arrival the audiences that its profile was in when the batch arrived: what its
        own import changed came after.
        """
        scratch = self.store.scratch
        scratch.load(
            "arrived",
            [
                ("arrival", "BIGINT"),
                ("profile", "BIGINT"),
                ("number", "INTEGER"),
                ("received_ms", "BIGINT"),
                ("workspace", "VARCHAR"),
            ],
            [
                (one.arrival, one.profile, one.number, one.received_ms, self.workspace_of(one))
                for one in waiting
                if one.profile is not None
            ],
        )
        spoken = {one.number: one.audience for one in audiences(self.store)}
        found: dict[int, list[MembershipSince]] = {}
        for arrival, workspace, number, since_ms in scratch.rows(
            "select one.arrival, one.workspace, past.audience, arg_max(past.at_ms, (past.at_ms, past.rowid)) from arrived as one"
            " join store.membership_change as past on past.profile = one.profile and"
            " case when past.import is null then past.at_ms < one.received_ms else past.import < one.number end"
            " group by all having arg_max(past.change, (past.at_ms, past.rowid)) = 'entered' order by one.arrival, past.audience"
        ):
            if number in spoken and spoken[number].workspace == workspace:
                found.setdefault(arrival, []).append(
                    MembershipSince(number, spoken[number].name, since_ms)
                )
        scratch.drop("arrived")
        return found

    def workspace_of(self, one: WaitingBatch) -> str:
        """Return the workspace whose attributes complete a batch."""
        return completed_in(self.feeds[one.feed], workspaces_of(self.feeds.values()))

    def _consents(self, waiting: Sequence[WaitingBatch]) -> dict[int, list[dict[Purpose, Said]]]:
        """Return by arrival, for batches of the account, what was in force of consent in each
        workspace after it.
        """
        found: dict[int, list[dict[Purpose, Said]]] = {}
        wanted: dict[int, list[int]] = {}
        for one in waiting:
            wanted.setdefault(one.profile or 0, []).append(one.arrival)
        for workspace in workspaces_of(self.feeds.values()) if wanted else ():
            for activity in activities(
                profiles_of(self.store, workspace=workspace), sorted(wanted), placed=False
            ):
                for arrival in wanted[activity.profile]:
                    found.setdefault(arrival, []).append(
                        {purpose: said for purpose, (said, _) in activity.consent(arrival).items()}
                    )
        return found

    def _received(self, touch: Touch, one: WaitingBatch, environment: str) -> Received:
        origin = touch.origin
        deleted = [entry.key for entry in touch.entries if entry.kind == "deleted"]
        return Received(
            origin.feed,
            origin.arrival,
            environment,
            origin.at_ms,
            one.received_ms,
            [Sent(event.at_ms, _object(event.document)) for event in touch.events],
            touch.rest,
            deleted,
            self._devices(json.loads(one.devices or "{}")),
        )

    def _devices(self, stated: dict[str, str]) -> dict[str, str]:
        return {
            kind: found.value
            for kind, found in self._usable(stated).items()
            if BY_NAME[kind].device
        }

    def _usable(self, stated: dict[str, Any]) -> dict[str, Usable]:
        # Whether a number was spoiled is for the import to say, which has left it out or was told
        # to take it.
        judging = replace(self.reading.judging, allow_spoiled=True)
        tried = {kind: usable(BY_NAME[kind], value, judging) for kind, value in stated.items()}
        return {kind: one for kind, one in tried.items() if isinstance(one, Usable)}

    def _nobodys(self, one: WaitingBatch) -> Received:
        """Read a batch of a feed that only reads, as the outbox keeps it."""
        document = _object(parse_json(one.content or "{}"))
        stated = {
            kind: usable.value
            for kind, usable in self._usable(_object(document.get("identities"))).items()
        }
        events = document.get("events")
        sent = []
        for event in map(_object, events if isinstance(events, list) else ()):
            at_ms = event.get("at_ms")
            sent.append(
                Sent(
                    int(str(at_ms)) if at_ms is not None else one.at_ms, _object(event.get("event"))
                )
            )
        deleted = document.get("deleted")
        return Received(
            self.feeds[one.feed],
            one.arrival,
            str(document["environment"]),
            one.at_ms,
            one.received_ms,
            sent,
            _object(document.get("rest")),
            [str(key) for key in deleted] if isinstance(deleted, list) else [],
            {kind: value for kind, value in stated.items() if BY_NAME[kind].device},
            stated,
            _object(document.get("attributes")),
        )


def composer_of(store: OpenStore) -> Composer:
    """Return what puts the batches of an open store together."""
    settings = store.settings()
    return Composer(
        store,
        Naming(store.meta("secret")),
        bool(settings.stated.get("retention.lifetime_profiles")),
        settings.reading,
        [one.definition for one in calculations(store)],
        {feed.number: feed for feed in store.feeds()},
        settings.rules.login,
    )


def _holdings(activity: Activity, arrival: int, fleeting: str | None) -> list[Holding]:
    """Return the identities that a profile held after a batch.

    fleeting: those it had for a while only, from the outbox.
    """
    held = [
        (one.origin.arrival, Holding(one.type, one.value, one.origin.at_ms))
        for one in (*activity.identities, *activity.lost)
        if one.origin.arrival <= arrival and (one.lost is None or one.lost > arrival)
    ]
    held += [
        (since, Holding(kind, display(value), at_ms))
        for kind, value, since, at_ms in json.loads(fleeting or "[]")
    ]
    return [one for _, one in sorted(held, key=lambda one: one[0])]


def _object(value: Value) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
