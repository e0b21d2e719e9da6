"""config.json -> frozen dataclasses whose fields are its keys. Knows no tensors and imports no mlx.

Both published forms are read: `global_head_dim` and `num_global_key_value_heads` (checkpoints and
mlx-vlm), and `per_layer_config` (transformers >= 5.15). What is not built is refused here. Defaults
are those of transformers 5.23 `configuration_gemma4_unified.py` unless a comment names another.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .. import limits
from ..errors import Gemma4Error
from ..json_reader import Section, is_folder, read_object, short, unusable

MODEL_TYPE = "gemma4_unified"
SLIDING, FULL = "sliding_attention", "full_attention"


def unknown_setting(name: str, value: object, choices: str) -> Gemma4Error:
    """The error of a setting with an unknown value; `choices` are the known ones."""
    title, cause = f"The setting {name} is not known", f"It is {value!r}."
    return Gemma4Error("setting_unknown", title, cause, f"Use {choices}.")


@dataclass(frozen=True)
class RopeParameters:
    """Rotary embedding of one layer type: base `rope_theta`, share of a head that rotates."""

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

    @property
    def last_layers(self) -> dict[str, int]:
        """The last layer of each kind: a drafter reads the rows of these."""
        return {kind: layer for layer, kind in enumerate(self.layer_types)}


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
                `do_sample: false` is temperature 0.
            image_tokens: patches that a picture may take unless another number is asked for.

        Raises:
            Gemma4Error: a key is missing or of the wrong type, or asks for what is not built here.
        """
        kind = config.get("model_type")
        if kind != MODEL_TYPE:
            raise unusable(
                f"its model_type is {short(kind)}, and this library runs {MODEL_TYPE!r} only.",
                "Choose a Gemma 4 12B folder (google/gemma-4-12B-it or a conversion of it).",
            )
        top = Section(config, "config.json")
        text = top.section("text_config")
        if text is None:
            raise unusable("config.json has no text_config.")
        top.must_be("tie_word_embeddings", True)
        text.must_be("num_kv_shared_layers", 0)
        vision, audio = top.section("vision_config"), top.section("audio_config")
        chosen = Section(generation or {}, "generation_config.json")
        eos = {*top.ids("eos_token_id"), *text.ids("eos_token_id"), *chosen.ids("eos_token_id")}
        greedy = not chosen.get("do_sample", bool, True)
        return cls(
            text_config=text_config_of(text),
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
            # The model card's sampling, where the folder has none.
            temperature=0.0 if greedy else chosen.number("temperature", 1.0),
            top_p=chosen.number("top_p", 0.95, most=1.0) or 1.0,  # 0 is how some turn it off
            top_k=chosen.integer("top_k", 64),
            quantization=quantization_of(top),
            image_tokens=image_tokens,
            raw=config,
        )


def load_config(folder: Path) -> Config:
    """Read a model folder's config.json, generation_config.json and picture budget.

    Raises:
        Gemma4Error: not a folder, no config.json, not JSON, or a model that is not Gemma 4 unified.
    """
    folder = Path(folder)
    if not is_folder(folder):
        raise Gemma4Error(
            "folder_unreadable",
            "The model folder cannot be read",
            f"{folder} is {'a file' if folder.exists() else 'not there'}, and a model is a folder.",
            "Use the folder that holds config.json and model.safetensors.",
        )
    config = read_object(folder / "config.json")
    if config is None:
        raise Gemma4Error(
            "folder_unreadable",
            "The model folder cannot be read",
            f"{folder} has no config.json.",
            "Download or convert the model again.",
        )
    generation = read_object(folder / "generation_config.json")
    return Config.from_dict(config, generation, _image_tokens(folder))


def _image_tokens(folder: Path) -> int:
    """The picture budget of transformers' processor files; 280 is the processor's own default."""
    processor = Section(
        read_object(folder / "processor_config.json") or {}, "processor_config.json"
    )
    name = "preprocessor_config.json"
    image = processor.section("image_processor") or Section(read_object(folder / name) or {}, name)
    budget = image.integer("max_soft_tokens", 0) or processor.integer("image_seq_length", 0)
    return budget or 280


def text_config_of(text: Section) -> TextConfig:
    """Read the settings of a decoder, a model's or a drafter's."""
    text.must_be("attention_bias", False)
    text.must_be("hidden_activation", "gelu_pytorch_tanh")
    text.must_be("tie_word_embeddings", True)
    text.must_be("use_bidirectional_attention", "vision")
    layers = text.size("num_hidden_layers", most=limits.CONFIG_LAYERS)
    # 5 sliding layers, then a full one.
    pattern = [SLIDING if (n + 1) % 6 else FULL for n in range(layers)]
    layer_types = text.get("layer_types", list, pattern)
    if len(layer_types) != layers or any(kind not in (SLIDING, FULL) for kind in layer_types):
        others = [kind for kind in layer_types if kind not in (SLIDING, FULL)]
        raise unusable(
            f"layer_types has {len(layer_types)} entries for {layers} layers"
            f"{f', {short(others[0])} among them' if others else ''}; "
            f"each must be {SLIDING} or {FULL}."
        )
    full = _full_layers(text, layer_types)
    k_eq_v = text.get("attention_k_eq_v", bool, False)
    kv_heads = text.size("num_key_value_heads")
    # transformers reads the full layers' own number of KV heads only with attention_k_eq_v.
    full_kv_heads = full.size("num_global_key_value_heads", kv_heads) if k_eq_v else kv_heads
    result = TextConfig(
        vocab_size=text.size("vocab_size", most=limits.CONFIG_VOCABULARY),
        hidden_size=text.size("hidden_size"),
        intermediate_size=text.size("intermediate_size"),
        num_hidden_layers=layers,
        num_attention_heads=text.size("num_attention_heads"),
        num_key_value_heads=kv_heads,
        head_dim=text.size("head_dim"),
        global_head_dim=full.size("global_head_dim", 512),
        num_global_key_value_heads=full_kv_heads,
        attention_k_eq_v=k_eq_v,
        sliding_window=text.size("sliding_window", 1024),
        layer_types=tuple(layer_types),
        rope_parameters=_rope_parameters(text),
        rms_norm_eps=text.number("rms_norm_eps", 1e-6),
        final_logit_softcapping=text.number("final_logit_softcapping", 0.0) or None,
        max_position_embeddings=text.size("max_position_embeddings", 262144, limits.CONFIG_CONTEXT),
    )
    for kv, place in ((kv_heads, "sliding"), (full_kv_heads, "full")):
        if result.num_attention_heads % kv:
            raise unusable(
                f"{result.num_attention_heads} query heads cannot share {kv} KV heads "
                f"on the {place} layers."
            )
    return result


