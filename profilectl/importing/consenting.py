"""What the rows of an import say of consent, held against who may say it, and when."""

from __future__ import annotations

from profilectl.importing.answers.trace import example_rows
from profilectl.importing.relations import Relations
from profilectl.importing.sift import Frame
from profilectl.importing.stage.staged import Staged
from profilectl.rules.consent import STATED_MS
from profilectl.rules.counts import Counts
from profilectl.rules.priority import CONSENT_SOURCES
from profilectl.rules.sql.consent import STATE, statements
from profilectl.rules.text.moments import written

END_OF_DATES_MS = 253_402_300_800_000
"""The year 10000, which has no date in ISO 8601."""

# Rows whose feed may not speak of consent (domain.md 5.3).
CONSENT_REFUSED = """
select seq
from usable
where json_exists(rest, '$.consent_state')
  and seq in (select seq from resolved where profile is not null)
"""
CONSENT_ROW = f"""
select seq, rest
from usable
where {STATE} and seq in (select seq from resolved where profile is not null)
"""
CONSENT_STATEMENT = f"""
select seq, regulation || '.' || purpose as purpose,
       json_extract_string(said, '$.timestamp_unixtime_ms') as at_ms
from ({statements("consent_row", "seq")})
"""
# Statements of a time after the import. They count, and until that time comes they outdo all that
# are stated with a real one.
CONSENT_AHEAD = """
select seq, purpose, at_ms::bigint as at_ms
from consent_statement
where case when regexp_full_match(at_ms, $stated_ms) then at_ms::bigint > $now_ms end
"""
AHEAD_BY_PURPOSE = "select purpose, count(*) from consent_ahead group by purpose order by purpose"
EARLIEST_AHEAD = "select seq, purpose, at_ms from consent_ahead order by seq, purpose limit 1"


def look_at_consent(
    relations: Relations, staged: Staged, frame: Frame, *, counts: Counts
) -> list[str]:
    """Make `consent_refused` or `consent_ahead`, and count it; return notices for a person."""
    if frame.feed.source not in CONSENT_SOURCES:
        relations.make("consent_refused", CONSENT_REFUSED)
        counts.codes["CONSENT_SOURCE_NOT_ALLOWED"] += relations.count("consent_refused")
        return []
    relations.make("consent_row", CONSENT_ROW, keep=False)
    relations.make("consent_statement", CONSENT_STATEMENT, keep=False)
    bound = {"now_ms": frame.now_ms, "stated_ms": STATED_MS}
    relations.make("consent_ahead", CONSENT_AHEAD, bound)
    for purpose, number in relations.rows(AHEAD_BY_PURPOSE):
        counts.remark("CONSENT_FUTURE", purpose, number)
    return _notices(relations, staged)


def _notices(relations: Relations, staged: Staged) -> list[str]:
    """Return the notice of statements that lie ahead, with where the earliest row has one."""
    count = relations.count("consent_ahead")
    if not count:
        return []
    columns = ("purpose", "at_ms")
    (earliest,) = example_rows(relations, staged, EARLIEST_AHEAD, columns=columns)
    more = f" (and {count - 1:,} more: --explain-rows FILE lists them)" if count > 1 else ""
    at_ms = int(str(earliest["at_ms"]))
    time = written(at_ms, day=False) if at_ms < END_OF_DATES_MS else f"{at_ms} ms"
    # a row of Parquet has its number in the file, and no line
    place = f"{earliest['file']}:{earliest.get('line', earliest.get('row'))}"
    notice = (
        f"{place}: the time of a consent to {earliest['purpose']} is {time}, which lies ahead:"
        f" what is stated of it before then will not count{more}"
    )
    return [notice]
