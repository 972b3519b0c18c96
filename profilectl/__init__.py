"""profilectl: a customer profile store on one's own machine, with the rules of a data platform."""

from typing import TYPE_CHECKING

from profilectl.version import __version__

if TYPE_CHECKING:
    from profilectl.library.store import Store

__all__ = ["Store", "__version__"]


def __getattr__(name: str) -> object:
    """Load the library when a program asks for it: the command line never needs it."""
    if name == "Store":
        from profilectl.library.store import Store

        return Store
    raise AttributeError(f"module 'profilectl' has no attribute {name!r}")
