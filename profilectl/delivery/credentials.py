"""The secrets of an output: from the environment, or from a file that nobody else can read; never from the store.

    PROFILECTL_OUTPUT_<NAME>_SECRET, _HEADER   of a webhook, both optional
    PROFILECTL_OUTPUT_<NAME>_KEY, _SECRET      of an events-api

or, in a TOML file of mode 0600, the same in lower case in a section for each output.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from profilectl.codes import InputRefused, UsageError
from profilectl.credentials import read_secrets, sendable
from profilectl.output import Output

FORM = 'a section for each output: [NAME] and secret = "..."'
NAMES = {"webhook": ("secret", "header"), "events-api": ("key", "secret")}


@dataclass(frozen=True, slots=True)
class Credentials:
    """What proves who sends. Its text shows nothing. header: name and value of one that a webhook asks for."""

    key: str = field(default="", repr=False)
    secret: str = field(default="", repr=False)
    header: tuple[str, str] | None = field(default=None, repr=False)


def variable(output: str, name: str) -> str:
    """Return the environment variable of a secret of an output."""
    return f"PROFILECTL_OUTPUT_{re.sub('[^A-Z0-9]', '_', output.upper())}_{name.upper()}"


def credentials_of(output: Output, path: Path | None) -> Credentials:
    """Return the secrets of an output. Raises InputRefused for a file that others could read, UsageError where what the
    output needs is missing."""
    stated: dict[str, str] = {}
    if path is not None:
        section = read_secrets(path, FORM).get(output.name, {})
        if not isinstance(section, dict) or not all(isinstance(value, str) for value in section.values()):
            raise InputRefused(f"{path}: [{output.name}] must have texts", ", ".join(NAMES[output.type]))
        stated = {name: section[name] for name in NAMES[output.type] if name in section}
    for name in NAMES[output.type]:
        found = os.environ.get(variable(output.name, name))
        if found:
            stated.setdefault(name, found)
    if output.type == "events-api":
        missing = [variable(output.name, name) for name in NAMES["events-api"] if not stated.get(name)]
        if missing:
            raise UsageError(f"{' and '.join(missing)} not set", "set them, or name a file with --credentials")
    if not all(sendable(value) for value in stated.values()):
        raise InputRefused(f"a credential of the output {output.name} holds a character that cannot be sent")
    name, colon, value = stated.get("header", "").partition(":")
    if stated.get("header") and (not colon or not re.fullmatch("[A-Za-z0-9-]+", name.strip())):
        raise InputRefused(f"the header of the output {output.name} is none", "for example Authorization: Bearer ...")
    return Credentials(stated.get("key", ""), stated.get("secret", ""), (name.strip(), value.strip()) if colon else None)
