"""Anthropic's Messages: JSON -> a request, and events -> JSON.

https://docs.anthropic.com/en/api/messages. Knows neither HTTP nor MLX.
"""

import secrets
from collections.abc import Mapping
from typing import Any

from ..events import Done, Thought, Token, ToolCall
from ..runtime.commands import AddText, AddToolResult
from . import fields
from .call_stream import CallBroken, CallDelta, CallEnded, CallStarted, CallStream
from .errors import ApiError
from .request import ReplyRequest, RequestPart, RequestTurn, Role, Schema
from .request_fields import MESSAGES

Json = dict[str, Any]

ROLES: Mapping[str, Role] = {"user": "user", "assistant": "model", "system": "system"}
REASONS = {"length": "max_tokens", "context": "max_tokens"}
CHOICES = {"auto": "auto", "any": "required", "none": "none"}
TYPES = {
    401: "authentication_error", 403: "permission_error", 404: "not_found_error",
    413: "request_too_large", 429: "rate_limit_error", 503: "overloaded_error",
}  # fmt: skip
"""Anthropic's type of an error by its status; `error_body` has that of all others."""
CHANGING = "x-anthropic-billing-header"
"""The start of a system block that differs in each request and asks for nothing: it is left out."""


def parse(body: Mapping[str, Any], answered: bool = True) -> ReplyRequest:
    """Read a request that is to be answered, or only counted.

    Raises:
        ApiError: a field is malformed, or asks for something unsupported.
    """
    MESSAGES.check(body)
    messages = fields.get(body, "messages", list)
    if not messages:
        raise fields.wrong("messages", "must be a list with at least one message")
    turns = [_turn(message, f"messages[{n}]") for n, message in enumerate(messages)]
    if system := _system(body.get("system")):
        turns.insert(0, RequestTurn("system", system))
    declared = fields.get(body, "tools", list) or []
    tools = fields.tools([_tool(tool, f"tools[{n}]") for n, tool in enumerate(declared)])
    choice = fields.get(body, "tool_choice", dict) or {}
    kind = choice.get("type") or "auto"
    wanted = choice.get("name") or "" if kind == "tool" else CHOICES.get(str(kind), "")
    thinking = (fields.get(body, "thinking", dict) or {}).get("type") or "disabled"
    if thinking not in ("enabled", "adaptive", "disabled"):
        raise fields.wrong("thinking.type", "must be enabled, adaptive or disabled")
    return ReplyRequest(
        turns=fields.merged(turns, answered),
        tools=tools,
        tool_choice=fields.choice(wanted, tools),
        parallel=not fields.get(choice, "disable_parallel_tool_use", bool, "tool_choice."),
        sampling=fields.sampling(body, ("max_tokens",), "stop_sequences"),
        grammar=_grammar(body),
        thinking=thinking == "enabled",
        stream=fields.get(body, "stream", bool) or False,
        model=fields.get(body, "model", str) or "",
    )


def _grammar(body: Mapping[str, Any]) -> Schema | None:
    config = fields.get(body, "output_config", dict) or {}
    for given, place in (
        (fields.get(config, "format", dict, "output_config."), "output_config.format"),
        (fields.get(body, "output_format", dict), "output_format"),
    ):
        if given is not None:
            if given.get("type") != "json_schema":
                raise fields.wrong(f"{place}.type", "must be json_schema")
            return fields.schema(given.get("schema"), f"{place}.schema")
    return None


def _system(system: Any) -> tuple[RequestPart, ...]:
    parts = _content(system, "system")
    if not all(isinstance(part, AddText) for part in parts):
        raise fields.wrong("system", "must be text")
    return tuple(
        part for part in parts if isinstance(part, AddText) and not part.text.startswith(CHANGING)
    )


def _tool(tool: Any, param: str) -> Schema:
    if not isinstance(tool, dict) or (tool.get("type") or "custom") != "custom":
        raise fields.wrong(param, "must be a tool of your own, with an input_schema")
    return fields.tool(tool, param, "input_schema")


