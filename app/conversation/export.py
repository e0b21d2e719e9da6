"""A conversation as Markdown, with its pictures and sounds beside it."""

import re
import shutil
import time
from pathlib import Path

from .entries import Attachment, clock
from .history import History, ShownTurn


def write(history: History, media: Path, title: str, folder: Path) -> Path:
    """Write a conversation, whose files are in `media`, into a folder; nothing is overwritten.

    Returns:
        The Markdown file, named after the title. What was attached is in a folder of its name
        beside it.
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
    for turn in list(history.turns.values()):  # it may go on meanwhile
        lines += _turn(turn, media, beside)
    path.write_text("\n".join(lines), encoding="utf-8", errors="replace")
    return path


def _turn(turn: ShownTurn, media: Path, beside: Path) -> list[str]:
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
    """Copy its files, and return the lines that show them."""
    stem, name, chip = f"{attachment.kind}-{attachment.number}", attachment.name, attachment.chip
    files = [(stem, f"{chip[1:-1]}: {name}", attachment.file)]
    if attachment.frames:
        numbered = enumerate(attachment.frames, 1)
        files = [(f"{stem}-{n}", f"{name} {clock(at)}", file) for n, (at, file) in numbered]
    mark = "!" if attachment.kind == "image" or attachment.frames else ""
    lines = []
    for new, label, file in files:
        source = media / file
        if file and source.is_file():
            beside.mkdir(exist_ok=True)
            shutil.copyfile(source, beside / f"{new}{source.suffix}")
            lines.append(f"{mark}[{label}](<{beside.name}/{new}{source.suffix}>)")
        else:
            lines.append(f"{chip} (its file is not there any more)")
    return "\n\n".join(lines)
