"""Files encrypted for the user, decrypted by the user's own gpg, with its keys and its agent.

GNUPGHOME is respected. Nobody is asked for a passphrase: a prompt would hang where no terminal is.
A key that gpg-agent has open is used.
"""

from __future__ import annotations

import os
import selectors
import shutil
import subprocess
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import IO

from profilectl.codes import InputRefused
from profilectl.importing.stage.source.unpacking import BLOCK

ENCRYPTED = (".gpg", ".pgp", ".asc")
"""The endings of the names of encrypted files."""
ARMOUR = b"-----BEGIN PGP MESSAGE-----"
"""How an encrypted file of plain letters begins."""
COMMAND = ("--batch", "--no-tty", "--quiet", "--pinentry-mode", "error", "--decrypt")
PATIENCE_S = 120.0
"""How many seconds gpg may be silent."""
HINT = "gpg --decrypt opens the key for a while; or decrypt the file first"


def decrypted(local: Path, name: str) -> Generator[bytes, None, None]:
    """Return the content of an encrypted file, block by block.

    Raises InputRefused, saying what gpg said.
    """
    program = shutil.which("gpg")
    if program is None:
        raise InputRefused(
            f"{name} is encrypted, and gpg is not installed",
            "install GnuPG, or decrypt the file first",
        )
    with local.open("rb") as content, tempfile.TemporaryFile() as messages:
        running = subprocess.Popen(
            [program, *COMMAND],
            stdin=content,
            stdout=subprocess.PIPE,
            stderr=messages,
            env={**os.environ, "LC_ALL": "C"},
        )
        assert running.stdout is not None
        try:
            yield from _blocks(running.stdout, name)
            status = running.wait(PATIENCE_S)
        finally:
            if running.poll() is None:
                running.kill()
            running.stdout.close()
            running.wait()
        if status:
            messages.seek(0)
            reason = _reason(messages.read().decode("utf-8", "replace"))
            raise InputRefused(f"{name} cannot be decrypted: {reason}", HINT)


def _blocks(stream: IO[bytes], name: str) -> Iterator[bytes]:
    with selectors.DefaultSelector() as waiting:
        waiting.register(stream, selectors.EVENT_READ)
        while True:
            if not waiting.select(PATIENCE_S):
                raise InputRefused(
                    f"{name} cannot be decrypted: gpg said nothing for {PATIENCE_S:.0f} seconds",
                    HINT,
                )
            block = os.read(stream.fileno(), BLOCK)
            if not block:
                return
            yield block


def _reason(messages: str) -> str:
    """Return the last message of gpg, which names no person."""
    lines = [
        line.removeprefix("gpg: ").strip()
        for line in messages.splitlines()
        if line.startswith("gpg: ")
    ]
    return lines[-1] if lines else "gpg did not say why"
