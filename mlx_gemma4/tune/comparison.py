"""What a model answers right with and without an adapter, on the same held-out lines."""

from collections.abc import Callable, Sequence

import mlx.core as mx

from ..model.gemma4 import Gemma4
from .data import Data, Example
from .train import embedded


def right(
    model: Gemma4, data: Data, report: Callable[[int, int], None] = lambda done, total: None
) -> list[bool]:
    """For each line, whether greedy decoding would produce all its answers exactly.

    It does where each id is the likeliest after those before it, so one pass a line is enough.
    """
    result = []
    for number in range(len(data)):
        report(number, len(data))
        result.append(all(_exact(model, example) for example in data.examples(number)))
    report(len(data), len(data))
    return result


def _exact(model: Gemma4, example: Example) -> bool:
    targets = example.targets
    inputs = embedded(model, example)
    hidden = model.hidden(inputs, model.make_cache(slack=0))[:, mx.array(targets - 1)]
    best = model.logits(hidden)[0].argmax(axis=-1)
    ids: Sequence[int] = [example.prompt.token_ids[n] for n in targets]
    return best.tolist() == ids
