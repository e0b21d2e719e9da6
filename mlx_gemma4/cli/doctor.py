"""What this computer has and lacks for running the model: one finding a line, with its remedy.

Every check asks for something that may be missing, so none may fail: what goes wrong in one becomes
its finding.
"""

import contextlib
import importlib
import importlib.util
import os
import platform
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .. import __version__
from ..capture import portaudio
from ..errors import Gemma4Error
from ..evaluate import surroundings
from ..footprint import device, estimate, summary
from ..hub import catalog, disk, installed
from ..model.config import load_config

Level = Literal["ok", "warning", "problem"]

ROOM = 32 * 10**9
"""Bytes of disk for a published 12B (23.9 GB) and a conversion of it to 4 bits (7.1 GB)."""

_BACKENDS = ("mlx-metal", "mlx-cuda-13", "mlx-cuda-12", "mlx-cpu")


@dataclass(frozen=True)
class Finding:
    """What one check found; `remedy` is empty where all is well."""

    level: Level
    name: str
    said: str
    remedy: str = ""


def findings() -> Iterator[Finding]:
    checks = (_python, _mlx, _wheel, _device, _memory, _wired, _microphone, _screen, _disk, _models)
    for check in checks:
        name = check.__name__.removeprefix("_")
        try:
            yield from check()
        except Gemma4Error as error:
            yield Finding("problem", name, f"{error.title}: {error.cause}", error.remedy)
        except Exception as error:
            said = f"it could not be checked ({type(error).__name__}: {error})"
            yield Finding("warning", name, said, "Report this line.")


def _python() -> Iterator[Finding]:
    said = f"mlx-gemma4 {__version__} on Python {platform.python_version()}, {platform.machine()}"
    if device.is_mac() and platform.machine() != "arm64":
        yield Finding("problem", "python", f"{said}: MLX needs arm64", "Install Python for arm64.")
        return
    yield Finding("ok", "python", said)


def _mlx() -> Iterator[Finding]:
    found = surroundings.versions(("mlx", *_BACKENDS))
    del found["python"]
    said = ", ".join(f"{name} {v}" for name, v in found.items()) or "not installed"
    if "mlx" not in found or len(set(found.values())) > 1:
        remedy = f"Install one version of all: pip install --upgrade {' '.join(found) or 'mlx'}."
        yield Finding("problem", "mlx", said, remedy)
        return
    yield Finding("ok", "mlx", said)


def _wheel() -> Iterator[Finding]:
    """A wheel for macOS 15 has no kernels for the M5's neural accelerators: they need macOS 26.

    macOS 26 calls itself 16 to programs that were built for an older one.
    """
    for name in _BACKENDS:
        if (tag := device.wheel_tag(name)) is None:
            continue
        if device.macos() >= (16,) and tag.startswith("macosx_") and tag < "macosx_26":
            yield Finding(
                "warning",
                "wheel",
                f"{name} is built for {tag}: without the kernels for an M5",
                f"pip install --upgrade pip && pip install --force-reinstall --no-cache-dir {name}",
            )
        else:
            yield Finding("ok", "wheel", f"{name} is built for {tag}")


def _device() -> Iterator[Finding]:
    here = device.this()
    if here.backend != "cpu":
        yield Finding("ok", "device", here.name)
    elif device.is_mac():
        remedy = "Use a Mac with Apple silicon, outside of a virtual machine."
        yield Finding("problem", "device", f"{here.name}: Metal is not available", remedy)
    else:
        remedy = "Use it for trying out; the 12B wants a Mac with Apple silicon."
        yield Finding("warning", "device", f"{here.name}: no GPU", remedy)


def _memory() -> Iterator[Finding]:
    here = device.this()
    yield Finding("ok", "memory", f"{here.budget / 1e9:.2f} GB for a model ({here.rule})")


