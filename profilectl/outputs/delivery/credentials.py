"""The secrets of an output.

They come from the environment, or from a file that nobody else can read; never from the store.

    PROFILECTL_OUTPUT_<NAME>_SECRET, _HEADER   of a webhook, both optional
    PROFILECTL_OUTPUT_<NAME>_KEY, _SECRET      of an events-api

or, in a TOML file of mode 0600, the same in lower case in a section for each output.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from profilectl.codes import InputRefused, UsageError
from profilectl.files.secrets import read_secrets, sendable
from profilectl.rules.leaving.output import Output, variable

FORM = 'a section for each output: [NAME] and secret = "..."'
NAMES = {"jsonl": (), "csv": (), "webhook": ("secret", "header"), "events-api": ("key", "secret")}
"""The names of the secrets of each type of output."""
OutputSecrets = Mapping[str, Mapping[str, str]]
"""What a file of credentials has: output -> name -> secret."""


@dataclass(frozen=True, slots=True)
class OutputCredentials:
    """What proves who sends. Its text shows nothing."""

    key: str = field(default="", repr=False)
    """The API key."""
    secret: str = field(default="", repr=False)
    """The secret of the key, or of a signature."""
    header: tuple[str, str] | None = field(default=None, repr=False)
    """Name and value of a header that a webhook asks for."""


def read_credentials(path: Path, outputs: Iterable[Output]) -> OutputSecrets:
    """Read a file of credentials of some outputs.

    Raises InputRefused for a file that others could read, and for an entry that belongs to none of
    the outputs: a secret under a misspelt name would sign nothing.
    """
    declared = {output.name: output for output in outputs}
    sections: dict[str, dict[str, str]] = {}
    for name, section in read_secrets(path, FORM).items():
        if not isinstance(section, dict):
            raise InputRefused(f"{path}: {name} is in no section", FORM)
        if name not in declared:
            raise InputRefused(
                f"{path}: there is no output {name}",
                "outputs are " + (", ".join(sorted(declared)) or "none"),
            )
        _check_section(path, declared[name], section)
        sections[name] = section
    return sections


def _check_section(path: Path, output: Output, section: Mapping[str, object]) -> None:
    """Refuse what is no secret of an output. Raises InputRefused."""
    names = NAMES[output.type]
    for key, value in section.items():
        if key not in names:
            takes = f"takes {', '.join(names)}" if names else "takes no credentials"
            raise InputRefused(
                f"{path}: [{output.name}]: there is no key {key}",
                f"an output of type {output.type} {takes}",
            )
        if not isinstance(value, str) or not value:
            raise InputRefused(f"{path}: [{output.name}]: {key} must be a text", FORM)


def credentials_of(output: Output, file: OutputSecrets) -> OutputCredentials:
    """Return the secrets of an output, those of a file first.

    Raises InputRefused for one that cannot be sent, UsageError where what the output needs is
    missing.
    """
    secrets = dict(file.get(output.name, {}))
    for name in NAMES[output.type]:
        from_environment = os.environ.get(variable(output.name, name))
        if from_environment:
            secrets.setdefault(name, from_environment)
    if output.type == "events-api":
        missing = [
            variable(output.name, name) for name in NAMES["events-api"] if not secrets.get(name)
        ]
        if missing:
            raise UsageError(
                f"{' and '.join(missing)} not set", "set them, or name a file with --credentials"
            )
    if not all(sendable(value) for value in secrets.values()):
        raise InputRefused(
            f"a credential of the output {output.name} holds a character that cannot be sent"
        )
    return OutputCredentials(
        key=secrets.get("key", ""),
        secret=secrets.get("secret", ""),
        header=_header(output, secrets.get("header", "")),
    )


def _header(output: Output, text: str) -> tuple[str, str] | None:
    """Return the name and the value of a header; None for no text. Raises InputRefused."""
    name, colon, value = text.partition(":")
    if text and (not colon or not re.fullmatch("[A-Za-z0-9-]+", name.strip())):
        raise InputRefused(
            f"the header of the output {output.name} is none",
            "for example Authorization: Bearer ...",
        )
    return (name.strip(), value.strip()) if colon else None
