"""A conversation as Markdown, with its pictures and sounds beside it."""

import re
import shutil
import time
from pathlib import Path

from .entries import Attachment
from .history import History, Turn


def write(history: History, media: Path, title: str, folder: Path) -> Path:
    """Write a conversation.

    Args:
        history: what to write.
        media: the folder with its files.
        title: of the document; its file is called like it.
        folder: where to; never over what is there.

    Returns:
        The Markdown file. What was attached lies in a folder of its name beside it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stem = re.sub(r"[^\w\- ]+", "", title).strip()[:60] or "conversation"
    path, count = folder / f"{stem}.md", 1
    while path.exists() or path.with_suffix("").exists():
        count += 1
        path = folder / f"{stem} {count}.md"
    beside = path.with_suffix("")
    lines = [f"# {title}", ""]
    if history.model:
        lines += [f"Answers by {history.model}.", ""]
    for turn in history.turns.values():
        lines += _turn(turn, media, beside)
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def _turn(turn: Turn, media: Path, beside: Path) -> list[str]:
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(turn.at))
    lines = [f"## {'You' if turn.role == 'user' else 'Gemma'}, {when}", ""]
    for attachment in turn.attachments:
        lines += [_link(attachment, media, beside), ""]
    if turn.heard:
        lines += [f"> Heard: {turn.heard.strip()}", ""]
    if turn.thought:
        lines += ["> " + line for line in turn.thought.strip().splitlines()] + [""]
    if turn.text:
        lines += [turn.text.strip(), ""]
    if turn.error is not None:
        lines += [f"**{turn.error[0]}** {turn.error[1]}", ""]
    if turn.facts:
        lines += [f"*{turn.facts}*", ""]
    return lines


def _link(attachment: Attachment, media: Path, beside: Path) -> str:
    """Copy a file and give the line that shows it."""
    source = media / attachment.file
    if not attachment.file or not source.is_file():
        return f"{attachment.chip} (its file is not there any more)"
    beside.mkdir(exist_ok=True)
    name = f"{attachment.kind}-{attachment.number}{source.suffix}"
    shutil.copyfile(source, beside / name)
    mark = "!" if attachment.kind == "image" else ""
    return f"{mark}[{attachment.chip[1:-1]}: {attachment.name}](<{beside.name}/{name}>)"
