"""Bearer tokens of clients: signed, so that none is kept, and not revocable (domain.md 9).

A token says who and until when, under the signature of a key that this process made for itself: a
restart ends all of them, and a client asks for another one, as it does when one has run out.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import time

LIFE_S = 28_800


class Tokens:
    """Makes and reads tokens."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)

    def make(self, client: str) -> str:
        """Return a token for a client."""
        said = f"{int(time.time()) + LIFE_S}:{secrets.token_hex(8)}:{client}".encode()
        return f"{_text(said)}.{_text(self._sign(said))}"

    def client(self, token: str) -> str | None:
        """Return the name of the client whose token this is, None where it is none or has run out."""
        said, _, signature = token.partition(".")
        try:
            told, sign = _bytes(said), _bytes(signature)
            if not hmac.compare_digest(sign, self._sign(told)):
                return None
            until, _, client = told.decode().split(":", 2)
        except ValueError:
            return None
        return client if time.time() < int(until) else None

    def _sign(self, said: bytes) -> bytes:
        return hmac.digest(self._key, said, hashlib.sha256)


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    raw = base64.b64decode(
        text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True
    )
    # the last character has bits that say nothing: one token has one spelling
    if _text(raw) != text:
        raise ValueError("not as it was written")
    return raw
