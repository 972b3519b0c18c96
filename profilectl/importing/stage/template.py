"""SQL with named holes: for what cannot be bound, a relation, a column, an expression."""

from __future__ import annotations

import re

_HOLE = re.compile(r"\{([a-z_]+)\}")


class SqlTemplate:
    """A statement or an expression of SQL, written once, whole, as it would be pasted.

    A hole is a name in braces. Other braces are text, so a pattern or JSON stands as it is. Texts
    from a file or an option go in through `quote_text` alone.

    >>> LONGER = SqlTemplate("strlen({text}) > {most}")
    >>> LONGER(text="c0", most=4096)
    'strlen(c0) > 4096'
    """

    def __init__(self, text: str) -> None:
        self.text = text.strip()

    def __call__(self, **parts: object) -> str:
        """Return the SQL with each hole filled. Raises KeyError for a hole without a part."""
        return _HOLE.sub(lambda hole: str(parts[hole[1]]), self.text)
