"""The published architectures by name, so that their sizes are known without their files.

A package of the catalogue names one (`architecture`). The values are those of `config.json` of
google/gemma-4-12B-it that decide shapes and memory, as published in Google's model card and
developer guide, and in the configs of transformers 5.23 and mlx-vlm 0.7.10. Counted from them
(`shapes.py`) the model has 11,959,730,224 parameters, which is the published number.
"""

from collections.abc import Mapping
from typing import Any

_ALIKE: Mapping[str, Any] = {  # in the text of both, whose rows are the same
    "vocab_size": 262144,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 256,
    "global_head_dim": 512,
    "num_global_key_value_heads": 1,
    "attention_k_eq_v": True,
    "sliding_window": 1024,
    "max_position_embeddings": 262144,
}
ARCHITECTURES: Mapping[str, Mapping[str, Any]] = {
    "gemma-4-12B": {
        "model_type": "gemma4_unified",
        "dtype": "bfloat16",
        "text_config": {
            **_ALIKE,
            "hidden_size": 3840,
            "intermediate_size": 15360,
            "num_hidden_layers": 48,
            "final_logit_softcapping": 30.0,
        },
        "vision_config": {"mm_embed_dim": 3840, "mm_posemb_size": 1120},
        "audio_config": {"audio_embed_dim": 640},
    },
    "gemma-4-12B-assistant": {
        "model_type": "gemma4_unified_assistant",
        "dtype": "bfloat16",
        "backbone_hidden_size": 3840,
        "text_config": {
            **_ALIKE,
            "hidden_size": 1024,
            "intermediate_size": 8192,
            "num_hidden_layers": 4,
            "num_kv_shared_layers": 4,
            "layer_types": ["sliding_attention"] * 3 + ["full_attention"],
        },
    },
}
"""Each is a config.json that `Config.from_dict`, or that of `DrafterConfig`, reads."""
