"""What a correction of attributes is: an import of one batch, which names its profile by MPID."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from profilectl.codes import UsageError
from profilectl.importing.request import ImportRequest
from profilectl.rules.batch_fields import field_named
from profilectl.rules.fields import UnusableRow
from profilectl.rules.text.values import Number, Value, to_json

CORRECTIONS = "corrections"
"""The feed of imports by hand, if none is named."""
NAME = "(set)"
"""What the history shows in the place of a correction's file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Correction:
    """A change of the attributes of one profile."""

    identity: tuple[str, str]
    """An identity type (or mpid, any) and a value, which name the profile."""
    pick: int | None
    """Which of several profiles with that identity, from 1."""
    sets: Mapping[str, Value]
    """The attributes that are set."""
    deletes: Sequence[str]
    """The attributes that are deleted, as somebody named them."""
    feed: str
    """The name of the feed that brings it."""
    source: str | None
    """The source of a feed that is not registered yet."""
    dry_run: bool
    """Whether nothing is written."""
    wait_s: float
    """How long to wait for another process that holds the store."""

    def request(self, mpid: int, environment: str) -> ImportRequest:
        """Return the import of one batch that it is, about the profile with an MPID.

        Raises UsageError for a name that is no attribute's.
        """
        # By MPID, so that the batch finds nobody but this person.
        batch: dict[str, Value] = {"mpid": Number(str(mpid)), "environment": environment}
        # The same correction may be made any number of times, and a part of it is not enough.
        return ImportRequest(
            [NAME],
            self.feed,
            source=self.source,
            format="jsonl",
            content=to_json(batch | self.attributes) + "\n",
            who=self.identity,
            again=True,
            max_rejects="0",
            dry_run=self.dry_run,
            wait_s=self.wait_s,
        )

    @property
    def attributes(self) -> dict[str, Value]:
        """The members of the batch that say what is set and deleted. Raises UsageError."""
        members: dict[str, Value] = {"user_attributes": dict(self.sets)}
        if self.deletes:
            members["deleted_user_attributes"] = [attribute_named(name) for name in self.deletes]
        return members


def attribute_named(name: str) -> str:
    """Return the attribute that a column of some name would have.

    A name user_attributes.NAME always has one. Raises UsageError for the name of an identity or of
    another field of a batch.
    """
    hint = f"for an attribute of that name: user_attributes.{name}=..."
    try:
        batch_field = field_named(name)
    except UnusableRow as error:
        raise UsageError(error.detail, hint) from None
    if batch_field.kind == "attribute":
        return batch_field.name
    if batch_field.kind.endswith("identity"):
        raise UsageError(f"{name} is an identity", f"profilectl modify changes identities; {hint}")
    raise UsageError(f"{name} is a field of a batch, no attribute", hint)
