"""A random checkpoint that is quantized already, written without its unquantized weights.

    python bench/packed.py FOLDER [--shape 12b|group|middle|small] [--recipe 4bit]

Only memory can be measured on it. Codes are random bits; all groups of a matrix share one scale, so
that its numbers are of a trained matrix's size.
"""

import argparse
import json
import math
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from checkpoint import SHAPES, Shape, config
from make_checkpoint import THE_12B, bf16_bits

from mlx_gemma4.checkpoint.architectures import ARCHITECTURES
from mlx_gemma4.checkpoint.recipes import named
from mlx_gemma4.checkpoint.safetensors import Tensor, header
from mlx_gemma4.checkpoint.shapes import drafter_shapes, shapes
from mlx_gemma4.cli.selftest.random_checkpoint import write_folder
from mlx_gemma4.convert.plan import Part, make_plan
from mlx_gemma4.model.config import Config
from mlx_gemma4.model.drafter_config import DrafterConfig

PACKED = {
    "12b": THE_12B,
    "group": replace(THE_12B, layers=6),  # five sliding layers and a full one
    "middle": SHAPES["middle"],
    "small": SHAPES["small"],
}
_PIECE = 16 * 1024**2  # bytes written at once


class Unwritten:
    """A source that has headers and no weights: enough to plan a conversion."""

    name, commit, identity, room = "random", None, "random", 0

    def __init__(self, settings: Path, tensors: dict[str, Tensor]) -> None:
        self.settings, self.shards = settings, {"model.safetensors": tensors}

    def open(self, shard: str) -> Path | None:
        """Fail: there is nothing to read."""
        raise NotImplementedError

    def release(self, shard: str) -> None:
        """Do nothing."""


def make(folder: Path, shape: Shape, recipe: str) -> None:
    """Write the checkpoint, unless the folder holds one already."""
    if (folder / "model.safetensors.index.json").is_file():
        return
    folder.mkdir(parents=True, exist_ok=True)
    written = config(shape)
    (folder / "config.json").write_text(json.dumps(written))
    dense = {name: Tensor("BF16", size) for name, size in shapes(Config.from_dict(written)).items()}
    plan = make_plan(Unwritten(folder, dense), named(recipe))
    bits = np.random.default_rng(0).bytes(_PIECE)
    places = {}
    for file in plan.files:
        with (folder / file.name).open("wb") as out:
            out.write(header(file.tensors))
            for part in file.parts:
                for piece in _pieces(part, bits):
                    out.write(piece)
        places |= dict.fromkeys(file.tensors, file.name)
        print(f"{file.name}: {file.nbytes / 1e9:.2f} GB", file=sys.stderr)
    (folder / "config.json").write_text(json.dumps(plan.config))
    index = {"metadata": {"total_size": plan.nbytes}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def make_drafter(folder: Path) -> None:
    """Write random weights of the 12B's drafter, unless the folder holds one already."""
    if not (folder / "config.json").is_file():
        written = ARCHITECTURES["gemma-4-12B-assistant"]
        sizes = drafter_shapes(DrafterConfig.from_dict(written))
        write_folder(folder, json.dumps(written).encode(), sizes)


def _pieces(part: Part, bits: bytes) -> Iterator[bytes]:
    """The bytes of what a tensor becomes, piece by piece."""
    columns = part.source.shape[-1]
    for name, tensor in part.tensors.items():
        if part.storage is None or name.endswith(".weight"):
            if part.storage is None:
                size = columns**-0.25 if name.endswith(("q_norm.weight", "k_norm.weight")) else 1
                unit = _bf16(size if len(tensor.shape) == 1 else columns**-0.5)
            else:
                unit = bits
        else:
            # codes 0 .. 2 ** bits - 1 have a standard deviation of their number / sqrt(12)
            codes = 2**part.storage.bits
            scale = math.sqrt(12 / columns) / codes
            unit = _bf16(scale if name.endswith(".scales") else -scale * (codes - 1) / 2)
        unit *= max(1, _PIECE // len(unit))
        for start in range(0, tensor.nbytes, len(unit)):
            yield unit[: tensor.nbytes - start]


def _bf16(value: float) -> bytes:
    return bf16_bits(np.array([value])).tobytes()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--shape", choices=PACKED, default="12b")
    parser.add_argument("--recipe", default="4bit")
    options = parser.parse_args()
    make(options.folder, PACKED[options.shape], options.recipe)


if __name__ == "__main__":
    main()
