"""Pictures for the examination: lines set whole, twice as large, and scaled down."""

import io
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

Colour = tuple[int, int, int]
BLACK, WHITE = (0, 0, 0), (255, 255, 255)
FOLDER = Path("/usr/share/fonts/truetype")
USUAL = ("dejavu/DejaVuSansMono.ttf", "dejavu/DejaVuSansMono-Bold.ttf")
OTHERS = (
    "liberation2/LiberationMono-Regular.ttf", "freefont/FreeMonoBold.ttf",
    "noto/NotoSansMono-Bold.ttf", "hack/Hack-Bold.ttf", "dejavu/DejaVuSansCondensed.ttf",
    "liberation2/LiberationSans-Bold.ttf",
)  # fmt: skip
ADVANCE = 0.602  # em a character of DejaVu Sans Mono
_FINE = 2


@dataclass(frozen=True)
class Print:
    """How lines are set, in pixels; the margins are left, top, right and foot."""

    font: str = USUAL[0]
    line: float = 48.0
    letter: float = 16.0
    margins: tuple[float, float, float, float] = (8.0, 0.0, 8.0, 0.0)
    ink: Colour = BLACK
    paper: Colour = WHITE
    rows: int = 10  # the paper is at least as long as so many lines


def usual(rng: random.Random) -> Print:
    """A receipt as the first world had it."""
    left, top = 8 + rng.uniform(-4, 4), rng.uniform(-3, 3)
    return Print(rng.choice(USUAL), margins=(left, top, 16 - left, -top))


def set_lines(lines: Sequence[str], how: Print) -> Image.Image:
    """Print lines of fixed width; other fonts have their two columns set flush."""
    left, top, right, foot = how.margins
    columns = max(17, *map(len, lines))
    rows = max(how.rows, len(lines))
    width = round(left + right + columns * how.letter)
    height = round(top + foot + rows * how.line)
    image = Image.new("L", (width * _FINE, height * _FINE), 0)
    pen, font = ImageDraw.Draw(image), _font(how.font, round(how.letter * _FINE / ADVANCE))
    for row, line in enumerate(lines):
        middle = (top + (row + 0.5) * how.line) * _FINE
        pieces = line.split("  ")
        first, last = pieces[0], pieces[-1].strip() if len(pieces) > 1 else ""
        if not last and " " in line and len(line) == columns:  # a name and a price that just fit
            first, last = line.rsplit(" ", 1)
        pen.text((left * _FINE, middle), first, 255, font, "lm")
        if last:
            edge = (left + columns * how.letter) * _FINE
            pen.text((edge, middle), last, 255, font, "rm")
    return tint(image.resize((width, height), Image.Resampling.LANCZOS), how.ink, how.paper)


def set_columns(lines: Sequence[str], how: Print) -> Image.Image:
    """Print lines as they are, each letter in its cell."""
    left, top, right, foot = how.margins
    columns, rows = max(map(len, lines)), max(how.rows, len(lines))
    size = round(left + right + columns * how.letter), round(top + foot + rows * how.line)
    image = Image.new("L", (size[0] * _FINE, size[1] * _FINE), 0)
    pen, font = ImageDraw.Draw(image), _font(how.font, round(how.letter * _FINE / ADVANCE))
    for row, line in enumerate(lines):
        pen.text((left * _FINE, (top + (row + 0.5) * how.line) * _FINE), line, 255, font, "lm")
    return tint(image.resize(size, Image.Resampling.LANCZOS), how.ink, how.paper)


def tint(mask: Image.Image, ink: Colour, paper: Colour) -> Image.Image:
    """Ink on paper where a mask is light."""
    amount = np.asarray(mask, np.float32)[..., None] / 255
    mixed = amount * np.float32(ink) + (1 - amount) * np.float32(paper)
    return Image.fromarray(mixed.round().clip(0, 255).astype(np.uint8))


def margin(how: Print, rng: random.Random) -> Print:
    """Up to 80 pixels of paper around the text."""
    return replace(how, margins=tuple(rng.uniform(2, 80) for _ in range(4)))  # type: ignore[arg-type]


def sized(how: Print, rng: random.Random) -> Print:
    """Lines of 20 to 64 pixels on a page of about 288 by 480."""
    line = rng.uniform(20, 64)
    letter = min(line / rng.uniform(1.9, 3.0), 24.0)
    spare = max(8.0, 288 - 17 * letter)
    left, top = rng.uniform(4, spare - 4), rng.uniform(0, max(1.0, 480 - 10 * line))
    foot = max(0.0, 480 - 10 * line - top)
    return replace(how, line=line, letter=letter, margins=(left, top, spare - left, foot))


def coloured(how: Print, rng: random.Random) -> Print:
    """Ink and paper of any colour whose lightness differs by 120 levels or more."""
    while True:
        ink, paper = (tuple(rng.randrange(256) for _ in range(3)) for _ in range(2))
        light = [0.3 * r + 0.59 * g + 0.11 * b for r, g, b in (ink, paper)]
        if abs(light[0] - light[1]) >= 120:
            return replace(how, ink=ink, paper=paper)  # type: ignore[arg-type]


def grey(how: Print, rng: random.Random) -> Print:
    """Worn ink on grey paper."""
    ink, paper = rng.randrange(20, 90), rng.randrange(170, 225)
    return replace(how, ink=(ink,) * 3, paper=(paper,) * 3)


