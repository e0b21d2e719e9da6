"""Loads a model and returns its warnings as sentences, for whoever must not print them."""

import warnings
from collections.abc import Callable
from pathlib import Path

from .. import load
from ..cluster.hosts import Hosts
from ..model.gemma4 import Gemma4


def load_noted(
    model: str | Path,
    force: bool,
    hosts: Hosts | None = None,
    progress: Callable[[str, int, int], object] = lambda host, done, total: None,
) -> tuple[Gemma4, list[str]]:
    """Load a model, and return what it warned of; arguments and errors are those of `load`."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", UserWarning)
        loaded = load(model, force=force, hosts=hosts, progress=progress)
    return loaded, [str(warning.message) for warning in caught]
