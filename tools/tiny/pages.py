"""Text drawn as a screen, a till or a camera would show it, and where each character is."""

import io
import math
import random
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from mlx_gemma4.evaluate.tiny.receipts import Drawing
from mlx_gemma4.media.images import resized_size

FOLDERS = (Path("fonts").absolute(), Path("/usr/share/fonts/truetype"))
FONTS = (
    "dejavu/DejaVuSansMono.ttf", "dejavu/DejaVuSansMono-Bold.ttf",
    "liberation2/LiberationMono-Regular.ttf", "liberation2/LiberationMono-Bold.ttf",
    "freefont/FreeMonoBold.ttf", "hack/Hack-Regular.ttf", "noto/NotoMono-Regular.ttf",
    "dejavu/DejaVuSans.ttf", "liberation2/LiberationSans-Regular.ttf", "freefont/FreeSans.ttf",
)  # fmt: skip
PACKAGES = "fonts-dejavu, fonts-liberation2, fonts-freefont-ttf, fonts-hack, fonts-noto-mono"
"""Of Debian, with these fonts."""
UNSEEN = ("noto/NotoSansMono-Bold.ttf", "dejavu/DejaVuSans-Bold.ttf")
SIZES = ((288, 480), (288, 480), (336, 480), (288, 384), (384, 384), (480, 336), (480, 288))
SCREENS = ((384, 240), (384, 288), (432, 288), (480, 336))
Colour = tuple[int, int, int]
Rows = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Look:
    """How a page is drawn and what is done to the picture of it.

    Attributes:
        font: below a folder of fonts.
        height: of the letters, in pixels of the resized picture.
        pitch: of the lines, in heights.
        x, y: where in the free space, 0 to 1.
        turn: degrees; tilt: how much perspective, as a share of the sides.
        blur, noise: in pixels, in grey levels; jpeg: quality, 0 for none.
    """

    font: str = FONTS[0]
    size: tuple[int, int] = (288, 480)
    budget: int = 70
    height: float = 26.0
    pitch: float = 1.8
    spread: float = 1.0
    x: float = 0.5
    y: float = 0.0
    ink: Colour = (0, 0, 0)
    paper: Colour = (255, 255, 255)
    turn: float = 0.0
    tilt: float = 0.0
    blur: float = 0.0
    noise: float = 0.0
    jpeg: int = 0


DISTURBANCES = ("plain", "dark", "colour", "jpeg", "blur", "noise", "turned", "tilted")


def look(
    rng: random.Random, wide: float = 1.0, only: str = "", fonts: tuple[str, ...] = FONTS
) -> Look:
    """A random look; `wide` (0 to 1) scales what is done, `only` names one disturbance."""
    kind = only or rng.choices(DISTURBANCES, (4, 2, 2, 1, 1, 1, 1.5, 1))[0]
    ink, paper = (0, 0, 0), (255, 255, 255)
    if kind == "dark":
        level, black = rng.randrange(180, 256), rng.randrange(0, 50)
        ink, paper = (level,) * 3, (black,) * 3
    elif kind == "colour":
        ink, paper = colours(rng)
    elif rng.random() < 0.3:  # grey paper
        ink, paper = (rng.randrange(0, 70),) * 3, (rng.randrange(190, 256),) * 3
    return Look(
        font=rng.choice(fonts),
        size=rng.choice(SIZES),
        budget=rng.choice((70, 70, 140)),
        height=rng.uniform(26 - 11 * wide, 26 + 12 * wide),
        pitch=rng.uniform(1.8 - 0.5 * wide, 1.85),
        spread=rng.uniform(0.7, 1.0),
        x=rng.random(),
        y=rng.random(),
        ink=ink,
        paper=paper,
        turn=rng.uniform(-3, 3) * wide if kind == "turned" else 0.0,
        tilt=0.06 * wide if kind == "tilted" else 0.0,
        blur=rng.uniform(0.4, 1.1) * wide if kind == "blur" else 0.0,
        noise=rng.uniform(5, 22) * wide if kind == "noise" else 0.0,
        jpeg=rng.randint(35, 85) if kind == "jpeg" else 0,
    )


def colours(rng: random.Random) -> tuple[Colour, Colour]:
    """Ink and paper far enough apart, either of them the lighter."""
    dark = tuple(rng.randrange(0, 100) for _ in range(3))
    light = tuple(rng.randrange(160, 256) for _ in range(3))
    return (light, dark) if rng.random() < 0.5 else (dark, light)  # type: ignore[return-value]


