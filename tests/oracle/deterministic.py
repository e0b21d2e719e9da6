"""The oracle's weights and media, each value a function of a name and an index.

A name's CRC-32 starts a splitmix64 sequence (https://doi.org/10.1145/2660193.2660195), whose upper
24 bits become a number in [-1, 1). Weights are rounded to bfloat16, so that every precision and
every language has the same ones, and no copy of the 19 MB checkpoint is kept.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mlx_gemma4.checkpoint.shapes import drafter_shapes
from mlx_gemma4.model.drafter_config import DrafterConfig

HERE = Path(__file__).parent
PATCH, FRAME = 6912, 640


def uniform(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """float32 in [-1, 1)."""
    count = int(np.prod(shape))
    state = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    state += np.uint64(zlib.crc32(name.encode()) << 32)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        state = (state ^ (state >> np.uint64(shift))) * np.uint64(factor)
    state ^= state >> np.uint64(31)
    upper = (state >> np.uint64(40)).astype(np.float64)
    return (upper / 2**23 - 1).astype(np.float32).reshape(shape)


def bfloat16_bits(values: np.ndarray) -> np.ndarray:
    """Nearest bfloat16 (ties to even) of float32 values, as uint16."""
    bits = values.astype(np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """A tensor of the checkpoint before rounding. Norms, biases, scalars differ from 0 and 1."""
    noise = uniform(name, shape)
    *_, module, kind = name.split(".")
    if kind == "layer_scalar":
        return 0.9 + 0.3 * noise
    if module in ("q_norm", "k_norm"):
        return 0.45 + 0.25 * noise  # the attention scale is 1.0: peaked, but not on one key
    if kind == "bias":
        return 0.3 * noise
    if kind == "weight" and ("norm" in module or module.startswith("patch_ln")):
        return 1 + 0.5 * noise
    if kind == "pos_embedding":
        return 0.5 * 3**0.5 * noise
    if module == "embed_tokens":
        return 0.15 * 3**0.5 * noise
    return (np.float32(3**0.5) * noise) / np.sqrt(shape[-1])


def write_checkpoint(folder: Path) -> None:
    """Write config.json and model.safetensors (bfloat16, published names), without any library."""
    write_folder(
        folder,
        (HERE / "config.json").read_bytes(),
        json.loads((HERE / "tensors.json").read_text()),
    )


def write_drafter(folder: Path) -> None:
    """Write a drafter of that checkpoint, of the published one's shape."""
    config = drafter_config()
    shapes = drafter_shapes(DrafterConfig.from_dict(config))
    write_folder(folder, json.dumps(config).encode(), shapes)


def drafter_config() -> dict[str, Any]:
    """Contents of config.json: three sliding layers and a full one that read the target's."""
    target = json.loads((HERE / "config.json").read_text())
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


def write_folder(folder: Path, config: bytes, shapes: Mapping[str, Sequence[int]]) -> None:
    """Write a checkpoint of these shapes."""
    header, bodies, offset = {}, [], 0
    for name, shape in shapes.items():
        body = bfloat16_bits(weight(name, tuple(shape))).tobytes()
        ends = [offset, offset + len(body)]
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": ends}
        bodies.append(body)
        offset = ends[1]
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % 8)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.safetensors").write_bytes(
        struct.pack("<Q", len(head)) + head + b"".join(bodies)
    )
    (folder / "config.json").write_bytes(config)


Picture = tuple[str, int, int]  # name, columns, rows
Clip = tuple[str, int]  # name, frames


@dataclass(frozen=True)
class Media:
    """What a case shows and plays, by name."""

    images: tuple[Picture, ...] = ()
    videos: tuple[Picture, ...] = ()
    audio: tuple[Clip, ...] = ()


MEDIA = {
    "text_long": Media(),
    "image1": Media(images=(("a", 6, 4),)),
    "image1_over_window": Media(images=(("big", 10, 6),)),
    "images2": Media(images=(("p", 5, 5), ("q", 3, 10))),
    "audio": Media(audio=(("a", 50),)),
    "audio2_padded": Media(audio=(("b", 40), ("c", 17))),
    "image_audio": Media(images=(("mix", 6, 4),), audio=(("mix", 30),)),
    "video": Media(videos=tuple((f"vid{n}", 4, 3) for n in range(4))),
    "batch_left_pad_0": Media(),
    "batch_left_pad_1": Media(),
    "batch_left_pad_image_0": Media(images=(("bat", 4, 4),)),
    "batch_left_pad_image_1": Media(),
}


def picture(name: str, columns: int, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Patches (columns * rows, 6912) in [0, 1] and their (x, y)."""
    y, x = np.divmod(np.arange(columns * rows), columns)
    patches = uniform(f"img:{name}", (columns * rows, PATCH)) * 0.5 + 0.5
    return patches, np.stack([x, y], axis=-1)


def clip(name: str, frames: int) -> np.ndarray:
    """Frames (frames, 640) in [-0.3, 0.3]."""
    return uniform(f"aud:{name}", (frames, FRAME)) * np.float32(0.3)
