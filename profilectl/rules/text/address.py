"""An address that something is sent to: its form, and the machine that plain http may go to.

Nobody on the network may read secrets or people's data: plain http goes to this machine alone.
"""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from profilectl.codes import UsageError


def checked(address: str, what: str, *, example: str, secrets: str, query: bool = False) -> str:
    """Return an address without blanks around it and without slashes at its end.

    what: its name in messages. example: an address that is right. secrets: the hint where
    credentials come from instead. query: whether the address may have a query (`?...`).

    Raises UsageError for a text that is no address, for an address with credentials in it, and for
    plain http to another machine.
    """
    text = address.strip()
    try:
        parts = urlsplit(text)
        # Reading the port raises ValueError if it is none.
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        raise UsageError(f"{what}: this is no address", f"for example {example}") from None
    if parts.username is not None or parts.password is not None:
        raise UsageError(f"{what}: credentials do not belong in an address", secrets)
    is_odd = (
        parts.fragment
        or (parts.query and not query)
        or any(not " " < letter <= "~" for letter in text)
    )
    if parts.scheme not in ("http", "https") or not host or is_odd:
        raise UsageError(f"{what} {text}: this is no address", f"for example {example}")
    if parts.scheme == "http" and not is_this_machine(host):
        raise UsageError(
            f"{what} {text}: plain http would show what is sent to the network",
            "use https; http is for this machine alone",
        )
    return text.rstrip("/")


def is_this_machine(host: str) -> bool:
    """Return whether a host name is that of this machine (the loopback)."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
