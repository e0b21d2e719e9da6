"""A small random drafter."""

from dataclasses import replace

import mlx.core as mx

from mlx_gemma4.model.config import FULL, SLIDING, Config
from mlx_gemma4.model.drafter import Drafter
from mlx_gemma4.model.drafter_config import DrafterConfig
from mlx_gemma4.testing.doubles import random_weights


def tiny_drafter(config: Config, seed: int = 1) -> Drafter:
    """A float32 drafter of a small model, one sliding layer and one full, with random weights."""
    text = replace(
        config.text_config, hidden_size=48, num_hidden_layers=2, layer_types=(SLIDING, FULL)
    )
    backbone = config.text_config.hidden_size
    drafter = Drafter(DrafterConfig(text, backbone, quantization=None, raw={}))
    drafter.load_weights(list(random_weights(drafter.tensors(), seed).items()))
    mx.eval(drafter.parameters())
    return drafter
