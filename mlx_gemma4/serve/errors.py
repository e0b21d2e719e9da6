"""Errors as a client reads them: a status and {"error": {message, type, param, code}}."""

from collections.abc import Mapping
from typing import Any

from ..errors import Gemma4Error

STATUS: Mapping[str, int] = {
    "server_busy": 429,
    "worker_busy": 429,
    "slots_full": 429,
    "model_loading": 503,
    "model_not_loaded": 503,
    "worker_closed": 503,
    "worker_not_running": 503,
    "worker_crashed": 502,
    "host_lost": 502,
    "internal_error": 500,
    "conversation_not_open": 500,
    "disk_full": 500,
    "folder_unwritable": 500,
}
"""The status of each error that is not the client's: all others are 400."""
TYPES: Mapping[int, str] = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}
OF_MESSAGES = ("context_full", "nothing_to_answer", "tool_call_unknown", "tool_result_missing")
"""Errors about the conversation that was sent: their `param` is "messages" (`error_at`)."""
RETRY_AFTER = 5
"""Seconds after which a client may try again."""


class ApiError(Exception):
    """An error with its HTTP status.

    Args:
        status: the answer's, 400 to 599.
        message: what went wrong and what to do, in one or two sentences.
        code: which error it is, for programs.
        param: the field of the request that it is about.
    """

    def __init__(
        self, status: int, message: str, code: str = "invalid_request", param: str | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.param = param

    @property
    def type(self) -> str:
        """OpenAI's name for its kind."""
        other = "server_error" if self.status >= 500 else "invalid_request_error"
        return TYPES.get(self.status, other)

    @property
    def headers(self) -> dict[str, str]:
        if self.status in (408, 413):  # the rest of the body is not read
            return {"connection": "close"}
        return {"retry-after": str(RETRY_AFTER)} if self.status in (429, 503) else {}

    @property
    def body(self) -> dict[str, Any]:
        """The JSON in OpenAI's format."""
        error = {"message": self.message, "type": self.type, "param": self.param, "code": self.code}
        return {"error": error}


def of(error: Exception) -> ApiError:
    """Turn any error into one for a client."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, Gemma4Error):
        message, facts = f"{error.title}. {error.cause} {error.remedy}", error.facts
        if error.code == "context_full" and "context" in facts:
            # the words of Anthropic and OpenAI: by these, agents know that they must shorten it
            message = f"The prompt is too long: {facts['tokens']} tokens, and this model's maximum "
            message += f"context length is {facts['context']} tokens. {error.remedy}"
        code = "context_length_exceeded" if error.code == "context_full" else error.code
        param = "messages" if error.code in OF_MESSAGES else None
        return ApiError(STATUS.get(error.code, 400), message, code, param)
    return ApiError(500, "The server has a defect; its log shows it.", "internal_error")
