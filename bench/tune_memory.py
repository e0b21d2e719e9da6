"""MLX's peak of training steps beside what `gemma4 fit --tune` predicts.

    python -m bench.tune_memory [--wide [--bits 4]] [--lengths 256 512 1024] [--recompute]

--wide builds layers of the 12B's width (random, two of its 48) instead of the tiny model's. A line
each for a length: with each layer computed again in the backward pass and, but with --recompute,
without.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from mlx_gemma4.checkpoint.architectures import ARCHITECTURES
from mlx_gemma4.checkpoint.load import load_folder
from mlx_gemma4.checkpoint.safetensors import Tensor
from mlx_gemma4.footprint.estimate import Machine, Model
from mlx_gemma4.hub import catalog
from mlx_gemma4.model.config import FULL, SLIDING, Config
from mlx_gemma4.model.gemma4 import Gemma4
from mlx_gemma4.model.inputs import Inputs
from mlx_gemma4.tune import lora, memory
from mlx_gemma4.tune.train import answer_loss

ANSWERS = 16
LAYERS = (SLIDING, FULL)


def wide(bits: int | None) -> Gemma4:
    """Two layers of the 12B's width with a small vocabulary; quantized where `bits` are given."""
    raw = json.loads(json.dumps(ARCHITECTURES["gemma-4-12B"]))
    sizes = {"num_hidden_layers": len(LAYERS), "vocab_size": 1024}
    text = raw["text_config"] | sizes | {"layer_types": [*LAYERS]}
    config = Config.from_dict(raw | {"text_config": text, "vision_config": None})
    model = Gemma4(replace(config, audio_config=None))
    mx.eval(model.parameters())
    if bits is not None:
        nn.quantize(model.language_model.model, 64, bits)
        mx.eval(model.parameters())
    return model


def peak(model: Gemma4, tokens: int, recompute: bool) -> int:
    """Peak bytes of a step with one conversation, above the weights and the adapter."""
    width = model.config.text_config.hidden_size
    inputs = Inputs(mx.random.normal((1, tokens, width)), np.zeros(tokens, np.int32))
    ids = mx.zeros(ANSWERS, mx.int32)

    def loss() -> mx.array:
        hidden = model.training_hidden(inputs, recompute=recompute)
        return answer_loss(model, hidden[:, -ANSWERS:], ids)

    found = []
    for _ in range(2):
        mx.eval(inputs.embeddings)
        mx.clear_cache()
        mx.reset_peak_memory()
        before = mx.get_active_memory()
        value, gradients = nn.value_and_grad(model, loss)()
        mx.eval(value, gradients)
        found.append(mx.get_peak_memory() - before)
        del gradients
    return found[-1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--wide", action="store_true")
    parser.add_argument("--bits", type=int, choices=(4, 8))
    parser.add_argument("--recompute", action="store_true")
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--lengths", nargs="+", type=int, default=[64, 128, 256, 512])
    options = parser.parse_args()
    model = (
        wide(options.bits) if options.wide else load_folder(Path(catalog.resolve(options.model)))
    )
    machine = Machine("here", 2**40, "", "cpu", 4)
    lora.add(model, 8, 2.0, 0)
    plain = {n.replace(".linear.", "."): t for n, t in model.tensors().items() if "lora_" not in n}
    kinds = {mx.uint32: "U32", mx.float32: "F32"}
    known = Model(
        model.config.text_config, {n: Tensor(kinds[t.dtype], t.shape) for n, t in plain.items()}
    )
    print(f"{'tokens':>8}{'again':>7}{'measured MB':>13}{'predicted MB':>14}{'ratio':>7}")
    for tokens in options.lengths:
        for recompute in (True,) if options.recompute else (True, False):
            need = memory.need(known, machine, tokens, recompute=recompute, answers=ANSWERS)
            gradients = need.adapter // memory.ADAPTER_COPIES  # of one conversation
            estimate = need.activations + gradients
            measured = peak(model, tokens, recompute)
            print(
                f"{tokens:8}{'yes' if recompute else 'no':>7}{measured / 1e6:13.1f}"
                f"{estimate / 1e6:14.1f}{estimate / measured:7.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
