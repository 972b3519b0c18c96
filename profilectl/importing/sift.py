"""Staged rows -> the rows that may be applied, with what each claims of identity.

Rows that cannot be used are rejected, rows that must be kept out are dropped, values that break a
limit are counted; what is left is `usable`. Relations made here:

    rejected   seq, code, detail     a row that cannot be used
    dropped    seq, code             a row kept out: of somebody erased, a feed that only reads, a repeated request
    suppressed_row  seq              a row that carries an identity of somebody erased, or names their MPID; only
                                     where anybody was erased
    usable     as staged             the rows that are left
    value      hash, type, seq, rows   an identity that several rows claim, and the first of them
    claim      seq, type, hash       a row says it has this identity; hash: 128 bits of what it is found by
    skipped    seq, code, attribute  what was left out of a row that was not rejected, or is worth knowing of it
    skipped_identity  seq, code, type, value   an identity of such a row that is nobody's, as the row states it
"""

from __future__ import annotations

from dataclasses import dataclass

from profilectl.importing.stage.run import Staged
from profilectl.importing.suppression import Guard, suppress
from profilectl.rules.batch_members import TIMES, WHOLE
from profilectl.rules.counts import Counts
from profilectl.rules.feed import PROTECTIONS, Effect, Feed
from profilectl.rules.identity import BY_NAME, CODE, Judging
from profilectl.rules.interpreter import REQUEST_MEMORY_MS
from profilectl.rules.sql.consent import STATE, statements
from profilectl.rules.sql.identities import (
    code_named,
    folded,
    identity_hash,
    judged,
    mpid_hash,
    trimmed,
)
from profilectl.rules.sql.quoting import quote_text
from profilectl.rules.text.moments import may_not_be
from profilectl.store.scratch import Scratch

# The order in which a row's faults are looked at; the first found is the reason it is rejected
# with.
FAULTS = (
    "HEADER_REPEATED", "REPORT_TOTAL", "NUL_CHARACTER", "BATCH_INVALID", "MPID_INVALID", "TIMESTAMP_INVALID", "ENVIRONMENT_INVALID", "DELETED_INVALID", "IDENTITY_INVALID",
    "IDENTITY_DUPLICATE_TYPE", "NO_IDENTITY", "ENVIRONMENT_MISMATCH",
)  # fmt: skip


LAST = 2_147_483_647
"""After every event of a row."""


@dataclass(frozen=True, slots=True)
class Frame:
    """What an import's rows are read against.

    environment: of rows that state none; strict: a row that states another is rejected. secret: the
    store's, so that hashes cannot be made elsewhere. first: the arrival of the first row.
    latest_ms: the latest time a row may state, None: any. guard: what keeps out who was erased,
    None where nobody was; again: the rows arrived before. call: what an application says of its
    user with every row (identity.CALLS).
    """

    feed: Feed
    protection: str
    environment: str
    strict: bool
    judging: Judging
    secret: str
    now_ms: int
    first: int = 0
    latest_ms: int | None = None
    guard: Guard | None = None
    again: bool = False
    call: str = "identify"


def sift(scratch: Scratch, staged: Staged, frame: Frame, counts: Counts) -> None:
    """Make `rejected`, `dropped`, `usable` and `claim`, and count what was left out."""
    _hash(scratch, staged, frame)
    _reject(scratch, staged, frame)
    accepted = "staged"
    if scratch.count("rejected"):
        accepted = "accepted"
        scratch.make(
            "accepted",
            "select * from staged where seq not in (select seq from rejected)",
            keep=False,
        )
    _drop(scratch, staged, frame, accepted)
    out = bool(scratch.count("dropped"))
    scratch.make(
        "usable",
        f"select * from {accepted}{' where seq not in (select seq from dropped)' if out else ''}",
        keep=False,
    )
    _count_skips(scratch, staged, frame, accepted, counts)
    for code, number in scratch.rows("select code, count(*) from dropped group by code"):
        counts.codes[code] += number
        counts.rows["dropped"] += number
    out = out or accepted != "staged"
    kept = (
        " and seq not in (select seq from rejected) and seq not in (select seq from dropped)"
        if out
        else ""
    )
    parts = [
        f"select seq, {CODE[name]}::utinyint as type, h{place} as hash from identity_hash where h{place} is not null{kept}"
        for place, name in enumerate(staged.identities)
    ]
    scratch.make(
        "claim",
        " union all ".join(parts)
        or "select null::bigint as seq, null::utinyint as type, null::uhugeint as hash where false",
    )
    scratch.make(
        "value",
        "select hash, any_value(type) as type, min(seq) as seq, count(*) as rows from claim group by hash having count(*) > 1",
    )


