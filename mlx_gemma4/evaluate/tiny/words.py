"""What is said in the small world: commands, digits, names, and what is kept for examinations."""

import random
import zlib
from itertools import product

_THINGS = ("light", "radio", "lamp", "fan", "heater", "music", "camera")
_PLACES = ("kitchen", "garden", "office", "bedroom", "hall", "garage")
_NAMES = ("anna", "david", "maria", "peter", "sarah", "tom", "julia", "robert")
_NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "twenty")
_SAID = (
    (("turn on", "turn off"), [f"the {a} in the {b}" for a, b in product(_THINGS, _PLACES)]),
    (("open", "close"), ("the door", "the window", "the gate", "the file", "the mail")),
    (("start", "stop", "save", "delete"), ("the timer", "the music", "the note", "the film")),
    (("set a timer for",), [f"{number} minutes" for number in _NUMBERS]),
    (("call", "write to", "send a message to", "wait for"), _NAMES),
)
COMMANDS = tuple(f"{verb} {rest}" for verbs, of in _SAID for verb, rest in product(verbs, of))

# Without the numbers, which alone are written as digits.
WORDS = tuple(sorted({word for command in COMMANDS for word in command.split()} - {*_NUMBERS}))


def held_out(sentence: str) -> bool:
    """One sentence in six is never spoken in training; which, is a function of its text."""
    return zlib.crc32(sentence.encode()) % 6 == 0


def command(rng: random.Random, examination: bool) -> str:
    """A random command that belongs to training or to the examination."""
    while held_out(sentence := rng.choice(COMMANDS)) != examination:
        pass
    return sentence


def shop(rng: random.Random, examination: bool) -> str:
    """The name of a shop that can be pronounced, 4 to 7 capitals, such as `MIRAVO`."""
    while True:
        syllables = [
            rng.choice("BCDFGHJKLMNPRSTVWZ") + rng.choice("AEIOU")
            for _ in range(rng.choice((2, 2, 3)))
        ]
        name = "".join(syllables) + rng.choice(("", "", *"LMNRSTX"))
        if held_out(name) == examination:
            return str(name)


def digits(rng: random.Random, examination: bool, most: int = 6) -> str:
    """A string of one to `most` digits, such as `4071`; three or more can be held out."""
    while True:
        text = "".join(rng.choice("0123456789") for _ in range(rng.randint(1, most)))
        if len(text) < 3 or held_out(text) == examination:
            return text
