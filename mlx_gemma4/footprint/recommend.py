"""Which recipe suits a machine best: the most bits that leave room, and do not read slowly."""

from ..checkpoint.recipes import DEFAULT, RECIPES
from ..errors import Gemma4Error
from . import estimate
from .estimate import Machine
from .summary import Outline

FINER = ("8bit", "6bit")
"""Recipes that are better than the usual one, where there is memory for them."""
SMALLER = ("4bit-small",)
SHARE = 2
"""A finer recipe may take one part in so many of the memory: each token reads all the weights, and
conversations and other programs want room.
"""
ROOM = 8192
"""Tokens of conversation that a recommended recipe leaves room for, if any recipe does."""
MACS = (8, 16, 18, 24, 32, 36, 48, 64, 96, 128)
"""Gigabytes of memory that Macs are sold with."""


def recipe(known: Outline, machine: Machine, usual: str) -> tuple[str, int]:
    """Choose the recipe for a model that is not quantized.

    Args:
        usual: the recipe of its package; another than the default is the only one considered, for
            the weights were made for it.

    Returns:
        Its name, and the longest conversation that fits with it, in tokens.

    Raises:
        Gemma4Error: none fits; the remedy names a Mac that would do.
    """
    names = (*FINER, usual, *SMALLER) if usual == DEFAULT else (usual,)
    models = {name: known.converted(RECIPES[name]) for name in names}
    longest = known.config.text_config.max_position_embeddings
    most = {name: estimate.largest_context(model, machine) for name, model in models.items()}
    for name in names:
        small = estimate.weights(models[name], machine) * SHARE <= machine.budget
        if most[name] >= min(ROOM, longest) and (small or name not in FINER):
            return name, most[name]
    name = max(names, key=lambda name: most[name])
    if most[name] >= min(estimate.LEAST_CONTEXT, longest):
        return name, most[name]
    smallest = min(names, key=lambda name: estimate.weights(models[name], machine))
    raise _too_small(known, smallest, machine)


def _too_small(known: Outline, name: str, machine: Machine) -> Gemma4Error:
    model = known.converted(RECIPES[name])
    context = min(estimate.LEAST_CONTEXT, known.config.text_config.max_position_embeddings)
    need = estimate.need(model, machine, context)
    enough = (
        size
        for size in MACS
        if estimate.need(model, estimate.mac(size), context).total <= estimate.mac(size).budget
    )
    mac = next(enough, None)
    wanted = f"It needs a Mac with {mac} GB or more" if mac else "It fits no Mac"
    return Gemma4Error(
        "memory_too_small",
        f"{known.name} does not fit into the memory",
        f"{machine.name} has {machine.budget / 1e9:.2f} GB for a model ({machine.rule}); at its "
        f"smallest ({name}) it takes {need.weights / 1e9:.2f} GB, and "
        f"{(need.total - need.weights) / 1e9:.2f} GB more with {context:,} tokens.",
        f"{wanted}. The tiny model that comes with the program runs here: gemma4 --model tiny.",
    )
