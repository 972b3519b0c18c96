"""Staged rows -> the rows that may be applied, with the identities that each claims.

Rows that cannot be used are rejected, rows that must be kept out are dropped, values that break a
limit are counted. What remains is `usable`, and `claim`. relations.py lists what is made here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from profilectl.importing.known import know_erased, know_suppressed
from profilectl.importing.relations import Relations, fill, make_empty, only_row, union_of
from profilectl.importing.stage.staged import Staged, StagedFile
from profilectl.importing.suppression import Guard
from profilectl.rules.batch_members import TIMES, WHOLE
from profilectl.rules.counts import Counts
from profilectl.rules.feed import PROTECTIONS, Effect, Feed
from profilectl.rules.identity import BY_NAME, CODE, Judging
from profilectl.rules.interpreter import REQUEST_MEMORY_MS
from profilectl.rules.sql.consent import STATE, statements
from profilectl.rules.sql.identities import (
    code_named,
    folded,
    hash_in,
    identity_digest,
    judged,
    judged_text,
    mpid_hash,
    trimmed,
)
from profilectl.rules.sql.quoting import quote_text

# fmt: off
# The order in which a row's faults are looked at: it is rejected with the first of them.
FAULTS = (
    "HEADER_REPEATED", "REPORT_TOTAL", "NUL_CHARACTER", "BATCH_INVALID", "MPID_INVALID",
    "TIMESTAMP_INVALID", "ENVIRONMENT_INVALID", "DELETED_INVALID", "IDENTITY_INVALID",
    "IDENTITY_DUPLICATE_TYPE", "NO_IDENTITY", "ENVIRONMENT_MISMATCH",
)
# fmt: on
MANY_ROWS = 200_000
"""From this many rows on, the memory of a relation counts more than the time to make it."""
AFTER_EVENTS = 2_147_483_647
"""The place of a fault that is named after those of every event of its row."""

# 1. What each row is found by. A text is trimmed, folded and judged once; all types in one pass.
IDENTITY_HASH = """
select {hashes}
from (select {verdicts} from (select {folds} from (select {texts} from {rows})))
"""
# Few people may have many rows: then each text is hashed once, and a row finds it by the text (a
# million rows of 3,000 people take 0.05 CPU s, and 0.26 one by one). Some rows tell whether it is
# worth counting all.
SOME_REPEATED = "select {columns} from (select * from staged limit 20480)"
ALL_REPEATED = "select {columns} from staged"
DISTINCT_TEXT = "(select distinct i_{name} from staged)"
TEXT_HASH = """
select {code}::utinyint as type, i_{name} as text, h{place} as hash, c{place} as code
from ({hashed})
"""
FOUND_BY_TEXT = "select {columns} from ({hashed}) as hashed {joins}"
JOINED_TEXT = """
left join text_hash as text{place}
  on text{place}.text = hashed.i_{name} and text{place}.type = {code}
"""

# What a file says of its rows, with their places in the import.
OF_FILE = "select seq + {offset} as seq, {columns} from ({select})"

# 2. Faults of rows, with their place among the faults of the same code: the time of the row itself
# comes first, then those of its events in order, then all others. The times are the twin of
# batch._check_times.
ENVIRONMENT_MISMATCH = """
select seq, 'ENVIRONMENT_MISMATCH' as code, environment as detail, 0 as nth
from staged
where environment <> $environment
"""
BAD_ROW_TIME = """
select seq, 'TIMESTAMP_INVALID' as code, at_ms::varchar as detail, 1 as nth
from staged
where at_ms not between 0 and $latest_ms
"""
BAD_EVENT_TIME = """
select seq, 'TIMESTAMP_INVALID' as code,
       'event ' || (place + 1) || ': data.timestamp_unixtime_ms: ' || at_ms as detail,
       (place + 2)::integer as nth
