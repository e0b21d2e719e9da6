"""What figures depend on: the machine, the system, the versions of what ran, and the weights.

Rivals import this in environments of their own: it needs nothing but Python.
"""

import hashlib
import os
import platform
import resource
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from .. import __version__

SETTINGS = ("LD_PRELOAD", "OPENBLAS_NUM_THREADS", "OPENBLAS_CORETYPE", "MLX_DISABLE_COMPILE")
"""Variables of the environment that change how fast MLX computes on a CPU."""
WEIGHTS = (".safetensors", ".npz", ".bin")
_PIECES, _PIECE = 256, 2**16
"""Pieces of each file of weights, and their bytes, that distinguish one revision from another."""
OURS = ("mlx-gemma4", "mlx", "numpy", "pillow", "tokenizers")


def machine() -> str:
    """Processor, cores, memory, system: one line."""
    system = f"{platform.system()} {platform.release()} {platform.machine()}"
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return f"{processor()}, {os.cpu_count()} cores, {memory:.0f} GB, {system}"


def processor() -> str:
    if platform.system() == "Darwin" and (sysctl := shutil.which("sysctl")):
        name = subprocess.check_output([sysctl, "-n", "machdep.cpu.brand_string"], text=True)
        return name.strip()
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def versions(packages: tuple[str, ...] = OURS) -> dict[str, str]:
    """The installed versions, with Python's; what is not installed is left out."""
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            # a clone need not be installed
            found[package] = __version__ if package == OURS[0] else version(package)
        except PackageNotFoundError:
            continue
    return found


def environment() -> dict[str, str]:
    return {name: os.environ[name] for name in SETTINGS if name in os.environ}


def peak_memory() -> int:
    """The most bytes of memory that this process has had."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # kilobytes, but bytes on a Mac
    return peak if platform.system() == "Darwin" else peak * 1024


def revision(folder: Path) -> str:
    """Identify the weights of a folder: the Hub's commit, or twelve digits of a digest of them.

    Pieces are from everywhere in a file: what was trained again may start as it did before.
    """
    if folder.parent.name == "snapshots" and folder.parents[1].name.startswith("models--"):
        return folder.name[:12]
    digest = hashlib.sha256((folder / "config.json").read_bytes())
    files = (path for path in folder.glob("[!.]*") if path.suffix in WEIGHTS)
    for path in sorted(files):
        size = path.stat().st_size
        digest.update(f"{path.name} {size}".encode())
        with path.open("rb") as file:
            for number in range(_PIECES):
                file.seek(size * number // _PIECES)
                digest.update(file.read(_PIECE))
    return digest.hexdigest()[:12]
