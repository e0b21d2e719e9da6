"""How long conversations may be such that all slots' rows fit into the memory."""

from ..errors import Gemma4Error
from ..footprint import device, summary
from ..footprint.estimate import LEAST_CONTEXT, Machine, Model, largest_context
from ..hub import catalog, installed_adapters


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
    most = largest_context(model, machine, conversations=slots)
    if asked <= most:
        return most if wanted is None and most < longest else wanted
    if (alone := largest_context(model, machine)) < least:
        return wanted
    fewer = [n for n in range(1, slots) if asked <= largest_context(model, machine, None, n)]
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
