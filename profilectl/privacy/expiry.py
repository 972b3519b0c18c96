"""Profiles beyond their clocks (retention.py): what of the store goes, by the way in which erasure
goes (erasure.py).

Nobody is kept out afterwards, and no MPID is held back by a list: nothing is known any more of
whoever is gone. A stub is a profile whose rows have lost their cells; the rows stay, because they
carry its identities.
"""

from __future__ import annotations

from typing import cast

from profilectl.privacy.erased import Meant
from profilectl.privacy.erasure import Leaving
from profilectl.profiles.read_model import FORGOTTEN, Profiles, retired
from profilectl.rules.interpreter import REQUEST_MEMORY_MS
from profilectl.rules.retention import Clocks
from profilectl.rules.sql.identities import ENVIRONMENT_NAME
from profilectl.rules.sql.quoting import quote_identifier, quote_text
from profilectl.rules.text.values import parse_json, to_json
from profilectl.store.segments import known_mpids

KEPT_BY_STUB = (
    "row",
    "index",
    "mpid",
    "event",
    "rest",
    "removed",
    "alias",
    "aged",
    "membership_change",
    "handed_over",
    "audience_told",
    "audience_outbox",
    "sent_profile",
    "sent_event",
)
"""What a stub keeps: who it is, when it was seen, its events (`rest` of it holds those), when it
entered and left audiences, and what outputs and hosts have of it: that is gone is told them, and
no event twice.
"""
OPT_OUT = "opt_out"
"""An event that stays as long as its profile does, however old it is: who has opted out would be
back in audiences else (domain.md 14).
"""
DEVICE_FIELDS = ("device_info", "mp_deviceid", "integration_attributes")
"""What of a batch is of a device: it goes also where the profile keeps its attributes."""


def make_stages(profiles: Profiles, clocks: Clocks, at_ms: int) -> list[int]:
    """Make `last_update` (profile, last_ms, stage): retention.Clocks.stage, for all at once; return
    who goes for good.
    """
    rows = " union all ".join(
        f"select profile, at_ms from {one.table('row')}"
        for one in profiles.segments
        if "row" in one.tables
    )
    taken = (
        f"select destination as profile, due_ms as at_ms from store.alias where due_ms <= {at_ms}"
    )
    rows = " union all ".join([*([rows] if rows else []), taken])
    beyond = {
        stage: f"{at_ms} - max(at_ms) > {period}" if period is not None else "false"
        for stage, period in (("gone", clocks.retention_ms), ("stub", clocks.lifetime_ms))
    }
    scratch = profiles.store.scratch
    scratch.make(
        "last_update",
        f"select profile, max(at_ms) as last_ms, case when {beyond['gone']} then 'gone' when {beyond['stub']} then 'stub' else 'live' end as stage"
        f" from ({rows}) group by profile",
    )
    scratch.make("aged_profile", "select profile from last_update where stage = 'stub'")
    return [
        profile
        for (profile,) in scratch.rows("select profile from last_update where stage = 'gone'")
    ]


