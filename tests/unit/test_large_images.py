"""What a large picture takes: it is bounded before it is decoded, and held about once."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.media.images import open_image, patches


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_decompression_bomb_is_an_error_before_it_is_decoded() -> None:
    Image.new("1", (20_000, 5_000)).save("bomb.png")
    with pytest.raises(Gemma4Error, match="more pixels than the limit"):
        open_image("bomb.png")


@pytest.mark.parametrize("given", ["path", "bytes", "image"])
def test_a_picture_is_bounded_before_it_is_decoded(given: str) -> None:
    """39 kB that would become 20 million pixels in one column."""
    Image.new("1", (1, 20_000_000)).save("bomb.png")
    assert Path("bomb.png").stat().st_size < 50_000
    source = {
        "path": "bomb.png",
        "bytes": Path("bomb.png").read_bytes(),
        "image": Image.open("bomb.png"),
    }[given]
    with pytest.raises(Gemma4Error, match="1x20000000, and a side may have 65,535 pixels"):
        patches(source, 70)


@pytest.mark.parametrize("shape", [(1, 20_000_000, 3), (20_000_000, 1), (10_000, 10_000)])
@pytest.mark.parametrize("kind", [np.uint8, np.bool_, np.float16])
def test_an_array_is_bounded_before_it_is_converted(shape: tuple[int, ...], kind: type) -> None:
    array = np.broadcast_to(np.zeros((), kind), shape)  # that takes no memory
    with pytest.raises(Gemma4Error, match="65,535 pixels|more pixels than the limit"):
        patches(array, 70)


# In a process of its own, for its peak counts. On Linux `ru_maxrss` starts with that of pytest.
PEAK = """
import resource, sys
from pathlib import Path
import numpy as np
from PIL import Image
from mlx_gemma4.media.images import open_image, patches

def peak():
    status = Path("/proc/self/status")
    if status.exists():
        return int(status.read_text().split("VmHWM:")[1].split()[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

kind = sys.argv[1]
patches(Image.new("RGBA", (9, 9)), 70)
side = 4000
given = np.zeros((side, side, 3), kind) if kind.startswith("float") else "picture"
before = peak()
patches(given, 70) if sys.argv[2] == "patches" else open_image(given)
print((peak() - before) / side**2)
"""


@pytest.mark.parametrize(
    "kind, use, allowed",
    [
        ("RGB", "patches", 6),
        *((mode, use, 12) for mode in ("RGBA", "LA", "P") for use in ("patches", "open_image")),
        ("I", "patches", 12),
        ("float32", "patches", 12),
    ],
)
def test_a_picture_is_held_about_once_when_it_is_read(kind: str, use: str, allowed: int) -> None:
    """Bytes a pixel: Pillow has 4 for a colour, and makes RGB of what is no RGB."""
    if not kind.startswith("float"):
        options = {"transparency": 0} if kind == "P" else {}
        Image.new(kind, (4000, 4000)).save("picture", "TIFF" if kind == "I" else "PNG", **options)
    command = [sys.executable, "-c", PEAK, kind, use]
    made = subprocess.run(command, capture_output=True, text=True, check=True)
    assert 0.5 < float(made.stdout) < allowed


def test_the_longest_side_that_is_allowed_is_read() -> None:
    Image.new("1", (1, 65_535)).save("long.png")
    assert patches("long.png", 70).size == (48, 48 * 70)
