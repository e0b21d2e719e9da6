"""mlx-gemma4, as `Session` drives it: `generate.prefill` in chunks, then `generate.decode`."""

import time
from pathlib import Path

import mlx.core as mx
import numpy as np
from items import read
from mlx.utils import tree_flatten

from mlx_gemma4 import weights
from mlx_gemma4.cache import GlobalCache
from mlx_gemma4.generate import decode, prefill
from mlx_gemma4.sample import Sampler


class Side:
    """A loaded model. Activations are float32 or bfloat16."""

    def __init__(self, folder: str, dtype: str) -> None:
        self.model = weights.load(Path(folder), dtype=getattr(mx, dtype))

    def weight_bytes(self) -> int:
        """Bytes of all parameters."""
        return sum(value.nbytes for _, value in tree_flatten(self.model.parameters()))

    def logits(self, ids: list[int]) -> list[list[float]]:
        """The logits of every position of a text, in one forward."""
        return np.array(self.model.forward(np.array(ids))[0].astype(mx.float32)).tolist()

    def generate(self, ids: list[int], count: int, pictures: int = 0) -> dict[str, object]:
        """Feed a prompt with so many random pictures, then take the likeliest id `count` times."""
        images = random_pictures(pictures, ids, self.model.config.image_token_id)
        cache = self.model.make_cache()
        began = time.perf_counter()
        inputs = self.model.embed(np.array(ids), images)
        logits = prefill(self.model, inputs, cache)
        assert logits is not None
        drawn, times = [], []
        for token in decode(self.model, logits, cache, Sampler(0.0), (), count):
            drawn.append(token)
            times.append(time.perf_counter())
        full = [layer for layer in cache.layers if isinstance(layer, GlobalCache)]
        row_bytes = sum(a.nbytes // a.shape[2] for layer in full for a in layer.rows.arrays)
        return {
            "ids": drawn,
            "first": times[0] - began,
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
            logits = prefill(self.model, inputs, cache)
        assert logits is not None
        return list(decode(self.model, logits, cache, Sampler(0.0), config.eos_token_ids, limit))


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
