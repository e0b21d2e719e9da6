"""Pictures to patches: open, make RGB, resize to a token budget, cut into 48x48 patches.

Knows nothing of MLX or of the model: its output is plain numpy. The rules are those of
transformers 5.23 `models/gemma4_unified/image_processing_gemma4_unified.py` (16-pixel patches
merged 3x3 are the same as 48-pixel patches); transparency, rotation and depth follow the file.
"""

import math
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile, ImageOps, UnidentifiedImageError

from .. import limits
from ..errors import Gemma4Error
from . import other_formats
from .kinds import look_at
from .sources import Source, Unreadable, name_of, opened, unreadable

PATCH = 48
"""Side of a patch in pixels; one patch is one token."""
BUDGETS = (70, 140, 280, 560, 1120)
"""Token budgets the model was trained with (`_SUPPORTED_SOFT_TOKENS` in transformers)."""

# MPO is a camera's photo with its preview inside: its second frame is nothing the user misses.
_FRAMED_FORMATS = {**dict.fromkeys(("GIF", "WEBP", "PNG", "AVIF"), "frames"), "TIFF": "pages"}
# Rasters only, whatever a file is called: Pillow would run Ghostscript for an EPS.
_FORMATS = (
    *("PNG", "JPEG", "WEBP", "GIF", "TIFF", "AVIF", "BMP", "DIB"),
    *("JPEG2000", "ICO", "ICNS", "PPM", "QOI", "PSD"),
)

# What Pillow scales to 8 bits while it decodes a PNG, by how it calls that: the factor of a level.
# It leaves the transparent colour (tRNS) as it is.
_SCALED = {"L;2": 255 / 3, "L;4": 255 / 15, "RGB;16B": 1 / 256}

_BAND = 2**18  # pixels that are converted at once


@dataclass(frozen=True, eq=False)
class Picture:
    """One picture as the model takes it.

    Attributes:
        patches: (n, 6912) uint8 levels; each row is a 48x48x3 patch, channel last.
        positions: (n, 2) int32, the patch's column and row (x, y).
        size: (width, height) in pixels after the resize; both multiples of 48.
        original: (width, height) of the picture that was given, upright.
        notes: what was done that the user may want to know, one sentence each.
    """

    patches: NDArray[np.uint8]
    positions: NDArray[np.int32]
    size: tuple[int, int]
    original: tuple[int, int]
    notes: tuple[str, ...] = ()

    @cached_property
    def digest(self) -> str:
        """SHA-256 of what the model sees: pictures with one digest are one to it."""
        seen = sha256(np.ascontiguousarray(self.patches).data)
        seen.update(np.ascontiguousarray(self.positions).data)
        return seen.hexdigest()


