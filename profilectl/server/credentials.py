"""Who may ask and who may send: the credentials file of `profilectl serve`.

    org = "1"
    account = "10"
    audience = "https://api.mparticle.com"      # what clients ask a token for; this is the default

    [workspaces]
    default = "100"                             # a workspace of the store, and its number in addresses

    [clients.website]                           # asks: the Profile API, by client credentials
    id = "..."
    secret = "..."
    workspaces = ["default"]                    # else all
    rate = 15                                   # requests a second, else --rate

    [feeds.crm]                                 # sends: the Events API, by HTTP Basic
    key = "..."
    secret = "..."
    rate = 270                                  # else --feed-rate

A feed's source and protection level are the store's (`profilectl feeds add`). Secrets stand in the
file as they are, so it is for its owner only: mode 0600, or it is refused.
"""

from __future__ import annotations

import hmac
import json
import os
import secrets
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from profilectl.codes import InputRefused, UsageError
from profilectl.files.secrets import read_secrets
from profilectl.files.whole_file import check_named, whole_file
from profilectl.rules.feed import DEFAULT_WORKSPACE

AUDIENCE = "https://api.mparticle.com"
SHORTEST_SECRET = 16
HOW = "what `profilectl credentials new FILE` writes"
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Client:
    """Somebody who asks for profiles.

    workspaces: the names of those it may ask of; rate: requests a second, None: the default.
    """

    name: str
    id: str
    secret: str
    workspaces: tuple[str, ...] | None = None
    rate: float | None = None

    def may_ask(self, workspace: str) -> bool:
        return self.workspaces is None or workspace in self.workspaces


@dataclass(frozen=True, slots=True)
class FeedSender:
    """A feed that sends batches."""

    name: str
    key: str
    secret: str
    rate: float | None = None


@dataclass(frozen=True, slots=True)
class ServerCredentials:
    """What the file says. workspaces: number -> name."""

    org: str
    account: str
    audience: str
    workspaces: Mapping[str, str]
    clients: tuple[Client, ...]
    senders: tuple[FeedSender, ...]

    def client(self, identifier: str, secret: str) -> Client | None:
        """Return the client with these credentials.

        Takes the same time for a wrong secret as for a wrong name.
        """
        return _matching(
            self.clients, [(one.id, one.secret) for one in self.clients], identifier, secret
        )

    def known_id(self, identifier: str) -> str | None:
        """Return the name under which failures of a client's id count, None where no client has it."""
        found = [f"client {one.name}" for one in self.clients if _same(one.id, identifier)]
        return found[0] if found else None

    def known_key(self, key: str) -> str | None:
        """Return the name under which failures of a feed's key count, None where no feed has it."""
        found = [f"feed {one.name}" for one in self.senders if _same(one.key, key)]
        return found[0] if found else None

    def client_named(self, name: str) -> Client | None:
        return next((one for one in self.clients if one.name == name), None)

    def sender(self, key: str, secret: str) -> FeedSender | None:
        """Return the feed with these credentials; as `client`."""
        return _matching(self.senders, [(one.key, one.secret) for one in self.senders], key, secret)

    def sender_with_key(self, key: str) -> FeedSender | None:
        """Return the feed that has a key: who it says that it is, and has yet to show."""
        return next((one for one in self.senders if _same(one.key, key)), None)


def _same(known: str, named: str) -> bool:
    return hmac.compare_digest(known.encode(), named.encode())


def _matching(
    everybody: Sequence[T], known: Sequence[tuple[str, str]], name: str, secret: str
) -> T | None:
    found = None
    for one, (its_name, its_secret) in zip(everybody, known, strict=True):
        # `&`, not `and`: both are compared, whatever the first says.
        if _same(its_name, name) & _same(its_secret, secret):
            found = one
    return found


def read_credentials(path: Path) -> ServerCredentials:
    """Read a credentials file.

    Raises InputRefused where it is not there, is open to others, or is not one.
    """
    stated = read_secrets(path, HOW)
    return _credentials(str(path), stated)


