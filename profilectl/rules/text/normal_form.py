"""The form in which receivers match people: an e-mail address or a phone number, as it is hashed.

Sources: domain.md 15 (UID2), 11.2 (each identity in the form that the receiver accepts).
"""

from __future__ import annotations

import re

WHITE = " \t\n\v\f\r"
"""The white space that receivers trim."""
UPPER, LOWER = "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz"
EMAIL = r"[^@ \t\n\v\f\r]+@[^@ \t\n\v\f\r]+"
"""The pattern of an e-mail address in its normal form."""
PHONE = r"\+[0-9]{10,15}"
"""The pattern of a phone number in its normal form: E.164, the country first."""
BETWEEN = "[ ()./\u00a0\u2010-\u2015-]"
"""The characters that people write between the digits of a phone number."""


def lowered(text: str) -> str:
    """Return a text trimmed and in lower case.

    Only ASCII letters change their case, as in the receivers' own libraries.

    >>> lowered(" Jane@Example.com")
    'jane@example.com'
    """
    return text.strip(WHITE).translate(str.maketrans(UPPER, LOWER))


def email_in_form(text: str) -> str | None:
    """Return an e-mail address in its normal form, or None if the text is no address.

    >>> email_in_form(" Jane@Example.com"), email_in_form("jane")
    ('jane@example.com', None)
    """
    address = lowered(text)
    return address if re.fullmatch(EMAIL, address) else None


def phone_in_form(text: str) -> str | None:
    """Return a phone number in its normal form.

    Returns None if the text is no number, or if nobody can tell its country.

    >>> phone_in_form("+44 (7700) 900-123"), phone_in_form("07700 900123")
    ('+447700900123', None)
    """
    number = re.sub(BETWEEN, "", text.strip(WHITE))
    return number if re.fullmatch(PHONE, number) else None
