"""What an identity is looked up by, as SQL: the set-based twin of profilectl.identity.usable."""

from __future__ import annotations

from collections.abc import Iterable

from profilectl.identity import GUID, WHITE_SPACE, IdentityType
from profilectl.scratch import quote_text

TRIM = f"trim({{0}}, {quote_text(WHITE_SPACE)})"


def placeholder(text: str, placeholders: Iterable[str]) -> str:
    """Return the condition that a trimmed text is a placeholder."""
    listed = ", ".join(quote_text(value) for value in sorted(placeholders))
    return f"lower({text}) in ({listed})" if listed else "false"


def identity_key(kind: IdentityType, column: str, placeholders: Iterable[str], folded: str | None = None) -> str:
    """Return the SQL of the key of an identity in a column, null where it may not be used.

    folded: the column that holds the lower-cased text where that is not plain ASCII; SQL and Python
    disagree about the lower case of some letters, and Python's is the rule.
    """
    text = TRIM.format(column)
    conditions = [f"{text} <> ''", f"not ({placeholder(text, placeholders)})"]
    key = text
    if kind.shape != "text":
        key = f"lower({text})"
        if folded:
            key = f"case when strlen({column}) = length({column}) then {key} else {folded} end"
    if kind.shape == "guid":
        conditions.append(f"regexp_full_match({key}, '{GUID}')")
    return f"case when {' and '.join(conditions)} then {key} end"
