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
from typing import NamedTuple

from profilectl.codes import CODES, StoreUnusable
from profilectl.files.suppression_key import (
    fingerprint_of,
    key_path,
    make_key,
    meant_store,
    read_key,
    wrong_key,
)
from profilectl.importing.known import (
    SUPPRESSED_LIST,
    know_erased,
    know_suppressed,
    meta_of,
    store_suppresses,
    suppressed_types,
)
from profilectl.importing.relations import Relations, only_row
from profilectl.rules.feed import ENVIRONMENTS
from profilectl.rules.identity import BY_NAME, CODE, NAME, Judging
from profilectl.rules.sql.identities import (
    MPID_TYPE,
    identity_digest,
    judged_text,
    key,
    mpid_hash,
    placeholder,
)
from profilectl.rules.sql.quoting import quote_text
from profilectl.rules.text.spelling import ANY, MPID, phones_in_text, words_in
from profilectl.store.store import OpenStore

NOTE = "(erased)"
"""The text that a reject gets in the place of its own if it names somebody erased."""
FINGERPRINT = "suppression_key"
"""The name in store.meta of the fingerprint that tells the key of the list from another; a list
without it was made by an older version, of plain hashes.
"""
DIGITS_TYPE = 255
"""The type under which the digits of a phone are in the list: texts are looked through for them,
but they keep no row out.
"""
KEYED = "keyed:"
"""The beginning of the hash of a file that was made with the key."""
REJECTS_AT_ONCE = 20_000
"""How many rejects are looked through at once."""

LAST_REJECT = "select coalesce(max(rowid), -1) from ready_reject"
BLOCK_OF_REJECTS = """
select rowid, raw || chr(10) || message
from ready_reject
where rowid >= $start and rowid < $end
"""
DISTINCT_WORD = "select distinct type, word from reject_word"
# Rejects that name somebody in the list, in one of their words.
NAMING_REJECT = """
select distinct reject_word.place
from reject_word
join (
  select type, word from (select type, word{columns} from distinct_word) where is_erased
) as naming on naming.word = reject_word.word and naming.type is not distinct from reject_word.type
"""
CLEARED_REJECT = """
select * replace ({columns})
from ready_reject
"""


@dataclass(frozen=True, slots=True)
class Guard:
    """Turns the hash of an identity into the one that the list has; its repr shows no key."""

    key: str | None = field(repr=False)
    """The key of the list; None: an older version made it, of plain hashes."""

    def sql(self, digest: str) -> str:
        """Return the SQL of the hash in the list; digest is SQL itself."""
        if self.key is None:
            return digest
        return f"md5_number(sha256({quote_text(f'{self.key}:')} || ({digest})::varchar))"

    def of(self, digest: int) -> int:
        """Return the hash in the list, as the SQL of it makes it."""
        if self.key is None:
            return digest
        sealed = hashlib.sha256(f"{self.key}:{digest}".encode()).hexdigest()
        # md5_number of DuckDB takes the digest as little-endian.
        return int.from_bytes(
            hashlib.md5(sealed.encode(), usedforsecurity=False).digest(), "little"
        )

    def text(self, digest: str) -> str:
        """Return what is kept as the hash of a file that had a row of somebody erased.

        Anybody who guesses the row could make the plain hash.
        """
        if self.key is None:
            return digest
        return KEYED + hashlib.sha256(f"{self.key}:{digest}".encode()).hexdigest()


def is_keyed(store: OpenStore) -> bool:
    """Return whether the list of an open store was made with a key."""
    return meta_of(store.scratch, FINGERPRINT) is not None


def guard_of(store: OpenStore) -> Guard | None:
    """Return what keeps people out of an open store; None: nobody was erased.

    Raises StoreUnusable if the key of the list is not there, is another's, or others can read it.
    """
    if not store_suppresses(store.scratch):
        return None
    return _guard(store) if is_keyed(store) else Guard(None)


class NobodyLetIn(UserWarning):
    """The key of those who stay out cannot be used: nothing is taken in until it can."""


def warn_of_key(store: OpenStore) -> None:
    """Warn if rows could not be taken in, for want of the key of those who stay out."""
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
    list_key = read_key(path, named)
    if fingerprint_of(list_key) != store.meta(FINGERPRINT):
        raise wrong_key(path, named)
    return Guard(list_key)


class SealedList(NamedTuple):
    """The list of those who stay out, for a store that is written anew."""

    select: str = ""
    """The SELECT of the list; "": it stays as it is."""
    meta: str = ""
    """The SELECT of what comes to store.meta; "": nothing."""
    guard: Guard | None = None
    """The guard that makes the hashes of the list."""


def sealed_list(store: OpenStore, more: str = "") -> SealedList:
    """Return the list of those who stay out, for a store that is written anew.

    Every hash is made with the key, which is made if there is none. more: the SELECT of plain
    hashes that are added to the list. Raises StoreUnusable if the key of the list is not there, or
    none can be made.
    """
    was_there, keyed = store_suppresses(store.scratch), is_keyed(store)
    comes = bool(more and store.scratch.row(f"select count(*) from ({more})")[0])
    if not comes and (keyed or not was_there):
        return SealedList(guard=guard_of(store) if more else None)
    if keyed:
        # The list may be empty and have a key all the same: then guard_of returns None.
        guard = guard_of(store) or _guard(store)
        return SealedList(f"{SUPPRESSED_LIST} union all {_sealed(more, guard)}", guard=guard)
    new_key = make_key(key_path(store.path), store.path)
    plain = " union all ".join([SUPPRESSED_LIST, *([more] if comes else [])])
    return SealedList(
        select=_sealed(plain, Guard(new_key)),
        meta=f"select {quote_text(FINGERPRINT)}, {quote_text(fingerprint_of(new_key))}",
        guard=Guard(new_key),
    )


