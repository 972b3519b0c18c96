"""Asking a UID2 operator: its address, the credentials, the patience, and how its answer is read.

uid2-client makes and opens the encrypted envelope; tenacity asks again. The client's own requests
have no time-out, read an answer of any length and would send the key along with a redirect, so
exchange.py speaks HTTP.
"""

from __future__ import annotations

import base64
import calendar
import datetime
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from profilectl.codes import InputRefused, Unfinished
from profilectl.files.secrets import KeyAndSecret, credentials_of
from profilectl.outputs.exchange import Bounds, HttpRequest, NoReply, Reply, WaitingExchanges
from profilectl.outputs.uid2.rule import ANSWERS, MOST_ITEMS
from profilectl.rules.text.address import checked
from profilectl.rules.text.retry_after import MAX_WAIT_S, asked_pause_s, come_back, least_pause_s

if TYPE_CHECKING:
    import tenacity

OPERATOR = "https://prod.uidapi.com"
PATH = "/v3/identity/map"
LONGEST_ANSWER = 16 * 1024 * 1024
"""How many bytes of an answer are read: the one to 5,000 hashes has 1 MB."""
KEY, SECRET = "UID2_API_KEY", "UID2_CLIENT_SECRET"
SECRET_BYTES = 32

_CLOCK_OR_SECRET = (
    "the clock of this machine may be wrong, or the secret may not be that of the key"
)
_KEY_OF_OPERATOR = f"check {KEY}, and that it is a key of this operator"

# fmt: off
REFUSALS: dict[int, tuple[str, str]] = {
    # status  what is wrong                           what to do
    400: ("does not take the request",                _CLOCK_OR_SECRET),
    401: ("does not know the API key",                _KEY_OF_OPERATOR),
    403: ("does not let this API key map identities", f"check {KEY}, and what it may do"),
    404: ("has no identity map",                      "check --operator"),
}
AGAIN = (408, 425, 429, 500, 502, 503, 504)
"""After these the same request is sent again."""
# fmt: on


@dataclass(frozen=True, slots=True)
class Patience:
    """How patiently an operator is asked."""

    attempts: int = 6
    """How often a request is made."""
    timeout_s: float = 60
    """How long each may take, from connecting to the last byte."""
    pause_s: float = 1
    """The pause after the first."""
    longest_pause_s: float = 60
    """The longest pause of our own."""
    max_wait_s: float = MAX_WAIT_S
    """The longest pause that the operator may ask for."""
    longest_answer: int = LONGEST_ANSWER
    """How many bytes of an answer are read."""


@dataclass(frozen=True, slots=True)
class HashAnswer:
    """What the operator says of a hash."""

    hash: str
    """The hash."""
    status: str
    """Of rule.ANSWERS, or "unknown"."""
    uid: str | None = None
    """The raw UID, where there is one."""
    refresh_from_s: int | None = None
    """When the UID may become another one, where there is one."""


def operator_credentials(path: Path | None, environment: Mapping[str, str]) -> KeyAndSecret:
    """Return the API key and the client secret (files/secrets.py).

    Raises InputRefused where the secret is none.
    """
    credentials = credentials_of(path, environment, key=KEY, secret=SECRET)
    try:
        size = len(base64.b64decode(credentials.secret, validate=True))
    except ValueError:
        size = 0
    if size != SECRET_BYTES:
        raise InputRefused(
            f"the client secret of {path or 'the environment'} is none",
            f"it is the base64 of {SECRET_BYTES} bytes, as the operator gave it",
        )
    return credentials


def address_of(operator: str) -> str:
    """Return the address of an operator. Raises what address.checked does."""
    return checked(operator, "--operator", example=OPERATOR, secrets=f"set {KEY} and {SECRET}")


class _AskAgain(Exception):
    """The same is to be asked again. pause_s: what Retry-After says."""

    def __init__(self, why: str, pause_s: int | None = None) -> None:
        super().__init__(why)
        self.why, self.pause_s = why, pause_s


