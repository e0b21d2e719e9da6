"""What a reference model expected, on the disk: it need not be in the memory beside another one.

A file an item: the log-probabilities at its answer's rows, and its sounds, since a voice does not
speak the same samples twice. For a vocabulary of 262,144 a row takes 1 MB.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..errors import Gemma4Error
from .logits import Logs, answered
from .models import OurModel
from .question import Asked, Item

ROWS = 64
"""The most rows of an answer that are compared."""


class References:
    """What a model expects at the answers of items; computed at most once each.

    Args:
        reference: the model that others are compared with.
        folder: where the files are, or will be.
    """

    def __init__(self, reference: OurModel, folder: Path) -> None:
        self.reference = reference
        self._folder = folder / "reference" / reference.revision

    def missing(self, items: Sequence[Item]) -> list[Item]:
        return [item for item in items if not self._file(item).is_file()]

    def fill(self, items: Sequence[Item]) -> None:
        """Compute these items, and save them."""
        for item in items:
            try:
                asked = item.make()
            except Gemma4Error:
                continue  # it is reported when it is measured, and the others go on
            found = answered(self.reference.model, self.reference.tokenizer, asked, ROWS)
            self._save(item, asked, found.logs)

    def read(self, item: Item) -> tuple[Asked, Logs]:
        """What is asked, with the very sounds that the reference heard, and what it expected."""
        asked = item.make()
        with np.load(self._file(item)) as held:
            sounds = tuple(held[f"sound{n}"] for n in range(len(asked.sounds)))
            return replace(asked, sounds=sounds), held["logs"]

    def _file(self, item: Item) -> Path:
        return self._folder / f"{hashlib.sha256(item.id.encode()).hexdigest()[:24]}.npz"

    def _save(self, item: Item, asked: Asked, logs: Logs) -> None:
        path = self._file(item)
        path.parent.mkdir(parents=True, exist_ok=True)
        whole = path.with_suffix(".part")  # a killed run leaves no half of a file under its name
        sounds = {f"sound{n}": samples for n, samples in enumerate(asked.sounds)}
        with whole.open("wb") as file:
            np.savez(file, allow_pickle=False, logs=logs, **sounds)
        whole.replace(path)
