"""A server in a process of its own, and a client of it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
from support.places import ROOT

AUDIENCE = "https://api.mparticle.com"
ALL = "user_identities,device_identities,user_attributes,audience_memberships,attribution,consent_state"


class Server:
    """`profilectl serve` in a folder whose api.toml says who may ask.

    log: what it writes to stderr.
    """

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder, self.log = folder, folder / "log"
        self.credentials = tomllib.loads((folder / "api.toml").read_text())
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1"}
        environment.pop("PROFILECTL_STORE", None)
        out = folder / "address"
        with self.log.open("ab") as log, out.open("wb") as address:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "profilectl",
                    "serve",
                    "--credentials",
                    "api.toml",
                    "--port",
                    "0",
                    "--json",
                    *options,
                ],
                cwd=folder,
                env=environment,
                stdout=address,
                stderr=log,
            )
        until = time.monotonic() + 60
        while not out.read_text().endswith("}\n"):
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < until
            time.sleep(0.02)
        self.address = json.loads(out.read_text())["address"]
        self.http = httpx.Client(base_url=self.address, timeout=60, trust_env=False)

    def token(self, client: str) -> str:
        stated = self.credentials["clients"][client]
        answer = self.http.post(
            "/oauth/token",
            json={
                "client_id": stated["id"],
                "client_secret": stated["secret"],
                "audience": AUDIENCE,
                "grant_type": "client_credentials",
            },
        )
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"])

    def bearer(self, client: str = "web") -> dict[str, str]:
        return {"authorization": f"Bearer {self.token(client)}"}

    def basic(self, feed: str) -> tuple[str, str]:
        stated = self.credentials["feeds"][feed]
        return stated["key"], stated["secret"]

    def send(self, feed: str, body: Any, path: str = "/v2/events") -> httpx.Response:
        return self.http.post(path, json=body, auth=self.basic(feed))

    def health(self) -> dict[str, Any]:
        return self.http.get("/healthz").json()  # type: ignore[no-any-return]

    def wait_for(self, number: int) -> None:
        """Wait until an import is told of."""
        until = time.monotonic() + 30
        while self.health()["import"] < number:
            assert time.monotonic() < until
            time.sleep(0.02)

    def end(self, how: int = signal.SIGTERM) -> int:
        self.http.close()
        if self.process.poll() is None:
            self.process.send_signal(how)
        return self.process.wait(60)


@contextlib.contextmanager
def served(folder: Path, *options: str) -> Iterator[Server]:
    server = Server(folder, *options)
    try:
        yield server
    finally:
        server.end()
