"""Asking a UID2 operator: where it is, what proves who asks, how patiently, what its answer says.

uid2-client makes and opens the encrypted envelope and speaks HTTP; tenacity asks again. The client knows no time-out and
would follow a redirect with the key in its hand, so each request is made with an opener of ours.
"""

from __future__ import annotations

import base64
import calendar
import contextlib
import socket
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import IO, Any

from profilectl.address import checked, is_this_machine
from profilectl.codes import InputRefused, Unfinished
from profilectl.credentials import Credentials, credentials_of
from profilectl.retry_after import MAX_WAIT_S, asked_pause_s, come_back
from profilectl.uid2.rule import ANSWERS, MOST_ITEMS

OPERATOR = "https://prod.uidapi.com"
KEY, SECRET = "UID2_API_KEY", "UID2_CLIENT_SECRET"
SECRET_BYTES = 32

# fmt: off
REFUSALS: dict[int, tuple[str, str]] = {
    # status  what is wrong                                            what to do
    400: ("does not take the request",                               "the clock of this machine may be wrong, or the secret may not be that of the key"),
    401: ("does not know the API key",                               f"check {KEY}, and that it is a key of this operator"),
    403: ("does not let this API key map identities",                f"check {KEY}, and what it may do"),
    404: ("has no identity map",                                     "check --operator"),
}
AGAIN = (408, 425, 429, 500, 502, 503, 504)
"""After these the same request is sent again."""
# fmt: on


@dataclass(frozen=True, slots=True)
class Patience:
    """How often a request is made, how long each may take, and the pause after the first, in seconds; max_wait_s: the longest that
    the operator may ask for."""

    attempts: int = 6
    timeout_s: float = 60
    pause_s: float = 1
    longest_pause_s: float = 60
    max_wait_s: float = MAX_WAIT_S


@dataclass(frozen=True, slots=True)
class Said:
    """What the operator says of a hash. status: of rule.ANSWERS, or "unknown"; uid, refresh_from_s: where there is a UID."""

    hash: str
    status: str
    uid: str | None = None
    refresh_from_s: int | None = None


def operator_credentials(path: Path | None, environment: Mapping[str, str]) -> Credentials:
    """Return the API key and the client secret (credentials.credentials_of). Raises InputRefused where the secret is none."""
    found = credentials_of(path, environment, KEY, SECRET)
    try:
        size = len(base64.b64decode(found.secret, validate=True))
    except ValueError:
        size = 0
    if size != SECRET_BYTES:
        raise InputRefused(f"the client secret of {path or 'the environment'} is none", f"it is the base64 of {SECRET_BYTES} bytes, as the operator gave it")
    return found


def address_of(stated: str) -> str:
    """Return the address of an operator. Raises what address.checked does."""
    return checked(stated, "--operator", example=OPERATOR, secrets=f"set {KEY} and {SECRET}")


class _Again(Exception):
    """The same is to be asked again. pause_s: what Retry-After says."""

    def __init__(self, why: str, pause_s: int | None = None) -> None:
        super().__init__(why)
        self.why, self.pause_s = why, pause_s


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str) -> None:
        return None


