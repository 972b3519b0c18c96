"""What the rows of an import say of consent, held against who may say it, and when.

consent_refused     seq                     rows whose feed may not speak of consent (domain.md 5.3)
consent_ahead       seq, purpose, at_ms     statements that are of a time after the import: they count, and those that come
                                            with a real time do not until then
"""

from __future__ import annotations

from profilectl.importing.sift import Frame
from profilectl.importing.stage.run import Staged
from profilectl.importing.trace import example_rows
from profilectl.rules.consent import STATED_MS
from profilectl.rules.counts import Counts
from profilectl.rules.priority import CONSENT_SOURCES
from profilectl.rules.sql.consent import STATE, statements
from profilectl.rules.text.moments import written
from profilectl.store.scratch import Scratch

END_OF_DATES_MS = 253_402_300_800_000
"""The year 10000, which has no date in ISO 8601."""
_APPLIED = "seq in (select seq from resolved where profile is not null)"


def look_at_consent(scratch: Scratch, staged: Staged, frame: Frame, counts: Counts) -> list[str]:
    """Make the relation of what is odd, and count it; return what a person is told."""
    if frame.feed.source not in CONSENT_SOURCES:
        scratch.make(
            "consent_refused",
            f"select seq from usable where json_exists(rest, '$.consent_state') and {_APPLIED}",
        )
        counts.codes["CONSENT_SOURCE_NOT_ALLOWED"] += scratch.count("consent_refused")
        return []
    stated = "json_extract_string(said, '$.timestamp_unixtime_ms')"
    scratch.make(
        "consent_ahead",
        f"select seq, regulation || '.' || purpose as purpose, {stated}::bigint as at_ms"
        f" from ({statements(f'(select seq, rest from usable where {STATE} and {_APPLIED})', 'seq')})"
        f" where case when regexp_full_match({stated}, '{STATED_MS}') then {stated}::bigint > $now end",
        {"now": frame.now_ms},
    )
    for purpose, number in scratch.rows(
        "select purpose, count(*) from consent_ahead group by purpose order by purpose"
    ):
        counts.remark("CONSENT_FUTURE", purpose, number)
    return _told(scratch, staged)


def _told(scratch: Scratch, staged: Staged) -> list[str]:
    count = scratch.count("consent_ahead")
    if not count:
        return []
    (first,) = example_rows(
        scratch,
        staged,
        "select seq, purpose, at_ms from consent_ahead order by seq, purpose limit 1",
        ("purpose", "at_ms"),
    )
    more = f" (and {count - 1:,} more: --explain-rows FILE lists them)" if count > 1 else ""
    at_ms = int(str(first["at_ms"]))
    when = written(at_ms, day=False) if at_ms < END_OF_DATES_MS else f"{at_ms} ms"
    return [
        f"{first['file']}:{first['line']}: the time of a consent to {first['purpose']} is {when}, which lies ahead: what is said of it before then will not count{more}"
    ]
