"""The sets of `speech`: each puts what is spoken under conditions, and yields (number, item)."""

import random
import zlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import product

import numpy as np

from ...media.audio import RATE, Samples
from ...session.transcriber import HearingMode
from ..baselines.rival import Rival
from ..models import OurModel
from ..question import Asked, Facts, Item
from ..tiny.speech import OTHER_VOICES, VOICES
from ..tiny.tasks import drawn
from . import mixing, recordings, voices
from .items import Maker, Numbered
from .voices import SpokenText, say

SNRS = (20, 10, 0)
ROOMS = (0.3, 0.6, 1.0)
SPEEDS = (0.75, 1.0, 1.25, 1.5)
OVERLAPS = (0.0, 0.5, 1.0)
BEFORE = (0, 250, 500, 1000, 4000)
BEFORE_SMALL = (0, 30, 60, 125, 250)
"""Tokens before a sound for the tiny model, which had little before one in its training."""
ACCENTS = ("en-us", "en-us+f3", "en-us+m7", "en-gb-x-rp", "en-gb-scotland", "en-029")
TWO = (
    "Two people speak, and they may speak at the same time. Write down what each of them says, in "
    "its original language: one line for each person, with nothing but what that person says."
)
_QUIET = np.float32(0.05)  # amplitude of what is no speech: as loud as a fan
_NOBODY: Mapping[str, Callable[[int, np.random.Generator], Samples]] = {
    "silence": lambda count, rng: np.zeros(count, np.float32),
    "white": mixing.white,
    "hum": mixing.hum,
}


def tiny(maker: Maker) -> Iterator[Numbered]:
    """Digits and commands as the tiny model's own examination draws them, light noise included."""
    for number in range(maker.count):
        for kind in ("digits", "commands"):
            id_ = f"tiny-{maker.choice.seed}-{number:04d}-{kind}"
            facts = {"set": "tiny", "kind": kind, "language": "en"}
            yield number, Item(id_, facts, partial(_examined, maker, id_, kind))


def spoken(maker: Maker, name: str) -> Iterator[Numbered]:
    """Each utterance under every condition of a set."""
    for number, said in enumerate(maker.material):
        for condition, facts, speak in _CONDITIONS[name](maker, said):
            yield maker.item(name, number, said, condition, facts, speak)


Conditions = Iterator[tuple[str, Facts, Callable[[], Samples]]]


def _clean(maker: Maker, said: SpokenText) -> Conditions:
    yield "", {}, partial(say, said)


def _noise(maker: Maker, said: SpokenText) -> Conditions:
    for kind, snr in product(("white", "babble"), SNRS):
        speak = partial(_noisy, said, kind, snr, maker.seed(said.id, kind))
        yield f"{kind}-{snr}", {"noise": kind, "snr": snr}, speak


def _room(maker: Maker, said: SpokenText) -> Conditions:
    for rt60 in ROOMS:
        speak = partial(_echoing, said, rt60, maker.seed(said.id, "room"))
        yield f"{rt60}", {"rt60": rt60}, speak


def _speed(maker: Maker, said: SpokenText) -> Conditions:
    for value in SPEEDS:
        yield f"{value}", {"speed": value}, partial(say, said.at(value))


_CONDITIONS = {"clean": _clean, "noise": _noise, "room": _room, "speed": _speed}


def voices_(maker: Maker) -> Iterator[Numbered]:
    """Voices and languages, each transcribed in its own."""
    names = (*VOICES, *OTHER_VOICES) if maker.choice.tiny else ACCENTS
    cast = [(number, said.by(name)) for number, said in enumerate(maker.material) for name in names]
    for language in () if maker.choice.tiny else voices.LANGUAGES:
        cast += enumerate(voices.spoken(maker.choice.seed, maker.count, language))
    for number, said in cast:
        facts = {"voice": said.delivery.voice}
        yield maker.item("voices", number, said, "", facts, partial(say, said))