def _turn(message: Any, param: str) -> RequestTurn:
    role = fields.role(message, ROLES, param)
    parts = _content(message.get("content"), f"{param}.content")
    allowed: tuple[type, ...] = (AddText,)
    if role == "assistant":
        allowed = (AddText, Thought, ToolCall)
    elif role == "user":
        parts = tuple(part for part in parts if not isinstance(part, Thought))
    if role != "user" and not all(isinstance(part, allowed) for part in parts):
        raise fields.wrong(f"{param}.content", f"has what no {role} message can have")
    if role == "user" and any(isinstance(part, ToolCall) for part in parts):
        raise fields.wrong(f"{param}.content", "has a tool_use, which is the assistant's")
    return RequestTurn(ROLES[role], parts)


def _content(content: Any, param: str) -> tuple[RequestPart, ...]:
    return fields.content(content, param, _part, of="blocks")


def _part(block: Any, param: str) -> RequestPart | None:
    kind = block.get("type") if isinstance(block, dict) else None
    match kind:
        case "text":
            return AddText(fields.get(block, "text", str, f"{param}.") or "")
        case "image":
            return fields.image(_address(block.get("source"), f"{param}.source"), None, param)
        case "document":
            return _document(block, param)
        case "thinking":
            thought = fields.get(block, "thinking", str, f"{param}.")
            return Thought(thought) if thought else None
        case "redacted_thinking":
            return None
        case "tool_use":
            given = (block.get("id"), block.get("name"), block.get("input") or {})
            return fields.call(*given, param)
        case "tool_result":
            call_id = fields.needed(block, "tool_use_id", str, f"{param}.")
            parts = _content(block.get("content"), f"{param}.content")
            if fields.get(block, "is_error", bool, f"{param}."):
                parts = (AddText("Error:"), *parts)
            return AddToolResult(call_id, fields.result(parts))
    raise fields.wrong(f"{param}.type", "must be text, image, tool_use, tool_result or thinking")


def _document(block: Mapping[str, Any], param: str) -> AddText:
    """Return a text document: its title, its context, then its text."""
    source = fields.get(block, "source", dict, f"{param}.") or {}
    if (fields.get(block, "citations", dict, f"{param}.") or {}).get("enabled"):
        raise fields.unsupported(f"{param}.citations")
    kind = {"text": "data", "content": "content"}.get(str(source.get("type")))
    if kind is None:
        raise fields.wrong(f"{param}.source.type", "must be text or content")
    parts = _content(source.get(kind), f"{param}.source.{kind}")
    if not all(isinstance(part, AddText) for part in parts):
        raise fields.wrong(f"{param}.source.{kind}", "must be text")
    about = [fields.get(block, name, str, f"{param}.") for name in ("title", "context")]
    texts = [*about, *(part.text for part in parts if isinstance(part, AddText))]
    return AddText("\n".join(text for text in texts if text))


def _address(source: Any, param: str) -> Any:
    kind = source.get("type") if isinstance(source, dict) else None
    if kind == "url":
        return source.get("url")
    if kind != "base64":
        raise fields.wrong(f"{param}.type", "must be base64 or url")
    media_type = fields.get(source, "media_type", str, f"{param}.") or "image/png"
    return f"data:{media_type};base64,{fields.get(source, 'data', str, f'{param}.') or ''}"


def error_at(path: str, error: ApiError) -> Json:
    """Return an error's JSON in the format of the API that the path belongs to."""
    if error.param == "messages" and path.startswith("/v1/responses"):
        error.param = "input"  # its name of the conversation
    return error_body(error) if path.startswith("/v1/messages") else error.body


