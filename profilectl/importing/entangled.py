"""The interpreter's part of resolving: entangled rows, component by component, in row order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise

from profilectl.importing.relations import Relations
from profilectl.importing.sift import Frame
from profilectl.rules.identity import CODE, NAME, Rules, UsableIdentity
from profilectl.rules.resolution import Claim, Decision, Records, decide
from profilectl.rules.sql.identities import MPID_TYPE

BATCH_OF_ROWS = 50_000
"""How many entangled rows are in Python's memory at once; a component is never split."""

COMPONENT_SIZES = """
select component, count(*)
from entangled_row
group by component
order by component
"""
# The rows that are in memory, and what they claim.
BLOCK_ROW = """
select seq
from entangled_row
where component between $first_component and $last_component
"""
BLOCK_ROWS = "select seq from block_row order by seq"
BLOCK_CLAIMS = """
select seq, type, to_hex(hash)
from claim
where seq in (select seq from block_row)
order by seq, type
"""
BLOCK_MPIDS = "select seq, hash from named_mpid where seq in (select seq from block_row)"
# The profiles that the rows may meet, and what the rules ask of them.
BLOCK_PROFILE = """
select distinct profile
from link_match
where hash in (select hash from link where seq in (select seq from block_row))
"""
PROFILE_IDENTITIES = """
select profile, type, to_hex(hash)
from known_identity
where profile in (select profile from block_profile)
order by profile, type
"""
PROFILE_TOUCHES = """
select profile, max(arrival)
from known_touch
where profile in (select profile from block_profile)
group by profile
"""
PROFILE_MPIDS = """
select hash, profile
from link_match
where type = $mpid_type
  and hash in (select hash from named_mpid where seq in (select seq from block_row))
"""
# A hash comes as hexadecimal text and goes back in halves: DuckDB is slow at 128-bit text.
DECIDED_GAIN = """
select seq, type, profile, (high::uhugeint << 64) + low as hash
from decided_gain_half
"""
LOST_IDENTITY = """
select profile, type, arrival, (high::uhugeint << 64) + low as hash
from lost_identity_half
"""

# fmt: off
DECIDED_ROW_COLUMNS = (("seq", "BIGINT"), ("profile", "BIGINT"), ("created", "BOOLEAN"))
GAIN_COLUMNS = (
    ("seq", "BIGINT"), ("type", "UTINYINT"), ("profile", "BIGINT"),
    ("high", "UBIGINT"), ("low", "UBIGINT"),
)
LOSS_COLUMNS = (
    ("profile", "BIGINT"), ("type", "UTINYINT"), ("arrival", "BIGINT"),
    ("high", "UBIGINT"), ("low", "UBIGINT"),
)
PASSING_COLUMNS = (
    ("profile", "BIGINT"), ("type", "UTINYINT"), ("seq", "BIGINT"), ("until", "BIGINT"),
)
WARNING_COLUMNS = (("seq", "BIGINT"), ("code", "VARCHAR"))
# fmt: on

Row = tuple[object, ...]
Keys = dict[int, dict[str, set[str]]]
"""The keys of the identities that profiles have, by profile and type."""


# These two are plain tuples, which cost a third: a large import has millions of them.
OfProfile = tuple[int, str, str]
"""An identity of a profile, as in Decision.removed: profile, type, and its hash as hexadecimal."""
Change = tuple[bool, int]
"""Whether a profile gained an identity or lost it, and by which row."""
Changes = dict[OfProfile, list[Change]]
"""What happened to identities, in row order."""


@dataclass(slots=True)
class Decisions:
    """What the interpreter decided, as rows of the relations that it becomes."""

    rows: list[Row] = field(default_factory=list)
    """Rows of `decided_row`."""
    gains: list[tuple[int, int, int, str]] = field(default_factory=list)
    """Rows of `decided_gain_half`, with the hash as hexadecimal."""
    losses: list[tuple[int, int, int, str]] = field(default_factory=list)
    """Rows of `lost_identity_half`, with the hash as hexadecimal."""
    passing: list[Row] = field(default_factory=list)
    """Rows of `passing_identity`."""
    warnings: list[Row] = field(default_factory=list)
    """Rows of `decided_warning`."""


def decide_entangled(
    relations: Relations, frame: Frame, rules: Rules, *, creates: bool
) -> Decisions:
    """Return what the interpreter decides of the rows of `entangled_row`."""
    decisions = Decisions()
    for start, end in _blocks(relations):
        bound = {"first_component": start, "last_component": end}
        relations.make("block_row", BLOCK_ROW, bound)
        records = _records(relations)
        # A copy, because deciding changes the records.
        held_before = {
            profile: {kind: set(keys) for kind, keys in identities.items()}
            for profile, identities in records.record.items()
        }
        changes: Changes = {}
        for claim in _claims(relations, frame.first_arrival):
            decision = decide(claim, records, rules, create=creates, call=frame.call)
            _note(decisions, changes, claim.arrival - frame.first_arrival, decision=decision)
        _net(decisions, changes, held_before, first_arrival=frame.first_arrival)
    return decisions


