"""Test doubles that need no file: a small random model with every trait of the 12B, and sounds.

`scripted_worker.py` has a worker without a model, which knows nothing of MLX.
"""

from collections.abc import Mapping, Sequence

import mlx.core as mx
import numpy as np

from ..model.config import FULL, SLIDING, Config
from ..model.gemma4 import Gemma4
from ..model.text import Layout


def tiny_config() -> Config:
    """Four sliding and two full layers, k_eq_v, partial rotation, a window of 32 tokens.

    Ids: pad 0, eos 1 and 5, bos 2, boi 6, eoi 7, image 8, boa 9, eoa 10, audio 11, video 12.
    """
    hidden = 64
    return Config.from_dict(
        {
            "model_type": "gemma4_unified",
            "boi_token_id": 6,
            "eoi_token_id": 7,
            "image_token_id": 8,
            "boa_token_id": 9,
            "eoa_token_index": 10,
            "audio_token_id": 11,
            "video_token_id": 12,
            "eos_token_id": [1, 5],
            "text_config": {
                "vocab_size": 512,
                "hidden_size": hidden,
                "intermediate_size": 128,
                "num_hidden_layers": 6,
                "layer_types": [SLIDING, SLIDING, FULL] * 2,
                "num_attention_heads": 4,
                "num_key_value_heads": 2,
                "head_dim": 32,
                "global_head_dim": 256,
                "num_global_key_value_heads": 1,
                "attention_k_eq_v": True,
                "sliding_window": 32,
                "max_position_embeddings": 4096,
                "final_logit_softcapping": 30.0,
            },
            "vision_config": {"mm_embed_dim": hidden, "mm_posemb_size": 128},
            "audio_config": {"audio_embed_dim": 640},
        }
    )


def tiny_model(seed: int = 0, layout: Layout = "one_row", config: Config | None = None) -> Gemma4:
    """A float32 model (of `tiny_config`) whose weights, norms and biases too, are random."""
    model = Gemma4(config or tiny_config(), layout)
    model.load_weights(list(random_weights(model.tensors(), seed).items()))
    mx.eval(model.parameters())
    return model


def random_weights(tensors: Mapping[str, mx.array], seed: int) -> dict[str, mx.array]:
    """Random weights of the names and shapes of these tensors."""
    rng = np.random.default_rng(seed)
    weights = {}
    for name, value in sorted(tensors.items()):
        noise = rng.standard_normal(value.shape, np.float32)
        if name.endswith(("q_norm.weight", "k_norm.weight")):
            noise = (1 + 0.2 * noise) * value.shape[0] ** -0.25  # the attention scale is 1.0
        elif value.ndim == 1 and not name.endswith("bias"):
            noise = 1 + 0.2 * noise
        elif value.ndim == 2:
            noise = noise / np.sqrt(value.shape[1])
        weights[name] = mx.array(noise)
    return weights


def tones(frequencies: Sequence[float], seconds: float, rate: int = 16000) -> np.ndarray:
    """The sum of sines at `frequencies` (Hz): mono float32 within [-1, 1] at `rate` (Hz)."""
    time = np.arange(round(seconds * rate)) / rate
    waves = [np.sin(2 * np.pi * frequency * time) for frequency in frequencies]
    return (0.9 * np.mean(waves, axis=0)).astype(np.float32)