def _credentials(where: str, stated: dict[str, Any]) -> ServerCredentials:
    _only(where, stated, ("org", "account", "audience", "workspaces", "clients", "feeds"))
    workspaces = {
        name: _number(f"{where}: workspaces.{name}", value)
        for name, value in _table(where, stated, "workspaces").items()
    }
    if not workspaces or len(set(workspaces.values())) < len(workspaces):
        raise InputRefused(
            f"{where}: [workspaces] must give each workspace a number of its own",
            'for example default = "100"',
        )
    clients = []
    for name, table in _table(where, stated, "clients").items():
        at = f"{where}: clients.{name}"
        _only(at, table, ("id", "secret", "workspaces", "rate"))
        listed = table.get("workspaces")
        if listed is not None and (
            not isinstance(listed, list) or any(one not in workspaces for one in listed)
        ):
            raise InputRefused(
                f"{at}.workspaces must be a list of workspaces that [workspaces] names"
            )
        clients.append(
            Client(
                name,
                _text(at, table, "id"),
                _secret(at, table),
                None if listed is None else tuple(listed),
                _rate(at, table),
            )
        )
    senders = []
    for name, table in _table(where, stated, "feeds").items():
        at = f"{where}: feeds.{name}"
        _only(at, table, ("key", "secret", "rate"))
        senders.append(
            FeedSender(name, _text(at, table, "key"), _secret(at, table), _rate(at, table))
        )
    for kind, names in (
        ("client id", [one.id for one in clients]),
        ("feed key", [one.key for one in senders]),
    ):
        if len(set(names)) < len(names):
            raise InputRefused(f"{where}: the same {kind} stands there twice")
    org, account = (_number(f"{where}: {name}", stated.get(name)) for name in ("org", "account"))
    audience = stated.get("audience", AUDIENCE)
    if not isinstance(audience, str):
        raise InputRefused(f"{where}: audience must be a text")
    return ServerCredentials(
        org,
        account,
        audience,
        {number: name for name, number in workspaces.items()},
        tuple(clients),
        tuple(senders),
    )


def _only(where: str, table: Any, known: Sequence[str]) -> None:
    if not isinstance(table, dict):
        raise InputRefused(f"{where} must be a table")
    for name in table:
        if name not in known:
            raise InputRefused(f"{where}: there is no key {name}", f"there are {', '.join(known)}")


def _table(where: str, stated: dict[str, Any], name: str) -> dict[str, Any]:
    found = stated.get(name, {})
    if not isinstance(found, dict):
        raise InputRefused(f"{where}: {name} must be a table")
    return found


def _number(where: str, value: object) -> str:
    """Return a number as it stands in an address."""
    text = str(value) if isinstance(value, int | str) and not isinstance(value, bool) else ""
    if not text or not text.isascii() or not text.replace("-", "").replace("_", "").isalnum():
        raise InputRefused(f"{where} must be a number, or letters and digits", 'for example "100"')
    return text


def _text(where: str, table: Mapping[str, object], name: str) -> str:
    value = table.get(name)
    if not isinstance(value, str) or not value or not value.isascii() or ":" in value:
        raise InputRefused(f"{where}.{name} must be a text of plain characters, without a colon")
    return value


def _secret(where: str, table: Mapping[str, object]) -> str:
    value = table.get("secret")
    if not isinstance(value, str) or not value.isascii() or len(value) < SHORTEST_SECRET:
        raise InputRefused(
            f"{where}.secret must be a text of at least {SHORTEST_SECRET} plain characters", HOW
        )
    return value


def _rate(where: str, table: Mapping[str, object]) -> float | None:
    value = table.get("rate")
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1_000_000:
        raise InputRefused(f"{where}.rate must be a number of requests a second")
    return float(value)


def new_credentials(
    path: Path,
    *,
    org: str,
    account: str,
    workspaces: Sequence[tuple[str, str]],
    clients: Sequence[str],
    feeds: Sequence[str],
) -> None:
    """Write a credentials file with fresh secrets, mode 0600. workspaces: (name, number).

    Raises UsageError for what cannot stand in it, InputRefused where a file is there already.
    """
    check_named(path, "FILE")
    for what, names in (("--client", clients), ("--feed", feeds)):
        if len(set(names)) < len(names) or not all(names):
            raise UsageError(f"{what}: each needs a name of its own")
    parts = [f"org = {_quoted(org)}", f"account = {_quoted(account)}", "", "[workspaces]"]
    parts += [
        f"{_quoted(name)} = {_quoted(number)}"
        for name, number in workspaces or [(DEFAULT_WORKSPACE, "1")]
    ]
    for name in clients:
        parts += [
            "",
            f"[clients.{_quoted(name)}]",
            f'id = "{secrets.token_hex(16)}"',
            f'secret = "{secrets.token_urlsafe(32)}"',
        ]
    for name in feeds:
        parts += [
            "",
            f"[feeds.{_quoted(name)}]",
            f'key = "{secrets.token_hex(16)}"',
            f'secret = "{secrets.token_urlsafe(32)}"',
        ]
    text = "\n".join(parts) + "\n"
    try:
        _credentials(str(path), tomllib.loads(text))
    except (InputRefused, tomllib.TOMLDecodeError) as error:
        raise UsageError(str(error)) from None
    if os.path.lexists(path):
        raise InputRefused(
            f"{path} is there already",
            "name another file; clients that know their secrets would be locked out",
        )
    with whole_file(path, "FILE", replace=False) as out:
        out.write(text.encode())


def _quoted(text: str) -> str:
    """Return a text as TOML writes it."""
    return json.dumps(text, ensure_ascii=False)
