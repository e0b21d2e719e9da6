"""Loads a model with the drafter that was chosen, or that was measured to pay.

Its warnings are returned as sentences, for whoever must not print them.
"""

import gc
import warnings
from collections.abc import Callable
from pathlib import Path

import mlx.core as mx

from .. import load
from ..cluster.hosts import Hosts
from ..model.gemma4 import Gemma4


def load_noted(
    model: str | Path,
    force: bool,
    hosts: Hosts | None = None,
    progress: Callable[[str, int, int], object] = lambda host, done, total: None,
    drafter: str | Path | None = None,
    draft: str | int = "auto",
) -> tuple[Gemma4, list[str]]:
    """Load a model, and return its warnings too; arguments and errors are those of `load`."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", UserWarning)
        loaded = load(
            model, force=force, hosts=hosts, progress=progress, drafter=drafter, draft=draft
        )
    return loaded, [str(warning.message) for warning in caught]


def free_memory() -> None:
    """Free what no model or cache holds any more."""
    gc.collect()
    mx.synchronize()
    mx.clear_cache()
