"""How many tokens to propose at a time, and by whom: from what was accepted and how long it took.

It makes the number of proposals, 0 to `LONGEST`, for which tokens a second are the most: 1 + the
expected number of accepted ones, by the expected seconds. Where that number is 0, nothing is
proposed for some tokens; then a few proposals show whether it pays by now. Estimates may be wrong,
so there is an account too: who lost more time than was gained before makes no proposals until a
small share of the tokens that followed has paid for it. Knows nothing of MLX or ids.
"""

import statistics
from collections import deque
from collections.abc import Sequence

from ..limits import PROPOSALS

LONGEST = PROPOSALS
GAIN = 1.05
"""What proposals must gain over none, as measured times are not exact."""
_CREDIT = 4.0  # forwards without proposals: what may be lost at first, or after as much was gained
_SHARE = 0.02  # of the tokens after a loss, which is what it costs in the long run
_PAUSES = (32, 256)  # tokens of the first pause and of the longest that is not for a loss
_TRIALS = (3, 3)  # forwards that are tried at first, and proposals in each
_LIKELY = 0.6  # after a pause as many are tried as were accepted so often, or one, twice
_TIMED = 9  # latest times, of which the median counts
_PLAIN = 4  # forwards without proposals that are timed at first, and again later
_OUTDATED = 64  # tokens, times what is gained, after which they are timed again
_SURE = 5  # fewer times than these may be the doing of another program
_OTHER = 1.5  # where all takes so many times as long, or as short, older times mean nothing
_FADES = 0.08  # the weight of the latest proposal


class TrackRecord:
    """Of one proposer: what was accepted by place, and the seconds of a forward by its proposals.

    Attributes:
        accepted: the share at each place of those before which all were.
        balance: what was gained, less what was lost, in forwards without proposals.
        pause: tokens for which it makes no proposals.
        rested: tokens of the last pause; 0 where it has paid since.
    """

    def __init__(self) -> None:
        self.accepted: list[float] = []
        self.balance = _CREDIT
        self.pause = 0.0
        self.trials, self.tried = _TRIALS
        self._seen: list[int] = []
        self.rested = 0.0
        self._seconds: dict[int, deque[float]] = {}
        self._plain = 0.0  # seconds of a forward without proposals when the last was timed

    def learn(self, drafted: int, accepted: int, made: bool = True) -> None:
        """Take what came, or would have come, of proposals: a place counts if those before did."""
        for place in range(min(accepted + 1, drafted)):
            if place == len(self.accepted):
                self.accepted.append(0.5)
                self._seen.append(0)
            weight = max(_FADES, 1 / (self._seen[place] + 2))
            self.accepted[place] += weight * ((place < accepted) - self.accepted[place])
            self._seen[place] += 1
        if made:
            self.trials = max(0, self.trials - 1)
        elif accepted == drafted >= LONGEST:  # a pause would only miss more of them
            self.pause = 0

    def time(self, drafted: int, accepted: int, seconds: float, plain: float) -> None:
        """Take how long a forward with so many proposals took, and one without."""
        if self._plain and not 1 / _OTHER < plain / self._plain < _OTHER:
            self._seconds.clear()
        self._plain = plain
        self._seconds.setdefault(drafted, deque(maxlen=_TIMED)).append(seconds)
        # by what is usual: this one's time may have gone to another program
        gained = accepted + 1 - self._expected(drafted, plain) / plain
        self.balance = min(_CREDIT, self.balance + gained)
        if self.balance < 0:
            self.rest()

    def best(self, plain: float, most: int) -> tuple[float, int]:
        """Find the number of proposals with the most tokens a second, and what it gains.

        Returns:
            How many times the tokens a second of no proposals, where a forward without any takes
            `plain` seconds; and the number, 0 if none gains enough.
        """
        gains, tokens, chance = {0: GAIN}, 1.0, 1.0
        for count in range(1, most + 1):
            known = self.accepted or [0.5]
            chance *= known[min(count, len(known)) - 1]
            tokens += chance
            gains[count] = tokens * plain / self._expected(count, plain)
        count = max(gains, key=gains.__getitem__)
        return gains[count], count

    def rest(self) -> None:
        """Propose nothing for some tokens, each time for twice as many, and then probe."""
        shortest, longest = _PAUSES
        self.rested = min(longest, max(shortest, 2 * self.rested))
        self.pause = max(self.rested, -self.balance / _SHARE)
        self.balance = max(0.0, self.balance)
        unlikely = (n for n, share in enumerate(self.accepted) if share < _LIKELY)
        self.tried = max(1, next(unlikely, len(self.accepted)))
        self.trials = 2 if self.tried == 1 else 1

    def wait(self, tokens: int) -> None:
        """So many tokens of a pause are over; what is seen after it counts more than before."""
        if self.pause and tokens >= self.pause:
            self._seen = [0] * len(self._seen)
        self.pause = max(0, self.pause - tokens)

    def _expected(self, count: int, plain: float) -> float:
        """Seconds of a forward with so many proposals, on the line between those that were."""
        times = {n: t for n, t in self._seconds.items() if len(t) >= _SURE} or self._seconds
        # where nothing else slows the machine any more, these are faster too
        scale = min(1.0, plain / self._plain) if self._plain else 1.0
        known = {0: plain}
        for n in times:  # more proposals take no less
            known[n] = scale * min(statistics.median(t) for m, t in times.items() if m >= n)
        below = max(n for n in known if n <= count)
        above = min((n for n in known if n >= count), default=None)
        if above is not None:
            slope = (known[above] - known[below]) / max(1, above - below)
        else:  # waiting for any takes about as long as one more
            slope = (known[below] - plain) / (below + 1)
        return known[below] + max(0.0, slope) * (count - below)


