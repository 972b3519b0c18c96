"""Bearer tokens of clients: signed, so that none is stored, and not revocable (domain.md 9).

A token has the client's name and the end of its life, signed with a key that this process made. A
restart makes another key and so ends all tokens: clients ask for new ones, as after an expiry.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import time

LIFE_S = 28_800
"""The life of a token: eight hours."""


class Tokens:
    """Makes and reads tokens."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)

    def make(self, client: str) -> str:
        """Return a token for a client."""
        payload = f"{int(time.time()) + LIFE_S}:{secrets.token_hex(8)}:{client}".encode()
        return f"{_text(payload)}.{_text(self._sign(payload))}"

    def client(self, token: str) -> str | None:
        """Return the name of the client whose token this is; None for an invalid or expired one."""
        payload, _, signature = token.partition(".")
        try:
            content, sign = _bytes(payload), _bytes(signature)
            if not hmac.compare_digest(sign, self._sign(content)):
                return None
            until, _, client = content.decode().split(":", 2)
        except ValueError:
            return None
        return client if time.time() < int(until) else None

    def _sign(self, payload: bytes) -> bytes:
        return hmac.digest(self._key, payload, hashlib.sha256)


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    raw = base64.b64decode(
        text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True
    )
    # The last character has unused bits: without this check a token would have several spellings.
    if _text(raw) != text:
        raise ValueError("not as it was written")
    return raw
