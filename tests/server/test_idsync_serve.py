"""IDSync by `profilectl serve` as it runs: in processes of its own, held to its own document."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from support.doors import run
from support.places import ROOT
from support.serving import Server, served

V = "3f2504e0-4f89-41d3-9a0c-0305e82c3301"


def made(folder: Path) -> Path:
    """Make credentials. slow: a feed that may ask once a second."""
    done = run("credentials", "new", "api.toml", "--feed", "app", "--feed", "slow", folder=folder)
    assert done.returncode == 0, done.stderr
    text = (
        (folder / "api.toml").read_text().replace('[feeds."slow"]\n', '[feeds."slow"]\nrate = 1\n')
    )
    (folder / "api.toml").write_text(text)
    return folder


def ask(server: Server, path: str, feed: str = "app", **identities: str) -> Any:
    body = {"environment": "production", "known_identities": identities}
    return server.http.post(f"/v1/{path}", json=body, auth=server.basic(feed))


def test_an_application_signs_in_and_out(tmp_path: Path) -> None:
    with served(made(tmp_path)) as server:
        first = ask(server, "login", customerid="secret-person-77", ios_idfv=V).json()
        assert first["is_logged_in"] is True
        assert (
            ask(server, "search", customerid="secret-person-77").json()["mpid"] == first["mpid"]
        ), "at once"
        with ThreadPoolExecutor(4) as threads:
            outs = list(
                threads.map(lambda _: ask(server, "logout", ios_idfv=V).json()["mpid"], range(4))
            )
        assert len({*outs, first["mpid"]}) == 5
        changes = [
            {"identity_type": "email", "old_value": "very.private@example.org", "new_value": None}
        ]
        body = {"environment": "production", "identity_changes": changes}
        refused = server.http.post(
            f"/v1/{first['mpid']}/modify", json=body, auth=server.basic("app")
        )
        assert (refused.status_code, refused.json()["errors"][0]["code"]) == (
            400,
            "OLD_VALUE_MISMATCH",
        )
        assert "very.private" not in refused.text
        with ThreadPoolExecutor(4) as threads:
            slow = list(threads.map(lambda _: ask(server, "search", "slow", ios_idfv=V), range(4)))
        assert {one.status_code for one in slow} == {200, 429}
        assert int(next(one for one in slow if one.status_code == 429).headers["retry-after"]) >= 1
        log = server.log.read_text()
        for word in ("secret-person", "very.private", V, first["mpid"]):
            assert word not in log
        assert {(line["route"], line["client"]) for line in map(json.loads, log.splitlines())} >= {
            ("/v1/{mpid}/modify", "app"),
            ("/v1/logout", "app"),
        }


@pytest.mark.slow
def test_it_keeps_to_its_own_document(tmp_path: Path) -> None:
    """schemathesis makes requests of the OpenAPI document, good ones and bad ones."""
    pytest.importorskip("schemathesis")
    with served(made(tmp_path)) as server:
        key, secret = server.basic("app")
        for number in range(3):
            assert (
                ask(
                    server, "login", customerid=f"C{number}", email=f"c{number}@example.com"
                ).status_code
                == 200
            )
        # A well-formed question about nobody is a 404, as on the platform: positive_data_acceptance
        # cannot hold.
        ended = subprocess.run(
            [
                Path(sys.executable).with_name("schemathesis"),
                "run",
                f"{server.address}/openapi.json",
                "--auth",
                f"{key}:{secret}",
                "--include-path-regex",
                "/v1/(identify|login|logout|search|.mpid)",
                "--exclude-path-regex",
                "userprofile|profilectl",
                "--checks",
                "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,unsupported_method,ignored_auth,negative_data_rejection",
                "--max-examples",
                "25",
                "--seed",
                "1",
                "--suppress-health-check",
                "all",
                "--request-timeout",
                "60",
            ],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "160"},
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        assert "Operations:  5 " in ended.stdout or "5 selected" in ended.stdout, ended.stdout
        assert '"fault"' not in server.log.read_text()
    assert run("check", folder=tmp_path).returncode == 0
