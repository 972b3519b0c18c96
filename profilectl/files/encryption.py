"""Files encrypted with age, by the library pyrage (age in Rust).

They are read and written as streams, because a store may be larger than the memory. A file is
encrypted for recipients, and a machine that makes backups should know no more than these; or with a
passphrase. age has no stream for a passphrase: an identity is made for the one file, locked with
the passphrase, and stands before it as armoured text. Each of the two parts is a plain age file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import BinaryIO, Protocol

from profilectl.codes import InputRefused, StoreUnusable, UsageError
from profilectl.files.secrets import read_private

PASSPHRASE = "PROFILECTL_PASSPHRASE"
"""The variable that has the passphrase where no file does."""
BEGINS = b"age-encryption.org/v1\n"
LOCKED = b"-----BEGIN AGE ENCRYPTED FILE-----\n"
ENDS = b"-----END AGE ENCRYPTED FILE-----\n"
LONGEST_LOCK = 4096
"""How many bytes the locked identity before a file has at most."""
DAMAGED = "it was cut off or changed: use another backup"


class EncryptedWriter(Protocol):
    """Takes an encrypted stream."""

    def write(self, block: bytes, /) -> int:
        """Take a block; return its bytes."""

    def flush(self) -> None:
        """Pass on what was taken."""


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys that lock or open a file; the repr shows no passphrase."""

    recipients: Sequence[str] = ()
    """age1... or ssh-..., as they were given."""
    identities: Sequence[Path] = ()
    """Files with the secret half of a recipient, of mode 0600."""
    passphrase: str | None = field(default=None, repr=False)
    """The passphrase; None: not given."""


def library() -> ModuleType:
    """Return pyrage. Raises UsageError where it is not installed."""
    try:
        import pyrage
    except ModuleNotFoundError:
        raise UsageError(
            "encrypted backups need pyrage, which is not installed",
            "pip install 'profilectl[encryption]'",
        ) from None
    return pyrage  # type: ignore[no-any-return]


def recipients_in(path: Path) -> list[str]:
    """Return the recipients in a file: one a line, # begins a remark. Raises InputRefused."""
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise InputRefused(
            f"{path} cannot be read: {getattr(error, 'strerror', None) or 'it is not text'}",
            "name a file with a recipient a line",
        ) from None
    recipients = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    if not recipients:
        raise InputRefused(f"{path} names no recipient", "write one a line: age1...")
    return recipients


def passphrase_in(path: Path) -> str:
    """Return the passphrase that a file has in its first line.

    Raises InputRefused for a file that others could read.
    """
    lines = _text(read_private(path, "the passphrase in its first line"), path).splitlines()
    if not lines or not lines[0]:
        raise InputRefused(f"{path} is empty", "write the passphrase into its first line")
    return lines[0]


def encrypt(content: BinaryIO, out: EncryptedWriter, keys: Keys) -> None:
    """Write a content encrypted.

    Raises InputRefused for a recipient that is none; OSError where it cannot be read or written.
    """
    age = library()
    recipients = [_recipient(age, recipient) for recipient in keys.recipients]
    # The identity for this file alone, locked with the passphrase, goes before the file.
    if keys.passphrase is not None:
        own = age.x25519.Identity.generate()
        out.write(
            age.passphrase.encrypt(str(own).encode(), keys.passphrase, armored=True).rstrip()
            + b"\n"
        )
        recipients.append(own.to_public())
    try:
        age.encrypt_io(content, out, recipients)
    except age.EncryptError as error:
        raise OSError(None, str(error).removeprefix("OSError: ")) from None


