"""How many tokens to propose at a time, and by whom: from what was accepted and how long it took.

Of 0 to `LONGEST` proposals those are made for which (1 + the expected number of accepted ones) for
each second is the most. Where that is none, nothing is proposed for some tokens; then a few
proposals show whether it pays by now. Knows no MLX and no ids.
"""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Sequence
from typing import Literal

from ..limits import PROPOSALS

LONGEST = PROPOSALS
GAIN = 1.03
"""What proposals must gain over none, as measured times are not exact."""
_PAUSES = (32, 256)  # tokens of the first pause and of the longest
_TRIALS = (3, 3)  # forwards that are tried at first, and proposals in each
_LIKELY = 0.6  # after a pause as many are tried as were accepted so often, or one, twice
_TIMED = 9  # latest times, of which the median counts
_PLAIN = (6, 3)  # forwards without proposals that are timed at first, and later
_OUTDATED = 256  # tokens after which these are timed again
_FADES = 0.08  # the weight of the latest proposal


Forward = Literal["plain", "wide"]
"""A forward of the model without proposals or with some."""


class TrackRecord:
    """Who proposes: what was accepted by place, and the seconds of a forward by its proposals."""

    def __init__(self) -> None:
        self.accepted: list[float] = []
        self.pause = 0
        self.trials, self.tried = _TRIALS
        self._seen: list[int] = []
        self._wait = 0
        self._seconds: dict[int, deque[float]] = {}

    def learn(self, drafted: int, accepted: int) -> None:
        """Take what came of a forward with proposals: a place counts if those before it did."""
        for place in range(min(accepted + 1, drafted)):
            if place == len(self.accepted):
                self.accepted.append(0.5)
                self._seen.append(0)
            weight = max(_FADES, 1 / (self._seen[place] + 2))
            self.accepted[place] += weight * ((place < accepted) - self.accepted[place])
            self._seen[place] += 1
        self.trials = max(0, self.trials - 1)

    def time(self, drafted: int, seconds: float) -> None:
        """Take how long a forward with so many proposals took."""
        self._seconds.setdefault(drafted, deque(maxlen=_TIMED)).append(seconds)

    def best(self, plain: float, most: int) -> int:
        """The number of proposals that gives most tokens a second; 0 if none gains enough.

        Args:
            plain: seconds of a forward without proposals.
            most: the most proposals.
        """
        gains = {0: GAIN}
        tokens, chance = 1.0, 1.0
        for count in range(1, most + 1):
            chance *= self._chance(count - 1)
            tokens += chance
            gains[count] = tokens * plain / self._expected(count, plain)
        return max(gains, key=gains.__getitem__)

    def rest(self) -> None:
        """Propose nothing for some tokens, each time for twice as many, and then probe."""
        shortest, longest = _PAUSES
        self._wait = min(longest, max(shortest, 2 * self._wait))
        self.pause = self._wait
        unlikely = (n for n, share in enumerate(self.accepted) if share < _LIKELY)
        self.tried = max(1, next(unlikely, len(self.accepted)))
        self.trials = 2 if self.tried == 1 else 1

    def work(self) -> None:
        """It pays again: the next pause is a short one."""
        self._wait = 0

    def wake(self) -> None:
        """After a pause: what is seen now counts more than what was seen before it."""
        self._seen = [0] * len(self._seen)

    def _chance(self, place: int) -> float:
        if place < len(self.accepted):
            return self.accepted[place]
        return self.accepted[-1] if self.accepted else 0.5

    def _expected(self, count: int, plain: float) -> float:
        """Seconds of a forward with so many proposals, on the line between those that were."""
        known = {0: plain} | {n: statistics.median(t) for n, t in sorted(self._seconds.items())}
        if count in known:
            return known[count]
        below = max(n for n in known if n < count)
        above = min((n for n in known if n > count), default=None)
        if above is not None:
            slope = (known[above] - known[below]) / (above - below)
        else:  # waiting for any takes about as long as one more
            slope = (known[below] - plain) / (below + 1)
        return known[below] + max(0.0, slope) * (count - below)


class Policy:
    """Chooses for all conversations with a model; times are those of this machine.

    Args:
        names: who may propose, the first that has something first.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.sources = {name: TrackRecord() for name in names}
        self._plain: deque[float] = deque(maxlen=_TIMED)
        self._untimed = 0  # tokens since forwards without proposals were timed
        self._to_time = 0

    def choose(self, offered: Sequence[str], most: int) -> tuple[str, int] | None:
        """Who proposes next, of those who have something, and how much; None for nobody."""
        if self._to_time:
            return None
        for name in self.sources:
            if name in offered and (count := self._count(self.sources[name], min(most, LONGEST))):
                return name, count
        return None

    def observe(
        self, name: str | None, drafted: int, accepted: int, seconds: float, before: Forward | None
    ) -> None:
        """Take what a forward gave: `accepted` + 1 tokens.

        Args:
            name: who proposed; None for nobody.
            drafted: tokens that were proposed.
            accepted: of these.
            seconds: since the forward before was known.
            before: what that one was; None at the start of a reply, which is not timed.
        """
        given = accepted + 1
        for source in self.sources.values():
            if source.pause:
                source.pause = max(0, source.pause - given)
                if not source.pause:
                    source.wake()
        self._untimed += given
        if name is not None and drafted:
            self.sources[name].learn(drafted, accepted)
        # Without proposals a token is computed while the one before is handled: the first forward
        # after such ones waits for one more, and the first of them for none.
        if before == "plain" and not drafted:
            self._plain.append(seconds)
            self._untimed = 0
        elif before is not None and drafted and name is not None:
            plain = 0.0 if before == "wide" else self._typical
            if plain is not None:
                self.sources[name].time(drafted, max(seconds - plain, 1e-9))
        if not drafted:
            self._to_time = max(0, self._to_time - 1)

    @property
    def _typical(self) -> float | None:
        return statistics.median(self._plain) if self._plain else None

    def _count(self, source: TrackRecord, most: int) -> int:
        if source.pause or most < 1:
            return 0
        if source.trials:
            return min(source.tried, most)
        plain = self._typical
        if plain is None or self._untimed > _OUTDATED:
            self._to_time = _PLAIN[plain is not None]
            return 0
        count = source.best(plain, most)
        if count:
            source.work()
        elif most == LONGEST:  # else the end of the reply leaves too little room to judge
            source.rest()
        return count
