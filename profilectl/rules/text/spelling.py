"""How a value may be written in a text: what is looked for where texts are looked through for
somebody (erasure, suppression).

No key is made here: whom a row means is said by identity.key_of alone. A text is looked through
more widely than anybody is looked up, because nobody knows who wrote it, and how.
"""

from __future__ import annotations

import contextlib
import csv
import html
import json
import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator
from urllib.parse import unquote

from profilectl.rules.identity import BY_NAME, display, key_of, type_named
from profilectl.rules.text.casing import loose

SHORT = 6
"""A value with fewer letters and digits is anybody's: it counts only beside the name of its type,
in JSON.
"""
DISTINCT = 3
"""Likewise a value with fewer distinct ones: 000000, xxxxxxx."""
DIGITS = range(7, 18)
"""So many digits a phone has; fewer say nothing without their type."""
PHONES = ("mobile_number", "phone_number_2", "phone_number_3")
MPID = "mpid"
ROUNDS = 4
"""So many times a text may have been put into another as a string."""
LONG = 64 * 1000
"""A text as long may have been cut (stage.csv.RAW_SHOWN), in the middle of a value."""
FEW = 64
"""So many values are tried one by one."""
ANY = "any"
"""The type of a value that somebody named without one."""

_JSON_ESCAPE = re.compile(r'\\(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|(["\\/bfnrt]))')
_LETTERS = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_RUN = re.compile(r"[0-9](?:[ ().\-/\u00a0]{0,3}[0-9])*")
_WORD = re.compile(r"""[^\s,;|"'{}\[\]()<>=\\:]+""")
_CELL = re.compile(r"""[^"{}\[\],;|\t\r\n]+""")
_STRING = re.compile(r'"((?:[^"\\]|\\.)*)"')
_ENDING = re.compile(
    r"\.(?:csv|tsv|txt|jsonl?|ndjson|parquet|gz|zst|zip|gpg|pgp|toml|xlsx?|pdf|html?|log|bak|rejects)\b"
)
"""What follows an address in the name of a file, and is no longer domain."""
DELIMITERS = ",;|\t"
_BEFORE_EMAIL = frozenset("._+-")


def _unescaped(text: str) -> str:
    if "\\" not in text:
        return text

    def letter(found: re.Match[str]) -> str:
        code = found[1] or found[2]
        return chr(int(code, 16)) if code else _LETTERS.get(found[3], found[3])

    plain = _JSON_ESCAPE.sub(letter, text)
    if any("\ud800" <= one <= "\udfff" for one in plain):
        return plain.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return plain


def _unquoted(text: str) -> str:
    return unquote(text) if "%" in text else text


def _single_quotes(text: str) -> str:
    return text.replace('""', '"')


def _characters(text: str) -> str:
    return html.unescape(text) if "&" in text else text


DECODERS = (_unescaped, _unquoted, _single_quotes, _characters)
"""What takes one layer of writing off a text: JSON's escapes, an address's, the quotes of a CSV
cell, those of HTML.
"""
ESCAPED = r'[\\%&]|""'
"""What a text has that a decoder may change, as a regular expression."""


def forms(text: str) -> list[str]:
    """Return a text as it is, and what it says with one layer of writing after another taken off."""
    found = [text]
    for _ in range(ROUNDS):
        now = found[-1]
        for decoder in DECODERS:
            now = decoder(now)
        if now == found[-1]:
            break
        found.append(now)
    return found


def alike(text: str) -> str:
    """Return a text in the form in which texts are compared that differ in case, or in how Unicode
    writes a letter.
    """
    return loose(text if text.isascii() else unicodedata.normalize("NFKC", text))


def digits_of(value: str) -> str:
    """Return the digits of a phone, whatever stands between them; 00 before a country's code is its
    plus sign.
    """
    digits = "".join(one for one in unicodedata.normalize("NFKC", value) if "0" <= one <= "9")
    return digits.removeprefix("00")


def phone_in(kind: str, value: str) -> str | None:
    """Return the digits of a value that is a phone, by its type or, where none was named, by how it
    is written.
    """
    is_phone = kind in PHONES or (
        kind == ANY and re.fullmatch(r"[+0-9 ().\-/]+", value) is not None
    )
    digits = digits_of(value) if is_phone else ""
    return digits if len(digits) in DIGITS else None


def phones_in(form: str) -> Iterator[str]:
    """Yield the digits of everything in a text that may be a phone: groups of digits that follow
    each other.
    """
    for run in _RUN.finditer(form):
        groups = re.findall("[0-9]+", run[0])
        for first in range(len(groups)):
            digits = ""
            for group in groups[first:]:
                digits += group
                if len(digits) > DIGITS.stop + 2:
                    break
                if len(digits.removeprefix("00")) in DIGITS:
                    yield digits.removeprefix("00")


def is_telling(value: str) -> bool:
    """Say whether a value is somebody's wherever it stands as a word of its own."""
    letters = [one for one in value if one.isalnum()]
    return len(letters) >= SHORT and len(set(letters)) >= DISTINCT


