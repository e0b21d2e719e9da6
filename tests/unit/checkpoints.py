"""A checkpoint as it is published: bf16, in shards with an index, under the published names."""

import json
from pathlib import Path

import mlx.core as mx

from mlx_gemma4.checkpoint.load import save_folder
from mlx_gemma4.hub.cache import INDEX
from mlx_gemma4.testing.doubles import tiny_model


def publish(folder: Path, shards: int = 3) -> dict[str, mx.array]:
    """Write one with random weights; return its tensors by their names in the module tree."""
    save_folder(tiny_model(), folder)
    (folder / "tokenizer.json").write_text("{}")
    tensors = mx.load(str(folder / "model.safetensors"))
    (folder / "model.safetensors").unlink()
    tensors = {name: tensor.astype(mx.bfloat16) for name, tensor in tensors.items()}
    places = {}
    for n in range(shards):
        file = f"model-{n + 1:05}-of-{shards:05}.safetensors"
        names = sorted(tensors)[n::shards]
        mx.save_safetensors(
            str(folder / file),
            {_published(name): tensors[name] for name in names},
            metadata={"format": "pt"},
        )
        places |= {_published(name): file for name in names}
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return tensors


def _published(name: str) -> str:
    return f"model.{name}".replace("model.language_model.model.", "model.language_model.")
