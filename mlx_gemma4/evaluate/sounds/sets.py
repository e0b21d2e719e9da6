"""The sets of `speech`: each lays conditions on what is said, and gives (number, item)."""

import random
import zlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial

import numpy as np

from ...errors import Gemma4Error
from ...media.audio import RATE, Samples
from ...session.transcriber import HearingMode
from ..question import Asked, Facts, Item
from ..tiny.speech import OTHER_VOICES, VOICES, with_espeak
from ..tiny.tasks import EXAMINATION, Exchange, Tasks
from . import mixing, recordings, voices
from .items import Maker, Numbered
from .voices import Utterance, say

SNRS = (20, 10, 0)
ROOMS = (0.3, 0.6, 1.0)
SPEEDS = (0.75, 1.0, 1.25, 1.5)
OVERLAPS = (0.0, 0.5, 1.0)
BEFORE = (0, 250, 500, 1000, 4000)
BEFORE_SMALL = (0, 30, 60, 125, 250)
"""Tokens before a sound for the tiny model, which had little before one in its training."""
ACCENTS = ("en-us", "en-us+f3", "en-us+m7", "en-gb-x-rp", "en-gb-scotland", "en-029")
NOBODY = ("silence", "white", "hum")
TWO = (
    "Two people speak, and they may speak at the same time. Write down what each of them says, in "
    "its original language: one line for each person, with nothing but what that person says."
)
_QUIET = 0.05  # amplitude of what is no speech: as loud as a fan


def tiny(maker: Maker) -> Iterator[Numbered]:
    """Digits and commands as the tiny model's own examination draws them, light noise included."""
    for number in range(maker.count):
        for kind in ("digits", "commands"):
            id_ = f"tiny-{maker.choice.seed}-{number:04d}-{kind}"
            facts: Facts = {"set": "tiny", "kind": kind, "language": "en"}
            yield number, Item(id_, facts, partial(_examined, maker, id_, kind))


def clean(maker: Maker) -> Iterator[Numbered]:
    """Speech alone."""
    for number, said in enumerate(maker.material):
        yield maker.item("clean", number, said, "", {}, partial(say, said))


def noise(maker: Maker) -> Iterator[Numbered]:
    """White noise and babble at several ratios."""
    for number, said in enumerate(maker.material):
        for kind in ("white", "babble"):
            seed = maker.seed(said.id, kind)
            for snr in SNRS:
                speak = partial(_noisy, said, kind, snr, seed)
                facts: Facts = {"noise": kind, "snr": snr}
                yield maker.item("noise", number, said, f"{kind}-{snr}", facts, speak)


def room(maker: Maker) -> Iterator[Numbered]:
    """Reverberation."""
    for number, said in enumerate(maker.material):
        for rt60 in ROOMS:
            speak = partial(_echoing, said, rt60, maker.seed(said.id, "room"))
            yield maker.item("room", number, said, f"{rt60}", {"rt60": rt60}, speak)


def speed(maker: Maker) -> Iterator[Numbered]:
    """Slow and fast speakers."""
    for number, said in enumerate(maker.material):
        for value in SPEEDS:
            speak = partial(say, said.at(value))
            yield maker.item("speed", number, said, f"{value}", {"speed": value}, speak)


def voices_(maker: Maker) -> Iterator[Numbered]:
    """Voices and languages, each transcribed in its own."""
    names = (*VOICES, *OTHER_VOICES) if maker.choice.tiny else ACCENTS
    cast = [(number, said.by(name)) for number, said in enumerate(maker.material) for name in names]
    for language in () if maker.choice.tiny else voices.LANGUAGES:
        cast += enumerate(voices.spoken(maker.choice.seed, maker.count, language))
    for number, said in cast:
        facts: Facts = {"voice": said.delivery.voice}
        yield maker.item("voices", number, said, "", facts, partial(say, said))


def two(maker: Maker) -> Iterator[Numbered]:
    """Two people, of whom the second begins while the first still speaks."""
    material = maker.material
    if len(material) < 2:
        return
    for number, said in enumerate(material):
        one = said.by("en-us")
        other = material[(number + 1) % len(material)].by("en-gb-x-rp+f2")
        both = Utterance(f"{one.text}\n{other.text}", "en", one.delivery)
        for overlap in OVERLAPS:
            speak = partial(mixing.together, one, other, overlap)
            yield maker.item("two", number, both, f"{overlap}", {"overlap": overlap}, speak, TWO)


