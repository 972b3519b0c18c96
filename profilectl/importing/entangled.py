"""The interpreter's part of resolving: entangled rows, component by component, in row order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise

from profilectl.importing.relations import Relations
from profilectl.importing.sift import Frame
from profilectl.rules.identity import CODE, NAME, Rules, Usable
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
Held = dict[int, dict[str, set[str]]]
"""The keys of the identities that profiles have, by profile and type."""


@dataclass(frozen=True, slots=True)
class OfProfile:
    """An identity of a profile; its key is the hash in hexadecimal."""

    profile: int
    """The profile."""
    type: str
    """The type of the identity."""
    key: str
    """The hash."""


@dataclass(frozen=True, slots=True)
class Change:
    """A row gave an identity to a profile, or took it away."""

    gained: bool
    """Whether the profile gained it."""
    seq: int
    """The row."""


Changes = dict[OfProfile, list[Change]]
"""What happened to identities, in row order."""


@dataclass(slots=True)
class Decisions:
    """What the interpreter decided, as rows of the relations that it becomes."""

    rows: list[Row] = field(default_factory=list)
    """Of `decided_row`."""
    gains: list[Row] = field(default_factory=list)
    """Of `decided_gain_half`."""
    losses: list[Row] = field(default_factory=list)
    """Of `lost_identity_half`."""
    passing: list[Row] = field(default_factory=list)
    """Of `passing_identity`."""
    warnings: list[Row] = field(default_factory=list)
    """Of `decided_warning`."""


def decide_entangled(
    relations: Relations, frame: Frame, rules: Rules, *, creates: bool
) -> Decisions:
    """Return what the interpreter decides of the rows of `entangled_row`."""
    decisions = Decisions()
    for first, last in _blocks(relations):
        bound = {"first_component": first, "last_component": last}
        relations.make("block_row", BLOCK_ROW, bound)
        records = _records(relations)
        held_before = {
            profile: {kind: set(keys) for kind, keys in identities.items()}
            for profile, identities in records.record.items()
        }
        changes: Changes = {}
        for claim in _claims(relations, frame.first_arrival):
            decision = decide(claim, records, rules, create=creates, call=frame.call)
            _note(decisions, changes, claim.arrival - frame.first_arrival, decision)
        _net(decisions, changes, held_before, frame.first_arrival)
    return decisions


def load_decisions(relations: Relations, decisions: Decisions, *, gains: bool) -> None:
    """Make relations of what the interpreter decided.

    decided_row, decided_gain, lost_identity, passing_identity, decided_warning. Without `gains`
    the rows that follow their key are counted in sets with all others: then nothing is ever taken
    away.
    """
    relations.load("decided_row", DECIDED_ROW_COLUMNS, decisions.rows)
    relations.load("decided_gain_half", GAIN_COLUMNS, decisions.gains if gains else [])
    relations.make("decided_gain", DECIDED_GAIN)
    relations.load("lost_identity_half", LOSS_COLUMNS, decisions.losses if gains else [])
    relations.make("lost_identity", LOST_IDENTITY)
    relations.load("passing_identity", PASSING_COLUMNS, decisions.passing if gains else [])
    relations.load("decided_warning", WARNING_COLUMNS, decisions.warnings)


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

    A hash takes the place of the key: it names type, environment and value at once. Of an MPID
    too: a block has rows of both environments, and the number names one profile in each.
    """
    identities: dict[int, list[Usable]] = {seq: [] for (seq,) in relations.rows(BLOCK_ROWS)}
    for seq, kind, digest in relations.rows(BLOCK_CLAIMS):
        identities[seq].append(Usable(NAME[kind], "", digest))
    mpids: dict[int, int] = dict(relations.rows(BLOCK_MPIDS))
    return [
        Claim(seq + first_arrival, tuple(claimed), mpids.get(seq))
        for seq, claimed in identities.items()
    ]


def _note(decisions: Decisions, changes: Changes, seq: int, decision: Decision) -> None:
    """Note what was decided of a row, and which identities changed by it."""
    decisions.rows.append((seq, decision.profile, decision.created))
    decisions.warnings += [(seq, code) for code in decision.codes]
    for profile, kind, key in decision.removed:
        changes.setdefault(OfProfile(profile, kind, key), []).append(Change(False, seq))
    for identity in decision.added:
        assert decision.profile is not None
        gained = OfProfile(decision.profile, identity.type, identity.key)
        changes.setdefault(gained, []).append(Change(True, seq))


def _net(decisions: Decisions, changes: Changes, held_before: Held, first_arrival: int) -> None:
    """Note what is left of gains and losses at the end: only that is stored.

    What came and went is noted apart: an output gets single batches, each as of its own time.
    """
    for identity, steps in changes.items():
        profile, code = identity.profile, CODE[identity.type]
        high, low = halves(int(identity.key, 16))
        if steps[-1].gained:
            decisions.gains.append((steps[-1].seq, code, profile, high, low))
        decisions.passing += [
            (profile, code, step.seq, after.seq)
            for step, after in pairwise(steps)
            if step.gained and not after.gained
        ]
        losses = [step.seq for step in steps if not step.gained]
        if losses and identity.key in held_before.get(profile, {}).get(identity.type, ()):
            decisions.losses.append((profile, code, losses[0] + first_arrival, high, low))


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
