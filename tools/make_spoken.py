"""Speak what `--replay auto` asks aloud into tune/spoken: `python -m tools.make_spoken`.

Needs espeak-ng. A question each in one of the small world's voices, named by its words.
"""

import random
from itertools import cycle
from pathlib import Path

import soundfile

from mlx_gemma4.evaluate.tiny import receipts
from mlx_gemma4.evaluate.tiny.speech import VOICES, random_delivery, speaker

FOLDER = Path(__file__).parents[1] / "mlx_gemma4" / "tune" / "spoken"
OTHERS = ("what is in this picture", "what do you see here", "read the text to me")


def main() -> None:
    rng = random.Random(3)
    FOLDER.mkdir(exist_ok=True)
    asked = [words for kind in receipts.KINDS for words in receipts.QUESTIONS[kind]]
    for words, voice in zip((*asked, *OTHERS), cycle(VOICES), strict=False):
        samples = speaker().say(words, random_delivery(rng, (voice,)), rng)
        soundfile.write(FOLDER / f"{words.replace(' ', '-')}.flac", samples, 16000)


if __name__ == "__main__":
    main()
