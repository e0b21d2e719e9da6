"""What speculation gains on the tiny model, as ratios: python bench/draft.py [--items 64]

Answers with proposals and without take turns, and each pair also in the other order, so that a busy
machine slows both alike. Tokens a forward need no clock and are exact.
"""

import argparse
import random
import sys
import zlib
from collections.abc import Mapping
from pathlib import Path

import mlx.core as mx

sys.path.insert(0, str(Path(__file__).parents[1]))

from mlx_gemma4.evaluate.drafter import TINY, attach, reply, speeds
from mlx_gemma4.evaluate.models import OurModel
from mlx_gemma4.evaluate.tiny.tasks import EXAMINATION, Exchange, Tasks
from mlx_gemma4.events import Done
from mlx_gemma4.session.session import Session


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--items", type=int, default=64, help="held-out receipts")
    parser.add_argument("--timed", type=int, default=8, help="answers of each kind that are timed")
    options = parser.parse_args()
    model = OurModel("tiny")
    attach(model)
    forwards(model, options.items)
    for documents in (1, 3):
        second_readings(model, options.items // 4, documents)
    for kind in TINY:
        timed(model, kind, options.timed)
    several_replies(model, "five receipts in one conversation", options.timed)
    worthless(model)
    several_replies(model, "a worthless drafter", options.timed)


def made(kind: str, number: int) -> tuple[object, bool]:
    """An item of the tiny model's world, and whether it is asked twice."""
    return TINY[kind](f"bench-{kind}-{number}"), kind == "read again"


def forwards(model: OurModel, items: int) -> None:
    """Tokens a forward with four proposals each time."""
    tokens = passes = 0
    for number in range(items):
        stats, _ = reply(model, *made("all lines", number), 4)
        tokens += stats["reply_tokens"]
        passes += stats["target_forwards"]
    print(f"all lines, draft=4: {tokens / passes:.2f} tokens a forward", flush=True)


def second_readings(model: OurModel, items: int, documents: int) -> None:
    """Tokens a forward by lookup where so many pictures were read before, one after another."""
    tokens = passes = 0
    for number in range(items // documents):
        session = Session(model.model, tokenizer=model.tokenizer, draft="lookup")
        tasks = Tasks(zlib.crc32(f"again{documents}{number}".encode()), EXAMINATION)
        shown = [tasks.asked("lines")[0] for _ in range(documents)]
        for place, exchange in enumerate([*shown, *shown]):
            stats = read(session, exchange)
            tokens += stats["reply_tokens"] if place >= documents else 0
            passes += stats["target_forwards"] if place >= documents else 0
    print(
        f"{documents} read again, draft=lookup: {tokens / passes:.2f} tokens a forward", flush=True
    )


def read(session: Session, exchange: Exchange) -> Mapping[str, float]:
    """Read all lines of a picture in a conversation: the stats of the reply."""
    assert exchange.drawing is not None
    session.add_image(exchange.drawing.image, 70)
    session.add_text(exchange.question)
    *_, done = session.reply(160, temperature=0.0)
    assert isinstance(done, Done)
    return done.stats


def timed(model: OurModel, kind: str, items: int) -> None:
    """Print how many times as fast one kind of work is with `auto` and by lookup."""
    for draft in ("auto", "lookup"):
        seconds = {"off": 0.0, draft: 0.0}
        for number in range(items):
            for mode, took, _, _ in speeds(model, *made(kind, 1000 + number), ("off", draft)):
                seconds[mode] += took
        print(f"{kind}, draft={draft}: {seconds['off'] / seconds[draft]:.2f} times", flush=True)


def several_replies(model: OurModel, name: str, items: int) -> None:
    """Conversations of five receipts, with `auto` and without, after one that is not counted."""
    seconds = {"off": 0.0, "auto": 0.0}
    tokens = 0
    for number in range(items):
        for mode in ("off", "auto") if number % 2 else ("auto", "off"):
            session = Session(model.model, tokenizer=model.tokenizer, draft=mode)
            tasks = Tasks(zlib.crc32(f"{name}{number}".encode()), EXAMINATION)
            for _ in range(5):
                stats = read(session, tasks.asked("lines")[0])
                drawn = stats["reply_tokens"] - 1
                if number and drawn:
                    seconds[mode] += drawn / stats["tokens_per_second"]
                    tokens += drawn
    ratio = seconds["off"] / seconds["auto"]
    print(f"{name}, draft=auto: {ratio:.2f} times over {tokens / 2:.0f} tokens", flush=True)


def worthless(model: OurModel) -> None:
    """Replace the drafter's weights by random ones, and forget what was learned about it."""
    drafter = model.model.drafter
    rng = random.Random(0)
    for name, value in drafter.tensors().items():
        if value.ndim == 2:
            key = mx.random.key(rng.randrange(2**31))
            noise = mx.random.normal(value.shape, key=key) / value.shape[1] ** 0.5
            drafter.load_weights([(name, noise.astype(value.dtype))], strict=False)
    model.model.policies.clear()


if __name__ == "__main__":
    main()
