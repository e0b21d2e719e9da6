"""What is recalled from how far back, and is memory as `gemma4 fit` predicts it?

Ten numbers are in a long conversation, from its start to its end: as sentences, as pictures or
spoken, one kind at a time. It is read once, and asked ten times. Sound stays in the conversation as
sound, however far back: it is not transcribed first, as a `Session` would for a model that hears
badly far back. Lengths go from 1,024 to 32,768 tokens; the set `long` adds 65,536 to 262,144.
Memory and speed are measured at the same lengths with random tokens, in processes of their own. A
limit is the most conversations of a length and kind, and the most lengths for memory.
"""

import re
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from ..events import Done, Token
from ..limits import STEP
from ..model.config import load_config
from ..session.session import Session
from . import footprint, haystack, scores
from .haystack import DEPTHS, Haystack
from .models import OurModel, ours
from .question import Choice, Item, Part, Plot, Row, Subject, Table, Words

SHORT = tuple(1024 * 2**n for n in range(6))
LONG = tuple(1024 * 2**n for n in range(6, 9))
SMALL = (128, 192, 256, 384, 512, 1024)
"""Lengths for the tiny model, whose conversations were short when it learned."""
_MOST = 24  # tokens of an answer
_SMALL_TIMES = 3  # conversations of each length, depth and kind for the tiny model

_NAMES = {  # of the needles, by set
    "text": "a sentence",
    "picture": "a sign",
    "sound": "spoken",
    "tiny-picture": "a receipt",
    "tiny-sound": "spoken digits",
}


class Context:
    name = "context"
    sets = (*_NAMES, "memory", "long")
    needs = frozenset({"cache"})

    def __init__(self) -> None:
        self._held: tuple[object, Haystack, Session] | None = None

    def items(self, choice: Choice, subject: Subject) -> Sequence[Item]:
        self._held = None
        config = load_config(ours(subject).folder)
        usual = ["memory", "tiny-picture", "tiny-sound"]
        if not choice.tiny:
            media = {"image": "picture", "sound": "sound"}
            usual = ["memory", "text", *(media[of] for of in media if of in subject.takes)]
        sets = [name for name in choice.sets if name != "long"] or usual
        most = config.text_config.max_position_embeddings
        wanted = SHORT + (LONG if "long" in choice.sets else ())
        # of the whole context, less what follows it
        lengths = [min(length, most - STEP) for length in wanted if length <= most]
        found: list[Item] = []
        if "memory" in sets:
            for length in lengths[: choice.limit]:
                found.append(Item(f"memory-{length}", {"kind": "memory", "length": length}))
        for name in (name for name in sets if name != "memory"):
            small = name.startswith("tiny-")
            for length in SMALL if small else lengths:
                for turn in range(choice.limit or (_SMALL_TIMES if small else 1)):
                    found += _needles(name, choice.seed, length, turn)
        return found

    def measure(self, subject: Subject, item: Item) -> Mapping[str, Any]:
        """Ask for one needle, or measure memory at one length."""
        model, facts = ours(subject), item.facts
        if facts["kind"] == "memory":
            self._held = None
            model.close()
            return footprint.measure(model.folder, facts["length"], None, model.force)
        hay, session = self._read(model, item)
        question, wanted = list(hay.asked.items())[facts["place"] if len(hay.asked) > 1 else 0]
        session.open(hay.turns)  # without the needles that were asked for before
        session.add_text(question)
        *events, done = session.reply(_MOST, temperature=0.0)
        given = "".join(event.text for event in events if isinstance(event, Token))
        assert isinstance(done, Done), "a reply ends with Done"
        asked = scores.score(wanted, given.strip(), number)
        return {**asked, "tokens": done.stats["prompt_tokens"]}

    def report(self, rows: Sequence[Row]) -> Sequence[Part]:
        needles = [row for row in rows if row.facts["kind"] == "needle"]
        memory = [row for row in rows if row.facts["kind"] == "memory"]
        return [*(_recall(needles) if needles else ()), *(_memory(memory) if memory else ())]

    def _read(self, model: OurModel, item: Item) -> tuple[Haystack, Session]:
        """The item's conversation, and the session that reads it."""
        facts, config = item.facts, load_config(model.folder)
        name, length = facts["needle"], facts["length"]
        small = name.startswith("tiny-")
        key = (model, item.id.rpartition("-")[0], facts["depth"] if small else None)
        if self._held is None or self._held[0] != key:
            self._held = None  # its cache is freed before another one grows
            seed = f"{facts['seed']}-{facts['turn']}"
            if small:
                kind, depth = name.removeprefix("tiny-"), facts["place"] / (DEPTHS - 1)
                hay = haystack.build_small(kind, length, depth, seed, model.tokenizer, config)
            else:
                if not model.force:
                    footprint.check(model.folder, length, loaded=model.is_loaded)
                hay = haystack.build(name, length, seed, model.tokenizer, config)
            session = Session(model.model, hearing="direct", tokenizer=model.tokenizer)
            self._held = (key, hay, session)
        return self._held[1], self._held[2]


