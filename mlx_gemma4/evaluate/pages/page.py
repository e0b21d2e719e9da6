"""What a page is: a picture, what is printed on it, and what is asked about it."""

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from PIL import Image

from ..question import Facts

LINES = "lines"
"""The kind of a request for everything that is printed: what a recognizer can be compared on."""
VALUE = "value"
"""The kind of a request for one thing that is printed."""
TRANSCRIBE = (
    "Transcribe all the text in this picture exactly as it is printed, from top to bottom, row by "
    "row; where there are columns of running text, one column after the other. Answer with the "
    "text alone: no Markdown, no comments."
)
"""Our own words: the model card names text recognition among the uses and no wording for it."""


@dataclass(frozen=True)
class Request:
    """Something asked about a page; `kind` is LINES, VALUE or another name of a kind."""

    kind: str
    text: str
    answer: str
    about: str = ""


@dataclass(frozen=True, eq=False)
class Page:
    """A page.

    Attributes:
        x_height: height of its text's small x in pixels of `image`, headings aside; None where
            nobody knows.
        layout: "block" (one block of lines, read from left to right), or "page" (several columns,
            or nobody knows): for a recognizer.
    """

    image: Image.Image  # RGB
    requests: tuple[Request, ...]
    x_height: float | None
    layout: str = "page"
    facts: Facts = field(default_factory=dict)  # its font, size and theme

    @property
    def digest(self) -> str:
        """Eight digits that change with any pixel or request, and so with the font."""
        sum_ = zlib.crc32(self.image.tobytes(), self.image.width)
        for request in self.requests:
            sum_ = zlib.crc32(repr(request).encode(), sum_)
        return f"{sum_:08x}"


Maker = Callable[[int, int], Sequence[Page]]
"""Makes the pages of a seed and a number: always the same on the same machine."""


def transcribe(lines: Sequence[str]) -> Request:
    return Request(LINES, TRANSCRIBE, "\n".join(" ".join(line.split()) for line in lines))
