"""A receiver that accepts every batch, to try `profilectl push` on this machine: python3 sink.py
FILE

Prints its address and goes on in the background: it adds each request, a line, to FILE, asks for no
credentials, and ends when nothing has come for a minute.
"""

from __future__ import annotations

import os
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

IDLE_S = 60


class Accepting(BaseHTTPRequestHandler):
    """Accepts whatever is posted."""

    timeout = 10

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with Path(sys.argv[1]).open("ab") as received:
            received.write(body + b"\n")
        self.send_response(202)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        pass


class Sink(HTTPServer):
    """Ends when nothing comes."""

    timeout = IDLE_S

    def handle_timeout(self) -> None:
        sys.exit()


if __name__ == "__main__":
    with Sink(("127.0.0.1", 0), Accepting) as sink:
        print(f"http://127.0.0.1:{sink.server_address[1]}", flush=True)
        if os.fork():
            os._exit(0)
        nowhere = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(nowhere, stream)
        while True:
            sink.handle_request()
