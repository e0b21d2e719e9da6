"""How many tokens of a drafter are accepted, and what is gained?

Each prompt is answered without proposals, with those that pay (auto) and by lookup, in that order
and back, so that a machine that becomes slower slows all alike; and once with `LONGEST` proposals
at a time, which shows what is accepted by place. Answers are the likeliest, and the same each time.
"""

import random
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..checkpoint.drafter import load_drafter
from ..errors import Gemma4Error
from ..events import Done
from ..generation.drafting import Draft
from ..generation.policy import LONGEST
from ..hub import catalog
from ..hub.conversations import EVENTS, entries
from . import scores, surroundings
from .models import OurModel, ours
from .pages import invented, texts
from .question import Asked, Choice, Item, Line, Part, Plot, Row, Subject, Table, Words
from .statistics import ratio
from .tiny.tasks import EXAMINATION, Tasks, drawn

USUAL = 4  # items of each kind
AGAIN = "again"  # the fact of an item that is asked twice, of which the second time counts
KINDS = ("prose", "code", "transcription", "quoting", "JSON")
SEEN = ("transcription", "JSON")  # those with a picture
MODES: tuple[Draft, ...] = ("off", "auto", "lookup")


def attach(model: OurModel, drafter: str | None = None) -> str:
    """Load the drafter of a model, or the chosen one; return its folder."""
    folder = catalog.resolve(drafter, "drafter") if drafter else catalog.drafter_of(model.package)
    if folder is None:
        raise Gemma4Error(
            "drafter_missing",
            "No drafter is installed",
            f"The catalogue has none of {model.name} on this machine.",
            "Download it, or name its folder with --drafter.",
        )
    if model.model.drafter is None:
        model.model.attach(load_drafter(folder, model.model))
    return str(folder)


def speeds(
    model: OurModel, asked: Asked, again: bool, modes: Sequence[Draft], pause: float = 0.0
) -> Iterator[tuple[Draft, float, int, int]]:
    """Answer in each mode, and in each once more from the last to the first.

    The machine rests after each for `pause` times as long as that took.

    Yields:
        mode, seconds from what was read to the last token, tokens after the first, and forwards.
    """
    for mode in (*modes, *reversed(modes)):
        started = time.perf_counter()
        stats, _ = reply(model, asked, again, mode)
        time.sleep(pause * (time.perf_counter() - started))
        tokens = int(stats["reply_tokens"]) - 1
        if tokens > 0:
            seconds = tokens / stats["tokens_per_second"]
            yield mode, seconds, tokens, int(stats["target_forwards"])


def reply(
    model: OurModel, asked: Asked, again: bool, draft: Draft
) -> tuple[Mapping[str, float], list[tuple[int, int]]]:
    """Answer once: the stats, and (proposed, accepted) of each forward."""
    session = model.session(asked, draft)
    for _ in range(again):
        for _ in session.reply(asked.most, temperature=0.0):
            pass
        model.add(session, asked)
    *_, done = session.reply(asked.most, temperature=0.0)
    assert isinstance(done, Done), "a reply ends with Done"
    return done.stats, session.cache.drafting.rounds


def items_for(choice: Choice, subject: Subject) -> list[Item]:
    """List the items: of the user's folder, else of the chosen kinds."""
    if choice.folder is not None:
        return own(choice.folder, choice.limit)
    usual = list(TINY if choice.tiny else KINDS)
    if "image" not in subject.takes:
        usual = [name for name in usual if name not in SEEN]
    found = []
    for name in choice.sets or usual:
        make = TINY.get(name) or partial(_work, name)
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
    prompts = [path.read_text("utf-8-sig", errors="replace") for path in files]
    for path in sorted(folder.glob(f"*/{EVENTS}")):
        asked = (entry for entry in entries(path) if entry.get("is") == "asked")
        prompts += (str(entry.get("text", "")) for entry in asked)
    kept = dict.fromkeys(text for text in prompts if text.strip())
    if not kept:
        raise _none(folder, "It has neither texts (.txt, .md) nor conversations of the program.")
    facts = {"kind": "your own", AGAIN: False}
    items = [
        Item(f"own-{zlib.crc32(text.encode()):08x}", facts, partial(Asked, "", text))
        for text in kept
    ]
    return items[:limit]


def _none(folder: Path, cause: str) -> Gemma4Error:
    return Gemma4Error(
        "folder_unusable",
        f"There are no prompts in {folder}",
        cause,
        "Put a text file for each prompt there, or ask the program something first.",
    )


