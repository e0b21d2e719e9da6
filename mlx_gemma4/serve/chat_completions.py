"""OpenAI's chat completions: JSON -> a request, and events -> JSON.

https://platform.openai.com/docs/api-reference/chat. Knows neither HTTP nor MLX.
"""

import secrets
import time
from collections.abc import Mapping
from typing import Any

from ..events import Done, Scores, Thought, Token, ToolCall
from ..runtime.commands import AddToolResult
from . import fields, logprobs
from .call_stream import CallBroken, CallDelta, CallEnded, CallStarted, CallStream
from .request import Media, ReplyRequest, RequestPart, RequestTurn, Role, Schema
from .request_fields import CHAT

Json = dict[str, Any]

ROLES: Mapping[str, Role] = {**fields.ROLES, "tool": "user", "function": "user"}
REASONS = {"length": "length", "context": "length"}
MOST_REPLIES = 8
LIMITS = ("max_completion_tokens", "max_tokens")


def parse(body: Mapping[str, Any]) -> ReplyRequest:
    """Read a request.

    Raises:
        ApiError: a field is malformed, or asks for something unsupported.
    """
    CHAT.check(body)
    if (fields.get(body, "modalities", list) or ["text"]) != ["text"]:
        raise fields.wrong("modalities", 'must be ["text"]')
    messages = fields.get(body, "messages", list)
    if not messages:
        raise fields.wrong("messages", "must be a list with at least one message")
    declared = fields.get(body, "tools", list) or []
    tools = fields.tools([_tool(tool, f"tools[{n}]") for n, tool in enumerate(declared)])
    tools, chosen = fields.allowed(body.get("tool_choice"), tools)
    stream = fields.get(body, "stream", bool) or False
    options = fields.get(body, "stream_options", dict) or {}
    parallel = fields.get(body, "parallel_tool_calls", bool)
    return ReplyRequest(
        turns=fields.merged([_turn(m, f"messages[{n}]") for n, m in enumerate(messages)]),
        tools=tools,
        tool_choice=_choice(chosen, tools),
        parallel=parallel is not False,
        sampling=fields.sampling(body, LIMITS, likeliest=_likeliest(body)),
        grammar=_grammar(fields.get(body, "response_format", dict)),
        thinking=_thinks(body),
        stream=stream,
        usage=bool(fields.get(options, "include_usage", bool, "stream_options.")),
        n=fields.number(body, "n", int, 1, MOST_REPLIES) or 1,
        model=fields.get(body, "model", str) or "",
    )


def _thinks(body: Mapping[str, Any]) -> bool:
    """Whether the model thinks first: by `reasoning_effort`, or a field of other servers."""
    effort = fields.get(body, "reasoning_effort", str)
    kwargs = fields.get(body, "chat_template_kwargs", dict) or {}
    thinking = fields.get(body, "thinking", dict)
    for wanted in (
        fields.get(kwargs, "enable_thinking", bool, "chat_template_kwargs."),
        fields.get(body, "enable_thinking", bool),
        thinking and thinking.get("type") == "enabled",
    ):
        if wanted is not None:
            return bool(wanted)
    return effort not in (None, "none", "minimal")


def _likeliest(body: Mapping[str, Any]) -> int | None:
    """How many alternatives are scored beside each token; None: no token is scored."""
    wanted = fields.get(body, "logprobs", bool)
    most: int | None = fields.number(body, "top_logprobs", int, 0, logprobs.MOST)
    if most and not wanted:
        raise fields.wrong("top_logprobs", "needs logprobs: true")
    return most or 0 if wanted else None


def _grammar(given: Mapping[str, Any] | None) -> Schema | None:
    kind = (given or {}).get("type") or "text"
    if given is None or kind == "text":
        return None
    if kind == "json_object":  # other servers take a schema with it
        inner = fields.get(given, "schema", dict, "response_format.") or {"type": "object"}
        return fields.schema(inner, "response_format.schema")
    if kind != "json_schema":
        raise fields.wrong("response_format.type", "must be text, json_object or json_schema")
    place = "response_format.json_schema."
    inner = fields.get(given, "json_schema", dict, "response_format.") or {}
    return fields.schema(inner.get("schema"), f"{place}schema")


def _choice(given: Any, tools: tuple[Schema, ...]) -> str:
    if isinstance(given, dict):
        inner = given.get("function")
        given = (inner if isinstance(inner, dict) else given).get("name") or ""
    return fields.choice(given, tools)


def _tool(tool: Any, param: str) -> Schema:
    function = tool.get("function") if isinstance(tool, dict) else None
    if not isinstance(function, dict) or (tool.get("type") or "function") != "function":
        raise fields.wrong(param, 'must be {"type": "function", "function": {...}}')
    return fields.tool(function, f"{param}.function")


def _turn(message: Any, param: str) -> RequestTurn:
    role = fields.role(message, ROLES, param)
    parts = fields.content(message.get("content"), f"{param}.content", _part)
    media = any(isinstance(part, Media) for part in parts)
    if role == "tool":
        call_id = fields.needed(message, "tool_call_id", str, f"{param}.")
        return RequestTurn("user", (AddToolResult(call_id, fields.result(parts)),))
    if media and role != "user":
        raise fields.wrong(f"{param}.content", "may have pictures and sound in the user's messages")
    if role == "assistant":
        for old in ("function_call", "audio"):
            if message.get(old):
                raise fields.unsupported(f"{param}.{old}")
        calls = fields.get(message, "tool_calls", list, f"{param}.") or []
        made = [_call(call, f"{param}.tool_calls[{n}]") for n, call in enumerate(calls)]
        thought = message.get("reasoning_content") or message.get("reasoning")
        before = (Thought(thought),) if isinstance(thought, str) and thought else ()
        parts = (*before, *parts, *made)
    return RequestTurn(ROLES[role], parts)


