"""A client of a server: `python benchmarks/client.py` asks as the JSON on its standard input says.

It asks for people at random, over several connections, each one request after another, and prints
how many were answered and how long they took.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
import urllib.request
from dataclasses import dataclass, field
from urllib.parse import urlsplit

FIELDS = "user_identities,user_attributes,audience_memberships"
REQUEST = (
    "POST /userprofile/v1/resolve/1/1/1?fields={fields} HTTP/1.1\r\n"
    "host: {host}\r\n"
    "authorization: Bearer {token}\r\n"
    "content-type: application/json\r\n"
    "content-length: {length}\r\n\r\n"
)


@dataclass
class Asking:
    """Requests that are made until a time."""

    address: str
    """Where the server answers."""
    token: str
    """The token that it wants."""
    people: int
    """The people have the customer ids C0 to C<people - 1>."""
    until: float
    """When the last request begins, by time.perf_counter()."""
    times_s: list[float] = field(default_factory=list)
    """The seconds of each request so far."""
    errors: int = 0
    """How many were not answered with 200."""

    async def connect(self) -> None:
        """Make one request after another over one connection."""
        place = urlsplit(self.address)
        reader, writer = await asyncio.open_connection(place.hostname, place.port)
        while time.perf_counter() < self.until:
            request = self._request(place.netloc)
            began = time.perf_counter()
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
            await reader.readexactly(int(length))
            self.times_s.append(time.perf_counter() - began)
            self.errors += not head.startswith(b"HTTP/1.1 200")
        writer.close()

    def _request(self, host: str) -> bytes:
        identity = {"type": "customer_id", "value": f"C{random.randrange(self.people)}"}
        body = json.dumps({"environment_type": "production", "identity": identity}).encode()
        head = REQUEST.format(fields=FIELDS, host=host, token=self.token, length=len(body))
        return head.encode() + body


async def ask(job: dict[str, str | float]) -> dict[str, float]:
    """Ask for some seconds; return the number of requests, their rate, errors and times in ms."""
    began = time.perf_counter()
    asking = Asking(
        address=str(job["address"]),
        token=str(job["token"]),
        people=int(job["people"]),
        until=began + float(job["seconds"]),
    )
    await asyncio.gather(*(asking.connect() for _ in range(int(job["connections"]))))
    times_s = sorted(asking.times_s)
    return {
        "count": len(times_s),
        "rate": len(times_s) / (time.perf_counter() - began),
        "p50": _share_ms(times_s, 0.5),
        "p95": _share_ms(times_s, 0.95),
        "p99": _share_ms(times_s, 0.99),
        "errors": asking.errors,
    }


def _share_ms(times_s: list[float], share: float) -> float:
    return times_s[min(len(times_s) - 1, int(len(times_s) * share))] * 1000


def health(address: str) -> dict[str, int]:
    """Return what the server says of itself."""
    with urllib.request.urlopen(address + "/healthz") as answer:
        return dict(json.loads(answer.read()))


def token_of(address: str, client: dict[str, str]) -> str:
    """Return a token for a client of the credentials file."""
    body = {
        "client_id": client["id"],
        "client_secret": client["secret"],
        "audience": "https://api.mparticle.com",
        "grant_type": "client_credentials",
    }
    headers = {"content-type": "application/json"}
    request = urllib.request.Request(f"{address}/oauth/token", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request) as answer:
        return str(json.loads(answer.read())["access_token"])


if __name__ == "__main__":
    print(json.dumps(asyncio.run(ask(json.load(sys.stdin)))))
