"""The catalogue of model packages: Package.toml as frozen dataclasses, and names to folders.

The user's own file of the same form is read after the shipped one. Knows nothing of MLX and never
touches the network: a package of the Hub is found only where it has been downloaded already.
"""

import difflib
import functools
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import platformdirs

from ..checkpoint.architectures import ARCHITECTURES
from ..errors import Gemma4Error
from ..json_reader import is_folder, known_object, there
from . import cache as hub_cache
from . import disk, installed, installed_adapters
from .installed import RECORD as RECORD

DEMONSTRATION = "tiny"
"""The package that ships with the program."""
USUAL = "google/gemma-4-12B-it"
"""The package that the program is made for."""

_HERE = Path(__file__).parents[1]


@dataclass(frozen=True)
class Package:
    """One model package; the fields are the keys of Package.toml, which explains them.

    Attributes:
        catalogue: the file that lists it.
        path: a folder, as an absolute path; None for a package of the Hub.
        repo: `owner/name` on the Hub; None for a folder.
        revision: the Hub's branch, tag or commit; None for a folder.
        architecture: a name of `architectures.ARCHITECTURES`; None where nothing is known.
    """

    name: str
    catalogue: Path
    title: str
    license: str
    kind: str = "model"
    path: Path | None = None
    repo: str | None = None
    revision: str | None = None
    architecture: str | None = None
    recipe: str | None = None
    bytes: int | None = None
    audio_seconds: int = 0
    image_tokens: tuple[int, ...] = ()
    audio_safe_position: int | None = None
    transcribe: str | None = None
    targets: tuple[str, ...] = ()


_KEYS = frozenset(field.name for field in fields(Package)) - {"name", "catalogue"}
_NUMBERS = ("bytes", "audio_seconds", "audio_safe_position")
_LISTS = ("image_tokens", "targets")
_KINDS = ("model", "drafter")
_OF_A_MODEL = ("audio_seconds", "image_tokens")  # what a drafter has not


@functools.cache
def packages() -> dict[str, Package]:
    """Return the packages that the program knows, by name; the user's own win over the shipped."""
    own = user_file()
    return read(shipped("Package.toml")) | (read(own) if there(own) else {})


def user_file() -> Path:
    """Return where the user's own catalogue is, whether it is there or not."""
    return platformdirs.user_config_path("mlx-gemma4", appauthor=False) / "Package.toml"


def read(path: Path) -> dict[str, Package]:
    """Read a catalogue, or raise Gemma4Error, which names the package and its key."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise _wrong(path, f"It is not valid TOML in UTF-8: {error}.") from error
    except OSError as error:
        raise _wrong(path, f"It cannot be read: {error.strerror}.") from error
    return {name: _package(path, name, entry) for name, entry in document.items()}


def known(name: str) -> Package | None:
    """Find a package by its name, also without the owner, and in capitals or not."""
    if package := packages().get(name):
        return package
    wanted = name.lower()
    alike = (p for p in packages().values() if f"/{p.name}".lower().endswith(f"/{wanted}"))
    return next(alike, None)


def is_demonstration(name: str) -> bool:
    """Whether a model is one of those that come with the program, or an adapter of one."""
    package = known(name.partition(":")[0])
    if package is None or package.path is None:
        return False
    return package.catalogue == shipped("Package.toml")


def default() -> str:
    """Return the model to use where none is named: the first of the catalogue that `gemma4 get`
    brought here, else the demonstration.
    """
    sources = {model.source for model in installed.made()}
    models = (p for p in packages().values() if p.kind == "model" and p.repo in sources)
    return next((package.name for package in models), DEMONSTRATION)


def resolve(name_or_folder: str | Path, kind: str = "model") -> Path:
    """Find the folder of a model.

    Args:
        name_or_folder: a folder with a config.json, the name of a package, `owner/name` of a
            repository on the Hub, or the name of a folder that `gemma4 get` or `gemma4 convert`
            made. Of several made of one repository it is that with the package's own recipe, else
            the newest, else what the Hub's cache has. MODEL:ADAPTER is the folder of MODEL.
        kind: what it must be, "model" or "drafter".

    Raises:
        Gemma4Error: if there is no such folder or package, or it is not on this machine.
    """
    name, adapter = installed_adapters.split(name_or_folder)
    if adapter is not None:
        return resolve(name)
    folder = disk.expanded(name)
    if name.strip() and is_folder(folder):
        return folder
    own = next((model for model in installed.made() if model.name == name), None)
    package = packages().get(name) or (None if own else known(name))
    if package is not None:
        need(package, kind)
        if package.path is None:
            return _on_this_machine(str(package.repo), str(package.revision), package)
        return package.path
    if own is not None:
        return own.folder
    if is_repository(name_or_folder):
        return _on_this_machine(name, "main", None)
    near = difflib.get_close_matches(name, packages(), 1, 0.5)
    raise Gemma4Error(
        "model_unknown",
        f"There is no model {name}",
        "It is neither a folder nor a package of the catalogue.",
        f"Did you mean {near[0]}?" if near else f"Packages: {', '.join(packages())}.",
    )


def drafter_of(package: Package | None) -> Path | None:
    """Find the folder of the drafter of a model, where there is one and it is on this machine."""
    if package is None:
        return None
    for other in packages().values():
        if package.name in other.targets:
            try:
                return resolve(other.name, "drafter")
            except Gemma4Error:
                continue
    return None


def drafter_to_get(name: str) -> Package | None:
    """The drafter of a package that the Hub has and this machine has not."""
    package = known(name)
    if package is None or drafter_of(package) is not None:
        return None
    return next((p for p in packages().values() if package.name in p.targets and p.repo), None)


def repository_of(name: str) -> tuple[str, str]:
    """The repository and revision of a package of the Hub; else the name as it is, and main."""
    package = known(name)
    return (package.repo, str(package.revision)) if package and package.repo else (name, "main")


def is_repository(name: str | Path) -> bool:
    """Whether it is written as `owner/name`."""
    return isinstance(name, str) and name.count("/") == 1 and name[0] not in "./~"


def package_of(folder: Path) -> Package | None:
    """Find the package that a model's folder is, was downloaded as or was converted from.

    Where that is not known, it is the first package of the same architecture; its limits hold too.
    """
    folder = folder.resolve()
    repo = hub_cache.repo_at(folder)
    architecture = _architecture(known_object(folder / "config.json"))
    source = str(known_object(folder / RECORD).get("source"))
    known = packages().values()
    here = [p for p in known if p.path and p.path.resolve() == folder]
    named = [p for p in known if {repo, source} & {p.name, p.repo} or p in here]
    alike = [p for p in known if architecture and p.architecture == architecture]
    return next(iter(named + alike), None)


def need(package: Package, kind: str = "model") -> None:
    """Raise Gemma4Error if a package is of another kind."""
    if package.kind == kind:
        return
    if kind == "model":
        raise Gemma4Error(
            "not_a_model",
            f"{package.name} is not a model",
            f"It is a {package.kind}: it only proposes the next tokens of a model.",
            "Choose a model of the catalogue, like google/gemma-4-12B-it.",
        )
    known = [other.name for other in packages().values() if other.kind == kind]
    raise Gemma4Error(
        "not_a_drafter",
        f"{package.name} is not a drafter",
        "It is a model of its own.",
        f"Choose a drafter of the catalogue: {', '.join(known)}.",
    )


def shipped(name: str) -> Path:
    """Find a file or folder that ships with the program, in a clone or in an installed wheel."""
    # a wheel carries it inside the package; in a clone it is beside the package
    inside = _HERE / name
    return inside if inside.exists() else _HERE.parent / name


def _architecture(config: dict[str, Any]) -> str | None:
    """Find the published architecture that has a config's layers."""

    def size(config: Mapping[str, Any]) -> list[Any]:
        text = config.get("text_config")
        names = ("hidden_size", "num_hidden_layers", "intermediate_size")
        return [text.get(name) for name in names] if isinstance(text, dict) else []

    return next((name for name, one in ARCHITECTURES.items() if size(one) == size(config)), None)


