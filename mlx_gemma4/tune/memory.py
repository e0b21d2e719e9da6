"""What training an adapter takes of the memory, known before the first step. Knows no MLX.

    weights      as they are stored (`estimate.weights`)
    adapter      its numbers in float32, five times: themselves, the gradients of a step and those
                 of one conversation, and Adam's two averages
    activations  of the layer whose backward pass takes the most, what it keeps and what comes and
                 goes, with every layer's input; where nothing is computed again, what all keep;
                 or the logits of the answers, three times in float32, where they are more

The bytes were fitted to MLX's own peak on a CPU, over widths from 128 to 4,096, in float32 and in
bfloat16 with a float32 adapter (`bench/tune_memory.py`). MLX's CPU backend also holds the
dequantized matrices of a layer, which a GPU does not.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

from ..errors import Gemma4Error
from ..footprint import estimate
from ..footprint.estimate import Machine, Model, weights
from ..limits import TRAINING_SCORE_LIMIT
from ..model.config import FULL, TextConfig

ADAPTER_COPIES = 5
TOGETHER = 150_000_000


@dataclass(frozen=True)
class Bytes:
    """Bytes a token for each number of a layer's sizes; `scores` for each score.

    Attributes:
        inner: of the MLP.
        hidden: of the hidden states.
        queries: of all query heads; values alike of all KV heads.
    """

    inner: int
    hidden: int
    queries: int
    values: int
    scores: int


KEPT = {4: Bytes(24, 24, 11, 8, 4), 2: Bytes(15, 26, 9, 8, 4)}
"""What a layer keeps for its backward pass, by the bytes of a number of the activations."""
IN_MLP = {4: Bytes(68, 62, 19, 20, 4), 2: Bytes(45, 80, 17, 14, 4)}
IN_ATTENTION = {4: Bytes(0, 32, 56, 40, 12), 2: Bytes(0, 40, 44, 30, 12)}
"""The most of a layer's backward pass, with what it keeps: in its MLP, or in attention after it."""


@dataclass(frozen=True)
class TrainingNeed:
    """Bytes that a step takes with a conversation of so many tokens."""

    weights: int
    adapter: int
    activations: int

    @property
    def total(self) -> int:
        return self.weights + self.adapter + self.activations


def adapter_numbers(text: TextConfig, rank: int, last_layers: int | None = None) -> int:
    """Count an adapter's numbers over all projections of the last layers."""
    layers = text.layer_types[-(last_layers or len(text.layer_types)) :]
    return rank * sum(map(sum, (size for kind in layers for size in _matrices(text, kind == FULL))))


def need(
    model: Model,
    machine: Machine,
    tokens: int,
    rank: int = 8,
    last_layers: int | None = None,
    recompute: bool = True,
    answers: int = 64,
) -> TrainingNeed:
    """Estimate what conversations of `tokens` tokens take, `answers` of which are learned.

    Args:
        last_layers: layers that have an adapter; None for all.
        recompute: as in `Gemma4.training_hidden`.
    """
    text, number = model.text, model.float_bytes(machine)
    kinds = text.layer_types[-(last_layers or len(text.layer_types)) :]
    dense = 0
    if machine.backend == "cpu" and any(name.endswith(".scales") for name in model.tensors):
        dense = number
    kept, most = [], []
    for kind in kinds:
        full = kind == FULL
        matrices = [dense * a * b for a, b in _matrices(text, full)]
        kept.append(sum(matrices) + _bytes(KEPT[number], text, full, tokens))
        in_mlp = sum(matrices) + _bytes(IN_MLP[number], text, full, tokens)
        attention = sum(matrices[:-3]) + _bytes(IN_ATTENTION[number], text, full, tokens)
        most.append(max(in_mlp, attention))
    adapter = 4 * adapter_numbers(text, rank, last_layers)
    logits = 3 * min(4 * answers * text.vocab_size, TRAINING_SCORE_LIMIT)
    # inputs of layers that come first are held while gradients of the last ones are not there yet
    inputs = max(0, len(kinds) * tokens * text.hidden_size * number - adapter)
    if recompute:
        activations = max(*most, logits) + inputs
    else:
        activations = sum(kept) + max(logits, *(b - a for a, b in zip(kept, most, strict=True)))
    return TrainingNeed(weights(model, machine), ADAPTER_COPIES * adapter, activations)


