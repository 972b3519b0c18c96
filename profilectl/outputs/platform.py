"""The platform: its answers, what is done about each, and its addresses.

Sources: domain.md 5.4.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from profilectl.rules.text.address import checked


class Act(enum.Enum):
    """What is done after an answer."""

    ACCEPTED = "accepted"
    """The batches are the platform's now."""
    SINGLE_OUT = "single out"
    """The request is not sent again as it was: it is halved until the bad batch is alone, which is
    then refused.
    """
    AGAIN = "again"
    """The same is sent again after a pause: as long as Retry-After says, else ever longer."""
    STOP = "stop"
    """Nothing more is sent."""


@dataclass(frozen=True, slots=True)
class PlatformAnswer:
    """What a status means."""

    act: Act
    """What is done after it."""
    sentence: str
    """The answer in words."""
    code: str = ""
    """The code of a batch that is refused with it."""
    hint: str = ""
    """What the person can do."""


_CREDENTIALS = (
    "give the key and the secret of a platform or custom feed input: PROFILECTL_PUSH_KEY and"
    " PROFILECTL_PUSH_SECRET, or --credentials FILE"
)
_OWN_ADDRESS = "name its own address with --host; a redirect is not followed"
_IS_IT_THE_API = "is --host the address of the Events API? /v2/bulkevents is added to it"

# fmt: off
ANSWERS: dict[int, PlatformAnswer] = {
    # status     act             in words, the code of a batch that is refused, what to do
    200: PlatformAnswer(Act.ACCEPTED,   "accepted"),
    202: PlatformAnswer(Act.ACCEPTED,   "accepted"),
    400: PlatformAnswer(Act.SINGLE_OUT, "malformed, or a field is missing", "BATCH_REFUSED"),
    401: PlatformAnswer(Act.STOP,       "the platform wants credentials", hint=_CREDENTIALS),
    403: PlatformAnswer(Act.STOP,       "the platform does not take these credentials",
                 hint=_CREDENTIALS),
    408: PlatformAnswer(Act.AGAIN,      "the platform did not wait for the request"),
    413: PlatformAnswer(Act.SINGLE_OUT, "larger than the platform takes", "BATCH_TOO_LARGE"),
    429: PlatformAnswer(Act.AGAIN,      "too many requests"),
}
CLASSES: dict[int, PlatformAnswer] = {
    # the answer to a status that has no line above, by its first digit
    1:   PlatformAnswer(Act.AGAIN,      "no answer"),
    2:   PlatformAnswer(Act.ACCEPTED,   "accepted"),
    3:   PlatformAnswer(Act.STOP,       "the platform is somewhere else", hint=_OWN_ADDRESS),
    4:   PlatformAnswer(Act.STOP,       "nothing there takes batches", hint=_IS_IT_THE_API),
    5:   PlatformAnswer(Act.AGAIN,      "the platform is not available"),
}
HOSTS = {
    "us1": "https://s2s.us1.mparticle.com",
    "us2": "https://s2s.us2.mparticle.com",
    "eu1": "https://s2s.eu1.mparticle.com",
    "au1": "https://s2s.au1.mparticle.com",
}
# fmt: on
PATH = "/v2/bulkevents"
HISTORICAL = "/historical"
"""The part that is added to the address for historical events, which change no audience and go to
no output.
"""
HISTORICAL_AFTER_H = 24
"""Events older than this go there; the ordinary endpoint is for what happens now."""
PROCESSED_AFTER_H = 72
"""The historical endpoint does not process a batch with a younger event (domain.md 5.4)."""
THROTTLES = ("org", "account", "app", "feed", "workspace", "acceleration")
"""What X-mp-rate-limit-exceeded may name."""
RATE = 270
"""Batches a second that an account may send by default."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 60.0
"""The pause before something is sent again doubles from the one to the other; it is drawn at random
from 0 to twice that (full jitter), so that many senders do not come back at once.
"""


def answer_of(status: int) -> PlatformAnswer:
    """Return what is done about an HTTP status."""
    return ANSWERS.get(status) or CLASSES.get(status // 100) or CLASSES[4]


def address_of(host: str) -> str:
    """Return the URL that batches go to.

    host: a name of HOSTS, or a URL, with or without /v2. Raises what address.checked does.
    """
    example = "https://s2s.us1.mparticle.com, or " + ", ".join(HOSTS)
    url = checked(
        HOSTS.get(host.lower(), host),
        "--host",
        example=example,
        secrets="PROFILECTL_PUSH_KEY and PROFILECTL_PUSH_SECRET, or --credentials FILE",
    )
    return url.removesuffix("/v2") + PATH
