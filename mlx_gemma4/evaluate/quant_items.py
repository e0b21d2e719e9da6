"""Items at which recipes are compared: text, pictures, sound; of the tiny model's world or ours."""

import random
from dataclasses import replace
from functools import partial

from . import haystack
from .question import Asked, Choice, Item, Subject
from .questions import named
from .tiny.tasks import drawn

SETS = ("tiny-text", "tiny-picture", "tiny-sound", "text", "facts", "picture", "sound")
SMALL, USUAL = 32, 16  # items of each set for the tiny model, and for others
_SHOWN = ("total", "tax", "date", "shop", "count", "lines")
_PASSAGE, _GOES_ON = 1200, 240  # characters
_GO_ON = "Go on with this text, word for word, from where it stops:\n\n"


def items(choice: Choice, subject: Subject) -> list[Item]:
    usual: tuple[str, ...] = ("tiny-text", "tiny-picture", "tiny-sound")
    if not choice.tiny:
        takes = {"image": "picture", "sound": "sound"}
        usual = ("text", "facts", *(name for of, name in takes.items() if of in subject.takes))
    found = []
    for name in choice.sets or usual:
        if name.startswith("tiny-"):
            found += tiny(name.removeprefix("tiny-"), choice.limit or SMALL, choice.seed)
        elif name in _WORDS:
            found += _words(name, choice)
        else:
            found += _of_others(name, choice, subject)
    return found


def tiny(medium: str, count: int, seed: int) -> list[Item]:
    """Items of the small world, one of each kind in turn."""
    kinds = {"text": ("chat",), "picture": _SHOWN, "sound": ("digits", "commands")}[medium]
    found = []
    for number in range(count):
        kind = kinds[number % len(kinds)]
        id_ = f"tiny-{medium}-{seed}-{number:04d}-{kind}"
        facts = {"set": f"tiny-{medium}", "medium": medium, "kind": kind}
        found.append(Item(id_, facts, partial(drawn, id_, kind)))
    return found


def _words(name: str, choice: Choice) -> list[Item]:
    """Items of words alone; each is a function of its id."""
    kind, make = _WORDS[name]
    facts = {"set": name, "medium": "text", "kind": kind}
    ids = [f"{name}-{choice.seed}-{number:04d}" for number in range(choice.limit or USUAL)]
    return [Item(id_, facts, partial(make, id_)) for id_ in ids]


def _passage(id_: str) -> Asked:
    """How a passage of Python's documentation goes on.

    Nobody is asked to know that by heart, so only its likelihood counts.
    """
    text = haystack.text()
    at = random.Random(id_).randrange(len(text) - _PASSAGE - _GOES_ON)
    passage, rest = text[at : at + _PASSAGE], text[at + _PASSAGE :][:_GOES_ON]
    return Asked(rest, f"{_GO_ON}{passage}", most=0)


def _fact(id_: str) -> Asked:
    """A number somewhere in a passage."""
    rng = random.Random(id_)
    needle = haystack.needles(rng)[0]
    at = rng.randrange(len(haystack.text()) - _PASSAGE)
    passage = haystack.text()[at : at + _PASSAGE]
    words = passage.split(" ")
    place = rng.randrange(len(words))
    said = " ".join([*words[:place], needle.sentence, *words[place:]])
    return Asked(needle.number, f"{said}\n\n{needle.question}", most=16)


_WORDS = {"text": ("passage", _passage), "facts": ("fact", _fact)}


def _of_others(medium: str, choice: Choice, subject: Subject) -> list[Item]:
    """Items of another question, drawn from all of its kinds."""
    question = {"picture": "ocr", "sound": "speech"}[medium]
    count = choice.limit or USUAL
    own = replace(choice, sets=(), folder=None, tiny=False, limit=count)
    all_ = named(question).items(own, subject)
    chosen = random.Random(choice.seed).sample(list(all_), min(count, len(all_)))
    facts = {"set": medium, "medium": medium}
    return [
        replace(item, id=f"{question}-{item.id}", facts={**item.facts, **facts}) for item in chosen
    ]
