"""What an identity is looked up by, as SQL: the set-based twin of profilectl.identity.usable."""

from __future__ import annotations

from collections.abc import Iterable

from profilectl.identity import GUID, WHITE_SPACE, IdentityType
from profilectl.scratch import quote_text


def trimmed(text: str) -> str:
    """Return the SQL of a text without outer white space; most have none, and to see that is cheap."""
    return f"case when left({text}, 1) > ' ' and right({text}, 1) > ' ' then {text} else trim({text}, {quote_text(WHITE_SPACE)}) end"


def placeholder(text: str, placeholders: Iterable[str]) -> str:
    """Return the condition that a trimmed text is a placeholder."""
    listed = ", ".join(quote_text(value) for value in sorted(placeholders))
    return f"lower({text}) in ({listed})" if listed else "false"


def identity_key(kind: IdentityType, text: str, placeholders: Iterable[str], folded: str | None = None) -> str:
    """Return the SQL of the key of a trimmed identity, null where it may not be used.

    folded: the column that holds the lower-cased text where that is not plain ASCII; SQL and Python
    disagree about the lower case of some letters, and Python's is the rule.
    """
    conditions = [f"{text} <> ''", f"not ({placeholder(text, placeholders)})"]
    key = text
    if kind.shape != "text":
        key = f"lower({text})"
        if folded:
            key = f"case when strlen({text}) = length({text}) then {key} else {folded} end"
    if kind.shape == "guid":
        conditions.append(f"regexp_full_match({key}, '{GUID}')")
    return f"case when {' and '.join(conditions)} then {key} end"