def resized_size(height: int, width: int, budget: int) -> tuple[int, int]:
    """Return the (height, width) in pixels to which a picture is resized, up or down.

    The largest multiples of 48 that keep the aspect and need at most `budget` patches; a side that
    would vanish becomes 48 (`get_aspect_ratio_preserving_size` in transformers). Raises
    Gemma4Error where the picture has no pixels.
    """
    if height < 1 or width < 1:
        raise Gemma4Error(
            "picture_empty",
            "The picture is empty",
            f"It is {width}x{height} pixels.",
            "Use a picture that is at least one pixel wide and high.",
        )
    factor = math.sqrt(budget * PATCH**2 / (height * width))
    rows = math.floor(factor * height / PATCH)
    columns = math.floor(factor * width / PATCH)
    # rows * columns would be near `budget`, so at most one of them can be 0
    if rows == 0:
        rows, columns = 1, min(width // height, budget)
    elif columns == 0:
        rows, columns = min(height // width, budget), 1
    return rows * PATCH, columns * PATCH


def check_budget(budget: int) -> None:
    """Raise Gemma4Error where a picture may not take so many tokens at most."""
    if budget not in BUDGETS:
        raise Gemma4Error(
            "image_tokens_unknown",
            "The image budget is not known",
            f"The model was trained with {', '.join(map(str, BUDGETS))} tokens, not with {budget}.",
            "Choose one of these.",
        )


def patches(image: Image.Image | Source | NDArray[np.generic], budget: int = 280) -> Picture:
    """Make the patches of a picture.

    Args:
        image: a Pillow image, a path, a file's bytes, or an array (H, W), (H, W, 3) or (H, W, 4)
            of uint8, uint16, bool, or floats in [0, 1].
        budget: the most patches to make, one of `BUDGETS`.

    Raises:
        Gemma4Error: if the picture cannot be read or the budget is not one of `BUDGETS`.
    """
    check_budget(budget)
    if isinstance(image, np.ndarray):
        upright, notes = _rgb(_from_array(image))
    elif isinstance(image, Image.Image):
        upright, notes = _of_pillow(image)
    else:
        upright, notes = _open(image)
    height, width = resized_size(upright.height, upright.width, budget)
    pixels = np.asarray(upright.resize((width, height), Image.Resampling.BICUBIC))
    rows, columns = height // PATCH, width // PATCH
    # (H, W, 3) -> (rows, 48, columns, 48, 3) -> (rows, columns, 48, 48, 3) -> (n, 6912)
    grid = pixels.reshape(rows, PATCH, columns, PATCH, 3).swapaxes(1, 2)
    flat = grid.reshape(rows * columns, PATCH * PATCH * 3)
    y, x = np.divmod(np.arange(rows * columns, dtype=np.int32), np.int32(columns))
    return Picture(
        patches=flat,
        positions=np.stack([x, y], axis=1),
        size=(width, height),
        original=upright.size,
        notes=notes,
    )


def open_image(source: Source) -> Image.Image:
    """Open a picture as upright 8-bit RGB; transparency is laid on white.

    Of an animation the first frame is taken; `patches(source)` has a note of that. Raises
    Gemma4Error where it is missing, damaged, too large or no picture.
    """
    image = _open(source)[0]
    return image.copy() if isinstance(image, ImageFile.ImageFile) else image


def _open(source: Source) -> tuple[Image.Image, tuple[str, ...]]:
    """Open a picture by its content, not its name, and check its size before it is decoded."""
    fail = unreadable("picture", name_of(source))
    with opened(source, fail) as file:
        found = look_at(file)
        try:
            is_heic = found is not None and found.name == "HEIC"
            with other_formats.heic(file, fail) if is_heic else _raster(file) as image:
                _check_size(*image.size, fail)
                return _rgb(image)
        except Gemma4Error as error:  # with the name of the file
            raise fail(error.cause, error.remedy) from error
        except Image.DecompressionBombError as error:
            raise fail(*_too_large("It")) from error
        except UnidentifiedImageError as error:
            what = "" if found is None or found.kind == "image" else f" It is a {found.kind}."
            raise fail(*_unknown_format(what)) from error
        except Exception as error:  # a damaged file makes Pillow's decoders raise nearly anything
            raise fail(
                f"The file is damaged or cut short ({error}).",
                "Save or download the picture again.",
            ) from error


def _too_large(subject: str) -> tuple[str, str]:
    return (
        f"{subject} has more pixels than the limit of {limits.PICTURE_PIXELS:,}.",
        "Scale it down, or crop the part that matters.",
    )


def _unknown_format(what: str) -> tuple[str, str]:
    return (
        f"It is not in a picture format that is known here.{what}",
        "Use a PNG, JPEG, WebP, GIF, TIFF, AVIF or BMP file.",
    )


def _raster(file: BinaryIO) -> AbstractContextManager[Image.Image]:
    with warnings.catch_warnings():
        # a limit of Pillow's own, which only warns; ours follows
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        return Image.open(file, formats=_FORMATS)


def _of_pillow(image: Image.Image) -> tuple[Image.Image, tuple[str, ...]]:
    """Take a Pillow image, which may not be decoded yet."""
    fail = unreadable("picture", "")
    _check_size(*image.size, fail)
    lazy = isinstance(image, ImageFile.StubImageFile) or getattr(image, "tile", False)
    if lazy and image.format not in (*_FORMATS, "MPO", "HEIF"):
        raise fail(*_unknown_format(f" It is {image.format}, not decoded yet."))
    try:
        return _rgb(image)
    except Gemma4Error:
        raise
    except Exception as error:  # as of a file
        raise fail(f"It cannot be decoded ({error}).", "Open and save it again.") from error


def _check_size(width: int, height: int, fail: Unreadable) -> None:
    """Refuse what would become too large, before it is decoded or converted."""
    if width * height > limits.PICTURE_PIXELS:
        raise fail(*_too_large(f"It is {width}x{height} and"))
    if max(width, height) > limits.PICTURE_SIDE:
        raise fail(
            f"It is {width}x{height}, and a side may have {limits.PICTURE_SIDE:,} pixels.",
            "Crop the part that matters.",
        )


def _rgb(image: Image.Image) -> tuple[Image.Image, tuple[str, ...]]:
    """Make upright 8-bit RGB of any Pillow image, with notes on what was left out."""
    notes: list[str] = []
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format in _FRAMED_FORMATS and image.tell() == 0:
        notes.append(f"Only the first of {frames} {_FRAMED_FORMATS[image.format]} is used.")
    _scale_transparent_colour(image)
    image.load()
    plain = image.getexif().get(ExifTags.Base.Orientation, 1) == 1 and image.mode not in ("P", "PA")
    # it always copies, and a copy has the palette that some of Pillow's readers do not set
    upright = image if plain else ImageOps.exif_transpose(image)
    if upright.mode in ("I", "F") or upright.mode.startswith("I;16"):
        upright, note = _eight_bits(upright)
        notes.extend(note)
    if upright.mode == "LAB":
        upright = _from_lab(upright)
    if upright.has_transparency_data or upright.mode in ("La", "PA", "RGBa"):
        opaque = Image.new("RGB", upright.size)
        for box in _bands(*upright.size):
            layer = upright.crop(box)
            # Pillow undoes the premultiplied alpha of La only to LA
            layer = (layer.convert("LA") if layer.mode == "La" else layer).convert("RGBA")
            white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
            opaque.paste(Image.alpha_composite(white, layer).convert("RGB"), box)
        upright = opaque
    return upright if upright.mode == "RGB" else upright.convert("RGB"), tuple(notes)


def _scale_transparent_colour(image: Image.Image) -> None:
    colour = image.info.get("transparency")
    tiles = getattr(image, "tile", None)
    factor = _SCALED.get(str(tiles[0][3])) if tiles and image.format == "PNG" else None
    if factor is None or colour is None:
        return
    scaled = tuple(int(level * factor) for level in np.atleast_1d(colour))
    image.info["transparency"] = scaled if image.mode == "RGB" else scaled[0]


def _bands(width: int, height: int) -> Iterator[tuple[int, int, int, int]]:
    """Boxes of whole rows, from the top: each copy of a whole picture may take 360 MB."""
    rows = max(1, _BAND // max(1, width))
    for top in range(0, height, rows):
        yield 0, top, width, min(top + rows, height)


def _from_lab(image: Image.Image) -> Image.Image:
    """CIELAB, as some TIFF files have it, which `convert` does not know."""
    from PIL import ImageCms

    to_srgb = ImageCms.buildTransform(
        ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), "LAB", "RGB"
    )
    converted = ImageCms.applyTransform(image, to_srgb)
    assert converted is not None  # it is not made in place
    return converted


def _eight_bits(image: Image.Image) -> tuple[Image.Image, tuple[str, ...]]:
    """Scale a deep grey picture to 8 bits; Pillow's own `convert` would clip it at 255.

    Modes "I" and "F" do not define white: it is the smallest of 1 (floats only), 255 and
    65535 that no pixel passes, and else the picture's own range is stretched.
    """

    def parts() -> Iterator[tuple[int, NDArray[np.generic]]]:
        """Yield some rows at a time, with the number of the first: `tobytes` holds all twice."""
        return ((box[1], np.asarray(image.crop(box))) for box in _bands(*image.size))

    ends = np.array([(part.min(), part.max()) for _, part in parts() if part.size] or [(0, 0)])
    low, high = float(ends.min()), float(ends.max())
    if not math.isfinite(low) or not math.isfinite(high):  # NaN becomes the smallest and largest
        raise Gemma4Error(
            "picture_unreadable",
            "The picture cannot be read",
            "It holds values that are not numbers (NaN or infinity).",
            "Save it as 8-bit or 16-bit integers.",
        )
    known = (65535.0,) if image.mode.startswith("I;16") else (255.0, 65535.0)
    if image.mode == "F":
        known = (1.0, *known)
    white = next((white for white in known if low >= 0 and high <= white), None)
    notes: tuple[str, ...] = ()
    if white is None and high > low:
        notes = (f"Its values from {low:g} to {high:g} were stretched to black and white.",)
    black, span = (0.0, white) if white is not None else (low, (high - low) or 1.0)
    made = np.empty((image.height, image.width), np.uint8)
    for top, part in parts():
        levels = np.round((part.astype(np.float64) - black) / span * 255)
        if image.mode.startswith("I;16") and "transparency" in image.info:
            levels[part == image.info["transparency"]] = 255  # as if laid on white
        made[top : top + len(part)] = levels
    return Image.fromarray(made), notes


def _from_array(array: NDArray[np.generic]) -> Image.Image:
    shape_ok = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))
    kind_ok = array.dtype in (np.uint8, np.uint16, np.bool_) or array.dtype.kind == "f"
    if not shape_ok or not kind_ok:
        raise Gemma4Error(
            "picture_malformed",
            "The array is not a picture",
            f"Its shape is {array.shape} and its type {array.dtype}.",
            "Pass (height, width), (height, width, 3) or (height, width, 4) of uint8, uint16, "
            "bool or floats from 0 to 1.",
        )
    height, width = array.shape[:2]
    _check_size(width, height, unreadable("picture", ""))
    if array.dtype == np.uint8:
        return Image.fromarray(array.astype(np.uint8, copy=False))
    if array.size and array.dtype.kind == "f":
        low, high = float(array.min()), float(array.max())
        if not (low >= 0 and high <= 1):  # NaN fails this too
            raise Gemma4Error(
                "picture_malformed",
                "The array is not a picture",
                f"Its values go from {low:g} to {high:g}.",
                "Floats must be between 0 (black) and 1 (white); pass 0 to 255 as uint8.",
            )
    white = 65535 if array.dtype == np.uint16 else 1
    made = np.empty(array.shape, np.uint8)
    for _, top, _, bottom in _bands(width, height):
        made[top:bottom] = np.round(array[top:bottom].astype(np.float64) / white * 255)
    return Image.fromarray(made)