def decrypt(content: BinaryIO, out: EncryptedWriter, keys: Keys, name: str) -> None:
    """Write the content of an encrypted file.

    Raises InputRefused for a wrong key, UsageError for none, StoreUnusable for a damaged file; what
    was written is worth nothing then.
    """
    age = library()
    begins = content.read(len(LOCKED))
    content.seek(0)
    if begins == LOCKED:
        identities = [_unlocked(age, content, keys, name=name)]
    else:
        identities = [_identity(age, path) for path in keys.identities]
    if not identities:
        raise UsageError(
            f"{name} is encrypted for a recipient", "name the file of its identity with --identity"
        )
    source = _WatchedContent(content)
    try:
        age.decrypt_io(source, out, identities)
    except age.DecryptError as error:
        if "No matching keys" in str(error):
            raise InputRefused(
                f"{name} is not encrypted for the identity that was given",
                "name another with --identity",
            ) from None
        raise _damaged(name) from None
    except OSError as error:
        # age reports damage as an OSError too, but without a number.
        if error.errno is not None or source.failed:
            raise
        raise _damaged(name) from None


def is_encrypted(path: Path) -> bool:
    """Return whether a file is one of age's. Raises OSError."""
    with path.open("rb") as content:
        return content.read(len(LOCKED)).startswith((BEGINS, LOCKED))


class _WatchedContent:
    """A content that remembers in `failed` that it could not be read.

    age does not tell that from damage.
    """

    def __init__(self, content: BinaryIO) -> None:
        self._content, self.failed = content, False

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes. Raises OSError."""
        try:
            return self._content.read(size)
        except OSError:
            self.failed = True
            raise


def _unlocked(age: ModuleType, content: BinaryIO, keys: Keys, *, name: str) -> object:
    """Return the identity before a file that was locked with a passphrase.

    The content is left at the file behind it. Raises UsageError for no passphrase, InputRefused for
    a wrong one, StoreUnusable for damage.
    """
    if keys.passphrase is None:
        raise UsageError(
            f"{name} is locked with a passphrase",
            f"name the file of it with --passphrase-file, or set {PASSPHRASE}",
        )
    # The file behind the lock is a stream of its own, and begins right after its last line.
    head = content.read(LONGEST_LOCK)
    if ENDS not in head:
        raise _damaged(name)
    end = head.index(ENDS) + len(ENDS)
    content.seek(end)
    try:
        own = age.passphrase.decrypt(head[:end], keys.passphrase)
        return age.x25519.Identity.from_str(own.decode())
    except age.DecryptError as error:
        if str(error) == "Decryption failed":
            raise InputRefused(
                f"{name} is locked with another passphrase",
                "give that one; or the head of the file was changed",
            ) from None
        raise _damaged(name) from None
    except (age.IdentityError, ValueError):
        raise _damaged(name) from None


def _damaged(name: str) -> StoreUnusable:
    return StoreUnusable(f"{name} is damaged: it cannot be decrypted to its end", DAMAGED)


def _recipient(age: ModuleType, text: str) -> object:
    """Return the recipient that a text says. Raises InputRefused for a text that is none."""
    kinds = age.ssh if text.startswith("ssh-") else age.x25519
    try:
        return kinds.Recipient.from_str(text)
    except age.RecipientError:
        # The secret half is not to be shown, should it have been given for the other.
        shown = (
            "an identity, which is the secret half"
            if text.upper().startswith("AGE-SECRET-KEY")
            else repr(text[:80])
        )
        raise InputRefused(
            f"{shown} is no recipient",
            "a recipient begins with age1, ssh-ed25519 or ssh-rsa: age-keygen prints one",
        ) from None


def _identity(age: ModuleType, path: Path) -> object:
    """Return the identity in a file.

    Raises InputRefused for a file that others could read, or without one.
    """
    form = "the identity that age-keygen has written, or an SSH key without a passphrase"
    content = read_private(path, form)
    try:
        # SSH keys are armoured; the identities of age-keygen are plain lines.
        if content.startswith(b"-----BEGIN"):
            return age.ssh.Identity.from_buffer(content)
        lines = [
            line.strip()
            for line in _text(content, path).splitlines()
            if line.strip() and not line.startswith("#")
        ]
        return age.x25519.Identity.from_str(lines[0] if lines else "")
    except age.IdentityError:
        raise InputRefused(f"{path} holds no identity", f"name a file with {form}") from None


def _text(content: bytes, path: Path) -> str:
    try:
        return content.decode()
    except ValueError:
        raise InputRefused(f"{path} is not text") from None
