"""How long conversations may be so that the rows of all slots fit into the memory."""

from collections.abc import Callable, Sequence
from functools import partial

from ..cluster import facts, fit, survey
from ..cluster.cut import at
from ..cluster.fit import Computer
from ..cluster.hosts import Hosts
from ..errors import Gemma4Error
from ..footprint import device, summary
from ..footprint.estimate import LEAST_CONTEXT, Machine, Model, largest_context
from ..footprint.summary import Outline
from ..hub import catalog, installed_adapters


def context_here(
    name: str, slots: int, wanted: int | None, hosts: Hosts | None = None
) -> int | None:
    """As `fitting_context`, for a model on this computer; another one is checked when it loads.

    Args:
        hosts: other computers that will hold a part of its layers, and are asked.

    Raises:
        Gemma4Error: so many conversations do not fit, or a host cannot be used.
    """
    try:
        known = summary.of_folder(catalog.resolve(installed_adapters.split(name)[0]))
    except Gemma4Error:
        return wanted
    if hosts is None:
        return fitting_context(known.model, device.this(), slots, wanted)
    own, taken = facts.machine()
    here = fit.Computer("this computer", own, facts.speed(), taken)
    computers = fit.computers_of(here, hosts.names, survey.gather(hosts))
    return fitting_over(known, hosts.cut, computers, slots, wanted)


def fitting_over(
    known: Outline, stops: tuple[int, ...], computers: Sequence[Computer], slots: int,
    wanted: int | None,
) -> int | None:  # fmt: skip
    """As `fitting_context`, for a model that is cut at `stops`, or where it is best."""
    config, model = known.config, known.model
    cut = at(stops, config, len(computers)) if stops else fit.best(known, computers)
    budgets = " + ".join(f"{one.machine.budget / 1e9:.2f}" for one in computers)
    largest = partial(fit.largest_context, model, cut, computers, None)
    longest = model.text.max_position_embeddings
    return _fitting(largest, longest, slots, wanted, f"the computers have {budgets} GB")


def fitting_context(model: Model, machine: Machine, slots: int, wanted: int | None) -> int | None:
    """Return the most tokens of a conversation, where `slots` are held at a time.

    Args:
        wanted: what was asked for; None for as many as the model and the memory allow.

    Returns:
        None where the model's own limit is the smaller one, or not even one conversation fits:
        that is the error of loading it.

    Raises:
        Gemma4Error: so many do not fit; the remedy names how many do, or of which length.
    """
    largest = partial(largest_context, model, machine, None)
    place = f"{machine.name} has {machine.budget / 1e9:.2f} GB ({machine.rule})"
    return _fitting(largest, model.text.max_position_embeddings, slots, wanted, place)


def _fitting(
    largest: Callable[[int], int], longest: int, slots: int, wanted: int | None, place: str
) -> int | None:
    least = min(LEAST_CONTEXT, longest)
    asked = min(wanted or least, longest)
    most = largest(slots)
    if asked <= most:
        return most if wanted is None and most < longest else wanted
    if (alone := largest(1)) < least:
        return wanted
    fewer = [n for n in range(1, slots) if asked <= largest(n)]
    remedies = [f"--slots {max(fewer)}"] if fewer else []
    remedies += [f"--context {most}"] if most >= least else []
    remedies += [f"--slots 1 --context {alone}"] if not remedies else []
    raise Gemma4Error(
        "memory_too_small",
        "So many conversations do not fit into the memory",
        f"{slots} of {asked:,} tokens each do not fit beside the weights; {place}.",
        f"Use {', or '.join(remedies)}; --force serves all the same.",
    )
