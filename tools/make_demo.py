"""Make the pictures and sounds of `make demo` in assets/demo: `python -m tools.make_demo`.

Needs the `train` extra and espeak-ng. The receipt and the sentences belong to the part of the small
world that training never saw.
"""

import random
from pathlib import Path

import soundfile

from mlx_gemma4.evaluate.tiny.receipts import Receipt, Style, draw
from mlx_gemma4.evaluate.tiny.speech import Delivery, speaker

FOLDER = Path(__file__).resolve().parent.parent / "assets" / "demo"
RECEIPT = Receipt(
    shop="OAKLANE",
    date="2026-06-12",
    items=(("coffee", "4.20"), ("bread", "3.15"), ("honey", "7.90"), ("apple", "1.05")),
    tax="3.26",
    total="19.56",
)
DARK = Receipt(
    shop="MIRAVO",
    date="2027-03-09",
    items=(("pasta", "2.80"), ("lemon", "0.65"), ("juice", "3.40")),
    tax="0.48",
    total="7.33",
)


def main() -> None:
    """Write receipt.png, dark.png, digits.wav, command.wav, question.wav and follow-up.wav."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    dark = Style(left=8.0, top=2.0, ink=(222, 222, 222), paper=(30, 32, 36))
    for name, receipt, style in (
        ("receipt", RECEIPT, Style(left=8.0, top=2.0)),
        ("dark", DARK, dark),
    ):
        drawing = draw(receipt.lines, style)
        drawing.image.convert("L").save(FOLDER / f"{name}.png", optimize=True)
    rng = random.Random(0)
    for name, text, voice in (
        ("digits", "4 0 7 1 5", "en-us"),
        ("command", "turn on the heater in the office", "en-gb-x-rp"),
        ("question", "what is the total", "en-us+f3"),
        ("follow-up", "what is the tax", "en-us+f3"),
    ):
        samples = speaker().say(
            text, Delivery(voice, 170, 50, lead=0.2, gain=0.8, noise=0.002), rng
        )
        soundfile.write(FOLDER / f"{name}.wav", samples, 16000, subtype="PCM_16")
    print(*sorted(path.name for path in FOLDER.iterdir()))


if __name__ == "__main__":
    main()
