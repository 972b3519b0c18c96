"""What leaves for each batch by the rules alone: the interpreter, and a profile that is looked at
after each batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from profilectl.rules.batch import Batch
from profilectl.rules.calculated import Definition
from profilectl.rules.consent import stated_ms
from profilectl.rules.event.event import Occurred
from profilectl.rules.feed import NO_WORKSPACE, Feed, completed_in
from profilectl.rules.feed import computed as refused_of
from profilectl.rules.fields import UnusableRow
from profilectl.rules.identity import BY_NAME
from profilectl.rules.interpreter import Interpreter
from profilectl.rules.leaving.enrichment import (
    Holding,
    IdMaker,
    LeavingEvent,
    Outgoing,
    ProfileThen,
    ReceivedBatch,
    as_received,
    calculated_at,
    completed,
)
from profilectl.rules.priority import CONSENT_SOURCES
from profilectl.rules.text.values import held_json, parse_json


@dataclass
class Watch:
    """An interpreter, and what it does not keep: what each batch of a profile said besides."""

    interpreter: Interpreter
    naming: IdMaker
    definitions: Sequence[Definition] = ()
    lifetime: bool = False
    workspaces: Sequence[str] = ()
    times: dict[int, int] = field(default_factory=dict)
    said: dict[int, list[tuple[Feed, dict[str, Any]]]] = field(default_factory=dict)

    def leaves(
        self, feed: Feed, protection: str, row: Batch | UnusableRow, now_ms: int, given: str | None
    ) -> Outgoing | None:
        """Apply one batch, and return what leaves of it; None: nothing, whatever an output takes."""
        arrival = self.interpreter.arrivals
        calculated: dict[str, list[str]] = {}
        for one in self.definitions:
            calculated.setdefault(one.workspace, []).append(one.name)
        self.interpreter.calculated = refused_of(feed, calculated, self.workspaces)
        # Whose profile completes it; of an account feed among several workspaces, what account
        # feeds have said alone.
        seen = Feed("", workspace=completed_in(feed, self.workspaces))
        before = {
            number: person.attributes(seen) for number, person in self.interpreter.people.items()
        }
        counts = self.interpreter.run(feed, protection, [row], now_ms, given)
        if isinstance(row, UnusableRow):
            return None
        at_ms = row.at_ms if row.at_ms is not None else now_ms
        self.times[arrival] = at_ms
        environment = row.environment or given or "production"
        rest: Any = parse_json(row.rest) if row.rest else {}
        sent = [
            LeavingEvent(event.at_ms if event.at_ms is not None else at_ms, parse_json(event.text))
            for event in row.events
        ]  # type: ignore[arg-type]
        devices = {one.type: one.value for one in row.identities if BY_NAME[one.type].device}
        if counts.codes["READ_ONLY"]:
            return as_received(
                ReceivedBatch(
                    feed,
                    arrival,
                    environment,
                    at_ms,
                    now_ms,
                    sent,
                    rest,
                    list(row.deletes),
                    devices,
                    {one.type: one.value for one in row.identities},
                    {key: parse_json(held_json(held)) for key, held in row.sets.items()},
                ),
                self.naming,
            )
        if not counts.rows["applied"]:
            return None
        profile = next(
            number
            for number, last in self.interpreter.records[environment].last.items()
            if last == arrival
        )
        person = self.interpreter.people[profile]
        told = self.said.setdefault(profile, [])
        consent_before = self._consent(seen, told)
        told.append((feed, rest))
        now, was = person.attributes(seen), before.get(profile, {})
        deleted = sorted(key for key in row.deletes if key in was and key not in now)
        attribution = [
            rest["attribution_info"]
            for other, rest in told
            if seen.shares_attributes(other) and rest.get("attribution_info")
        ]
        occurred = [
            Occurred(
                one.event.type,
                one.event.name,
                one.at_ms,
                one.arrival,
                one.place,
                one.event.session,
                parse_json(one.event.text),
            )  # type: ignore[arg-type]
            for one in person.events
            if seen.shares_attributes(one.feed)
        ]
        computed = [one for one in self.definitions if one.workspace == seen.workspace]
        known = ProfileThen(
            person.mpid,
            [Holding(one.type, one.value, self.times[since]) for one, since in person.identities],
            {key: cell.held for key, cell in now.items()},
            calculated_at(computed, occurred, arrival, now_ms),
            self._consent(seen, told),
            consent_before,
            attribution[-1] if attribution else {},
            [self._consent(Feed("", workspace=name), told) for name in self.workspaces]
            if seen.workspace == NO_WORKSPACE
            else (),
        )
        return completed(
            ReceivedBatch(feed, arrival, environment, at_ms, now_ms, sent, rest, deleted, devices),
            known,
            self.naming,
            lifetime=self.lifetime,
        )

    @staticmethod
    def _consent(
        feed: Feed, told: Sequence[tuple[Feed, dict[str, Any]]]
    ) -> dict[tuple[str, str], Any]:
        """Return the consent in force: of all that was said of a purpose, the newest; of equals the
        last.
        """
        found: dict[tuple[str, str], list[Any]] = {}
        for other, rest in told:
            if other.source in CONSENT_SOURCES and feed.shares_attributes(other):
                for regulation, purposes in rest.get("consent_state", {}).items():
                    for purpose, said in purposes.items():
                        found.setdefault((regulation, purpose), []).append(said)
        return {purpose: max(reversed(said), key=stated_ms) for purpose, said in found.items()}
