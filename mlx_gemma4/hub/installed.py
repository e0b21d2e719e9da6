"""Models on this machine: what `gemma4 get` and `gemma4 convert` made, and the Hub's cache.

What was made is in `folder()`, or elsewhere with a link there, so that one look finds all of it.
"""

import contextlib
import itertools
import json
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from ..checkpoint.files import is_whole
from ..checkpoint.recipes import RECIPES
from ..errors import Gemma4Error
from ..json_reader import known_object
from . import cache as hub_cache
from . import disk
from .client_settings import readable

RECORD = "conversion.json"
"""The file of a converted folder that records its source, and every file's size and hash."""
PARTIAL = ".partial"
"""The ending of a folder that is not complete yet."""
STATE = "get.json"
"""The file of such a folder that records which model is on its way."""


@dataclass(frozen=True)
class InstalledModel:
    """A whole model on this machine.

    Attributes:
        name: which loads exactly this one.
        place: in `folder()`, or its repository's folder in the Hub's cache.
        source: the repository or folder that it was made of, "with an adapter" where one was
            merged in; its own repository as it is.
        recipe: of `recipes.RECIPES`; empty for another one, or as the Hub has it.
        commit: of its repository; empty for a folder.
    """

    name: str
    place: Path
    folder: Path
    source: str
    recipe: str
    commit: str

    @property
    def nbytes(self) -> int:
        return held(self.folder)

    @property
    def is_shared(self) -> bool:
        """Whether it is in the Hub's cache, which other programs use, too."""
        return bool(hub_cache.repo_at(self.folder))


def folder() -> Path:
    """Return where models go that are made here."""
    return disk.own_data("models")


def made() -> Iterator[InstalledModel]:
    """Find the models that were made or downloaded by this program, the newest first."""
    places = [place for place in folder().glob("*") if place.suffix != PARTIAL]
    for place in sorted(places, key=lambda place: -place.lstat().st_mtime):
        where = place.resolve()
        if where.is_dir() and is_whole(where):
            yield described(place)


def downloaded() -> Iterator[InstalledModel]:
    """Find the whole models in the Hub's cache, in the order of their names."""
    for store in hub_cache.stores():
        repo = hub_cache.repo_of(store)
        if (where := hub_cache.installed(repo)) is not None:
            yield InstalledModel(repo, store, where, repo, "", where.name)


def present() -> list[InstalledModel]:
    """The models that are here: made, downloaded, and in the Hub's cache; each once."""
    found: dict[Path, InstalledModel] = {}
    for model in (*made(), *downloaded()):
        found.setdefault(model.folder.resolve(), model)
    return list(found.values())


def find(repo: str, revision: str, recipe: str | None) -> Path | None:
    """Find the folder of a repository's model: of those made of it the one with this recipe, else
    the newest; else that in the Hub's cache.
    """
    of_it = made_of(repo)
    best = [model for model in of_it if model.recipe == recipe] or of_it
    return best[0].folder if best else hub_cache.installed(repo, revision)


def made_of(repo: str) -> list[InstalledModel]:
    """The models that were made of a repository, of its usual revision first, then the newest."""
    found = [model for model in made() if model.source == repo]
    return sorted(found, key=lambda m: m.place.name != f"{repo.split('/')[1]}-{m.recipe}")


def register(made_folder: Path) -> None:
    """Link a model that is elsewhere into `folder()`, so that it is found by its name."""
    home, where = folder(), made_folder.resolve()
    if where.parent == home.resolve():
        return
    repo = hub_cache.repo_at(where)  # whose folder is named after a commit
    name = repo.split("/")[-1] or where.name
    with disk.explained():
        home.mkdir(parents=True, exist_ok=True)
        for n in itertools.count(1):
            link = home / (f"{name}-{n}" if n > 1 else name)
            other = link.resolve()
            former = other == where or (repo and hub_cache.repo_at(other) == repo)
            if link.is_symlink() and (former or not other.is_dir()):
                link.unlink()
            if not link.exists():
                link.symlink_to(where)
                return


def remove(model: InstalledModel) -> int:
    """Remove a model's files and its link, or raise Gemma4Error: they are of somebody else.

    Returns:
        Bytes that are free again: other revisions in the Hub's cache may use the same files.
    """
    where, freed = model.folder, model.nbytes
    if model.is_shared:
        freed = _remove_revision(where)
    elif model.place.is_symlink():
        if files := known_object(where / RECORD).get("files"):
            for name in (*files, RECORD):  # any other file there is not the program's
                (where / Path(name).name).unlink(missing_ok=True)
            if not any(where.iterdir()):
                where.rmdir()
        else:
            raise Gemma4Error(
                "folder_foreign",
                f"{model.name} is not removed",
                f"{where} was not made by this program.",
                "Remove it by hand.",
            )
    else:
        shutil.rmtree(where)
    if model.place.is_symlink():
        model.place.unlink()
    return freed


def _remove_revision(where: Path) -> int:
    """Remove a snapshot from the Hub's cache; others of its repository stay."""
    with readable():
        from huggingface_hub import scan_cache_dir  # which takes a moment

    store = where.parents[1]
    before = held(store / "blobs")
    scan_cache_dir(store.parent).delete_revisions(where.name).execute()
    if where.exists():  # a repository of which the client understands nothing
        shutil.rmtree(store)
    return before - held(store / "blobs")


def unfinished() -> dict[str, int]:
    """Names of the models that are not complete, with the bytes that are here."""
    found: Counter[str] = Counter()
    for work in partials():  # one a recipe and revision
        if "name" in (known := state(work)):
            found[str(known["name"])] += held(work)
    return found


def discard_unfinished(name: str) -> None:
    for work in partials():
        if state(work).get("name") == name:
            shutil.rmtree(work)


def partials() -> list[Path]:
    return sorted(folder().glob(f"*{PARTIAL}"))


def state(work: Path) -> dict[str, str]:
    """Read which model a partial folder is for, by name, revision and commit; empty if unknown."""
    return known_object(work / STATE)


def held(work: Path) -> int:
    """Bytes of all files in a folder that may not be there, or changes meanwhile."""
    size = 0
    for path in work.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            size += path.stat().st_size if path.is_file() else 0
    return size


def described(place: Path) -> InstalledModel:
    """Read what a model's folder, or the folder of a link, was made of."""
    where = place.resolve()
    record = known_object(where / RECORD)
    source, commit = (str(record.get(key) or "") for key in ("source", "commit"))
    if "adapter" in record:  # another model than the one that its source names
        source += " with an adapter"
    if not record:
        source = hub_cache.repo_at(where)
        commit = where.name if source else ""
    own = json.dumps(record.get("recipe"))
    alike = (key for key, recipe in RECIPES.items() if json.dumps(asdict(recipe)) == own)
    return InstalledModel(place.name, place, where, source, next(alike, ""), commit)