class Operator:
    """An operator that can be asked. said: is told why something is asked again, once for each reason."""

    def __init__(self, address: str, credentials: Credentials, patience: Patience | None = None, said: Callable[[str], None] = lambda text: None) -> None:
        from uid2_client import IdentityMapV3Client

        self.address, self.requests = address, 0
        self._patience, self._said, self._told = patience or Patience(), said, set[str]()
        self._client = IdentityMapV3Client(address, credentials.key, credentials.secret)
        handlers: list[urllib.request.BaseHandler] = [_NoRedirect()]
        if is_this_machine(urllib.parse.urlsplit(address).hostname or ""):
            handlers.append(urllib.request.ProxyHandler({}))  # a proxy must not see what goes to this machine in plain text
        self._opener = urllib.request.build_opener(*handlers)

    def ask(self, emails: Sequence[str], phones: Sequence[str]) -> list[Said]:
        """Return what the operator says of some hashes, at most MOST_ITEMS, in order.

        Raises Unfinished where it cannot be had, InputRefused where it refuses.
        """
        import tenacity

        assert len(emails) + len(phones) <= MOST_ITEMS

        def pause(state: tenacity.RetryCallState) -> float:
            error = state.outcome.exception() if state.outcome else None
            stated = error.pause_s if isinstance(error, _Again) else None
            growing = tenacity.wait_random_exponential(multiplier=self._patience.pause_s, max=self._patience.longest_pause_s)(state)
            return growing if stated is None else stated

        retrying = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(self._patience.attempts), wait=pause, retry=tenacity.retry_if_exception_type(_Again),
            before_sleep=self._tell, reraise=True,
        )
        try:
            return retrying(self._once, emails, phones)
        except _Again as error:
            raise Unfinished(
                f"{self.address} {error.why}, {self._patience.attempts} times", "run it again later: who was answered is not asked again"
            ) from None

    def _tell(self, state: Any) -> None:
        error = state.outcome.exception()
        if error.why not in self._told:
            self._told.add(error.why)
            self._said(f"{self.address} {error.why}: asking again")

    def _once(self, emails: Sequence[str], phones: Sequence[str]) -> list[Said]:
        from uid2_client import IdentityMapV3Input

        self.requests += 1
        question = IdentityMapV3Input.from_hashed_emails(list(emails)).with_hashed_phones(list(phones))
        try:
            with _opened_by(self._opener, self._patience.timeout_s):
                response = self._client.generate_identity_map(question)
        except urllib.error.HTTPError as error:
            with error:
                raise self._refusal(error) from None
        except TimeoutError:
            raise _Again("does not answer in time") from None
        except urllib.error.URLError as error:
            timed = isinstance(error.reason, TimeoutError)
            raise _Again("does not answer in time" if timed else f"cannot be reached ({_plain(error.reason)})") from None
        except (HTTPException, OSError) as error:
            raise _Again(f"broke off ({type(error).__name__})") from None
        except (ValueError, LookupError, TypeError, AttributeError, OverflowError):
            # What it said, and what is wrong with it, may hold identities.
            raise InputRefused(
                f"{self.address} answers with something that is no answer to the question", f"check --operator and {SECRET}, which opens the answer"
            ) from None
        return self._read([*emails, *phones], response)

    def _refusal(self, error: urllib.error.HTTPError) -> Exception:
        if error.code in AGAIN:
            after_s = asked_pause_s(error.headers.get("Retry-After"), error.headers.get("Date"))
            trouble = "is busy (429)" if error.code == 429 else f"is out of order ({error.code})"
            if after_s is not None and after_s > self._patience.max_wait_s:
                at_ms, words = come_back(after_s)
                return Unfinished(f"{self.address} {trouble} and asks to be left alone until {words}", "run it again then: who was answered is not asked again", at_ms)
            return _Again(trouble, after_s)
        why, hint = REFUSALS.get(error.code, ("does not take the request", "check --operator"))
        return InputRefused(f"{self.address} {why} (HTTP {error.code})", hint)

    def _read(self, hashes: Sequence[str], response: Any) -> list[Said]:
        statuses = {answer.said: status for status, answer in ANSWERS.items() if answer.said}
        mapped, unmapped = response.mapped_identities, response.unmapped_identities
        found = []
        for one in hashes:
            if one in mapped:
                uid = mapped[one].current_raw_uid
                if not isinstance(uid, str) or not uid:
                    raise InputRefused(f"{self.address} answers with a UID that is none", "check --operator")
                found.append(Said(one, "mapped", uid, calendar.timegm(mapped[one].refresh_from.utctimetuple())))
            elif one in unmapped:
                found.append(Said(one, statuses.get(unmapped[one].raw_reason, "unknown")))
            else:
                raise InputRefused(f"{self.address} does not answer all it was asked", "check --operator")
        return found


def _plain(reason: object) -> str:
    return reason.strerror or type(reason).__name__ if isinstance(reason, OSError) else str(reason)[:100]


@contextlib.contextmanager
def _opened_by(opener: urllib.request.OpenerDirector, timeout_s: float) -> Iterator[None]:
    """Let urllib, as uid2-client calls it, use an opener and a time-out; a command makes no other request meanwhile."""
    waited = socket.getdefaulttimeout()
    urllib.request.install_opener(opener)
    socket.setdefaulttimeout(timeout_s)
    try:
        yield
    finally:
        socket.setdefaulttimeout(waited)
        urllib.request.install_opener(urllib.request.build_opener())
