"""People erased: what of the store goes and what stays of it, table by table.

Nothing is deleted. A store is written anew from SELECTs of what stays and then takes the place of
the old one (copies.py): so no value is left in a free block, a log or the statistics of a column,
and at every moment there is either the store before or the one after. What goes:

    whatever has the profile (rows, cells, events, memberships, indexes, aliases on either side);
    in the past of others, the identities that went over to the erased;
    the text of rejects that name one of their identities (code and line stay);
    what was asked for in corrections of them by hand; their source_request_ids.

What is left of them has no value in it: arrivals, so that the history adds up and an import that is
made again leaves those rows out, and hashes of their identities, so that they stay out
(store.suppressed).
"""

from __future__ import annotations

from collections.abc import Sequence

from profilectl.audiences.outbox import has_traces, meta_with_traces
from profilectl.importing.suppression import DIGITS_TYPE, digits_hash_of, guard_of, sealed_list
from profilectl.privacy.erased import Erasure, Meant, load_hashes, mpids_alone
from profilectl.privacy.rewriting import without_requests, write_anew
from profilectl.privacy.traces import Traces
from profilectl.profiles.read_model import Profiles
from profilectl.rules.feed import ENVIRONMENTS
from profilectl.rules.identity import BY_NAME, CODE, NAME, display, key_of
from profilectl.rules.sql.identities import ENVIRONMENT_NAME, MPID_TYPE, hash_of, mpid_hash_of
from profilectl.rules.sql.quoting import quote_identifier, quote_text
from profilectl.rules.text.spelling import ANY, MPID, Sought, phone_in
from profilectl.store.compaction import ORDER
from profilectl.store.segments import IMPORT_FILES, known_identities, known_mpids
from profilectl.store.store import columns_of, who

NO_FILE = r"\((set|modify|alias|opt-out)\)|\(erased\)[^/]*|POST /v[0-9]/[a-z]+"
"""The names in the history of what is no file: corrections, what was sent, and what an earlier
erasure took.
"""


