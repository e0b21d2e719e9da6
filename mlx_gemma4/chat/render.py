"""Turns -> token ids with their pictures, videos and sound in place, ready for the model.

Knows nothing of MLX. Whether the built-in format or the checkpoint's own template writes the
conversation, the text in it cannot become a control token: every `<` that a user, a tool or an
earlier reply wrote is escaped before the writing and comes back after the split at control tokens.
Placeholders grow as in transformers 5.23 `gemma4_unified/processing_gemma4_unified.py`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import Gemma4Error
from ..events import Thought, ToolCall
from ..media.video import label
from ..model.config import Config
from .builtin_template import PLACEHOLDERS, chat_text, shown, thoughts
from .checkpoint_template import Findings, findings, template_text
from .messages import ImagePart, Medium, Part, SoundPart, TextPart, ToolResult, Turn, VideoPart
from .tokenizer import Tokenizer
from .tools import check_tools

Patches = tuple[NDArray[np.uint8], NDArray[np.int32]]

_PLACEHOLDER = re.compile(r"<\|(?:image|audio|video)\|>")
# Two private characters after a third: reversible whatever the text holds.
_ESCAPED = str.maketrans({"\ue000": "\ue000\ue001", "<": "\ue000\ue002"})
# The placeholder of the ids of a turn, by its number,
_DRAWN = re.compile("\ue000\ue003(\\d+)\ue000\ue003")
# and, in the name of a call, of that call, which is among these ids.
_DRAWN_CALL = re.compile(
    r"<\|tool_call>call:(?:(\ue000\ue003\d+\ue000\ue003)|\ue000\ue004).*?<tool_call\|>", re.DOTALL
)

# A format may open every reply with an empty thought, which the ids may hold already.
_OPENED = re.compile("<\\|channel>thought\n<channel\\|>(\ue000\ue003(\\d+)\ue000\ue003)")


@dataclass(frozen=True, eq=False)
class Prompt:
    """What `Gemma4.embed` takes.

    Attributes:
        token_ids: ids; every patch and frame has its placeholder.
        images: (patches (n, 6912), positions (n, 2)) of each picture, in order.
        videos: the same of each video frame, in order.
        audio: (n, 640) frames of each clip, in order.
    """

    token_ids: list[int]
    images: list[Patches]
    videos: list[Patches]
    audio: list[NDArray[np.float32]]


def render(
    turns: Sequence[Turn],
    tokenizer: Tokenizer,
    config: Config,
    *,
    template: str | None = None,
    thinking: bool = False,
    tools: Sequence[Mapping[str, Any]] = (),
    open_reply: bool = True,
) -> Prompt:
    """Make the prompt of a conversation.

    In a user turn pictures come first, then the text, then sound (model card). Past thoughts are
    left out, but for those whose tools are still at work. A model's turn that brings its ids is
    made of these ids, whatever the tokenizer would make of its text and calls.

    Args:
        turns: the conversation so far; a system turn may come first.
        tokenizer: its own chat template is used where it has one that loses nothing (`findings`),
            else the built-in format.
        config: for the ids of the media tokens.
        template: another chat template to use (jinja source), whatever it loses.
        thinking: ask the model to think before it answers.
        tools: function declarations as in the OpenAI API.
        open_reply: end where the model's reply starts.

    Raises:
        Gemma4Error: if there are no turns, a tool or a tool turn is malformed, the template fails
            or misplaces the media, or the vocabulary lacks a control token that is needed.
    """
    check_tools(tools)
    _check(turns)
    own = findings(tokenizer.template) if tokenizer.template else Findings()
    source = template or (None if own.faults else tokenizer.template)
    try:
        escaped = [_escape_turn(number, turn) for number, turn in enumerate(turns)]
        declared = [_escape(tool) for tool in tools]
        if source:
            text = template_text(source, escaped, declared, thinking, open_reply)
        else:
            text = chat_text(escaped, declared, thinking, open_reply, own.empty_thought)
    except RecursionError as error:
        raise _malformed(
            "A call or what a tool returned is nested too deeply.", "Return fewer levels."
        ) from error
    turns = _without_past_thoughts(turns, tokenizer)

    text = _DRAWN_CALL.sub(lambda found: found[1] or "", text)
    channel = tokenizer.controls.get("<|channel>")
    text = _OPENED.sub(lambda f: f[1] if turns[int(f[2])].ids[0] == channel else f[0], text)
    media = [p for turn in turns for p in shown(turn) if isinstance(p, Medium)]
    text = _expand(text, media)
    ids_of_media = {
        "<|image>": config.boi_token_id,
        "<|image|>": config.image_token_id,
        "<image|>": config.eoi_token_id,
        "<|audio>": config.boa_token_id,
        "<|audio|>": config.audio_token_id,
        "<audio|>": config.eoa_token_id,
        "<|video|>": config.video_token_id,
    }
    ids: list[int] = []
    for index, piece in enumerate(tokenizer.split(text)):
        if index % 2 == 0:
            ids += _encode(piece, turns, tokenizer)
        elif piece in ids_of_media:
            ids.append(ids_of_media[piece])
        else:
            ids.append(tokenizer.token_id(piece))
    pictures = [part.picture for part in media if isinstance(part, ImagePart)]
    films = [pic for part in media if isinstance(part, VideoPart) for _, pic in part.frames]
    return Prompt(
        token_ids=ids,
        images=[(picture.patches, picture.positions) for picture in pictures],
        videos=[(picture.patches, picture.positions) for picture in films],
        audio=[part.frames for part in media if isinstance(part, SoundPart)],
    )


def unfinished(prompt: Prompt, tokenizer: Tokenizer, config: Config) -> Prompt:
    """Leave out what ends the last turn, and its last clip: more can follow there."""
    ids = prompt.token_ids
    end = len(ids) - 1 - ids[::-1].index(tokenizer.token_id("<turn|>"))
    if ids[end - 1] == config.eoa_token_id:
        end -= 1
    return replace(prompt, token_ids=ids[:end])


def _check(turns: Sequence[Turn]) -> None:
    if not turns:
        raise Gemma4Error(
            "nothing_to_answer",
            "There is nothing to answer",
            "The conversation is empty.",
            "Ask first.",
        )
    for before, turn in zip([None, *turns], turns, strict=False):
        if turn.role == "tool" and not (
            before and any(isinstance(p, ToolCall) for p in before.parts)
        ):
            raise _malformed(
                "A tool answers, but the turn before calls none.",
                "Put the tool turn after the model turn that holds the call.",
            )


def _malformed(cause: str, remedy: str) -> Gemma4Error:
    title = "The conversation is malformed"
    return Gemma4Error("conversation_malformed", title, cause, remedy)


def _expand(text: str, media: Sequence[Medium]) -> str:
    """Put a placeholder for each patch and frame where the text has one for each medium."""
    if _PLACEHOLDER.findall(text) != [PLACEHOLDERS[type(part)] for part in media]:
        raise Gemma4Error(
            "template_failed",
            "The checkpoint's chat template misplaces pictures or sound",
            f"It must write {len(media)} placeholders in the order of the turns' media.",
            "Use the template of the original checkpoint, or remove it for the built-in one.",
        )
    coming = iter(media)
    return _PLACEHOLDER.sub(lambda _: _rows(next(coming)), text)


def _rows(medium: Medium) -> str:
    match medium:
        case ImagePart(picture):
            return f"<|image>{'<|image|>' * len(picture.patches)}<image|>"
        case SoundPart(frames):
            return f"<|audio>{'<|audio|>' * len(frames)}<audio|>"
        case VideoPart(frames):
            return " ".join(
                f"{label(seconds)} <|image>{'<|video|>' * len(picture.patches)}<image|>"
                for seconds, picture in frames
            )


def _encode(text: str, turns: Sequence[Turn], tokenizer: Tokenizer) -> list[int]:
    """Return the ids of escaped text between two control tokens."""
    ids: list[int] = []
    for index, piece in enumerate(_DRAWN.split(text)):
        plain = piece.replace("\ue000\ue002", "<").replace("\ue000\ue001", "\ue000")
        ids += turns[int(piece)].ids if index % 2 else tokenizer.encode(plain)
    return ids


def _without_past_thoughts(turns: Sequence[Turn], tokenizer: Tokenizer) -> list[Turn]:
    """Take a thought out of the ids of a turn that called tools, once a user's turn has followed.

    An empty thought that the prompt opened the reply with is no part of the turn, and stays.
    """
    asked = max((n for n, turn in enumerate(turns) if turn.role == "user"), default=-1)
    result, end = [], tokenizer.controls.get("<channel|>")
    for number, turn in enumerate(turns):
        if number < asked and turn.ids and thoughts(turn) and end in turn.ids:
            turn = replace(turn, ids=turn.ids[turn.ids.index(end) + 1 :])
        result.append(turn)
    return result


def _escape_turn(number: int, turn: Turn) -> Turn:
    parts = tuple(map(_escape_part, turn.parts))
    if turn.ids:
        drawn, calls = f"\ue000\ue003{number}\ue000\ue003", list[Part]()
        for part in parts:
            if isinstance(part, ToolCall):
                calls.append(replace(part, name=("\ue000\ue004" if calls else drawn) + part.name))
        parts = tuple(calls) or (TextPart(drawn),)
    return replace(turn, parts=parts)


def _escape_part(part: Part) -> Part:
    match part:
        case TextPart(text):
            return TextPart(_escape(text))
        case Thought(text):
            return Thought(_escape(text))
        case ToolCall(call_id, name, arguments):
            return ToolCall(call_id, _escape(name), _escape(arguments))
        case ToolResult(name, response, call_id):
            return ToolResult(_escape(name), _escape(response), call_id)
    return part


def _escape(item: Any) -> Any:
    """Escape every string in plain data, keys too."""
    if isinstance(item, str):
        return item.translate(_ESCAPED)
    if isinstance(item, Mapping):
        return {_escape(key): _escape(inner) for key, inner in item.items()}
    if isinstance(item, Sequence):
        return [_escape(inner) for inner in item]
    return item
