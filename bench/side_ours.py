"""mlx-gemma4, as `Session` drives it: `prefill_decode.prefill` in chunks, then `decode`."""

import time
from pathlib import Path

import mlx.core as mx
import numpy as np
from checkpoint import any_tokenizer
from items import read
from mlx.utils import tree_flatten
from speech import random_frames

from mlx_gemma4.chat.messages import SoundPart, Turn
from mlx_gemma4.chat.render import render
from mlx_gemma4.checkpoint.drafter import load_drafter
from mlx_gemma4.checkpoint.load import load_folder
from mlx_gemma4.cli.speed import spoken
from mlx_gemma4.events import Token
from mlx_gemma4.generation.drafting import Drafting
from mlx_gemma4.generation.prefill_decode import CHUNK, decode, finish, prefill
from mlx_gemma4.generation.sampler import Sampler
from mlx_gemma4.limits import STEP
from mlx_gemma4.model.cache import GlobalCache, Rows
from mlx_gemma4.session.session import Session


class Side:
    """A loaded model. Activations are float32 or bfloat16."""

    def __init__(self, folder: str, dtype: str) -> None:
        self.model = load_folder(Path(folder), dtype=getattr(mx, dtype))

    def weight_bytes(self) -> int:
        return sum(value.nbytes for _, value in tree_flatten(self.model.parameters()))

    def logits(self, ids: list[int]) -> list[list[float]]:
        """The logits of every position of a text, in one forward."""
        return np.array(self.model.forward(np.array(ids))[0].astype(mx.float32)).tolist()

    def generate(self, ids: list[int], count: int, pictures: int = 0) -> dict[str, object]:
        """Feed a prompt with so many random pictures, then take the likeliest id `count` times."""
        images = random_pictures(pictures, ids, self.model.config.image_token_id)
        cache = self.model.make_cache()
        started = time.perf_counter()
        inputs = self.model.embed(np.array(ids), images)
        logits = finish(prefill(self.model, inputs, cache))
        assert logits is not None
        drawn, times = [], []
        for token in decode(self.model, logits, cache, Sampler(0.0), (), count):
            drawn.append(token)
            times.append(time.perf_counter())
        full = [layer for layer in cache.layers if isinstance(layer, GlobalCache)]
        row_bytes = sum(a.nbytes // a.shape[2] for layer in full for a in layer.rows.arrays)
        return {
            "ids": drawn,
            "first": times[0] - started,
            "rest": times[-1] - times[0],
            "kv_row_bytes": row_bytes,
        }

    def answer(self, file: str, number: int, way: str, limit: int) -> list[int]:
        """The likeliest reply to an item.

        "whole": all turns in one prompt. "cached": the last turn after the earlier ones, over one
        cache, as `Session` does in a conversation.
        """
        config = self.model.config
        item = read(Path(file))[number]
        parts = [
            part for part in item.parts(config.image_token_id, config.audio_token_id) if part.ids
        ]
        cache = self.model.make_cache()
        for part in parts if way == "cached" else [item]:
            inputs = self.model.embed(np.array(part.ids), part.pictures, audio=part.clips)
            logits = finish(prefill(self.model, inputs, cache))
        assert logits is not None
        return list(decode(self.model, logits, cache, Sampler(0.0), config.eos_token_ids, limit))

    def fill(self, rows: int, kv_bits: int | None) -> int:
        """Hold so many random rows, as if a prompt had been read in chunks; bytes of the cache.

        The last chunk is shorter, so that sliding layers have room when full ones move: only then
        is as much held as `estimate.need` counts.
        """
        self.cache = cache = self.model.make_cache(kv_bits)
        for layer, held in zip(self.model.language_model.model.layers, cache.layers, strict=True):
            attention, full = layer.self_attn, isinstance(held, GlobalCache)
            shape = (1, attention.kv_heads, held.width if full else attention.head_dim)
            # a sliding layer need not have had what it let go; a full one grows as large by steps
            first = 0 if full else max(0, rows + STEP // 2 - 4 * CHUNK)
            held.rows, step = Rows(first), 16 * CHUNK if full else CHUNK
            for start in range(first, rows, step):
                size = (*shape[:2], min(step, rows - start), shape[2])
                new = mx.random.normal(size).astype(layer.layer_scalar.dtype)
                _ = held.update(start, new) if full else held.update(start, new, new)
                mx.eval(held.rows.arrays)
        cache.offset = rows
        return cache.nbytes

    def read(self, count: int) -> None:
        """Read so many tokens after what `fill` left, and draw the next."""
        logits = finish(
            prefill(self.model, self.model.embed(np.arange(count) % 97 + 5), self.cache)
        )
        assert logits is not None
        list(decode(self.model, logits, self.cache, Sampler(1.0, 64, 0.95), (), 1))

    def attach(self, folder: str, dtype: str) -> None:
        self.model.attach(load_drafter(folder, self.model, getattr(mx, dtype)))

    def draft(self, proposals: int, rounds: int) -> None:
        """Read a token after what `fill` left, and draw with so many proposals at a time."""
        hidden = finish(prefill(self.model, self.model.embed([5]), self.cache))
        assert hidden is not None
        drafting, sampler = Drafting(self.model, proposals), Sampler(1.0, 64, 0.95)
        drawn = decode(self.model, hidden, self.cache, sampler, (), 1000, None, drafting)
        while len(drafting.rounds) < rounds:
            next(drawn)
        drawn.close()

    def live(self, frames: int) -> dict[str, object]:
        """Hear so many frames in chunks of 10 while they are spoken, then answer with one token."""
        sound, config = random_frames(frames), self.model.config
        tokenizer = any_tokenizer(config.text_config.vocab_size)
        session = Session(self.model, hearing="direct", tokenizer=tokenizer)
        chunks, rest = spoken(session, sound)
        started = time.perf_counter()
        session.hold(rest)
        token = next(event.id for event in session.reply(1, 0.0) if isinstance(event, Token))
        after_speech = time.perf_counter() - started
        turns = [Turn("user", (SoundPart(sound),))]
        ids = render(turns, tokenizer, config).token_ids
        return {"chunks": chunks, "after_speech": after_speech, "token": token, "ids": ids}


def random_pictures(
    count: int, ids: list[int], image_id: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Square-ish pictures of random pixels for a prompt's placeholders, all of one size."""
    if not count:
        return []
    patches = ids.count(image_id) // count
    rng = np.random.default_rng(0)
    place = np.arange(patches, dtype=np.int32)
    positions = np.stack([place % 20, place // 20], axis=1)
    return [(rng.random((patches, 6912), np.float32), positions) for _ in range(count)]