def draw_rows(rows: Rows, how: Look, rng: random.Random) -> Drawing:
    """Rows of a left and a right text, at one place of a page."""
    width, height = how.size
    zoom = _zoom(how)
    longest = max(len(left) + len(right) + bool(right) for left, right in rows)
    edge = 0.08 if how.turn or how.tilt else 0.02  # so that nothing is turned out of the picture
    inner = 1 - 2 * edge
    most = min(inner * height / (len(rows) * how.pitch), inner * width / (0.62 * longest))
    letter = min(how.height / zoom, most)
    text_width = min(inner * width, 0.62 * letter * longest / how.spread)
    x0 = edge * width + how.x * max(0.0, inner * width - text_width)
    y0 = edge * height + how.y * max(0.0, inner * height - letter * how.pitch * len(rows))
    runs = []
    for number, (left, right) in enumerate(rows):
        middle = y0 + (number + 0.5) * how.pitch * letter
        runs.append((left, x0, middle, False))
        if right:
            runs.append((right, x0 + text_width, middle, True))
    mask = Image.new("L", how.size, 0)
    placed = _write(mask, runs, _font(how.font, max(6, round(letter))))
    return disturb(_tint(mask, how.ink, how.paper), placed, how, rng)


def disturb(
    image: Image.Image, placed: list[tuple[str, float, float]], how: Look, rng: random.Random
) -> Drawing:
    """Do to a picture what a look asks for."""
    if how.turn or how.tilt:
        image, placed = _warp(image, placed, how, rng)
    if how.blur:
        image = image.filter(ImageFilter.GaussianBlur(how.blur / _zoom(how)))
    if how.noise:
        source = np.random.default_rng(rng.randrange(2**32))
        grain = source.standard_normal((image.height, image.width, 1), np.float32) * how.noise
        pixels = np.asarray(image, np.float32) + grain
        image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    if how.jpeg:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=how.jpeg)
        image = Image.open(file).convert("RGB")
    return Drawing(image, tuple(placed))


