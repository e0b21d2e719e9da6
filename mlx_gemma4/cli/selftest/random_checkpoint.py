"""A small random checkpoint with every trait of the 12B, made of names: no file of weights is kept.

A name's CRC-32 starts a splitmix64 sequence (https://doi.org/10.1145/2660193.2660195), whose upper
24 bits become a number in [-1, 1). Weights are rounded to bfloat16, so that every precision and
every language has the same ones. The numbers that transformers computed for it are in
`reference/random.npz`; pictures and sounds are made of names, too.
"""

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...checkpoint.safetensors import Tensor, header
from ...checkpoint.shapes import shapes
from ...model.config import Config

CONFIG = Path(__file__).parent / "reference" / "random.json"
PATCH, FRAME = 6912, 640

Floats = NDArray[np.float32]


def uniform(name: str, shape: tuple[int, ...]) -> Floats:
    """float32 in [-1, 1)."""
    count = int(np.prod(shape))
    state = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    state += np.uint64(zlib.crc32(name.encode()) << 32)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        state = (state ^ (state >> np.uint64(shift))) * np.uint64(factor)
    state ^= state >> np.uint64(31)
    upper = (state >> np.uint64(40)).astype(np.float64)
    return (upper / 2**23 - 1).astype(np.float32).reshape(shape)


def bfloat16_bits(values: Floats) -> NDArray[np.uint16]:
    """Nearest bfloat16 (ties to even) of float32 values."""
    bits = values.astype(np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def weight(name: str, shape: tuple[int, ...]) -> Floats:
    """A tensor of the checkpoint before rounding. Norms, biases, scalars differ from 0 and 1."""
    noise = uniform(name, shape)
    module, kind = name.split(".")[-2:]
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
    scaled: Floats = (np.float32(3**0.5) * noise) / np.sqrt(shape[-1])
    return scaled


def tensors() -> dict[str, tuple[int, ...]]:
    config = Config.from_dict(json.loads(CONFIG.read_text("utf-8")))
    return {published(name): shape for name, shape in shapes(config).items()}


def published(name: str) -> str:
    """The published name of a tensor of the module tree."""
    return "model." + name.replace("language_model.model.", "language_model.", 1)


def write_checkpoint(folder: Path) -> None:
    """Write config.json and model.safetensors (bfloat16, published names)."""
    write_folder(folder, CONFIG.read_bytes(), tensors())


def write_folder(folder: Path, config: bytes, shapes: Mapping[str, tuple[int, ...]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    head = header({name: Tensor("BF16", shape) for name, shape in shapes.items()})
    bodies = (bfloat16_bits(weight(name, shape)).tobytes() for name, shape in shapes.items())
    (folder / "model.safetensors").write_bytes(head + b"".join(bodies))
    (folder / "config.json").write_bytes(config)


PictureSpec = tuple[str, int, int]  # name, columns, rows
ClipSpec = tuple[str, int]  # name, frames


@dataclass(frozen=True)
class RandomMedia:
    """What a case shows and plays, by name."""

    images: tuple[PictureSpec, ...] = ()
    videos: tuple[PictureSpec, ...] = ()
    audio: tuple[ClipSpec, ...] = ()


MEDIA = {
    "text_long": RandomMedia(),
    "image1": RandomMedia(images=(("a", 6, 4),)),
    "image1_over_window": RandomMedia(images=(("big", 10, 6),)),
    "images2": RandomMedia(images=(("p", 5, 5), ("q", 3, 10))),
    "audio": RandomMedia(audio=(("a", 50),)),
    "audio2_padded": RandomMedia(audio=(("b", 40), ("c", 17))),
    "image_audio": RandomMedia(images=(("mix", 6, 4),), audio=(("mix", 30),)),
    "video": RandomMedia(videos=tuple((f"vid{n}", 4, 3) for n in range(4))),
    "batch_left_pad_0": RandomMedia(),
    "batch_left_pad_1": RandomMedia(),
    "batch_left_pad_image_0": RandomMedia(images=(("bat", 4, 4),)),
    "batch_left_pad_image_1": RandomMedia(),
}


def picture(name: str, columns: int, rows: int) -> tuple[Floats, NDArray[np.int64]]:
    """Patches (columns * rows, 6912) in [0, 1] and their (x, y)."""
    y, x = np.divmod(np.arange(columns * rows), columns)
    patches = uniform(f"img:{name}", (columns * rows, PATCH)) * 0.5 + 0.5
    return patches, np.stack([x, y], axis=-1)


def clip(name: str, frames: int) -> Floats:
    """Frames (frames, 640) in [-0.3, 0.3]."""
    return uniform(f"aud:{name}", (frames, FRAME)) * np.float32(0.3)
