"""The rules of rule.py as SQL expressions, made from the same tables."""

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


def normalised(kind: str, value: str) -> str:
    """Return the SQL of rule.normalised. value: the SQL of a text that is not null."""
    text = f"trim({value}, {_literal(WHITE)})"
    if kind == "email":
        text = f"translate({text}, '{UPPER}', '{LOWER}')"
        local, domain = (
            f"split_part({text}, '@', 1)",
            f"case when contains({text}, '@') then substr({text}, strpos({text}, '@') + 1) else '' end",
        )
        for name, patterns in LEFT_OUT.items():
            kept = local
            for pattern in patterns:
                kept = f"regexp_replace({kept}, {_literal(pattern)}, '', 'gs')"
            text = f"case when {domain} = {quote_text(name)} then {kept} || '@' || {quote_text(name)} else {text} end"
    return f"case when regexp_full_match({text}, {_literal(KINDS[kind].usable)}) then {text} end"


def _literal(text: str) -> str:
    """Return a text of the rules; control characters in it as an escape string."""
    escaped = text.replace("\\", "\\\\").replace("'", "''")
    for letter, sign in (("t", "\t"), ("n", "\n"), ("f", "\f"), ("r", "\r")):
        escaped = escaped.replace(sign, f"\\{letter}")
    before, tab, after = escaped.partition("\v")
    return f"(e'{before}' || chr(11) || e'{after}')" if tab else f"e'{escaped}'"


def hashed(text: str) -> str:
    """Return the SQL of rule.hashed."""
    return f"base64(unhex(sha256({text})))"


def request_id(mpid: str, uid: str, refresh_from_s: str) -> str:
    """Return the SQL of rule.request_id: a UUID of version 5."""
    name = f"({mpid})::varchar || ' ' || ({uid}) || ' ' || ({refresh_from_s})::varchar"
    digest = f"sha1(unhex('{NAMESPACE.hex}') || encode({name}))"
    # The two highest bits of the 17th digit are 10; the version stands in the 13th.
    variant = "substr('89ab89ab89ab89ab', strpos('0123456789abcdef', substr(h, 17, 1)), 1)"
    written = f"substr(h, 1, 8) || '-' || substr(h, 9, 4) || '-5' || substr(h, 14, 3) || '-' || {variant} || substr(h, 18, 3) || '-' || substr(h, 21, 12)"
    return f"list_transform([{digest}], lambda h: {written})[1]"


def batch_of(partner_identity: str, now_ms: int) -> str:
    """Return the SQL of the JSON text of rule.batch_of, on columns mpid, environment (its name),
    status, uid, refresh_from_s.
    """
    cases = []
    for status, answer in ANSWERS.items():
        about = (
            ("uid", "refresh_from_s") if answer.event else (quote_text(status), str(now_ms // 1000))
        )
        attributes = f'"{ENRICHED_AT}":{now_ms},"{STATUS}":"{status}"'
        parts = [
            quote_text('{"mpid":'), "mpid::varchar", quote_text(',"environment":"'), "environment", quote_text('","source_request_id":"'),
            request_id("mpid", *about), quote_text('","user_attributes":{' + attributes),
        ]  # fmt: skip
        if answer.event:
            parts += [quote_text(f',"{REFRESH_FROM}":'), "(refresh_from_s * 1000)::varchar"]
        parts.append(quote_text("}"))
        if answer.deletes:
            parts.append(quote_text(f',"deleted_user_attributes":{json.dumps(answer.deletes)}'))
        if answer.uid != "kept":
            parts.append(
                quote_text(
                    f',"partner_identities":{{{json.dumps(partner_identity, ensure_ascii=False)}:'
                )
            )
            parts += ["to_json(uid)::varchar" if answer.uid == "set" else "'null'", quote_text("}")]
        if answer.event:
            data = {
                "event_name": EVENT,
                "custom_event_type": EVENT_TYPE,
                "timestamp_unixtime_ms": now_ms,
            }
            parts.append(
                quote_text(
                    f',"events":{json.dumps([{"event_type": "custom_event", "data": data}])}'
                )
            )
        parts.append(quote_text("}"))
        cases.append(f"when {quote_text(status)} then {' || '.join(parts)}")
    return f"case status {' '.join(cases)} end"
