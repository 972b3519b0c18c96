"""One request and its answer over HTTP, within one deadline and a cap of bytes: for all that sends.

The deadline is for all of it, from the name's look-up and the handshake to the last byte. The cap
is of the bytes that the connection brings: interim answers (1xx), headers and framing count like
the body. A body is never unpacked, under any Content-Encoding, and a redirect is never followed.
httpcore speaks HTTP over a connection of ours that counts.
"""

from __future__ import annotations

import asyncio
import base64
import concurrent.futures
import contextlib
import threading
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import unquote, urlsplit

import httpcore

from profilectl.codes import UsageError
from profilectl.rules.text.address import is_this_machine
from profilectl.version import __version__

if TYPE_CHECKING:
    import ssl

LONGEST_HEAD = 65_536
"""How many bytes may come before the status and the headers are whole, interim answers included."""
FRAMING = 4 * LONGEST_HEAD
"""How many bytes may come beside the body: heads, the sizes of chunks, the excess of a block."""
UNUSED_S = 1.0
"""How long a body that nobody looks at is read, so that the connection can be used again."""
IDLE_S = 5.0
"""How long a connection that is not used stays open."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What an exchange may take."""

    seconds: float
    """How long all of it may last."""
    body: int = 65_536
    """How many bytes of the answer's body are read."""


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A request to send: a POST."""

    url: str
    """Where it goes to."""
    body: bytes
    """Its body."""
    headers: Mapping[str, str]
    """Its headers."""
    bounds: Bounds
    """What its exchange may take."""
    used: bool = True
    """Whether anybody looks at the body of the answer."""


@dataclass(slots=True)
class Reply:
    """What came back."""

    status: int
    """The status of the answer."""
    headers: Mapping[str, str]
    """Its headers, by their names in lower case; of one that is stated twice both, with a comma."""
    body: bytes = b""
    """Its body, as far as it was read, and as it came: never unpacked."""
    cut: str = ""
    """Why the body is not whole: "timeout", "too long" or "broken"; "" where it is."""


class NoReply(Exception):
    """There was no answer, or none that has a status."""

    def __init__(self, trouble: str, detail: str = "") -> None:
        super().__init__(trouble)
        self.trouble = trouble
        """What was in the way: "no connection", "timeout" or "broken" (output.TROUBLES)."""
        self.detail = detail
        """What the machine says of it."""

    @property
    def distrusted(self) -> bool:
        """Whether the certificate of the other side cannot be trusted."""
        return "CERTIFICATE_VERIFY_FAILED" in self.detail


class _TooLong(Exception):
    """More bytes came than may."""


@dataclass(slots=True)
class _Meter:
    """How far an exchange has come."""

    most: int
    """How many bytes may come in all."""
    came: int = 0
    """How many bytes have come."""
    connecting: bool = False
    """Whether a connection is being made."""
    reply: Reply | None = None
    """The answer, once its head is there."""

    def check(self) -> None:
        """Raise _TooLong where nothing more may come."""
        if self.came >= (self.most if self.reply else LONGEST_HEAD):
            raise _TooLong


_meter: ContextVar[_Meter] = ContextVar("_meter")
"""The meter of the exchange that the running task makes."""


class _CountedConnection(httpcore.AsyncNetworkStream):
    """A connection that counts what it brings for the exchange that uses it."""

    def __init__(self, stream: httpcore.AsyncNetworkStream) -> None:
        self._stream = stream

    # httpcore states a time-out with each step; the deadline is above them all.
    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109
        meter = _meter.get()
        meter.check()
        block = await self._stream.read(max_bytes, timeout)
        meter.came += len(block)
        return block

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        # The first bytes leave, so later trouble is not that there is no connection.
        _meter.get().connecting = False
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> httpcore.AsyncNetworkStream:
        _meter.get().connecting = True
        try:
            return _CountedConnection(
                await self._stream.start_tls(ssl_context, server_hostname, timeout)
            )
        except BaseException:  # at the deadline httpcore does not close the stream
            await self._stream.aclose()
            raise

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class _Network(httpcore.AsyncNetworkBackend):
    """Makes connections that count."""

    def __init__(self) -> None:
        self._network = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        _meter.get().connecting = True
        return _CountedConnection(
            await self._network.connect_tcp(
                host,
                port,
                timeout=timeout,
                local_address=local_address,
                socket_options=socket_options,
            )
        )

    async def sleep(self, seconds: float) -> None:
        await self._network.sleep(seconds)


def trusted(*, from_environment: bool = True) -> ssl.SSLContext:
    """Return the certificates that are trusted; from_environment: SSL_CERT_FILE may name others."""
    import httpx

    return httpx.create_ssl_context(trust_env=from_environment)


class Exchanges:
    """Exchanges over connections that stay open: an asynchronous context. Several go on at once.

    address: where they go to; most: how many go on at once; proxied: whether the proxy of the
    environment is used, which must not see what goes to this machine in plain text; certificates:
    those that are trusted.
    """

    def __init__(
        self,
        address: str,
        most: int,
        *,
        proxied: bool,
        certificates: Callable[[], ssl.SSLContext] = trusted,
    ) -> None:
        self._network = _Network()
        proxy = proxy_of(address) if proxied else None
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=certificates()
            if "https" in (urlsplit(address).scheme, urlsplit(proxy or "").scheme)
            else None,
            proxy=None if proxy is None else _proxy(proxy),
            max_connections=most,
            max_keepalive_connections=most,
            keepalive_expiry=IDLE_S,
            network_backend=self._network,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._pool.aclose()

    async def post(self, request: HttpRequest) -> Reply:
        """Send a request and return the answer.

        Raises NoReply where there is no answer that has a status.
        """
        # The first call loads modules; that must not count against the time of the exchange.
        await self._network.sleep(0)
        meter = _Meter(request.bounds.body + FRAMING)
        token = _meter.set(meter)
        try:
            async with asyncio.timeout(request.bounds.seconds):
                await self._post(request, meter)
        except TimeoutError:
            trouble = "no connection" if meter.connecting else "timeout"
            return _ended(meter, trouble, "the time was up")
        except _TooLong:
            return _ended(meter, "broken" if meter.reply is None else "too long")
        except httpcore.ConnectError as error:
            raise NoReply("no connection", str(error)) from None
        except (
            httpcore.NetworkError,
            httpcore.ProtocolError,
            httpcore.ProxyError,
            OSError,
        ) as error:
            return _ended(meter, "no connection" if meter.connecting else "broken", str(error))
        finally:
            _meter.reset(token)
        assert meter.reply is not None
        return meter.reply

    async def _post(self, request: HttpRequest, meter: _Meter) -> None:
        headers = {"User-Agent": f"profilectl/{__version__}", **request.headers}
        listed = [(name.encode(), value.encode()) for name, value in headers.items()]
        async with self._pool.stream(
            "POST", request.url, headers=listed, content=request.body
        ) as response:
            meter.reply = reply = Reply(response.status, _headers(response.headers))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if request.used else UNUSED_S):
                    await _read(response, reply, request.bounds.body)
                return
            reply.cut = "timeout"


async def _read(response: httpcore.Response, reply: Reply, most: int) -> None:
    """Read a body as far as it may be of use."""
    body = bytearray()
    try:
        async for block in response.aiter_stream():
            body += block
            if len(body) > most:
                reply.cut = "too long"
                return
    finally:
        reply.body = bytes(body[:most])


def _headers(lines: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for name, value in lines:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        headers[key] = f"{headers[key]}, {text}" if key in headers else text
    return headers


def _ended(meter: _Meter, trouble: str, detail: str = "") -> Reply:
    """Return the answer that was cut off. Raises NoReply where there was none."""
    if meter.reply is None:
        raise NoReply(trouble, detail)
    meter.reply.cut = trouble
    return meter.reply


def basic(key: str, secret: str) -> str:
    """Return the header Authorization of a key and its secret."""
    return "Basic " + base64.b64encode(f"{key}:{secret}".encode()).decode()


def proxy_of(address: str) -> str | None:
    """Return the proxy that the environment names for an address; None where there is none."""
    parts = urlsplit(address)
    host = parts.hostname or ""
    if is_this_machine(host) or urllib.request.proxy_bypass(host):
        return None
    proxies = urllib.request.getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    return proxy if proxy is None or "://" in proxy else f"http://{proxy}"


def _proxy(address: str) -> httpcore.Proxy:
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(
            "the proxy that the environment names is none of http",
            "HTTPS_PROXY=http://NAME:PORT, or NO_PROXY for this address",
        )
    auth = (unquote(parts.username), unquote(parts.password or "")) if parts.username else None
    # httpcore takes the name and password apart from the address.
    return httpcore.Proxy(
        parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl(), auth=auth
    )


@dataclass(slots=True)
class WaitingExchanges:
    """Exchanges for threads that wait for them: they go on in a thread of their own."""

    address: str
    """Where they go to."""
    most: int
    """How many go on at once."""
    proxied: bool = False
    """Whether the proxy of the environment is used."""
    certificates: Callable[[], ssl.SSLContext] = trusted
    """Those that are trusted."""
    _closed: bool = False
    """Whether no more are made."""
    _lock: threading.Lock = field(default_factory=threading.Lock)
    """Held while the thread is begun or ended."""
    _loop: asyncio.AbstractEventLoop | None = None
    """What runs the exchanges."""
    _exchanges: Exchanges | None = None
    """Those that are made."""
    _thread: threading.Thread | None = None
    """The thread of the loop."""

    def post(self, request: HttpRequest) -> Reply:
        """Send a request and return the answer. Raises NoReply. Several threads may call it."""
        loop, exchanges = self._begun()
        sending = asyncio.run_coroutine_threadsafe(exchanges.post(request), loop)
        try:
            return sending.result()
        except concurrent.futures.CancelledError:
            raise NoReply("broken", "broken off") from None
        except BaseException:
            sending.cancel()
            raise

    def _begun(self) -> tuple[asyncio.AbstractEventLoop, Exchanges]:
        with self._lock:
            if self._closed:
                raise NoReply("broken", "broken off")
            if self._loop is None or self._exchanges is None:
                self._loop = asyncio.new_event_loop()
                self._exchanges = Exchanges(
                    self.address, self.most, proxied=self.proxied, certificates=self.certificates
                )
                self._thread = threading.Thread(
                    target=self._loop.run_forever, name="exchanges", daemon=True
                )
                self._thread.start()
            return self._loop, self._exchanges

    def close(self) -> None:
        """Break off what is going on, and close the connections."""
        with self._lock:
            self._closed = True
            if self._loop is None or self._exchanges is None or self._thread is None:
                return
            asyncio.run_coroutine_threadsafe(_ending(self._exchanges), self._loop).result()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()
            self._loop = self._exchanges = self._thread = None


async def _ending(exchanges: Exchanges) -> None:
    """Break off every exchange, then close the connections."""
    going = asyncio.all_tasks() - {asyncio.current_task()}
    for task in going:
        task.cancel()
    await asyncio.gather(*going, return_exceptions=True)
    await exchanges.__aexit__()
