"""The server's metrics in Prometheus's format: https://prometheus.io/docs/instrumenting."""

from collections import Counter
from collections.abc import Mapping

BUCKETS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Upper bounds of the histogram of the time to the first token, in seconds."""
HELP = {
    "requests_total": "Requests that were answered, by status.",
    "prompt_tokens_total": "Tokens of prompts.",
    "prompt_tokens_read_total": "Tokens of prompts that no cache held.",
    "prompt_tokens_reused_total": "Tokens of prompts that a cache held.",
    "tokens_drawn_total": "Tokens of replies.",
    "tokens_drafted_total": "Tokens that were proposed for replies.",
    "tokens_accepted_total": "Tokens that were proposed and drawn.",
    "worker_restarts_total": "How often the worker's process was started again.",
    "requests_waiting": "Requests that wait for a slot.",
    "slots_busy": "Slots in use.",
    "slots": "Slots.",
    "model_loaded": "1 if the model is loaded.",
}


class Metrics:
    """Counters; all methods are called in the event loop's thread."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._statuses: Counter[int] = Counter()
        self._first: Counter[float] = Counter()
        self._seconds, self._replies = 0.0, 0

    def answered(self, status: int) -> None:
        self._statuses[status] += 1

    def restarted(self) -> None:
        """Count a start of the worker after a crash."""
        self._counts["worker_restarts_total"] += 1

    def replied(self, stats: Mapping[str, float], seconds: float | None) -> None:
        """Count a reply.

        Args:
            stats: of `events.Done`.
            seconds: from the request to its first token; None where none came.
        """
        total, new = stats.get("prompt_tokens", 0), stats.get("new_prompt_tokens", 0)
        self._counts["prompt_tokens_total"] += int(total)
        self._counts["prompt_tokens_read_total"] += int(new)
        self._counts["prompt_tokens_reused_total"] += int(total - new)
        self._counts["tokens_drawn_total"] += int(stats.get("reply_tokens", 0))
        for name in ("drafted", "accepted"):
            self._counts[f"tokens_{name}_total"] += int(stats.get(name, 0))
        if seconds is not None:
            self._seconds += seconds
            self._replies += 1
            for bucket in BUCKETS:
                self._first[bucket] += seconds <= bucket

    def text(self, gauges: Mapping[str, int]) -> str:
        """Return all metrics; `gauges` are the current values of those that are not counted."""
        lines = []
        for name, about in HELP.items():
            kind = "counter" if name.endswith("_total") else "gauge"
            lines += [f"# HELP gemma4_{name} {about}", f"# TYPE gemma4_{name} {kind}"]
            if name == "requests_total":
                counts = sorted(self._statuses.items())
                lines += [f'gemma4_{name}{{status="{status}"}} {n}' for status, n in counts]
            else:
                lines.append(f"gemma4_{name} {gauges.get(name, self._counts[name])}")
        name = "gemma4_seconds_to_first_token"
        lines += [
            f"# HELP {name} Seconds from a request to the first token of its reply.",
            f"# TYPE {name} histogram",
            *(f'{name}_bucket{{le="{bucket}"}} {self._first[bucket]}' for bucket in BUCKETS),
            f'{name}_bucket{{le="+Inf"}} {self._replies}',
            f"{name}_sum {self._seconds:.6f}",
            f"{name}_count {self._replies}",
        ]
        return "\n".join(lines) + "\n"