def _on_this_machine(repo: str, revision: str, package: Package | None) -> Path:
    folder = installed.find(repo, revision, package.recipe if package else None)
    if folder is None:
        size = package and package.bytes
        weight = f" It is {size / 1e9:.2f} GB." if size else ""
        command = f"gemma4 get {package.name if package else repo}"
        raise Gemma4Error(
            "model_missing",
            f"The model {repo} is not on this machine",
            f"It is neither a folder here nor complete in the Hugging Face cache.{weight}",
            f"Run `{command}`, which makes it fit this computer, or name the folder that holds it.",
            {"command": command, "repo": repo} | ({"bytes": size} if size else {}),
        )
    return folder


def _package(path: Path, name: str, entry: Any) -> Package:
    """Check one table of the catalogue and make a package of it."""
    if not isinstance(entry, dict):
        raise _wrong(path, f"{name} is not a table.")
    for key, value in entry.items():
        if key not in _KEYS:
            raise _wrong(path, f"[{name}] has a key that is not known: {key}.")
        wanted, what = _type_of(key)
        if type(value) is not wanted:
            raise _wrong(path, f"[{name}] {key} is {value!r}, not {what}.")
    if (kind := entry.get("kind", "model")) not in _KINDS:
        raise _wrong(path, f"[{name}] kind is {kind!r}, neither {_KINDS[0]!r} nor {_KINDS[1]!r}.")
    for key in ("title", "license", *(_OF_A_MODEL if kind == "model" else ())):
        if key not in entry:
            raise _wrong(path, f"[{name}] lacks {key}.")
    if ("path" in entry) == ("repo" in entry):
        raise _wrong(path, f"[{name}] needs either path or repo.")
    if ("repo" in entry) != ("revision" in entry):
        raise _wrong(path, f"[{name}] needs a revision with a repo, and only there.")
    if not is_repository(repo := entry.get("repo", "owner/name")):
        raise _wrong(path, f"[{name}] repo is {repo!r}, not owner/name.")
    architecture = entry.get("architecture")
    if architecture is not None and architecture not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise _wrong(path, f"[{name}] architecture is {architecture!r}, and {known} is known.")
    image_tokens = tuple(entry.get("image_tokens", ()))
    if not all(type(tokens) is int and tokens > 0 for tokens in image_tokens):
        raise _wrong(path, f"[{name}] image_tokens are not all whole numbers above 0.")
    targets = tuple(entry.get("targets", ()))
    if not all(isinstance(target, str) for target in targets) or (targets and kind == "model"):
        raise _wrong(path, f"[{name}] targets are not the names of a drafter's models.")
    own = {**entry, "image_tokens": image_tokens, "targets": targets}
    if "path" in entry:  # relative to the catalogue
        own["path"] = path.parent / disk.expanded(entry["path"])
    return Package(name, path, **own)


def _type_of(key: str) -> tuple[type, str]:
    """The type of a key's value, and its words for an error."""
    if key in _NUMBERS:
        return int, "a whole number"
    return (list, "a list") if key in _LISTS else (str, "a text")


def _wrong(path: Path, cause: str) -> Gemma4Error:
    return Gemma4Error(
        "catalog_unusable",
        f"The catalogue {path.name} is not usable",
        cause,
        f"Correct {path}; its head explains the keys.",
    )
