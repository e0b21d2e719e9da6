"""Ask a model the items of a row, and say what was right."""

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx_gemma4 as g4
from mlx_gemma4.chat.tools import call
from mlx_gemma4.evaluate.logits import answered
from mlx_gemma4.evaluate.question import Asked

from .item import Item, Row, exactly

SPARE = 16  # tokens that an answer may be longer than the right one: enough to see that it is wrong


@dataclass(frozen=True)
class Result:
    """What was wanted, what came, whether it is right, and edits over length of what was wanted."""

    wanted: str
    given: str
    right: bool
    edits: int = 0
    length: int = 0


def item(row: Row, number: int, seed: int) -> Item:
    """An item of a row; rows that are paired have the same ones but for what the second adds."""
    return row.make(random.Random(f"{seed} {row.beside or row.name} {number}"))


def result(model: Any, tokenizer: Any, row: Row, asked: Item) -> Result:
    """Ask one item."""
    wanted = asked.exchanges[-1].answer
    certain = row.judge is None and len(asked.exchanges) == 1 and not asked.tools
    if certain and _greedy(model, tokenizer, asked):
        given = wanted
    else:
        given = answer(model, asked, len(tokenizer.encode(wanted)) + SPARE)
    right = (row.judge or exactly)(wanted, given)
    return Result(wanted, given, right, *_edits(row.errors, wanted, given))


def answer(model: Any, asked: Item, longest: int) -> str:
    """The last reply in a conversation of which the model gives every answer itself."""
    options = {"tools": asked.tools} if asked.tools else {}
    budget = next((e.budget for e in asked.exchanges if e.drawing is not None), 70)
    session = g4.Session(model, image_tokens=budget, **options)
    reply = ""
    for exchange in asked.exchanges:
        if exchange.drawing is not None:
            session.add_image(exchange.drawing.image)
        if exchange.question:
            session.add_text(exchange.question)
        if exchange.sound is not None:
            session.add_audio(exchange.sound, 16000)
        reply = ""
        for event in session.reply(longest, temperature=0.0):
            if isinstance(event, g4.Token):
                reply += event.text
            elif isinstance(event, g4.ToolCall):
                reply += call(event)
    return reply


def load(precision: str, folder: Path) -> Any:
    """Load the model; quantized weights are multiplied as the dense numbers they stand for."""
    from mlx_gemma4.checkpoint.quantize import RECIPES, quantize
    from mlx_gemma4.evaluate.dense import spread

    if precision == "full":
        return g4.load(folder)
    if precision == "4bit":
        model = g4.load(folder.with_name(folder.name + "-4bit"))
    else:
        model = g4.load(folder)
        quantize(model, RECIPES[precision])
    spread(model)
    return model


def _greedy(model: Any, tokenizer: Any, asked: Item) -> bool:
    """Whether every id of the answer is the likeliest one: three times cheaper than decoding it."""
    exchange = asked.exchanges[0]
    question = Asked(
        text=exchange.question,
        wanted=exchange.answer,
        images=() if exchange.drawing is None else (exchange.drawing.image,),
        sounds=() if exchange.sound is None else (exchange.sound,),
        image_tokens=exchange.budget,
    )
    return answered(model, tokenizer, question).is_greedy


def _edits(errors: str, wanted: str, given: str) -> tuple[int, int]:
    if not errors:
        return 0, 0
    import jiwer

    if errors == "characters":
        counted = jiwer.process_characters(wanted, given)
    else:
        counted = jiwer.process_words(_words(wanted), _words(given))
    edits = counted.substitutions + counted.deletions + counted.insertions
    return edits, counted.hits + counted.substitutions + counted.deletions


def _words(text: str) -> str:
    """Digits are words: `4071` is four of them."""
    return " ".join(text) if text.isdigit() else text
