"""How well is speech understood: in noise, rooms and crowds, and at which place in the context?

Words are compared after both texts were normalized as for Whisper (`sounds/transcripts.py`). 20
utterances under each condition are about 800 answers: on a laptop that reads 300 and writes 36
tokens a second 20 minutes, of which a third is text before sounds. The tiny model takes two to
five; PocketSphinx takes a second and a half for a sentence.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from .models import ours
from .parts import Part
from .question import Choice, Item, Row, Subject
from .questions import NAMES
from .reports import speech as told
from .sounds import sets, transcripts
from .sounds.items import Maker

_USUAL = ("clean", "noise", "room", "speed", "voices", "two", "position", "silence")
_SMALL = ("tiny", "noise", "room", "speed", "voices", "position", "silence")  # it hears one person


class Speech:
    """Has speech written down under many conditions."""

    name = "speech"
    about = NAMES["speech"]
    sets: Mapping[str, str] = {
        "tiny": "digits and commands that the tiny model knows, held out from its training",
        "clean": "sentences in six English voices",
        "noise": "the same in white noise and babble, at 20, 10 and 0 dB",
        "room": "the same with 0.3, 0.6 and 1.0 s of reverberation",
        "speed": "the same at 0.75, 1, 1.25 and 1.5 times the usual pace",
        "voices": "six English voices, and six other languages",
        "two": "two people who talk over each other",
        "position": "0, 250, 500, 1000 and 4000 tokens of text before the sound",
        "silence": "silence, white noise and hum",
        "human": "human speech that packages of Debian bring",
        "folder": "your own recordings with their texts (--folder)",
    }
    needs = frozenset({"sound"})

    def items(self, choice: Choice, subject: Subject) -> Sequence[Item]:
        """List what is asked, utterance by utterance, so that an unfinished run has all sets."""
        usual = _SMALL if choice.tiny else _USUAL
        chosen = choice.sets or (("folder",) if choice.folder else usual)
        maker = Maker(choice, subject)
        found = [numbered for name in chosen for numbered in sets.MAKERS[name](maker)]
        return [item for _, item in sorted(found, key=lambda numbered: numbered[0])]

    def measure(self, subject: Subject, item: Item) -> Mapping[str, Any]:
        """Ask, and compare what was heard with what was said."""
        assert item.make is not None
        asked = item.make()
        relayed = item.facts.get("hearing") == "relay"
        given = ours(subject).heard(asked) if relayed else subject.answer(asked)
        if not asked.wanted:
            return transcripts.invented(given)
        compare = transcripts.compare_two if item.facts["set"] == "two" else transcripts.compare
        return compare(asked.wanted, given, item.facts["language"])

    def report(self, rows: Sequence[Row], choice: Choice) -> Sequence[Part]:
        """Errors by condition, beside those of recognizers on the same sounds."""
        return told.report(rows)


QUESTION = Speech()
