"""The way of a model of the Hub to this computer.

A model that is not quantized comes a file at a time and is quantized meanwhile, so that the disk
needs room for the result and one file; a quantized one goes into the Hub's cache as it is, or into
a folder of its own. A run that was cut, whatever cut it, resumes where it was, with the commit that
it started with.
"""

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from .. import __version__
from ..checkpoint.files import weight_files
from ..checkpoint.recipes import RECIPES
from ..hub import cache as hub_cache
from ..hub import disk, hub, installed
from ..hub.progress import Progress
from ..hub.sources import Folder, Source, Stream
from ..json_reader import read_object
from .convert import MADE_FROM, convert, partial, record, refuse_old, verify
from .get_plan import GetPlan

Stage = Literal["download", "quantize", "check"]


@dataclass(frozen=True)
class GetProgress:
    """How far getting a model is; `share` of the weights is quantized, from 0 to 1."""

    stage: Stage
    download: Progress
    share: float = 0.0


def need_room(wanted: GetPlan) -> None:
    """Raise Gemma4Error where the folder is there, cannot be written, or has no room."""
    if not wanted.shared:
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

    need_room(wanted)
    if not wanted.recipe:
        return _as_it_is(wanted, downloading, cancelled)

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


def _source(
    wanted: GetPlan, report: Callable[[Progress], None], cancelled: Callable[[], bool] | None
) -> Source:
    here = hub_cache.installed(wanted.repo, wanted.revision)
    if here is not None:
        return Folder(here, wanted.repo, here.name)
    assert wanted.repository is not None, "what is fetched was looked up"
    work = _work(wanted, wanted.repository.commit)
    return Stream(wanted.repository, work / "source", report, cancelled)


def _work(wanted: GetPlan, commit: str) -> Path:
    """Make the partial folder, which remembers what it is for."""
    work = partial(wanted.folder)
    if wanted.outdated:
        shutil.rmtree(work)
    state = {key: getattr(wanted, key) for key in ("name", "revision", "recipe")}
    disk.save(work / installed.STATE, json.dumps({**state, "commit": commit}).encode())
    return work


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
    here = None if repository else hub_cache.installed(wanted.repo, wanted.revision)
    if not wanted.shared:
        folder = _into_a_folder(wanted, repository or here, report, cancelled)
    elif repository is not None:
        folder = hub.download(repository, wanted.revision, report, cancelled)
    else:
        folder = here
    if folder is not None:
        installed.register(folder)
    return folder


def _into_a_folder(
    wanted: GetPlan,
    source: hub.Repository | Path | None,
    report: Callable[[Progress], None],
    cancelled: Callable[[], bool] | None,
) -> Path | None:
    """Download a repository, or copy its folder in the Hub's cache."""
    assert source is not None, "what is not in the cache was looked up"
    commit = source.name if isinstance(source, Path) else source.commit
    work = _work(wanted, commit)
    making, hashes = work / commit, {}
    with disk.explained():
        if isinstance(source, Path):
            making.mkdir(exist_ok=True)
            for name in (*hub_cache.SETTINGS, hub_cache.INDEX, *weight_files(source)):
                if (source / name).is_file():
                    shutil.copyfile(source / name, making / name)
        else:
            places = {making / file.name: file for file in source.files}
            if not hub.fetch(source, places, report, cancelled):
                return None
            hashes = {file.name: file.oid for file in source.files if len(file.oid) == 64}
        record(making, wanted.repo, commit, {}, hashes)
        making.replace(wanted.folder)
    shutil.rmtree(work)
    return wanted.folder
