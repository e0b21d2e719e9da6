"""The files of weights in a model folder: those that its index lists, or else all."""

from pathlib import Path

from ..errors import Gemma4Error
from ..json_reader import read_object, short
from ..model.drafter_config import is_drafter

ADAPTER_SETTINGS = "adapter_config.json"
INDEX = "model.safetensors.index.json"


def weight_map(folder: Path) -> dict[str, str]:
    """Read which file holds which tensor; empty where the folder has no index.

    Raises Gemma4Error where it cannot be read, or names a file outside the folder itself.
    """
    place = folder / INDEX
    if (written := read_object(place)) is None:
        return {}
    places = written.get("weight_map")
    if not isinstance(places, dict) or not places:
        raise weights_unusable(f"{place} is not an index of shards (it has no weight_map).")
    for name in places.values():
        # a name in an index must not lead out of the folder
        if not isinstance(name, str) or not _is_plain(name):
            raise weights_unusable(
                f"{place} lists {short(name)}, which is no name of a .safetensors file."
            )
    return places


def weight_files(folder: Path) -> dict[str, Path]:
    """Find a folder's files of weights by name, in the order of their names.

    Raises Gemma4Error where there are none, or one that the index lists is missing.
    """
    listed = sorted(set(weight_map(folder).values()))
    try:
        names = listed or sorted(
            path.name for path in folder.glob("*.safetensors") if _is_plain(path.name)
        )
        lost = [name for name in names if not (folder / name).is_file()]
    except OSError as error:
        raise weights_unusable(f"{folder} cannot be read ({error}).") from error
    if not names:
        raise weights_unusable(f"{folder} holds no .safetensors file.")
    if lost:
        raise weights_unusable(
            f"{folder / INDEX} lists {len(names)} shards, and {lost[0]} is not there."
            if listed
            else f"{folder / lost[0]} is not a file."
        )
    return {name: folder / name for name in names}


def is_whole(folder: Path) -> bool:
    """Whether a folder has a config, all listed weights and, if it is no drafter's, a tokenizer."""
    try:
        needed = {"config.json", *(weight_map(folder).values() or ("model.safetensors",))}
        needed |= set() if is_drafter(folder) else {"tokenizer.json"}
        return all((folder / name).is_file() for name in needed)
    except (Gemma4Error, OSError):
        return False


def weights_unusable(
    cause: str, remedy: str = "Download or convert the model again."
) -> Gemma4Error:
    return Gemma4Error("weights_unusable", "The model's weights cannot be loaded", cause, remedy)


def _is_plain(name: str) -> bool:
    """Whether it names a file of weights in the folder itself; macOS keeps notes in `._NAME`."""
    return (
        name.endswith(".safetensors")
        and not name.startswith(".")
        and not any(mark in name for mark in "/\\\0")
    )
