"""A checkpoint's own chat template: jinja2 source -> a conversation as text, in a sandbox.

Same task as `builtin_template.chat_text`, for checkpoints that bring their template. The variables
are those that transformers passes (`utils/chat_template_utils.py`): messages, tools, bos_token,
add_generation_prompt, enable_thinking. `template_sandbox.py` runs it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from ..errors import Gemma4Error
from ..events import ToolCall
from .builtin_template import EMPTY_THOUGHT, shown, thoughts
from .messages import ImagePart, Part, SoundPart, TextPart, ToolResult, Turn, VideoPart
from .template_sandbox import run
from .tools import Schema


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
        text = run(
            source,
            _messages(turns),
            tools=list(tools) or None,
            bos_token="<bos>",
            add_generation_prompt=open_reply,
            enable_thinking=thinking,
        )
    except Exception as error:  # a template is a program: it may raise anything
        raise Gemma4Error(
            "template_failed",
            "The checkpoint's chat template fails",
            f"{type(error).__name__}: {str(error)[:300]}.",
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


@dataclass(frozen=True)
class Findings:
    """What probe conversations show of a template.

    Attributes:
        faults: what it loses, one sentence each; where there are any, the built-in format is used.
        empty_thought: it opens a reply without thinking with an empty thought, as the model was
            trained to expect.
    """

    faults: tuple[str, ...] = ()
    empty_thought: bool = False


@lru_cache(maxsize=16)
def findings(source: str) -> Findings:
    """Try a template on conversations whose right form is known.

    A template that fails on a plain question is not judged: using it reports what is wrong with it.
    """
    question = Turn("user", (TextPart("probe question"),))
    answer = Turn("model", (TextPart("probe answer"),))
    try:
        opened = template_text(source, [question])
        answered = template_text(source, [question, answer], open_reply=False)
    except Gemma4Error:
        return Findings()
    empty = opened.endswith(EMPTY_THOUGHT)
    faults = []
    if not answered.startswith(opened):
        faults.append("A reply in the history starts otherwise than it was opened.")
    asked = (ImagePart(_ANY), TextPart("probe question"), SoundPart(_ANY))
    calls = [ToolCall(f"probe{n}", "probe_tool", {"city": f"probe city {n}"}) for n in (1, 2)]
    called = Turn("model", (TextPart("probe text"), *calls))
    results = [ToolResult("probe_tool", {"sky": f"probe sky {n}"}) for n in (1, 2)]
    result = Turn("tool", tuple(results))
    try:
        written = template_text(
            source, [Turn("system", (TextPart("probe rule"),)), Turn("user", asked)]
        )
    except Gemma4Error:
        written = ""
    places = [
        written.find(one) for one in ("probe rule", "<|image|>", "probe question", "<|audio|>")
    ]
    if -1 in places or sorted(places) != places:
        faults.append("It loses a system text, or pictures and sounds beside words.")
    try:
        declared = template_text(source, [question], [_PROBE_TOOL])
        history = [question, called, result]
        going_on = template_text(source, history, [_PROBE_TOOL])
        over = template_text(source, [*history, answer], [_PROBE_TOOL], open_reply=False)
    except Gemma4Error:
        return Findings((*faults, "It fails on a conversation with tools."), empty)
    if lost := [name for name in _PROBED if f"probe {name}" not in declared]:
        faults.append(f"It loses parameters named {', '.join(lost)}.")
    if going_on.count("call:probe_tool") < 2 or going_on.count("probe city") < 2:
        faults.append("It loses calls.")
    if going_on.count("probe sky") < 2:
        faults.append("It loses what a tool returned.")
    after = going_on.rpartition("probe sky")[2]
    if after.endswith("<turn|>\n") or ("<turn|>" in after and "<|turn>model" not in after):
        faults.append("After a text, a call and its result the model's turn is closed.")
    elif not over.startswith(going_on):
        faults.append("What follows a tool's result is not where the model went on.")
    return Findings(tuple(faults), empty)


_ANY: Any = None  # of media a template learns nothing but that they are there
# names of parameters that a template may take for the words of a schema
_PROBED = ("city", "description", "type", "properties", "required", "nullable")
_PROBE_TOOL: Schema = {
    "type": "function",
    "function": {
        "name": "probe_tool",
        "description": "probe tool",
        "parameters": {
            "type": "object",
            "properties": {n: {"type": "string", "description": f"probe {n}"} for n in _PROBED},
            "required": ["city"],
        },
    },
}
