"""Whether a model fits into memory, computed before it is loaded or even downloaded. Knows no MLX.

What is held while a model runs:
  weights    exact: every tensor as it is stored (by its shape and recipe, or the files' headers)
  rows       exact: the buffers of `cache.py`, with their room, for a context of so many tokens
  places     at most: what marks hold of sliding layers, to which a conversation can go back
  working    what a step holds besides, counted in the code and checked against MLX's own peak
             (`bench/memory.py`): on the CPU it is measured, on Metal and CUDA it is computed
  pictures   exact for `PICTURE_TOKENS` of them: their patches as uint8 levels, each picture once
"""

import bisect
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ..checkpoint.safetensors import ITEMSIZE, Tensor
from ..limits import (
    CHUNKS,
    PICTURE_BYTES,
    PICTURE_TOKENS,
    PROPOSALS,
    SCORE_LIMIT,
    SEGMENT,
    SLACK,
    STEP,
    STREAMED_HEAD_DIM,
    STREAMED_QUERIES,
)
from ..limits import Backend as Backend
from ..model import one_row
from ..model.config import FULL, SLIDING, TextConfig

LEAST_CONTEXT = 2048
"""Tokens without which a model is of no use: a picture, 30 seconds of sound, and a reply."""

_GIB = 2**30
_FLOATS = ("BF16", "F16", "F32", "F64")
# The most of a step's intermediates that live at a time, in multiples of the largest kind.
# States are queries, the same padded to a row, and what attention returns; on the CPU, where that
# is measured, more of them live, and quantized rows make scores that are masked in place.
_MLP, _HEAD = 4, 3


@dataclass(frozen=True)
class Machine:
    """Where a model is to run.

    Attributes:
        name: as in "this Mac".
        budget: bytes that a model may take there.
        rule: where that number comes from.
        float_bytes: bytes of a floating-point number of the model there; None: as it is stored.
    """

    name: str
    budget: int
    rule: str
    backend: Backend
    float_bytes: int | None = None


@dataclass(frozen=True)
class Model:
    """A model by its settings, and by its tensors' names, types and shapes as they are stored.

    Attributes:
        drafter: its drafter, if it has one.
        proposals: how many tokens that proposes at a time.
    """

    text: TextConfig
    tensors: Mapping[str, Tensor]
    drafter: "Model | None" = None
    proposals: int = PROPOSALS

    @property
    def one_row(self) -> bool:
        """Whether full layers cache one row for key and value."""
        return one_row.applies(self.text, {name: t.shape for name, t in self.tensors.items()})

    @property
    def sees(self) -> bool:
        return any("vision_embedder." in name for name in self.tensors)

    def float_bytes(self, machine: Machine) -> int:
        """Bytes of a number of the activations, and so of the rows."""
        stored = (t.dtype for n, t in self.tensors.items() if n.endswith("layernorm.weight"))
        return machine.float_bytes or ITEMSIZE[next(stored, "BF16")]


@dataclass(frozen=True)
class Need:
    """Bytes that a model holds with a conversation of so many tokens.

    Attributes:
        places: what the two places take to which a conversation can go back (`PrefixCache`).
        reading: working memory of the prefill of a chunk of the prompt.
        answering: working memory of the decode of a token of the reply.
        pictures: what is held of the conversation's pictures, outside MLX.
    """

    weights: int
    rows: int
    places: int
    reading: int
    answering: int
    pictures: int

    @property
    def total(self) -> int:
        """The most that is held at a time, while reading or answering."""
        held = self.weights + self.rows + self.places + self.pictures
        return held + max(self.reading, self.answering)


def mac(gigabytes: int) -> Machine:
    """A Mac with so many gigabytes (of 2 ** 30 bytes, as Apple counts them).

    Metal recommends 2/3 of the memory up to 32 GB, and 3/4 above: Macs with 16, 18 and 24 GB
    report a `recommendedMaxWorkingSetSize` of 11.45, 12.88 and 17.2 GB.
    """
    share, spoken = ((2, 3), "2/3") if gigabytes <= 32 else ((3, 4), "3/4")
    budget = gigabytes * _GIB * share[0] // share[1]
    return Machine(f"a Mac with {gigabytes} GB", budget, f"{spoken} of the memory", "metal")


def weights(model: Model, machine: Machine) -> int:
    """Bytes of the weights in memory, without a second copy of the output head."""
    total = 0 if model.drafter is None else weights(model.drafter, machine)
    for name, tensor in model.tensors.items():
        if "lm_head." in name or "rotary_emb." in name:  # never loaded (`load.sanitize`)
            continue
        size = ITEMSIZE[tensor.dtype]
        held = machine.float_bytes if tensor.dtype in _FLOATS else None
        total += tensor.nbytes // size * (held or size)
    return total


