"""The sets of `speech`: each puts what is spoken under conditions, and yields (number, item).

A `Maker` has what they share: names of items, their sounds on the disk, and what is asked.
"""

import random
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import product
from pathlib import Path

import numpy as np
import soundfile

from ...chat.messages import INSTRUCTION
from ...hub import catalog
from ...media.audio import FRAME, RATE, Samples
from ...session.transcriber import HearingMode
from .. import haystack
from ..models import OurModel
from ..question import Asked, Choice, Facts, Item, Subject
from ..tiny import words
from ..tiny.speech import OTHER_VOICES, VOICES
from ..tiny.tasks import drawn
from . import mixing, recordings
from .mixing import SpokenText, say

COUNT = 20
"""Items of each kind, unless a limit is set."""
_SPARE = 16  # tokens an answer may have besides one for each two frames, as the relay's
_TOKEN = 4.5  # characters of English, for rivals whose tokenizer is not at hand

Numbered = tuple[int, Item]
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


@dataclass(frozen=True)
class Maker:
    """Makes the items of one subject."""

    choice: Choice
    subject: Subject

    @property
    def count(self) -> int:
        return self.choice.limit or COUNT

    @property
    def material(self) -> list[SpokenText]:
        """What is said under each condition: where only the tiny model is asked, of its world."""
        make = mixing.small_world if self.choice.tiny else mixing.spoken
        return make(self.choice.seed, self.count)

    def item(
        self,
        name: str,
        number: int,
        said: SpokenText,
        condition: str,
        facts: Facts,
        speak: Callable[[], Samples],
        text: str | None = None,
    ) -> Numbered:
        """An item whose sound is made when its turn comes; its condition names it in the set."""
        id_ = f"{name}-{self.choice.seed}-{number:04d}-{said.id}"
        if condition:
            id_ += f"-{condition}"
        about = {"set": name, "language": said.language, **facts}
        return number, Item(id_, about, lambda: self.asked(said.text, self.kept(id_, speak), text))

    def placed(self, number: int, said: SpokenText, before: int, hearing: HearingMode) -> Numbered:
        """An item of the set position: the same sound after so many tokens of text."""
        facts = {"before": before, "hearing": hearing}
        _, item = self.item("position", number, said, "", facts, partial(say, said))

        def make() -> Asked:
            return replace(item.make(), before=self._words(before, number), hearing=hearing)

        return number, replace(item, id=f"{item.id}-{hearing}-{before}", make=make)

    def asked(self, wanted: str, sound: Samples, text: str | None = None) -> Asked:
        """Ask for a transcript, in the subject's own words unless others are chosen."""
        # a rival that runs the tiny model is asked with the words that it was trained on
        tiny = catalog.packages()[catalog.DEMONSTRATION] if self.choice.tiny else None
        package = getattr(self.subject, "package", tiny)
        own = (package and package.transcribe) or INSTRUCTION
        return Asked(
            wanted,
            own if text is None else text,
            sounds=(sound,),
            most=len(sound) // FRAME // 2 + _SPARE,
            hearing="direct",
        )

    def kept(self, name: str, make: Callable[[], Samples]) -> Samples:
        """A sound that is made once, and kept as FLAC: espeak-ng does not repeat itself exactly.

        So every subject of a run hears the same samples, and the user can hear them too.
        """
        file = Path(self.choice.work, "sounds", f"{name}.flac")
        if not file.is_file():
            file.parent.mkdir(parents=True, exist_ok=True)
            unfinished = file.with_suffix(".part")
            soundfile.write(unfinished, make(), RATE, format="FLAC", subtype="PCM_16")
            unfinished.replace(file)
        samples, _ = soundfile.read(file, dtype="float32")
        return np.asarray(samples, np.float32)

    def seed(self, *names: str) -> int:
        return zlib.crc32(" ".join((str(self.choice.seed), *names)).encode())

    def _words(self, count: int, number: int) -> str:
        """So many tokens of text: of the small world's sentences, or of Python's manual."""
        rng = random.Random(self.seed("before", str(number)))
        if self.choice.tiny:
            text = ". ".join(words.command(rng, False) for _ in range(count))
        else:
            start = rng.randrange(len(_manual()) // 2)
            text = _manual()[start : start + 12 * count]
        if not isinstance(self.subject, OurModel):
            return text[: round(_TOKEN * count)]
        tokenizer = self.subject.tokenizer
        return tokenizer.decode(tokenizer.encode(text)[:count])


@cache
def _manual() -> str:
    return re.sub(r"\s+", " ", haystack.text())


def tiny(maker: Maker) -> Iterator[Numbered]:
    """Digits and commands as the tiny model's own examination draws them, light noise included."""
    for number in range(maker.count):
        for kind in ("digits", "commands"):
            id_ = f"tiny-{maker.choice.seed}-{number:04d}-{kind}"
            facts = {"set": "tiny", "kind": kind, "language": "en"}
            yield number, Item(id_, facts, partial(_examined, maker, id_, kind))


def clean(maker: Maker) -> Iterator[Numbered]:
    for number, said in enumerate(maker.material):
        yield maker.item("clean", number, said, "", {}, partial(say, said))


def noise(maker: Maker) -> Iterator[Numbered]:
    for number, said in enumerate(maker.material):
        for kind, snr in product(("white", "babble"), SNRS):
            speak = partial(_noisy, said, kind, snr, maker.seed(said.id, kind))
            facts = {"noise": kind, "snr": snr}
            yield maker.item("noise", number, said, f"{kind}-{snr}", facts, speak)


def room(maker: Maker) -> Iterator[Numbered]:
    for number, said in enumerate(maker.material):
        for rt60 in ROOMS:
            speak = partial(_echoing, said, rt60, maker.seed(said.id, "room"))
            yield maker.item("room", number, said, f"{rt60}", {"rt60": rt60}, speak)


def speed(maker: Maker) -> Iterator[Numbered]:
    for number, said in enumerate(maker.material):
        for value in SPEEDS:
            speak = partial(say, said.at(value))
            yield maker.item("speed", number, said, f"{value}", {"speed": value}, speak)


def voices(maker: Maker) -> Iterator[Numbered]:
    """Voices and languages, each transcribed in its own."""
    names = (*VOICES, *OTHER_VOICES) if maker.choice.tiny else ACCENTS
    cast = [(number, said.by(name)) for number, said in enumerate(maker.material) for name in names]
    for language in () if maker.choice.tiny else mixing.LANGUAGES:
        cast += enumerate(mixing.spoken(maker.choice.seed, maker.count, language))
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
    if "text" not in maker.subject.takes:
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
    make.__name__: make
    for make in (tiny, clean, noise, room, speed, voices, two, position, silence, human, folder)
}


