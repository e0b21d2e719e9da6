"""The built-in chat format: a conversation as text with control tokens spelled out.

The format is Google's (Apache-2.0 chat template of Gemma 4; ai.google.dev, "Gemma 4 Prompt
Formatting"). The caller must escape the text of the turns: nothing here distinguishes a
`<|turn>` that a user typed from one that belongs to the format.
"""

from collections.abc import Sequence

from ..events import Thought, ToolCall
from . import tools as tool_text
from .messages import ImagePart, Part, SoundPart, TextPart, ToolResult, Turn, VideoPart

PLACEHOLDERS = {ImagePart: "<|image|>", SoundPart: "<|audio|>", VideoPart: "<|video|>"}
EMPTY_THOUGHT = "<|channel>thought\n<channel|>"


def chat_text(
    turns: Sequence[Turn],
    tools: Sequence[tool_text.Schema] = (),
    thinking: bool = False,
    open_reply: bool = True,
    empty_thought: bool = False,
) -> str:
    """Write a conversation; a picture, clip or video is one `<|image|>`, `<|audio|>`, `<|video|>`.

    Args are those of `render`, and:
        empty_thought: start every reply that does not think with an empty thought, also those of
            the history, so that they stay as they were when they were drawn.
    """
    no_thought = EMPTY_THOUGHT if empty_thought and not thinking else ""
    system = turns[0] if turns and turns[0].role == "system" else None
    text = "<bos>"
    if system or thinking or tools:
        text += "<|turn>system\n" + ("<|think|>\n" if thinking else "")
        text += _shown(system) if system else ""
        text += "".join(map(tool_text.declaration, tools)) + "<turn|>\n"
    rest = turns[1:] if system else turns
    last_user = max((i for i, turn in enumerate(rest) if turn.role == "user"), default=-1)
    before = ""
    for index, turn in enumerate(rest):
        # after a tool's answer the model goes on in the turn that called it
        if turn.role != "tool" and (turn.role, before) != ("model", "tool"):
            text += f"<|turn>{turn.role}\n"
            text += no_thought if turn.role == "model" else ""
        thought = thoughts(turn)
        if thought and _calls(turn) and index > last_user:  # kept only while its tools are at work
            text = text.removesuffix(no_thought)
            text += f"<|channel>thought\n{thought}\n<channel|>"
        text += _shown(turn)
        if _calls(turn):
            answered = rest[index + 1 : index + 2] and rest[index + 1].role == "tool"
            text += "" if answered else "<|tool_response>"
        elif turn.role != "tool":
            text += "<turn|>\n"
        before = turn.role
    waiting = before == "tool" or (bool(rest) and _calls(rest[-1]))
    return text + (f"<|turn>model\n{no_thought}" if open_reply and not waiting else "")


def shown(turn: Turn) -> list[Part]:
    """Return what a turn shows, in the model's order: pictures, text, calls, results, sound.

    Past thoughts are not part of it. Texts of one turn become one: a model's pieces joined as they
    are, a user's as lines.
    """
    parts: list[Part] = []
    for kind in (ImagePart | VideoPart, TextPart, ToolCall, ToolResult, SoundPart):
        group = [part for part in turn.parts if isinstance(part, kind)]
        if texts := [part.text for part in group if isinstance(part, TextPart)]:
            group = [TextPart(("" if turn.role == "model" else "\n").join(texts).strip())]
        parts += group
    return parts


def thoughts(turn: Turn) -> str:
    """Return a turn's whole thought without the newline that ends it, or nothing."""
    pieces = [part.text for part in turn.parts if isinstance(part, Thought)]
    return "".join(pieces).removesuffix("\n")


def _calls(turn: Turn) -> bool:
    return any(isinstance(part, ToolCall) for part in turn.parts)


def _shown(turn: Turn) -> str:
    return "".join(map(_part_text, shown(turn)))


def _part_text(part: Part) -> str:
    match part:
        case TextPart(text) | Thought(text):
            return text
        case ToolCall():
            return tool_text.call(part)
        case ToolResult():
            return tool_text.response(part)
    return PLACEHOLDERS[type(part)]
