"""Who may ask and who may send: the credentials file of `profilectl serve`.

    org = "1"
    account = "10"
    audience = "https://api.mparticle.com"      # the audience of tokens; this is the default

    [workspaces]
    default = "100"                             # a workspace of the store, and its number

    [clients.website]                           # asks: the Profile API, by client credentials
    id = "..."
    secret = "..."
    workspaces = ["default"]                    # without it: all
    rate = 15                                   # requests a second; without it: --rate

    [feeds.crm]                                 # sends: the Events API, by HTTP Basic
    key = "..."
    secret = "..."
    rate = 270                                  # without it: --feed-rate

The store has the source and protection level of each feed (`profilectl feeds add`). The file has
secrets in plain text, so only its owner may read it: with any mode but 0600 it is refused.
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
from typing import TypeVar

from profilectl.codes import InputRefused, UsageError
from profilectl.files.secrets import read_secrets
from profilectl.files.whole_file import check_named, whole_file
from profilectl.rules.feed import DEFAULT_WORKSPACE

AUDIENCE = "https://api.mparticle.com"
SHORTEST_SECRET = 16
HOW = "what `profilectl credentials new FILE` writes"
Holder = TypeVar("Holder")


@dataclass(frozen=True, slots=True)
class Client:
    """A client that asks for profiles."""

    name: str
    """The name in the credentials file."""
    id: str
    """The client id, as OAuth 2.0 calls it."""
    secret: str
    """The client secret."""
    workspaces: tuple[str, ...] | None = None
    """The names of the workspaces it may ask of; None: all."""
    rate: float | None = None
    """The requests a second; None: as --rate says."""

    def may_ask(self, workspace: str) -> bool:
        """Return whether the client may ask of a workspace."""
        return self.workspaces is None or workspace in self.workspaces


@dataclass(frozen=True, slots=True)
class FeedSender:
    """A feed that sends batches."""

    name: str
    """The name of the feed."""
    key: str
    """The key that names the feed to the server."""
    secret: str
    """The secret that proves it."""
    rate: float | None = None
    """The requests a second; None: as --feed-rate says."""


@dataclass(frozen=True, slots=True)
class ServerCredentials:
    """The content of a credentials file."""

    org: str
    """The number of the organization, as addresses have it."""
    account: str
    """The number of the account, as addresses have it."""
    audience: str
    """The audience that clients ask a token for."""
    workspaces: Mapping[str, str]
    """The name of each workspace, by its number in addresses."""
    clients: tuple[Client, ...]
    """Who may ask."""
    senders: tuple[FeedSender, ...]
    """Who may send."""

    def client(self, identifier: str, secret: str) -> Client | None:
        """Return the client with these credentials.

        A wrong secret takes as long as a wrong name.
        """
        pairs = [(client.id, client.secret) for client in self.clients]
        return _matching(self.clients, pairs, name=identifier, secret=secret)

    def known_id(self, identifier: str) -> str | None:
        """Return the name that failures of a client id count for; None for an unknown id."""
        names = [f"client {client.name}" for client in self.clients if _same(client.id, identifier)]
        return names[0] if names else None

    def known_key(self, key: str) -> str | None:
        """Return the name that failures of a feed's key count for; None for an unknown key."""
        names = [f"feed {sender.name}" for sender in self.senders if _same(sender.key, key)]
        return names[0] if names else None

    def client_named(self, name: str) -> Client | None:
        """Return the client of a name."""
        return next((client for client in self.clients if client.name == name), None)

    def sender(self, key: str, secret: str) -> FeedSender | None:
        """Return the feed with these credentials.

        A wrong secret takes as long as a wrong key.
        """
        pairs = [(sender.key, sender.secret) for sender in self.senders]
        return _matching(self.senders, pairs, name=key, secret=secret)

    def sender_with_key(self, key: str) -> FeedSender | None:
        """Return the feed with this key. The request has yet to prove that it is this feed."""
        return next((sender for sender in self.senders if _same(sender.key, key)), None)


def _same(expected: str, text: str) -> bool:
    """Return whether two texts are equal; the time it takes does not show where they differ."""
    return hmac.compare_digest(expected.encode(), text.encode())


def _matching(
    holders: Sequence[Holder], pairs: Sequence[tuple[str, str]], *, name: str, secret: str
) -> Holder | None:
    """Return the holder of this name and secret. pairs: the name and secret of each holder."""
    match = None
    for holder, (its_name, its_secret) in zip(holders, pairs, strict=True):
        # `&`, not `and`: the secret is compared even if the name differs, which takes equal time.
        if _same(its_name, name) & _same(its_secret, secret):
            match = holder
    return match


def read_credentials(path: Path) -> ServerCredentials:
    """Read a credentials file.

    Raises InputRefused if it does not exist, others may read it, or it is no credentials file.
    """
    return _credentials(str(path), read_secrets(path, HOW))


