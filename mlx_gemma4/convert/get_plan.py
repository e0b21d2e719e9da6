"""What a model of the Hub takes on this computer: of its disk, of its memory, and to come here."""

from dataclasses import dataclass
from pathlib import Path

from ..checkpoint.recipes import DEFAULT, RECIPES
from ..checkpoint.recipes import named as named_recipe
from ..errors import Gemma4Error
from ..footprint import estimate, recommend, summary
from ..footprint.estimate import Machine, Model
from ..footprint.summary import Outline
from ..hub import cache as hub_cache
from ..hub import catalog, disk, hub, installed
from .convert import partial

_FIGURES = 40_000_000  # about what a tokenizer and settings take, where nobody was asked


@dataclass(frozen=True)
class GetPlan:
    """What getting a model takes on this computer.

    Attributes:
        name: of the package, or `owner/name`.
        revision: by which the Hub was asked.
        repository: None where the Hub was not asked.
        recipe: empty where the model is taken as the Hub has it.
        download: bytes that come in all; 0 where they are here already.
        held: bytes of them that are here from a former try.
        kept: bytes that stay on the disk.
        most: bytes that the disk must have room for on the way.
        memory: bytes of its weights in memory.
        context: the longest conversation that fits, in tokens.
        folder: that it goes to.
    """

    name: str
    revision: str
    repository: hub.Repository | None
    recipe: str
    machine: Machine
    download: int
    held: int
    kept: int
    most: int
    memory: int
    context: int
    folder: Path

    @property
    def free(self) -> int:
        return disk.free(self.folder)

    @property
    def repo(self) -> str:
        return catalog.repository_of(self.name)[0]

    @property
    def shared(self) -> bool:
        return self.folder == _shared(self.repo)

    @property
    def outdated(self) -> bool:
        """Whether a former try brought a part of a version that the Hub has no more."""
        return _outdated(self.folder, self.repository)


def plan(
    name: str,
    machine: Machine,
    recipe: str | None = None,
    folder: Path | None = None,
    revision: str | None = None,
    guess: bool = False,
) -> GetPlan:
    """Find out what a model takes, and choose its recipe; nothing is downloaded but headers.

    Args:
        name: a package of the Hub, or `owner/name`.
        recipe: instead of the recommended one.
        folder: to write; None for `installed.folder()`, or the Hub's cache.
        revision: branch, tag or commit, instead of the package's.
        guess: use the catalogue's figures where the Hub cannot be reached.

    Raises:
        Gemma4Error: there is no such model, it does not fit into the memory, or the Hub does not
            answer.
    """
    package = catalog.known(name)
    if package is not None and package.repo is None:
        raise _shipped(package.name)
    if package is None and not catalog.is_repository(name):
        catalog.resolve(name)  # which explains what is wrong with the name
        raise _shipped(name)
    if folder is not None:
        disk.need_writable(folder)
    name = package.name if package else name
    repo, usual = catalog.repository_of(name)
    wanted = revision or usual
    here = hub_cache.installed(repo, wanted)
    best = (package and package.recipe) or DEFAULT
    if package is not None and package.kind == "drafter":
        repository = None if here else _look_up(name, repo, wanted, folder)
        chosen, context, size = recipe or best, 0, 0
        model = summary.of_drafter(name, named_recipe(chosen))
    else:
        known, repository = _known(package, name, repo, wanted, folder, guess)
        model, chosen, context = _form(known, machine, recipe, best)
        size = sum(tensor.nbytes for tensor in known.tensors.values())
    beside = _FIGURES
    download = largest = 0
    if repository is not None:
        beside = sum(file.size for file in repository.files if not file.is_weights)
        download, largest = repository.size, max(file.size for file in repository.files)
    elif here is None:  # nobody was asked
        download = largest = (package and package.bytes) or size
    kept = sum(tensor.nbytes for tensor in model.tensors.values()) + beside
    kept = kept if chosen else download or kept
    target = folder or _shared(repo)
    if chosen and folder is None:
        other = "" if wanted == usual else f"-{wanted.replace('/', '-')}"
        target = installed.folder() / f"{repo.split('/')[1]}-{chosen}{other}"
    needed = kept + largest if chosen else download if target == _shared(repo) else kept
    there = installed.held(target if target == _shared(repo) else partial(target))
    # what is outdated makes room too: it is removed
    held = 0 if _outdated(target, repository) else min(download, there)
    return GetPlan(
        name, wanted, repository, chosen, machine, download, held, kept,
        max(0, needed - there), estimate.weights(model, machine), context, target,
    )  # fmt: skip


