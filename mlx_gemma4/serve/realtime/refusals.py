"""Errors in a client's events, and the event that reports them. Pure data."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ...errors import Gemma4Error
from ..errors import ApiError

Event = dict[str, Any]
"""An event of the Realtime API, as JSON."""


def refused(code: str, cause: str, remedy: str, param: str = "") -> Gemma4Error:
    """Make an error about a client's event.

    Args:
        code: the API's own, where it has one for this.
        cause: why.
        remedy: what to send instead.
        param: the field that is wrong, as a path.
    """
    return Gemma4Error(code, "The event was refused", cause, remedy, {"param": param})


@contextmanager
def as_refusal() -> Iterator[None]:
    """Raise an error of a field that other routes have, too, as one about the event."""
    try:
        yield
    except ApiError as error:
        raise refused(error.code, error.message, "", error.param or "") from None


def error_event(error: Gemma4Error, client_event: str | None) -> Event:
    """Make the event that reports an error; the remedy is part of its message.

    Args:
        error: what went wrong.
        client_event: the id of the event that it answers, where the client chose one.
    """
    return {
        "type": "error",
        "error": {
            "type": "server_error" if error.code == "internal_error" else "invalid_request_error",
            "code": error.code,
            "message": f"{error.cause} {error.remedy}".strip(),
            "param": error.facts.get("param") or None,
            "event_id": client_event,
        },
    }
