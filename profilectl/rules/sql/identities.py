"""The key of an identity, and whether it may be used, as SQL: the set-based twin of identity.py.

Every key that SQL makes or compares is made here (design.md R21): a text is trimmed, then folded;
stores keep the hash of the key.
"""

from __future__ import annotations

from profilectl.rules.identity import (
    CODE,
    CODES_OF_NOBODY,
    GUID,
    SPOILED_PATTERN,
    WHITE_SPACE,
    IdentityType,
    Judging,
)
from profilectl.rules.sql.quoting import quote_text
from profilectl.rules.text.casing import (
    DOTTED_I,
    FINAL_SIGMA,
    I_AND_DOT,
    SIGMA,
    SMALL_SIGMA,
    sigma_pattern,
)

FEW_BYTES = 8
"""The length in UTF-8 below which a text is held against the short placeholders."""
# DuckDB's regular expressions (RE2) write the end of a text as \z, Python's as \Z.
_FINAL_SIGMA_PATTERN = sigma_pattern(r"\z")


def trimmed(text: str) -> str:
    """Return the SQL of a text without outer white space.

    Most texts have none, and to see that is cheap: no white space sorts after the blank. A case
    whose only condition holds for no row hands on what its `else` has, and copies nothing.
    """
    return (
        f"case when {text} < '!' or substring({text}, -1, 1) <= ' '"
        f" then trim({text}, {quote_text(WHITE_SPACE)}) else {text} end"
    )


def folded(text: str) -> str:
    """Return the SQL of casing.fold.

    Almost every text is ASCII (as many bytes as characters) or has none of the two odd letters, and
    to see that is cheap. To make the regular expression takes 4 ms in each thread, even if no text
    needs it: statements have it for the keys of e-mails only (judged_text has the others).
    """
    odd = f"contains({text}, '{SIGMA}') or contains({text}, '{DOTTED_I}')"
    sigmas = (
        f"regexp_replace(replace({text}, '{DOTTED_I}', '{I_AND_DOT}'),"
        f" {quote_text(_FINAL_SIGMA_PATTERN)}, '\\1{FINAL_SIGMA}\\2', 'g')"
    )
    return (
        f"(case when strlen({text}) <> length({text}) and ({odd}) then lower({sigmas})"
        f" else lower({text}) end)"
    )


def judged_text(text: str, judging: Judging) -> str:
    """Return the SQL of a text as it is judged, the fold without the rule of the final sigma.

    Where no placeholder has a sigma, that rule decides nothing. A GUID has none, so that this is
    its key as well.
    """
    listed = (*judging.exact, *judging.beginnings, *judging.endings)
    if any({SMALL_SIGMA, FINAL_SIGMA} & {*entry} for entry in listed):
        return folded(text)
    return (
        f"(case when strlen({text}) <> length({text}) and contains({text}, '{DOTTED_I}')"
        f" then lower(replace({text}, '{DOTTED_I}', '{I_AND_DOT}')) else lower({text}) end)"
    )


def loose(text: str) -> str:
    """Return the SQL of casing.loose."""
    lowered = f"lower(replace({text}, '{DOTTED_I}', '{I_AND_DOT}'))"
    return f"replace({lowered}, '{FINAL_SIGMA}', '{SMALL_SIGMA}')"


def key(kind: IdentityType, text: str) -> str:
    """Return the SQL of identity.key_of; text: trimmed."""
    return text if kind.shape == "text" else folded(text)


def judged(kind: IdentityType, text: str, low: str, judging: Judging) -> str:
    """Return the SQL of why an identity is skipped: its place in CODES_OF_NOBODY from 1, or null.

    text: trimmed. low: the same, as judged_text has it.
    """
    # The first condition that holds counts, so they have the order of Judging.code.
    conditions = {"IDENTITY_PLACEHOLDER": placeholder(low, judging)}
    if kind.may_be_spoiled and not judging.allow_spoiled:
        # The pattern takes 40 ns a text. Signs and digits sort before the colon, and what is
        # spoiled has an exponent or ends in .0 or .00: few texts are left for it.
        conditions["IDENTITY_SPOILED"] = (
            f"{text} < ':' and (contains({low}, 'e') or contains({text}, '.0'))"
            f" and regexp_full_match({text}, {quote_text(SPOILED_PATTERN)})"
        )
    if kind.shape == "guid":
        conditions["DEVICE_ID_INVALID"] = f"not regexp_full_match({low}, '{GUID}')"
    cases = [
        f"when {condition} then {CODES_OF_NOBODY.index(code) + 1}"
        for code, condition in conditions.items()
        if condition
    ]
    if kind.shape == "guid" or "" in judging.exact:
        cases.insert(0, f"when {text} = '' then null")
    return f"(case {' '.join(cases)} end)::utinyint" if cases else "null::utinyint"


def code_named(place: str) -> str:
    """Return the SQL of the code at a place of CODES_OF_NOBODY."""
    cases = [f"when {number} then '{code}'" for number, code in enumerate(CODES_OF_NOBODY, start=1)]
    return f"case {place} {' '.join(cases)} end"


def code_of(kind: IdentityType, text: str, judging: Judging) -> str:
    """Return the SQL of the code that skips an identity as it is stated, or null."""
    value = trimmed(text)
    return code_named(judged(kind, value, judged_text(value, judging), judging=judging))