def environment_of(staged: Staged, frame: Frame) -> str:
    """Return the SQL of the environment a row goes to."""
    given = quote_text(frame.environment)
    return f"coalesce(environment, {given})" if "environment" in staged.plain else given


def _hash(scratch: Scratch, staged: Staged, frame: Frame) -> None:
    """Make `identity_hash` (seq, h<n>, c<n>): what each row is found by, and where that is null
    because a value is nobody's, why (identity_sql.judged); two columns an identity type.

    All types in one pass, so that no text is trimmed, folded or judged twice.
    """
    columns, texts, lows, environment = ["seq"], ["seq"], ["*"], environment_of(staged, frame)
    codes = ["*"]
    if "environment" in staged.plain:
        texts.append("environment")
    for place, name in enumerate(staged.identities):
        kind, text, low, code = BY_NAME[name], f"t{place}", f"l{place}", f"c{place}"
        texts.append(f"{trimmed(f'i_{name}')} as {text}")
        lows.append(f"{folded(text)} as {low}")
        codes.append(f"{judged(kind, text, low, frame.judging)} as {code}")
        key = text if kind.shape == "text" else low
        digest = identity_hash(frame.secret, environment, name, key)
        columns += [
            f"case when {code} is null and {text} <> '' then {digest} end as h{place}",
            code,
        ]
    scratch.make(
        "identity_hash",
        f"select {', '.join(columns)} from (select {', '.join(codes)} from (select {', '.join(lows)} from (select {', '.join(texts)} from staged)))",
    )


def _reject(scratch: Scratch, staged: Staged, frame: Frame) -> None:
    faults = [
        f"select seq + {offset} as seq, code, detail::varchar as detail, 0 as nth from ({select})"
        for file, offset in zip(staged.files, staged.offsets, strict=True)
        for select in file.rejects
    ]
    if frame.strict and "environment" in staged.plain:
        faults.append(
            "select seq, 'ENVIRONMENT_MISMATCH' as code, environment as detail, 0 as nth from staged"
            f" where environment <> {quote_text(frame.environment)}"
        )
    if frame.latest_ms is not None:
        faults += _outside(staged, frame.latest_ms)
    nobody = " and ".join(
        [f"h{place} is null" for place in range(len(staged.identities))] or ["true"]
    )
    named = (
        " and seq not in (select seq from staged where mpid is not null)"
        if "mpid" in staged.plain
        else ""
    )
    skipped = ", ".join(
        f"case when c{place} is not null then '{name} is ' || {code_named(f'c{place}')} end"
        for name, place in sorted((name, place) for place, name in enumerate(staged.identities))
    )
    why = f"concat_ws(', ', {skipped})" if skipped else "''"
    faults.append(
        f"select seq, 'NO_IDENTITY' as code, {why} as detail, 0 as nth from identity_hash where {nobody}{named}"
    )
    order = (
        "case code "
        + " ".join(f"when '{code}' then {place}" for place, code in enumerate(FAULTS))
        + " end"
    )
    scratch.make(
        "rejected",
        f"select seq, first(code order by place) as code, first(detail order by place, nth, detail) as detail from"
        f" (select seq, code, detail, nth, {order} as place from ({' union all '.join(faults)})) group by seq",
    )


def _outside(staged: Staged, last_ms: int) -> list[str]:
    """Return SELECTs of the times that rows may not state (seq, code, detail, nth: which of a row's
    is told of first): the twin of batch._check_times.
    """
    found = []
    if "at_ms" in staged.plain:
        found.append(
            f"select seq, 'TIMESTAMP_INVALID' as code, at_ms::varchar as detail, 1 as nth from staged where {may_not_be('at_ms', last_ms)}"
        )
    if staged.events:
        told = "'event ' || (place + 1) || ': data.timestamp_unixtime_ms: ' || at_ms"
        found.append(
            f"select seq, 'TIMESTAMP_INVALID' as code, {told} as detail, place + 2 as nth from staged_event where {may_not_be('at_ms', last_ms)}"
        )
    if "rest" in staged.plain:
        consent, device = (path.rpartition(".") for path in TIMES)
        stated = (
            f"select seq, 'consent_state.' || regulation || '.' || purpose || '.{consent[2]}' as path, json_extract_string(said, '$.{consent[2]}') as said"
            f" from ({statements(f'(select seq, rest from staged where {STATE})', 'seq')})"
            f" union all select seq, '{device[0]}.{device[2]}', json_extract_string(rest, '$.{device[0]}.{device[2]}') from staged where contains(rest, '{device[2]}')"
        )
        found.append(
            f"select seq, 'TIMESTAMP_INVALID' as code, path || ': ' || said::hugeint as detail, {LAST} as nth from ({stated})"
            f" where case when regexp_full_match(said, '{WHOLE}') then {may_not_be('said::hugeint', last_ms)} end"
        )
    return found


