"""The other end of each connection, and the limit of connections for each peer.

A peer is an IPv4 address or an IPv6 network of 64 bits, because one machine can use any address of
such a network. Behind a proxy all clients have the proxy's address. The last entry of
X-Forwarded-For is believed if a proxy that --proxy names sent it; anybody may write the entries
before it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Collection, Sequence

from starlette.types import Scope

from profilectl.codes import UsageError

MOST_CONNECTIONS = 1_000
MOST_OF_A_PEER = 200
"""The connections of one peer: it takes five peers to fill the server."""
MOST_HOPS = 8
"""The most proxies, one behind another, that are followed."""
UNNAMED = (
    "requests come with X-Forwarded-For from an address that --proxy does not name:"
    " where that is your proxy, all who ask through it count as one"
)
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def address_of(text: str) -> Address | None:
    """Return the IP address in a text, without port, brackets and zone; None if there is none."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:  # an IPv4 address with a port
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def proxies_of(texts: Sequence[str]) -> list[Address]:
    """Return the addresses of proxies. Raises UsageError for a text that is no address."""
    proxies = []
    for text in texts:
        if (address := address_of(text)) is None:
            raise UsageError(f"--proxy {text}: must be an address", "for example --proxy 127.0.0.1")
        proxies.append(address)
    return proxies


def peer_of(address: Address | None) -> str:
    """Return the name of the peer that an address belongs to; "" without an address."""
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.IPv6Network((int(address) >> 64 << 64, 64)))
    return "" if address is None else str(address)


class Peers:
    """The connections of each peer.

    most: the most connections of all peers together.
    of_each: the most connections of one peer.
    proxies: the addresses whose X-Forwarded-For is believed; one proxy may have all connections.
    """

    def __init__(
        self,
        most: int = MOST_CONNECTIONS,
        of_each: int = MOST_OF_A_PEER,
        proxies: Collection[Address] = (),
    ) -> None:
        self.most, self.of_each, self.proxies = most, of_each, frozenset(proxies)
        self.connections = 0
        self.notice: Callable[[str], None] | None = None
        """Writes a notice, once, when a proxy that --proxy does not name forwards a request."""
        self._of: dict[str, int] = {}

    def enter(self, address: Address | None) -> bool | None:
        """Count a connection, and return whether the peer may have it.

        None: the server has as many connections as it can.
        """
        peer = peer_of(address)
        within = self.connections < self.most
        allowed = address in self.proxies or self._of.get(peer, 0) < self.of_each
        self.connections += 1
        self._of[peer] = self._of.get(peer, 0) + 1
        return None if not within else allowed

    def leave(self, address: Address | None) -> None:
        """Count a connection that has ended."""
        peer = peer_of(address)
        self.connections -= 1
        self._of[peer] -= 1
        if not self._of[peer]:
            del self._of[peer]

    def asking(self, scope: Scope) -> str:
        """Return the peer that a request comes from."""
        client = scope.get("client")
        address = address_of(str(client[0])) if client else None
        lines = [value for name, value in scope["headers"] if name == b"x-forwarded-for"]
        if lines and address not in self.proxies and self.notice is not None:
            self.notice(UNNAMED)
            self.notice = None
        if address in self.proxies:
            for hop in reversed(b",".join(lines).decode("latin-1").rsplit(",", MOST_HOPS)):
                forwarded = address_of(hop)
                if forwarded is None:
                    break
                address = forwarded
                if forwarded not in self.proxies:
                    break
        return peer_of(address)