def two(maker: Maker) -> Iterator[Numbered]:
    """Two people, of whom the second starts while the first still speaks."""
    material = maker.material
    for number, said in enumerate(material if len(material) > 1 else ()):
        one = said.by("en-us")
        other = material[(number + 1) % len(material)].by("en-gb-x-rp+f2")
        both = SpokenText(f"{one.text}\n{other.text}", "en", one.delivery)
        for overlap in OVERLAPS:
            speak = partial(mixing.together, one, other, overlap)
            yield maker.item("two", number, both, f"{overlap}", {"overlap": overlap}, speak, TWO)


def position(maker: Maker) -> Iterator[Numbered]:
    """The same sounds after more and more text, in the conversation and through the relay."""
    places: tuple[int, ...] = BEFORE_SMALL if maker.choice.tiny else BEFORE
    if isinstance(maker.subject, Rival) and not maker.subject.known.instructed:
        places = (0,)  # a recognizer reads no words
    ways: tuple[HearingMode, ...] = ("direct",)
    if isinstance(maker.subject, OurModel):
        ways = ("direct", "relay")
    for number, said in enumerate(maker.material):
        for before, hearing in product(places, ways):
            yield maker.placed(number, said, before, hearing)


def silence(maker: Maker) -> Iterator[Numbered]:
    """Nobody speaks, for 2 to 15 seconds."""
    rng = random.Random(maker.choice.seed)
    for number in range(maker.count):
        seconds = rng.randint(2, 15)
        for kind in _NOBODY:
            id_ = f"silence-{maker.choice.seed}-{number:04d}-{kind}"
            facts = {"set": "silence", "kind": kind, "seconds": seconds}
            yield number, Item(id_, facts, partial(_unspoken, maker, id_, kind, seconds))


def human(maker: Maker) -> Iterator[Numbered]:
    return _recorded(maker, "human", recordings.human(maker.choice.seed, maker.count))


def folder(maker: Maker) -> Iterator[Numbered]:
    """The user's recordings, all of them unless there is a limit."""
    found = recordings.own(maker.choice.own("recordings"))
    return _recorded(maker, "folder", found[: maker.choice.limit])


MAKERS: Mapping[str, Callable[[Maker], Iterator[Numbered]]] = {
    "tiny": tiny,
    **{name: partial(spoken, name=name) for name in _CONDITIONS},
    "voices": voices_,
    "two": two,
    "position": position,
    "silence": silence,
    "human": human,
    "folder": folder,
}


def _examined(maker: Maker, id_: str, kind: str) -> Asked:
    """One exchange of the examination; its sound is kept, so that all hear the same."""
    exchange = drawn(id_, kind)
    # only the tiny model knows that a sound alone is to be transcribed
    text = exchange.text if getattr(maker.subject, "is_tiny", False) else None
    return maker.asked(exchange.wanted, maker.kept(id_, lambda: exchange.sounds[0]), text)


def _noisy(said: SpokenText, kind: str, snr: float, seed: int) -> Samples:
    speech = say(said)
    rng = np.random.default_rng(seed)
    babbles = kind == "babble"
    noise = mixing.babble(len(speech), seed) if babbles else mixing.white(len(speech), rng)
    return mixing.mix(speech, noise, snr)


def _echoing(said: SpokenText, rt60: float, seed: int) -> Samples:
    return mixing.reverberant(say(said), rt60, np.random.default_rng(seed))


def _unspoken(maker: Maker, id_: str, kind: str, seconds: int) -> Asked:
    rng, count = np.random.default_rng(zlib.crc32(id_.encode())), seconds * RATE
    return maker.asked("", maker.kept(id_, lambda: _QUIET * _NOBODY[kind](count, rng)))


def _recorded(maker: Maker, name: str, found: list[recordings.LabelledSound]) -> Iterator[Numbered]:
    for number, recording in enumerate(found):
        facts = {"set": name, "source": recording.source, "language": recording.language}
        id_ = f"{name}-{recording.id}-{recording.digest}"
        yield number, Item(id_, facts, partial(_played, maker, recording))


def _played(maker: Maker, recording: recordings.LabelledSound) -> Asked:
    return maker.asked(recording.text, recording.read())
