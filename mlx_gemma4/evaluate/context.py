"""What is recalled from how far back, and is memory what `gemma4 fit` said?

Ten numbers lie in a long conversation, from its beginning to its end: as sentences, as pictures or
spoken, one kind at a time. It is read once, and asked ten times. Sound lies in the conversation as
sound, wherever it ends: nothing is written down in between, as a `Session` would for a model that
hears badly far back. Lengths go from 1,024 to 32,768 tokens; the set `long` adds 65,536 to 262,144.
Memory and speed are measured at the same lengths with random tokens, in processes of their own. A
limit is the most conversations of a length and kind, and the most lengths for memory.

For a laptop that reads 350 tokens a second, the usual lengths are a quarter of an hour, and those
of `long` two hours.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ..chat.messages import TextPart, Turn
from ..chat.render import render
from ..events import Token
from ..generation.prefill_decode import finish
from ..generation.sampler import Sampler
from ..limits import STEP
from ..model.config import Config, load_config
from ..session.prefix_cache import PrefixCache
from ..session.reply import DrawnReply
from ..session.rows import with_rows
from . import footprint, haystack, scores, small_haystack
from .haystack import DEPTHS, Haystack
from .models import Model, ours
from .parts import Part
from .question import Choice, Fact, Item, Row, Subject
from .questions import NAMES
from .reports import context as told

SHORT = tuple(1024 * 2**n for n in range(6))
LONG = tuple(1024 * 2**n for n in range(6, 9))
SMALL = (128, 192, 256, 384, 512, 1024)
"""Lengths for the tiny model, whose conversations were short when it learned."""
_MOST = 24  # tokens of an answer
_SMALL_TIMES = 3  # conversations of each length, depth and kind for the tiny model


class Context:
    """Hides needles, and measures memory."""

    name = "context"
    about = NAMES["context"]
    sets: Mapping[str, str] = {
        "text": "numbers told in ten places of Python's documentation",
        "picture": "numbers on signs, within the same",
        "sound": "spoken numbers, within the same",
        "tiny-picture": "receipts among questions of the tiny model's world",
        "tiny-sound": "spoken digits among greetings of its world",
        "memory": "memory and speed beside the prediction of `gemma4 fit`",
        "long": "also 65,536 to 262,144 tokens",
    }
    needs = frozenset({"cache"})

    def __init__(self) -> None:
        self._held: tuple[object, Haystack, PrefixCache] | None = None

    def items(self, choice: Choice, subject: Subject) -> Sequence[Item]:
        """List memory first, while no model is in this process; then one conversation at a time."""
        self._held = None
        config = load_config(ours(subject).folder)
        sets = [name for name in choice.sets if name != "long"] or _usual(choice, config)
        most = config.text_config.max_position_embeddings
        wanted = SHORT + (LONG if "long" in choice.sets else ())
        # of the whole context, less what is said after it
        lengths = [min(length, most - STEP) for length in wanted if length <= most]
        found: list[Item] = []
        if "memory" in sets:
            for length in lengths[: choice.limit]:
                facts: dict[str, Fact] = {"kind": "memory", "length": length}
                found.append(Item(f"memory-{length}", facts))
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
            return footprint.measure(model.folder, int(str(facts["length"])), None, model.force)
        hay, cache = self._read(model, item)
        place = int(str(facts["place"])) if len(hay.asked) > 1 else 0
        question, wanted = list(hay.asked.items())[place]
        turns = [*hay.turns, Turn("user", (TextPart(question),))]
        prompt = render(turns, model.tokenizer, model.model.config)
        fed = finish(cache.feed(with_rows(prompt, turns, model.model.config)))
        assert fed is not None
        logits, _ = fed
        answer = DrawnReply(model.tokenizer, model.model.config)
        sampler = Sampler(0.0, suppress=model.model.config.suppress_tokens)
        events = answer.take(cache.draw(logits, sampler, _MOST))
        given = "".join(event.text for event in events if isinstance(event, Token))
        asked = scores.score(wanted, given.strip(), told.number)
        return {**asked, "tokens": len(prompt.token_ids)}

    def report(self, rows: Sequence[Row], choice: Choice) -> Sequence[Part]:
        """Recall by length and depth; memory and speed by length."""
        return told.report(rows)

    def _read(self, model: Model, item: Item) -> tuple[Haystack, PrefixCache]:
        """The item's conversation, and the cache in which it has been read."""
        facts, config = item.facts, load_config(model.folder)
        name, length = str(facts["needle"]), int(str(facts["length"]))
        small = name.startswith("tiny-")
        key = (model, item.id.rpartition("-")[0], facts["depth"] if small else None)
        if self._held is None or self._held[0] != key:
            self._held = None  # its cache is freed before another one grows
            seed = f"{facts['seed']}-{facts['turn']}"
            if small:
                kind, depth = name.removeprefix("tiny-"), int(str(facts["place"])) / (DEPTHS - 1)
                hay = small_haystack.build(kind, length, depth, seed, model.tokenizer, config)
            else:
                if not model.force:
                    footprint.check(model.folder, length, loaded=model.is_loaded)
                hay = haystack.build(name, length, seed, model.tokenizer, config)
            self._held = (key, hay, PrefixCache(model.model))
        return self._held[1], self._held[2]


def _needles(name: str, seed: int, length: int, turn: int) -> list[Item]:
    """The ten depths of one conversation."""
    return [
        Item(
            f"{name}-{seed}-{length}-{turn}-{place}",
            {
                "kind": "needle",
                "needle": name,
                "length": length,
                "depth": round(100 * place / (DEPTHS - 1)),
                "place": place,
                "seed": seed,
                "turn": turn,
            },
        )
        for place in range(DEPTHS)
    ]


def _usual(choice: Choice, config: Config) -> list[str]:
    if choice.tiny:
        return ["memory", "tiny-picture", "tiny-sound"]
    seen = ["picture"] if config.vision_config is not None else []
    heard = ["sound"] if config.audio_config is not None else []
    return ["memory", "text", *seen, *heard]


QUESTION = Context()
