"""A model of the Hub for this computer: what it takes, and its way here.

A model that is not quantized comes a file at a time and is quantized meanwhile, so that the disk
needs room for the result and one file; a quantized one goes into the Hub's cache as it is. A run
that was cut, whatever cut it, resumes where it was, with the commit that it started with.
"""

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from .. import __version__
from ..checkpoint.recipes import DEFAULT, RECIPES
from ..checkpoint.recipes import named as named_recipe
from ..errors import Gemma4Error
from ..footprint import estimate, recommend, summary
from ..footprint.estimate import Machine
from ..footprint.summary import Outline
from ..hub import cache as hub_cache
from ..hub import catalog, disk, hub, installed
from ..hub.progress import Progress
from ..hub.sources import Folder, Source, Stream
from ..json_reader import read_object
from .convert import MADE_FROM, convert, partial, refuse_old, verify

_FIGURES = 40_000_000  # about what a tokenizer and settings take, where nobody was asked

Stage = Literal["download", "quantize", "check"]


@dataclass(frozen=True)
class GetProgress:
    """How far getting a model is.

    Attributes:
        share: of the weights that are quantized, from 0 to 1.
    """

    stage: Stage
    download: Progress
    share: float = 0.0


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
        """Bytes that are free on the disk where it goes."""
        return disk.free(self.folder)

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
    if package is not None:
        if package.repo is None:
            raise _shipped(package.name)
        if package.kind == "drafter":
            wanted = recipe or package.recipe or DEFAULT
            return _drafter(package, machine, wanted, folder, revision or str(package.revision))
        catalog.need(package)
    elif not catalog.is_repository(name):
        catalog.resolve(name)  # which explains what is wrong with the name
        raise _shipped(name)
    repo = package.repo if package and package.repo else name
    revision = revision or (package and package.revision) or "main"
    known, repository = _known(package, name, repo, revision, guess)
    if known.config.quantization is not None:
        known.check(machine)
        model, chosen = known.model, ""
        context = estimate.largest_context(model, machine)
    else:
        usual = (package and package.recipe) or DEFAULT
        if recipe is None:
            chosen, context = recommend.recipe(known, machine, usual)
        else:
            chosen = recipe
            model = known.converted(named_recipe(recipe))
            context = estimate.largest_context(model, machine)
            if not context:
                recommend.recipe(known, machine, usual)  # where none fits that is the reason
                raise _recipe_too_large(known, recipe, machine)
        model = known.converted(RECIPES[chosen])
    memory = estimate.weights(model, machine)
    beside = _FIGURES
    if repository is not None:
        beside = sum(file.size for file in repository.files if not file.is_weights)
    kept = sum(tensor.nbytes for tensor in model.tensors.values()) + beside
    target = folder or (
        installed.folder() / f"{repo.split('/')[1]}-{chosen}"
        if chosen
        else hub_cache.blob(repo, "").parent
    )
    here = hub_cache.installed(repo, revision)
    download, largest = _size(package, known, repository, here is not None)
    held = min(download, installed.held(partial(target) if chosen else target))
    if _outdated(target, repository):
        held = 0
    kept = kept if chosen else download or kept
    most = max(0, (kept + largest if chosen else download) - held)
    return GetPlan(
        package.name if package else name, revision, repository, chosen, machine,
        download, held, kept, most, memory, context, target,
    )  # fmt: skip


def _drafter(
    package: catalog.Package, place: Machine, recipe: str, folder: Path | None, commit: str
) -> GetPlan:
    repo = str(package.repo)
    here = hub_cache.installed(repo, commit)
    repository = None if here else _look_up(package.name, repo, commit)
    target = folder or installed.folder() / f"{repo.split('/')[1]}-{recipe}"
    model = summary.of_drafter(package.name, named_recipe(recipe))
    kept = sum(tensor.nbytes for tensor in model.tensors.values())
    size = repository.size if repository else 0
    held = min(size, installed.held(partial(target)))
    return GetPlan(
        package.name, commit, repository, recipe, place, size, held, kept,
        max(0, kept + size - held), estimate.weights(model, place), 0, target,
    )  # fmt: skip


def need_room(wanted: GetPlan) -> None:
    """Check, before anything is downloaded, that it can be written.

    Raises:
        Gemma4Error: the disk is too small, or the folder is there or cannot be written.
    """
    if wanted.recipe:
        refuse_old(wanted.folder)
    disk.need_space(wanted.folder, wanted.most)


