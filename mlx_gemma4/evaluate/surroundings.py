"""What figures depend on: the machine, the system, and the versions of what ran."""

import os
import platform
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

OURS = ("mlx-gemma4", "mlx", "numpy", "pillow", "tokenizers")


def machine() -> str:
    """Processor, cores, memory, system: one line."""
    system = f"{platform.system()} {platform.release()} {platform.machine()}"
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return f"{processor()}, {os.cpu_count()} cores, {memory:.0f} GB, {system}"


def processor() -> str:
    """The name of the processor."""
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
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