class Policy:
    """Chooses for all conversations with a model; times are those of this machine.

    Args:
        names: who may propose; of equally good ones the first is chosen.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.sources = {name: TrackRecord() for name in names}
        self._plain: deque[float] = deque(maxlen=_SURE)
        self._untimed = 0  # tokens since forwards without proposals were timed
        self._to_time = 0
        self._fresh = 0  # forwards without proposals that were timed since the last with some

    def choose(self, offered: Sequence[str], most: int) -> tuple[str, int] | None:
        """Who proposes next, of those who have something, and how much; None for nobody."""
        most, plain = min(most, LONGEST), self._typical
        able = [n for n, source in self.sources.items() if n in offered and not source.pause]
        if self._to_time or len(self._plain) < _PLAIN or most < 1 or not able:
            return None
        if tried := [name for name in able if self.sources[name].trials]:
            return tried[0], min(self.sources[tried[0]].tried, most)
        gains = {name: self.sources[name].best(plain, most) for name in able}
        name = max(gains, key=lambda one: gains[one])
        gain, count = gains[name]
        if count and self._untimed > _OUTDATED * gain:
            self._to_time = _PLAIN
            return None
        for one, (_, proposals) in gains.items():
            if proposals:
                self.sources[one].rested = 0
            # the end of the reply leaves too little room to judge, and old times may mislead
            elif most == LONGEST and self._fresh >= _SURE:
                self.sources[one].rest()
        return (name, count) if count else None

    def unmade(self, name: str, proposals: int, right: int) -> None:
        """Take how many of the first proposals would have been accepted, if they had been made."""
        self.sources[name].learn(proposals, right, made=False)

    def observe(self, name: str | None, drafted: int, accepted: int, seconds: float | None) -> None:
        """Take the result of a forward: `accepted` + 1 tokens.

        Args:
            name: who proposed; None for nobody.
            drafted: tokens that were proposed.
            seconds: what it took; None where that is not known.
        """
        for source in self.sources.values():
            source.wait(accepted + 1)
        self._untimed += accepted + 1
        if name is not None and drafted:
            self.sources[name].learn(drafted, accepted)
            self._fresh = 0
            if seconds is not None and self._plain:
                self.sources[name].time(drafted, accepted, seconds, self._typical)
            return
        self._to_time = max(0, self._to_time - 1)
        if seconds is not None:
            self._plain.append(seconds)
            self._untimed, self._fresh = 0, self._fresh + 1

    @property
    def _typical(self) -> float:
        return statistics.median(self._plain) if self._plain else 0.0
