"""`gemma4 fit --machines`: which recipe and how long a conversation Macs of each size take."""

from collections.abc import Iterator

from ..checkpoint.recipes import DEFAULT, RECIPES
from ..errors import Gemma4Error
from ..footprint import estimate, recommend, summary
from ..hub import catalog

MEMORIES = (8, 16, 18, 24, 32, 64)
HEADS = ("Mac with", "for a model", "recipe", "weights", "longest conversation", "as much as")
PICTURE, SECOND = 280, 25  # tokens of a picture and of a second of sound in the 12B


def rows() -> Iterator[tuple[str, ...]]:
    """A row a machine; nothing is downloaded."""
    known = summary.of(catalog.USUAL)
    package = catalog.known(catalog.USUAL)
    usual = (package and package.recipe) or DEFAULT
    for memory in MEMORIES:
        machine = estimate.mac(memory)
        cells = (f"{memory} GB", f"{machine.budget / 1e9:.2f} GB")
        try:
            recipe, context = recommend.recipe(known, machine, usual)
        except Gemma4Error:
            yield (*cells, "none fits", "", "", "the tiny demonstration model runs")
            continue
        weights = estimate.weights(known.converted(RECIPES[recipe]), machine)
        hours = context / SECOND / 3600
        much = f"{hours:.1f} hours of sound, or {context // PICTURE:,} pictures"
        yield (*cells, recipe, f"{weights / 1e9:.2f} GB", f"{context:,} tokens", much)


def markdown() -> str:
    """The rows as a table in Markdown, which is readable on a terminal too."""
    lines = [HEADS, ("---",) * len(HEADS), *rows()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
