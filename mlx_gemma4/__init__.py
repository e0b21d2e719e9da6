"""Gemma 4 12B on MLX: text, pictures and sound in one decoder.

    import mlx_gemma4 as g4

    session = g4.Session(g4.load("google/gemma-4-12B-it"))
    session.add_image("receipt.png")
    session.add_text("What is the total?")
    for event in session.reply():
        if isinstance(event, g4.Token):
            print(event.text, end="")

Importing this package imports none of its modules, and not MLX: a name is loaded when it is used.
"""

from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    import mlx.core as mx

    from .errors import Gemma4Error as Gemma4Error
    from .events import ContextLow as ContextLow
    from .events import Done as Done
    from .events import Dropped as Dropped
    from .events import Event as Event
    from .events import Heard as Heard
    from .events import Moved as Moved
    from .events import Thought as Thought
    from .events import Token as Token
    from .events import ToolCall as ToolCall
    from .model.attention import MaskRule
    from .model.gemma4 import Gemma4 as Gemma4
    from .session.session import Session as Session

_HOMES = {
    "Gemma4Error": "errors",
    "ContextLow": "events",
    "Done": "events",
    "Dropped": "events",
    "Event": "events",
    "Heard": "events",
    "Moved": "events",
    "Thought": "events",
    "Token": "events",
    "ToolCall": "events",
    "Gemma4": "model",
    "Session": "session.session",
}


def load(
    folder_or_name: str | Path,
    dtype: "mx.Dtype | None" = None,
    mask_rule: "MaskRule" = "official",
    force: bool = False,
) -> "Gemma4":
    """Load a model.

    Args:
        folder_or_name: a model folder, a name of Package.toml, or `owner/name` of a repository on
            the Hub that is on this machine (`catalog.resolve`).
        dtype: of the activations and of weights that are not quantized (`checkpoint.load`).
        mask_rule: "official", or "forward" to agree with transformers' `forward` (`attention`).
        force: load it even if it does not fit into the memory (`fit`).

    Raises:
        Gemma4Error: if there is no such model, it cannot be loaded, or it does not fit.
    """
    from .checkpoint.load import load_folder
    from .footprint.device import check_fits
    from .hub import catalog

    folder = catalog.resolve(folder_or_name)
    check = None if force else partial(check_fits, str(folder))
    model = load_folder(folder, dtype, mask_rule, check=check)
    model.folder = folder
    model.package = catalog.package_of(folder)
    return model


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
