"""An alias of a profile: the past of one profile, carried over to another (domain.md 4.5)."""

from __future__ import annotations

from dataclasses import dataclass

EVERYWHERE = ""
"""The name, in the place of a workspace, for the install attribution stated last in any of them."""


@dataclass(frozen=True, slots=True)
class Alias:
    """The past of one profile, carried over to another (importing/corrections/alias.py)."""

    arrival: int
    """Its place in the order of everything that arrived."""
    source: int
    """The profile whose past it is."""
    destination: int
    """The profile that gets it."""
    start_ms: int
    """The time of the first event that is carried over."""
    end_ms: int
    """The time of the last event that is carried over."""
    due_ms: int
    """When it takes effect."""
    first_seen_ms: int
    """When the destination was first seen, once the alias is in force."""
    attribution: str | None
    """The install attribution of the source, by workspace, as JSON."""
    in_force: bool
    """Whether it has taken effect."""
