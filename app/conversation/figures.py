"""Numbers of an answer, measured here: for one that ends before the worker reports them."""

import time


class ReplyFigures:
    """Counts the pieces of the answer that is being written."""

    def __init__(self) -> None:
        self._turn = self._count = 0
        self._asked = self._first = self._last = 0.0

    def start(self, turn: int) -> None:
        self._turn, self._count, self._asked = turn, 0, time.perf_counter()

    def add(self, turn: int, at: float) -> None:
        """Count a piece that came at a time of `time.perf_counter`."""
        if turn == self._turn:
            self._first = self._first if self._count else at
            self._count, self._last = self._count + 1, at

    def stats(self, turn: int) -> dict[str, float]:
        """Return what is known of an answer, named as in `events.Done`; empty for nothing."""
        if turn != self._turn or not self._count:
            return {}
        stats = {
            "reply_tokens": float(self._count),
            "seconds_to_first_token": max(0.0, self._first - self._asked),
        }
        if self._count > 1 and self._last > self._first:
            stats["tokens_per_second"] = (self._count - 1) / (self._last - self._first)
        return stats