from staged_event
where at_ms not between 0 and $latest_ms
"""
CONSENT_ROW = f"select seq, rest from staged where {STATE}"
CONSENT_TIME = f"""
select seq, 'consent_state.' || regulation || '.' || purpose || '.timestamp_unixtime_ms' as path,
       json_extract_string(said, '$.timestamp_unixtime_ms') as at_ms
from ({statements(f"({CONSENT_ROW})", "seq")})
"""
DEVICE_TIME = f"""
select seq, '{TIMES[1]}' as path, json_extract_string(rest, '$.{TIMES[1]}') as at_ms
from staged
where contains(rest, '{TIMES[1].rpartition(".")[2]}')
"""
# A time is text of JSON here: only a whole number is compared, as hugeint because it may be long.
BAD_TIME_BESIDE = """
select seq, 'TIMESTAMP_INVALID' as code, path || ': ' || at_ms::hugeint as detail, $nth as nth
from time_beside
where case when regexp_full_match(at_ms, $whole) then at_ms::hugeint not between 0 and $latest_ms
      end
"""
WITHOUT_IDENTITY = """
select seq, 'NO_IDENTITY' as code, skipped as detail, 0 as nth
from (select seq{columns} from identity_hash)
where nobody
"""
WITHOUT_IDENTITY_OR_MPID = """
select seq, 'NO_IDENTITY' as code, skipped as detail, 0 as nth
from (select seq{columns} from identity_hash)
where nobody
  and seq not in (select seq from staged where mpid is not null)
"""
REJECTED = """
select seq,
       first(code order by rank) as code,
       first(detail order by rank, nth, detail) as detail
from (
  select seq, code, detail, nth, list_position($faults::varchar[], code) as rank
  from fault
)
group by seq
"""
# Whether each row has one fault, as most have: to say so takes a fifth of choosing among them.
HAS_SINGLE_FAULTS = "select count(*) = count(distinct seq) from fault"
SINGLE_FAULTS = "select seq, code, detail from fault"

# 3. The rows that are left, and those of them that are kept out.
ALL_STAGED = "select * from staged"
NOT_REJECTED = "select * from staged where seq not in (select seq from rejected)"
SUPPRESSED_MPID = """
select seq
from (select seq{columns} from staged where mpid is not null)
where hash in (select hash from suppressed_hash)
"""
SUPPRESSED_IDENTITY = """
select seq
from (select seq{columns} from identity_hash)
where hash in (select hash from suppressed_hash)
"""
ERASED_BEFORE = "select seq from staged where seq + $first in (select arrival from erased_row)"
ALL_ACCEPTED = "select * from accepted"
NOT_SUPPRESSED = "select * from accepted where seq not in (select seq from suppressed_row)"
ONLY_READ = "select seq, $code as code from candidate"
# A request counts once: its first row in this import, unless an earlier import brought it.
REPEATED_REQUEST = """
select seq, 'DUPLICATE_REQUEST' as code
from (
  select seq, request, row_number() over (partition by request order by seq) as nth
  from candidate
  where request is not null
)
where nth > 1
   or request in (
     select request
     from seen_request
     where feed = $feed and $now_ms - at_ms <= $memory_ms
   )