def usable_key(kind: IdentityType, text: str, judging: Judging) -> str:
    """Return the SQL of the key of an identity as it is stated, or null if it may not be used."""
    value = trimmed(text)
    skipped = judged(kind, value, judged_text(value, judging), judging=judging)
    return f"case when {value} <> '' and {skipped} is null then {key(kind, value)} end"


def placeholder(low: str, judging: Judging) -> str:
    """Return the condition that a text is a placeholder; empty if there are none.

    low: the text as judged_text has it.
    """
    # A comparison takes 1 ns, and most placeholders are shorter than almost every identity.
    short = sorted(text for text in judging.exact if len(text.encode()) < FEW_BYTES)
    long = sorted(judging.exact.difference(short))
    tests = [f"strlen({low}) < {FEW_BYTES} and {low} in ({_listed(short)})"] if short else []
    tests += [f"{low} in ({_listed(long)})"] if long else []
    # starts_with takes ten times as long.
    tests += [f"prefix({low}, {quote_text(text)})" for text in judging.beginnings]
    tests += [f"ends_with({low}, {quote_text(text)})" for text in judging.endings]
    return " or ".join(tests)


def _listed(texts: list[str]) -> str:
    return ", ".join(map(quote_text, texts))


DIGEST_BITS = 128
"""The bits of the digest of an identity, by which a list knows who was erased."""
HASH_BITS = 88
"""The bits of the hash of an identity: the upper ones of its digest."""
ABOVE_HASHES = 1 << 96
"""No hash of an identity is as large."""

SHORT_SECRET = 22
"""The characters of the secret of a store that was made with schema 9 or later: 128 bits. Those of
older stores have 32.
"""

MPID_TYPE = 0
"""The type of an MPID among identities: in linking rows, in the list of erased people."""
ENVIRONMENT_CODE = {"production": 0, "development": 1}
"""The number of each environment in a store."""
ENVIRONMENT_NAME = {code: name for name, code in ENVIRONMENT_CODE.items()}
_NAMED = " ".join(f"when {code} then '{name}'" for code, name in ENVIRONMENT_NAME.items())


def environment_name(column: str = "environment") -> str:
    """Return the SQL of the name of the environment whose number a column has."""
    return f"case {column} {_NAMED} end"


def identity_digest(secret: str, environment: str, kind: str, key: str) -> str:
    """Return the SQL of the digest of an identity; environment and key are SQL themselves.

    It has 128 bits. Its function, md5, is one that every engine computes alike (digest_of is the
    same in Python).
    """
    return f"md5_number({_digested(secret, CODE[kind], environment, value=key)})"


def identity_hash(secret: str, environment: str, kind: str, key: str) -> str:
    """Return the SQL of the hash of an identity, by which a store's indexes find it.

    environment and key are SQL themselves.
    """
    return hash_in(identity_digest(secret, environment, kind, key=key))


def hash_in(digest: str) -> str:
    """Return the SQL of the hash that a digest begins with.

    It has 88 bits. The index of a million customers with three identities each takes 31 MB with
    it; with 128 bits it took 46. 100 million customers have 300 million identities: the chance that
    any two of these share a hash is one in seven thousand million.
    """
    return f"({digest} >> {DIGEST_BITS - HASH_BITS})"


def mpid_hash(secret: str, environment: str, mpid: str) -> str:
    """Return the SQL of the digest of an MPID, as an identity of a type that no row has.

    environment and mpid are SQL themselves.
    """
    return f"md5_number({_digested(secret, MPID_TYPE, environment, value=mpid)})"


def _digested(secret: str, code: int, environment: str, *, value: str) -> str:
    """Return the SQL of the text that has the digest of an identity.

    The type is part of the text: one value of two types has two digests.
    """
    if is_short(secret):
        # One string before the value: DuckDB joins what is constant while it plans.
        return f"({quote_text(f'{secret}{code}')} || left({environment}, 1)) || {value}"
    return f"{quote_text(f'{secret}:{code}:')} || {environment} || ':' || {value}"


def is_short(secret: str) -> bool:
    """Return whether a store has a short secret, and short texts for the digests of identities.

    md5 takes 64 bytes at once, 9 of them its own. With the secrets of schema 8 and before, most
    identities took two steps: 0.24 of the 4.9 CPU s of an import of a million rows.
    """
    return len(secret) == SHORT_SECRET


def mpid_hash_of(secret: str, environment: str, mpid: int) -> int:
    """Return the digest of one MPID: the value of the SQL of mpid_hash."""
    return _digest(secret, MPID_TYPE, environment, value=str(mpid))


def digest_of(secret: str, environment: str, kind: str, key: str) -> int:
    """Return the digest of one identity: the value of the SQL of identity_digest."""
    return _digest(secret, CODE[kind], environment, value=key)


def hash_of(secret: str, environment: str, kind: str, key: str) -> int:
    """Return the hash of one identity: the value of the SQL of identity_hash."""
    return hash_in_digest(digest_of(secret, environment, kind, key=key))


def hash_in_digest(digest: int) -> int:
    """Return the hash that a digest begins with: the value of the SQL of hash_in."""
    return digest >> DIGEST_BITS - HASH_BITS


def _digest(secret: str, code: int, environment: str, *, value: str) -> int:
    """Return the value of the SQL of a digest."""
    import hashlib

    short = is_short(secret)
    before = f"{secret}{code}{environment[:1]}" if short else f"{secret}:{code}:{environment}:"
    digest = hashlib.md5(f"{before}{value}".encode(), usedforsecurity=False).digest()
    # DuckDB's md5_number takes the bytes in this order.
    return int.from_bytes(digest, "little")