def _sealed(plain: str, guard: Guard) -> str:
    return f"select * replace ({guard.sql('hash')} as hash) from ({plain})"


def without_text(named: str) -> str:
    """Return the replacements of a SELECT of rejects that meet a condition: code and line stay."""
    sentences = " ".join(
        f"when {quote_text(code)} then {quote_text(entry.sentence)}"
        for code, entry in CODES.items()
    )
    message = f"case when {named} then case code {sentences} else '' end else message end"
    return f"{message} as message, case when {named} then '{NOTE}' else raw end as raw"


def clear_rejects(
    relations: Relations, first_arrival: int, *, judging: Judging, guard: Guard
) -> None:
    """Take the text out of those of `ready_reject` that name somebody erased.

    Otherwise their data would come back as the text of a reject. A row that could not be used was
    not understood either: its text is looked through word by word, however it is written
    (spelling.words_in). A placeholder that somebody erased once had for an identity names nobody.
    """
    know_erased(relations)
    know_suppressed(relations, first_arrival)
    types = suppressed_types(relations)
    if not types:
        return
    search = _Search(types, meta_of(relations, "secret") or "", judging=judging, guard=guard)
    named = {place for block in _blocks(relations) for place in search.named_in(relations, block)}
    if named:
        places = [(place,) for place in sorted(named)]
        relations.load("named_reject", [("place", "BIGINT")], places)
        columns = without_text("rowid in (select place from named_reject)")
        relations.make("cleared_reject", CLEARED_REJECT.format(columns=columns))
        relations.rename("cleared_reject", "ready_reject")


def _blocks(relations: Relations) -> Iterator[list[tuple[int, str]]]:
    """Yield the rejects (place, text), a block at a time."""
    (last_place,) = only_row(relations, LAST_REJECT)
    for start in range(0, last_place + 1, REJECTS_AT_ONCE):
        bound = {"start": start, "end": start + REJECTS_AT_ONCE}
        yield [(place, text) for place, text in relations.rows(BLOCK_OF_REJECTS, bound)]


@dataclass(frozen=True, slots=True)
class _Search:
    """Looks through texts for people in the list."""

    types: list[int]
    """The types of identities that the list has."""
    secret: str
    """The secret of the store."""
    judging: Judging
    """The rule of which values are nobody's identity."""
    guard: Guard
    """The guard that makes the hashes of the list."""

    def named_in(self, relations: Relations, block: list[tuple[int, str]]) -> list[int]:
        """Return the places of those rejects (place, text) that name somebody in the list."""
        codes = {ANY: None, MPID: MPID_TYPE, **CODE}
        words = [
            (place, codes[kind], word) for place, text in block for kind, word in words_in(text)
        ]
        if DIGITS_TYPE in self.types:
            words += [
                (place, DIGITS_TYPE, digits)
                for place, text in block
                for digits in phones_in_text(text)
            ]
        columns = [("place", "BIGINT"), ("type", "UTINYINT"), ("word", "VARCHAR")]
        relations.load("reject_word", columns, words)
        relations.make("distinct_word", DISTINCT_WORD)
        # A word without a type may be an identity of every type that the list has.
        tests = [
            f"(coalesce(type, {code}) = {code} and {self.guard.sql(digest)} in"
            f" (select hash from suppressed_hash where type = {code}))"
            for code in self.types
            for environment in ENVIRONMENTS
            for digest in self._hashes(quote_text(environment), code)
        ]
        nothing = placeholder(judged_text("word", self.judging), self.judging) or "false"
        is_erased = f", not ({nothing}) and ({' or '.join(tests)}) as is_erased"
        return [place for (place,) in relations.rows(NAMING_REJECT.format(columns=is_erased))]

    def _hashes(self, environment: str, code: int) -> list[str]:
        """Return the SQL of the hash of a word: of an identity, an MPID or a phone's digits."""
        if code == MPID_TYPE:
            return [mpid_hash(self.secret, environment, "word")]
        if code == DIGITS_TYPE:
            return [digits_hash(self.secret, environment, "word")]
        text = key(BY_NAME[NAME[code]], "word")
        return [identity_digest(self.secret, environment, kind=NAME[code], key=text)]


def digits_hash(secret: str, environment: str, digits: str) -> str:
    """Return the SQL of the hash of a phone's digits, as an identity of a type that no row has.

    environment and digits are SQL themselves.
    """
    prefix = quote_text(f"{secret}:{DIGITS_TYPE}:")
    return f"md5_number({prefix} || {environment} || ':' || {digits})"


def digits_hash_of(secret: str, environment: str, digits: str) -> int:
    """Return the hash of the digits of one phone, as the SQL of digits_hash makes it."""
    text = f"{secret}:{DIGITS_TYPE}:{environment}:{digits}"
    return int.from_bytes(hashlib.md5(text.encode(), usedforsecurity=False).digest(), "little")
