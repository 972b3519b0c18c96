"""A sieve of texts in SQL: Python then looks at those it lets through (SoughtValues.are_in)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from profilectl.rules.sql.quoting import quote_text
from profilectl.rules.text.spelling import ESCAPED, SoughtValues

PATTERN = 20_000
"""How many characters of values one pattern looks for at most."""
MOST_PATTERNS = 8
"""The most patterns of a sieve: with more of them, looking at every text costs less."""
# Letters beyond ASCII that may stand for those of a value: all of them, or only wide ASCII.
BEYOND_ASCII = r"|[\x{80}-\x{10ffff}]"
WIDE_ASCII = r"|[\x{ff01}-\x{ff5e}]"


def sieve(text: str, sought: SoughtValues) -> str:
    """Return an SQL condition that every text with one of the values meets, and others may meet.

    text: the SQL of the text.
    """
    words = [*sought.words, *(value for _, value in sought.weak)]
    patterns = list(_patterns(words, "(?i)(?:{})"))
    of_digits = list(_patterns(sought.digits, "(?:{})"))
    if len(patterns) + len(of_digits) > MOST_PATTERNS:
        return f"{text} is not null"
    wide = WIDE_ASCII if all(word.isascii() for word in words) else BEYOND_ASCII
    tests = [_matches(text, pattern) for pattern in (ESCAPED + wide, *patterns)]
    digits = f"regexp_replace({text}, '[^0-9]+', '', 'g')"
    tests += [_matches(digits, pattern) for pattern in of_digits]
    return f"coalesce({' or '.join(tests)}, false)"


def _matches(text: str, pattern: str) -> str:
    return f"regexp_matches({text}, {quote_text(pattern)})"


def _patterns(words: Iterable[str], around: str) -> Iterator[str]:
    """Yield patterns of words, each of at most PATTERN characters unless one word has more."""
    block: list[str] = []
    size = 0
    for word in map(re.escape, words):
        if block and size + len(word) > PATTERN:
            yield around.replace("{}", "|".join(block))
            block, size = [], 0
        block.append(word)
        size += len(word)
    if block:
        yield around.replace("{}", "|".join(block))
