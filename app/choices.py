"""The models of the catalogue and those that were converted, and how they fit.

Everything here reads files: not in the interface. Nothing asks the network.
"""

from dataclasses import dataclass
from pathlib import Path

import platformdirs

from mlx_gemma4 import catalog, disk
from mlx_gemma4.checkpoint.recipes import RECIPES
from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.fit import fit, outline
from mlx_gemma4.fit.fit import Machine

CONTEXT = 32_768
"""Tokens of the conversation that the fit is shown for."""


@dataclass(frozen=True)
class Choice:
    """A model.

    Attributes:
        name: for loading it, or converting it.
        label: as it is shown.
        about: what it is, in a line.
        here: it is on this machine, and can be loaded.
        recipe: by which it would be converted; empty where it need not be.
        weights: bytes of it in memory, after converting; 0 where nothing is known.
        total: the same with CONTEXT tokens.
        most: the longest conversation that fits, in tokens; None where the machine is not known.
    """

    name: str
    label: str
    about: str
    here: bool
    recipe: str = ""
    weights: int = 0
    total: int = 0
    most: int | None = None


def folder() -> Path:
    """Say where converted models go."""
    return platformdirs.user_data_path("mlx-gemma4", appauthor=False) / "models"


def target(choice: Choice) -> Path:
    """Say where a model would be converted to."""
    return folder() / f"{choice.name.split('/')[-1]}-{choice.recipe}"


def free() -> int:
    """Bytes that are free on the disk where models go."""
    return disk.free(folder())


def choices(machine: Machine | None) -> list[Choice]:
    """Give all of them: what is here, then what can be downloaded."""
    found = []
    for name, package in catalog.packages().items():
        if package.kind == "model":
            found.append(_choice(name, name, package.title, package.recipe or "", machine))
    if folder().is_dir():
        for path in sorted(folder().iterdir()):
            if (path / "config.json").is_file():
                found.append(_choice(str(path), path.name, f"Converted, in {path}", "", machine))
    return sorted(found, key=lambda one: not one.here)


def _choice(name: str, label: str, about: str, recipe: str, machine: Machine | None) -> Choice:
    try:
        catalog.resolve(name)
        here = True
    except Gemma4Error:
        here = False
    package = catalog.packages().get(name)
    if not here and (package is None or package.architecture is None):
        return Choice(name, label, about, here, recipe)
    try:
        known = outline.of(name)
        quantized = known.config.quantization is not None
        convert = "" if quantized or not recipe else recipe
        model = known.converted(RECIPES[convert]) if convert else known.model
    except Gemma4Error as error:
        return Choice(name, label, f"{about}. {error.cause}", here)
    if machine is None:
        return Choice(name, label, about, here, convert)
    weights = fit.weights(model, machine)
    context = min(CONTEXT, known.config.text_config.max_position_embeddings)
    total = fit.need(model, machine, context).total
    most = fit.largest_context(model, machine)
    return Choice(name, label, about, here, convert, weights, total, most)