"""
DROPPED = """
select seq, 'SUPPRESSED' as code
from accepted
where seq in (select seq from suppressed_row)
union all
select seq, code from kept_out
"""
ALL_KEPT_OUT = "select seq, code from kept_out"
NOT_DROPPED = "select * from accepted where seq not in (select seq from dropped)"
DROPPED_BY_CODE = "select code, count(*) from dropped group by code"

# 4. What the usable rows claim.
ALL_HASHES = "select * from identity_hash"
USABLE_HASHES = """
select *
from identity_hash
where seq not in (select seq from rejected) and seq not in (select seq from dropped)
"""
CLAIM = """
select seq, {code}::utinyint as type, {hash} as hash
from usable_hash
where h{place} is not null
"""
# Claims lie sorted by their hash, so that equal ones are neighbours. One sort finds the values that
# several rows claim, and the index of the segment is written in its order. All columns are in the
# key: DuckDB then sorts nothing beside it (0.25 CPU s of 2.8M claims, and 0.31 by the hash alone).
CLAIM_IN_ORDER = "select seq, type, hash from unordered_claim order by hash, seq, type"
# Of equal neighbours the claims at both ends are enough: no group, and the least seq comes first.
SHARED_VALUE = """
select hash, type, seq, place_of_end - place + 1 as rows
from (
  select hash, type, seq, place, goes_on, lead(place) over () as place_of_end
  from (
    select hash, type, seq, row_number() over () as place,
           coalesce(hash = lag(hash) over (), false) as goes_back,
           coalesce(hash = lead(hash) over (), false) as goes_on
    from claim
  )
  where goes_back <> goes_on
)
where goes_on
"""

NOBODYS_CELL = """
select seq, {columns}
from usable_hash
where coalesce({columns}, null) is not null
"""

# 5. What was left out of rows that are not rejected.
SKIPPED = """
select seq, code, attribute
from skip_statement
where seq not in (select seq from rejected)
"""
SKIPPED_BY_ATTRIBUTE = """
select code, attribute, count(*)
from skipped
group by code, attribute
"""
SKIPPED_COUNTS = "select {columns} from identity_hash"
SKIPPED_IDENTITY = """
select seq, code, type, value
from identity_statement
where seq not in (select seq from rejected)
"""
NOBODYS_IDENTITY = """
select seq, {reason} as code, {code}::utinyint as type, {value} as value
from identity_hash
join staged using (seq)
where c{place} is not null
"""
SKIPPED_BY_CODE = "select code, count(*) from skipped_identity group by code"


@dataclass(frozen=True, slots=True)
class Frame:
    """The feed, rules and times that the rows of an import are read against."""

    feed: Feed
    """The feed that brings them."""
    protection: str
    """The level that is in force."""
    environment: str
    """The environment of rows that state none."""
    strict: bool
    """Whether a row that states another environment is rejected."""
    judging: Judging
    """The rule of which values are nobody's identity."""
    secret: str
    """The secret of the store: without it nobody can make its hashes elsewhere."""
    now_ms: int
    """When the import began."""
    first_arrival: int = 0
    """The arrival of the first row."""
    latest_ms: int | None = None
    """The latest time a row may state; None: any."""
    mixes_mpids: bool = True
    """Whether the MPIDs of new profiles are mixes; an older version made those of its arrivals."""
    guard: Guard | None = None
    """The guard that keeps erased people out; None if nobody was erased."""
    again: bool = False
    """Whether the rows arrived before."""
    call: str = "identify"
    """What an application says of its user with every row (identity.CALLS)."""

    @property
    def creates(self) -> bool:
        """Return whether a row that finds nobody may found a profile."""
        return PROTECTIONS[self.protection].unknown_user is Effect.CREATE


def sift(relations: Relations, staged: Staged, frame: Frame, *, counts: Counts) -> None:
    """Make `rejected`, `dropped`, `usable`, `claim`, `shared_value`; count what was left out."""
    repeated = _hash_repeated(relations, staged, frame) if staged.span > MANY_ROWS else []
    relations.make("identity_hash", _identity_hash(staged, frame, repeated))
    _reject(relations, staged, frame)
    rejected = bool(relations.count("rejected"))
    relations.make("accepted", NOT_REJECTED if rejected else ALL_STAGED, keep=False)
    _drop(relations, staged, frame)
    dropped = bool(relations.count("dropped"))
    relations.make("usable", NOT_DROPPED if dropped else ALL_ACCEPTED, keep=False)
    _count_skips(relations, staged, counts)
    _count_skipped_identities(relations, staged, counts)
    for code, number in relations.rows(DROPPED_BY_CODE):
        counts.codes[code] += number
        counts.rows["dropped"] += number
    relations.make("usable_hash", USABLE_HASHES if rejected or dropped else ALL_HASHES, keep=False)
    _claim(relations, staged)
    if staged.identities:
        places = ", ".join(f"c{place}" for place in range(len(staged.identities)))
        relations.make("nobodys_cell", NOBODYS_CELL.format(columns=places))
    else:
        make_empty(relations, "nobodys_cell")
    if staged.span > MANY_ROWS:
        # Hardly anything is asked of the hashes from here on, and they take 60 bytes a row: the
        # peak of an import of a million rows is 60 MB lower without them. A join would be made even
        # for a seq alone.
        relations.make("identity_hash", _identity_hash(staged, frame, repeated=[]), keep=False)


