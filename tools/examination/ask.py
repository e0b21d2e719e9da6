"""Ask a model the items of a row, and score its answers."""

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import mlx_gemma4 as g4
from mlx_gemma4.chat.messages import TextPart, Turn
from mlx_gemma4.chat.render import render
from mlx_gemma4.chat.tokenizer import Tokenizer
from mlx_gemma4.chat.tools import call
from mlx_gemma4.evaluate.logits import turn

from .item import Item, Row, exactly, folded, listed, names, other

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


def result(model: Any, tokenizer: Tokenizer, row: Row, asked: Item) -> Result:
    """Ask one item, and score the answer."""
    wanted = asked.exchanges[-1].answer
    given = likeliest(model, tokenizer, asked)
    if given is None or (given != wanted and _open(row, wanted, given)):
        given = answer(model, asked, len(tokenizer.encode(wanted)) + SPARE)
    right = (row.judge or exactly)(wanted, given)
    return Result(wanted, given, right, *_edits(row.errors, wanted, given))


def _open(row: Row, wanted: str, start: str) -> bool:
    """Whether an answer that starts so may still be right, or its errors are to be counted."""
    if row.errors:
        return True
    if row.judge is names:  # nothing that follows the other word can be right
        return other(wanted) not in start.lower()
    if row.judge in (folded, listed):
        plain, opening = ("".join(filter(str.isalnum, t.replace(" and", "").lower()))
                        for t in (wanted, start))  # fmt: skip
        return plain.startswith(opening)
    return row.judge is not None


def answer(model: Any, asked: Item, longest: int) -> str:
    """The last reply in a conversation of which the model answers every turn itself."""
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
    """Load the model; quantized weights are multiplied as the dense numbers they represent."""
    from mlx_gemma4.checkpoint.quantize import RECIPES, quantize
    from mlx_gemma4.evaluate.models import spread

    if precision == "full":
        return g4.load(folder)
    if precision == "4bit":
        model = g4.load(folder.with_name(folder.name + "-4bit"))
    else:
        model = g4.load(folder)
        quantize(model, RECIPES[precision])
    spread(model)
    return model


def likeliest(model: Any, tokenizer: Tokenizer, asked: Item) -> str | None:
    """The last answer of a conversation in one forward, which is much cheaper than decoding it.

    The right answers are fed and compared with the likeliest ids. Returns the right answer, or it
    as far as it would be drawn and one id more; None where an answer before it would be another.
    """
    turns: list[Turn] = []
    spans = []
    for exchange in asked.exchanges:
        user = turn(exchange.asked(), model.config)
        model_turn = Turn("model", (TextPart(exchange.answer),))
        prompt = render([*turns, user], tokenizer, model.config, tools=asked.tools)
        end = "<|tool_response>" if asked.tools else "<turn|>"
        ids = [*tokenizer.encode(exchange.answer, special=True), tokenizer.token_id(end)]
        spans.append((len(prompt.token_ids), ids))
        turns += [user, model_turn]
    fed = [*prompt.token_ids, *ids[:-1]]
    if any(fed[start:][: len(ids)] != ids for start, ids in spans[:-1]):
        return None
    inputs = model.embed(np.array(fed), prompt.images, audio=prompt.audio)
    logits = model.logits(model.hidden(inputs, model.make_cache()))
    drawn = logits[0].argmax(-1).tolist()
    *before, last = [drawn[start - 1 :][: len(ids)] for start, ids in spans]
    if before != [ids for _, ids in spans[:-1]]:
        return None
    if last == ids:
        return asked.exchanges[-1].answer
    first = next(n for n, (found, id_) in enumerate(zip(last, ids, strict=True)) if found != id_)
    return tokenizer.decode([*ids[:first], last[first]])


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