def _full_layers(text: Section, layer_types: list[str]) -> Section:
    """The full layers' head sizes, whichever form the config has, under the published names."""
    place = "per_layer_config"
    names = {"head_dim": "global_head_dim", "num_key_value_heads": "num_global_key_value_heads"}
    layers = text.section(place)
    if layers is None:
        return text
    # What a layer does not set, or sets to the same value, is the text_config's own.
    own: list[dict[str, Any]] = [{} for _ in layer_types]
    for key, entry in layers.data.items():
        # transformers pads the numbers with zeros, "05", so that they sort
        is_number = isinstance(key, int) or (key.isdecimal() and len(key) < 9)
        if not is_number or int(key) >= len(layer_types):
            raise unusable(f"{place} names a layer {short(key)} of {len(layer_types)}.")
        if not isinstance(entry, dict):
            raise layers.wrong(f"layer {key}", entry, ", not an object")
        changed = {name: v for name, v in entry.items() if v != text.data.get(name)}
        if own[int(key)] and own[int(key)] != changed:
            raise unusable(f"{place} has two entries for layer {int(key)}.")
        own[int(key)] = changed
    full = [entry for entry, kind in zip(own, layer_types, strict=True) if kind == FULL]
    sliding = [entry for entry, kind in zip(own, layer_types, strict=True) if kind == SLIDING]
    sizes = full[0] if full else {}
    if any(entry != sizes for entry in full) or any(sliding) or not set(sizes) <= set(names):
        different = next((e for e in [*sliding, *full] if e and e != sizes), sizes)
        raise unusable(
            f"{place} sets {short(different)}; all full layers must be alike and set "
            f"{' and '.join(names)} only, and no sliding layer may have its own sizes.",
            "Choose a Gemma 4 12B folder.",
        )
    return Section({new: sizes.get(old, text.data.get(old)) for old, new in names.items()}, place)


def _rope_parameters(text: Section) -> dict[str, RopeParameters]:
    published: dict[str, dict[str, Any]] = {
        SLIDING: {"rope_type": "default", "rope_theta": 1e4},
        FULL: {"rope_type": "proportional", "rope_theta": 1e6, "partial_rotary_factor": 0.25},
    }
    given = text.section("rope_parameters") or Section(published, "rope_parameters")
    result = {}
    for kind, default in published.items():
        rope = given.section(kind) or Section(default, f"rope_parameters.{kind}")
        rope.must_be("rope_type", default["rope_type"])
        rope.must_be("factor", 1.0)
        share = rope.number("partial_rotary_factor", 1.0, most=1.0) if kind == FULL else 1.0
        result[kind] = RopeParameters(rope.number("rope_theta", least=1.0), share)
    return result


def _vision_config(vision: Section) -> VisionConfig:
    width = vision.size("mm_embed_dim", 3840)
    vision.must_be("output_proj_dims", width)
    return VisionConfig(
        patch_size=vision.size("patch_size", 16, 256),
        pooling_kernel_size=vision.size("pooling_kernel_size", 3, 16),
        mm_embed_dim=width,
        mm_posemb_size=vision.size("mm_posemb_size", 1120),
        rms_norm_eps=vision.number("rms_norm_eps", 1e-6),
    )


def _audio_config(audio: Section) -> AudioConfig:
    return AudioConfig(
        audio_embed_dim=audio.size("audio_embed_dim", 640),
        rms_norm_eps=audio.number("rms_norm_eps", 1e-6),
    )


def quantization_of(config: Section) -> Mapping[str, Any] | None:
    """MLX's settings, or None; another library's are refused: its tensors mean something else."""
    settings = config.section("quantization") or config.section("quantization_config")
    if settings is None:
        return None
    if not {"group_size", "bits"} <= set(settings.data):
        raise unusable(
            f"its quantization is {short(dict(settings.data))}, which is not MLX's "
            "(group_size, bits).",
            "Convert the unquantized checkpoint with `gemma4 convert`.",
        )
    own = [Section(v, f"quantization of {k}") for k, v in settings.data.items() if type(v) is dict]
    for section in (settings, *own):  # a module's own settings may leave out what the rule sets
        section.size("group_size", 64)
        section.size("bits", 4, 32)
        section.get("mode", str, "affine")
    return settings.data
