"""Log probabilities of an answer's tokens, in OpenAI's format."""

from typing import Any

from ..events import Scores

MOST = 20
"""The most alternatives for each token."""
_LEAST = -9999.0  # JSON has no infinity


def entry(scores: Scores) -> dict[str, Any]:
    """Return a token of the answer, with the likeliest ones at its place."""
    return {**_token(*scores.drawn), "top_logprobs": [_token(*one) for one in scores.likeliest]}


def _token(content: bytes, log: float) -> dict[str, Any]:
    text = content.decode(errors="replace")
    return {"token": text, "logprob": max(log, _LEAST), "bytes": [*content]}
