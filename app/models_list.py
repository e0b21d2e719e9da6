"""The models on this machine and those of the catalogue, how they fit, and which is recommended.

Everything here reads files: call it in a thread. Only `looked_up` asks the network.
"""

from dataclasses import dataclass, replace
from pathlib import Path

from mlx_gemma4.checkpoint.recipes import RECIPES
from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.footprint import estimate, recommend, summary
from mlx_gemma4.footprint.estimate import Machine
from mlx_gemma4.footprint.summary import Outline
from mlx_gemma4.hub import catalog, disk, installed, installed_adapters
from mlx_gemma4.hub.catalog import Package
from mlx_gemma4.hub.installed import InstalledModel

CONTEXT = 32_768
"""Tokens of the conversation that the fit is shown for."""
BARELY = 0.9
"""Share of the memory from which on such a conversation fits barely."""


@dataclass(frozen=True)
class ModelChoice:
    """A model.

    Attributes:
        name: for loading it, or getting it.
        label: as it is shown.
        about: what it is, in a line.
        here: it is on this machine, and can be loaded.
        folder: where it is; None where it is not here.
        license: its SPDX name; empty where it is not known.
        recipe: by which it would be converted; empty where it is taken as it is.
        download: bytes that come over the network; 0 where that is not known.
        weights: bytes of it in memory, after converting; 0 where nothing is known.
        context: tokens of the conversation that `total` is for: CONTEXT, or all that it can hold.
        total: bytes of the weights and of such a conversation.
        most: the longest conversation that fits, in tokens; None where the machine is not known.
        budget: bytes that a model may take here; 0 where that is not known.
        recommended: it is what `gemma4 get` would bring.
    """

    name: str
    label: str
    about: str
    here: bool
    folder: Path | None = None
    license: str = ""
    recipe: str = ""
    download: int = 0
    weights: int = 0
    context: int = 0
    total: int = 0
    most: int | None = None
    budget: int = 0
    recommended: bool = False

    @property
    def barely(self) -> bool:
        """Whether it fits, and leaves little room."""
        return bool(self.most) and self.total > BARELY * self.budget


def free(choice: ModelChoice) -> int:
    """Bytes that are free on the disk where a model would go."""
    if choice.recipe:
        return disk.free(installed.folder())
    from mlx_gemma4.hub import cache

    return disk.free(cache.blob(choice.name, "").parent)


def choices(machine: Machine | None) -> list[ModelChoice]:
    """Return all of them: what is here, then what can be brought."""
    drafters = [p.repo for p in catalog.packages().values() if p.kind == "drafter"]
    made = [model for model in installed.made() if model.source not in drafters]
    sources = {model.source for model in made}
    packages = [one for one in catalog.packages().values() if one.kind == "model"]
    listed = [_made(model, machine) for model in made]
    listed += [_packaged(one, machine) for one in packages if one.repo not in sources]
    for name in installed_adapters.names():
        if base := (facts := installed_adapters.facts_of(name)).get("base"):
            listed.append(_adapted(f"{base}:{name}", base, facts.get("lines", "some"), machine))
    return sorted(listed, key=lambda one: not one.here)


def usual(machine: Machine | None) -> ModelChoice:
    """Return the model that the program is made for, as it would be brought."""
    return _packaged(catalog.packages()[catalog.USUAL], machine)


def looked_up(choice: ModelChoice, machine: Machine | None) -> ModelChoice:
    """Ask the Hub for the size of a model of which nothing is known here.

    Raises:
        Gemma4Error: it cannot be asked, or has no such model.
    """
    return _fitted(choice, summary.of(choice.name), machine)


def _made(model: InstalledModel, machine: Machine | None) -> ModelChoice:
    package = catalog.package_of(model.folder)
    how = f" as {model.recipe}" if model.recipe else ""
    about = f"{package.title if package else model.source}{how}"
    choice = ModelChoice(
        _name(model), model.name, about, True, model.folder, package.license if package else ""
    )
    return _known(choice, machine, model.folder)


def _name(model: InstalledModel) -> str:
    """The shortest lasting name: of the package, where that means this folder."""
    package = next((p for p in catalog.packages().values() if p.repo == model.source), None)
    if package is not None and catalog.resolve(package.name) == model.folder:
        return package.name
    return model.name


def _packaged(package: Package, machine: Machine | None) -> ModelChoice:
    """Describe a package that ships, is in the Hub's cache, or can be brought."""
    try:
        folder = catalog.resolve(package.name)
    except Gemma4Error:
        folder = None
    choice = ModelChoice(
        package.name,
        package.name,
        package.title,
        folder is not None,
        folder if package.path is None else None,  # what ships needs no place
        package.license,
        "" if folder else package.recipe or "",
        0 if folder else package.bytes or 0,
        recommended=package.name == catalog.USUAL,
    )
    if folder is None and package.architecture is None:
        return choice
    return _known(choice, machine, folder)


def _adapted(name: str, base: str, lines: object, machine: Machine | None) -> ModelChoice:
    """Describe a model with an installed adapter (`gemma4 tune --install`)."""
    try:
        folder = catalog.resolve(base)
    except Gemma4Error as error:
        return ModelChoice(name, name, f"An adapter of {base}. {error.cause}", False)
    choice = ModelChoice(name, name, f"{base} with an adapter from {lines} conversations", True)
    return _known(choice, machine, folder)


def _known(choice: ModelChoice, machine: Machine | None, folder: Path | None) -> ModelChoice:
    try:
        outline = summary.of(choice.name) if folder is None else summary.of_folder(folder)
        return _fitted(choice, outline, machine)
    except Gemma4Error as error:
        return replace(choice, about=f"{choice.about}. {error.cause}", recipe="")


def _fitted(choice: ModelChoice, known: Outline, machine: Machine | None) -> ModelChoice:
    """Add what a model takes: after converting, where it is to be converted."""
    recipe = "" if known.config.quantization is not None or choice.here else choice.recipe
    if machine is not None and recipe:
        try:
            recipe, _ = recommend.recipe(known, machine, recipe)
        except Gemma4Error:
            recipe = min(
                (recipe, *recommend.SMALLER),
                key=lambda name: estimate.weights(known.converted(RECIPES[name]), machine),
            )
    choice = replace(choice, recipe=recipe)
    if machine is None:
        return choice
    model = known.converted(RECIPES[recipe]) if recipe else known.model
    context = min(CONTEXT, known.config.text_config.max_position_embeddings)
    return replace(
        choice,
        download=choice.download or sum(tensor.nbytes for tensor in known.tensors.values()),
        weights=estimate.weights(model, machine),
        context=context,
        total=estimate.need(model, machine, context).total,
        most=estimate.largest_context(model, machine),
        budget=machine.budget,
    )
