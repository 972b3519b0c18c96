"""TODO importing.entangled (split off importing.resolve)."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

from profilectl.importing.sift import Frame
from profilectl.importing.stage.run import Staged
from profilectl.rules.identity import CODE, NAME, Rules, Usable
from profilectl.rules.resolution import Claim, Decision, Records, decide
from profilectl.rules.sql.identities import MPID_TYPE
from profilectl.store.scratch import Scratch

BATCH_OF_ROWS = 50_000
"""So many entangled rows are in Python's memory at once; a component is never split."""


class _Slow:
    """The interpreter's part: entangled rows, component by component, in row order."""

    def __init__(
        self,
        scratch: Scratch,
        staged: Staged,
        frame: Frame,
        rules: Rules,
        first_arrival: int,
        create: bool,
    ) -> None:
        self.scratch, self.staged, self.frame, self.rules = scratch, staged, frame, rules
        self.first, self.create = first_arrival, create
        self.rows = 0
        self._decided: list[tuple[int, int | None, bool]] = []
        self._gained: list[tuple[int, int, int, str]] = []
        self._warned: list[tuple[int, str]] = []
        self._taken: list[tuple[int, int, int, str]] = []
        self._fleeting: list[tuple[int, int, int, int]] = []

    def run(self, *, harmless: bool) -> None:
        """Make `decided` (seq, profile, created), `gained` (seq, type, hash, profile), `taken`,
        `warned`.
        """
        where = "where component not in (select component from harmless)" if harmless else ""
        self.scratch.make("entangled", f"select seq, component from row_label {where}")
        for first, last in self._blocks():
            self._decide(first, last)
        self.scratch.load(
            "decided",
            [("seq", "BIGINT"), ("profile", "BIGINT"), ("created", "BOOLEAN")],
            self._decided,
        )
        if not harmless:
            # Where one type names a known profile nothing is ever taken away, and gains are counted
            # in sets.
            self._gained, self._taken, self._fleeting = [], [], []
        # A hash comes as hexadecimal text and goes back in halves: DuckDB is slow at 128-bit text.
        halves = [("high", "UBIGINT"), ("low", "UBIGINT")]
        for name, columns, rows in (
            (
                "gained",
                [("seq", "BIGINT"), ("type", "UTINYINT"), ("profile", "BIGINT")],
                self._gained,
            ),
            (
                "taken",
                [("profile", "BIGINT"), ("type", "UTINYINT"), ("arrival", "BIGINT")],
                self._taken,
            ),
        ):
            split = [
                (*row[:3], int(row[3], 16) >> 64, int(row[3], 16) & (2**64 - 1)) for row in rows
            ]
            self.scratch.load(f"{name}_half", [*columns, *halves], split)
            self.scratch.make(
                name,
                f"select * exclude (high, low), (high::uhugeint << 64) + low as hash from {name}_half",
            )
        self.scratch.load(
            "fleeting",
            [("profile", "BIGINT"), ("type", "UTINYINT"), ("seq", "BIGINT"), ("until", "BIGINT")],
            self._fleeting,
        )
        self.scratch.load("warned", [("seq", "BIGINT"), ("code", "VARCHAR")], self._warned)

    def _blocks(self) -> Iterable[tuple[int, int]]:
        """Return ranges of components, each of so many rows as fit in memory."""
        block: list[int] = []
        size = 0
        for component, rows in self.scratch.rows(
            "select component, count(*) from entangled group by component order by component"
        ):
            block.append(component)
            size += rows
            if size >= BATCH_OF_ROWS:
                yield block[0], block[-1]
                block, size = [], 0
        if block:
            yield block[0], block[-1]

    def _decide(self, first: int, last: int) -> None:
        bound = {"first": first, "last": last}
        self.scratch.make(
            "block", "select seq from entangled where component between $first and $last", bound
        )
        records = self._records()
        # A hash stands for the key: it names type, environment and value at once.
        claims: dict[int, list[Usable]] = {
            seq: [] for (seq,) in self.scratch.rows("select seq from block order by seq")
        }
        for seq, kind, value in self.scratch.rows(
            "select seq, type, to_hex(hash) from claim where seq in (select seq from block) order by seq, type"
        ):
            claims[seq].append(Usable(NAME[kind], "", value))
        # An MPID too: a block has rows of both environments, and the number alone names one profile
        # in each.
        mpids = dict(
            self.scratch.rows(
                "select seq, hash from named_mpid where seq in (select seq from block)"
            )
        )
        held_before = {
            one: {kind: set(keys) for kind, keys in found.items()}
            for one, found in records.record.items()
        }
        changes: dict[tuple[int, str, str], list[tuple[str, int]]] = {}
        for seq, identities in claims.items():
            claim = Claim(seq + self.first, tuple(identities), mpids.get(seq))
            decision = decide(claim, records, self.rules, create=self.create, call=self.frame.call)
            self._note(seq, decision, changes)
        self._net(changes, held_before)
        self.rows += len(claims)

    def _note(
        self,
        seq: int,
        decision: Decision,
        changes: dict[tuple[int, str, str], list[tuple[str, int]]],
    ) -> None:
        self._decided.append((seq, decision.profile, decision.created))
        self._warned += [(seq, code) for code in decision.codes]
        for profile, kind, key in decision.removed:
            changes.setdefault((profile, kind, key), []).append(("lost", seq))
        for one in decision.added:
            assert decision.profile is not None
            changes.setdefault((decision.profile, one.type, one.key), []).append(("gained", seq))

    def _net(
        self,
        changes: dict[tuple[int, str, str], list[tuple[str, int]]],
        before: dict[int, dict[str, set[str]]],
    ) -> None:
        """Keep what is left of gains and losses: only they are stored. What came and went is told
        to whoever looks at single batches.
        """
        for (profile, kind, key), steps in changes.items():
            had = key in before.get(profile, {}).get(kind, ())
            if steps[-1][0] == "gained":
                self._gained.append((steps[-1][1], CODE[kind], profile, key))
            self._fleeting += [
                (profile, CODE[kind], seq, until)
                for (what, seq), (after, until) in pairwise(steps)
                if (what, after) == ("gained", "lost")
            ]
            losses = [seq for what, seq in steps if what == "lost"]
            if had and losses:
                self._taken.append((profile, CODE[kind], losses[0] + self.first, key))

    def _records(self) -> Records:
        """Load the identity records of the profiles that the rows of `block` may meet."""
        records = Records()
        self.scratch.make(
            "met",
            "select distinct profile from link_hit where hash in (select hash from link where seq in (select seq from block))",
        )
        for profile, kind, key in self.scratch.rows(
            "select profile, type, to_hex(hash) from known_identity where profile in (select profile from met) order by profile, type"
        ):
            records.add(profile, NAME[kind], key)
        for profile, last in self.scratch.rows(
            "select profile, max(arrival) from known_touch where profile in (select profile from met) group by profile"
        ):
            records.last[profile] = last
        for mpid, profile in self.scratch.rows(
            "select hash, profile from link_hit"
            " where type = $mpid and hash in (select hash from named_mpid where seq in (select seq from block))",
            {"mpid": MPID_TYPE},
        ):
            records.by_mpid[mpid] = profile
        return records
