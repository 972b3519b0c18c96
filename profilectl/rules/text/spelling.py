"""The ways in which a text may write a value: how erasure and suppression look for a person.

No key is made here: identity.key_of alone decides whose a row is. The search of a text finds more
than a look-up does, because nobody knows who wrote the text, and how.
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
"""A value with fewer letters and digits may be anybody's: it counts only beside the name of its
type, in JSON.
"""
DISTINCT = 3
"""A value with fewer distinct letters and digits (000000, xxxxxxx) may be anybody's too."""
DIGITS = range(7, 18)
"""The numbers of digits that a phone number may have; fewer say nothing without their type."""
PHONES = ("mobile_number", "phone_number_2", "phone_number_3")
MPID = "mpid"
ROUNDS = 4
"""The most layers of writing on a text: it may be a string within a string (DECODERS)."""
LONG = 64 * 1000
"""A text of this many characters may have been cut within a value (importing/stage/staged.py:
RAW_SHOWN).
"""
FEW = 64
"""Up to this many values are searched for one by one; for more, each place of a text is tried."""
ANY = "any"
"""The type of a value whose type is not known."""

_JSON_ESCAPE = re.compile(r'\\(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|(["\\/bfnrt]))')
_LETTERS = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_RUN = re.compile(r"[0-9](?:[ ().\-/\u00a0]{0,3}[0-9])*")
_WORD = re.compile(r"""[^\s,;|"'{}\[\]()<>=\\:]+""")
_CELL = re.compile(r"""[^"{}\[\],;|\t\r\n]+""")
_STRING = re.compile(r'"((?:[^"\\]|\\.)*)"')
_MEMBER = re.compile(r'"([A-Za-z0-9_ .-]{2,60})"\s*:\s*(?:"([^"]*)"|(-?[0-9]+))')
_ENDING = re.compile(
    r"\.(?:csv|tsv|txt|jsonl?|ndjson|parquet|gz|zst|zip|gpg|pgp|toml|xlsx?|pdf|html?|log|bak"
    r"|rejects)\b"
)
"""The endings of file names, which are no part of the domain of an address before them."""
DELIMITERS = ",;|\t"
_BEFORE_EMAIL = frozenset("._+-")


def _unescaped(text: str) -> str:
    if "\\" not in text:
        return text

    def letter(match: re.Match[str]) -> str:
        code = match[1] or match[2]
        return chr(int(code, 16)) if code else _LETTERS.get(match[3], match[3])

    plain = _JSON_ESCAPE.sub(letter, text)
    # Two escapes may be the halves of one character.
    if any("\ud800" <= letter <= "\udfff" for letter in plain):
        return plain.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return plain


def _unquoted(text: str) -> str:
    return unquote(text) if "%" in text else text


def _single_quotes(text: str) -> str:
    return text.replace('""', '"')


def _characters(text: str) -> str:
    return html.unescape(text) if "&" in text else text


DECODERS = (_unescaped, _unquoted, _single_quotes, _characters)
"""The functions that take one layer of writing off a text: the escapes of JSON, of an address, the
quotes of a CSV cell, the escapes of HTML.
"""
ESCAPED = r'[\\%&]|""'
"""The regular expression of what a decoder may change."""


def forms(text: str) -> list[str]:
    """Return a text as it is, and with one layer of writing after another taken off."""
    unwrapped = [text]
    for _ in range(ROUNDS):
        # A text within JSON within a cell has several layers on it.
        form = unwrapped[-1]
        for decoder in DECODERS:
            form = decoder(form)
        if form == unwrapped[-1]:
            break
        unwrapped.append(form)
    return unwrapped


def alike(text: str) -> str:
    """Return a text in the form that ignores case, and how Unicode writes a letter."""
    return loose(text if text.isascii() else unicodedata.normalize("NFKC", text))


def digits_of(value: str) -> str:
    """Return the digits of a phone number, without 00 before the code of a country."""
    plain = unicodedata.normalize("NFKC", value)
    digits = "".join(letter for letter in plain if "0" <= letter <= "9")
    return digits.removeprefix("00")


def phone_in(kind: str, value: str) -> str | None:
    """Return the digits of a value that is a phone number, else None.

    Its type decides or, if that is ANY, its spelling.
    """
    is_phone = kind in PHONES or (
        kind == ANY and re.fullmatch(r"[+0-9 ().\-/]+", value) is not None
    )
    digits = digits_of(value) if is_phone else ""
    return digits if len(digits) in DIGITS else None