def turned(image: Image.Image, degrees: float, paper: Colour = WHITE) -> Image.Image:
    """Turned about its middle, on a page as large."""
    return image.rotate(degrees, Image.Resampling.BICUBIC, fillcolor=paper)


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    """Packed as JPEG and unpacked."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file).convert("RGB")


def blurred(image: Image.Image, radius: float) -> Image.Image:
    """Out of focus."""
    return image.filter(ImageFilter.GaussianBlur(radius))


def noisy(image: Image.Image, sigma: float, rng: random.Random) -> Image.Image:
    """With the noise of a sensor, each colour its own."""
    source = np.random.default_rng(rng.randrange(2**32))
    pixels = np.asarray(image, np.float32) + source.normal(0, sigma, (*image.size[::-1], 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def askew(image: Image.Image, rng: random.Random, most: float = 0.04) -> Image.Image:
    """Seen from the side: each corner is off by up to a share of the sides."""
    width, height = image.size
    dx, dy = most * width, most * height
    corners = [(0, 0), (0, height), (width, height), (width, 0)]
    quad = [c + rng.uniform(-d, d) for x, y in corners for c, d in ((x, dx), (y, dy))]
    wide = Image.new("RGB", (width + 80, height + 80), image.getpixel((1, 1)))
    wide.paste(image, (40, 40))
    return wide.transform(
        image.size, Image.Transform.QUAD, [c + 40 for c in quad], Image.Resampling.BICUBIC
    )


def photograph(image: Image.Image, rng: random.Random) -> Image.Image:
    """As a phone takes it: from the side, light that falls off, a little blur, noise and JPEG."""
    tilted = askew(turned(image, rng.uniform(-1.5, 1.5)), rng, 0.03)
    width, height = tilted.size
    across = np.linspace(rng.uniform(0.75, 1), rng.uniform(0.75, 1), width)
    down = np.linspace(rng.uniform(0.85, 1), rng.uniform(0.85, 1), height)
    lit = np.asarray(tilted, np.float32) * (across[None, :] * down[:, None])[..., None]
    photo = blurred(Image.fromarray(lit.clip(0, 255).astype(np.uint8)), rng.uniform(0.3, 0.7))
    return jpeg(noisy(photo, rng.uniform(2, 6), rng), rng.randint(60, 85))


def screenshot(image: Image.Image, rng: random.Random) -> Image.Image:
    """As a window with a title on a desktop, which goes on around it."""
    bar = rng.randint(20, 28)
    left, top, right, foot = (rng.randint(6, 50) for _ in range(4))
    width, height = image.width + left + right, image.height + bar + top + foot
    y, x = np.mgrid[0:height, 0:width]
    base = np.float32([rng.randrange(40, 200) for _ in range(3)])
    fall = (x / width * rng.uniform(-40, 40) + y / height * rng.uniform(-40, 40))[..., None]
    screen = Image.fromarray((base + fall).clip(0, 255).astype(np.uint8))
    pen = ImageDraw.Draw(screen)
    pen.rectangle((left, top, left + image.width - 1, top + bar), fill=(70, 74, 82))
    pen.text((left + 8, top + bar / 2), "till", WHITE, _font(USUAL[0], 13), "lm")
    screen.paste(image, (left, top + bar))
    return screen


def dialog(
    message: Sequence[str], buttons: Sequence[str], rng: random.Random, dark: bool
) -> Image.Image:
    """A question with buttons below it, as a desktop shows it: 384x240 to 480x336 pixels."""
    size = rng.choice(((384, 240), (432, 288), (480, 336)))
    back, face, ink = ((30, 32, 36), (48, 51, 57), (235, 235, 235)) if dark else (
        (120, 140, 160), (242, 242, 242), (20, 20, 20))  # fmt: skip
    image = Image.new("RGB", size, back)
    pen = ImageDraw.Draw(image)
    text = rng.choice((20, 22, 24))
    font = _font(rng.choice((USUAL[0], OTHERS[4])), text)
    height = 30 + len(message) * 1.6 * text + 2.6 * text
    widths = [font.getlength(button) + text for button in buttons]
    wide = max(*(font.getlength(line) for line in message), sum(widths) + 16 * (len(widths) - 1))
    width = min(size[0] - 8, wide + 36)
    left, top = (size[0] - width) / 2, (size[1] - height) / 2
    pen.rounded_rectangle((left, top, left + width, top + height), 6, face, (128, 128, 128))
    for row, line in enumerate(message):
        pen.text((left + 18, top + 16 + (row + 0.5) * 1.6 * text), line, ink, font, "lm")
    x, y = left + width - 18 - sum(widths) - 16 * (len(widths) - 1), top + height - 1.5 * text
    for button, wide in zip(buttons, widths, strict=True):
        box = (x, y - 0.9 * text, x + wide, y + 0.9 * text)
        pen.rounded_rectangle(box, 4, outline=(128, 128, 128))
        pen.text((x + wide / 2, y), button, ink, font, "mm")
        x += wide + 16
    return image


def unreadable(rng: random.Random, image: Image.Image) -> Image.Image:
    """Nothing that can be read: out of focus, plain, grain, a gradient or blots."""
    width, height = image.size
    source = np.random.default_rng(rng.randrange(2**32))
    kind = rng.randrange(5)
    if kind == 0:
        return blurred(image, rng.uniform(8, 16))
    if kind == 1:
        return Image.new("RGB", image.size, tuple(rng.randrange(256) for _ in range(3)))
    if kind == 2:
        return noisy(Image.new("RGB", image.size, (128,) * 3), rng.uniform(10, 60), rng)
    if kind == 3:
        ramp = np.linspace(rng.randrange(100), rng.randrange(150, 256), width)
        return Image.fromarray(np.tile(ramp[None, :, None], (height, 1, 3)).astype(np.uint8))
    blots = source.uniform(0, 255, (height // 40, width // 40, 3)).astype(np.uint8)
    return Image.fromarray(blots).resize(image.size, Image.Resampling.BICUBIC)


@cache
def _font(name: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(FOLDER / name), size)
