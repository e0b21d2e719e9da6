"""Adapters on this machine, and how a model is named with one: MODEL:ADAPTER. Knows no MLX.

An installed adapter is a folder in `folder()`, called by its name; any other is named by its path.
"""

import re
import shutil
from pathlib import Path
from typing import Any

from ..checkpoint.files import ADAPTER_SETTINGS
from ..errors import Gemma4Error
from ..json_reader import is_folder, read_object, there
from . import disk

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def folder() -> Path:
    return disk.own_data("adapters")


def names() -> list[str]:
    # one with a dot is not complete
    return [path.parent.name for path in sorted(folder().glob(f"[!.]*/{ADAPTER_SETTINGS}"))]


def facts_of(name: str) -> dict[str, Any]:
    """Return how an installed adapter was trained: "base", "settings", "lines"; {} if unknown."""
    facts = (read_object(folder() / name / ADAPTER_SETTINGS) or {}).get("mlx_gemma4")
    return facts if isinstance(facts, dict) else {}


def split(name: str | Path) -> tuple[str, str | None]:
    """Split MODEL:ADAPTER; a folder and a name without a colon have no adapter."""
    model, colon, adapter = str(name).rpartition(":")
    if not colon or not model or not adapter or is_folder(disk.expanded(name)):
        return str(name), None
    return model, adapter


def find(adapter: str | Path) -> Path:
    """Return the folder of an adapter by its name or path, or raise Gemma4Error."""
    for place in (folder() / str(adapter), disk.expanded(str(adapter))):
        if there(place / ADAPTER_SETTINGS):
            return place
    known = ", ".join(names())
    raise Gemma4Error(
        "adapter_unknown",
        f"There is no adapter {adapter}",
        f"It is neither a folder with {ADAPTER_SETTINGS} nor installed.",
        f"Installed: {known}." if known else "Name the folder that `gemma4 tune -o` wrote.",
    )


def check_name(name: str) -> None:
    """Raise Gemma4Error where a name is invalid or taken, or no adapter can be written."""
    if _NAME.fullmatch(name) is None:
        raise _not_installed(
            f"{name!r} cannot be the name of a folder.",
            "Use letters, digits, dots, hyphens and underscores.",
        )
    if (folder() / name).exists():
        raise _not_installed(
            f"{folder() / name} is there already.", "Choose another name, or remove it."
        )
    disk.need_writable(folder())


def install(adapter: Path, name: str) -> Path:
    """Copy an adapter to where it is found by its name; errors as in `check_name`."""
    check_name(name)
    target = folder() / name
    making = folder() / f".{name}.part"
    shutil.rmtree(making, ignore_errors=True)
    shutil.copytree(adapter, making)
    making.replace(target)
    return target


def _not_installed(cause: str, remedy: str) -> Gemma4Error:
    return Gemma4Error("adapter_not_installed", "The adapter cannot be installed", cause, remedy)
