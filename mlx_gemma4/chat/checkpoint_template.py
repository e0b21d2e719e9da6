"""A checkpoint's own chat template: jinja2 source -> a conversation as text, in a sandbox.

Same task as `chat.chat_text`, for checkpoints that bring their template. The variables are
those that transformers passes (`utils/chat_template_utils.py`): messages, tools, bos_token,
add_generation_prompt, enable_thinking. jinja2 is imported only here, and only when it is used.
"""

import json
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from ..errors import Gemma4Error
from ..events import ToolCall
from .builtin_template import shown, thoughts
from .messages import ImagePart, Part, SoundPart, TextPart, ToolResult, Turn, VideoPart
from .tools import Schema

if TYPE_CHECKING:
    from jinja2 import Template


def template_text(
    source: str,
    turns: Sequence[Turn],
    tools: Sequence[Schema] = (),
    thinking: bool = False,
    open_reply: bool = True,
) -> str:
    """Write a conversation by a template; arguments and result are those of `chat_text`.

    Raises:
        Gemma4Error: if the template fails, or is not made for Gemma 4.
    """
    try:
        text = _compiled(source).render(
            messages=_messages(turns),
            tools=list(tools) or None,
            bos_token="<bos>",
            add_generation_prompt=open_reply,
            enable_thinking=thinking,
        )
    except Exception as error:  # a template is a program: it may raise anything
        raise Gemma4Error(
            "template_failed",
            "The checkpoint's chat template fails",
            f"{type(error).__name__}: {error}.",
            "Use the template of the original checkpoint, or remove it for the built-in one.",
        ) from error
    if "<|turn>" not in text:
        found = " It writes <start_of_turn>, as Gemma 3." if "<start_of_turn>" in text else ""
        raise Gemma4Error(
            "template_foreign",
            "The checkpoint's chat template is not Gemma 4's",
            f"It never writes <|turn>.{found}",
            "Use the template of the original checkpoint, or remove it for the built-in one.",
        )
    return text


def _messages(turns: Sequence[Turn]) -> list[dict[str, Any]]:
    """Make the messages a template reads; a tool's answers belong to the message that called."""
    messages: list[dict[str, Any]] = []
    for turn in turns:
        parts = shown(turn)
        if turn.role == "tool":
            messages[-1]["tool_responses"] = [
                {"name": part.name, "response": part.response}
                for part in parts
                if isinstance(part, ToolResult)
            ]
            continue
        message: dict[str, Any] = {"role": "assistant" if turn.role == "model" else turn.role}
        said = [part for part in parts if not isinstance(part, ToolCall)]
        texts = [part.text for part in said if isinstance(part, TextPart)]
        # templates take a system text only as a string
        only_text = len(texts) == len(said)
        message["content"] = "".join(texts) if only_text else [_content(part) for part in said]
        if calls := [part for part in parts if isinstance(part, ToolCall)]:
            message["tool_calls"] = [
                {"type": "function", "function": {"name": c.name, "arguments": c.arguments}}
                for c in calls
            ]
        if thought := thoughts(turn):
            message["reasoning"] = message["reasoning_content"] = thought
        messages.append(message)
    return messages


def _content(part: Part) -> dict[str, str]:
    if isinstance(part, TextPart):
        return {"type": "text", "text": part.text}
    kinds = {ImagePart: "image", SoundPart: "audio", VideoPart: "video"}
    return {"type": kinds[type(part)]}


@lru_cache(maxsize=4)
def _compiled(source: str) -> "Template":
    from jinja2 import TemplateError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def raise_exception(message: str) -> None:
        raise TemplateError(message)

    def tojson(value: object, indent: int | None = None) -> str:
        return json.dumps(value, ensure_ascii=False, indent=indent)  # jinja's own escapes for HTML

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.globals["raise_exception"] = raise_exception
    environment.filters["tojson"] = tojson
    return environment.from_string(source)