def longest(model: Model, machine: Machine, rank: int = 8, last_layers: int | None = None) -> int:
    """The longest conversation that fits, in tokens, rounded down to 32; 0 for none."""
    fitting = partial(fits, model, machine, rank=rank, last_layers=last_layers)
    return estimate.longest(fitting, 32, model.text.max_position_embeddings)


def check(
    model: Model, machine: Machine, tokens: int, rank: int = 8, last_layers: int | None = None
) -> None:
    """Refuse what does not fit.

    Raises:
        Gemma4Error: it does not; the remedy names the length, rank or layers that would.
    """
    wanted = need(model, machine, tokens, rank, last_layers)
    if wanted.total <= machine.budget:
        return
    layers = last_layers or len(model.text.layer_types)
    remedies = []
    if (most := longest(model, machine, rank, last_layers)) >= 32:
        remedies.append(f"conversations of at most {most:,} tokens (--longest {most})")
    for other in (4, 1):
        if other < rank and fits(model, machine, tokens, other, last_layers):
            remedies.append(f"rank {other} (--rank {other})")
            break
    fewer = (n for n in range(layers - 1, 0, -1) if fits(model, machine, tokens, rank, n))
    if (count := next(fewer, None)) is not None:
        remedies.append(f"the last {count} layers (--last-layers {count})")
    raise Gemma4Error(
        "memory_too_small",
        "The training does not fit into the memory",
        f"{tokens:,} tokens with rank {rank} over {layers} layers take "
        f"{wanted.total / 1e9:.2f} GB, {wanted.weights / 1e9:.2f} of them for the weights; "
        f"{machine.name} has {machine.budget / 1e9:.2f} GB ({machine.rule}).",
        f"What fits: {', or '.join(remedies)}."
        if remedies
        else "Use a model with fewer bits (`gemma4 fit --tune`).",
    )


def way(
    model: Model, machine: Machine, tokens: int, rank: int = 8, last_layers: int | None = None
) -> tuple[bool, int]:
    """Choose how to train: whether layers are computed again, and how many tokens go side by side.

    Nothing is computed again where a quarter of the memory suffices, and conversations go side by
    side while their activations take no more than TOGETHER bytes: more is not faster.
    """

    def activations(tokens: int, recompute: bool) -> int:
        return need(model, machine, tokens, rank, last_layers, recompute).activations

    recompute = activations(tokens, False) > machine.budget // 4
    sizes = [n for n in range(64, 1025, 64) if activations(n, recompute) <= TOGETHER]
    return recompute, max(sizes, default=1)


def fits(
    model: Model, machine: Machine, tokens: int, rank: int = 8, last_layers: int | None = None
) -> bool:
    return need(model, machine, tokens, rank, last_layers).total <= machine.budget


def _bytes(sizes: Bytes, text: TextConfig, full: bool, tokens: int) -> int:
    heads = text.num_attention_heads
    dim = text.global_head_dim if full else text.head_dim
    kv = text.num_global_key_value_heads if full else text.num_key_value_heads
    seen = tokens if full else min(tokens, text.sliding_window)
    scores = min(heads * tokens * seen, TRAINING_SCORE_LIMIT // 4)
    rows = sizes.inner * text.intermediate_size + sizes.hidden * text.hidden_size
    rows += sizes.queries * heads * dim + sizes.values * kv * dim
    return tokens * rows + sizes.scores * scores


def _matrices(text: TextConfig, full: bool) -> Iterable[tuple[int, int]]:
    """(inputs, outputs) of the projections of a layer; the last three are the MLP's."""
    hidden, inner = text.hidden_size, text.intermediate_size
    dim = text.global_head_dim if full else text.head_dim
    queries = text.num_attention_heads * dim
    keys = dim * (text.num_global_key_value_heads if full else text.num_key_value_heads)
    yield from ((hidden, queries), (hidden, keys), (queries, hidden))
    if not (full and text.attention_k_eq_v):
        yield (hidden, keys)
    yield from ((hidden, inner), (hidden, inner), (inner, hidden))
