"""What the secret of a store signs: plans and backups. Whoever has the store can tell that a file
is as it was made.

A file alone vouches for nothing: who can write it can write its seal. The secret is in the store,
which its owner alone reads.
"""

from __future__ import annotations

import hashlib
import hmac

PLAN = "a plan"
BACKUP = "a backup"


def keyed(secret: str, what: str) -> hmac.HMAC:
    """Return an HMAC-SHA256 whose key is a store's, for one kind of thing: the seal of a plan is
    none of a backup.
    """
    key = hmac.new(
        secret.encode(), f"profilectl: the seal of {what}".encode(), hashlib.sha256
    ).digest()
    return hmac.new(key, digestmod=hashlib.sha256)


def seal_of(secret: str, what: str, content: bytes) -> str:
    """Return the seal of a content."""
    made = keyed(secret, what)
    made.update(content)
    return made.hexdigest()


def holds(seal: str, made: str) -> bool:
    """Compare two seals in a time that says nothing of where they differ."""
    return hmac.compare_digest(seal.encode(), made.encode())
