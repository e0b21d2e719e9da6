"""What is known of a model without its weights: its settings, and every tensor's type and shape.

From the files' headers where it is on this machine; from its architecture
(`checkpoint/architectures.py`) where the catalogue names one; else from the Hub, of which only
settings and headers are read.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..checkpoint.architectures import ARCHITECTURES
from ..checkpoint.files import weight_files
from ..checkpoint.recipes import RECIPES, Recipe, storage_of
from ..checkpoint.safetensors import Tensor, read_header
from ..checkpoint.shapes import Shapes, drafter_shapes, shapes
from ..errors import Gemma4Error
from ..hub import catalog, disk
from ..model.config import Config, TextConfig, load_config
from ..model.drafter_config import DrafterConfig, load_drafter_config
from . import estimate
from .estimate import Machine, Model

if TYPE_CHECKING:
    from ..hub.hub import Repository


@dataclass(frozen=True)
class Outline:
    """A model without its weights.

    Attributes:
        source: where this is known from, for people.
        drafter: its drafter, if it has one.
    """

    name: str
    config: Config
    tensors: dict[str, Tensor]
    source: str
    drafter: Model | None = None

    @property
    def model(self) -> Model:
        return Model(self.config.text_config, self.tensors, self.drafter)

    def converted(self, recipe: Recipe) -> Model:
        """The model as `gemma4 convert` would make it of this one, which is not quantized."""
        floats = next(
            (t.dtype for n, t in self.tensors.items() if n.endswith("norm.weight")), "BF16"
        )
        text = self.config.text_config
        return Model(text, _stored(recipe, text, shapes(self.config), floats), self.drafter)

    def check(self, place: Machine) -> None:
        """Raise Gemma4Error, with what would fit, where the shortest conversation does not."""
        context = self._least_context
        need = estimate.need(self.model, place, context)
        if need.total > place.budget:
            raise Gemma4Error(
                "memory_too_small",
                "The model does not fit into the memory",
                f"{self.name} takes {need.weights / 1e9:.2f} GB for its weights and "
                f"{(need.total - need.weights) / 1e9:.2f} GB for {context:,} tokens; "
                f"{place.name} has {place.budget / 1e9:.2f} GB ({place.rule}).",
                f"{self._remedy(place)} To load it all the same: force=True, or --force.",
            )

    def needs(self, place: Machine) -> int:
        """Bytes that it takes with the shortest useful conversation."""
        return estimate.need(self.model, place, self._least_context).total

    @property
    def _least_context(self) -> int:
        return min(estimate.LEAST_CONTEXT, self.config.text_config.max_position_embeddings)

    def _remedy(self, place: Machine) -> str:
        if self.config.quantization is None:
            sizes = {
                name: estimate.weights(self.converted(r), place) for name, r in RECIPES.items()
            }
            for name in sorted(sizes, key=lambda name: -sizes[name]):
                most = estimate.largest_context(self.converted(RECIPES[name]), place)
                if most >= self._least_context:
                    if not disk.expanded(self.name).is_dir():
                        return f"`gemma4 get {self.name}` brings it in a form that fits."
                    return (
                        f"`gemma4 convert {self.name} --recipe {name}` makes a folder that fits "
                        f"with up to {most:,} tokens."
                    )
        return "Close other programs, or use fewer bits: `gemma4 fit` shows which recipes fit."


def of(name: str) -> Outline:
    """Find out about a model.

    Args:
        name: a folder, a name of the catalogue, or `owner/name` on the Hub.

    Raises:
        Gemma4Error: there is no such model, or only the Hub knows and it cannot be asked.
    """
    repo, revision = catalog.repository_of(name)
    if (package := catalog.known(name)) is not None:
        catalog.need(package)
    try:
        folder = catalog.resolve(name)
    except Gemma4Error:
        if not catalog.is_repository(repo):
            raise
    else:
        found = of_folder(folder, name)
        # of what was made here, all recipes are of interest, not only that of the folder
        if not (package and package.architecture and found.config.quantization):
            return found
    if package is not None and package.architecture is not None:
        return of_architecture(package)
    from ..hub import hub

    return of_repository(name, hub.look_up(repo, revision))


def of_architecture(package: catalog.Package) -> Outline:
    """Describe a package that has a published architecture, without asking anybody."""
    assert package.architecture is not None
    config = Config.from_dict(ARCHITECTURES[package.architecture])
    tensors = {n: Tensor("BF16", shape) for n, shape in shapes(config).items()}
    return Outline(package.name, config, tensors, "its published architecture")


def of_drafter(name: str | Path, recipe: Recipe | None = None) -> Model:
    """A drafter without its weights: a folder's, or one of the catalogue by its architecture.

    The latter is counted as if it was converted by `recipe`.

    Raises:
        Gemma4Error: there is no such drafter, or nothing is known of it.
    """
    try:
        folder = catalog.resolve(name, "drafter")
    except Gemma4Error:
        package = catalog.known(str(name))
        if package is None or package.architecture is None:
            raise
        config = DrafterConfig.from_dict(ARCHITECTURES[package.architecture])
        text = config.text_config
        # all of a drafter is a decoder
        return Model(text, _stored(recipe, text, drafter_shapes(config), root="language_model."))
    return Model(load_drafter_config(folder).text_config, _held(folder))


def of_folder(folder: Path, name: str | None = None) -> Outline:
    tensors = _held(folder)
    return Outline(name or str(folder), load_config(folder), tensors, "its files")


def of_repository(name: str, repository: "Repository") -> Outline:
    """Ask the Hub: config.json and the headers of the weights are read, and nothing else."""
    from ..hub import hub

    with tempfile.TemporaryDirectory() as folder:
        settings = [f for f in repository.files if f.name.endswith("config.json")]
        hub.fetch(repository, {Path(folder) / file.name: file for file in settings})
        config = load_config(Path(folder))
    tensors: dict[str, Tensor] = {}
    for file in repository.files:
        if file.is_weights:
            tensors |= hub.read_header(repository, file.name)
    return Outline(name, config, tensors, f"the Hub ({repository.commit[:12]})")


def _held(folder: Path) -> dict[str, Tensor]:
    """What the files of a folder hold, by their headers."""
    paths = weight_files(folder).values()
    return {name: tensor for path in paths for name, tensor in read_header(path).items()}


def _stored(
    recipe: Recipe | None, text: TextConfig, shapes: Shapes, floats: str = "BF16", root: str = ""
) -> dict[str, Tensor]:
    """The tensors that a conversion writes of these; `root` is before their names in recipes."""
    tensors: dict[str, Tensor] = {}
    for name, shape in shapes.items():
        path, dense = name.removesuffix(".weight"), Tensor(floats, shape)
        quantized = recipe if path != name else None
        storage = quantized and storage_of(quantized, text, root + path, shape)
        tensors |= storage.tensors(path, dense) if storage else {name: dense}
    return tensors