def need(
    model: Model,
    machine: Machine,
    context: int,
    kv_bits: int | None = None,
    answer: int = 0,
    conversations: int = 1,
) -> Need:
    """Compute what a model takes with a conversation of `context` tokens.

    Args:
        kv_bits: 8 or 4 where the full layers' rows are quantized (`Gemma4.make_cache`).
        answer: how many of the tokens were drawn one by one after the others: with them a sliding
            layer's buffer grows no longer than its window and slack.
        conversations: of this length; one at a time is read or answered.
    """
    text, chunk = model.text, CHUNKS[machine.backend]
    number, kept = model.float_bytes(machine), text.sliding_window + SLACK
    sliding = max(_stepped(min(context - answer, kept + chunk)), _stepped(min(context, kept + 1)))
    sliding_row = 2 * text.num_key_value_heads * text.head_dim * number  # key and value
    sliding *= sliding_row
    # the marks may hold one buffer, with all that is between them: a chunk at most
    places = sliding_row * min(context, text.sliding_window + max(text.sliding_window, chunk))
    width = _width(model)
    row = width * number
    if kv_bits is not None:
        row = width * kv_bits // 8 + 2 * number * (width // (64 if width % 64 == 0 else 32))
    row *= text.num_global_key_value_heads
    full = _stepped(context) * row
    layers = {kind: text.layer_types.count(kind) for kind in (SLIDING, FULL)}
    # When a buffer is full, a layer at a time holds both the old and the new one; a dense product
    # copies its slices, which are as long as the context.
    old = full - STEP * row if kv_bits is None else full  # three arrays take a little more
    moved = max(old if layers[FULL] else 0, sliding if layers[SLIDING] else 0)
    embedded = min(context, SEGMENT) * text.hidden_size * number  # of a prompt, before its chunks
    copied = 0
    if kv_bits is None and layers[FULL]:
        copied = context * row * 2 * text.global_head_dim // width
    fed = 1 if model.drafter is None else 1 + model.proposals
    return Need(
        weights(model, machine),
        conversations * (layers[SLIDING] * sliding + layers[FULL] * full),
        conversations * layers[SLIDING] * places,
        moved + copied + embedded + _working(model, machine, min(chunk, context), context, kv_bits),
        moved + copied + _working(model, machine, fed, context, kv_bits, fed),
        conversations * min(context, PICTURE_TOKENS) * PICTURE_BYTES if model.sees else 0,
    )


def _working(
    model: Model, machine: Machine, length: int, context: int, kv_bits: int | None, drawn: int = 1
) -> int:
    """Bytes of a step's intermediates, without the cache's; `drawn` ids are drawn at its end.

    A drafter's step takes less than that of the model, which follows it.
    """
    text, number, width = model.text, model.float_bytes(machine), _width(model)
    heads = text.num_attention_heads
    states = length * heads * max(text.head_dim, width) * number
    pairs = _pairs(heads, length, context, text.sliding_window)
    streams = machine.backend == "metal" and kv_bits is None and number == 2
    streams &= length >= STREAMED_QUERIES and text.global_head_dim == STREAMED_HEAD_DIM
    if FULL in text.layer_types and not streams:
        pairs = max(pairs, _pairs(heads, length, context, context))
    mlp = length * text.intermediate_size * number
    # the logits of the last rows, and the sampler's in float32
    head = drawn * text.vocab_size * (number + 4)
    quantized, on_cpu = kv_bits is not None, machine.backend == "cpu"
    scores = (1 if on_cpu and quantized else 2) * pairs * heads * number
    states *= 3 if not on_cpu else 6 if quantized else 5
    return states + max(scores, _MLP * mlp, _HEAD * head)


def _pairs(heads: int, length: int, context: int, window: int) -> int:
    """The most query-key pairs of a piece (`attention.pieces`) on the way to this context.

    A step is cut in halves until its pieces are below the limit; an earlier step may have come
    close to it.
    """
    keys = min(context, window - 1 + length)
    return max(keys, min(length * keys, SCORE_LIMIT // (4 * heads)))


def largest_context(
    model: Model, machine: Machine, kv_bits: int | None = None, conversations: int = 1
) -> int:
    """The longest conversation that fits, in tokens, rounded down to the cache's step; 0: none.

    With `conversations` so many of this length fit beside each other.
    """

    def fits(tokens: int) -> bool:
        taken = need(model, machine, tokens, kv_bits, conversations=conversations)
        return taken.total <= machine.budget

    return longest(fits, STEP, model.text.max_position_embeddings)


def longest(fits: Callable[[int], bool], step: int, limit: int) -> int:
    """The most tokens that fit, in whole steps up to a limit; 0: none. Fewer always fit too."""
    lengths = range(step, limit + 1, step)
    return step * bisect.bisect(lengths, False, key=lambda tokens: not fits(tokens))


def _width(model: Model) -> int:
    text = model.text
    return text.global_head_dim + (text.rotated_dims if model.one_row else text.global_head_dim)


def _stepped(rows: int) -> int:
    return -(-rows // STEP) * STEP