def environment_of(staged: Staged, frame: Frame) -> str:
    """Return the SQL of the environment a row goes to."""
    default = quote_text(frame.environment)
    return f"coalesce(environment, {default})" if "environment" in staged.plain else default


def _hash_repeated(relations: Relations, staged: Staged, frame: Frame) -> list[str]:
    """Make `text_hash` of the identity types whose texts many rows repeat; return the types."""
    # Where rows state an environment, a text has several hashes.
    if "environment" in staged.plain or not staged.identities:
        return []
    names = staged.identities
    for select, condition in (
        (SOME_REPEATED, "count(distinct i_{name}) < 0.9 * count(i_{name})"),
        (ALL_REPEATED, "approx_count_distinct(i_{name}) < 0.25 * count(i_{name})"),
    ):
        columns = ", ".join(fill(condition, name=name) for name in names)
        verdicts = only_row(relations, select.format(columns=columns))
        names = [name for name, is_repeated in zip(names, verdicts, strict=True) if is_repeated]
        if not names:
            return []
    selects = []
    for name in names:
        place = staged.identities.index(name)
        rows = fill(DISTINCT_TEXT, name=name)
        hashed = _hashed({name: place}, staged, frame, rows=rows, carried=[f"i_{name}"])
        selects.append(fill(TEXT_HASH, code=CODE[name], name=name, place=place, hashed=hashed))
    relations.make("text_hash", union_of(selects))
    return names


def _identity_hash(staged: Staged, frame: Frame, repeated: Sequence[str]) -> str:
    """Return the SELECT of h<n>, the digest of an identity, and c<n>, why its identity is nobody's.

    repeated: the types whose texts `text_hash` has.
    """
    places = {name: place for place, name in enumerate(staged.identities)}
    single = {name: place for name, place in places.items() if name not in repeated}
    carried = ["seq", *(f"i_{name}" for name in repeated)]
    hashed = _hashed(single, staged, frame, rows="staged", carried=carried)
    if not repeated:
        return hashed
    columns, joins = ["hashed.seq"], []
    for name, place in places.items():
        if name in repeated:
            columns.append(f"text{place}.hash as h{place}, text{place}.code as c{place}")
            joins.append(fill(JOINED_TEXT, place=place, name=name, code=CODE[name]))
        else:
            columns.append(f"hashed.h{place}, hashed.c{place}")
    return fill(FOUND_BY_TEXT, columns=", ".join(columns), hashed=hashed, joins=" ".join(joins))


def _hashed(
    places: Mapping[str, int],
    staged: Staged,
    frame: Frame,
    *,
    rows: str,
    carried: Sequence[str],
) -> str:
    """Return the SELECT of h<n> and c<n> of some types, each with its place.

    rows: the relation that states the identities. carried: the columns of it that are read on.
    """
    environment = environment_of(staged, frame)
    hashes, texts, folds, verdicts = [*carried], [*carried], ["*"], ["*"]
    if "environment" in staged.plain:
        texts.append("environment")
    for name, place in places.items():
        kind, text, fold, code = BY_NAME[name], f"t{place}", f"l{place}", f"c{place}"
        texts.append(f"{trimmed(f'i_{name}')} as {text}")
        low = folded(text) if kind.shape == "email" else judged_text(text, frame.judging)
        folds.append(f"{low} as {fold}")
        verdicts.append(f"{judged(kind, text, low=fold, judging=frame.judging)} as {code}")
        # Only e-mails and GUIDs are looked up without regard to case (identity.key_of).
        key = text if kind.shape == "text" else fold
        digest = identity_digest(frame.secret, environment, kind=name, key=key)
        hashes += [f"case when {code} is null and {text} <> '' then {digest} end as h{place}", code]
    return fill(
        IDENTITY_HASH,
        hashes=", ".join(hashes),
        verdicts=", ".join(verdicts),
        folds=", ".join(folds),
        texts=", ".join(texts),
        rows=rows,
    )


