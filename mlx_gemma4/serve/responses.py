"""OpenAI's Responses: JSON -> a request, and events -> JSON.

https://platform.openai.com/docs/api-reference/responses. Nothing is stored: a client sends the
whole conversation each time. Knows neither HTTP nor MLX.
"""

import secrets
import time
from collections.abc import Mapping
from typing import Any

from ..events import Done, Scores, Thought, Token
from ..runtime.commands import AddText, AddToolResult
from . import fields, logprobs
from .call_stream import CallBroken, CallDelta, CallEnded, CallStarted, CallStream
from .errors import ApiError
from .request import Media, ReplyRequest, RequestPart, RequestTurn, Schema
from .request_fields import RESPONSES

Json = dict[str, Any]

SKIPPED_TOOLS = ("namespace", "web_search", "web_search_preview")
"""How the types of tools start that clients always declare, and can do without."""
CUT = dict.fromkeys(("length", "context"), {"reason": "max_output_tokens"})
"""How a reply ends that is incomplete -> the response's details of that."""
ARGUMENTS = "response.function_call_arguments"
PREFIXES = {"message": "msg", "reasoning": "rs", "function_call": "fc"}
"""How an item's id starts, by the item's type."""
ECHOED: Json = {
    "instructions": None, "max_output_tokens": None, "metadata": {}, "parallel_tool_calls": True,
    "prompt_cache_key": None, "reasoning": {"effort": None, "summary": None}, "store": False,
    "temperature": None, "text": {"format": {"type": "text"}}, "tool_choice": "auto", "tools": [],
    "top_p": None, "truncation": "disabled", "user": None,
}  # fmt: skip
"""Fields of a request that its response repeats, with their defaults."""


def parse(body: Mapping[str, Any]) -> ReplyRequest:
    """Read a request.

    Raises:
        ApiError: a field is malformed, or asks for something unsupported.
    """
    RESPONSES.check(body)
    given = body.get("input")
    if isinstance(given, str):
        given = [{"role": "user", "content": given}]
    if not isinstance(given, list) or not given:
        raise fields.wrong("input", "must be a text or a list with at least one item")
    turns = [_turn(item, f"input[{n}]") for n, item in enumerate(given)]
    if instructions := fields.get(body, "instructions", str):
        turns.insert(0, RequestTurn("system", (AddText(instructions),)))
    declared = enumerate(fields.get(body, "tools", list) or [])
    tools = fields.tools([made for n, one in declared if (made := _tool(one, f"tools[{n}]"))])
    tools, chosen = fields.allowed(body.get("tool_choice"), tools)
    reasoning = fields.get(body, "reasoning", dict) or {}
    effort = fields.get(reasoning, "effort", str, "reasoning.")
    included = fields.get(body, "include", list) or []
    most: int | None = fields.number(body, "top_logprobs", int, 0, logprobs.MOST)
    scored = "message.output_text.logprobs" in included or most
    truncation = fields.get(body, "truncation", str) or "disabled"
    if truncation not in ("auto", "disabled"):
        raise fields.wrong("truncation", "must be auto or disabled")
    return ReplyRequest(
        turns=fields.merged(turns),
        tools=tools,
        tool_choice=_choice(chosen, tools),
        parallel=fields.get(body, "parallel_tool_calls", bool) is not False,
        sampling=fields.sampling(
            body, ("max_output_tokens",), likeliest=most or 0 if scored else None
        ),
        grammar=_grammar(fields.get(body, "text", dict) or {}),
        thinking=effort not in (None, "none", "minimal"),
        truncates=truncation == "auto",
        stream=fields.get(body, "stream", bool) or False,
        model=fields.get(body, "model", str) or "",
        metadata={
            name: other if body.get(name) is None else body[name] for name, other in ECHOED.items()
        },
    )


def _choice(given: Any, tools: tuple[Schema, ...]) -> str:
    if isinstance(given, dict):
        kind = given.get("type")
        if kind != "function":
            raise fields.wrong("tool_choice.type", "must be function")
        given = given.get("name") or ""
    return fields.choice(given, tools)


def _grammar(text: Mapping[str, Any]) -> Schema | None:
    if text.get("verbosity") not in (None, "medium"):
        raise fields.unsupported("text.verbosity")
    given = fields.get(text, "format", dict, "text.") or {}
    kind = given.get("type") or "text"
    if kind == "text":
        return None
    if kind == "json_object":
        return {"type": "object"}
    if kind != "json_schema":
        raise fields.wrong("text.format.type", "must be text, json_object or json_schema")
    return fields.schema(given.get("schema"), "text.format.schema")