Table = Mapping[str, object]
"""A table of the file."""


def _credentials(path: str, document: Table) -> ServerCredentials:
    """Return the credentials in a TOML document. path: the file's name for messages.

    Raises InputRefused, as the functions below do, for what is not as the head of this file says.
    """
    _only(path, document, ("org", "account", "audience", "workspaces", "clients", "feeds"))
    workspaces = _workspaces(path, document)
    clients = [
        _client(f"{path}: clients.{name}", name, table, workspaces=workspaces)
        for name, table in _table(path, document, "clients").items()
    ]
    senders = [
        _sender(f"{path}: feeds.{name}", name, table)
        for name, table in _table(path, document, "feeds").items()
    ]
    for kind, names in (
        ("client id", [client.id for client in clients]),
        ("feed key", [sender.key for sender in senders]),
    ):
        if len(set(names)) < len(names):
            raise InputRefused(f"{path}: the same {kind} stands there twice")
    audience = document.get("audience", AUDIENCE)
    org, account = (_number(f"{path}: {name}", document.get(name)) for name in ("org", "account"))
    if not isinstance(audience, str):
        raise InputRefused(f"{path}: audience must be a text")
    return ServerCredentials(
        org=org,
        account=account,
        audience=audience,
        workspaces={number: name for name, number in workspaces.items()},
        clients=tuple(clients),
        senders=tuple(senders),
    )


def _workspaces(path: str, document: Table) -> dict[str, str]:
    """Return the number of each workspace, by its name."""
    workspaces = {
        name: _number(f"{path}: workspaces.{name}", value)
        for name, value in _table(path, document, "workspaces").items()
    }
    if not workspaces or len(set(workspaces.values())) < len(workspaces):
        raise InputRefused(
            f"{path}: [workspaces] must give each workspace a number of its own",
            'for example default = "100"',
        )
    return workspaces


def _client(place: str, name: str, value: object, *, workspaces: Mapping[str, str]) -> Client:
    """Return a client. place: the file and the key, for messages."""
    table = _only(place, value, ("id", "secret", "workspaces", "rate"))
    allowed = table.get("workspaces")
    if allowed is not None and (
        not isinstance(allowed, list) or any(workspace not in workspaces for workspace in allowed)
    ):
        raise InputRefused(
            f"{place}.workspaces must be a list of workspaces that [workspaces] names"
        )
    return Client(
        name=name,
        id=_text(place, table, "id"),
        secret=_secret(place, table),
        workspaces=None if allowed is None else tuple(allowed),
        rate=_rate(place, table),
    )


def _sender(place: str, name: str, value: object) -> FeedSender:
    """Return a feed that sends. place: the file and the key, for messages."""
    table = _only(place, value, ("key", "secret", "rate"))
    return FeedSender(
        name=name,
        key=_text(place, table, "key"),
        secret=_secret(place, table),
        rate=_rate(place, table),
    )


def _only(place: str, value: object, keys: Sequence[str]) -> Table:
    """Return a table that must have no keys but these. Raises InputRefused."""
    if not isinstance(value, Mapping):
        raise InputRefused(f"{place} must be a table")
    for name in value:
        if name not in keys:
            raise InputRefused(f"{place}: there is no key {name}", f"there are {', '.join(keys)}")
    return value


def _table(place: str, document: Table, name: str) -> Table:
    table = document.get(name, {})
    if not isinstance(table, Mapping):
        raise InputRefused(f"{place}: {name} must be a table")
    return table


def _number(place: str, value: object) -> str:
    """Return a number as it stands in an address."""
    text = str(value) if isinstance(value, int | str) and not isinstance(value, bool) else ""
    if not text or not text.isascii() or not text.replace("-", "").replace("_", "").isalnum():
        raise InputRefused(f"{place} must be a number, or letters and digits", 'for example "100"')
    return text


def _text(place: str, table: Table, name: str) -> str:
    # No colon: in HTTP Basic it ends the name before the secret.
    value = table.get(name)
    if not isinstance(value, str) or not value or not value.isascii() or ":" in value:
        raise InputRefused(f"{place}.{name} must be a text of plain characters, without a colon")
    return value


def _secret(place: str, table: Table) -> str:
    value = table.get("secret")
    if not isinstance(value, str) or not value.isascii() or len(value) < SHORTEST_SECRET:
        raise InputRefused(
            f"{place}.secret must be a text of at least {SHORTEST_SECRET} plain characters", HOW
        )
    return value


def _rate(place: str, table: Table) -> float | None:
    value = table.get("rate")
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1_000_000:
        raise InputRefused(f"{place}.rate must be a number of requests a second")
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

    Raises UsageError for a name or number that it cannot have, and InputRefused if the file exists.
    """
    check_named(path, "FILE")
    for option, names in (("--client", clients), ("--feed", feeds)):
        if len(set(names)) < len(names) or not all(names):
            raise UsageError(f"{option}: each needs a name of its own")
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
