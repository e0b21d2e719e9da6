"""Data of the example in docs/tune.md: `python -m tools.tune_example OUT` (needs espeak-ng).

A task that the tiny model cannot do, which item of a receipt is the first or the last, mostly
asked aloud: 600 conversations to learn (new.jsonl), 120 others to measure on (held.jsonl), and 120
each of what it can do (old-total, old-shop, old-mixed): those must not be forgotten.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile

from mlx_gemma4.evaluate.tiny import receipts
from mlx_gemma4.evaluate.tiny.tasks import EXAMINATION, Exchange, World
from tools.tiny.first_world import FirstWorld

LEARNED, HELD = 600, 120
TYPED = 0.3
ASKED = ("what is the {} item", "which item comes {}", "name the {} thing on it")


class NewTask(FirstWorld):
    """The tasks of the small world, and one that it does not have."""

    def end(self) -> list[Exchange]:
        """Which item is the first or the last, spoken or typed."""
        receipt = receipts.make_receipt(self.rng, self.world.examination)
        which, place = self.rng.choice((("first", 0), ("last", -1)))
        words = self.rng.choice(ASKED).format(which)
        answer = receipt.items[place][0]
        if self.rng.random() < TYPED:
            asked = Exchange(answer, self._written(words))
        else:
            asked = Exchange(answer, sound=self.say(words), said=words)
        return [self._shown(receipt.lines, asked)]


def write(out: Path, name: str, count: int, make: Callable[[], list[Exchange]]) -> None:
    """Write lines, and their media beside them."""
    lines = []
    for number in range(count):
        exchange = make()[0]
        stem = f"media/{name}-{number}"
        parts = []
        if exchange.drawing is not None:
            exchange.drawing.image.save(out / f"{stem}.png")
            parts.append({"type": "image", "path": f"{stem}.png"})
        if exchange.question:
            parts.append({"type": "text", "text": exchange.question})
        if exchange.sound is not None:
            soundfile.write(out / f"{stem}.wav", exchange.sound.astype(np.float32), 16000)
            parts.append({"type": "audio", "path": f"{stem}.wav"})
        messages = [
            {"role": "user", "content": parts},
            {"role": "assistant", "content": exchange.answer},
        ]
        lines.append(json.dumps({"messages": messages}) + "\n")
    (out / f"{name}.jsonl").write_text("".join(lines))


def main(out: Path) -> None:
    (out / "media").mkdir(parents=True, exist_ok=True)
    learned = NewTask(11, World(budgets=(70,), shift=4.0))
    write(out, "new", LEARNED, learned.end)
    # what training never saw: shops, dates and numbers of their own
    held = NewTask(777, EXAMINATION)
    write(out, "held", HELD, held.end)
    write(out, "old-total", HELD, lambda: held.asked("total"))
    write(out, "old-shop", HELD, lambda: held.asked("shop"))
    write(out, "old-mixed", HELD, held.mixed)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
