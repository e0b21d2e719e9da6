"""Loading a model with the drafter that was chosen, or that was measured to pay."""

import warnings
from pathlib import Path

from .. import load
from ..hub import catalog, speculation
from ..model.gemma4 import Gemma4


def load_noted(
    model: str | Path,
    force: bool,
    drafter: str | Path | None = None,
    draft: str | int = "auto",
) -> tuple[Gemma4, list[str]]:
    """Load a model with its drafter, and return what it warned of; errors are those of `load`.

    Args:
        model: as for `load`; so is `force`.
        force: see `model`.
        drafter: the folder or name of a drafter, where somebody chose one.
        draft: as for `Session`; "auto" is what was measured to pay here (`hub.speculation`).
    """
    folder = catalog.resolve(model)
    chosen, setting = speculation.choose(folder, draft, drafter)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", UserWarning)
        loaded = load(folder, force=force, drafter=chosen)
    loaded.draft = setting
    return loaded, [str(warning.message) for warning in caught]