def _of_files(
    staged: Staged, selects: Callable[[StagedFile], list[str]], columns: str
) -> list[str]:
    """Return the SELECTs of all files, with the places of rows in the import, not in their file."""
    return [
        fill(OF_FILE, offset=offset, columns=columns, select=select)
        for file, offset in zip(staged.files, staged.offsets, strict=True)
        for select in selects(file)
    ]


def _reject(relations: Relations, staged: Staged, frame: Frame) -> None:
    """Make `rejected`: each row with a fault, and the fault that counts."""
    columns = "code, detail::varchar as detail, 0 as nth"
    faults = _of_files(staged, lambda file: file.rejects, columns)
    bound: dict[str, object] = {}
    if frame.strict and "environment" in staged.plain:
        faults.append(ENVIRONMENT_MISMATCH)
        bound["environment"] = frame.environment
    if frame.latest_ms is not None:
        times = _bad_times(relations, staged, bound)
        faults += times
        if times:
            bound["latest_ms"] = frame.latest_ms
    select = WITHOUT_IDENTITY_OR_MPID if "mpid" in staged.plain else WITHOUT_IDENTITY
    faults.append(select.format(columns=_nobody_columns(staged)))
    relations.make("fault", union_of(faults), bound)
    ((has_single_faults,),) = relations.rows(HAS_SINGLE_FAULTS)
    if has_single_faults:
        relations.make("rejected", SINGLE_FAULTS)
    else:
        relations.make("rejected", REJECTED, {"faults": list(FAULTS)})


def _nobody_columns(staged: Staged) -> str:
    """Return the columns of whether a row has no identity, and which of its own are nobody's."""
    places = range(len(staged.identities))
    nobody = " and ".join(f"h{place} is null" for place in places) or "true"
    skipped = ", ".join(
        f"case when c{place} is not null then '{name} is ' || {code_named(f'c{place}')} end"
        for name, place in sorted(zip(staged.identities, places, strict=True))
    )
    why = f"concat_ws(', ', {skipped})" if skipped else "''"
    return f", {nobody} as nobody, {why} as skipped"


def _bad_times(relations: Relations, staged: Staged, bound: dict[str, object]) -> list[str]:
    """Return the SELECTs of times that rows may not state, and bind what they need."""
    selects = []
    if "at_ms" in staged.plain:
        selects.append(BAD_ROW_TIME)
    if staged.events:
        selects.append(BAD_EVENT_TIME)
    if "rest" in staged.plain:
        relations.make("time_beside", union_of([CONSENT_TIME, DEVICE_TIME]), keep=False)
        selects.append(BAD_TIME_BESIDE)
        bound |= {"whole": WHOLE, "nth": AFTER_EVENTS}
    return selects


def _drop(relations: Relations, staged: Staged, frame: Frame) -> None:
    """Make `dropped`: first the rows of people who were erased, which are not even passed by."""
    # An import that is decided again finds the relations of the first time.
    relations.drop("suppressed_row")
    suppressed = False
    if frame.guard is not None:
        _suppress(relations, staged, frame, guard=frame.guard)
        suppressed = bool(relations.count("suppressed_row"))
    relations.make("candidate", NOT_SUPPRESSED if suppressed else ALL_ACCEPTED, keep=False)
    _keep_out(relations, staged, frame)
    relations.make("dropped", DROPPED if suppressed else ALL_KEPT_OUT)