def load_decisions(relations: Relations, decisions: Decisions, *, gains: bool) -> None:
    """Make relations of what the interpreter decided.

    They are decided_row, decided_gain, lost_identity, passing_identity and decided_warning. Without
    `gains` no gains or losses are loaded: where a key decides (resolve), gains are counted in sets,
    and nothing is ever taken away.
    """
    relations.load("decided_row", DECIDED_ROW_COLUMNS, decisions.rows)
    relations.load("decided_gain_half", GAIN_COLUMNS, _split(decisions.gains if gains else []))
    relations.make("decided_gain", DECIDED_GAIN)
    relations.load("lost_identity_half", LOSS_COLUMNS, _split(decisions.losses if gains else []))
    relations.make("lost_identity", LOST_IDENTITY)
    relations.load("passing_identity", PASSING_COLUMNS, decisions.passing if gains else [])
    relations.load("decided_warning", WARNING_COLUMNS, decisions.warnings)


def _split(rows: list[tuple[int, int, int, str]]) -> list[Row]:
    """Return rows with the two halves of the hash that they end with."""
    return [(*row, *halves(int(digest, 16))) for *row, digest in rows]


def halves(digest: int) -> tuple[int, int]:
    """Return the upper and the lower 64 bits of a hash."""
    return digest >> 64, digest & (2**64 - 1)


def _blocks(relations: Relations) -> Iterator[tuple[int, int]]:
    """Yield ranges of components, each of about as many rows as fit in memory."""
    block: list[int] = []
    size = 0
    for component, rows in relations.rows(COMPONENT_SIZES):
        block.append(component)
        size += rows
        if size >= BATCH_OF_ROWS:
            yield block[0], block[-1]
            block, size = [], 0
    if block:
        yield block[0], block[-1]


def _claims(relations: Relations, first_arrival: int) -> Iterable[Claim]:
    """Return what the rows of `block_row` claim, in row order.

    A hash takes the place of the key: it names type, environment and value at once. It does so for
    an MPID too: a block has rows of both environments, and the number names a profile in each.
    """
    identities: dict[int, list[UsableIdentity]] = {seq: [] for (seq,) in relations.rows(BLOCK_ROWS)}
    for seq, kind, digest in relations.rows(BLOCK_CLAIMS):
        identities[seq].append(UsableIdentity(NAME[kind], "", digest))
    mpids: dict[int, int] = dict(relations.rows(BLOCK_MPIDS))
    return [
        Claim(seq + first_arrival, tuple(claimed), mpids.get(seq))
        for seq, claimed in identities.items()
    ]


def _note(decisions: Decisions, changes: Changes, seq: int, *, decision: Decision) -> None:
    """Note what was decided of a row, and which identities changed by it."""
    decisions.rows.append((seq, decision.profile, decision.created))
    decisions.warnings += [(seq, code) for code in decision.codes]
    for lost in decision.removed:
        changes.setdefault(lost, []).append((False, seq))
    for identity in decision.added:
        assert decision.profile is not None
        gained = (decision.profile, identity.type, identity.key)
        changes.setdefault(gained, []).append((True, seq))


def _net(decisions: Decisions, changes: Changes, held_before: Keys, *, first_arrival: int) -> None:
    """Note what is left of gains and losses at the end: only that is stored.

    What came and went is noted apart: an output gets single batches, each as of its own time.
    """
    for (profile, kind, key), steps in changes.items():
        code = CODE[kind]
        has_gained, last_seq = steps[-1]
        if has_gained:
            decisions.gains.append((last_seq, code, profile, key))
        if len(steps) > 1:
            decisions.passing += [
                (profile, code, seq, until)
                for (gained, seq), (gained_again, until) in pairwise(steps)
                if gained and not gained_again
            ]
        losses = [seq for gained, seq in steps if not gained]
        if losses and key in held_before.get(profile, {}).get(kind, ()):
            decisions.losses.append((profile, code, losses[0] + first_arrival, key))


def _records(relations: Relations) -> Records:
    """Return the identity records of the profiles that the rows of `block_row` may meet."""
    records = Records()
    relations.make("block_profile", BLOCK_PROFILE)
    for profile, kind, digest in relations.rows(PROFILE_IDENTITIES):
        records.add(profile, NAME[kind], digest)
    for profile, last_arrival in relations.rows(PROFILE_TOUCHES):
        records.last[profile] = last_arrival
    for mpid, profile in relations.rows(PROFILE_MPIDS, {"mpid_type": MPID_TYPE}):
        records.by_mpid[mpid] = profile
    return records
