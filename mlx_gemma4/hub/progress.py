"""How far a long piece of work on bytes is, and how fast it goes."""

import threading
import time
from collections import deque
from dataclasses import dataclass

_WINDOW = 5.0  # seconds over which the rate is taken


def minutes_for(count: int) -> int:
    """About how many minutes so many bytes take at 100 Mbit/s, where the rate is not known yet."""
    return max(1, round(count / 12.5e6 / 60))


@dataclass(frozen=True)
class Progress:
    """How far a transfer is: bytes done and in all, and bytes a second over the last five."""

    done: int
    total: int
    rate: float

    @property
    def seconds_left(self) -> float | None:
        """At the present rate; None while nothing comes."""
        return (self.total - self.done) / self.rate if self.rate > 0 else None

    @property
    def text(self) -> str:
        """The same for people: "1.20 of 6.80 GB, 85 MB/s, 1:06 left"."""
        left = self.seconds_left
        time_left = "" if left is None else f", {int(left) // 60}:{int(left) % 60:02} left"
        sizes = f"{self.done / 1e9:.2f} of {self.total / 1e9:.2f} GB"
        return f"{sizes}, {self.rate / 1e6:.0f} MB/s{time_left}"


class Speed:
    """Counts bytes from several threads, after `done` former ones, and measures the rate."""

    def __init__(self, total: int, done: int) -> None:
        self._total = total
        self._done = done
        self._lock = threading.Lock()
        self._seen = deque([(time.monotonic(), done)])

    def add(self, count: int) -> None:
        """Count bytes that came (or, below zero, that were thrown away)."""
        with self._lock:
            self._done += count

    def progress(self) -> Progress:
        now, done = time.monotonic(), self._done
        while len(self._seen) > 1 and now - self._seen[1][0] > _WINDOW:
            self._seen.popleft()
        then, before = self._seen[0]
        self._seen.append((now, done))
        return Progress(done, self._total, max(0.0, (done - before) / max(now - then, 1e-3)))
