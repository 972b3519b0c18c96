"""Who was erased and stays out, as SQL: the set-based twin of interpreter.Interpreter.suppressed.

The store knows them by hashes only (store.suppressed): those of the identities in its indexes,
hashed again with a key that is not in the store (suppression_key.py). The store alone does not tell
who is in the list, nor does the key alone.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field

from profilectl.codes import CODES, StoreUnusable
from profilectl.files.suppression_key import (
    fingerprint_of,
    key_path,
    make_key,
    meant_store,
    read_key,
    wrong_key,
)
from profilectl.rules.feed import ENVIRONMENTS
from profilectl.rules.identity import BY_NAME, CODE, NAME, Judging
from profilectl.rules.sql.identities import (
    MPID_TYPE,
    folded,
    identity_hash,
    key,
    mpid_hash,
    placeholder,
)
from profilectl.rules.sql.quoting import quote_text
from profilectl.rules.text.spelling import ANY, MPID, phones_in_text, words_in
from profilectl.store.scratch import Scratch
from profilectl.store.store import OpenStore

NOTE = "(erased)"
"""What stands for the text of a reject that names somebody erased."""
FINGERPRINT = "suppression_key"
"""The name in store.meta of what tells the key of the list from another; without it the list is an
older version's, of plain hashes.
"""
DIGITS_TYPE = 255
"""The type under which the digits of a phone stand in the list: texts are looked through for them,
no row is kept out by them.
"""
KEYED = "keyed:"
"""What the hash of a file begins with that was made with the key."""
BLOCK = 20_000
"""So many rejects are looked through at once."""


@dataclass(frozen=True, slots=True)
class Guard:
    """Makes of the hash of an identity the one that the list has. Its text shows nothing."""

    key: str | None = field(repr=False)
    """The key of the list; None: an older version made it, of plain hashes."""

    def sql(self, digest: str) -> str:
        """Return the SQL of the hash in the list; digest is SQL itself."""
        return (
            digest
            if self.key is None
            else f"md5_number(sha256({quote_text(f'{self.key}:')} || ({digest})::varchar))"
        )

    def of(self, digest: int) -> int:
        """Return the hash in the list: what the SQL of it comes to."""
        if self.key is None:
            return digest
        sealed = hashlib.sha256(f"{self.key}:{digest}".encode()).hexdigest()
        return int.from_bytes(
            hashlib.md5(sealed.encode(), usedforsecurity=False).digest(), "little"
        )

    def text(self, digest: str) -> str:
        """Return the hash of a file of which a row was erased: whoever guesses the row could make
        the plain one.
        """
        return (
            digest
            if self.key is None
            else KEYED + hashlib.sha256(f"{self.key}:{digest}".encode()).hexdigest()
        )


def store_suppresses(scratch: Scratch) -> bool:
    """Say whether anybody was erased from the attached store: if not, no row need be held against
    the list.
    """
    return bool(scratch.row("select count(*) from store.suppressed")[0])


def is_keyed(store: OpenStore) -> bool:
    """Say whether the list of an open store was made with a key."""
    return bool(
        store.scratch.rows("select 1 from store.meta where name = $name", {"name": FINGERPRINT})
    )


def guard_of(store: OpenStore) -> Guard | None:
    """Return what keeps people out of an open store; None: nobody was erased. Raises StoreUnusable
    where the key of the list is not there, is another's, or can be read by others.
    """
    if not store_suppresses(store.scratch):
        return None
    return _guard(store) if is_keyed(store) else Guard(None)


class NobodyLetIn(UserWarning):
    """The key of those who stay out cannot be used: nothing is taken in until it can."""


def warn_of_key(store: OpenStore) -> None:
    """Warn where rows could not be taken in, for want of the key of those who stay out."""
    try:
        guard_of(store)
    except StoreUnusable as error:
        warnings.warn(
            f"{error.message}; nothing is taken in until it is there: {error.hint}",
            NobodyLetIn,
            stacklevel=2,
        )


def _guard(store: OpenStore) -> Guard:
    path, named = key_path(store.path), meant_store(store.path)
    found = read_key(path, named)
    if fingerprint_of(found) != store.meta(FINGERPRINT):
        raise wrong_key(path, named)
    return Guard(found)


def sealed_list(store: OpenStore, more: str = "") -> tuple[str, str, Guard | None]:
    """Return the SELECTs of the list and of what comes to store.meta ("": nothing), for a store
    that is written anew, and what makes its hashes: every one is made with the key, which is
    made where there is none. more: the SELECT of what comes to the list, of plain hashes.

    The list is "" where it stays as it is. Raises StoreUnusable where the key of the list is not
    there, or none can be made.
    """
    there, keyed = store_suppresses(store.scratch), is_keyed(store)
    comes = bool(more and store.scratch.row(f"select count(*) from ({more})")[0])
    if not comes and (keyed or not there):
        return "", "", guard_of(store) if more else None
    if keyed:
        guard = guard_of(store) or _guard(store)
        return f"select * from store.suppressed union all {_sealed(more, guard)}", "", guard
    found = make_key(key_path(store.path), store.path)
    plain = " union all ".join(["select * from store.suppressed", *([more] if comes else [])])
    return (
        _sealed(plain, Guard(found)),
        f"select {quote_text(FINGERPRINT)}, {quote_text(fingerprint_of(found))}",
        Guard(found),
    )


def _sealed(plain: str, guard: Guard) -> str:
    return f"select * replace ({guard.sql('hash')} as hash) from ({plain})"


def suppress(scratch: Scratch, first: int) -> None:
    """Make `suppressed_hash`: of identities and MPIDs whose rows stay out that arrive from `first`
    on.
    """
    scratch.make(
        "suppressed_hash",
        "select distinct hash, type from store.suppressed where until is null or until > $first",
        {"first": first},
    )


def without_text(named: str) -> str:
    """Return the replacements of a SELECT of rejects, for those that meet a condition: code and
    line stay.
    """
    sentences = " ".join(
        f"when {quote_text(code)} then {quote_text(one.sentence)}" for code, one in CODES.items()
    )
    return f"case when {named} then case code {sentences} else '' end else message end as message, case when {named} then '{NOTE}' else raw end as raw"


def clear_rejects(scratch: Scratch, first: int, judging: Judging, guard: Guard) -> None:
    """Take the text out of those of `ready_reject` that name somebody erased: it would come back
    with them.

    A row that could not be used was not understood either: its text is looked through word by word,
    however it is written (spelling.words_in). A placeholder that somebody erased once had for an
    identity names nobody.
    """
    suppress(scratch, first)
    types = [
        code for (code,) in scratch.rows("select distinct type from suppressed_hash order by type")
    ]
    if not types:
        return
    (secret,) = scratch.row("select value from store.meta where name = 'secret'")
    named = {
        place
        for block in _blocks(scratch)
        for place in _named_in(scratch, block, types, secret, judging, guard)
    }
    if named:
        scratch.load("named_reject", [("place", "BIGINT")], [(place,) for place in sorted(named)])
        scratch.make(
            "cleared_reject",
            f"select * replace ({without_text('rowid in (select place from named_reject)')}) from ready_reject",
        )
        scratch.rename("cleared_reject", "ready_reject")


def _blocks(scratch: Scratch) -> Iterator[list[tuple[int, str]]]:
    (last,) = scratch.row("select coalesce(max(rowid), -1) from ready_reject")
    for start in range(0, last + 1, BLOCK):
        yield scratch.rows(
            "select rowid, raw || chr(10) || message from ready_reject where rowid >= $start and rowid < $end",
            {"start": start, "end": start + BLOCK},
        )


def _named_in(
    scratch: Scratch,
    block: list[tuple[int, str]],
    types: list[int],
    secret: str,
    judging: Judging,
    guard: Guard,
) -> list[int]:
    """Return those rejects (place, text) that name somebody in the list. types: which it has."""
    codes = {ANY: None, MPID: MPID_TYPE, **CODE}
    words = [(place, codes[kind], word) for place, text in block for kind, word in words_in(text)]
    if DIGITS_TYPE in types:
        words += [
            (place, DIGITS_TYPE, digits) for place, text in block for digits in phones_in_text(text)
        ]
    scratch.load(
        "reject_word", [("place", "BIGINT"), ("type", "UTINYINT"), ("word", "VARCHAR")], words
    )
    scratch.make("one_word", "select distinct type, word from reject_word")
    tests = [
        f"(coalesce(type, {code}) = {code} and {guard.sql(digest)} in (select hash from suppressed_hash where type = {code}))"
        for code in types
        for environment in ENVIRONMENTS
        for digest in _hashes(secret, quote_text(environment), code)
    ]
    nothing = placeholder(folded("word"), judging) or "false"
    found = scratch.rows(
        "select distinct place from reject_word as one join (select type, word from one_word"
        f" where not ({nothing}) and ({' or '.join(tests)})) as named on named.word = one.word and named.type is not distinct from one.type"
    )
    return [place for (place,) in found]


def _hashes(secret: str, environment: str, code: int) -> list[str]:
    """Return the SQL of the hash of a word as an identity of a type, as an MPID, as the digits of a
    phone.
    """
    if code == MPID_TYPE:
        return [mpid_hash(secret, environment, "word")]
    if code == DIGITS_TYPE:
        return [digits_hash(secret, environment, "word")]
    return [identity_hash(secret, environment, NAME[code], key(BY_NAME[NAME[code]], "word"))]


def digits_hash(secret: str, environment: str, digits: str) -> str:
    """Return the SQL of the hash of a phone's digits, as an identity of a type that no row has;
    environment and digits are SQL.
    """
    return (
        f"md5_number({quote_text(f'{secret}:{DIGITS_TYPE}:')} || {environment} || ':' || {digits})"
    )


def digits_hash_of(secret: str, environment: str, digits: str) -> int:
    """Return the hash of the digits of one phone: what the SQL of digits_hash comes to."""
    text = f"{secret}:{DIGITS_TYPE}:{environment}:{digits}"
    return int.from_bytes(hashlib.md5(text.encode(), usedforsecurity=False).digest(), "little")
