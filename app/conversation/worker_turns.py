"""A conversation's turns and attachments as commands to a worker."""

from pathlib import Path

from mlx_gemma4.runtime.commands import AddImage, AddSound, AddText, AddVideo, PastTurn

from .entries import Attachment
from .history import History, ShownTurn

Adding = AddText | AddImage | AddSound | AddVideo


def adding(attachment: Attachment, folder: Path, conversation: str) -> Adding:
    """Return the command that adds an attachment.

    Its files are in `folder`, unless they have a path of their own.

    Raises:
        OSError: a text cannot be read.
    """
    path = folder / attachment.file
    match attachment.kind:
        case "image":
            return AddImage(path, attachment.budget, conversation=conversation)
        case "sound":
            return AddSound(path, conversation=conversation)
        case "video":
            film = [(seconds, folder / file) for seconds, file in attachment.frames]
            return AddVideo(film or path, conversation=conversation)
        case "text":
            content = path.read_text(encoding="utf-8", errors="replace")
            return AddText(f"{attachment.name}:\n{content}\n", conversation=conversation)


def question_parts(turn: ShownTurn, folder: Path, conversation: str) -> list[Adding]:
    """Return the commands that add a question.

    A file that is gone becomes a line of text; one that cannot be read is left out. Where the
    model knows the words that were heard instead of the sound, they take its place.
    """
    parts: list[Adding] = []
    for attachment in turn.attachments:
        path = folder / attachment.file
        if turn.relayed and attachment.kind == "sound":
            continue
        if not attachment.frames and not path.is_file():
            missing = f"[{attachment.name} is not there any more]"
            parts.append(AddText(missing, conversation=conversation))
            continue
        try:
            parts.append(adding(attachment, folder, conversation))
        except OSError:
            continue
    if turn.relayed and turn.heard:
        parts.append(AddText(turn.heard, conversation=conversation))
    if turn.text:
        parts.append(AddText(turn.text, conversation=conversation))
    return parts


def past_turns(
    history: History, folder: Path, conversation: str
) -> tuple[tuple[PastTurn, ...], list[ShownTurn]]:
    """Return what a worker needs to hold a conversation as it is.

    Returns:
        The turns up to the last answer, and the questions after it, which nobody has answered.
    """
    past: list[PastTurn] = []
    questions: list[ShownTurn] = []
    for turn in history.turns.values():
        if turn.role == "user" and turn.over:
            questions.append(turn)
        elif turn.role == "model" and turn.over and turn.text and questions:
            parts = [
                part for one in questions for part in question_parts(one, folder, conversation)
            ]
            past.append(PastTurn("user", tuple(parts)))
            said = AddText(turn.text, conversation=conversation)
            stopped = turn.state != "done"
            past.append(PastTurn("model", (said,), turn.ids, interrupted=stopped))
            questions = []
    return tuple(past), questions
