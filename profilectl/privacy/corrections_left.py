"""What stays of what a correction by hand was asked to do, once somebody it was about is erased."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from profilectl.rules.feed import ENVIRONMENTS
from profilectl.rules.identity import type_named

BY_HAND = ("content", "modify", "alias")
"""What the request of an import has that came from no file."""


@dataclass(frozen=True, slots=True)
class Correcting:
    """Says what stays of requests."""

    corrected: set[tuple[int, str]]
    """MPID and environment of whoever is erased."""
    is_erased: Callable[[str, str, str], bool]
    """Says whether an identity (environment, type, value) is of the erased."""

    def left(
        self, kept: dict[str, Any], *, undone: bool, number: int
    ) -> tuple[dict[str, Any], bool, bool]:
        """Return what stays of a request, whether nothing does of what it asked for, and whether it
        was about the erased. number: of the erasure.

        An undone correction is never made again: whoever it was of, nobody needs its values.
        """
        if not any(kept.get(name) for name in BY_HAND):
            return kept, False, False
        left = self._left(kept)
        if left is None or undone:
            nothing = {
                "paths": kept["paths"],
                "feed": kept.get("feed"),
                "source": kept.get("source"),
                "erased": number,
            }
            return nothing, True, left != kept
        return left, False, left != kept

    def _left(self, kept: dict[str, Any]) -> dict[str, Any] | None:
        """Return what stays of what a correction was asked to do; None: nothing."""
        if kept.get("content") is not None and not kept.get("who"):
            content = "".join(
                f"{line}\n"
                for line in kept["content"].split("\n")
                if line and not self._names(line)
            )
            return {**kept, "content": content} if content else None
        if kept.get("content") is not None:
            batch = json.loads(kept["content"])
            mpid, environment = str(batch.get("mpid")), str(batch.get("environment"))
        elif kept.get("modify"):
            mpid, environment = kept["modify"]["mpid"], kept["modify"]["environment"]
        elif kept.get("alias"):
            sides = {kept["alias"]["source"], kept["alias"]["destination"]}
            return (
                None
                if any(
                    (int(mpid), kept["alias"]["environment"]) in self.corrected for mpid in sides
                )
                else kept
            )
        else:
            return kept
        if (int(mpid), environment) in self.corrected:
            return None
        holder = kept.get("modify") or kept
        left = dict(holder)
        if holder.get("who") and self.is_erased(environment, *holder["who"]):
            left["who"] = ["mpid", mpid]
        if not kept.get("modify"):
            return left
        left["changes"] = [
            [kind, old, new]
            for kind, old, new in holder["changes"]
            if not any(
                value is not None and self.is_erased(environment, kind, value)
                for value in (old, new)
            )
        ]
        return {**kept, "modify": left} if left["changes"] else None

    def _names(self, line: str) -> bool:
        """Say whether a batch that no person asked for is of the erased, by its MPID or an
        identity, or cannot be read.
        """
        try:
            batch = json.loads(line)
        except ValueError:
            return True
        if not isinstance(batch, dict):
            return True
        environment = str(batch.get("environment", ENVIRONMENTS[0]))
        mpid = batch.get("mpid")
        stated = batch.get("user_identities")
        return (
            mpid is not None
            and str(mpid).removeprefix("-").isdigit()
            and (int(mpid), environment) in self.corrected
        ) or any(
            (known := type_named(kind)) is not None
            and value is not None
            and self.is_erased(environment, known.name, str(value))
            for kind, value in (stated.items() if isinstance(stated, dict) else ())
        )
