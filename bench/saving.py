"""How long it takes to save and to park a conversation with 20 screenshots, and then once more.

Usage: python -m bench.saving [--model tiny] [--screenshots 20] [--tokens 280]

What is there already is not written again: the second time should take under 10 ms.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import mlx_gemma4 as g4
from mlx_gemma4.chat.messages import ImagePart, TextPart, Turn
from mlx_gemma4.media.images import patches
from mlx_gemma4.session.prefix_store import PrefixStore


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--screenshots", type=int, default=20)
    parser.add_argument("--tokens", type=int, default=280)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    turns = []
    for number in range(options.screenshots):
        pixels = rng.integers(0, 256, (900, 1440, 3)).astype(np.uint8)
        picture = ImagePart(patches(pixels, options.tokens))
        turns += [Turn("user", (picture, TextPart(f"and {number}?")))]
        turns += [Turn("model", (TextPart("I see."),))]
    with tempfile.TemporaryDirectory() as folder:
        store = PrefixStore(Path(folder) / "parked")
        session = g4.Session(g4.load(options.model), turns=turns, store=store)
        timed("reading", lambda: [None for _ in iter(session.idle, False)])
        print(f"tokens            {session.context[0]:10,}")
        for name in ("first", "second", "third"):
            timed(f"{name} save", lambda: session.save(Path(folder) / "saved"))
        for name in ("first", "second", "third"):
            timed(f"{name} park", lambda: session.park("conversation"))


def timed(name: str, work: Callable[[], object]) -> None:
    """Print how long a piece of work takes."""
    started = time.perf_counter()
    work()
    print(f"{name:12}{1000 * (time.perf_counter() - started):13,.1f} ms", flush=True)


if __name__ == "__main__":
    main()
