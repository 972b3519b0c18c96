"""What stays of the request of a correction by hand, once somebody it was about is erased."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from profilectl.rules.feed import ENVIRONMENTS
from profilectl.rules.identity import type_named

Document = dict[str, Any]
"""A JSON object; Any, because the request of an import has another shape for each command."""
BY_HAND = ("content", "modify", "alias")
"""The keys of the request of an import that came from no file."""


@dataclass(frozen=True, slots=True)
class CorrectionLeft:
    """What stays of the request of an import."""

    request: Document
    """The request as it stays."""
    is_forgotten: bool
    """Whether nothing stays of what it asked for."""
    is_of_erased: bool
    """Whether it was about somebody erased."""


@dataclass(frozen=True, slots=True)
class Correcting:
    """Decides what stays of requests."""

    corrected: set[tuple[int, str]]
    """MPID and environment of the erased."""
    is_erased: Callable[[str, str, str], bool]
    """Returns whether an identity (environment, type, value) is of the erased."""

    def left(self, request: Document, *, undone: bool, number: int) -> CorrectionLeft:
        """Return what stays of a request. number: of the erasure.

        Nothing stays of an undone correction: it is never made again, so nobody needs its values.
        """
        if not any(request.get(name) for name in BY_HAND):
            return CorrectionLeft(request, is_forgotten=False, is_of_erased=False)
        stays = self._left(request)
        if stays is not None and not undone:
            return CorrectionLeft(request=stays, is_forgotten=False, is_of_erased=stays != request)
        nothing = {
            "paths": request["paths"],
            "feed": request.get("feed"),
            "source": request.get("source"),
            "erased": number,
        }
        return CorrectionLeft(nothing, is_forgotten=True, is_of_erased=stays != request)

    def _left(self, request: Document) -> Document | None:
        """Return what stays of the request of a correction; None: nothing."""
        # Without `who` the content is batches of any number of people, as from `uid2 run`.
        if request.get("content") is not None and not request.get("who"):
            return self._left_of_batches(request)
        if request.get("content") is not None:
            batch = json.loads(request["content"])
            mpid, environment = str(batch.get("mpid")), str(batch.get("environment"))
            if (int(mpid), environment) in self.corrected:
                return None
            return self._named_by_mpid(request, mpid, environment)
        if request.get("modify"):
            return self._left_of_modification(request)
        if request.get("alias"):
            alias = request["alias"]
            sides = {(int(alias[end]), alias["environment"]) for end in ("source", "destination")}
            return None if sides & self.corrected else request
        return request

    def _left_of_batches(self, request: Document) -> Document | None:
        """Return a request without those of its batches that are of the erased."""
        lines = [line for line in request["content"].split("\n") if line and not self._names(line)]
        content = "".join(f"{line}\n" for line in lines)
        return {**request, "content": content} if content else None

    def _left_of_modification(self, request: Document) -> Document | None:
        """Return a request without the changes of identities that are of the erased."""
        modify = request["modify"]
        mpid, environment = modify["mpid"], modify["environment"]
        if (int(mpid), environment) in self.corrected:
            return None
        stays = self._named_by_mpid(modify, mpid, environment)
        stays["changes"] = [
            [kind, old, new]
            for kind, old, new in modify["changes"]
            if not any(
                value is not None and self.is_erased(environment, kind, value)
                for value in (old, new)
            )
        ]
        return {**request, "modify": stays} if stays["changes"] else None

    def _named_by_mpid(self, named: Document, mpid: str, environment: str) -> Document:
        """Return the part that names a person, by their MPID if an erased identity named them."""
        if named.get("who") and self.is_erased(environment, *named["who"]):
            return {**named, "who": ["mpid", mpid]}
        return dict(named)

    def _names(self, line: str) -> bool:
        """Return whether a batch is of the erased, by its MPID or an identity.

        A batch that cannot be read counts too.
        """
        try:
            batch = json.loads(line)
        except ValueError:
            return True
        if not isinstance(batch, dict):
            return True
        environment = str(batch.get("environment", ENVIRONMENTS[0]))
        mpid = str(batch.get("mpid"))
        if mpid.removeprefix("-").isdigit() and (int(mpid), environment) in self.corrected:
            return True
        identities = batch.get("user_identities")
        return isinstance(identities, dict) and any(
            (identity := type_named(kind)) is not None
            and value is not None
            and self.is_erased(environment, identity.name, str(value))
            for kind, value in identities.items()
        )
