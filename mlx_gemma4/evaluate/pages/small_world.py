"""The receipts that the tiny demonstration model knows, as its examination draws them."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib

from ..question import Facts
from ..tiny import receipts
from ..tiny.tasks import EXAMINATION, drawn
from .fonts import Face
from .page import LINES, Page, Request

BUDGETS = EXAMINATION.budgets
"""Image tokens: it was trained at these."""
_FONT = "DejaVuSansMono.ttf"
_EM = receipts.ADVANCE / receipts.EM  # pixels


def make(seed: int, number: int) -> Sequence[Page]:
    """Six receipts: one asked for all lines, and one for each kind of `receipts.KINDS`."""
    return [_page(seed, number, kind) for kind in (*receipts.KINDS, LINES)]


def _page(seed: int, number: int, kind: str) -> Page:
    asked = drawn(f"{kind} {seed} {number}", kind)
    # regular and bold letters are of the same height
    face = Face(_FONT, str(Path(matplotlib.get_data_path(), "fonts", "ttf", _FONT)))
    facts: Facts = {"font": "DejaVu Sans Mono", "size": round(_EM, 1), "theme": "white"}
    request = Request(kind, asked.text, asked.wanted)
    return Page(asked.images[0], (request,), face.x_height * _EM, "block", facts)