def _work(kind: str, id_: str) -> Asked:
    """Work of one of KINDS, the same for the same name."""
    rng = random.Random(id_)
    if kind == "prose":
        name, _ = texts.passage(rng, 600)
        return Asked("", f"Explain to a beginner, in about 150 words, what {name} is.")
    if kind == "code":
        name, lines = texts.program(rng, 700)
        shown = "\n".join(lines)
        return Asked("", f"Write tests with pytest for this part of {name}:\n\n{shown}")
    if kind == "quoting":
        shown = "\n\n".join(texts.passage(rng, 2000)[1])
        return Asked("", f"{shown}\n\nQuote the first two paragraphs word for word.")
    receipt = invented.receipts(zlib.crc32(id_.encode()), SEEN.index(kind))[0]
    question = 'Answer with JSON alone: {"goods": [{"name": "", "price": 0}], "total": 0}.'
    if kind == "transcription":
        question = receipt.requests[0].text
    return Asked("", question, (receipt.image,))


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


class DrafterQuestion:
    name = "drafter"
    sets = (*KINDS, *TINY)
    needs = frozenset({"cache"})

    def __init__(self) -> None:
        self._drafter: str | None = None

    def items(self, choice: Choice, subject: Subject) -> Sequence[Item]:
        self._drafter = choice.drafter
        # results of another drafter are not this one's
        own = surroundings.revision(Path(attach(ours(subject), self._drafter)))[:8]
        found = items_for(choice, subject)
        return [replace(item, id=f"{item.id}-{own}") for item in found]

    def measure(self, subject: Subject, item: Item) -> Mapping[str, Any]:
        model, again = ours(subject), bool(item.facts[AGAIN])
        attach(model, self._drafter)
        asked = item.make()
        measured: dict[str, Any] = {"seconds": {}, "forwards": {}}
        for mode, seconds, tokens, forwards in speeds(model, asked, again, MODES):
            measured["tokens"] = tokens
            measured["seconds"].setdefault(mode, []).append(seconds)
            measured["forwards"][mode] = forwards
        # the last forwards of a reply have room for fewer proposals
        _, rounds = reply(model, asked, again, LONGEST)
        measured["accepted"] = [one for drafted, one in rounds if drafted == LONGEST]
        return measured

    def report(self, rows: Sequence[Row]) -> Sequence[Part]:
        several = len(scores.by_subject(rows)) > 1
        places, gains, accepted, lengths = [], [], {}, {}
        for subject, answers in scores.by_subject(rows).items():
            for (kind,), of in scores.groups(answers, "kind").items():
                name = f"{subject}: {kind}" if several else kind
                runs = [np.array(run) for row in of if (run := row.measured["accepted"])]
                shares, rates = _by_place(runs)
                if shares:
                    accepted[name], lengths[name] = shares, rates
                cells = [f"{share.value:.2f}" for _, share in shares]
                places.append([name, str(len(of)), *cells, *[""] * (LONGEST - len(cells))])
                if timed := [row.measured for row in of if row.measured["seconds"]]:
                    gains.append([name, *_gain(timed, "auto"), *_gain(timed, "lookup")])
        heads = ["kind", "auto: a forward", "times as fast", "lookup: a forward", "times as fast"]
        return [
            Words("What is accepted", "Share of the drafter's tokens that the model drew, of those "
                  f"before which all were, with {LONGEST} proposed at a time."),
            Table("", ["kind", "items", *map(str, range(1, LONGEST + 1))], places),
            Plot("places", "Accepted tokens by place", "place", "share", accepted, share=True),
            Plot("lengths", "Tokens a forward of the model, by how many are proposed",
                 "tokens proposed", "tokens a forward", lengths),
            Words("What is gained", "Tokens a second against none proposed, and tokens a forward."),
            Table("", heads, gains),
        ]  # fmt: skip


def _by_place(runs: Sequence[np.ndarray]) -> tuple[Line, Line]:
    """The share that is accepted at each place, and tokens a forward with so many proposed."""
    shares, rates = [], []
    for place in range(1, LONGEST + 1):
        reached = [int((run >= place - 1).sum()) for run in runs]
        if sum(reached) == 0:
            break
        kept = [int((run >= place).sum()) for run in runs]
        given = [int((1 + np.minimum(run, place)).sum()) for run in runs]
        shares.append((place, ratio(kept, reached)))
        rates.append((place, ratio(given, [len(run) for run in runs])))
    return shares, rates


def _gain(timed: Sequence[Mapping[str, Any]], mode: Draft) -> list[str]:
    """Tokens a forward in a mode, and how many times as fast it is as none proposed."""
    seconds = [[sum(m["seconds"][how]) for m in timed] for how in ("off", mode)]
    forwards = [max(1, m["forwards"][mode]) for m in timed]
    rate = ratio([m["tokens"] + 1 for m in timed], forwards)
    return [f"{rate.value:.2f}", f"{ratio(*seconds):.2f}"]


QUESTION = DrafterQuestion()
