"""The seals of plans and backups: the owner of the store can tell that a file was not changed.

A file alone proves nothing, because anybody who can write it can write its seal too. So the secret
that signs is in the store, which only its owner reads.
"""

from __future__ import annotations

import hashlib
import hmac

PLAN = "a plan"
BACKUP = "a backup"


def keyed(secret: str, purpose: str) -> hmac.HMAC:
    """Return an HMAC-SHA256 whose key is made of a store's secret, for one purpose.

    The purpose is part of the key, so the seal of a plan is not valid for a backup.
    """
    key = hmac.new(
        secret.encode(), f"profilectl: the seal of {purpose}".encode(), hashlib.sha256
    ).digest()
    return hmac.new(key, digestmod=hashlib.sha256)


def seal_of(secret: str, purpose: str, content: bytes) -> str:
    """Return the seal of a content."""
    digest = keyed(secret, purpose)
    digest.update(content)
    return digest.hexdigest()


def holds(seal: str, expected: str) -> bool:
    """Return whether two seals are the same, in a time that does not tell where they differ."""
    return hmac.compare_digest(seal.encode(), expected.encode())