def _wired() -> Iterator[Finding]:
    if not device.is_mac():
        return
    limit, memory = device.wired_limit(), device.memory_of_mac()
    if limit is None or memory is None:
        yield Finding("warning", "wired limit", "macOS does not report it", "No action is needed.")
    elif limit == 0:
        yield Finding("ok", "wired limit", "as macOS chooses (iogpu.wired_limit_mb=0)")
    elif limit > 0.9 * memory:
        said = f"{limit / 1e9:.1f} GB of {memory / 1e9:.1f} GB: the system may run out of memory"
        remedy = "sudo sysctl iogpu.wired_limit_mb=0"
        yield Finding("warning", "wired limit", said, remedy)
    else:
        yield Finding("ok", "wired limit", f"{limit / 1e9:.1f} GB of {memory / 1e9:.1f} GB")


def _microphone() -> Iterator[Finding]:
    if importlib.util.find_spec("sounddevice") is None:
        remedy = "pip install sounddevice"
        yield Finding("warning", "microphone", "sounddevice is not installed", remedy)
        return
    try:
        sounddevice = portaudio.load()
    except Gemma4Error as error:
        yield Finding("warning", "microphone", error.cause, error.remedy)
        return
    try:
        name = sounddevice.query_devices(kind="input")["name"]
    except Exception as error:  # sounddevice passes on PortAudio's errors in several types
        remedy = "Plug one in; on a Mac look at System Settings, Sound, Input."
        yield Finding("warning", "microphone", f"there is none ({error})", remedy)
        return
    yield Finding("ok", "microphone", str(name))


def _screen() -> Iterator[Finding]:
    tools = ("screencapture",) if device.is_mac() else ("grim", "gnome-screenshot")
    found = [tool for tool in tools if shutil.which(tool)]
    if not device.is_mac() and os.environ.get("DISPLAY"):
        from PIL import features

        found += ["Pillow's ImageGrab"] if features.check("xcb") else []
    if "grim" in found and shutil.which("slurp") is None:
        remedy = "To choose a part of the screen: apt install slurp."
        yield Finding("warning", "screen", "grim without slurp", remedy)
    elif found:
        yield Finding("ok", "screen", f"{found[0]} takes pictures of it")
    else:
        remedy = "Install grim and slurp (Wayland) or gnome-screenshot; pictures from files work."
        yield Finding("warning", "screen", "nothing here takes pictures of it", remedy)


def _disk() -> Iterator[Finding]:
    folder = installed.folder()
    free = disk.free(folder)
    said = f"{free / 1e9:.1f} GB free where models go ({folder})"
    if free < ROOM:
        remedy = "Make room, or choose another disk: gemma4 get --to FOLDER."
        yield Finding("warning", "disk", f"{said}; getting the 12B takes up to 31 GB", remedy)
    else:
        yield Finding("ok", "disk", said)


def _models() -> Iterator[Finding]:
    """Every model on this machine, and how much of a conversation fits with it."""
    here, own = device.this(), catalog.user_file()
    said = f"{len(catalog.packages())} packages are known"
    yield Finding("ok", "catalogue", f"{said}; your own go into {own}")
    for name, folder in _installed():
        try:
            model = summary.of_folder(folder, name).model
        except Gemma4Error as error:
            yield Finding("problem", "model", f"{name}: {error.cause}", error.remedy)
            continue
        size = f"{estimate.weights(model, here) / 1e9:.2f} GB"
        if most := estimate.largest_context(model, here):
            yield Finding("ok", "model", f"{name}: {size}, fits with up to {most:,} tokens")
        else:
            remedy = f"See what would: gemma4 fit {name}"
            yield Finding("warning", "model", f"{name}: {size}, does not fit", remedy)


def _installed() -> Iterator[tuple[str, Path]]:
    """The models that ship, and all that were brought here or are in the Hub's cache."""
    for name, package in catalog.packages().items():
        if package.kind == "model" and package.path is not None and package.path.is_dir():
            yield name, package.path
    for model in installed.present():
        with contextlib.suppress(Gemma4Error):  # the Hub's cache has others
            load_config(model.folder)
            yield model.name, model.folder
