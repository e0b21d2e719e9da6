"""The receipts that the tiny demonstration model knows, as its examination draws them."""

import zlib
from collections.abc import Sequence
from pathlib import Path

import matplotlib

from ..question import Facts
from ..tiny import receipts
from ..tiny.tasks import EXAMINATION, Tasks
from .fonts import Face
from .page import LINES, Page, Request

BUDGETS = EXAMINATION.budgets
"""Image tokens: it was trained at these."""
_FONT = "DejaVuSansMono.ttf"
_EM = receipts.ADVANCE / 0.60205  # pixels: what `receipts.draw` takes


def make(seed: int, number: int) -> Sequence[Page]:
    """Six receipts: one asked for all lines, and one for each kind of `receipts.KINDS`."""
    return [_page(seed, number, kind) for kind in (*receipts.KINDS, LINES)]


def _page(seed: int, number: int, kind: str) -> Page:
    tasks = Tasks(zlib.crc32(f"{kind} {seed} {number}".encode()), EXAMINATION)
    exchange = tasks.asked(kind)[0]
    assert exchange.drawing is not None
    # regular and bold letters are of the same height
    face = Face(_FONT, str(Path(matplotlib.get_data_path(), "fonts", "ttf", _FONT)))
    facts: Facts = {"font": "DejaVu Sans Mono", "size": round(_EM, 1), "theme": "white"}
    request = Request(kind, exchange.question, exchange.answer)
    return Page(exchange.drawing.image, (request,), face.x_height * _EM, "block", facts)