def _form(
    known: Outline, machine: Machine, recipe: str | None, usual: str
) -> tuple[Model, str, int]:
    """The model as it is stored, by which recipe, and the longest conversation that fits."""
    if known.config.quantization is not None:
        if recipe is not None:
            raise Gemma4Error(
                "already_quantized",
                "The model is quantized already",
                f"{known.name} is taken as the Hub has it, and not stored by a recipe.",
                "Leave --recipe out, or name the unquantized model.",
            )
        known.check(machine)
        return known.model, "", estimate.largest_context(known.model, machine)
    if recipe is None:
        recipe, context = recommend.recipe(known, machine, usual)
        return known.converted(RECIPES[recipe]), recipe, context
    model = known.converted(named_recipe(recipe))
    context = estimate.largest_context(model, machine)
    if not context:
        recommend.recipe(known, machine, usual)  # where none fits that is the reason
        raise _recipe_too_large(known, recipe, machine)
    return model, recipe, context


def _known(
    package: catalog.Package | None,
    name: str,
    repo: str,
    revision: str,
    folder: Path | None,
    guess: bool,
) -> tuple[Outline, hub.Repository | None]:
    """Find a model's outline: in the Hub's cache, on the Hub, or in the catalogue."""
    if (here := hub_cache.installed(repo, revision)) is not None:
        return summary.of_folder(here, name), None
    try:
        repository = _look_up(name, repo, revision, folder)
        return summary.of_repository(name, repository), repository
    except Gemma4Error as error:
        away = error.code in ("hub_unreachable", "hub_offline", "hub_refused")
        if not (guess and away and package is not None and package.architecture):
            raise
        return summary.of_architecture(package), None


def _look_up(name: str, repo: str, revision: str, folder: Path | None) -> hub.Repository:
    """Ask the Hub; an unfinished download keeps its commit, if the Hub still has that."""
    for work in [partial(folder)] if folder else installed.partials():
        state = installed.state(work)
        if state.get("name") == name and state.get("revision") == revision:
            try:
                return hub.look_up(repo, state["commit"])
            except Gemma4Error as error:
                if error.code != "revision_missing":
                    raise
    return hub.look_up(repo, revision)


def _shared(repo: str) -> Path:
    """Where the Hub's cache keeps the files of a repository."""
    return hub_cache.blob(repo, "").parent


def _outdated(folder: Path, repository: hub.Repository | None) -> bool:
    commit = installed.state(partial(folder)).get("commit")
    return repository is not None and commit not in (None, repository.commit)


def _shipped(name: str) -> Gemma4Error:
    return Gemma4Error(
        "model_present",
        f"{name} is on this machine already",
        "It is no model of the Hub.",
        f"Open it: gemma4 --model {name}.",
    )


def _recipe_too_large(known: Outline, recipe: str, machine: Machine) -> Gemma4Error:
    need = estimate.weights(known.converted(RECIPES[recipe]), machine)
    return Gemma4Error(
        "memory_too_small",
        f"{known.name} as {recipe} does not fit into the memory",
        f"Its weights alone take {need / 1e9:.2f} GB; {machine.name} has "
        f"{machine.budget / 1e9:.2f} GB for a model ({machine.rule}).",
        "Leave --recipe out: the recommended one fits.",
    )