class Ageing(Leaving):
    """Retention in the making, on a store that is attached for writing.

    stubs: profiles that lost what they had.
    """

    act = "retention"
    keeps_out = False

    def __init__(self, profiles: Profiles, clocks: Clocks, *, now_ms: int) -> None:
        self.clocks, self.at_ms, self.stubs, self.events = clocks, now_ms, 0, 0
        gone = make_stages(profiles, clocks, now_ms)
        profiles.store.scratch.load("less_left", [("profile", "BIGINT")], [])
        super().__init__(
            profiles, [Meant("any", "", tuple(gone))], allow_return=True, now_ms=now_ms
        )

    def _taken(self) -> tuple[str, str]:
        self.outcome.suppressed = 0
        self._strip()
        self._rest()
        self._remember()
        return (
            "select profile from erased_profile union all select profile from less_left",
            "select profile from stripped union all select profile from less_left",
        )

    def _who(self, leaving: list[int]) -> None:
        super()._who(leaving)
        if not self.clocks.lifetime_profiles:
            # What a correction by hand had set goes with what it set.
            self.corrected |= {
                (mpid, ENVIRONMENT_NAME[code])
                for mpid, code in self.scratch.rows(
                    f"select mpid, environment from ({known_mpids(self.profiles.segments)}) where profile in (select profile from aged_profile)"
                )
            }

    def _strip(self) -> None:
        """Take the cells of stubs away, and all other tables' rows of theirs but those that a stub
        keeps.
        """
        lost = ["select null::bigint as profile where false"]
        if not self.clocks.lifetime_profiles:
            for segment in self.profiles.segments:
                cells = [f"a{n}" for n in range(len(segment.keys))]
                aged = f"profile in (select profile from aged_profile) and coalesce({', '.join([*cells, 'null'])}) is not null"
                if cells and self._count(f"{segment.table('row')} where {aged}"):
                    lost.append(f"select profile from {segment.table('row')} where {aged}")
                    self._tell("row cells", self._count(f"{segment.table('row')} where {aged}"))
                    emptied = ", ".join(
                        f"case when profile in (select profile from aged_profile) then null else {cell} end as {cell}"
                        for cell in cells
                    )
                    within = self.stays.get(
                        f"row_{segment.number}", f"select * from {segment.table('row')}"
                    )
                    self.stays[f"row_{segment.number}"] = (
                        f"select * replace ({emptied}) from ({within})"
                    )
            for table, columns in self.columns.items():
                kind = table.rpartition("_")[0] if table.rpartition("_")[2].isdigit() else table
                if "profile" not in columns or kind in KEPT_BY_STUB:
                    continue
                name = f"store.{quote_identifier(table)}"
                count = self._count(f"{name} where profile in (select profile from aged_profile)")
                if count:
                    lost.append(
                        f"select profile from {name} where profile in (select profile from aged_profile)"
                    )
                    self._tell(kind, count)
                    within = self.stays.get(table, f"select * from {name}")
                    self._less(
                        table,
                        f"select * from ({within}) where profile is null or profile not in (select profile from aged_profile)",
                    )
            lost += self._forget()
            self._leave()
            self._attributions()
        self.scratch.make("stripped", f"select distinct profile from ({' union all '.join(lost)})")

    def _forget(self) -> list[str]:
        """Return the SELECTs of stubs that have events which counted so far: they stay, and nothing
        is computed of them any more.
        """
        return [
            f"select one.profile from {segment.table('event')} as one left join ({FORGOTTEN}) as forgotten on forgotten.profile = one.profile"
            " where one.profile in (select profile from aged_profile) and one.arrival >= coalesce(forgotten.before, 0)"
            for segment in self.profiles.segments
            if "event" in segment.tables
        ]

    def _attributions(self) -> None:
        """Take from stubs the install attributions that aliases carried over to them."""
        aged = "destination in (select profile from aged_profile)"
        if self._count(f"store.alias where attribution is not null and {aged}"):
            within = self.stays.get("alias", "select * from store.alias")
            cell = f"case when {aged} then null else attribution end as attribution"
            self.stays["alias"] = f"select * replace ({cell}) from ({within})"

    def _leave(self) -> None:
        """Have stubs leave their audiences, as whoever follows those is to learn (domain.md 13)."""
        leaving = (
            f"select one.audience, one.profile, 'left' as change, {self.at_ms} as at_ms, null::integer as import, named.mpid from store.membership as one"
            f" join ({known_mpids(self.profiles.segments)}) as named on named.profile = one.profile where one.profile in (select profile from aged_profile)"
        )
        if count := self._count(f"({leaving})"):
            # these rows come
            self.gone["membership_change"] = self.gone.get("membership_change", 0) - count
            within = self.stays.get("membership_change", "select * from store.membership_change")
            self.stays["membership_change"] = (
                f"{within} union all (from ({leaving}) order by audience, profile)"
            )

        within = self.stays.get("audience_outbox", "select * from store.audience_outbox")
        self._less(
            "audience_outbox",
            f"select * from ({within}) where profile is null or profile not in (select profile from aged_profile)",
        )
        self._remove_there("aged_profile", erased=False)

    def _rest(self) -> None:
        """Take from the other fields of batches what goes with a stub, and events that were
        received too long ago.
        """
        retention = self.clocks.retention_ms
        for segment in self.profiles.segments:
            for kind in ("rest", "event"):
                if kind not in segment.tables:
                    continue
                old = f"row.at_ms < {self.at_ms - retention}" if retention is not None else "false"
                self.scratch.make(
                    f"looked_{kind}",
                    f"select one.arrival, one.profile, {'one.rest' if kind == 'rest' else 'null as rest'}, last_update.stage, coalesce({old}, false) as old"
                    f" from {segment.table(kind)} as one join last_update on last_update.profile = one.profile"
                    f" left join (select arrival, profile, at_ms from {segment.table('row')}) as row on row.arrival = one.arrival and row.profile = one.profile"
                    f" where last_update.stage <> 'gone' and (last_update.stage = 'stub' or coalesce({old}, false))",
                )
                self.scratch.run(
                    f"insert into less_left select distinct profile from looked_{kind} where old"
                )
                self._rest_of(segment.number) if kind == "rest" else self._events_of(
                    f"event_{segment.number}"
                )

    def _rest_of(self, number: int) -> None:
        left: list[tuple[int, str | None]] = []
        stripped: dict[int, None] = {}
        for arrival, profile, text, stage, old in self.scratch.rows(
            "select arrival, profile, rest, stage, old from looked_rest"
        ):
            was = parse_json(text)
            assert isinstance(was, dict)
            now = dict(was)
            if stage == "stub":
                now = {
                    name: value
                    for name, value in was.items()
                    if (
                        name == "events"
                        if not self.clocks.lifetime_profiles
                        else name not in DEVICE_FIELDS
                    )
                }
            if old and "events" in now:
                self.events += len(cast(list[object], now.pop("events")))
            if now != was:
                left.append((arrival, to_json(now) if now else None))
                if stage == "stub":
                    stripped[profile] = None
        if not left:
            return
        table, name = f"rest_{number}", f"left_rest_{number}"
        self.scratch.load(name, [("arrival", "BIGINT"), ("rest", "VARCHAR")], left)
        self.scratch.append("stripped", [("profile", "BIGINT")], [(one,) for one in stripped])
        self._tell("rest", len(left))
        within = self.stays.get(table, f"select * from store.{table}")
        self._less(
            table,
            f"select one.* replace (case when changed.arrival is null then one.rest else changed.rest end as rest) from ({within}) as one"
            f" left join {name} as changed on changed.arrival = one.arrival where changed.arrival is null or changed.rest is not null"
            " order by one.profile, one.arrival",
        )

    def _events_of(self, table: str) -> None:
        self.events += self._count(
            f"store.{table} where profile in (select profile from last_update where stage = 'gone')"
        )
        old = f"old_{table}"  # of each segment by itself: what stays is read when all is decided
        self.scratch.make(old, "select distinct arrival from looked_event where old")
        goes = f"arrival in (select arrival from {old}) and type <> '{OPT_OUT}'"
        count = self._count(f"store.{table} where {goes}")
        if count:
            self.events += count
            within = self.stays.get(table, f"select * from store.{table}")
            self._less(table, f"select * from ({within}) where not ({goes})")

    def _remember(self) -> None:
        """Write down whose values went, and forget request ids that nothing is compared with any
        more.
        """
        self.stubs = int(self.scratch.row("select count(distinct profile) from stripped")[0])
        within = self.stays.get("aged", "select * from store.aged")
        self.stays["aged"] = (
            f"{within} union all select distinct profile, {self.number} from stripped"
        )
        if self.stubs:
            mark = quote_text(retired(self.number, forgotten=not self.clocks.lifetime_profiles))
            within = self.stays.get("meta", "select * from store.meta")
            self.stays["meta"] = f"{within} union all select {mark}, '{self.next_arrival}'"
            self.gone["meta"] = self.gone.get("meta", 0) - 1  # a row that comes
        within = self.stays.get("request", "select * from store.request")
        self._less(
            "request", f"select * from ({within}) where {self.at_ms} - at_ms <= {REQUEST_MEMORY_MS}"
        )
        if self.clocks.retention_ms is not None:
            within = self.stays.get("outbox", "select * from store.outbox")
            self._less(
                "outbox",
                f"select * from ({within}) where profile is not null or {self.at_ms} - at_ms <= {self.clocks.retention_ms}",
            )

    def anything(self) -> bool:
        """Say whether anything goes."""
        return bool(self.outcome.profiles or self.stubs or self.events)

    def _count(self, rows: str) -> int:
        return int(self.scratch.row(f"select count(*) from {rows}")[0])

    def _tell(self, kind: str, count: int) -> None:
        self.outcome.tables[kind] = self.outcome.tables.get(kind, 0) + count
