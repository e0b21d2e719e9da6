"""config.json -> frozen dataclasses whose fields are its keys. Knows no tensors and imports no mlx.

Both published forms are read: `global_head_dim` and `num_global_key_value_heads` (checkpoints and
mlx-vlm), and `per_layer_config` (transformers >= 5.23). What is not built is refused here. Defaults
are those of transformers 5.23 `configuration_gemma4_unified.py` unless a comment says otherwise.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import Gemma4Error

MODEL_TYPE = "gemma4_unified"
SLIDING, FULL = "sliding_attention", "full_attention"


@dataclass(frozen=True)
class RopeParameters:
    """Rotary embedding of one layer type: base `rope_theta`, the share of the head that rotates."""

    rope_theta: float
    partial_rotary_factor: float


@dataclass(frozen=True)
class TextConfig:
    """The decoder. `global_*` is for full layers; `layer_types` names each layer's attention."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    global_head_dim: int
    num_global_key_value_heads: int
    attention_k_eq_v: bool
    sliding_window: int
    layer_types: tuple[str, ...]
    rope_parameters: Mapping[str, RopeParameters]
    rms_norm_eps: float
    final_logit_softcapping: float | None
    max_position_embeddings: int

    @property
    def rotated_dims(self) -> int:
        """Dims of a full layer's head that rotate: transformers' "proportional" rope."""
        factor = self.rope_parameters[FULL].partial_rotary_factor
        return 2 * int(factor * self.global_head_dim // 2)


@dataclass(frozen=True)
class VisionConfig:
    """The patch embedder. A patch has `patch_size * pooling_kernel_size` pixels a side."""

    patch_size: int
    pooling_kernel_size: int
    mm_embed_dim: int
    mm_posemb_size: int
    rms_norm_eps: float

    @property
    def patch_width(self) -> int:
        """Numbers in one patch: side * side * 3 channels (6912 for the published models)."""
        return 3 * (self.patch_size * self.pooling_kernel_size) ** 2


@dataclass(frozen=True)
class AudioConfig:
    """The frame embedder: `audio_embed_dim` samples in one frame (640 = 40 ms at 16 kHz)."""

    audio_embed_dim: int
    rms_norm_eps: float


@dataclass(frozen=True)
class Config:
    """A model folder's settings. `raw` is config.json as it was read, for writing it back."""

    text_config: TextConfig
    vision_config: VisionConfig | None
    audio_config: AudioConfig | None
    image_token_id: int
    audio_token_id: int
    video_token_id: int
    boi_token_id: int
    eoi_token_id: int
    boa_token_id: int
    eoa_token_id: int
    pad_token_id: int
    bos_token_id: int
    eos_token_ids: tuple[int, ...]
    suppress_tokens: tuple[int, ...]
    temperature: float
    top_p: float
    top_k: int
    quantization: Mapping[str, Any] | None
    image_tokens: int
    raw: Mapping[str, Any] = field(repr=False, compare=False)

    @classmethod
    def from_dict(
        cls,
        config: Mapping[str, Any],
        generation: Mapping[str, Any] | None = None,
        image_tokens: int = 280,
    ) -> Config:
        """Read config.json's content, with generation_config.json's beside it.

        Args:
            config: config.json.
            generation: generation_config.json; its eos ids are added, its sampling values are kept.
            image_tokens: patches a picture may take when nobody asks for another number.

        Raises:
            Gemma4Error: a key is missing or of the wrong type, or asks for what is not built here.
        """
        kind = config.get("model_type")
        if kind != MODEL_TYPE:
            raise _unusable(
                f"its model_type is {kind!r}, and this library runs {MODEL_TYPE!r} only.",
                "Choose a Gemma 4 12B folder (google/gemma-4-12B-it or a conversion of it).",
            )
        top, text = _Reader(config, "config.json"), _section(config, "text_config")
        if text is None:
            raise _unusable("config.json has no text_config.", _DOWNLOAD)
        top.must_be("tie_word_embeddings", True)
        vision, audio = _section(config, "vision_config"), _section(config, "audio_config")
        chosen = _Reader(generation or {}, "generation_config.json")
        eos = {*top.ids("eos_token_id"), *text.ids("eos_token_id"), *chosen.ids("eos_token_id")}
        return cls(
            text_config=_text_config(text),
            vision_config=None if vision is None else _vision_config(vision),
            audio_config=None if audio is None else _audio_config(audio),
            image_token_id=top.integer("image_token_id", 258880),
            audio_token_id=top.integer("audio_token_id", 258881),
            video_token_id=top.integer("video_token_id", 258884),
            boi_token_id=top.integer("boi_token_id", 255999),
            eoi_token_id=top.integer("eoi_token_id", 258882),
            boa_token_id=top.integer("boa_token_id", 256000),
            eoa_token_id=top.integer("eoa_token_index", 258883),
            pad_token_id=text.integer("pad_token_id", 0),
            bos_token_id=text.integer("bos_token_id", 2),
            eos_token_ids=tuple(sorted(eos or {1})),
            suppress_tokens=tuple(chosen.ids("suppress_tokens")),
            # The model card's sampling, where the folder says nothing.
            temperature=chosen.number("temperature", 1.0),
            top_p=chosen.number("top_p", 0.95),
            top_k=chosen.integer("top_k", 64),
            quantization=_quantization(config),
            image_tokens=image_tokens,
            raw=config,
        )


def load_config(folder: Path) -> Config:
    """Read a model folder's config.json, generation_config.json and picture budget.

    Raises:
        Gemma4Error: not a folder, no config.json, not JSON, or a model that is not Gemma 4 unified.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise Gemma4Error(
            "folder_unreadable",
            "The model folder cannot be read",
            f"{folder} is {'a file' if folder.exists() else 'not there'}, and a model is a folder.",
            "Give the folder that holds config.json and model.safetensors.",
        )
    config = _read_json(folder / "config.json")
    if config is None:
        raise Gemma4Error(
            "folder_unreadable",
            "The model folder cannot be read",
            f"{folder} has no config.json.",
            _DOWNLOAD,
        )
    return Config.from_dict(
        config, _read_json(folder / "generation_config.json"), _image_tokens(folder)
    )


_DOWNLOAD = "Download or convert the model again."


def _unusable(cause: str, remedy: str) -> Gemma4Error:
    return Gemma4Error("config_unusable", "The model's config cannot be used", cause, remedy)


def _read_json(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise _unusable(f"{path} is not JSON ({error}).", _DOWNLOAD) from error
    if not isinstance(content, dict):
        raise _unusable(f"{path} holds a {type(content).__name__}, not an object.", _DOWNLOAD)
    return content


def _image_tokens(folder: Path) -> int:
    """The picture budget of transformers' processor files; 280 is the processor's own default."""
    processor = _read_json(folder / "processor_config.json") or {}
    image = (
        processor.get("image_processor") or _read_json(folder / "preprocessor_config.json") or {}
    )
    budget = image.get("max_soft_tokens") or processor.get("image_seq_length") or 280
    if not isinstance(budget, int):
        raise _unusable(f"the picture budget is {budget!r}, not a number.", _DOWNLOAD)
    return budget


class _Reader:
    """Typed look-ups in one JSON object, with errors that name the key and the place."""

    def __init__(self, data: Mapping[str, Any], place: str) -> None:
        self.data = data
        self.place = place

    def get(self, key: str, kind: type | tuple[type, ...], default: Any) -> Any:
        value = self.data.get(key)
        if value is None:
            value = default
        if value is None:
            raise _unusable(f"{self.place} has no {key}.", _DOWNLOAD)
        # bool is an int in Python, and never what a size or an id should be.
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise _unusable(f"{key} in {self.place} is {value!r}.", _DOWNLOAD)
        return value

    def integer(self, key: str, default: int | None = None) -> int:
        return int(self.get(key, int, default))

    def size(self, key: str, default: int | None = None) -> int:
        value = self.integer(key, default)
        if value < 1:
            raise _unusable(f"{key} in {self.place} is {value}, and must be 1 or more.", _DOWNLOAD)
        return value

    def number(self, key: str, default: float | None = None) -> float:
        return float(self.get(key, (int, float), default))

    def ids(self, key: str) -> list[int]:
        value = self.get(key, (int, list), [])
        ids = value if isinstance(value, list) else [value]
        if not all(isinstance(i, int) for i in ids):
            raise _unusable(f"{key} in {self.place} is {value!r}.", _DOWNLOAD)
        return ids

    def must_be(self, key: str, *allowed: Any) -> None:
        """Refuse a setting that changes what is computed; `allowed[0]` is also the default."""
        value = self.data.get(key, allowed[0])
        if value not in allowed:
            raise _unusable(
                f"{key} in {self.place} is {value!r}, and only {allowed[0]!r} is built.",
                "Choose a Gemma 4 12B folder.",
            )


def _section(config: Mapping[str, Any], key: str) -> _Reader | None:
    section = config.get(key)
    if not section:
        return None
    if not isinstance(section, dict):
        raise _unusable(f"{key} in config.json is {section!r}, not an object.", _DOWNLOAD)
    return _Reader(section, key)


def _text_config(text: _Reader) -> TextConfig:
    text.must_be("attention_bias", False)
    text.must_be("hidden_activation", "gelu_pytorch_tanh")
    text.must_be("num_kv_shared_layers", 0)
    text.must_be("tie_word_embeddings", True)
    text.must_be("use_bidirectional_attention", "vision")
    layers = text.size("num_hidden_layers")
    # 5 sliding layers, then a full one.
    pattern = [SLIDING if (n + 1) % 6 else FULL for n in range(layers)]
    layer_types = text.get("layer_types", list, pattern)
    if len(layer_types) != layers or not set(layer_types) <= {SLIDING, FULL}:
        raise _unusable(
            f"layer_types has {len(layer_types)} entries {sorted(map(str, set(layer_types)))} "
            f"for {layers} layers of {SLIDING} or {FULL}.",
            _DOWNLOAD,
        )
    full = _full_overrides(text, layer_types)
    k_eq_v = text.get("attention_k_eq_v", bool, False)
    kv_heads = text.size("num_key_value_heads")
    head_dim = text.size("head_dim")
    # transformers reads the full layers' own number of KV heads only with attention_k_eq_v.
    result = TextConfig(
        vocab_size=text.size("vocab_size"),
        hidden_size=text.size("hidden_size"),
        intermediate_size=text.size("intermediate_size"),
        num_hidden_layers=layers,
        num_attention_heads=text.size("num_attention_heads"),
        num_key_value_heads=kv_heads,
        head_dim=head_dim,
        global_head_dim=full.size("global_head_dim", 512),
        num_global_key_value_heads=full.size("num_global_key_value_heads", kv_heads)
        if k_eq_v
        else kv_heads,
        attention_k_eq_v=k_eq_v,
        sliding_window=text.size("sliding_window", 1024),
        layer_types=tuple(layer_types),
        rope_parameters=_rope_parameters(text),
        rms_norm_eps=text.number("rms_norm_eps", 1e-6),
        final_logit_softcapping=text.number("final_logit_softcapping", 0.0) or None,
        max_position_embeddings=text.size("max_position_embeddings", 262144),
    )
    for kv, place in ((kv_heads, "sliding"), (result.num_global_key_value_heads, "full")):
        if result.num_attention_heads % kv:
            raise _unusable(
                f"{result.num_attention_heads} query heads cannot share {kv} KV heads "
                f"on the {place} layers.",
                _DOWNLOAD,
            )
    if not 0 <= result.rotated_dims <= result.global_head_dim:
        raise _unusable("partial_rotary_factor of the full layers is not in 0..1.", _DOWNLOAD)
    return result


def _full_overrides(text: _Reader, layer_types: list[str]) -> _Reader:
    """The full layers' head sizes, whichever form the config has, under the published names."""
    per_layer = text.data.get("per_layer_config")
    if not per_layer:
        return text
    full = [per_layer.get(str(n), per_layer.get(n, {})) for n in _indices(layer_types, FULL)]
    sliding = [per_layer.get(str(n), per_layer.get(n, {})) for n in _indices(layer_types, SLIDING)]
    if any(entry != full[0] for entry in full) or any(sliding):
        raise _unusable(
            f"per_layer_config is {per_layer!r}; all full layers must be alike, and no sliding "
            "layer may have its own sizes.",
            "Choose a Gemma 4 12B folder.",
        )
    names = {"head_dim": "global_head_dim", "num_key_value_heads": "num_global_key_value_heads"}
    if not set(full[0]) <= set(names):
        raise _unusable(f"per_layer_config sets {sorted(full[0])}.", "Choose a Gemma 4 12B folder.")
    # Layers without an entry have the sizes of the text_config itself.
    sizes = {new: full[0].get(old, text.data.get(old)) for old, new in names.items()}
    return _Reader(sizes, "per_layer_config")


def _indices(layer_types: list[str], kind: str) -> list[int]:
    return [n for n, layer_type in enumerate(layer_types) if layer_type == kind]


def _rope_parameters(text: _Reader) -> dict[str, RopeParameters]:
    published = {
        SLIDING: {"rope_type": "default", "rope_theta": 1e4},
        FULL: {"rope_type": "proportional", "rope_theta": 1e6, "partial_rotary_factor": 0.25},
    }
    given = text.get("rope_parameters", dict, published)
    result = {}
    for kind, default in published.items():
        rope = _Reader(given.get(kind) or default, f"rope_parameters.{kind}")
        rope.must_be("rope_type", default["rope_type"])
        rope.must_be("factor", 1.0)
        share = rope.number("partial_rotary_factor", 1.0) if kind == FULL else 1.0
        result[kind] = RopeParameters(rope.number("rope_theta"), share)
    return result


def _vision_config(vision: _Reader) -> VisionConfig:
    width = vision.size("mm_embed_dim", 3840)
    vision.must_be("output_proj_dims", width)
    return VisionConfig(
        patch_size=vision.size("patch_size", 16),
        pooling_kernel_size=vision.size("pooling_kernel_size", 3),
        mm_embed_dim=width,
        mm_posemb_size=vision.size("mm_posemb_size", 1120),
        rms_norm_eps=vision.number("rms_norm_eps", 1e-6),
    )


def _audio_config(audio: _Reader) -> AudioConfig:
    return AudioConfig(
        audio_embed_dim=audio.size("audio_embed_dim", 640),
        rms_norm_eps=audio.number("rms_norm_eps", 1e-6),
    )


def _quantization(config: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """MLX's settings; another library's scheme is refused, for its tensors mean something else."""
    settings = config.get("quantization") or config.get("quantization_config")
    if not settings:
        return None
    if not isinstance(settings, dict) or not {"group_size", "bits"} <= set(settings):
        raise _unusable(
            f"its quantization is {settings!r}, which is not MLX's (group_size, bits).",
            "Convert the unquantized checkpoint with `gemma4 convert`.",
        )
    return settings
