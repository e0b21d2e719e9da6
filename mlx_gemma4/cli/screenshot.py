"""`--screen`: a picture of the screen, taken as the terminal program takes one."""

import argparse
from typing import TYPE_CHECKING

from ..errors import Gemma4Error
from ..hub import catalog
from .options import Option
from .program import part
from .streams import inform

if TYPE_CHECKING:
    from PIL.Image import Image

OPTION = Option("--screen", "look at the screen: at the part you choose, where a picker is there")
USUAL = 280
"""Image tokens of Gemma 4. A model that was made for fewer sees the screen with its own number."""


def pictures(options: argparse.Namespace, model: str) -> "list[tuple[Image, int]]":
    """The picture that is asked for, with its image tokens; Gemma4Error where none is taken."""
    if not options.screen:
        return []
    from ..media.images import BUDGETS
    from ..model.config import load_config

    own = load_config(catalog.resolve(model)).image_tokens
    most = options.image_tokens or (own if own < USUAL else BUDGETS[-1])
    screen = part("devices.screen")
    if (shot := screen.capture("region")) is None:
        raise Gemma4Error(
            "screenshot_cancelled",
            "No picture of the screen was taken",
            "It was cancelled.",
            "Run it again and choose a part of the screen, or leave --screen out.",
        )
    if shot.note:
        inform(shot.note)
    budget: int = screen.screen_tokens(shot.image.size, most)
    tokens = screen.tokens_of(shot.image.size, budget)
    inform(screen.caption(shot.name, shot.image.size, tokens, budget))
    return [(shot.image, budget)]
