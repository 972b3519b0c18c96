"""The set-based twin of rule.py: its rules as SQL expressions, made from the same tables."""

from __future__ import annotations

import json

from profilectl.outputs.uid2.rule import (
    ANSWERS,
    ENRICHED_AT,
    EVENT,
    EVENT_TYPE,
    KINDS,
    LEFT_OUT,
    NAMESPACE,
    REFRESH_FROM,
    STATUS,
)
from profilectl.rules.sql.quoting import quote_text
from profilectl.rules.text.normal_form import LOWER, UPPER, WHITE

# The text of a UUID of version 5, from the hex digits of a hash `h`. The two highest bits of the
# 17th digit are 10; the version stands in the 13th.
UUID_OF_HASH = """
substr(h, 1, 8) || '-' || substr(h, 9, 4) || '-5' || substr(h, 14, 3) || '-'
|| substr('89ab89ab89ab89ab', strpos('0123456789abcdef', substr(h, 17, 1)), 1)
|| substr(h, 18, 3) || '-' || substr(h, 21, 12)
""".strip()


def normalised(kind: str, value: str) -> str:
    """Return the SQL of rule.normalised. value: the SQL of a text that is not null."""
    text = f"trim({value}, {_literal(WHITE)})"
    if kind == "email":
        text = f"translate({text}, '{UPPER}', '{LOWER}')"
        local = f"split_part({text}, '@', 1)"
        at = f"strpos({text}, '@')"
        domain = f"case when {at} > 0 then substr({text}, {at} + 1) else '' end"
        for name, patterns in LEFT_OUT.items():
            # g: every match, as re.sub takes it; s: a dot matches line breaks too, as re.DOTALL.
            short = local
            for pattern in patterns:
                short = f"regexp_replace({short}, {_literal(pattern)}, '', 'gs')"
            address = f"{short} || '@' || {quote_text(name)}"
            text = f"case when {domain} = {quote_text(name)} then {address} else {text} end"
    return f"case when regexp_full_match({text}, {_literal(KINDS[kind].usable)}) then {text} end"


def _literal(text: str) -> str:
    """Return a text of the rules; control characters in it as an escape string."""
    escaped = text.replace("\\", "\\\\").replace("'", "''")
    for letter, sign in (("t", "\t"), ("n", "\n"), ("f", "\f"), ("r", "\r")):
        escaped = escaped.replace(sign, f"\\{letter}")
    # DuckDB's escape strings know no \v, so a vertical tab is chr(11).
    before, tab, after = escaped.partition("\v")
    return f"(e'{before}' || chr(11) || e'{after}')" if tab else f"e'{escaped}'"


def hashed(text: str) -> str:
    """Return the SQL of rule.hashed."""
    return f"base64(unhex(sha256({text})))"


def request_id(mpid: str, uid: str, refresh_from_s: str) -> str:
    """Return the SQL of rule.request_id: a UUID of version 5."""
    name = f"({mpid})::varchar || ' ' || ({uid}) || ' ' || ({refresh_from_s})::varchar"
    digest = f"sha1(unhex('{NAMESPACE.hex}') || encode({name}))"
    return f"list_transform([{digest}], lambda h: {UUID_OF_HASH})[1]"


def batch_of(partner_identity: str, now_ms: int) -> str:
    """Return the SQL of the JSON text of rule.batch_of.

    Its columns are mpid, environment (its name), status, uid, refresh_from_s.
    """
    cases = [
        f"when {quote_text(status)} then {_batch_of(status, partner_identity, now_ms)}"
        for status in ANSWERS
    ]
    return f"case status {' '.join(cases)} end"


def _batch_of(status: str, partner_identity: str, now_ms: int) -> str:
    """Return the SQL of the batch that an answer of one status becomes."""
    answer = ANSWERS[status]
    if answer.event:
        request = request_id("mpid", "uid", "refresh_from_s")
    else:
        request = request_id("mpid", quote_text(status), str(now_ms // 1000))
    parts = [
        quote_text('{"mpid":'),
        "mpid::varchar",
        quote_text(',"environment":"'),
        "environment",
        quote_text('","source_request_id":"'),
        request,
        quote_text(f'","user_attributes":{{"{ENRICHED_AT}":{now_ms},"{STATUS}":"{status}"'),
    ]
    if answer.event:
        parts += [quote_text(f',"{REFRESH_FROM}":'), "(refresh_from_s * 1000)::varchar"]
    parts.append(quote_text("}"))
    if answer.deletes:
        parts.append(quote_text(f',"deleted_user_attributes":{json.dumps(answer.deletes)}'))
    if answer.uid != "kept":
        name = json.dumps(partner_identity, ensure_ascii=False)
        uid = "to_json(uid)::varchar" if answer.uid == "set" else "'null'"
        parts += [quote_text(f',"partner_identities":{{{name}:'), uid, quote_text("}")]
    if answer.event:
        data = {
            "event_name": EVENT,
            "custom_event_type": EVENT_TYPE,
            "timestamp_unixtime_ms": now_ms,
        }
        events = json.dumps([{"event_type": "custom_event", "data": data}])
        parts.append(quote_text(f',"events":{events}'))
    parts.append(quote_text("}"))
    return " || ".join(parts)
