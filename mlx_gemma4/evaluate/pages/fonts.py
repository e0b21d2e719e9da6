"""The text fonts that are there: matplotlib's own on every machine, and the system's."""

import random
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import matplotlib
from matplotlib import font_manager
from PIL import ImageFont

# Ordinary text fonts of Macs, Linux and Windows. A list, since no font file states whether its
# letters are letters: Bodoni Ornaments claims the whole alphabet.
FAMILIES = {
    "sans": (
        "DejaVu Sans", "Helvetica", "Helvetica Neue", "Arial", "Verdana", "Trebuchet MS", "Avenir",
        "Liberation Sans", "Noto Sans", "Open Sans", "Roboto", "Ubuntu", "Segoe UI", "Cantarell",
    ),
    "serif": (
        "DejaVu Serif", "STIXGeneral", "Times New Roman", "Georgia", "Palatino", "Baskerville",
        "Liberation Serif", "Noto Serif", "Cambria",
    ),
    "mono": (
        "DejaVu Sans Mono", "Menlo", "Monaco", "Courier New", "SF Mono", "Fira Code", "Consolas",
        "Liberation Mono", "Noto Sans Mono", "Ubuntu Mono", "JetBrains Mono",
    ),
}  # fmt: skip
_REGULAR, _BOLD = 400, 700  # OpenType OS/2 usWeightClass
_LARGE = 1000  # pixels an em, to measure at


@dataclass(frozen=True)
class Face:
    """One font; `name` has its family and weight."""

    name: str
    file: str

    def at(self, size: int) -> ImageFont.FreeTypeFont:
        return _open(self.file, size)

    @property
    def x_height(self) -> float:
        """Height of its small x in em.

        Reading research states the size of print so, since two fonts of the same em may differ by a
        fifth (G. E. Legge, C. A. Bigelow, 2011, https://doi.org/10.1167/11.5.8).
        """
        return -self.at(_LARGE).getbbox("x", anchor="ls")[1] / _LARGE


@cache
def faces(shape: str) -> tuple[Face, ...]:
    """The faces of FAMILIES[shape] that this machine has: upright, regular and bold."""
    own = matplotlib.get_data_path()
    fonts = font_manager.fontManager.ttflist
    found: dict[str, Face] = {}
    # where the system has a font of matplotlib's too, matplotlib's: it is everywhere
    for entry in sorted(fonts, key=lambda font: (not font.fname.startswith(own), font.fname)):
        upright = entry.style == "normal" and entry.stretch == "normal"
        if entry.name in FAMILIES[shape] and upright and entry.weight in (_REGULAR, _BOLD):
            name = entry.name + (" Bold" if entry.weight == _BOLD else "")
            found.setdefault(name, Face(name, entry.fname))
    return tuple(found[name] for name in sorted(found) if Path(found[name].file).is_file())


def choose(rng: random.Random, *shapes: str) -> Face:
    return rng.choice(faces(rng.choice(shapes)))


@cache
def _open(file: str, size: int) -> ImageFont.FreeTypeFont:
    # the basic layout joins no letters: Fira Code would draw != as one sign
    return ImageFont.truetype(file, size, layout_engine=ImageFont.Layout.BASIC)
