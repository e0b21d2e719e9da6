"""The configuration of the network that is trained, as google/gemma-4-12B-it writes its own."""

from dataclasses import dataclass
from typing import Any

from .vocabulary import CONTROLS


@dataclass(frozen=True)
class Shape:
    """Sizes of the network; every trait of the 12B is kept whatever they are."""

    vocabulary: int = 704
    hidden: int = 192
    inner: int = 576
    layers: int = 6
    heads: int = 4
    kv_heads: int = 2
    head: int = 64
    global_head: int = 256  # rotates 64 of it: whole groups when quantized by 32
    window: int = 512
    places: int = 128


def configuration(shape: Shape) -> dict[str, Any]:
    """Return the contents of config.json."""
    token = CONTROLS.index
    full, sliding = "full_attention", "sliding_attention"
    text = {
        "model_type": "gemma4_unified_text",
        "vocab_size": shape.vocabulary,
        "hidden_size": shape.hidden,
        "intermediate_size": shape.inner,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head,
        "global_head_dim": shape.global_head,
        "num_global_key_value_heads": 1,
        "attention_k_eq_v": True,
        "attention_bias": False,
        "sliding_window": shape.window,
        "layer_types": [full if i % 6 == 5 else sliding for i in range(shape.layers)],
        "max_position_embeddings": 8192,
        "rms_norm_eps": 1e-6,
        "hidden_activation": "gelu_pytorch_tanh",
        "final_logit_softcapping": 30.0,
        "use_bidirectional_attention": "vision",
        "num_kv_shared_layers": 0,
        "tie_word_embeddings": True,
        "rope_parameters": {
            full: {"rope_type": "proportional", "partial_rotary_factor": 0.25, "rope_theta": 1e6},
            sliding: {"rope_type": "default", "rope_theta": 1e4},
        },
        "pad_token_id": 0,
        "bos_token_id": 2,
        "eos_token_id": [1, token("<turn|>")],
    }
    return {
        "architectures": ["Gemma4UnifiedForConditionalGeneration"],
        "model_type": "gemma4_unified",
        "dtype": "bfloat16",
        "tie_word_embeddings": True,
        "image_token_id": token("<|image|>"),
        "audio_token_id": token("<|audio|>"),
        "video_token_id": token("<|video|>"),
        "boi_token_id": token("<|image>"),
        "eoi_token_id": token("<image|>"),
        "boa_token_id": token("<|audio>"),
        "eoa_token_index": token("<audio|>"),
        "text_config": text,
        "vision_config": {
            "model_type": "gemma4_unified_vision",
            "patch_size": 16,
            "pooling_kernel_size": 3,
            "mm_embed_dim": shape.hidden,
            "mm_posemb_size": shape.places,
            "output_proj_dims": shape.hidden,
            "rms_norm_eps": 1e-6,
        },
        "audio_config": {
            "model_type": "gemma4_unified_audio",
            "audio_embed_dim": 640,
            "rms_norm_eps": 1e-6,
        },
    }
