"""What an identity is looked up by and whether it may be used, as SQL: the set-based twin of profilectl.identity.

Every key that SQL makes or compares is made here. Texts are trimmed first; a key is what is hashed.
"""

from __future__ import annotations

from profilectl.casing import DOTTED_I, FINAL_SIGMA, I_AND_DOT, SIGMA, SMALL_SIGMA, sigma_pattern
from profilectl.identity import (
    CODES_OF_NOBODY,
    GUID,
    SPOILED_PATTERN,
    WHITE_SPACE,
    IdentityType,
    Judging,
)
from profilectl.scratch import quote_text


def trimmed(text: str) -> str:
    """Return the SQL of a text without outer white space; most have none, and to see that is cheap."""
    return f"case when left({text}, 1) > ' ' and right({text}, 1) > ' ' then {text} else trim({text}, {quote_text(WHITE_SPACE)}) end"


def folded(text: str) -> str:
    """Return the SQL of casing.fold. Almost every text is ASCII or has none of the odd letters, and to see that is cheap."""
    odd = f"contains({text}, '{SIGMA}') or contains({text}, '{DOTTED_I}')"
    sigmas = f"regexp_replace(replace({text}, '{DOTTED_I}', '{I_AND_DOT}'), {quote_text(_SIGMA)}, '\\1{FINAL_SIGMA}\\2', 'g')"
    return f"(case when strlen({text}) = length({text}) or not ({odd}) then lower({text}) else lower({sigmas}) end)"


_SIGMA = sigma_pattern(r"\z")


def loose(text: str) -> str:
    """Return the SQL of casing.loose."""
    return f"replace(lower(replace({text}, '{DOTTED_I}', '{I_AND_DOT}')), '{FINAL_SIGMA}', '{SMALL_SIGMA}')"


def key(kind: IdentityType, text: str) -> str:
    """Return the SQL of identity.key_of; the text is trimmed already."""
    return text if kind.shape == "text" else folded(text)


def judged(kind: IdentityType, text: str, low: str, judging: Judging) -> str:
    """Return the SQL of why an identity is skipped, as its place in CODES_OF_NOBODY from 1; null where it is not.

    text: trimmed; low: the same, folded.
    """
    conditions = {"IDENTITY_PLACEHOLDER": placeholder(low, judging)}
    if kind.may_be_spoiled and not judging.allow_spoiled:
        conditions["IDENTITY_SPOILED"] = f"regexp_full_match({text}, {quote_text(SPOILED_PATTERN)})"
    if kind.shape == "guid":
        conditions["DEVICE_ID_INVALID"] = f"not regexp_full_match({low}, '{GUID}')"
    cases = [
        f"when {condition} then {CODES_OF_NOBODY.index(code) + 1}"
        for code, condition in conditions.items()
        if condition
    ]
    return f"(case when {text} = '' then null {' '.join(cases)} end)::utinyint"


def code_named(place: str) -> str:
    """Return the SQL of the code at a place of CODES_OF_NOBODY."""
    return (
        f"case {place} "
        + " ".join(f"when {nth} then '{code}'" for nth, code in enumerate(CODES_OF_NOBODY, start=1))
        + " end"
    )


def code_of(kind: IdentityType, text: str, judging: Judging) -> str:
    """Return the SQL of the code of an identity as it is stated that is skipped, else null."""
    text = trimmed(text)
    return code_named(judged(kind, text, folded(text), judging))


def usable_key(kind: IdentityType, text: str, judging: Judging) -> str:
    """Return the SQL of the key of an identity as it is stated, null where it may not be used."""
    text = trimmed(text)
    return f"case when {text} <> '' and {judged(kind, text, folded(text), judging)} is null then {key(kind, text)} end"


def placeholder(low: str, judging: Judging) -> str:
    """Return the condition that a folded text is a placeholder; empty where none can be."""
    listed = ", ".join(map(quote_text, sorted(judging.exact)))
    tests = [f"{low} in ({listed})"] if listed else []
    tests += [f"starts_with({low}, {quote_text(text)})" for text in judging.beginnings]
    tests += [f"ends_with({low}, {quote_text(text)})" for text in judging.endings]
    return " or ".join(tests)
