"""Random checkpoints to measure on: `gemma4_unified` folders that mlx-gemma4 and mlx-vlm both read.

The dense folder has the published tensor names and bfloat16 weights; the 4-bit one is what our own
quantizer and writer make of it. There is no tokenizer in the folder: a benchmark feeds token ids,
or takes `any_tokenizer`.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import mlx.core as mx
from mlx.utils import tree_flatten
from tokenizers import AddedToken, decoders, models
from tokenizers import Tokenizer as Backend

from mlx_gemma4.chat.tokenizer import CONTROLS, Tokenizer
from mlx_gemma4.checkpoint.load import load_folder, save_folder
from mlx_gemma4.checkpoint.quantize import RECIPES, quantize
from mlx_gemma4.model.config import Config
from mlx_gemma4.model.gemma4 import Gemma4


@dataclass(frozen=True)
class Shape:
    """What differs between the checkpoints; all the rest is as in google/gemma-4-12B-it."""

    hidden: int
    inner: int
    layers: int
    heads: int
    kv_heads: int
    vocabulary: int
    head_dim: int = 256
    global_head_dim: int = 512
    window: int = 1024


SHAPES = {
    # seconds to run: to see that the benchmark itself works
    "small": Shape(128, 256, 6, 4, 2, 512, head_dim=32, global_head_dim=256, window=64),
    # about 150 million parameters, two full layers
    "middle": Shape(768, 3072, 12, 4, 2, 32768),
    # the widths of the 12B, one group of its layers: 1.4 billion parameters
    "wide": Shape(3840, 15360, 6, 16, 8, 4096),
}
SPECIAL = ("boi", "eoi", "image", "boa", "eoa", "audio", "video")  # the last ids of the vocabulary


def config(shape: Shape) -> dict[str, object]:
    """Return the contents of config.json of a shape."""
    special = {name: shape.vocabulary - len(SPECIAL) + n for n, name in enumerate(SPECIAL)}
    keys = {"eoa": "eoa_token_index"}
    return {
        "model_type": "gemma4_unified",
        "architectures": ["Gemma4UnifiedForConditionalGeneration"],
        "dtype": "bfloat16",
        "tie_word_embeddings": True,
        "eos_token_id": [1],
        **{keys.get(name, f"{name}_token_id"): number for name, number in special.items()},
        "text_config": {
            "model_type": "gemma4_unified_text",
            "vocab_size": shape.vocabulary,
            "hidden_size": shape.hidden,
            "intermediate_size": shape.inner,
            "num_hidden_layers": shape.layers,
            "num_attention_heads": shape.heads,
            "num_key_value_heads": shape.kv_heads,
            "num_global_key_value_heads": 1,
            "head_dim": shape.head_dim,
            "global_head_dim": shape.global_head_dim,
            "attention_k_eq_v": True,
            "sliding_window": shape.window,
            "max_position_embeddings": 262144,
            "final_logit_softcapping": 30.0,
            "use_bidirectional_attention": "vision",
        },
        "vision_config": {
            "model_type": "gemma4_unified_vision",
            "mm_embed_dim": shape.hidden,
            "output_proj_dims": shape.hidden,
        },
        "audio_config": {"model_type": "gemma4_unified_audio"},
    }


def make(folder: Path, shape: Shape, seed: int = 0) -> None:
    """Write the dense checkpoint of a shape, unless the folder holds it already."""
    wanted = config(shape)
    if _holds(folder, wanted):
        return
    folder.mkdir(parents=True, exist_ok=True)
    key = mx.random.key(seed)
    tensors = {}
    for name, value in sorted(tree_flatten(Gemma4(Config.from_dict(wanted)).parameters())):
        key, own = mx.random.split(key)
        tensors[_published(name)] = _random(name, value.shape, own).astype(mx.bfloat16)
        mx.eval(tensors[_published(name)])
    mx.save_safetensors(str(folder / "model.safetensors"), tensors, metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(wanted, indent=1) + "\n")


def make_4bit(folder: Path, dense: Path) -> None:
    """Quantize a dense checkpoint by our own recipe, unless the folder holds one already."""
    if (folder / "config.json").is_file():
        return
    model = load_folder(dense, dtype=mx.bfloat16)
    quantize(model, RECIPES["4bit"])
    save_folder(model, folder)


def any_tokenizer(vocabulary: int) -> Tokenizer:
    """Gemma 4's control tokens and bytes at the start of a vocabulary; the rest are words."""
    names = [*dict.fromkeys(CONTROLS), *(f"<0x{byte:02X}>" for byte in range(256))]
    names += [f"w{number} " for number in range(len(names), vocabulary)]
    ids = {name: number for number, name in enumerate(names)}
    backend = Backend(models.BPE(ids, [], byte_fallback=True, unk_token="<unk>"))
    backend.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    backend.add_special_tokens([AddedToken(name, normalized=False) for name in CONTROLS])
    return Tokenizer(backend)


def _holds(folder: Path, wanted: dict[str, object]) -> bool:
    file = folder / "config.json"
    return file.is_file() and json.loads(file.read_text()) == wanted


def _published(name: str) -> str:
    inner = "language_model.model."
    return "model." + (
        "language_model." + name.removeprefix(inner) if name.startswith(inner) else name
    )


def _random(name: str, shape: tuple[int, ...], key: mx.array) -> mx.array:
    """Weights that keep the numbers of every layer at the size they have in a trained model."""
    noise = mx.random.normal(shape, key=key)
    if name.endswith(("q_norm.weight", "k_norm.weight")):
        return (1 + 0.2 * noise) * shape[0] ** -0.25  # the attention scale is 1.0
    if len(shape) == 2:
        return noise * shape[1] ** -0.5
    if len(shape) == 1 and not name.endswith("bias"):
        return 1 + 0.2 * noise
    return noise * 0.2
