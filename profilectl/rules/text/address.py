"""An address that something is sent to: what is one, and where plain http may go.

Secrets and people's data must not travel for everybody on the network to read: plain http goes to
this machine alone.
"""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from profilectl.codes import UsageError


def checked(address: str, what: str, *, example: str, secrets: str, query: bool = False) -> str:
    """Return an address without blanks around it and without slashes at its end.

    what: how it is named in messages; example: a right one; secrets: where credentials come from
    instead; query: it may have one. Raises UsageError for what is no address, for one with
    credentials in it, and for plain http to another machine.
    """
    stated = address.strip()
    try:
        parts = urlsplit(stated)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        raise UsageError(f"{what}: this is no address", f"for example {example}") from None
    if parts.username is not None or parts.password is not None:
        raise UsageError(f"{what}: credentials do not belong in an address", secrets)
    odd = (
        parts.fragment or (parts.query and not query) or any(not " " < one <= "~" for one in stated)
    )
    if parts.scheme not in ("http", "https") or not host or odd:
        raise UsageError(f"{what} {stated}: this is no address", f"for example {example}")
    if parts.scheme == "http" and not is_this_machine(host):
        raise UsageError(
            f"{what} {stated}: plain http would show what is sent to the network",
            "use https; http is for this machine alone",
        )
    return stated.rstrip("/")


def is_this_machine(host: str) -> bool:
    """Say whether a host name is that of the loopback."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
