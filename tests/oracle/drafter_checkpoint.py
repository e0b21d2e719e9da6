"""A drafter of the oracle's checkpoint (`random_checkpoint`), of the published one's shape."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mlx_gemma4.checkpoint.shapes import drafter_shapes
from mlx_gemma4.cli.selftest.random_checkpoint import CONFIG, write_folder
from mlx_gemma4.model.drafter_config import DrafterConfig


def write_drafter(folder: Path) -> None:
    """Write its folder."""
    config = drafter_config()
    shapes = drafter_shapes(DrafterConfig.from_dict(config))
    write_folder(folder, json.dumps(config).encode(), shapes)


def drafter_config() -> dict[str, Any]:
    """Contents of config.json: three sliding layers and a full one that read the target's."""
    target = json.loads(CONFIG.read_text("utf-8"))
    text = target["text_config"] | {
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 4,
        "num_kv_shared_layers": 4,
        "layer_types": ["sliding_attention"] * 3 + ["full_attention"],
        "final_logit_softcapping": None,
    }
    return {
        "model_type": "gemma4_unified_assistant",
        "backbone_hidden_size": target["text_config"]["hidden_size"],
        "tie_word_embeddings": True,
        "text_config": text,
    }