def _tool(tool: Any, param: str) -> Schema | None:
    kind = tool.get("type") if isinstance(tool, dict) else None
    if isinstance(kind, str) and kind.startswith(SKIPPED_TOOLS):
        return None
    if kind != "function":
        raise fields.wrong(f"{param}.type", "must be function")
    return fields.tool(tool, param)


def _turn(item: Any, param: str) -> RequestTurn:
    if not isinstance(item, dict):
        raise fields.wrong(param, "must be an object")
    kind = item.get("type") or "message"
    if kind == "function_call":
        call = (item.get("call_id"), item.get("name"), item.get("arguments"))
        return RequestTurn("model", (fields.call(*call, param),))
    if kind == "function_call_output":
        call_id = fields.needed(item, "call_id", str, f"{param}.")
        parts = fields.content(item.get("output"), f"{param}.output", _part)
        return RequestTurn("user", (AddToolResult(call_id, fields.result(parts)),))
    if kind == "reasoning":
        return RequestTurn("model", _thought(item, param))
    if kind != "message":
        raise fields.wrong(
            f"{param}.type", "must be message, function_call, function_call_output or reasoning"
        )
    role = fields.role(item, fields.ROLES, param)
    parts = fields.content(item.get("content"), f"{param}.content", _part)
    if role != "user" and any(isinstance(part, Media) for part in parts):
        raise fields.wrong(f"{param}.content", "may have pictures and sound in the user's messages")
    return RequestTurn(fields.ROLES[role], parts)


def _thought(item: Mapping[str, Any], param: str) -> tuple[RequestPart, ...]:
    content = fields.get(item, "content", list, f"{param}.")
    pieces = content or fields.get(item, "summary", list, f"{param}.") or []
    texts = [one.get("text") for one in pieces if isinstance(one, dict)]
    thought = "\n".join(text for text in texts if isinstance(text, str))
    return (Thought(thought),) if thought else ()


def _part(part: Any, param: str) -> RequestPart:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind in fields.TEXTS:
        return fields.text(part, param)
    if kind in ("input_image", "image_url"):
        if part.get("file_id"):
            raise fields.unsupported(f"{param}.file_id")
        url = part.get("image_url")
        url = url.get("url") if isinstance(url, dict) else url
        return fields.image(url, part.get("detail"), f"{param}.image_url")
    if kind == "input_audio":
        inner = fields.get(part, "input_audio", dict, f"{param}.") or part
        return fields.sound(inner.get("data"), f"{param}.input_audio.data")
    raise fields.wrong(f"{param}.type", "must be input_text, input_image or input_audio")