def _suppress(relations: Relations, staged: Staged, frame: Frame, *, guard: Guard) -> None:
    """Make `suppressed_row`: rows of somebody who was erased, and rows that were erased."""
    know_erased(relations)
    know_suppressed(relations, frame.first_arrival)
    selects = [
        SUPPRESSED_IDENTITY.format(columns=f", {guard.sql(f'h{place}')} as hash")
        for place in range(len(staged.identities))
    ]
    if "mpid" in staged.plain:
        digest = mpid_hash(frame.secret, environment_of(staged, frame), "mpid::varchar")
        selects.append(SUPPRESSED_MPID.format(columns=f", {guard.sql(digest)} as hash"))
    if frame.again:
        selects.append(ERASED_BEFORE)
    bound = {"first": frame.first_arrival} if frame.again else None
    if selects:
        relations.make("suppressed_row", " union ".join(selects), bound)
    else:
        make_empty(relations, "suppressed_row")


def _keep_out(relations: Relations, staged: Staged, frame: Frame) -> None:
    """Make `kept_out`: rows that the feed's level keeps out, or that repeat a request."""
    protection = PROTECTIONS[frame.protection]
    if protection.known_user is Effect.PASS_BY:
        relations.make("kept_out", ONLY_READ, {"code": protection.code})
    elif "request" in staged.plain:
        bound = {
            "feed": frame.feed.number,
            "now_ms": frame.now_ms,
            "memory_ms": REQUEST_MEMORY_MS,
        }
        relations.make("kept_out", REPEATED_REQUEST, bound)
    else:
        make_empty(relations, "kept_out")


def _claim(relations: Relations, staged: Staged) -> None:
    """Make `claim`, and `shared_value` of the identities that several rows claim."""
    selects = [
        fill(CLAIM, code=CODE[name], hash=hash_in(f"h{place}"), place=place)
        for place, name in enumerate(staged.identities)
    ]
    if selects:
        relations.make("unordered_claim", union_of(selects), keep=False)
        relations.make("claim", CLAIM_IN_ORDER)
    else:
        make_empty(relations, "claim")
    relations.make("shared_value", SHARED_VALUE, in_order=True)


def _count_skips(relations: Relations, staged: Staged, counts: Counts) -> None:
    """Make `skipped`: what was left out of usable rows, and what is worth knowing of them."""
    make_empty(relations, "skipped")
    selects = _of_files(staged, lambda file: file.skips, "code, attribute")
    if not selects:
        return
    relations.make("skip_statement", union_of(selects), keep=False)
    relations.make("skipped", SKIPPED)
    for code, attribute, number in relations.rows(SKIPPED_BY_ATTRIBUTE):
        counts.remark(code, attribute, number)


def _count_skipped_identities(relations: Relations, staged: Staged, counts: Counts) -> None:
    """Make `skipped_identity`: identities of usable rows that are nobody's, as rows state them."""
    relations.drop("skipped_identity")
    columns = ", ".join(f"count(c{place})" for place in range(len(staged.identities)))
    numbers = only_row(relations, SKIPPED_COUNTS.format(columns=columns)) if columns else ()
    selects = [
        fill(
            NOBODYS_IDENTITY,
            reason=code_named(f"c{place}"),
            code=CODE[name],
            value=trimmed(f"i_{name}"),
            place=place,
        )
        for place, name in enumerate(staged.identities)
        if numbers[place]
    ]
    selects += _of_files(staged, lambda file: file.skipped, "code, type, value")
    if selects:
        relations.make("identity_statement", union_of(selects), keep=False)
        relations.make("skipped_identity", SKIPPED_IDENTITY)
        for code, number in relations.rows(SKIPPED_BY_CODE):
            counts.codes[code] += number