def error_body(error: ApiError) -> Json:
    """Return an error's JSON in Anthropic's format, with the fields of OpenAI's besides."""
    other = "api_error" if error.status >= 500 else "invalid_request_error"
    inner = {**error.body["error"], "type": TYPES.get(error.status, other)}
    return {"type": "error", "error": inner}


class MessageStream:
    """A reply as Anthropic's events, or as one message; see `routes.Chunks`."""

    def __init__(self, model: str) -> None:
        self._id = f"msg_{secrets.token_hex(12)}"
        self._model = model
        self._content: list[Json] = []
        self._open = ""  # the kind of the block that is being written
        self._reason = "end_turn"
        self._stop: str | None = None
        self._drawn = CallStream()
        self._stats: Mapping[str, float] = {}

    def start(self) -> list[Json]:
        message = {**self.whole(), "stop_reason": None, "usage": _usage({})}
        return [{"type": "message_start", "message": message}, {"type": "ping"}]

    def on(self, event: object) -> list[Json]:
        return [made for one in self._drawn.take(event) for made in self._on(one)]

    def _on(self, event: object) -> list[Json]:
        match event:
            case Token(text):
                return self._piece("text", "text", text)
            case Thought(text):
                return self._piece("thinking", "thinking", text)
            case CallStarted(call_id, name):
                block = {"type": "tool_use", "id": call_id, "name": name, "input": {}}
                return [*self._close(), self._started(block)]
            case CallDelta(text):
                return [self._delta({"type": "input_json_delta", "partial_json": text})]
            case CallEnded(call):
                self._content[-1]["input"] = dict(call.arguments)
                self._reason = "tool_use"
                return self._close()
            case CallBroken(text):  # a stream has it as a block whose JSON is not whole
                self._content[-1] = {"type": "text", "text": text}
                return self._close()
            case Done(reason, stats, stopped_by=stop):
                self._stats = stats
                if stop:
                    self._reason, self._stop = "stop_sequence", stop
                elif self._reason != "tool_use":
                    self._reason = REASONS.get(reason, "end_turn")
        return []

    def end(self) -> list[Json]:
        delta = {"stop_reason": self._reason, "stop_sequence": self._stop}
        return [
            *self._close(),
            {"type": "message_delta", "delta": delta, "usage": _usage(self._stats)},
            {"type": "message_stop"},
        ]

    def whole(self) -> Json:
        return {
            "id": self._id,
            "type": "message",
            "role": "assistant",
            "model": self._model,
            "content": [*self._content],
            "stop_reason": self._reason,
            "stop_sequence": self._stop,
            "usage": _usage(self._stats),
        }

    def _piece(self, kind: str, key: str, text: str) -> list[Json]:
        events = []
        if self._open != kind:
            more = {"signature": ""} if kind == "thinking" else {}
            events = [*self._close(), self._started({"type": kind, key: "", **more})]
        self._content[-1][key] += text
        return [*events, self._delta({"type": f"{kind}_delta", key: text})]

    def _started(self, block: Json) -> Json:
        self._open = block["type"]
        self._content.append(dict(block))
        place = len(self._content) - 1
        return {"type": "content_block_start", "index": place, "content_block": block}

    def _delta(self, delta: Json) -> Json:
        return {"type": "content_block_delta", "index": len(self._content) - 1, "delta": delta}

    def _close(self) -> list[Json]:
        if not self._open:
            return []
        events = []
        if self._open == "thinking":
            self._content[-1]["signature"] = self._id
            events = [self._delta({"type": "signature_delta", "signature": self._id})]
        self._open = ""
        return [*events, {"type": "content_block_stop", "index": len(self._content) - 1}]


def _usage(stats: Mapping[str, float]) -> Json:
    """Return a reply's token counts; prompt tokens from the cache are counted apart."""
    read, new = int(stats.get("prompt_tokens", 0)), int(stats.get("new_prompt_tokens", 0))
    return {
        "input_tokens": new,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": read - new,
        "output_tokens": int(stats.get("reply_tokens", 0)),
    }