class ResponseStream:
    """A response as events, or as a whole; see `routes.Chunks`."""

    def __init__(self, request: ReplyRequest, model: str) -> None:
        self._id = f"resp_{secrets.token_hex(12)}"
        self._request = request
        self._head = {"model": model, "created_at": int(time.time())}
        self._output: list[Json] = []
        self._open: str | None = None  # the kind of the item that is being written
        self._text = ""
        self._scores: list[Json] = []  # of the item's text so far
        self._unsent: list[Json] = []  # scores of tokens whose text is yet to come
        self._drawn = CallStream()
        self._number = -1
        self._reason = "stop"
        self._stats: Mapping[str, float] = {}

    def start(self) -> list[Json]:
        return [
            self._event(f"response.{state}", response=self._response("in_progress"))
            for state in ("created", "in_progress")
        ]

    def on(self, event: object) -> list[Json]:
        return [made for one in self._drawn.take(event) for made in self._on(one)]

    def _on(self, event: object) -> list[Json]:
        match event:
            case Scores():
                self._unsent.append(logprobs.entry(event))
            case Token(text):
                return [*self._opened("message"), self._delta("response.output_text.delta", text)]
            case Thought(text):
                opened = self._opened("reasoning")
                return [*opened, self._delta("response.reasoning_text.delta", text)]
            case CallStarted(call_id, name):
                return self._call_started(call_id, name)
            case CallDelta(text):
                return [self._event(f"{ARGUMENTS}.delta", **self._item_place(), delta=text)]
            case CallEnded(_, arguments):
                return self._call_over(arguments, "completed")
            case CallBroken(_, arguments) if self._request.stream:
                return self._call_over(arguments, "incomplete")
            case CallBroken(text):
                self._output.pop()  # it cannot be carried out
                return self._on(Token(text, -1)) if text else []
            case Done(reason, stats):
                self._reason, self._stats = reason, stats
        return []

    def end(self) -> list[Json]:
        events = [] if self._output else self._opened("message")  # programs expect one
        events += self._close()
        response = self.whole()
        return [*events, self._event(f"response.{response['status']}", response=response)]

    def failed(self, error: ApiError) -> list[Json]:
        """For an error; clients expect the start before it."""
        started = [] if self._number >= 0 else self.start()
        response = self._response("failed")
        response["error"] = {"code": error.code, "message": error.message}
        return [*started, self._event("response.failed", response=response)]

    def whole(self) -> Json:
        """The response; call `end` before."""
        return self._response("incomplete" if self._reason in CUT else "completed")

    def _opened(self, kind: str) -> list[Json]:
        """Open an item, unless one of its kind is open, and return the events."""
        if self._open == kind:
            return []
        events = self._close()
        self._open, self._text, self._scores = kind, "", []
        own: Json = {"role": "assistant"} if kind == "message" else {"summary": []}
        added = self._added(kind, content=[], **own)
        return [*events, added, self._event("response.content_part.added", **self._part())]

    def _added(self, kind: str, **more: Any) -> Json:
        """Add an item, and return the event of that."""
        item = {"id": f"{PREFIXES[kind]}_{secrets.token_hex(12)}", "type": kind, **more}
        self._output.append(item | {"status": "in_progress"})
        item = dict(self._output[-1])
        return self._event("response.output_item.added", **self._place(), item=item)

    def _close(self) -> list[Json]:
        """Close the open item, if there is one, and return the events."""
        if self._open is None:
            return []
        item, kind, part = self._output[-1], self._open, self._part(self._text)
        name = "output_text" if kind == "message" else "reasoning_text"
        self._open = None
        item |= {"content": [part["part"]], "status": "completed"}
        if kind == "message" and self._reason in CUT:
            item["status"] = "incomplete"
        done = {key: value for key, value in part.items() if key != "part"}
        more: Json = {"logprobs": self._scores} if kind == "message" else {}
        return [
            self._event(f"response.{name}.done", **done, text=self._text, **more),
            self._event("response.content_part.done", **part),
            self._event("response.output_item.done", output_index=done["output_index"], item=item),
        ]

    def _call_started(self, call_id: str, name: str) -> list[Json]:
        events = self._close()
        return [*events, self._added("function_call", call_id=call_id, name=name, arguments="")]

    def _call_over(self, arguments: str, status: str) -> list[Json]:
        item = self._output[-1]
        item |= {"arguments": arguments, "status": status}
        whole = {"name": item["name"], "arguments": arguments}
        return [
            self._event(f"{ARGUMENTS}.done", **self._item_place(), **whole),
            self._event("response.output_item.done", **self._place(), item=item),
        ]

    def _item_place(self) -> Json:
        return {**self._place(), "item_id": self._output[-1]["id"]}

    def _place(self) -> Json:
        return {"output_index": len(self._output) - 1}

    def _part(self, text: str = "") -> Json:
        """Return the open item's only part, and its place."""
        part: Json = {"type": "reasoning_text", "text": text}
        if self._open == "message":
            part = {"type": "output_text", "text": text, "annotations": []}
            part["logprobs"] = self._scores
        return {**self._item_place(), "content_index": 0, "part": part}

    def _delta(self, name: str, text: str) -> Json:
        self._text += text
        more: Json = {}
        if self._open == "message":
            more["logprobs"], self._unsent = self._unsent, []
            self._scores = [*self._scores, *more["logprobs"]]
        return self._event(name, **self._item_place(), content_index=0, delta=text, **more)

    def _event(self, kind: str, **more: Any) -> Json:
        self._number += 1
        return {"type": kind, "sequence_number": self._number, **more}

    def _response(self, status: str) -> Json:
        ended = status in ("completed", "incomplete")
        return {
            "id": self._id,
            "object": "response",
            **self._head,
            "status": status,
            "background": False,
            "error": None,
            "incomplete_details": CUT.get(self._reason) if ended else None,
            "output": [*self._output] if ended else [],
            "previous_response_id": None,
            "service_tier": "default",
            "usage": _usage(self._stats) if ended else None,
            **self._request.metadata,
            "store": False,
        }


def _usage(stats: Mapping[str, float]) -> Json:
    read, new = int(stats.get("prompt_tokens", 0)), int(stats.get("new_prompt_tokens", 0))
    drawn = int(stats.get("reply_tokens", 0))
    return {
        "input_tokens": read,
        "input_tokens_details": {"cached_tokens": read - new, "cache_write_tokens": 0},
        "output_tokens": drawn,
        "output_tokens_details": {"reasoning_tokens": int(stats.get("thought_tokens", 0))},
        "total_tokens": read + drawn,
    }