def _call(call: Any, param: str) -> ToolCall:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict):
        raise fields.wrong(param, "must have a function")
    return fields.call(call.get("id"), function.get("name"), function.get("arguments"), param)


def _part(part: Any, param: str) -> RequestPart:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind in fields.TEXTS:
        return fields.text(part, param)
    if kind in ("image_url", "input_image"):
        url = part.get("image_url")
        inner = url if isinstance(url, dict) else {"url": url}
        return fields.image(inner.get("url"), inner.get("detail"), f"{param}.image_url.url")
    if kind == "input_audio":
        inner = fields.get(part, "input_audio", dict, f"{param}.") or {}
        return fields.sound(inner.get("data"), f"{param}.input_audio.data")
    raise fields.wrong(f"{param}.type", "must be text, image_url or input_audio")


class ChatStream:
    """A reply as chunks, or as a whole; see `routes.Chunks`.

    Args:
        index: which of several replies it is.
        identity: the id of the whole answer; None for a new one.
    """

    def __init__(
        self, request: ReplyRequest, model: str, index: int = 0, identity: str | None = None
    ) -> None:
        self.identity = identity or f"chatcmpl-{secrets.token_hex(12)}"
        self.stats: Mapping[str, float] = {}
        self._request = request
        self._head = {"id": self.identity, "created": int(time.time()), "model": model}
        self._index = index
        self._texts: list[str] = []
        self._thoughts: list[str] = []
        self._calls: list[Json] = []
        self._started = 0  # calls, with those that were broken off
        self._drawn = CallStream()
        self._reason = "stop"
        self._scores: list[Json] = []
        self._unsent: list[Json] = []  # scores of tokens whose text is yet to come

    def start(self) -> list[Json]:
        return [self._chunk({"role": "assistant", "content": ""})]

    def on(self, event: object) -> list[Json]:
        return [chunk for one in self._drawn.take(event) for chunk in self._on(one)]

    def _on(self, event: object) -> list[Json]:
        match event:
            case Scores():
                self._unsent.append(logprobs.entry(event))
            case Token(text):
                self._texts.append(text)
                return [self._chunk({"content": text})]
            case Thought(text):
                self._thoughts.append(text)
                return [self._chunk({"reasoning_content": text})]
            case CallStarted(call_id, name):
                self._started += 1
                return [self._call_chunk({"name": name, "arguments": ""}, call_id)]
            case CallDelta(text):
                return [self._call_chunk({"arguments": text})]
            case CallEnded(call, arguments):
                function = {"name": call.name, "arguments": arguments}
                self._calls.append({"id": call.id, "type": "function", "function": function})
            case CallBroken(text):  # a stream has it as a call that is not whole
                self._texts.append(text)
            case Done(reason, stats, stopped_by=stop):
                self.stats = stats
                if stop:
                    self._unsent = []  # of the text that stopped it
                self._reason = "tool_calls" if self._calls else REASONS.get(reason, "stop")
        return []

    def end(self) -> list[Json]:
        return [self._chunk({}, self._reason)]

    def choice(self) -> Json:
        """Return the reply as one of the answer's `choices`."""
        message: Json = {"role": "assistant", "content": "".join(self._texts), "refusal": None}
        if self._thoughts:
            message["reasoning_content"] = "".join(self._thoughts)
        if self._calls:
            message["tool_calls"] = self._calls
            message["content"] = message["content"] or None
        return {
            "index": self._index,
            "message": message,
            "logprobs": self._logprobs(self._scores),
            "finish_reason": self._reason,
        }

    def _call_chunk(self, function: Json, call_id: str = "") -> Json:
        head = {"id": call_id, "type": "function"} if call_id else {}
        call = {"index": self._started - 1, **head, "function": function}
        return self._chunk({"tool_calls": [call]})

    def _logprobs(self, scores: list[Json]) -> Json | None:
        wanted = self._request.sampling.likeliest is not None
        return {"content": scores, "refusal": None} if wanted else None

    def _chunk(self, delta: Json, reason: str | None = None) -> Json:
        scores = self._unsent if "content" in delta or reason else []
        if scores:
            self._scores, self._unsent = [*self._scores, *scores], []
        choice = {
            "index": self._index,
            "delta": delta,
            "logprobs": self._logprobs(scores) if scores else None,
            "finish_reason": reason,
        }
        more = {"usage": None} if self._request.usage else {}
        return {**self._head, "object": "chat.completion.chunk", "choices": [choice], **more}

    def counted(self, others: "list[ChatStream]") -> Json:
        """Return the chunk with the token counts of all replies, after the last of them."""
        return {
            **self._head,
            "object": "chat.completion.chunk",
            "choices": [],
            "usage": usage([self, *others]),
        }

    def whole(self, others: "list[ChatStream]") -> Json:
        """Return this reply and the others as one answer."""
        return {
            **self._head,
            "object": "chat.completion",
            "choices": [one.choice() for one in [self, *others]],
            "usage": usage([self, *others]),
        }


def usage(replies: list[ChatStream]) -> Json:
    """Return the token counts of several replies; their one prompt counts once."""
    stats = replies[0].stats
    read, new = int(stats.get("prompt_tokens", 0)), int(stats.get("new_prompt_tokens", 0))
    drawn, thought = (
        int(sum(one.stats.get(name, 0) for one in replies))
        for name in ("reply_tokens", "thought_tokens")
    )
    return {
        "prompt_tokens": read,
        "completion_tokens": drawn,
        "total_tokens": read + drawn,
        "prompt_tokens_details": {"cached_tokens": read - new, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": thought},
    }
