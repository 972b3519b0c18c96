"""The published JSON Schemas, against what commands really print."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable
from typing import Any

from jsonschema import Draft202012Validator

from profilectl.schemas.catalog import FOLDER, SCHEMAS


@functools.cache
def validator(name: str) -> Draft202012Validator:
    """Return the validator of a schema."""
    return Draft202012Validator(json.loads((FOLDER / f"{name}.json").read_text("utf-8")))


def schema_of(words: Iterable[str]) -> str:
    """Return the name of the schema of a command line: that of the most of its words."""
    line = " ".join(words)
    by_command = {command: name for name, schema in SCHEMAS.items() for command in schema.commands}
    by_command |= {"explain": "explain", "plan": "plan"}
    fitting = [command for command in by_command if f"{line} ".startswith(f"{command} ")]
    return by_command[max(fitting, key=len)]


def faults(name: str, documents: Iterable[Any]) -> list[str]:
    """Return where documents are not as a schema says."""
    wrong = []
    for document in documents:
        for error in validator(name).iter_errors(document):
            causes = [f"{cause.json_path}: {cause.message}" for cause in error.context or ()]
            wrong.append(f"{name} {error.json_path}: {error.message[:300]} {causes[:6]}")
    return wrong
