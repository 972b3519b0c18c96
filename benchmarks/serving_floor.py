"""The floor of a server: `python benchmarks/serving_floor.py WORK STORE` serves until it is ended.

WORK is `constant`, and each request is answered with the same 600 bytes; or `query`, and for each
DuckDB finds one profile of the store by its number. It prints its address as JSON.
"""

from __future__ import annotations

import asyncio
import json
import random
import socket
import sys
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import duckdb
import uvicorn

BODY = json.dumps({"answer": "x" * 580}).encode()
HEADERS = [(b"content-type", b"application/json"), (b"content-length", str(len(BODY)).encode())]
PEOPLE = "select profile from row_1 using sample 1000"
QUERY = "select * from row_1 where profile = ?"
READERS = 2


class Queries:
    """Point queries of a store, by as many threads as a server has."""

    def __init__(self, store: str) -> None:
        self._connection = duckdb.connect(store, read_only=True, config={"threads": 1})
        self._people = [row[0] for row in self._connection.execute(PEOPLE).fetchall()]
        self._threads = ThreadPoolExecutor(READERS)
        self._own = threading.local()

    async def find(self) -> None:
        """Find a profile at random."""
        await asyncio.get_running_loop().run_in_executor(self._threads, self._find)

    def _find(self) -> None:
        if not hasattr(self._own, "cursor"):
            self._own.cursor = self._connection.cursor()
        self._own.cursor.execute(QUERY, [random.choice(self._people)]).fetchall()


def application(find: Callable[[], Awaitable[None]] | None) -> Any:
    """Return an ASGI application that answers everything alike, after `find`."""

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        if find is not None:
            await find()
        await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
        await send({"type": "http.response.body", "body": BODY})

    return answer


def main() -> None:
    """Serve."""
    work, store = sys.argv[1:]
    find = Queries(store).find if work == "query" else None
    listening = socket.create_server(("127.0.0.1", 0))
    print(json.dumps({"address": f"http://127.0.0.1:{listening.getsockname()[1]}"}), flush=True)
    config = uvicorn.Config(
        application(find), lifespan="off", log_config=None, access_log=False, http="httptools"
    )
    uvicorn.Server(config).run(sockets=[listening])


if __name__ == "__main__":
    main()