class Leaving(Traces):
    """An erasure in the making, on a store that is attached for writing: what stays of each table."""

    act = "erased"
    keeps_out = True
    """Whether the list of those who stay out gets whoever goes."""

    def __init__(
        self,
        profiles: Profiles,
        meant: Sequence[Meant],
        *,
        allow_return: bool,
        now_ms: int,
        answered: Sequence[str] = (),
    ) -> None:
        """answered: requests (subject_request.py) that this erasure answers."""
        self.profiles, self.store, self.scratch = profiles, profiles.store, profiles.store.scratch
        self.secret, self.judging = self.store.meta("secret"), self.store.settings().rules.judging
        self.allow_return, self.now_ms = allow_return, now_ms
        if self.keeps_out:
            guard_of(self.store)  # refused now, where the list could not be added to
        self.number = self.store.next_erasure()
        self.next_arrival = self.store.next_import()[1]
        self.outcome = Erasure()
        self.stays: dict[str, str] = {}
        self.gone: dict[str, int] = {}
        self.corrected: set[tuple[int, str]] = set()
        self.columns = columns_of(self.scratch)
        leaving = sorted({profile for one in meant for profile in one.profiles})
        self._who(leaving)
        self._identities(meant)
        self._rows()
        self._tables()
        self._faded()
        self._requests()
        self._waiting()
        self._members()
        self._rejects()
        self._remarks()
        self._imports()
        self._subject_requests(answered)
        self._quoted()
        self._history()
        self._losing(*self._taken())

    # who

    def _who(self, leaving: list[int]) -> None:
        """Make `erased_profile` (profile, mpid, environment)."""
        self.scratch.load("leaving", [("profile", "BIGINT")], [(one,) for one in leaving])
        self.scratch.make(
            "erased_profile",
            f"select known.profile, known.mpid, known.environment from ({known_mpids(self.profiles.segments)}) as known"
            " join leaving on leaving.profile = known.profile",
        )
        self.people = self.scratch.rows(
            "select profile, mpid, environment from erased_profile order by profile"
        )
        self.mpids = {(mpid, ENVIRONMENT_NAME[code]) for _, mpid, code in self.people}
        self.corrected |= self.mpids
        self.outcome.profiles = [
            (str(mpid), ENVIRONMENT_NAME[code]) for _, mpid, code in self.people
        ]

    def _identities(self, meant: Sequence[Meant]) -> None:
        """Make `erased_identity` (profile, type, hash): what the erased have had, and what they
        were named by.
        """
        found: dict[tuple[int, int, int], None] = {}
        named: dict[tuple[int, int, int], bool] = {}
        # hashes of what is nobody's, but was theirs before it was known for that
        nothing: set[int] = set()
        stated: dict[tuple[str, str], None] = {}
        phones: dict[tuple[int, int, int], str] = {}
        for segment in self.profiles.segments:
            if not segment.identities or "row" not in segment.tables:
                continue
            cells = ", ".join(f"i_{kind}" for kind in segment.identities)
            for profile, code, *values in self.scratch.rows(
                f"select profile, environment, {cells} from {segment.table('row')} where profile in (select profile from erased_profile)"
            ):
                for kind, value in zip(segment.identities, values, strict=True):
                    if value is not None:
                        digest = hash_of(
                            self.secret, ENVIRONMENT_NAME[code], kind, key_of(BY_NAME[kind], value)
                        )
                        found[profile, CODE[kind], digest] = None
                        phones[profile, CODE[kind], digest] = value
                        if self.judging.is_placeholder(value):
                            nothing.add(digest)
                        else:
                            stated[kind, value] = None
        for one in meant:
            if one.kind != "mpid" and self.judging.is_placeholder(display(one.value)):
                continue
            if one.kind in BY_NAME and not one.protected:
                key = key_of(BY_NAME[one.kind], display(one.value))
                stated[one.kind, display(one.value)] = None
                for environment in ENVIRONMENTS:
                    named[
                        -1 - self.number,
                        CODE[one.kind],
                        hash_of(self.secret, environment, one.kind, key),
                    ] = bool(one.profiles)
            elif one.kind == ANY and one.value:
                stated[ANY, display(one.value)] = None
            elif one.kind == "mpid" and not one.profiles:
                self.mpids |= {(int(one.value), environment) for environment in ENVIRONMENTS}
                self.corrected |= self.mpids
        self.values = {value: None for _, value in stated}
        self.sought = Sought(
            [
                *stated,
                *(
                    (MPID, mpid)
                    for mpid in mpids_alone(self.profiles, [profile for profile, *_ in self.people])
                ),
            ]
        )
        load_hashes(self.scratch, "erased_identity", [*found, *named])
        # Named only: it keeps somebody out where nobody had it, as when a reject is all that there
        # is of them.
        load_hashes(
            self.scratch,
            "kept_out",
            [
                *(one for one in found if one[2] not in nothing),
                *(one for one, had in named.items() if not had),
            ],
        )
        known = known_identities(self.profiles.segments, removals=self.profiles.removals)
        self.scratch.make(
            "staying",
            f"select distinct known.hash, known.profile from ({known}) as known where known.hash in (select hash from erased_identity)"
            " and known.profile not in (select profile from erased_profile)",
        )
        self.hashes = {
            int(digest, 16)
            for (digest,) in self.scratch.rows(
                "select distinct to_hex(hash) from erased_identity where hash not in (select hash from staying)"
            )
        } - nothing
        self.outcome.shared = (
            [
                (str(mpid), ENVIRONMENT_NAME[code])
                for mpid, code in self.scratch.rows(
                    f"select mpid, environment from ({known_mpids(self.profiles.segments)}) where profile in (select profile from staying) order by profile"
                )
            ]
            if self.people
            else []
        )
        load_hashes(
            self.scratch,
            "erased_mpid",
            [
                (profile, MPID_TYPE, mpid_hash_of(self.secret, ENVIRONMENT_NAME[code], mpid))
                for profile, mpid, code in self.people
            ],
        )
        until = str(self.next_arrival) if self.allow_return else "null"
        digits = [
            (profile, DIGITS_TYPE, digits_hash_of(self.secret, environment, phone))
            for (profile, kind, digest), value in phones.items()
            if digest in self.hashes and (phone := phone_in(NAME[kind], value))
            for environment in ENVIRONMENTS
        ]
        load_hashes(self.scratch, "erased_digits", list(dict.fromkeys(digits)))
        self.scratch.make(
            "newly_suppressed",
            f"select distinct hash, type, profile as person, {self.number} as erasure, {until}::bigint as until from kept_out"
            f" where hash not in (select hash from staying) union all select hash, type, profile, {self.number}, null from erased_mpid"
            f" union all select hash, type, profile, {self.number}, {until}::bigint from erased_digits",
        )
        self.outcome.suppressed = (
            0
            if self.allow_return
            else int(
                self.scratch.row(
                    f"select count(distinct hash) from newly_suppressed where type not in ({MPID_TYPE}, {DIGITS_TYPE})"
                )[0]
            )
        )

    def _rows(self) -> None:
        """Make `gone_row` (arrival, import, founder): the rows that go, and the aliases."""
        rows = " union all ".join(
            f"select arrival, mpid is not null as founder from {one.table('row')} where profile in (select profile from erased_profile)"
            for one in self.profiles.segments
            if "row" in one.tables
        )
        either = "source in (select profile from erased_profile) or destination in (select profile from erased_profile)"
        rows = " union all ".join(
            [
                *([rows] if rows else []),
                f"select arrival, false as founder from store.alias where {either}",
            ]
        )
        self.scratch.make(
            "gone_row",
            f"select one.arrival, import_file.import, one.founder, import_file.path from ({rows}) as one"
            f" asof join ({IMPORT_FILES}) as import_file on one.arrival >= import_file.first_arrival",
        )
        self.outcome.files = [
            path
            for (path,) in self.scratch.rows(
                f"select distinct path from gone_row where not regexp_full_match(path, '{NO_FILE}') order by path"
            )
        ]

    # what stays

    def _tables(self) -> None:
        """Say of every table that has a profile what stays; of the segments, how many rows they
        have left.
        """
        for table, columns in self.columns.items():
            name = f"store.{quote_identifier(table)}"
            if table == "alias":
                gone = "source in (select profile from erased_profile) or destination in (select profile from erased_profile)"
            elif "profile" in columns:
                gone = "coalesce(profile in (select profile from erased_profile), false)"
            else:
                continue
            count = int(self.scratch.row(f"select count(*) from {name} where {gone}")[0])
            if count:
                kind = table.rpartition("_")[0] if table.rpartition("_")[2].isdigit() else table
                self.outcome.tables[kind] = self.outcome.tables.get(kind, 0) + count
                self.gone[table] = count
                self.stays[table] = f"select * from {name} where not ({gone})"
        left = " ".join(
            f"when {one.number} then rows - {self.gone[f'row_{one.number}']}"
            for one in self.profiles.segments
            if f"row_{one.number}" in self.gone
        )
        if left:
            self.stays["segment"] = (
                f"select * replace (case number {left} else rows end as rows) from store.segment"
            )

    def _faded(self) -> None:
        """Clear the identities of the erased from the past of others: those that these have lost."""
        if not self.profiles.removals:
            return
        self.scratch.make(
            "faded",
            "select distinct profile, type, hash from store.removed where hash in (select hash from erased_identity)"
            " and profile not in (select profile from erased_profile) and hash not in (select hash from staying where staying.profile = removed.profile)",
        )
        faded = {
            (profile, kind, int(digest, 16))
            for profile, kind, digest in self.scratch.rows(
                "select profile, type, to_hex(hash) from faded"
            )
        }
        if not faded:
            return
        self.outcome.faded = len(faded)
        for table, columns in self.columns.items():
            if {"profile", "hash"} <= set(columns):
                within = self.stays.get(table, f"select * from store.{quote_identifier(table)}")
                self._less(
                    table,
                    f"select * from ({within}) as one where not exists (select 1 from faded where faded.profile = one.profile and faded.hash = one.hash)",
                )
        for segment in self.profiles.segments:
            blank: list[tuple[int, int]] = []
            for kind in segment.identities:
                blank += [
                    (arrival, CODE[kind])
                    for profile, arrival, code, value in self.scratch.rows(
                        f"select profile, arrival, environment, i_{kind} from {segment.table('row')}"
                        f" where i_{kind} is not null and profile in (select profile from faded)"
                    )
                    if (
                        profile,
                        CODE[kind],
                        hash_of(
                            self.secret, ENVIRONMENT_NAME[code], kind, key_of(BY_NAME[kind], value)
                        ),
                    )
                    in faded
                ]
            if blank:
                name = f"blank_{segment.number}"
                self.scratch.load(name, [("arrival", "BIGINT"), ("type", "UTINYINT")], blank)
                cells = ", ".join(
                    f"case when arrival in (select arrival from {name} where type = {code}) then null else i_{kind} end as i_{kind}"
                    for kind, code in ((kind, CODE[kind]) for kind in segment.identities)
                    if any(code == one for _, one in blank)
                )
                within = self.stays.get(
                    f"row_{segment.number}", f"select * from {segment.table('row')}"
                )
                self.stays[f"row_{segment.number}"] = f"select * replace ({cells}) from ({within})"

    def _history(self) -> None:
        """Write down that it was done, without a value."""
        made_by = quote_text(who())
        self.stays["erasure"] = (
            f"select * from store.erasure union all select {self.number}, '{self.act}', {self.now_ms}, {made_by},"
            f" {len(self.people)}, (select count(*) from gone_row)"
        )
        self.stays["erased_row"] = (
            f"select * from store.erased_row union all select arrival, import, founder, {self.number} from gone_row"
        )

    def _taken(self) -> tuple[str, str]:
        """Take away what else goes, and return what _losing is to know: the SELECTs of sources and
        of others.
        """
        return "select profile from erased_profile", "select null::bigint where false"

    def _losing(self, sources: str, others: str) -> None:
        """Make `losing` (profile): those who stay, and lose something that calculated attributes
        and audiences rest on. They are computed anew before the store is put in its place
        (write); what was computed of them is not written.

        sources: the SELECT of the profiles whose past aliases carry over no more, or less of it;
        others: of profiles that lose something of their own.
        """
        self.scratch.make(
            "losing",
            "select distinct known.profile, known.mpid, known.environment from"
            f" (select destination as profile from store.alias where source in ({sources}) union all {others}) as loses"
            f" join ({known_mpids(self.profiles.segments)}) as known on known.profile = loses.profile"
            " where known.profile not in (select profile from erased_profile)",
        )
        self.outcome.losing = [
            (str(mpid), ENVIRONMENT_NAME[code])
            for mpid, code in self.scratch.rows(
                "select mpid, environment from losing order by profile"
            )
        ]
        if not self.outcome.losing or not self.store.has_definitions():
            return
        within = self.stays.get("stale", "select * from store.stale")
        self._less("stale", f"{within} union all select profile from losing")
        within = self.stays.get("calculated", "select * from store.calculated")
        self._less(
            "calculated",
            f"select * from ({within}) where profile not in (select profile from losing)",
        )

    def forget_requests(self, names: Sequence[str]) -> None:
        """Leave the records of requests out, of whomever they are."""
        if names:
            within = self.stays.get("subject_request", "select * from store.subject_request")
            self._less("subject_request", without_requests(within, names))

    def _sealed(self) -> None:
        """Say what the list of those who stay out becomes: every hash in it is made with its key,
        which is made with the first.
        """
        suppressed, meta, guard = sealed_list(
            self.store, "select * from newly_suppressed" if self.keeps_out else ""
        )
        if suppressed:
            self.stays["suppressed"] = suppressed
        if meta:
            self._less(
                "meta", f"{self.stays.get('meta', 'select * from store.meta')} union all {meta}"
            )
        if self.keeps_out and guard is not None:
            self._seal_files(guard)

    def write(self) -> None:
        """Write what stays and put it in the place of the store.

        Raises StoreUnusable; then the store is as before.
        """
        self._sealed()
        if (
            self.outcome.removals
            or self.scratch.row("select count(*) from store.audience_outbox")[0]
            or has_traces(self.store)
        ):
            outbox = self.stays.get("audience_outbox", "select * from store.audience_outbox")
            self._less(
                "meta",
                meta_with_traces(
                    self.store, self.stays.get("meta", "select * from store.meta"), outbox
                ),
            )
        stays = {table: self._sorted(table, select) for table, select in self.stays.items()}
        computes = bool(self.outcome.losing) and self.store.has_definitions()
        write_anew(
            self.store,
            stays,
            self.gone,
            refreshed_ms=self.now_ms if computes else None,
            lost=self.act == "erased",
        )

    def _sorted(self, table: str, select: str) -> str:
        """Keep the order in which the rows of a segment lie: a join may lose it."""
        kind, _, number = table.rpartition("_")
        order = {**ORDER, "index": "hash"}.get(kind) if number.isdigit() else None
        return f"select * from ({select}) order by {order}" if order else select