def _suppress(scratch: Scratch, staged: Staged, frame: Frame, guard: Guard) -> None:
    """Make `suppressed_row`: what is of somebody who was erased, and of a row that was erased
    itself.
    """
    suppress(scratch, frame.first)
    parts = [
        f"select seq from identity_hash where {guard.sql(f'h{place}')} in (select hash from suppressed_hash)"
        for place in range(len(staged.identities))
    ]
    if "mpid" in staged.plain:
        named = mpid_hash(frame.secret, environment_of(staged, frame), "mpid::varchar")
        parts.append(
            f"select seq from staged where mpid is not null and {guard.sql(named)} in (select hash from suppressed_hash)"
        )
    if frame.again:
        parts.append(
            f"select seq from staged where seq + {frame.first} in (select arrival from store.erased_row)"
        )
    scratch.make(
        "suppressed_row", " union ".join(parts) or "select null::bigint as seq where false"
    )


def _drop(scratch: Scratch, staged: Staged, frame: Frame, accepted: str) -> None:
    """Make `dropped`. Who was erased counts first: such a row is not even passed by."""
    scratch.drop("suppressed_row")
    if frame.guard is not None:
        _suppress(scratch, staged, frame, frame.guard)
        if scratch.count("suppressed_row"):
            kept = f"(select * from {accepted} where seq not in (select seq from suppressed_row))"
            scratch.make(
                "dropped",
                f"select seq, 'SUPPRESSED' as code from {accepted} where seq in (select seq from suppressed_row)"
                f" union all ({_dropped(staged, frame, kept)})",
            )
            return
    scratch.make("dropped", _dropped(staged, frame, accepted))


def _dropped(staged: Staged, frame: Frame, accepted: str) -> str:
    """Return the SELECT of the rows kept out by the feed's level, or as repeated."""
    if PROTECTIONS[frame.protection].known_user is Effect.PASS_BY:
        code = PROTECTIONS[frame.protection].code
        return f"select seq, '{code}' as code from {accepted}"
    if "request" in staged.plain:
        # A request counts once: its first row in this import, unless an earlier import brought it.
        return (
            "select seq, 'DUPLICATE_REQUEST' as code from (select seq, request,"
            f" row_number() over (partition by request order by seq) as place from {accepted} where request is not null)"
            f" where place > 1 or request in (select request from store.request where feed = {frame.feed.number}"
            f" and {frame.now_ms} - at_ms <= {REQUEST_MEMORY_MS})"
        )
    return "select null::bigint as seq, '' as code where false"


def _count_skips(
    scratch: Scratch, staged: Staged, frame: Frame, accepted: str, counts: Counts
) -> None:
    skips = [
        f"select seq + {offset} as seq, code, attribute from ({select})"
        for file, offset in zip(staged.files, staged.offsets, strict=True)
        for select in file.skips
    ]
    scratch.load("skipped", [("seq", "BIGINT"), ("code", "VARCHAR"), ("attribute", "VARCHAR")], [])
    if skips:
        kept = "where seq not in (select seq from rejected)" if accepted != "staged" else ""
        said = f"select seq, code, attribute from ({' union all '.join(skips)}) {kept}"
        for code, attribute, number in scratch.rows(
            f"select code, attribute, count(*) from ({said}) group by code, attribute"
        ):
            counts.remark(code, attribute, number)
        if counts.codes.total():
            scratch.make("skipped", said)
    scratch.drop("skipped_identity")
    places = range(len(staged.identities))
    counted = (
        scratch.row(
            f"select {', '.join(f'count(c{place})' for place in places)} from identity_hash"
        )
        if places
        else ()
    )
    skipped = [
        f"select seq, {code_named(f'c{place}')} as code, {CODE[name]}::utinyint as type, {trimmed(f'i_{name}')} as value"
        f" from identity_hash join staged using (seq) where c{place} is not null"
        for place, name in enumerate(staged.identities)
        if counted[place]
    ]
    skipped += [
        f"select seq + {offset} as seq, code, type, value from ({select})"
        for file, offset in zip(staged.files, staged.offsets, strict=True)
        for select in file.skipped
    ]
    if skipped:
        within = "" if accepted == "staged" else f" where seq in (select seq from {accepted})"
        scratch.make(
            "skipped_identity",
            f"select seq, code, type, value from ({' union all '.join(skipped)}){within}",
        )
        for code, number in scratch.rows(
            "select code, count(*) from skipped_identity group by code"
        ):
            counts.codes[code] += number