def fetch(
    wanted: GetPlan,
    report: Callable[[GetProgress], None],
    cancelled: Callable[[], bool] | None = None,
) -> Path | None:
    """Download a model, quantize it where that is planned, and check every file.

    Returns:
        Its folder, found by its name from now on; None if it was cancelled: what came is kept.

    Raises:
        Gemma4Error: the disk is too small, the connection stays away, or a hash is wrong.
    """
    last = Progress(wanted.held, wanted.download, 0.0)

    def downloading(progress: Progress) -> None:
        nonlocal last
        last = progress
        report(GetProgress("download", progress))

    if not wanted.recipe:
        return _as_it_is(wanted, downloading, cancelled)
    need_room(wanted)

    def quantizing(progress: Progress) -> None:
        report(GetProgress("quantize", last, progress.done / max(progress.total, 1)))

    source = _source(wanted, downloading, cancelled)
    if not wanted.folder.exists():
        _forget_other(wanted, source)
    made = convert(source, wanted.folder, RECIPES[wanted.recipe], quantizing, cancelled)
    if made is None:
        return None
    done = Progress(wanted.download, wanted.download, 0.0)
    report(GetProgress("check", done, 1.0))
    verify(made)
    installed.register(made)
    return made


def _known(
    package: catalog.Package | None, name: str, repo: str, revision: str, guess: bool
) -> tuple[Outline, hub.Repository | None]:
    """Find a model's outline: in the Hub's cache, on the Hub, or in the catalogue."""
    label = package.name if package else name
    if (here := hub_cache.installed(repo, revision)) is not None:
        return summary.of_folder(here, label), None
    try:
        repository = _look_up(label, repo, revision)
        return summary.of_repository(label, repository), repository
    except Gemma4Error as error:
        away = error.code in ("hub_unreachable", "hub_offline", "hub_refused")
        if not (guess and away and package is not None and package.architecture):
            raise
        return summary.of_architecture(package), None


def _look_up(name: str, repo: str, revision: str) -> hub.Repository:
    """Ask the Hub; an unfinished download keeps its commit, if the Hub still has that."""
    for work in installed.partials():
        state = installed.state(work)
        if state.get("name") == name and state.get("revision") == revision:
            try:
                return hub.look_up(repo, state["commit"])
            except Gemma4Error as error:
                if error.code != "revision_missing":
                    raise
    return hub.look_up(repo, revision)


def _size(
    package: catalog.Package | None, known: Outline, repository: hub.Repository | None, here: bool
) -> tuple[int, int]:
    """Bytes of a download, and of its largest file."""
    if here:
        return 0, 0
    if repository is not None:
        return repository.size, max(file.size for file in repository.files)
    size = package.bytes if package and package.bytes else 0
    size = size or sum(tensor.nbytes for tensor in known.tensors.values())
    return size, size


def _outdated(folder: Path, repository: hub.Repository | None) -> bool:
    commit = installed.state(partial(folder)).get("commit")
    return repository is not None and commit not in (None, repository.commit)


def _source(
    wanted: GetPlan, report: Callable[[Progress], None], cancelled: Callable[[], bool] | None
) -> Source:
    package = catalog.known(wanted.name)
    repo = package.repo if package and package.repo else wanted.name
    here = hub_cache.installed(repo, wanted.revision)
    if here is not None:
        return Folder(here, repo, here.name)
    assert wanted.repository is not None, "what is fetched was looked up"
    work = partial(wanted.folder)
    if wanted.outdated:
        shutil.rmtree(work)
    work.mkdir(parents=True, exist_ok=True)
    state = {"name": wanted.name, "revision": wanted.revision, "commit": wanted.repository.commit}
    disk.write(work / installed.STATE, json.dumps(state).encode())
    return Stream(wanted.repository, work / "source", report, cancelled)


def _forget_other(wanted: GetPlan, source: Source) -> None:
    """Drop what another version of the program or of the model has quantized so far.

    Files of it that are downloaded stay: they are checked by their hashes.
    """
    work = partial(wanted.folder)
    made_from = read_object(work / MADE_FROM) or {}
    recipe = asdict(RECIPES[wanted.recipe])
    if made_from and made_from != {"source": source.identity, "recipe": recipe, "by": __version__}:
        (work / MADE_FROM).unlink()
        shutil.rmtree(work / "model", ignore_errors=True)


def _as_it_is(
    wanted: GetPlan, report: Callable[[Progress], None], cancelled: Callable[[], bool] | None
) -> Path | None:
    repository = wanted.repository
    assert repository is not None, "what is fetched was looked up"
    cache = hub_cache.blob(repository.name, "").parent
    if wanted.folder == cache:
        folder = hub.download(repository, wanted.revision, report, cancelled)
    else:
        places = {wanted.folder / file.name: file for file in repository.files}
        done = hub.fetch(repository, places, report, cancelled)
        folder = wanted.folder if done else None
    if folder is not None:
        installed.register(folder)
    return folder


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