class Uid2Operator:
    """An operator that can be asked.

    said: takes why something is asked again, once for each reason.
    """

    def __init__(
        self,
        address: str,
        credentials: KeyAndSecret,
        patience: Patience | None = None,
        said: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.address, self.requests = address, 0
        self._credentials, self._patience = credentials, patience or Patience()
        self._notify, self._reasons = said, set[str]()
        # The certificates of the machine, and a proxy where the environment names one.
        self._exchanges = WaitingExchanges(
            address, 1, proxied=True, certificates=ssl.create_default_context
        )

    def close(self) -> None:
        """Close the connections."""
        self._exchanges.close()

    def ask(self, emails: Sequence[str], phones: Sequence[str]) -> list[HashAnswer]:
        """Return what the operator says of some hashes, at most MOST_ITEMS, in order.

        Raises Unfinished where it cannot be had, InputRefused where it refuses.
        """
        import tenacity

        assert len(emails) + len(phones) <= MOST_ITEMS
        retrying = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(self._patience.attempts),
            wait=self._next_pause_s,
            retry=tenacity.retry_if_exception_type(_AskAgain),
            before_sleep=self._tell,
            reraise=True,
        )
        try:
            return retrying(self._once, emails, phones)
        except _AskAgain as error:
            raise Unfinished(
                f"{self.address} {error.why}, {self._patience.attempts} times",
                "run it again later: who was answered is not asked again",
            ) from None

    def _next_pause_s(self, state: tenacity.RetryCallState) -> float:
        """Return the pause before the next try: what the operator asks for, or a growing one."""
        import tenacity

        error = state.outcome.exception() if state.outcome else None
        asked_s = error.pause_s if isinstance(error, _AskAgain) else None
        pause_s, longest_s = self._patience.pause_s, self._patience.longest_pause_s
        if asked_s is None:
            return tenacity.wait_random_exponential(multiplier=pause_s, max=longest_s)(state)
        return max(asked_s, least_pause_s(state.attempt_number, pause_s, longest_s))

    def _tell(self, state: tenacity.RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        if isinstance(error, _AskAgain) and error.why not in self._reasons:
            self._reasons.add(error.why)
            self._notify(f"{self.address} {error.why}: asking again")

    def _once(self, emails: Sequence[str], phones: Sequence[str]) -> list[HashAnswer]:
        from uid2_client import IdentityMapV3Input

        self.requests += 1
        question = IdentityMapV3Input.from_hashed_emails(list(emails)).with_hashed_phones(
            list(phones)
        )
        try:
            response = self._answer(question)
        except (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError):
            # The message of the error may quote identities, so it is not passed on.
            raise InputRefused(
                f"{self.address} answers with something that is no answer to the question",
                f"check --operator and {SECRET}, which opens the answer",
            ) from None
        return self._read([*emails, *phones], response)

    def _answer(self, question: Any) -> Any:
        """Send a question and open the answer; both are of uid2-client, which has no types.

        Raises _AskAgain, InputRefused, Unfinished; and what the client raises for an answer that is
        none.
        """
        from uid2_client import IdentityMapV3Response
        from uid2_client.request_response_util import create_envelope, parse_response
        from uid2_client.uid2_response import Uid2Response

        secret = base64.b64decode(self._credentials.secret)
        envelope = create_envelope(
            secret,
            datetime.datetime.now(datetime.UTC),
            question.get_identity_map_input_as_json_string().encode(),
        )
        body = self._body_of_reply(envelope.binary_envelope)
        return IdentityMapV3Response(
            parse_response(secret, Uid2Response.from_bytes(body), envelope.nonce), question
        )

    def _body_of_reply(self, envelope: bytes) -> bytes:
        """Send an envelope and return the body of the answer.

        Raises _AskAgain, InputRefused, Unfinished.
        """
        from uid2_client.request_response_util import BINARY, auth_headers

        request = HttpRequest(
            f"{self.address}{PATH}",
            envelope,
            headers={
                **auth_headers(self._credentials.key),
                "Content-Type": BINARY,
                "Accept-Encoding": "identity",
            },
            bounds=Bounds(self._patience.timeout_s, self._patience.longest_answer),
        )
        try:
            reply = self._exchanges.post(request)
        except NoReply as error:
            raise _AskAgain(_plainly(error)) from None
        if not 200 <= reply.status < 300:
            raise self._refusal(reply)
        if reply.cut == "too long":
            raise InputRefused(
                f"{self.address} answers with more than {self._patience.longest_answer:,} bytes",
                "check --operator",
            )
        if reply.cut:
            raise _AskAgain("does not answer in time" if reply.cut == "timeout" else "broke off")
        return reply.body

    def _refusal(self, reply: Reply) -> Exception:
        if reply.status in AGAIN:
            after_s = asked_pause_s(reply.headers.get("retry-after"), reply.headers.get("date"))
            trouble = (
                "is busy (429)" if reply.status == 429 else f"is out of order ({reply.status})"
            )
            if after_s is not None and after_s > self._patience.max_wait_s:
                at_ms, words = come_back(after_s)
                return Unfinished(
                    f"{self.address} {trouble} and asks to be left alone until {words}",
                    "run it again then: who was answered is not asked again",
                    at_ms,
                )
            return _AskAgain(trouble, after_s)
        why, hint = REFUSALS.get(reply.status, ("does not take the request", "check --operator"))
        return InputRefused(f"{self.address} {why} (HTTP {reply.status})", hint)

    def _read(self, hashes: Sequence[str], response: Any) -> list[HashAnswer]:
        statuses = {answer.word: status for status, answer in ANSWERS.items() if answer.word}
        mapped, unmapped = response.mapped_identities, response.unmapped_identities
        answers = []
        for hash_ in hashes:
            if hash_ in mapped:
                answers.append(self._mapped(hash_, mapped[hash_]))
            elif hash_ in unmapped:
                status = statuses.get(unmapped[hash_].raw_reason, "unknown")
                answers.append(HashAnswer(hash_, status))
            else:
                raise InputRefused(
                    f"{self.address} does not answer all it was asked", "check --operator"
                )
        return answers

    def _mapped(self, hash_: str, identity: Any) -> HashAnswer:
        """Return the answer for a hash that has a UID. Raises InputRefused for an unusable UID."""
        uid = identity.current_raw_uid
        if not isinstance(uid, str) or not uid:
            raise InputRefused(
                f"{self.address} answers with a UID that is none", "check --operator"
            )
        refresh_from_s = calendar.timegm(identity.refresh_from.utctimetuple())
        return HashAnswer(hash_, "mapped", uid=uid, refresh_from_s=refresh_from_s)


def _plainly(error: NoReply) -> str:
    """Return what went wrong on the way, for a person."""
    if error.distrusted:
        return "has a certificate that cannot be trusted"
    if error.trouble == "timeout":
        return "does not answer in time"
    return (
        f"cannot be reached ({error.detail[:100] or 'refused'})"
        if error.trouble == "no connection"
        else "broke off"
    )