def _examined(maker: Maker, id_: str, kind: str) -> Asked:
    """One exchange of the examination; its sound is kept, so that all hear the same."""
    exchange = drawn(id_, kind)
    # only the tiny model knows that a sound alone is to be transcribed
    text = exchange.text if getattr(maker.subject, "is_tiny", False) else None
    return maker.asked(exchange.wanted, maker.kept(id_, lambda: exchange.sounds[0]), text)


def _noisy(said: SpokenText, kind: str, snr: float, seed: int) -> Samples:
    speech = say(said)
    if kind == "babble":
        return mixing.mix(speech, mixing.babble(len(speech), seed), snr)
    return mixing.mix(speech, mixing.white(len(speech), np.random.default_rng(seed)), snr)


def _echoing(said: SpokenText, rt60: float, seed: int) -> Samples:
    return mixing.reverberant(say(said), rt60, np.random.default_rng(seed))


def _unspoken(maker: Maker, id_: str, kind: str, seconds: int) -> Asked:
    rng, count = np.random.default_rng(zlib.crc32(id_.encode())), seconds * RATE
    return maker.asked("", maker.kept(id_, lambda: _QUIET * _NOBODY[kind](count, rng)))


def _recorded(maker: Maker, name: str, found: list[recordings.LabelledSound]) -> Iterator[Numbered]:
    for number, recording in enumerate(found):
        facts = {"set": name, "source": recording.source, "language": recording.language}
        id_ = f"{name}-{recording.id}-{recording.digest}"
        make = partial(lambda played: maker.asked(played.text, played.read()), recording)
        yield number, Item(id_, facts, make)
