"""What receivers match people by: the normal form of an e-mail address and of a phone number, of
which they take the hash.

Sources: domain.md 15 (UID2), 11.2 (each identity in the form that the receiver accepts).
"""

from __future__ import annotations

import re

WHITE = " \t\n\v\f\r"
UPPER, LOWER = "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz"
EMAIL = r"[^@ \t\n\v\f\r]+@[^@ \t\n\v\f\r]+"
"""What an e-mail address in its normal form looks like as a whole."""
PHONE = r"\+[0-9]{10,15}"
"""What a phone number does: E.164, the country first."""
BETWEEN = "[ ()./\u00a0\u2010-\u2015-]"
"""What people write between the digits of a phone number."""


def lowered(text: str) -> str:
    """Return a text trimmed and in lower case.

    Only ASCII letters change their case, as in the receivers' own libraries.

    >>> lowered(" Jane@Example.com")
    'jane@example.com'
    """
    return text.strip(WHITE).translate(str.maketrans(UPPER, LOWER))


def email_in_form(text: str) -> str | None:
    """Return an e-mail address in its normal form; None: it is none.

    >>> email_in_form(" Jane@Example.com"), email_in_form("jane")
    ('jane@example.com', None)
    """
    found = lowered(text)
    return found if re.fullmatch(EMAIL, found) else None


def phone_in_form(text: str) -> str | None:
    """Return a phone number in its normal form; None: nobody can tell its country, or it is no
    number.

    >>> phone_in_form("+44 (7700) 900-123"), phone_in_form("07700 900123")
    ('+447700900123', None)
    """
    found = re.sub(BETWEEN, "", text.strip(WHITE))
    return found if re.fullmatch(PHONE, found) else None
