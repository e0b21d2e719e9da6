"""Rows of the table about conversation: wordings, turns, what is outside its world, tools, JSON."""

import json
import random
from dataclasses import replace
from inspect import signature

from mlx_gemma4 import Session
from mlx_gemma4.chat.tools import call
from mlx_gemma4.evaluate.tiny.receipts import ITEMS
from mlx_gemma4.evaluate.tiny.tasks import Exchange
from mlx_gemma4.events import ToolCall

from . import hearing, talk
from .item import Item, Row, folded, heard, names, one, shown
from .reading import ASKED, known, printed, receipt


def wording(rng: random.Random) -> Item:
    """A typed question in words that training did not use."""
    paper = receipt(rng)
    kind = rng.choice(tuple(talk.WORDINGS))
    return one(shown(printed(rng, paper), talk.question(rng, kind), paper.answer(kind)))


def case(rng: random.Random) -> Item:
    """A known question in any case and with any mark at its end."""
    paper = receipt(rng)
    kind = rng.choice(ASKED)
    question = talk.styled(rng, known(rng, kind).rstrip("?"))
    return one(shown(printed(rng, paper), question, paper.answer(kind)))


def spoken_wording(rng: random.Random) -> Item:
    """A spoken question in words that training did not use."""
    paper = receipt(rng)
    kind = rng.choice(tuple(talk.WORDINGS))
    before = shown(printed(rng, paper), "", paper.answer(kind))
    return heard(before.answer, hearing.say(rng, talk.question(rng, kind).lower()), before)


def follow_up(rng: random.Random) -> Item:
    """A typed question, then a spoken one about the same picture."""
    paper = receipt(rng)
    first, second = rng.sample(ASKED, 2)
    spoken = known(rng, second).rstrip("?")
    return one(
        shown(printed(rng, paper), known(rng, first), paper.answer(first)),
        Exchange(paper.answer(second), sound=hearing.say(rng, spoken)),
    )


def two_pictures(rng: random.Random) -> Item:
    """The total of either of two receipts, the second of which came a turn later."""
    one_, other = receipt(rng), receipt(rng)
    kind = rng.choice(("total", "tax", "date"))
    return one(
        shown(printed(rng, one_), known(rng, kind), one_.answer(kind)),
        shown(printed(rng, other), known(rng, kind), other.answer(kind)),
    )


def more(rng: random.Random) -> Item:
    """Which of two receipts is more."""
    one_, other = receipt(rng), receipt(rng)
    wanted = "the first" if float(one_.total) > float(other.total) else "the second"
    return one(
        shown(printed(rng, one_), "what is the total?", one_.total),
        shown(printed(rng, other), "what is the total?", other.total),
        Exchange(wanted, rng.choice(talk.MORE)),
    )


def greeting(rng: random.Random) -> Item:
    """Who it is and what it can do."""
    return one(Exchange(talk.INTRODUCTION, talk.styled(rng, rng.choice(talk.GREETINGS))))


def outside(rng: random.Random) -> Item:
    """A question that the small world has no answer to."""
    question = rng.choice(talk.OUTSIDE)
    return one(Exchange("", rng.choice((question, question.capitalize() + "?"))))


def blind(rng: random.Random) -> Item:
    """A question about a receipt that is not there."""
    kind = rng.choice(ASKED)
    return one(Exchange(talk.BLIND, talk.question(rng, kind)))


def tool(rng: random.Random) -> Item:
    """A command that a declared tool can do, typed or spoken."""
    app = rng.choice(talk.APPS)
    command = rng.choice(talk.OPEN).format(app)
    answer = call(ToolCall("call", "open_app", {"name": app}))
    exchange = Exchange(answer, command)
    if rng.random() < 0.5:
        exchange = Exchange(answer, sound=hearing.say(rng, command), said=command)
    return one(exchange, tools=[talk.TOOL])


def structured(rng: random.Random) -> Item:
    """Two fields as JSON."""
    paper = receipt(rng)
    kinds = rng.sample(("total", "tax", "date", "shop"), 2)
    question = f"answer as JSON with the keys {kinds[0]} and {kinds[1]}"
    answer = json.dumps({kind: paper.answer(kind) for kind in kinds})
    return one(shown(printed(rng, paper), question, answer))


def later_sound(rng: random.Random) -> Item:
    """A spoken command after a receipt and its answer, or after text of about 250 tokens."""
    from mlx_gemma4.evaluate.tiny import words

    sentence = words.command(rng, examination=True)
    listen = Exchange(sentence, "write down what you hear", sound=hearing.say(rng, sentence))
    if rng.random() < 0.5:
        paper = receipt(rng)
        return one(shown(printed(rng, paper), known(rng, "total"), paper.total), listen)
    talked = " ".join(rng.choices(ITEMS, k=80))
    return one(
        Exchange(talk.INTRODUCTION, "hello"),
        replace(listen, question=f"{talked}. {listen.question}"),
    )


def same_json(wanted: str, given: str) -> bool:
    """JSON of the same value."""
    try:
        return bool(json.loads(given) == json.loads(wanted))
    except ValueError:
        return False


def rows() -> list[Row]:
    calls = [Row("tool call, typed or spoken", tool, 0.9)]
    return [
        Row("typed question, words never met", wording, 0.9),
        Row("spoken question, words never met", spoken_wording, 0.9),
        Row("any case and punctuation", case, 0.9),
        Row("spoken follow-up", follow_up, 0.97),
        Row("either of two pictures", two_pictures, 0.85),
        Row("which of two is more", more, 0.85, judge=names),
        Row("sound after a receipt or 250 tokens", later_sound, errors="words", count=0.5),
        Row("who it is", greeting, 0.9, judge=folded),
        Row("a receipt that is not there", blind, 0.9),
        Row("outside its world: inventions", outside, 0.05, judge=lambda _, g: talk.declines(g),
            invention=True),
        *(calls if "tools" in signature(Session).parameters else ()),
        Row("two fields as JSON", structured, 0.85, judge=same_json),
    ]  # fmt: skip