def phones_in(form: str) -> Iterator[str]:
    """Yield the digits of everything in a text that may be a phone number.

    Those are groups of digits that follow each other.
    """
    for run in _RUN.finditer(form):
        groups = re.findall("[0-9]+", run[0])
        for start in range(len(groups)):
            digits = ""
            for group in groups[start:]:
                digits += group
                # More than any phone number, even with 00 before its country.
                if len(digits) > DIGITS.stop + 2:
                    break
                if len(digits.removeprefix("00")) in DIGITS:
                    yield digits.removeprefix("00")


def is_telling(value: str) -> bool:
    """Return whether a value belongs to somebody wherever it stands as a word of its own."""
    letters = [letter for letter in value if letter.isalnum()]
    return len(letters) >= SHORT and len(set(letters)) >= DISTINCT


def typed_in(form: str) -> Iterator[tuple[str, str]]:
    """Yield (type, value) for each value that stands beside the name of its type in a JSON text.

    The type is an identity type, or mpid.
    """
    start = min((place for place in (form.find("{"), form.find("[")) if place >= 0), default=-1)
    if start < 0:
        return
    try:
        document = json.loads(form)
    except (ValueError, RecursionError):
        # A text that is not quite JSON has names and values all the same.
        for name, text, number in _MEMBER.findall(form):
            if kind := _type_at(name):
                yield kind, display(text or number)
        return
    waiting = [document]
    while waiting:
        node = waiting.pop()
        if isinstance(node, list):
            waiting += node
            yield from _typed_pair(node)
        elif isinstance(node, dict):
            waiting += node.values()
            yield from _typed_members(node)


def _typed_pair(pair: list[object]) -> Iterator[tuple[str, str]]:
    """Yield the identity in [type, value], the form of our own requests."""
    texts = [part for part in pair if isinstance(part, str)]
    if len(pair) == len(texts) == 2 and (kind := _type_called(texts[0])):
        yield kind, display(texts[1])


def _typed_members(document: dict[str, object]) -> Iterator[tuple[str, str]]:
    for name, value in document.items():
        kind = _type_at(name)
        for part in (value if isinstance(value, list) else [value]) if kind else ():
            if isinstance(part, str | int) and not isinstance(part, bool):
                yield str(kind), display(str(part))


def _type_at(name: str) -> str | None:
    """Return the identity type that a dotted name ends in, mpid, or None."""
    return _type_called(name.rpartition(".")[2])


def _type_called(name: str) -> str | None:
    kind = type_named(name)
    return kind.name if kind else MPID if name == MPID else None


class SoughtValues:
    """Values of people to look for in texts, in every way that a text may write them.

    A telling value counts where it stands as a word of its own, and a phone number by its digits.
    Any other value counts only beside the name of its type: three letters in common do not make a
    text somebody's.
    """

    def __init__(self, values: Iterable[tuple[str, str]]) -> None:
        """Take the values as (type, value); the type is an identity type, "mpid" or "any"."""
        shown = [(kind, text) for kind, value in values if (text := display(value))]
        # The keys of dictionaries, for they keep their order.
        self.words = dict.fromkeys(alike(text) for _, text in shown if is_telling(text))
        self.digits = dict.fromkeys(
            digits for kind, text in shown if (digits := phone_in(kind, text))
        )
        self.weak = dict.fromkeys(
            (kind, alike(_key(kind, text)))
            for kind, text in shown
            if kind in BY_NAME or kind == MPID
        )
        self._beginnings = _by_beginning(self.words)
        self._untold = {key: None for key in self.weak if key[1] not in self.words}

    def __bool__(self) -> bool:
        return bool(self.words or self.digits or self.weak)

    def are_in(self, text: str) -> bool:
        """Return whether a text has one of the values."""
        return any(self._are_in(form, alike(form)) for form in forms(text))

    def _are_in(self, form: str, low: str) -> bool:
        """Return whether a form of a text has one; low: the form without case."""
        return (
            self._has_word(low)
            or self._has_part_of_word(low)
            or self._has_phone(low)
            or self._has_typed(form, low)
        )

    def _has_word(self, low: str) -> bool:
        for place in self._places(low):
            for size in self._beginnings[low[place : place + SHORT]]:
                word = low[place : place + size]
                if word in self.words and _stands(low, place, word):
                    return True
        return False

    def _has_part_of_word(self, low: str) -> bool:
        """Return whether a text that may have been cut ends in the beginning of a word."""
        return len(low) >= LONG and any(
            low.endswith(word[:size]) for word in self.words for size in range(SHORT, len(word))
        )

    def _has_phone(self, low: str) -> bool:
        if not self.digits:
            return False
        bare = "".join(re.findall("[0-9]+", low))
        return _may(bare, self.digits) and any(digits in self.digits for digits in phones_in(low))

    def _has_typed(self, form: str, low: str) -> bool:
        if not self._untold:
            return False
        values = [value for _, value in self._untold] if len(self._untold) <= FEW else self._untold
        return _may(low, values) and any(
            (kind, alike(_key(kind, value))) in self._untold for kind, value in typed_in(form)
        )

    def _places(self, low: str) -> Iterator[int]:
        """Yield each place of a text where a word may begin."""
        if len(self._beginnings) <= FEW:
            for beginning in self._beginnings:
                place = low.find(beginning)
                while place >= 0:
                    yield place
                    place = low.find(beginning, place + 1)
            return
        for place in range(len(low) - SHORT + 1):
            if low[place : place + SHORT] in self._beginnings:
                yield place


