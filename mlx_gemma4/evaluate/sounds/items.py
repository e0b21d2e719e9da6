"""Makes items of utterances: their names, their sounds on the disk, and what is asked."""

import random
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
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
from . import voices
from .voices import SpokenText

COUNT = 20
"""Items of each kind, unless a limit is set."""
_SPARE = 16  # tokens an answer may have besides one for each two frames, as the relay's
_TOKEN = 4.5  # characters of English, for rivals whose tokenizer is not at hand

Numbered = tuple[int, Item]


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
        make = voices.small_world if self.choice.tiny else voices.spoken
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
        _, item = self.item("position", number, said, "", facts, partial(voices.say, said))

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
