"""A picture in the transcript, with what the model gets of it.

Drawn by textual-image, in the terminal's own graphics where it has them, else in half blocks.
"""

import asyncio
import os
from pathlib import Path

from PIL import Image as Pillow
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.geometry import Size
from textual.widget import Widget
from textual.widgets import Static

from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.media.images import open_image

THUMBNAIL = (960, 600)
"""Pixels of the picture that is kept for drawing."""
ROWS, COLUMNS = 13, 60
"""The most cells that a preview takes; on a small screen a third of its height."""
SMALL_ROWS, COLUMN = 4, 18
"""Rows of a picture that is one of many, and the cells of its column."""
CELL = 2.0
"""How many times as high as wide a cell is, about."""


def read(path: Path) -> Pillow.Image | None:
    """Make the small picture that is drawn; None where there is none. Takes a while."""
    try:
        small = open_image(path)
    except Gemma4Error:
        return None
    small.thumbnail(THUMBNAIL)
    return small


def cells(image: tuple[int, int], screen: Size, small: bool) -> tuple[int, int]:
    """Return how many (columns, rows) a picture of (width, height) pixels takes."""
    rows = SMALL_ROWS if small else max(3, min(ROWS, screen.height // 3))
    columns = COLUMN - 2 if small else max(8, min(COLUMNS, screen.width - 8))
    width, height = image
    scale = min(columns / width, rows * CELL / height)
    return max(1, round(width * scale)), max(1, round(height * scale / CELL))


def picture(image: Pillow.Image) -> Widget:
    """Make the widget that draws it. GEMMA4_PICTURES=blocks: in half blocks on any terminal."""
    # textual-image asks the terminal what it can do when it is imported: `main.py` does that first
    from textual_image import widget

    if os.environ.get("GEMMA4_PICTURES") == "blocks" or not os.isatty(1):
        return widget.HalfcellImage(image)
    return widget.Image(image)


class Preview(Vertical):
    """A picture and its caption; it comes when it has been read, and is `small` as one of many."""

    def __init__(self, caption: str, small: bool) -> None:
        super().__init__(classes="preview")
        self._caption, self._small = caption, small
        self._image: Pillow.Image | None = None
        self._drawn: Widget | None = None

    def compose(self) -> ComposeResult:
        yield Static(self._caption, classes="caption", markup=False)

    def on_resize(self) -> None:
        self._fit()

    async def load(self, path: Path) -> None:
        """Read the picture, in a thread, and draw it."""
        self._image = await asyncio.to_thread(read, path)
        if self._image is not None and self.is_attached:
            self._drawn = picture(self._image)
            self._fit()
            await self.mount(self._drawn, before=0)

    def change(self, caption: str, small: bool) -> None:
        """Change the caption, and the picture's size where `small` has changed."""
        self._caption = caption
        if small != self._small:
            self._small = small
            self._fit()
        for line in self.query(".caption").results(Static):
            line.update(caption)

    def _fit(self) -> None:
        if self._image is not None and self._drawn is not None:
            columns, rows = cells(self._image.size, self.app.size, self._small)
            self._drawn.styles.width, self._drawn.styles.height = columns, rows
