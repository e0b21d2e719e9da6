"""Every tensor of a model by name and shape, from its config alone. Knows no tensors and no MLX.

The names are those of the module tree (`load.py`).
"""

from ..model.config import FULL, Config, TextConfig
from ..model.drafter_config import DrafterConfig

Shapes = dict[str, tuple[int, ...]]


def shapes(config: Config) -> Shapes:
    """Name all tensors of an unquantized model."""
    text = config.text_config
    hidden = text.hidden_size
    decoder = "language_model.model."
    result: Shapes = {f"{decoder}embed_tokens.weight": (text.vocab_size, hidden)}
    for n, kind in enumerate(text.layer_types):
        layer = _layer(text, kind == FULL)
        result |= {f"{decoder}layers.{n}.{name}": shape for name, shape in layer.items()}
    result[f"{decoder}norm.weight"] = (hidden,)
    if (vision := config.vision_config) is not None:
        width = vision.mm_embed_dim
        norms = {"patch_ln1": vision.patch_width, "patch_ln2": width, "pos_norm": width}
        parts: Shapes = {
            "patch_dense.weight": (width, vision.patch_width),
            "patch_dense.bias": (width,),
            "pos_embedding": (vision.mm_posemb_size, 2, width),
        }
        parts |= {
            f"{norm}.{kind}": (n,) for norm, n in norms.items() for kind in ("weight", "bias")
        }
        result |= {f"vision_embedder.{name}": shape for name, shape in parts.items()}
        result["embed_vision.embedding_projection.weight"] = (hidden, width)
    if (audio := config.audio_config) is not None:
        result["embed_audio.embedding_projection.weight"] = (hidden, audio.audio_embed_dim)
    return result


def drafter_shapes(config: DrafterConfig) -> Shapes:
    """Name all tensors of an unquantized drafter: its layers have neither keys nor values."""
    text, backbone = config.text_config, config.backbone_hidden_size
    hidden = text.hidden_size
    result: Shapes = {
        "model.embed_tokens.weight": (text.vocab_size, hidden),
        "model.norm.weight": (hidden,),
        "pre_projection.weight": (hidden, 2 * backbone),
        "post_projection.weight": (backbone, hidden),
    }
    for n, kind in enumerate(text.layer_types):
        for name, shape in _layer(text, kind == FULL).items():
            if not name.startswith(("self_attn.k_", "self_attn.v_")):
                result[f"model.layers.{n}.{name}"] = shape
    return result


def _layer(text: TextConfig, full: bool) -> Shapes:
    hidden, inner, heads = text.hidden_size, text.intermediate_size, text.num_attention_heads
    dim = text.global_head_dim if full else text.head_dim
    keys = dim * (text.num_global_key_value_heads if full else text.num_key_value_heads)
    result: Shapes = {
        "self_attn.q_proj.weight": (heads * dim, hidden),
        "self_attn.k_proj.weight": (keys, hidden),
        "self_attn.o_proj.weight": (hidden, heads * dim),
        "self_attn.q_norm.weight": (dim,),
        "self_attn.k_norm.weight": (dim,),
        "mlp.gate_proj.weight": (inner, hidden),
        "mlp.up_proj.weight": (inner, hidden),
        "mlp.down_proj.weight": (hidden, inner),
        "layer_scalar": (1,),
    }
    if not (full and text.attention_k_eq_v):
        result["self_attn.v_proj.weight"] = (keys, hidden)
    norms = ("input", "post_attention", "pre_feedforward", "post_feedforward")
    return result | {f"{norm}_layernorm.weight": (hidden,) for norm in norms}