def _by_beginning(words: Iterable[str]) -> dict[str, dict[int, None]]:
    """Return the lengths of the words that begin with the same SHORT characters."""
    lengths: dict[str, dict[int, None]] = {}
    for word in words:
        lengths.setdefault(word[:SHORT], {})[len(word)] = None
    return lengths


def _may(text: str, values: Collection[object]) -> bool:
    """Return whether a text may have one of some values.

    If they are many it may: to try each would cost more than to look.
    """
    return len(values) > FEW or any(str(value) in text for value in values)


def _key(kind: str, text: str) -> str:
    return key_of(BY_NAME[kind], text) if kind in BY_NAME else text


def _stands(low: str, place: int, word: str) -> bool:
    """Return whether a word stands at a place, and is no part of a longer one.

    So anna@x.org does not stand in johanna@x.org.
    """
    end = place + len(word)
    before, after = low[place - 1 : place], low[end : end + 2]
    if word[0].isalnum() and before.isalnum():
        return False
    if word[-1].isalnum() and after[:1].isalnum():
        return False
    if "@" not in word:
        return True
    # jo@x.org stands before .csv in a file name, and does not stand in jo@x.org.uk.
    longer = after[:1] in (".", "-") and after[1:].isalnum() and not _ENDING.match(low, end)
    return before not in _BEFORE_EMAIL and not longer


def words_in(text: str) -> set[tuple[str, str]]:
    """Return everything in a text that may be an identity, in any writing: (type or "any", value).

    Words that are not telling count beside the name of their type only.
    """
    identities: set[tuple[str, str]] = set()
    for form in forms(text):
        for spelling in _normalized(form):
            words = [
                *_WORD.findall(spelling),
                *_CELL.findall(spelling),
                *map(_unescaped, _STRING.findall(spelling)),
                *_cells(spelling),
            ]
            identities |= {(ANY, word) for part in words if is_telling(word := display(part))}
            identities.update(typed_in(spelling))
    return identities


def _normalized(form: str) -> dict[str, None]:
    """Return a text, and as Unicode may write it differently."""
    if form.isascii():
        return {form: None}
    return dict.fromkeys(
        (
            form,
            unicodedata.normalize("NFC", form),
            unicodedata.normalize("NFKC", form),
            unicodedata.normalize("NFD", form),
        )
    )


def _cells(form: str) -> Iterator[str]:
    """Yield the cells of a text as a line of CSV, under any of the delimiters."""
    if '"' not in form:
        return
    for delimiter in DELIMITERS:
        with contextlib.suppress(csv.Error):
            for row in csv.reader(form.splitlines(keepends=True), delimiter=delimiter):
                yield from row


def phones_in_text(text: str) -> set[str]:
    """Return the digits of everything in a text that may be a phone number, in any writing."""
    return {digits for form in forms(text) for digits in phones_in(alike(form))}
