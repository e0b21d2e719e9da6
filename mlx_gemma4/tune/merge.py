"""An adapter merged into a quantized model, whose changed matrices are quantized again.

At 8 bits little is lost. At 4 bits most of what was learned is: a change is smaller than a step of
the grid. What is lost is measured, and a loss above LIMIT is not accepted unasked. `convert`
merges into the unquantized source, as it quantizes.
"""

import shutil
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx.utils import tree_unflatten

from ..checkpoint.adapted import dense_weight
from ..checkpoint.adapters import Adapter, check_fits
from ..checkpoint.load import load_folder, save_folder
from ..errors import Gemma4Error
from ..hub import disk

LIMIT = 0.25
"""The most of a change that may be lost unasked: error over change, the median of the matrices."""
_SETTINGS = ("*.json", "*.jinja", "*.model", "*.txt")


def merge_quantized(
    source: Path, adapter: Adapter, target: Path, bits: int = 8, force: bool = False
) -> float:
    """Write a folder with the adapter merged in.

    Args:
        source: a quantized model's folder.
        target: a folder that is not there yet.
        bits: of the changed matrices.
        force: accept a loss above LIMIT.

    Returns:
        The error that quantizing adds, over the change itself: the median of the matrices.

    Raises:
        Gemma4Error: the adapter is of another model, the folder is there, or too much would be
            lost.
    """
    if target.exists():
        raise impossible(f"{target} is there already.", "Choose another folder (-o), or remove it.")
    model = load_folder(source, layout="plain")
    check_fits(adapter, model.config)
    settings: dict[str, Any] = dict(model.config.quantization or {})
    modules, lost = dict(model.named_modules()), []
    for path in adapter.paths:
        linear = modules[path]
        before = dense_weight(linear).astype(mx.float32)
        wanted = adapter.merged(path, before)
        quantized = isinstance(linear, nn.QuantizedLinear)
        wanted = wanted if quantized else wanted.astype(linear["weight"].dtype)
        if not mx.isfinite(wanted).all().item():
            raise impossible(f"Merged, {path} holds NaN or infinity.", "Train the adapter again.")
        if not quantized:
            linear["weight"] = wanted
            continue
        group = max(32, linear.group_size)  # nvfp4's 16 are none of the affine grid
        outputs, inputs = wanted.shape
        again = nn.Linear(inputs, outputs, bias=False)
        again.weight = wanted
        stored = again.to_quantized(group, bits)
        error = dense_weight(stored) - wanted
        lost.append(_length(error) / _length(wanted - before))
        model.update_modules(tree_unflatten([(path, stored)]))
        mx.eval(stored.parameters())
        settings[path] = {"group_size": group, "bits": bits, "mode": "affine"}
    share = median(lost) if lost else 0.0
    if share > LIMIT and not force:
        raise impossible(
            f"At {bits} bits {share:.0%} of what the adapter changes would be lost (error over "
            "change, the median of the matrices).",
            "Keep it beside the model (--adapter), merge at 8 bits (--bits 8), or accept that with "
            "--force.",
        )
    model.config = replace(model.config, quantization=settings or None)
    making = target.with_name(f"{target.name}.partial")
    shutil.rmtree(making, ignore_errors=True)
    with disk.explained():
        making.mkdir(parents=True)
        for pattern in _SETTINGS:
            for file in source.glob(f"[!.]{pattern}"):
                shutil.copy(file, making / file.name)
        for record in ("conversion.json", "model.safetensors.index.json"):
            (making / record).unlink(missing_ok=True)
        save_folder(model, making)
        making.replace(target)
    return share


def _length(matrix: mx.array) -> float:
    return float(np.array(mx.linalg.norm(matrix)))


def impossible(cause: str, remedy: str) -> Gemma4Error:
    return Gemma4Error("merge_impossible", "The adapter cannot be merged", cause, remedy)