def position(maker: Maker) -> Iterator[Numbered]:
    """The same sounds after more and more text, in the conversation and through the relay."""
    places = BEFORE_SMALL if maker.choice.tiny else BEFORE
    ways: tuple[HearingMode, ...] = ("direct", "relay") if maker.has_relay else ("direct",)
    for number, said in enumerate(maker.material):
        for before in places if maker.has_context else (0,):
            for hearing in ways:
                yield maker.placed(number, said, before, hearing)


def silence(maker: Maker) -> Iterator[Numbered]:
    """Nobody speaks, for 2 to 15 seconds."""
    rng = random.Random(maker.choice.seed)
    for number in range(maker.count):
        seconds = rng.randint(2, 15)
        for kind in NOBODY:
            id_ = f"silence-{maker.choice.seed}-{number:04d}-{kind}"
            facts: Facts = {"set": "silence", "kind": kind, "seconds": seconds}
            yield number, Item(id_, facts, partial(_unspoken, maker, id_, kind, seconds))


def human(maker: Maker) -> Iterator[Numbered]:
    """People, from packages of Debian."""
    return _recorded(maker, "human", recordings.human(maker.choice.seed, maker.count))


def folder(maker: Maker) -> Iterator[Numbered]:
    """The user's recordings, all of them unless there is a limit.

    Raises:
        Gemma4Error: no folder was given, or it is not usable.
    """
    if maker.choice.folder is None:
        raise Gemma4Error(
            "folder_empty",
            "There are no recordings of yours",
            "The set folder was asked for without a folder.",
            "Give one with --folder; docs/evaluate.md says what has to be in it.",
        )
    return _recorded(maker, "folder", recordings.own(maker.choice.folder)[: maker.choice.limit])


MAKERS: Mapping[str, Callable[[Maker], Iterator[Numbered]]] = {
    "tiny": tiny,
    "clean": clean,
    "noise": noise,
    "room": room,
    "speed": speed,
    "voices": voices_,
    "two": two,
    "position": position,
    "silence": silence,
    "human": human,
    "folder": folder,
}


def _examined(maker: Maker, id_: str, kind: str) -> Asked:
    """One exchange of the examination; its sound is kept, so that all hear the same."""
    source = zlib.crc32(id_.encode())

    def exchange() -> Exchange:
        made: list[Exchange] = getattr(Tasks(source, EXAMINATION), kind)()
        return made[0]

    drawn = with_espeak(exchange)
    assert drawn.sound is not None
    sound: Samples = drawn.sound
    # only the tiny model knows that a sound alone is to be written down
    text = drawn.question if getattr(maker.subject, "is_tiny", False) else None
    return maker.asked(drawn.answer, maker.kept(id_, lambda: sound), text)


def _noisy(said: Utterance, kind: str, snr: float, seed: int) -> Samples:
    speech = say(said)
    if kind == "babble":
        return mixing.mix(speech, mixing.babble(len(speech), seed), snr)
    return mixing.mix(speech, mixing.white(len(speech), np.random.default_rng(seed)), snr)


def _echoing(said: Utterance, rt60: float, seed: int) -> Samples:
    return mixing.reverberant(say(said), rt60, np.random.default_rng(seed))


def _unspoken(maker: Maker, id_: str, kind: str, seconds: int) -> Asked:
    rng, count = np.random.default_rng(zlib.crc32(id_.encode())), seconds * RATE
    makers: Mapping[str, Callable[[], Samples]] = {
        "silence": lambda: np.zeros(count, np.float32),
        "white": lambda: np.float32(_QUIET) * mixing.white(count, rng),
        "hum": lambda: np.float32(_QUIET) * mixing.hum(count, rng),
    }
    return maker.asked("", maker.kept(id_, makers[kind]))


def _recorded(maker: Maker, name: str, found: list[recordings.Recording]) -> Iterator[Numbered]:
    for number, recording in enumerate(found):
        facts: Facts = {
            "set": name,
            "source": recording.source,
            "language": recording.language,
        }
        id_ = f"{name}-{recording.id}-{zlib.crc32(recording.text.encode()):08x}"
        yield number, Item(id_, facts, partial(_played, maker, recording))


def _played(maker: Maker, recording: recordings.Recording) -> Asked:
    return maker.asked(recording.text, recording.read())
