"""Gemma 4 unified: token ids, patches and frames in, logits out. Batch size is 1 everywhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx.utils import tree_flatten
from numpy.typing import ArrayLike

from ..errors import Gemma4Error
from ..limits import SCORE_LIMIT as SCORE_LIMIT
from ..limits import SLACK as SLACK
from ..limits import TRAINING_SCORE_LIMIT
from . import cpu_backend, metal, one_row, training
from .attention import MaskRule, Step, pieces
from .cache import Cache
from .config import Config, unknown_setting
from .embedders import MultimodalEmbedder, VisionEmbedder
from .inputs import (
    Inputs,
    Patches,
    checked_ids,
    checked_numbers,
    checked_positions,
    places,
    unusable,
)
from .text import Attention, LanguageModel, Layout

__all__ = ["Gemma4", "Inputs", "Patches"]


class Gemma4(nn.Module):
    """The whole model; `config` is its folder's.

    Args:
        config: what to build.
        layout: how full layers cache a token: "one_row" where it applies, or "plain".

    Attributes:
        mask_rule: "official", or "forward" to agree with transformers' `forward` (`attention.py`).
        drafter: the `drafter.Drafter` that proposes for it, if there is one.
        draft: how conversations with it speculate where nobody chose (`Session`).
        policies: what they learned of which proposals pay, by who proposes (`generation.policy`).
    """

    mask_rule: MaskRule = "official"
    drafter: Any = None
    draft: Any = "off"
    policies: dict[tuple[str, ...], Any]

    def __init__(self, config: Config, layout: Layout = "one_row") -> None:
        super().__init__()
        if layout not in ("one_row", "plain"):
            raise unknown_setting("layout", layout, "one_row or plain")
        self.config = config
        object.__setattr__(self, "policies", {})  # else its content would be tensors
        self.layout: Layout = layout if one_row.applies(config.text_config) else "plain"
        hidden = config.text_config.hidden_size
        self.language_model = LanguageModel(config.text_config, self.layout)
        if (vision := config.vision_config) is not None:
            self.vision_embedder = VisionEmbedder(vision)
            self.embed_vision = MultimodalEmbedder(vision.mm_embed_dim, hidden, vision.rms_norm_eps)
        if (audio := config.audio_config) is not None:
            self.embed_audio = MultimodalEmbedder(audio.audio_embed_dim, hidden, audio.rms_norm_eps)
        if mx.default_device() == mx.cpu:
            cpu_backend.adapt(self.language_model.model.layers)

    def make_cache(self, kv_bits: int | None = None, slack: int = SLACK) -> Cache:
        """An empty cache.

        Args:
            kv_bits: 8 or 4 to quantize the full layers' rows, None to keep them as computed.
            slack: rows, back from the most that were held, that can be dropped (`Cache.rewind_to`).
        """
        if kv_bits not in (None, 4, 8):
            raise Gemma4Error(
                "kv_bits_unsupported",
                "The cache cannot be made",
                f"kv_bits is {kv_bits!r}.",
                "Use 8, 4 or None.",
            )
        layers = self.language_model.model.layers
        cache = Cache([layer.self_attn.make_cache(kv_bits, slack) for layer in layers])
        metal.wire_while_alive(cache)
        return cache

    def forward(
        self,
        token_ids: ArrayLike,
        images: Sequence[Patches] = (),
        videos: Sequence[Patches] = (),
        audio: Sequence[ArrayLike] = (),
        cache: Cache | None = None,
    ) -> mx.array:
        """Logits (1, T, vocab) of all tokens, after what `cache` holds; arguments as in `embed`."""
        inputs = self.embed(token_ids, images, videos, audio)
        return self.logits(self.hidden(inputs, self.make_cache() if cache is None else cache))

    def embed(
        self,
        token_ids: ArrayLike,
        images: Sequence[Patches] = (),
        videos: Sequence[Patches] = (),
        audio: Sequence[ArrayLike] = (),
    ) -> Inputs:
        """Embed token ids, with pictures and sound in the places of their placeholder ids.

        Args:
            token_ids: (T,) ints.
            images: a picture each: patches (n, 6912), uint8 levels or floats in [0, 1], and
                positions (n, 2) as (x, y).
                Its n placeholders follow each other; pictures are in the order of their places.
            videos: the same for each frame of the videos.
            audio: a clip each: frames (n, 640) of 16 kHz sound in [-1, 1].

        Raises:
            Gemma4Error: ids or positions out of range, wrong shapes, NaN, media and placeholders
                that do not match, or media that the folder has no weights for.
        """
        config, ids = self.config, checked_ids(token_ids)
        pictures = [self._checked_patches(*pair) for pair in images]
        frames = [self._checked_patches(*pair) for pair in videos]
        clips = [self._checked_frames(clip) for clip in audio]
        blocks_at = [
            *places(ids, config.image_token_id, [len(p) for p, _ in pictures], "picture"),
            *places(ids, config.video_token_id, [len(p) for p, _ in frames], "video frame"),
        ]
        clips_at = places(ids, config.audio_token_id, [len(clip) for clip in clips], "sound")
        # Placeholders may be outside the vocabulary: their own embedding is never used.
        for place in (*blocks_at, *clips_at):
            ids[place] = config.pad_token_id
        if ids.min() < 0 or ids.max() >= config.text_config.vocab_size:
            raise unusable(
                f"Token ids go from {ids.min()} to {ids.max()}, and the vocabulary has "
                f"{config.text_config.vocab_size}.",
                "Use this model's own tokenizer.",
            )
        embeddings = self.language_model.model.embed(mx.array(ids))
        blocks = np.zeros(len(ids), np.int32)
        for n, place in enumerate(blocks_at):
            patches, positions = map(mx.array, (pictures + frames)[n])
            embeddings[:, place] = self.embed_vision(self.vision_embedder(patches, positions))
            mx.eval(embeddings)  # so that one picture's pixels are held at a time
            blocks[place] = n + 1
        for place, clip in zip(clips_at, clips, strict=True):
            embeddings[:, place] = self.embed_audio(mx.array(clip))
        return Inputs(embeddings, blocks)

    def hidden(self, inputs: Inputs, cache: Cache, score_limit: int = SCORE_LIMIT) -> mx.array:
        """Feed `inputs` after what `cache` holds; return (1, T, hidden) after the final norm.

        `inputs` must end at a block's border, as `Inputs.slice` and `Inputs.cuts` ensure. Queries
        are split, exactly, where a layer's attention scores would take over `score_limit` bytes.

        Raises:
            Gemma4Error: the context is full.
        """
        return self.language_model.model.norm(self.states(inputs, cache, score_limit))

    def states(self, inputs: Inputs, cache: Cache, score_limit: int = SCORE_LIMIT) -> mx.array:
        """As `hidden`, before the final norm: the last layer's output."""
        offset, length = cache.offset, len(inputs)
        dtype, head_dim = inputs.embeddings.dtype, self.config.text_config.global_head_dim
        streams = self.mask_rule == "official" and not cache.quantized
        streams = streams and metal.streams_scores(length, dtype, head_dim)
        step = self._step(offset, inputs.blocks, score_limit, streams)
        states = self.language_model.model(inputs.embeddings, step, cache)
        cache.offset = offset + length
        return states

    def training_hidden(
        self,
        *conversations: Inputs,
        recompute: bool = True,
        score_limit: int = TRAINING_SCORE_LIMIT,
    ) -> mx.array:
        """Compute what `hidden` does with an empty cache, for gradients (`training.py`).

        Args:
            conversations: which go through side by side; none sees another.
            recompute: compute each layer again in the backward pass: this takes half as much time
                more, and holds what a single layer needs instead of what all need.
            score_limit: as in `hidden`; the backward pass computes each split again.

        Returns:
            (1, T, hidden): the rows of all conversations, one after another.

        Raises:
            Gemma4Error: one has more tokens than there are positions.
        """
        steps = [self._step(0, one.blocks, score_limit, streams=False) for one in conversations]
        split = any(len(one.full) > 1 or len(one.sliding) > 1 for one in steps)
        step = training.side_by_side(steps, map(len, conversations))
        decoder = self.language_model.model
        x = mx.concatenate([one.embeddings for one in conversations], axis=1)
        for layer in decoder.layers:
            x = training.run(layer, x, step, recompute, split)
        return decoder.norm(x)

    def _step(self, offset: int, blocks: np.ndarray, score_limit: int, streams: bool) -> Step:
        """What the rows of a forward see; `streams`: the full layers hold no scores."""
        text, length = self.config.text_config, len(blocks)
        if offset + length > text.max_position_embeddings:
            raise Gemma4Error(
                "context_full",
                "The context is full",
                f"It holds {offset} tokens, {length} more are to come, and the model has "
                f"{text.max_position_embeddings} positions.",
                "Start a new conversation, or shorten the input.",
            )
        max_scores = score_limit // (4 * text.num_attention_heads)
        sliding = pieces(offset, blocks, text.sliding_window, self.mask_rule, max_scores)
        most = length * (offset + length) if streams else max_scores
        return Step(offset, sliding, pieces(offset, blocks, None, self.mask_rule, most))

    def logits(self, hidden: mx.array) -> mx.array:
        """(1, T, hidden) -> (1, T, vocab), softcapped."""
        return self.language_model.logits(self.final(hidden))

    def final(self, hidden: mx.array) -> mx.array:
        """What `hidden` has returned, fetched where another computer still has it."""
        return hidden

    def attention(self, layer: int) -> Attention:
        """The attention of a layer, without projections where another computer has the layer."""
        attention: Attention = self.language_model.model.layers[layer].self_attn
        return attention

    def attach(self, drafter: object) -> None:
        """Take a drafter; it is no part of the model, whose tensors stay the same."""
        object.__setattr__(self, "drafter", drafter)

    def tensors(self) -> dict[str, mx.array]:
        """Every parameter by its name in a checkpoint (mlx-vlm's spelling)."""
        return dict(tree_flatten(self.parameters()))

    def _checked_patches(
        self, patches: ArrayLike, positions: ArrayLike
    ) -> tuple[np.ndarray, np.ndarray]:
        vision = self.config.vision_config
        if vision is None:
            raise _no_weights("pictures")
        levels = np.asarray(patches)
        if levels.dtype == np.uint8:
            levels = levels / np.float32(255)
        pixels = checked_numbers(levels, vision.patch_width, "patches")
        return pixels, checked_positions(positions, len(pixels), vision.mm_posemb_size)

    def _checked_frames(self, frames: ArrayLike) -> np.ndarray:
        if self.config.audio_config is None:
            raise _no_weights("sound")
        return checked_numbers(frames, self.config.audio_config.audio_embed_dim, "frames")


def _no_weights(medium: str) -> Gemma4Error:
    return unusable(
        f"This model folder has no weights for {medium}.",
        "Use a folder that was converted with them; mlx-lm's converter leaves them out.",
    )
