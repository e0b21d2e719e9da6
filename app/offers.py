"""Cards that are no errors: the model that suits this computer, and a model that has come."""

from mlx_gemma4.checkpoint.recipes import DEFAULT
from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.footprint import recommend, summary
from mlx_gemma4.footprint.estimate import Machine
from mlx_gemma4.hub import catalog
from mlx_gemma4.hub.progress import minutes_for

from . import models_list
from .state import Problem


def model(machine: Machine | None) -> Problem | None:
    """Offer the 12B in the form that suits this computer; None where that is not known.

    Reads files: call it in a thread.
    """
    if machine is None:
        return None
    package = catalog.packages()[catalog.USUAL]
    try:
        recommend.recipe(summary.of(package.name), machine, package.recipe or DEFAULT)
    except Gemma4Error as error:
        return Problem("model_offer", error.title, error.cause, error.remedy, good=True)
    best = models_list.usual(machine)
    most = best.most or 0
    return Problem(
        "model_offer",
        f"Get Gemma 4 12B for this {'Mac' if machine.backend == 'metal' else 'computer'}",
        f"{best.weights / 1e9:.1f} GB kept, {best.download / 1e9:.0f} GB to download, about "
        f"{minutes_for(best.download)} minutes at 100 Mbit/s; fits with {most // 1024}k tokens of "
        f"conversation ({most:,}), quantized as {best.recipe}.",
        "It comes while you go on here, and goes on after any stop.",
        source="job",
        model=package.name,
        good=True,
    )


def crashed(conversation: str, title: str) -> Problem:
    """Offer the conversation that was open when the program ended without being closed."""
    return Problem(
        "program_crashed",
        "gemma4 ended unexpectedly the last time",
        f"\u201c{title}\u201d was open. It is saved up to the last words that came; a recording "
        "waits to be sent, and an answer is marked as stopped.",
        "Conversations (Ctrl+R) have it, too. What happened is in the log (F12).",
        model=conversation,
        good=True,
    )


def ready(name: str) -> Problem:
    """Report that a model has come, and offer to use it."""
    return Problem(
        "model_ready",
        f"{name} is ready",
        "It was checked, and is on this computer now.",
        "`gemma4` opens it from the next start on, unless the settings name another one.",
        source="job",
        model=name,
        good=True,
    )