def _needles(name: str, seed: int, length: int, turn: int) -> list[Item]:
    facts = {"kind": "needle", "needle": name, "length": length, "seed": seed, "turn": turn}
    found = []
    for place in range(DEPTHS):
        here = {"depth": round(100 * place / (DEPTHS - 1)), "place": place}
        found.append(Item(f"{name}-{seed}-{length}-{turn}-{place}", facts | here))
    return found


def number(text: str) -> str:
    """An answer as it is compared: its digits, points and dashes, in one piece."""
    return "".join(re.findall(r"[\d.-]", text)).strip(".-")


def _recall(rows: Sequence[Row]) -> list[Part]:
    parts: list[Part] = [
        Words(
            "Recall",
            "Share of the numbers that are answered correctly. Chance is the same answers, each "
            "beside another question of the same kind and length.",
        )
    ]
    heads = ["needle", "length", "tokens", "n", "recalled", "chance"]
    lines, drawn, depths = [], {}, []
    several = len(scores.by_subject(rows)) > 1
    for subject, asked in scores.by_subject(rows).items():
        who = f", {subject}" if several else ""
        for (needle,), of in scores.groups(asked, "needle").items():
            name = f"{_NAMES[needle]}{who}"
            drawn[name] = scores.curve(of, "length", scores.accuracy)
            title = f"{_NAMES[needle].capitalize()}{who}: by length and depth"
            depths.append(_depths(title, of))
            for (length,), some in scores.groups(of, "length").items():
                found = scores.accuracy(some)
                mixed = scores.shuffled(some, number)
                chance = f"{scores.accuracy(mixed).value:.3f}" if mixed else ""
                tokens = fmean(row.measured["tokens"] for row in some)
                cells = [f"{length:,}", f"{tokens:,.0f}", str(found.n), f"{found}"]
                lines.append([name, *cells, chance])
    title, y = "Recall by length of the conversation", "share recalled"
    plot = Plot("recall", title, "tokens", y, drawn, logarithmic=True, share=True)
    parts += [Table("", heads, lines), plot, *depths]
    if table := scores.differences(rows, "Recall, compared", lambda m: float(m["exact"])):
        parts.append(table)
    return parts


def _depths(title: str, rows: Sequence[Row]) -> Table:
    """Shares by length and depth, with how many there are of each where that is more than one."""
    depths = sorted({row.facts["depth"] for row in rows})
    lines = []
    for (length,), of in scores.groups(rows, "length").items():
        by = scores.groups(of, "depth")
        cells = []
        for depth in depths:
            hits = [row.measured["exact"] for row in by.get((depth,), [])]
            cells.append(f"{sum(hits)}/{len(hits)}" if hits else "")
        lines.append([f"{length:,}", *cells])
    return Table(f"{title} (% of the way to the end)", ["tokens", *map(str, depths)], lines)


def _memory(rows: Sequence[Row]) -> list[Part]:
    parts: list[Part] = [
        Words(
            "Memory and speed",
            "GB of 10^9 bytes. The peak is the higher of MLX's while the prompt is read and while "
            "tokens are drawn; beside it what `gemma4 fit` predicts. Rows are the caches' buffers. "
            "Resident is the process's own peak, with Python and libraries. One measurement each, "
            "in a process of its own.",
        )
    ]
    heads = ["tokens", "rows", "predicted", "peak", "predicted", "off by", "resident",
             "prefill tok/s", "decode tok/s"]  # fmt: skip
    several = len(scores.by_subject(rows)) > 1
    drawn, read, written = {}, {}, {}
    for subject, measured in scores.by_subject(rows).items():
        lines = []
        for row in measured:
            m = row.measured
            peak, said = footprint.peak(m), footprint.predicted(m)
            sizes = (m["rows"] / 1e9, m["predicted_rows"] / 1e9, peak, said)
            cells = [f"{size:.3f}" for size in sizes]
            cells += [f"{100 * (said / peak - 1):+.1f} %", f"{m['resident'] / 1e9:.3f}"]
            speeds = [f"{m[f'{what}_speed']:.1f}" for what in ("prefill", "decode")]
            lines.append([f"{row.facts['length']:,}", *cells, *speeds])
        parts.append(Table(subject, heads, lines))
        who = f", {subject}" if several else ""
        drawn[f"measured{who}"] = scores.single(measured, "length", footprint.peak)
        drawn[f"predicted{who}"] = scores.single(measured, "length", footprint.predicted)
        read[subject] = scores.single(measured, "length", lambda m: m["prefill_speed"])
        written[subject] = scores.single(measured, "length", lambda m: m["decode_speed"])
    x = "tokens of the conversation"
    return [
        *parts,
        Plot("memory", "Memory, measured and predicted", x, "GB", drawn, logarithmic=True),
        Plot("prefill", "Reading the prompt", x, "tokens a second", read, logarithmic=True),
        Plot("decode", "Writing after so many tokens", x, "tokens a second", written,
             logarithmic=True),
    ]  # fmt: skip


QUESTION = Context()
