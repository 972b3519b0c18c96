"""How far a command is, and how long it still takes, from measured weights of its steps.

A command's work is a list of marks in the order in which they come. A mark has the seconds that it
took where it was measured; only their proportions count. What the marks behind took on this machine
says how long those ahead take. Marks that do not come are passed over.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

EARLIEST_S = 0.8
"""How many seconds of work must lie behind before they say anything about those ahead."""
RECENT = 0.35
"""The share of the whole work over which what was measured fades: others use the machine too."""
CREEPS = 0.85
"""The share of its expected time from which a part that is not over yet goes ever slower."""
DIGITS = re.compile(r"\d+")


class Share(NamedTuple):
    """A stretch of a mark: two shares of it."""

    begin: float
    """Where it begins, from 0 to 1."""
    end: float
    """Where it ends."""
    since: float = 0
    """From which share of its own a statement is in the stretch: DuckDB takes what it only reads
    before a sort for a half.
    """


WHOLE = Share(0, 1)


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that a command does: a step, or a statement whose result has a name."""

    name: str
    """The name of the step or of the result, with # for its number."""
    weight: float
    """How many seconds it takes, compared with the other marks."""
    title: str = ""
    """What a person reads from here on; "": what they read before."""
    shares: Mapping[str, Share] = field(default_factory=dict)
    """By the name of a statement ("": any other), the share of the mark that it is. DuckDB says how
    far such a statement is.
    """
    foretold: bool = True
    """Whether its weight says how long it takes. If not, there is no time left while it lasts, and
    what it takes says nothing about the marks ahead.
    """
    timed: bool = False
    """Whether its weight is the seconds that the same work took before, on this machine."""


class TimeLeft:
    """How far a command is. Times are seconds of one clock, given with each call."""

    def __init__(self, marks: Sequence[Mark], at_s: float) -> None:
        """Begin before the earliest mark."""
        self.marks = list(marks)
        self.place = -1
        self.mark_began = self.span_began = self.share_at = at_s
        self.span = WHOLE
        self.share = 0.0
        self.spent_s = self.spent_weight = 0.0

    def enter(self, name: str, at_s: float) -> bool:
        """Take note that a mark begins; return whether it is one, and ahead."""
        name = DIGITS.sub("#", name)
        for place in range(self.place + 1, len(self.marks)):
            if self.marks[place].name == name:
                self._leave(at_s)
                self.place, self.mark_began = place, at_s
                self.share, self.share_at = 0.0, at_s
                self.span, self.span_began = WHOLE, at_s
                return True
        return False

    def weigh(self, name: str, weight: float) -> None:
        """Give a mark the weight that it has in this store."""
        self.marks = [
            replace(mark, weight=weight) if mark.name == name else mark for mark in self.marks
        ]

    def _leave(self, at_s: float) -> None:
        """Take note of what the mark took; what lies further behind counts less."""
        if self.place < 0 or not self.marks[self.place].foretold:
            return
        weight = self.marks[self.place].weight
        fades = math.exp(-weight / (RECENT * self._whole))
        self.spent_s = self.spent_s * fades + at_s - self.mark_began
        self.spent_weight = self.spent_weight * fades + weight

    @property
    def _whole(self) -> float:
        return sum(mark.weight for mark in self.marks) or 1.0

    def begin_span(self, span: Share, at_s: float) -> None:
        """Take note that a stretch of the mark begins."""
        self.span, self.span_began = span, at_s
        self.reach(span.begin, at_s)

    def reach(self, share: float, at_s: float) -> None:
        """Take note that a share of the mark is through."""
        if share > self.share:
            self.share, self.share_at = min(share, 1.0), at_s

    def reach_by_statement(self, name: str, share: float, at_s: float) -> None:
        """Take note of how far a statement is, which is a share of the stretch."""
        if self.place < 0:
            return
        shares = self.marks[self.place].shares
        of_stretch = shares.get(DIGITS.sub("#", name), shares.get(""))
        if of_stretch is not None:
            ahead = max(0.0, share - of_stretch.since) / (1 - of_stretch.since)
            inside = of_stretch.begin + ahead * (of_stretch.end - of_stretch.begin)
            self.reach(self.span.begin + inside * (self.span.end - self.span.begin), at_s)

    def _pace(self, at_s: float, share: float = 0.0) -> float | None:
        """Return the seconds that a weight of 1 takes; None: too little is behind to say.

        share: how much of the mark is through.
        """
        if self.marks[self.place].timed:
            return 1.0
        spent, weight = self.spent_s, self.spent_weight
        if share:
            spent += at_s - self.mark_began
            weight += self.marks[self.place].weight * share
        return spent / weight if spent >= EARLIEST_S and weight else None

    def through(self, at_s: float) -> float:
        """Return the share of the mark that is through, as far as it is known or expected."""
        if self.place < 0:
            return 0.0
        pace = self._pace(at_s, self.share)
        if self.span.begin > 0:  # the stretches before say how long all of them take
            whole_s = (self.span_began - self.mark_began) / self.span.begin
        else:
            whole_s = pace * self.marks[self.place].weight if pace else 0.0
        room = self.span.end - self.share
        if whole_s <= 0 or room <= 0:
            return self.share
        passed = (at_s - self.share_at) / whole_s / room
        if passed > CREEPS:
            passed = 1 - (1 - CREEPS) * math.exp(-(passed - CREEPS) / (1 - CREEPS))
        return self.share + passed * room

    def through_step(self, at_s: float) -> float:
        """Return the share of the step that is through: the marks from its title to the next."""
        if self.place < 0:
            return 0.0
        begin = max((at for at in range(self.place + 1) if self.marks[at].title), default=0)
        later = range(self.place + 1, len(self.marks))
        end = next((at for at in later if self.marks[at].title), len(self.marks))
        weights = [mark.weight for mark in self.marks[begin:end]]
        behind = sum(weights[: self.place - begin])
        own = self.through(at_s) * self.marks[self.place].weight
        return min(1.0, (behind + own) / (sum(weights) or 1.0))

    def left_s(self, at_s: float) -> float | None:
        """Return how many seconds the command still takes; None: nobody can say yet."""
        if self.place < 0 or not self.marks[self.place].foretold:
            return None
        share, spent = self.through(at_s), at_s - self.mark_began
        pace = self._pace(at_s, share)
        if pace is None:
            return None
        own = pace * self.marks[self.place].weight * (1 - share)
        if self.share > 0.02:  # it is measured: what it took so far says more than its weight
            measured = spent / share * (1 - share)
            trust = min(1.0, 3 * self.share)
            own = trust * measured + (1 - trust) * own
        ahead = sum(mark.weight for mark in self.marks[self.place + 1 :])
        return own + pace * ahead
