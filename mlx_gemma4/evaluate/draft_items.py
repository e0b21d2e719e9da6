"""Kinds of work on which speculation is measured: ours, the tiny model's, and the user's own."""

import random
import zlib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from ..errors import Gemma4Error
from ..hub.conversations import EVENTS, entries
from .pages import receipts, texts
from .pages.page import VALUE
from .question import Asked, Choice, Item, Subject
from .tiny.tasks import EXAMINATION, Tasks, drawn

USUAL = 4  # items of each kind
MOST = 256  # tokens of an answer
AGAIN = "again"  # the fact of an item that is asked twice, of which the second time counts


def items(choice: Choice, subject: Subject) -> list[Item]:
    """List the items: of the user's folder, else of the chosen kinds."""
    if choice.folder is not None:
        return own(choice.folder, choice.limit)
    kinds = dict(TINY if choice.tiny else KINDS)
    if "image" not in subject.takes:
        kinds = {n: make for n, make in kinds.items() if make not in (_transcription, _json)}
    chosen = {name: kinds[name] for name in choice.sets if name in kinds} or kinds
    found = []
    for name, make in chosen.items():
        for number in range(choice.limit or USUAL):
            id_ = f"{name}-{choice.seed}-{number:04d}".replace(" ", "-")
            facts = {"kind": name, AGAIN: name == "read again"}
            found.append(Item(id_, facts, partial(make, id_)))
    return found


def own(folder: Path, limit: int | None) -> list[Item]:
    """The user's prompts: a text file each, or what was asked in the program's conversations.

    They stay on this machine: results hold only how often tokens were accepted.
    """
    if not folder.is_dir():
        raise _none(folder, "It is not there.")
    files = [p for p in sorted(folder.glob("[!.]*")) if p.suffix in (".txt", ".md") and p.is_file()]
    prompts = [path.read_text("utf-8", errors="replace") for path in files]
    for path in sorted(folder.glob(f"*/{EVENTS}")):
        asked = (entry for entry in entries(path) if entry.get("is") == "asked")
        prompts += (str(entry.get("text", "")) for entry in asked)
    kept = dict.fromkeys(text for text in prompts if text.strip())
    if not kept:
        raise _none(folder, "It has neither texts (.txt, .md) nor conversations of the program.")
    return [
        Item(f"own-{zlib.crc32(text.encode()):08x}", {"kind": "your own", AGAIN: False},
             partial(Asked, "", text, most=MOST))
        for text in kept
    ][: limit]  # fmt: skip


def _none(folder: Path, cause: str) -> Gemma4Error:
    return Gemma4Error(
        "folder_unusable",
        f"There are no prompts in {folder}",
        cause,
        "Put a text file for each prompt there, or ask the program something first.",
    )


def _prose(id_: str) -> Asked:
    name, paragraphs = texts.passage(random.Random(id_), 600)
    return Asked("", f"Explain to a beginner, in about 150 words, what {name} is.", most=MOST)


def _code(id_: str) -> Asked:
    name, lines = texts.program(random.Random(id_), 12)
    shown = "\n".join(lines)
    return Asked("", f"Write tests with pytest for this part of {name}:\n\n{shown}", most=MOST)


def _quoting(id_: str) -> Asked:
    _, paragraphs = texts.passage(random.Random(id_), 2000)
    shown = "\n\n".join(paragraphs)
    return Asked("", f"{shown}\n\nQuote the first two paragraphs word for word.", most=MOST)


def _transcription(id_: str) -> Asked:
    page = receipts.make(zlib.crc32(id_.encode()), 0)[0]
    return Asked("", page.requests[0].text, (page.image,), most=MOST)


def _json(id_: str) -> Asked:
    page = receipts.make(zlib.crc32(id_.encode()), 1)[0]
    wanted = 'Answer with JSON alone: {"goods": [{"name": "", "price": 0}], "total": 0}.'
    assert page.requests[1].kind == VALUE
    return Asked("", wanted, (page.image,), most=MOST)


KINDS: Mapping[str, Callable[[str], Asked]] = {
    "prose": _prose,
    "code": _code,
    "transcription": _transcription,
    "quoting": _quoting,
    "JSON": _json,
}


def _several(id_: str) -> Asked:
    """All lines of a receipt, with five other pictures of receipts before it."""
    tasks = Tasks(zlib.crc32(id_.encode()), EXAMINATION)
    shown = [tasks.asked("lines")[0] for _ in range(6)]
    images = tuple(one.drawing.image for one in shown if one.drawing is not None)
    return Asked(shown[-1].answer, shown[-1].question, images, (), 70, most=160)


TINY: Mapping[str, Callable[[str], Asked]] = {
    "all lines": partial(drawn, kind="lines"),
    "a value": partial(drawn, kind="total"),
    "spoken command": partial(drawn, kind="commands"),
    "read again": partial(drawn, kind="lines"),
    "several pictures": _several,
}
