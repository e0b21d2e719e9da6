"""Files that a user might really pass, each made on the spot."""

import json
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import mlx.core as mx
import numpy as np
import soundfile
from PIL import Image

from mlx_gemma4.testing.doubles import tones


class Maker:
    """Makes files in `place`, also from the whole model folder `model`, and returns their paths."""

    def __init__(self, place: Path, model: Path) -> None:
        self.place = place
        self.model = model

    def data(self, name: str, content: bytes) -> str:
        path = self.place / name
        path.write_bytes(content)
        return str(path)

    def picture(
        self, name: str, size: tuple[int, int] = (96, 96), mode: str = "RGB", frames: int = 1
    ) -> str:
        path = self.place / name
        rng = np.random.default_rng(0)
        noise = [
            rng.integers(0, 256, (size[1], size[0], 3)).astype(np.uint8) for _ in range(frames)
        ]
        first, *more = [Image.fromarray(pixels).convert(mode) for pixels in noise]
        first.save(path, **({"save_all": True, "append_images": more} if more else {}))
        return str(path)

    def picture_of_a_header(self, name: str, width: int, height: int) -> str:
        """A PNG of a header alone, with its size."""
        whole = Path(self.picture(name)).read_bytes()
        # signature 8, length 4, "IHDR" 4, then width and height
        header = whole[:16] + struct.pack(">II", width, height) + whole[24:29]
        checksum = struct.pack(">I", zlib.crc32(header[12:]))
        return self.data(name, header + checksum + whole[33:])

    def sound(
        self,
        name: str,
        seconds: float = 1.0,
        rate: int = 16_000,
        channels: int = 1,
        subtype: str | None = None,
    ) -> str:
        path = self.place / name
        samples = np.stack([tones([440], seconds, rate)] * channels, axis=1)
        soundfile.write(path, samples, rate, subtype=subtype)
        return str(path)

    def cut(self, file: str, share: float) -> str:
        path = Path(file)
        return self.data(f"cut_{path.name}", path.read_bytes()[: int(path.stat().st_size * share)])

    def folder(self, change: Callable[[Path], None]) -> str:
        """A copy of the model folder with something changed."""
        path = self.place / "model"
        shutil.copytree(self.model, path)
        change(path)
        return str(path)


def configured(**keys: object) -> Callable[[Path], None]:
    """A change: set keys of config.json."""

    def change(folder: Path) -> None:
        file = folder / "config.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), **keys}))

    return change


def without(name: str) -> Callable[[Path], None]:
    """A change: remove a file."""
    return lambda folder: (folder / name).unlink()


def written(name: str, content: bytes) -> Callable[[Path], None]:
    """A change: another content of a file."""

    def change(folder: Path) -> None:
        (folder / name).write_bytes(content)

    return change


def weights_cut(share: float) -> Callable[[Path], None]:
    """A change: only the start of the weights."""

    def change(folder: Path) -> None:
        file = folder / "model.safetensors"
        file.write_bytes(file.read_bytes()[: int(file.stat().st_size * share)])

    return change


def weights_changed(change_of: Callable[[dict[str, mx.array]], None]) -> Callable[[Path], None]:
    """A change: other tensors."""

    def change(folder: Path) -> None:
        file = str(folder / "model.safetensors")
        weights = dict(mx.load(file).items())  # type: ignore[union-attr]
        change_of(weights)
        mx.eval(weights)
        mx.save_safetensors(file, weights)

    return change


@weights_changed
def text_only(weights: dict[str, mx.array]) -> None:
    """A change: what mlx-lm's converter leaves of a checkpoint."""
    for name in [name for name in weights if not name.startswith("language_model.")]:
        del weights[name]