def dialog(
    rng: random.Random, message: tuple[str, ...], buttons: tuple[str, ...], how: Look
) -> Drawing:
    """A window with a message and a row of buttons on a desktop."""
    width, height = how.size
    letter = min(how.height / _zoom(how), 0.9 * width / (0.62 * max(map(len, message))))
    across = 0.62 * sum(len(b) + 2 for b in buttons) + 0.8 * len(buttons)
    letter = min(letter, 0.9 * width / across, 0.9 * height / (1.9 * len(message) + 3.4))
    tall = letter * (1.9 * len(message) + 3.4)
    wide = letter * max(across, 0.62 * max(map(len, message))) + 0.6 * letter
    x0 = how.x * max(0.0, width - wide)
    y0 = how.y * max(0.0, height - tall)
    face, desk = how.paper, colours(rng)[rng.randrange(2)]
    image = Image.new("RGB", how.size, desk if rng.random() < 0.6 else face)
    pen = ImageDraw.Draw(image)
    edge = tuple((a + b) // 2 for a, b in zip(how.ink, face, strict=True))
    pen.rectangle((x0, y0, x0 + wide, y0 + tall), fill=face, outline=edge)
    mask = Image.new("L", how.size, 0)
    runs = [
        (line, x0 + 0.4 * letter, y0 + (0.95 + 1.9 * row) * letter, False)
        for row, line in enumerate(message)
    ]
    left, middle = x0 + 0.6 * letter, y0 + letter * (1.9 * len(message) + 1.7)
    for button in buttons:
        size = 0.62 * letter * (len(button) + 1.2)
        box = (left, middle - letter, left + size, middle + letter)
        pen.rectangle(box, outline=edge, width=max(1, round(letter / 14)))
        runs.append((button, left + 0.36 * letter, middle, False))
        left += size + 0.8 * letter
    placed = _write(mask, runs, _font(how.font, max(6, round(letter))))
    image.paste(how.ink, mask=mask)
    return disturb(image, placed, how, rng)


def in_window(rng: random.Random, drawing: Drawing) -> Drawing:
    """The picture as a window on a larger screen."""
    inner = drawing.image
    left, right, below = (rng.randint(8, 70) for _ in range(3))
    above = rng.randint(34, 80)
    size = inner.width + left + right, inner.height + above + below
    image = Image.new("RGB", size, colours(rng)[rng.randrange(2)])
    pen = ImageDraw.Draw(image)
    bar = rng.randint(18, 30)
    box = (left - 2, above - bar, left + inner.width + 1, above + inner.height + 1)
    pen.rectangle(box, fill=colours(rng)[rng.randrange(2)])
    return pasted(image, drawing, left, above)


def pasted(page: Image.Image, drawing: Drawing, left: int, top: int) -> Drawing:
    """A drawing at a place of a larger page, in pixels."""
    page.paste(drawing.image, (left, top))
    return Drawing(page, tuple((c, x + left, y + top) for c, x, y in drawing.characters))


def nothing(rng: random.Random, how: Look) -> Drawing:
    """A picture that nobody can read: blank, grain, stripes, or blurred letters."""
    width, height = how.size
    source = np.random.default_rng(rng.randrange(2**32))
    kind = rng.randrange(4)
    if kind == 0:
        pixels = np.full((height, width, 3), colours(rng)[rng.randrange(2)], np.uint8)
    elif kind == 1:
        level = source.uniform(30, 220) + source.standard_normal((height, width, 3)) * rng.uniform(
            5, 70
        )
        pixels = level.clip(0, 255).astype(np.uint8)
    elif kind == 2:
        x, y = np.meshgrid(np.arange(width), np.arange(height))
        wave = np.sin((x * rng.uniform(-1, 1) + y * rng.uniform(-1, 1)) / rng.uniform(3, 60))
        pixels = np.repeat((127 + 100 * wave[..., None]), 3, 2).astype(np.uint8)
    else:
        mask = Image.new("L", how.size, 0)
        word = ["".join(rng.choices("abcdefghijklmnop0123456789", k=9)) for _ in range(8)]
        runs = [(w, 0.1 * width, (i + 0.5) * height / 8, False) for i, w in enumerate(word)]
        _write(mask, runs, _font(how.font, 26))
        blurred = _tint(mask, how.ink, how.paper).filter(
            ImageFilter.GaussianBlur(rng.uniform(7, 14))
        )
        return Drawing(blurred, ())
    return Drawing(Image.fromarray(pixels), ())


def _zoom(how: Look) -> float:
    height, width = resized_size(how.size[1], how.size[0], how.budget)
    return math.sqrt(height * width / (how.size[0] * how.size[1]))


def _write(
    mask: Image.Image, runs: list[tuple[str, float, float, bool]], font: ImageFont.FreeTypeFont
) -> list[tuple[str, float, float]]:
    pen = ImageDraw.Draw(mask)
    placed = []
    for text, x, middle, from_right in runs:
        pen.text((x, middle), text, fill=255, font=font, anchor="rm" if from_right else "lm")
        at = x - font.getlength(text) if from_right else x
        for character in text:
            advance = _advance(font, character)
            if character != " ":
                placed.append((character, at + advance / 2, middle))
            at += advance
    return placed


def _tint(mask: Image.Image, ink: Colour, paper: Colour) -> Image.Image:
    image = Image.new("RGB", mask.size, paper)
    image.paste(ink, mask=mask)
    return image


def _warp(
    image: Image.Image, placed: list[tuple[str, float, float]], how: Look, rng: random.Random
) -> tuple[Image.Image, list[tuple[str, float, float]]]:
    width, height = image.size
    turn = math.radians(how.turn)
    corners = []
    for x, y in ((0, 0), (width, 0), (width, height), (0, height)):
        dx, dy = x - width / 2, y - height / 2
        x1 = width / 2 + dx * math.cos(turn) - dy * math.sin(turn)
        y1 = height / 2 + dx * math.sin(turn) + dy * math.cos(turn)
        x1 += rng.uniform(-how.tilt, how.tilt) * width / 2
        y1 += rng.uniform(-how.tilt, how.tilt) * height / 2
        corners.append((x1, y1))
    flat = [(0.0, 0.0), (width, 0.0), (width, height), (0.0, height)]
    there, back = _homography(flat, corners), _homography(corners, flat)
    paper = image.getpixel((1, 1))
    image = image.transform(
        image.size, Image.Transform.PERSPECTIVE, tuple(back.flatten()[:8]),
        Image.Resampling.BICUBIC, fillcolor=paper,
    )  # fmt: skip
    moved = []
    for character, *at in placed:
        u, v, w = there @ (*at, 1.0)
        moved.append((character, float(u / w), float(v / w)))
    return image, moved


def _homography(source: list[tuple[float, float]], target: list[tuple[float, float]]) -> np.ndarray:
    rows, right = [], []
    for (x, y), (u, v) in zip(source, target, strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        right += [u, v]
    return np.append(np.linalg.solve(np.array(rows, float), np.array(right, float)), 1).reshape(
        3, 3
    )


def font_file(name: str) -> Path:
    """Where a font of `FONTS` is installed, absolute, as `receipts.draw` takes it."""
    for folder in FOLDERS:
        if (folder / name).exists():
            return folder / name
    raise FileNotFoundError(f"There is no font {name}; these packages have it: {PACKAGES}.")


@cache
def _font(name: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(font_file(name)), size)


@cache
def _advance(font: ImageFont.FreeTypeFont, character: str) -> float:
    return font.getlength(character)
