"""A random checkpoint of the 12B's shape, as it is published: bf16 in 13 shards, 23.9 GB.

    python bench/make_checkpoint.py FOLDER [--layers 48] [--shards 13] [--lattice] [--seed 0]

Weights are normal numbers of a trained model's size, or with --lattice what training for q4_0
leaves. They are taken from one pool of 32 million, so that writing is as fast as the disk; no two
matrices are alike, but rows may come back. A tokenizer of eleven tokens is beside them, as
mlx-vlm's converter wants one. With --hidden, --inner and --vocabulary it becomes any size.
"""

import argparse
import json
import math
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from checkpoint import Shape, config
from tokenizers import AddedToken, Tokenizer, models

from mlx_gemma4.checkpoint.safetensors import Tensor, header
from mlx_gemma4.checkpoint.shapes import shapes
from mlx_gemma4.model.config import Config

THE_12B = Shape(3840, 15360, 48, 16, 8, 262144)
INDEX = "model.safetensors.index.json"

_POOL = 32 * 1024**2
_PIECE = 4 * 1024**2  # numbers taken at once
_CONTROLS = {
    **{"pad": "<pad>", "eos": "<eos>", "bos": "<bos>", "unk": "<unk>"},
    **{"boi": "<|image>", "eoi": "<image|>", "image": "<|image|>", "video": "<|video|>"},
    **{"boa": "<|audio>", "eoa": "<audio|>", "audio": "<|audio|>"},
}


def make(folder: Path, shape: Shape, shards: int, lattice: bool, seed: int) -> None:
    """Write the checkpoint, unless the folder holds it already."""
    written = {**config(shape), "audio_config": {"audio_embed_dim": 640}}
    if (folder / "config.json").is_file():
        if json.loads((folder / "config.json").read_text()) != written:
            sys.exit(f"{folder} holds another checkpoint.")
        return
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        re.sub(r"^language_model\.model\.", "language_model.", name): Tensor("BF16", size)
        for name, size in shapes(Config.from_dict(written)).items()
    }
    rng = np.random.default_rng(seed)
    pool = _lattice(rng) if lattice else bf16_bits(rng.standard_normal(_POOL, np.float32))
    places = {}
    for n, group in enumerate(_cut(tensors, shards)):
        file = f"model-{n + 1:05}-of-{shards:05}.safetensors"
        named = {f"model.{name}": tensors[name] for name in group}
        with (folder / file).open("wb") as out:
            out.write(header(named))
            for name, tensor in named.items():
                for numbers in _numbers(name, tensor, pool, rng):
                    out.write(numbers)
        places |= dict.fromkeys(named, file)
        print(f"{file}: {len(named)} tensors", file=sys.stderr)
    total = sum(tensor.nbytes for tensor in tensors.values())
    index = {"metadata": {"total_size": total}, "weight_map": places}
    (folder / INDEX).write_text(json.dumps(index))
    _write_tokenizer(folder)
    (folder / "config.json").write_text(json.dumps(written))  # the last: now it is whole


def _cut(tensors: dict[str, Tensor], shards: int) -> list[list[str]]:
    """Share names out, in order, so that the files are about equally large."""
    total, so_far = sum(tensor.nbytes for tensor in tensors.values()), 0
    groups: list[list[str]] = [[] for _ in range(shards)]
    for name, tensor in tensors.items():
        groups[min(shards * so_far // total, shards - 1)].append(name)
        so_far += tensor.nbytes
    if not all(groups):
        sys.exit(f"There are not enough tensors for {shards} files.")
    return groups


def _numbers(
    name: str, tensor: Tensor, pool: np.ndarray, rng: np.random.Generator
) -> Iterator[np.ndarray]:
    """The numbers of a tensor as bf16 bits, piece by piece."""
    size = math.prod(tensor.shape)
    if len(tensor.shape) == 1:
        noise = 0.2 * rng.standard_normal(size, np.float32)
        if name.endswith(("q_norm.weight", "k_norm.weight")):
            yield bf16_bits((1 + noise) * size**-0.25)  # the attention scale is 1.0
        else:
            yield bf16_bits(noise if name.endswith("bias") else 1 + noise)
        return
    # a bf16 number times 2 ** -n, in its bits
    less = np.uint16(round(math.log2(tensor.shape[-1]) / 2) << 7)
    for start in range(0, size, _PIECE):
        count = min(_PIECE, size - start)
        at = 32 * int(rng.integers((_POOL - count) // 32 + 1))
        piece = pool[at : at + count]
        yield np.where(piece & 0x7FFF, piece - less, piece)


def _lattice(rng: np.random.Generator) -> np.ndarray:
    """Groups of 32 that are d (q - 8), q in 0..15, the extremum of each at q = 0."""
    codes = rng.integers(0, 16, (_POOL // 32, 32), np.int8)
    codes[np.arange(len(codes)), rng.integers(0, 32, len(codes))] = 0
    steps = rng.standard_normal((len(codes), 1), np.float32) / 4
    return bf16_bits(steps * (codes - 8)).reshape(-1)


def bf16_bits(values: np.ndarray) -> np.ndarray:
    """float32 -> bf16, to the nearest and ties to even, as uint16."""
    bits = values.astype(np.float32).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)


def _write_tokenizer(folder: Path) -> None:
    names = list(_CONTROLS.values())
    vocabulary = {name: number for number, name in enumerate(names)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.add_special_tokens([AddedToken(name, normalized=False) for name in names])
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {f"{key}_token": name for key, name in _CONTROLS.items()}
    settings["tokenizer_class"] = "PreTrainedTokenizerFast"
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    processor = {"processor_class": "Gemma4UnifiedProcessor", "image_seq_length": 280}
    (folder / "processor_config.json").write_text(json.dumps(processor))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--layers", type=int, default=THE_12B.layers)
    parser.add_argument("--hidden", type=int, default=THE_12B.hidden)
    parser.add_argument("--inner", type=int, default=THE_12B.inner)
    parser.add_argument("--vocabulary", type=int, default=THE_12B.vocabulary)
    parser.add_argument("--shards", type=int, default=13)
    parser.add_argument("--lattice", action="store_true", help="weights on the q4_0 grid")
    parser.add_argument("--seed", type=int, default=0)
    o = parser.parse_args()
    shape = Shape(o.hidden, o.inner, o.layers, THE_12B.heads, THE_12B.kv_heads, o.vocabulary)
    make(o.folder, shape, o.shards, o.lattice, o.seed)


if __name__ == "__main__":
    main()
