"""Conversations that the terminal program keeps, as lines to learn from.

What was taken back or asked again is not in them any more, so what is left is what their user kept:
each finished answer is learned. An answer that was stopped or failed ends what can be learned of
its conversation, and so does a file that is gone.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import Gemma4Error, counted
from ..hub.conversations import EVENTS, entries
from .sources import Line

_KINDS = {"image": "image", "sound": "audio", "video": "video"}

Message = dict[str, Any]


def lines(place: Path) -> tuple[list[Line], int]:
    """Read all conversations of a folder, the oldest first.

    Returns:
        Those with a finished answer, a line each, and how many others there are.

    Raises:
        Gemma4Error: none has one.
    """
    found, others = [], 0
    for path in sorted(place.glob(f"*/{EVENTS}")):
        if messages := _messages(_turns(entries(path)), path.parent):
            title = f"conversation {path.parent.name}"
            found.append(Line(title, path.parent, {"messages": messages}, may_lack=True))
        else:
            others += 1
    if not found:
        raise Gemma4Error(
            "data_unusable",
            "There are no conversations to learn from",
            f"{place} has {counted(others, 'conversation')}, none of them with a finished answer.",
            "Talk to the model in the program (`gemma4`), or name a file of data.",
        )
    return found, others


@dataclass
class _Turn:
    role: str
    attachments: list[Mapping[str, Any]] = field(default_factory=list)
    text: str = ""
    heard: str = ""
    relayed: bool = False
    done: bool = False


def _turns(entries: Iterable[Mapping[str, Any]]) -> list[_Turn]:
    """Fold the entries into what was kept, in order."""
    turns: dict[int, _Turn] = {}
    waiting: dict[str, Mapping[str, Any]] = {}
    for entry in entries:
        number = entry.get("turn")
        turn = turns.get(number) if isinstance(number, int) else None
        match entry.get("is"):
            case "begun" if isinstance(number, int):
                turns[number] = _Turn(str(entry.get("role")))
            case "attached" if isinstance(one := entry.get("attachment"), dict):
                sent = [old.get("id") for turn in turns.values() for old in turn.attachments]
                if one.get("id") not in sent:  # else only its facts have changed
                    waiting[str(one.get("id"))] = one
            case "detached":
                waiting.pop(str(entry.get("attachment")), None)
            case "asked" if turn:
                turn.text, turn.done = str(entry.get("text", "")), True
                turn.attachments, waiting = [*waiting.values()], {}
            case "said" if turn and entry.get("piece") in ("text", "heard"):
                piece = entry["piece"]
                setattr(turn, piece, getattr(turn, piece) + str(entry.get("text", "")))
                turn.relayed |= entry.get("relayed") is True
            case "ended" if turn:
                finished = entry.get("reason") not in ("length", "context")
                turn.done = entry.get("outcome") == "done" and finished
            case "removed" if isinstance(number, int):
                turns = {key: value for key, value in turns.items() if key < number}
    return list(turns.values())


def _messages(turns: Iterable[_Turn], place: Path) -> list[Message]:
    """Messages up to the last answer that can be learned."""
    result: list[Message] = []
    question: list[Message] = []
    for turn in turns:
        if turn.role == "user":
            parts = _question(turn, place) if turn.done else None
            if parts is None:
                break
            question += parts
        elif turn.done and turn.text.strip() and question:
            result.append({"role": "user", "content": question})
            result.append({"role": "assistant", "content": turn.text})
            question = []
        else:
            break
    return result


def _question(turn: _Turn, place: Path) -> list[Message] | None:
    """The parts of a question in the order of the program; None where a file is gone."""
    parts: list[Message] = []
    for one in turn.attachments:
        kind, file = one.get("kind"), str(one.get("file", ""))
        if kind == "sound" and turn.relayed:
            continue  # the model knew the words instead
        if one.get("frames") or not (place / file).is_file():
            return None
        if kind == "text":
            content = (place / file).read_text("utf-8", errors="replace")
            parts.append({"type": "text", "text": f"{one.get('name')}:\n{content}\n"})
        elif kind in _KINDS:
            parts.append({"type": _KINDS[kind], "path": file})
    if turn.relayed and turn.heard:
        parts.append({"type": "text", "text": turn.heard})
    if turn.text:
        parts.append({"type": "text", "text": turn.text})
    return parts
