"""config.json of a drafter (`gemma4_unified_assistant`), and whether it belongs to a model.

Knows no tensors and imports no mlx. Names are those of transformers 5.24
`configuration_gemma4_unified_assistant.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import Gemma4Error
from ..json_reader import Section, read_object, short, unusable
from .config import TextConfig, quantization_of, text_config_of

DRAFTER_TYPE = "gemma4_unified_assistant"


@dataclass(frozen=True)
class DrafterConfig:
    """A drafter's settings; `raw` is config.json as it was read.

    Attributes:
        text_config: of its own layers, which have queries only.
        backbone_hidden_size: hidden size of the model that it drafts for.
    """

    text_config: TextConfig
    backbone_hidden_size: int
    quantization: Mapping[str, Any] | None
    raw: Mapping[str, Any] = field(repr=False, compare=False)

    @classmethod
    def from_dict(cls, config: Mapping[str, Any]) -> DrafterConfig:
        """Read config.json's content.

        Raises:
            Gemma4Error: it is another model's, a key is missing or of the wrong type, or it asks
                for what is not built here.
        """
        kind = config.get("model_type")
        top = Section(config, "config.json")
        if kind == "gemma4_assistant" or top.get("use_ordered_embeddings", bool, False):
            raise unusable(
                "it is the drafter of Gemma 4 E2B or E4B: its head picks among centroids "
                "(use_ordered_embeddings), and only a dense head is built.",
                "Choose google/gemma-4-12B-it-assistant.",
            )
        if kind != DRAFTER_TYPE:
            raise unusable(
                f"its model_type is {short(kind)}, and a drafter's is {DRAFTER_TYPE!r}.",
                "Choose google/gemma-4-12B-it-assistant, or a conversion of it.",
            )
        text = top.section("text_config")
        if text is None:
            raise unusable("config.json has no text_config.")
        top.must_be("tie_word_embeddings", True)
        layers = text.size("num_hidden_layers")
        # left out or 0, transformers takes all layers too
        text.must_be("num_kv_shared_layers", layers, 0, None)
        return cls(
            text_config_of(text),
            top.size("backbone_hidden_size", 3840),
            quantization_of(top),
            config,
        )

    def check_target(self, target: TextConfig) -> None:
        """Refuse a model that this drafter does not belong to.

        Raises:
            Gemma4Error: code "drafter_mismatch", with what differs.
        """
        own = self.text_config
        differing = [
            f"{name} is {here} here and {there} there"
            for name, here, there in (
                ("backbone_hidden_size", self.backbone_hidden_size, target.hidden_size),
                ("vocab_size", own.vocab_size, target.vocab_size),
                ("head_dim", own.head_dim, target.head_dim),
                ("global_head_dim", own.global_head_dim, target.global_head_dim),
                ("sliding_window", own.sliding_window, target.sliding_window),
                ("rope_parameters", own.rope_parameters, target.rope_parameters),
            )
            if here != there
        ]
        if lost := sorted(set(own.layer_types) - set(target.layer_types)):
            differing.append(f"it reads {' and '.join(lost)} layers, and the model has none")
        shared = (target.num_key_value_heads, target.num_global_key_value_heads)
        if any(own.num_attention_heads % heads for heads in shared):
            differing.append(
                f"{own.num_attention_heads} query heads cannot share {shared} KV heads"
            )
        if differing:
            raise Gemma4Error(
                "drafter_mismatch",
                "The drafter is not this model's",
                f"{'; '.join(differing)}.",
                "Choose the drafter that Package.toml names for the model.",
            )


def is_drafter(folder: Path) -> bool:
    """Whether a folder's config.json is that of a drafter, of any model."""
    kind = (read_object(folder / "config.json") or {}).get("model_type")
    return isinstance(kind, str) and kind.endswith("_assistant")


def load_drafter_config(folder: Path) -> DrafterConfig:
    """Read a drafter folder's config.json.

    Raises:
        Gemma4Error: there is none, or it cannot be used.
    """
    config = read_object(folder / "config.json")
    if config is None:
        raise Gemma4Error(
            "folder_unreadable",
            "The drafter's folder cannot be read",
            f"{folder} has no config.json.",
            "Name the folder that holds config.json and model.safetensors.",
        )
    return DrafterConfig.from_dict(config)
