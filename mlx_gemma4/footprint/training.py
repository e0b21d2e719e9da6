"""What training an adapter takes of the memory, told before the first step. Knows no MLX.

    weights      as they are stored (`estimate.weights`)
    adapter      its numbers in float32, five times: themselves, the gradients of a step and those
                 of one conversation, and Adam's two averages
    activations  what the backward pass needs of each layer, by the length of the conversation: of
                 all layers, or of one where the others are computed again
    logits       of the answers, three times in float32

The factors were fitted to MLX's own peak on a CPU (`bench/tune_memory.py`).
"""

from collections.abc import Iterable
from dataclasses import dataclass

from ..errors import Gemma4Error
from ..limits import TRAINING_SCORE_LIMIT
from ..model.config import FULL, TextConfig
from .estimate import Machine, Model, weights

ADAPTER_COPIES = 5
KEPT = 0.62
"""Share of a layer's intermediates that is kept for the backward pass if none is done again."""
TOGETHER = 150_000_000
STATES, INNER, WIDE, SCORES = 14, 7, 8, 3
"""Copies of the hidden states, of the MLP's, of queries, keys and values, and of the scores."""


@dataclass(frozen=True)
class TrainingNeed:
    """Bytes that a step takes with a conversation of so many tokens."""

    weights: int
    adapter: int
    activations: int
    logits: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.adapter + self.activations + self.logits


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
    """Say what training takes with conversations of `tokens` tokens, `answers` of them learned.

    Args:
        last_layers: layers that have an adapter; None for all.
        recompute: as in `Gemma4.training_hidden`.
    """
    text = model.text
    layers = text.layer_types[-(last_layers or len(text.layer_types)) :]
    number = model.float_bytes(machine)
    own = [_layer(text, kind == FULL, tokens, number) for kind in layers]
    hidden = tokens * text.hidden_size * number
    activations = max(own) + len(own) * hidden if recompute else round(KEPT * sum(own))
    return TrainingNeed(
        weights(model, machine),
        4 * ADAPTER_COPIES * adapter_numbers(text, rank, last_layers),
        activations,
        3 * min(4 * answers * text.vocab_size, TRAINING_SCORE_LIMIT),
    )


def longest(model: Model, machine: Machine, rank: int = 8, last_layers: int | None = None) -> int:
    """The longest conversation that fits, in tokens, rounded down to 32; 0 for none."""
    low, high = 0, model.text.max_position_embeddings // 32
    while low < high:
        middle = (low + high + 1) // 2
        if need(model, machine, middle * 32, rank, last_layers).total <= machine.budget:
            low = middle
        else:
            high = middle - 1
    return low * 32


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
    """Choose how to train: whether layers are computed again, and tokens that go side by side.

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
    """Whether training fits with such conversations."""
    return need(model, machine, tokens, rank, last_layers).total <= machine.budget


def _layer(text: TextConfig, full: bool, tokens: int, number: int) -> int:
    """What the backward pass needs of a layer."""
    heads = text.num_attention_heads
    dim = text.global_head_dim if full else text.head_dim
    kv = text.num_global_key_value_heads if full else text.num_key_value_heads
    seen = tokens if full else min(tokens, text.sliding_window)
    scores = min(4 * heads * tokens * seen, TRAINING_SCORE_LIMIT)
    rows = STATES * text.hidden_size + INNER * text.intermediate_size
    rows += WIDE * (heads + kv) * dim
    return tokens * rows * number + SCORES * scores


def _matrices(text: TextConfig, full: bool) -> Iterable[tuple[int, int]]:
    """(inputs, outputs) of the projections of a layer."""
    hidden, inner = text.hidden_size, text.intermediate_size
    dim = text.global_head_dim if full else text.head_dim
    queries = text.num_attention_heads * dim
    keys = dim * (text.num_global_key_value_heads if full else text.num_key_value_heads)
    yield from ((hidden, queries), (hidden, keys), (queries, hidden))
    if not (full and text.attention_k_eq_v):
        yield (hidden, keys)
    yield from ((hidden, inner), (hidden, inner), (inner, hidden))
