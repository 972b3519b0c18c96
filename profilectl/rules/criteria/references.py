"""The order in which audiences that refer to others are evaluated."""

from __future__ import annotations

from collections.abc import Mapping

from profilectl.codes import UsageError
from profilectl.rules.criteria.tree import Criterion, reads
from profilectl.rules.event.field import caseless


def order_of_evaluation(audiences: Mapping[str, Criterion]) -> list[str]:
    """Return the names of audiences in an order to evaluate them in.

    Audiences that refer to others come last. Names compare without case. Raises UsageError if an
    audience refers to one that does not exist, or that itself refers to another (domain.md 11.2:
    membership is not nested).
    """
    # Two levels are enough: an audience that others refer to refers to none itself.
    names = {caseless(name): name for name in audiences}
    refers = {name: reads(tree).audiences for name, tree in audiences.items()}
    references = [(name, target) for name, targets in refers.items() for target in targets]
    for name, target in references:
        if caseless(target) not in names:
            raise UsageError(f"audience {name} refers to {target}: there is no such audience")
    for name, target in references:
        target_name = names[caseless(target)]
        if refers[target_name]:
            raise UsageError(
                f"audience {name} refers to {target_name}, which itself refers to"
                f" {refers[target_name][0]}",
                "an audience that refers to another cannot be referred to: write its criteria out",
            )
    return [
        *(name for name in audiences if not refers[name]),
        *(name for name in audiences if refers[name]),
    ]
