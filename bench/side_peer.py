"""mlx-vlm, as its own `stream_generate` drives it: `generate_step` with its default settings."""

import time
from pathlib import Path
from types import SimpleNamespace

import mlx.core as mx
import numpy as np
from items import Item, read
from mlx.utils import tree_flatten
from mlx_vlm.generate import BatchGenerator, generate_step
from mlx_vlm.generate.common import maybe_quantize_kv_cache
from mlx_vlm.models.cache import KVCache, make_prompt_cache
from mlx_vlm.utils import StoppingCriteria, load_model
from speech import random_frames


class Side:
    """A loaded model. Activations are float32 or bfloat16."""

    def __init__(self, folder: str, dtype: str) -> None:
        self.model = load_model(Path(folder), lazy=True)
        self.dtype = getattr(mx, dtype)
        self.model.set_dtype(self.dtype)
        mx.eval(self.model.parameters())

    def weight_bytes(self) -> int:
        return sum(value.nbytes for _, value in tree_flatten(self.model.parameters()))

    def logits(self, ids: list[int]) -> list[list[float]]:
        """The logits of every position of a text, in one forward."""
        output = self.model(mx.array(ids)[None], cache=make_prompt_cache(self.model.language_model))
        return np.array(output.logits[0].astype(mx.float32)).tolist()

    def generate(self, ids: list[int], count: int, pictures: int = 0) -> dict[str, object]:
        """Feed a prompt with so many random pictures, then take the likeliest id `count` times."""
        media = random_pictures(pictures, ids, self.model.config.image_token_id)
        pixels = media.pop("pixel_values", None)
        cache = make_prompt_cache(self.model.language_model)
        started = time.perf_counter()
        drawn, times = [], []
        prompt = mx.array(ids)[None]
        steps = generate_step(
            prompt,
            self.model,
            pixels,
            None,
            max_tokens=count,
            temperature=0.0,
            prompt_cache=cache,
            **media,
        )
        for token, _ in steps:
            drawn.append(token)
            times.append(time.perf_counter())
        full = [layer for layer in cache if isinstance(layer, KVCache)]
        row_bytes = sum(
            a.nbytes // a.shape[2] for layer in full for a in (layer.keys, layer.values)
        )
        return {
            "ids": drawn,
            "first": times[0] - started,
            "rest": times[-1] - times[0],
            "kv_row_bytes": row_bytes,
        }

    def answer(self, file: str, number: int, way: str, limit: int) -> list[int]:
        """The likeliest reply to an item, in one of three ways.

        "whole": all turns in one prompt through `generate_step`, as `stream_generate` does. With a
            prompt cache too: it uses no cached prefix that a picture comes after.
        "server": all turns in one prompt through `BatchGenerator`, as the server does.
        "cached": the last turn through `generate_step` after the earlier ones, over one prompt
            cache, as a caller does who keeps the cache.
        """
        config = self.model.config
        item = read(Path(file))[number]
        ends = config.eos_token_id
        ends = {ends} if isinstance(ends, int) else set(ends)
        if way == "server":
            return self._answer_as_server(item, ends, limit)
        cache = make_prompt_cache(self.model.language_model)
        if way == "cached":
            earlier, item = item.parts(config.image_token_id, config.audio_token_id)
            if earlier.ids:
                list(self._steps(earlier, 0, cache))
        drawn = []
        for token, _ in self._steps(item, limit, cache):
            drawn.append(token)
            if token in ends:
                break
        return drawn

    def one_shot(self, ids: list[int], frames: int) -> dict[str, object]:
        """Read a prompt with one sound of so many frames, and draw the likeliest token."""
        cache = make_prompt_cache(self.model.language_model)
        item = Item("", "", 0, ids, [], [random_frames(frames)])
        started = time.perf_counter()
        token = next(iter(self._steps(item, 1, cache)))[0]
        return {"after_speech": time.perf_counter() - started, "token": int(token)}

    def _steps(self, item: Item, count: int, cache: list) -> object:
        inputs = self._processed(item)
        ids, pixels = inputs.pop("input_ids"), inputs.pop("pixel_values", None)
        return generate_step(
            ids,
            self.model,
            pixels,
            None,
            max_tokens=count,
            temperature=0.0,
            prompt_cache=cache,
            **inputs,
        )

    def _answer_as_server(self, item: Item, ends: set[int], limit: int) -> list[int]:
        """As `ResponseGenerator` in mlx_vlm/server/generation.py, for one request."""
        inputs = self._processed(item)
        ids, pixels = inputs.pop("input_ids"), inputs.pop("pixel_values", None)
        embedded = self.model.get_input_embeddings(ids, pixels, mask=None, **inputs)
        inputs |= {key: value for key, value in embedded.to_dict().items() if value is not None}
        processor = SimpleNamespace(stopping_criteria=StoppingCriteria(list(ends)))
        batch = BatchGenerator(self.model.language_model, processor, greedy_sampling=True)
        batch.insert([ids[0].tolist()], max_tokens=limit, prompt_kwargs=[inputs])
        drawn = []
        while batch.has_work:
            drawn += [response.token for response in batch.next()[1]]
        batch.close()
        return drawn

    def _processed(self, item: Item) -> dict[str, mx.array]:
        """An item as of mlx-vlm's processor: media padded to the longest, and token types."""
        config = self.model.config
        ids = np.array(item.ids)[None]
        types = np.where(
            ids == config.image_token_id, 1, np.where(ids == config.audio_token_id, 3, 0)
        )
        result = {"input_ids": mx.array(ids), "mm_token_type_ids": mx.array(types)}
        if item.pictures:
            patches = [pixels for pixels, _ in item.pictures]
            result["pixel_values"] = _stacked(patches, 0)
            result["image_position_ids"] = _stacked([place for _, place in item.pictures], -1)
        if item.clips:
            result["input_features"] = _stacked(item.clips, 0)
            result["input_features_mask"] = _stacked(
                [np.ones(len(c), bool) for c in item.clips], False
            )
        return result

    def fill(self, rows: int, kv_bits: int | None) -> dict[str, object]:
        """Hold so many random rows, as if a prompt had been read in chunks of 2,048, its default.

        Returns:
            Bytes of the cache, and why quantizing it as `generate_step` does failed ("" if not).
        """
        config = self.model.language_model.config
        self.cache = make_prompt_cache(self.model.language_model)
        for held in self.cache:
            full = isinstance(held, KVCache)
            heads, dims = config.num_key_value_heads, config.head_dim
            if full:
                heads, dims = config.num_global_key_value_heads, config.global_head_dim
            first = 0 if full else max(0, rows - 4096)
            step, held.offset = 16384 if full else 2048, 0
            for start in range(first, rows, step):
                size = (1, heads, min(step, rows - start), dims)
                new = mx.random.normal(size).astype(self.dtype)
                held.update_and_fetch(new, new)
                mx.eval(held.keys, held.values)
            held.offset = rows
        failed = ""
        if kv_bits is not None:
            try:
                maybe_quantize_kv_cache(self.cache, 5000, 64, kv_bits)
            except NotImplementedError as error:
                failed = repr(error)
        return {"bytes": sum(held.nbytes for held in self.cache), "failed": failed}

    def read(self, count: int) -> None:
        """Read so many tokens after what `fill` left."""
        ids = mx.array(np.arange(count) % 97 + 5)[None]
        mx.eval(self.model.language_model(ids, cache=self.cache).logits[:, -1])


def _stacked(rows: list[np.ndarray], padding: float) -> mx.array:
    longest = max(len(row) for row in rows)
    widths = [[(0, longest - len(row))] + [(0, 0)] * (row.ndim - 1) for row in rows]
    return mx.array(
        np.stack(
            [np.pad(row, w, constant_values=padding) for row, w in zip(rows, widths, strict=True)]
        )
    )


def random_pictures(count: int, ids: list[int], image_id: int) -> dict[str, mx.array]:
    """The same pictures as ours, as of mlx-vlm's processor."""
    if not count:
        return {}
    patches = ids.count(image_id) // count
    rng = np.random.default_rng(0)
    place = np.arange(patches, dtype=np.int32)
    positions = np.stack([place % 20, place // 20], axis=1)
    return {
        "pixel_values": mx.array(rng.random((count, patches, 6912), np.float32)),
        "image_position_ids": mx.array(np.stack([positions] * count)),
        "mm_token_type_ids": (mx.array(ids) == image_id).astype(mx.int32)[None],
    }