def typed_in(form: str) -> Iterator[tuple[str, str]]:
    """Yield what a JSON text has beside names of identity types, or beside mpid: (type, value)."""
    start = min((place for place in (form.find("{"), form.find("[")) if place >= 0), default=-1)
    if start < 0:
        return
    try:
        document = json.loads(form)
    except (ValueError, RecursionError):
        # What is not quite JSON has its names and values all the same.
        for name, text, number in re.findall(
            r'"([A-Za-z0-9_ .-]{2,60})"\s*:\s*(?:"([^"]*)"|(-?[0-9]+))', form
        ):
            if kind := _named(name.rpartition(".")[2]):
                yield kind, display(text or number)
        return
    waiting = [document]
    while waiting:
        one = waiting.pop()
        if isinstance(one, list):
            waiting += one
            if (
                len(one) == 2
                and all(isinstance(part, str) for part in one)
                and (kind := _named(one[0]))
            ):
                yield kind, display(one[1])  # [type, value], as our own requests have it
        elif isinstance(one, dict):
            for name, value in one.items():
                waiting.append(value)
                kind = _named(name.rpartition(".")[2])
                for part in (value if isinstance(value, list) else [value]) if kind else ():
                    if isinstance(part, str | int) and not isinstance(part, bool):
                        yield str(kind), display(str(part))


def _named(name: str) -> str | None:
    kind = type_named(name)
    return kind.name if kind else MPID if name == MPID else None


class Sought:
    """Values of people, looked for in texts however they are written there.

    A telling value counts where it stands as a word of its own, a phone by its digits, any other
    beside the name of its type alone: nobody else's text is taken for theirs because it has three
    letters in common.
    """

    def __init__(self, values: Iterable[tuple[str, str]]) -> None:
        """values: (identity type, "mpid" or "any", value)."""
        self.words: dict[str, None] = {}
        self.digits: dict[str, None] = {}
        self.weak: dict[tuple[str, str], None] = {}
        self._begin: dict[str, dict[int, None]] = {}
        for kind, value in values:
            text = display(value)
            if not text:
                continue
            if digits := phone_in(kind, text):
                self.digits[digits] = None
            if is_telling(text):
                self.words[alike(text)] = None
            if kind in BY_NAME or kind == MPID:
                self.weak[kind, alike(_key(kind, text))] = None
        for word in self.words:
            self._begin.setdefault(word[:SHORT], {})[len(word)] = None
        self._untold = {key: None for key in self.weak if key[1] not in self.words}

    def __bool__(self) -> bool:
        return bool(self.words or self.digits or self.weak)

    def are_in(self, text: str) -> bool:
        """Say whether a text has one of the values."""
        return any(self._are_in(form, alike(form)) for form in forms(text))

    def _are_in(self, form: str, low: str) -> bool:
        for place in self._places(low):
            for size in self._begin[low[place : place + SHORT]]:
                word = low[place : place + size]
                if word in self.words and _stands(low, place, word):
                    return True
        if len(low) >= LONG and any(
            low.endswith(word[:size]) for word in self.words for size in range(SHORT, len(word))
        ):
            return True
        if self.digits:
            bare = "".join(re.findall("[0-9]+", low))
            if _may(bare, self.digits) and any(one in self.digits for one in phones_in(low)):
                return True
        if self._untold and _may(
            low, [value for _, value in self._untold] if len(self._untold) <= FEW else self._untold
        ):
            return any(
                (kind, alike(_key(kind, value))) in self._untold for kind, value in typed_in(form)
            )
        return False

    def _places(self, low: str) -> Iterator[int]:
        if len(self._begin) <= FEW:
            for begin in self._begin:
                place = low.find(begin)
                while place >= 0:
                    yield place
                    place = low.find(begin, place + 1)
            return
        for place in range(len(low) - SHORT + 1):
            if low[place : place + SHORT] in self._begin:
                yield place


def _may(text: str, values: Collection[object]) -> bool:
    """Say whether a text may have one of some values; of many it may, for to try each costs more
    than to look.
    """
    return len(values) > FEW or any(str(one) in text for one in values)


def _key(kind: str, text: str) -> str:
    return key_of(BY_NAME[kind], text) if kind in BY_NAME else text


def _stands(low: str, place: int, word: str) -> bool:
    """Say whether a word stands at a place, and is no part of a longer one: anna@x.org is none of
    johanna@x.org.
    """
    end = place + len(word)
    before, after = low[place - 1 : place], low[end : end + 2]
    if word[0].isalnum() and before.isalnum():
        return False
    if word[-1].isalnum() and after[:1].isalnum():
        return False
    if "@" not in word:
        return True
    longer = after[:1] in (".", "-") and after[1:].isalnum() and not _ENDING.match(low, end)
    return before not in _BEFORE_EMAIL and not longer


def words_in(text: str) -> set[tuple[str, str]]:
    """Return what of a text may be an identity, however it is written: (type, or "any", and value).

    Words that are not telling count beside the name of their type alone.
    """
    found: set[tuple[str, str]] = set()
    for form in forms(text):
        for one in dict.fromkeys(
            (
                form,
                *(
                    ()
                    if form.isascii()
                    else (unicodedata.normalize(name, form) for name in ("NFC", "NFKC", "NFD"))
                ),
            )
        ):
            words = [
                *_WORD.findall(one),
                *_CELL.findall(one),
                *map(_unescaped, _STRING.findall(one)),
                *_cells(one),
            ]
            found |= {(ANY, word) for part in words if is_telling(word := display(part))}
            found.update(typed_in(one))
    return found


def _cells(form: str) -> Iterator[str]:
    """Yield the cells of a text as a line of CSV, whatever parts them."""
    if '"' not in form:
        return
    for delimiter in DELIMITERS:
        with contextlib.suppress(csv.Error):
            for row in csv.reader(form.splitlines(keepends=True), delimiter=delimiter):
                yield from row


def phones_in_text(text: str) -> set[str]:
    """Return the digits of everything in a text that may be a phone, however it is written."""
    return {digits for form in forms(text) for digits in phones_in(alike(form))}
