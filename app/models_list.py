"""The models of the catalogue and those that were converted, and how they fit.

Everything here reads files: not in the interface. Only `looked_up` asks the network.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import platformdirs

from mlx_gemma4.checkpoint.recipes import RECIPES
from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.footprint import estimate, summary
from mlx_gemma4.footprint.estimate import Machine
from mlx_gemma4.footprint.summary import Outline
from mlx_gemma4.hub import catalog, disk, installed_adapters

CONTEXT = 32_768
"""Tokens of the conversation that the fit is shown for."""


@dataclass(frozen=True)
class ModelChoice:
    """A model.

    Attributes:
        name: for loading it, or converting it.
        label: as it is shown.
        about: what it is, in a line.
        here: it is on this machine, and can be loaded.
        recipe: by which it would be converted; empty where it is taken as it is.
        download: bytes of the checkpoint that is converted; 0 where that is not known.
        weights: bytes of it in memory, after converting; 0 where nothing is known.
        context: tokens of the conversation that `total` is for: CONTEXT, or all that it can hold.
        total: bytes of the weights and of such a conversation.
        most: the longest conversation that fits, in tokens; None where the machine is not known.
    """

    name: str
    label: str
    about: str
    here: bool
    recipe: str = ""
    download: int = 0
    weights: int = 0
    context: int = 0
    total: int = 0
    most: int | None = None


def folder() -> Path:
    """Say where converted models go."""
    return platformdirs.user_data_path("mlx-gemma4", appauthor=False) / "models"


def target(choice: ModelChoice) -> Path:
    """Say where a model would be converted to."""
    return folder() / f"{choice.name.split('/')[-1]}-{choice.recipe}"


def free(choice: ModelChoice) -> int:
    """Bytes that are free on the disk where a model would go."""
    if choice.recipe:
        return disk.free(folder())
    from mlx_gemma4.hub import cache

    return disk.free(cache.blob(choice.name, "").parent)


def choices(machine: Machine | None) -> list[ModelChoice]:
    """Give all of them: what is here, then what can be downloaded."""
    found = []
    for name, package in catalog.packages().items():
        if package.kind == "model":
            found.append(_choice(name, name, package.title, package.recipe or "", machine))
    if folder().is_dir():
        for path in sorted(folder().iterdir()):
            if (path / "config.json").is_file():
                found.append(_choice(str(path), path.name, f"Converted, in {path}", "", machine))
    for name in installed_adapters.names():
        if base := installed_adapters.base_of(name):
            label = f"{base}:{name}"
            found.append(
                _choice(label, label, f"{base} with an adapter that was trained", "", machine)
            )
    return sorted(found, key=lambda one: not one.here)


def looked_up(choice: ModelChoice, machine: Machine | None) -> ModelChoice:
    """Ask the Hub what a model weighs of which nothing is known here.

    Raises:
        Gemma4Error: it cannot be asked, or has no such model.
    """
    return _fitted(choice, summary.of(choice.name), machine)


def _choice(name: str, label: str, about: str, recipe: str, machine: Machine | None) -> ModelChoice:
    try:
        catalog.resolve(name)
        here = True
    except Gemma4Error:
        here = False
    package = catalog.packages().get(name)
    download = package.bytes or 0 if package is not None else 0
    choice = ModelChoice(name, label, about, here, recipe, download)
    if not here and (package is None or package.architecture is None):
        return choice
    try:
        return _fitted(choice, summary.of(name), machine)
    except Gemma4Error as error:
        return replace(choice, about=f"{about}. {error.cause}", recipe="")


def _fitted(choice: ModelChoice, known: Outline, machine: Machine | None) -> ModelChoice:
    """Say what a model takes, after converting where it is to be converted."""
    recipe = "" if known.config.quantization is not None else choice.recipe
    choice = replace(choice, recipe=recipe)
    if machine is None:
        return choice
    model = known.converted(RECIPES[recipe]) if recipe else known.model
    context = min(CONTEXT, known.config.text_config.max_position_embeddings)
    return replace(
        choice,
        weights=estimate.weights(model, machine),
        context=context,
        total=estimate.need(model, machine, context).total,
        most=estimate.largest_context(model, machine),
    )
