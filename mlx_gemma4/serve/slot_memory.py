"""How long conversations may be such that all slots' rows fit into the memory."""

from dataclasses import replace

from ..errors import Gemma4Error
from ..footprint import device, summary
from ..footprint.estimate import LEAST_CONTEXT, Machine, Model, largest_context
from ..hub import catalog, installed_adapters
from ..model.config import SLIDING

PLACES = 2
"""To which a conversation can go back however much follows: the end of the system's turn, and the
last question's. A place holds a window of each sliding layer."""


def context_here(name: str, slots: int, wanted: int | None) -> int | None:
    """`fitting_context` for a model that is on this computer; another is left to loading it."""
    try:
        known = summary.of_folder(catalog.resolve(installed_adapters.split(name)[0]))
    except Gemma4Error:
        return wanted
    return fitting_context(known.model, device.this(), slots, wanted)


def fitting_context(model: Model, machine: Machine, slots: int, wanted: int | None) -> int | None:
    """The most tokens of a conversation, of which `slots` are held at a time.

    Args:
        wanted: what was asked for; None for as many as the model and the memory allow.

    Returns:
        None where the model's own limit is the smaller one, or not even one conversation fits:
        that is the error of loading it.

    Raises:
        Gemma4Error: so many do not fit; the remedy names how many, or how long ones do.
    """
    longest = model.text.max_position_embeddings
    least = min(LEAST_CONTEXT, longest)
    asked = min(wanted or least, longest)
    most = _largest(model, machine, slots)
    if asked <= most:
        return most if wanted is None and most < longest else wanted
    if (alone := _largest(model, machine, 1)) < least:
        return wanted
    fewer = [n for n in range(1, slots) if asked <= _largest(model, machine, n)]
    remedies = [f"--slots {max(fewer)}"] if fewer else []
    remedies += [f"--context {most}"] if most >= least else []
    remedies += [f"--slots 1 --context {alone}"] if not remedies else []
    raise Gemma4Error(
        "memory_too_small",
        "So many conversations do not fit into the memory",
        f"{slots} of {asked:,} tokens each do not fit beside the weights; {machine.name} has "
        f"{machine.budget / 1e9:.2f} GB ({machine.rule}).",
        f"Use {', or '.join(remedies)}; --force serves all the same.",
    )


def _largest(model: Model, machine: Machine, slots: int) -> int:
    """The longest conversation of which so many fit, with the places that each goes back to."""
    text = model.text
    row = 2 * text.num_key_value_heads * text.head_dim * model.float_bytes(machine)
    place = row * text.sliding_window * text.layer_types.count(SLIDING)
    left = replace(machine, budget=machine.budget - slots * PLACES * place)
    return largest_context(model, left, conversations=slots)
