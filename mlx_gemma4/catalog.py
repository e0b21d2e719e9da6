"""The catalogue of model packages: Package.toml as frozen dataclasses, and names to folders.

Knows nothing of MLX and never touches the network: a package of the Hub is found only where it
has been downloaded already.
"""

import difflib
import functools
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import Gemma4Error

DEMONSTRATION = "tiny"
"""The package that ships with the program."""

_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Package:
    """One model package; the fields are the keys of Package.toml, which explains them.

    Attributes:
        path: a folder, as an absolute path; None for a package of the Hub.
        repo: `owner/name` on the Hub; None for a folder.
        revision: the Hub's branch, tag or commit; None for a folder.
        audio_seconds: the longest sound, in seconds.
        audio_safe_position: in tokens; None where nothing is known.
    """

    name: str
    title: str
    license: str
    path: Path | None
    repo: str | None
    revision: str | None
    audio_seconds: int
    image_tokens: tuple[int, ...]
    audio_safe_position: int | None


# key -> (its type, is it required)
_KEYS: dict[str, tuple[type, bool]] = {
    "title": (str, True),
    "license": (str, True),
    "path": (str, False),
    "repo": (str, False),
    "revision": (str, False),
    "audio_seconds": (int, True),
    "image_tokens": (list, True),
    "audio_safe_position": (int, False),
}
_SPOKEN = {str: "a text", int: "a whole number", list: "a list"}


@functools.cache
def packages() -> dict[str, Package]:
    """Give the packages that the program knows, by name."""
    return read(shipped("Package.toml"))


def read(path: Path) -> dict[str, Package]:
    """Read a catalogue.

    Raises:
        Gemma4Error: if it is not TOML, or a package lacks a key, has one that is not known, or one
            of a wrong type.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise _wrong(path, f"It is not valid TOML: {error}.") from error
    return {name: _package(path, name, entry) for name, entry in document.items()}


def resolve(name_or_folder: str | Path) -> Path:
    """Find the folder of a model.

    Args:
        name_or_folder: a folder with a config.json, the name of a package, or `owner/name` of a
            repository on the Hub that has been downloaded to this machine.

    Raises:
        Gemma4Error: if there is no such folder or package, or it is not on this machine.
    """
    name = str(name_or_folder)
    if (folder := Path(name_or_folder).expanduser()).is_dir():
        return folder
    if package := packages().get(name):
        if package.path is None:
            return _downloaded(str(package.repo), str(package.revision))
        return package.path
    if isinstance(name_or_folder, str) and name.count("/") == 1 and name[0] not in "./~":
        return _downloaded(name, "main")
    near = difflib.get_close_matches(name, packages(), 1, 0.5)
    raise Gemma4Error(
        f"There is no model {name}",
        "It is neither a folder nor a package of the catalogue.",
        f"Did you mean {near[0]}?" if near else f"Packages: {', '.join(packages())}.",
    )


def shipped(name: str) -> Path:
    """Find a file or folder that ships with the program, in a clone or in an installed wheel."""
    # a wheel carries it inside the package; in a clone it lies beside the package
    inside = _HERE / name
    return inside if inside.exists() else _HERE.parent / name


def _downloaded(repo: str, revision: str) -> Path:
    from . import hub_cache

    folder = hub_cache.installed(repo, revision)
    if folder is None:
        raise Gemma4Error(
            f"The model {repo} is not on this machine",
            "It is neither a folder here nor complete in the Hugging Face cache.",
            f"Download it with `hf download {repo}`, or give the folder where it lies.",
        )
    return folder


def _package(path: Path, name: str, entry: Any) -> Package:
    """Check one table of the catalogue and make a package of it."""
    if not isinstance(entry, dict):
        raise _wrong(path, f"{name} is not a table.")
    for key, value in entry.items():
        if key not in _KEYS:
            raise _wrong(path, f"[{name}] has a key that is not known: {key}.")
        if type(value) is not _KEYS[key][0]:
            raise _wrong(path, f"[{name}] {key} is {value!r}, not {_SPOKEN[_KEYS[key][0]]}.")
    for key, (_, required) in _KEYS.items():
        if required and key not in entry:
            raise _wrong(path, f"[{name}] lacks {key}.")
    if ("path" in entry) == ("repo" in entry):
        raise _wrong(path, f"[{name}] needs either path or repo.")
    if ("repo" in entry) != ("revision" in entry):
        raise _wrong(path, f"[{name}] needs a revision with a repo, and only there.")
    if not all(type(tokens) is int and tokens > 0 for tokens in entry["image_tokens"]):
        raise _wrong(path, f"[{name}] image_tokens are not all whole numbers above 0.")
    return Package(
        name=name,
        title=entry["title"],
        license=entry["license"],
        path=shipped(entry["path"]) if "path" in entry else None,
        repo=entry.get("repo"),
        revision=entry.get("revision"),
        audio_seconds=entry["audio_seconds"],
        image_tokens=tuple(entry["image_tokens"]),
        audio_safe_position=entry.get("audio_safe_position"),
    )


def _wrong(path: Path, cause: str) -> Gemma4Error:
    return Gemma4Error(
        f"The catalogue {path.name} is not usable",
        cause,
        f"Mend {path}; its head explains the keys.",
    )
