"""This computer: what a model may take of its memory, and what only a Mac can be asked.

MLX is imported only where the device is asked, and every other program is asked through `_ask`, so
that a computer without either still gets an answer.
"""

import platform
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ..checkpoint.safetensors import Tensor
from ..errors import Gemma4Error
from ..model.config import Config
from . import held
from .estimate import Machine
from .summary import Outline, of_drafter

_MEMINFO = Path("/proc/meminfo")


def this() -> Machine:
    """Find out what a model may take here.

    On a Mac that is what Metal recommends, less what this process has taken; on CUDA what is free
    on the device; on a CPU what Linux calls available.

    Raises:
        Gemma4Error: MLX cannot be loaded, or the free memory is not known.
    """
    try:
        import mlx.core as mx

        from ..model import metal
    except ImportError as error:
        raise Gemma4Error(
            "mlx_unavailable",
            "MLX cannot be loaded",
            f"{error}.",
            "Run `gemma4 doctor`, and install mlx again.",
        ) from error
    device = mx.default_device()
    facts = mx.device_info(device)
    name = str(facts.get("device_name", device))
    if metal.in_use():
        budget = metal.working_set() - mx.get_active_memory()
        return Machine(f"this Mac ({name})", budget, "what Metal recommends", "metal")
    if device == mx.gpu:
        return Machine(name, int(facts["free_memory"]), "free on the device", "cuda")
    return Machine(f"this CPU ({name})", _available(), "free on this computer", "cpu", 4)


def check_fits(
    name: str,
    config: Config,
    tensors: dict[str, Tensor],
    force: bool = False,
    drafter: Path | None = None,
) -> None:
    """Refuse a model that does not fit into the memory of this computer (`Outline.check`).

    Otherwise note that this process holds it (`held.py`). A program that holds a model takes its
    memory, whether or not it has read the model yet.

    Args:
        force: refuse nothing.
        drafter: the folder of its drafter.

    Raises:
        Gemma4Error: it does not fit; the remedy names a recipe that does. Code "model_held": it
            would, if another program did not hold one.
    """
    proposes = None if drafter is None else of_drafter(drafter)
    outline = Outline(name, config, tensors, "its files", proposes)
    try:
        place = this()
    except Gemma4Error:
        if force:
            return
        raise
    with held.alone():
        if not force:
            _check_beside(outline, place, held.others())
        held.hold(Path(name).name, outline.needs(place))


def _check_beside(outline: Outline, place: Machine, others: Sequence[held.Holder]) -> None:
    taken = sum(other.bytes for other in others)
    # Metal's budget does not know of other programs; what Linux calls available does
    both, alone = (place.budget - taken, place.budget) if place.backend == "metal" else (
        place.budget, place.budget + taken
    )  # fmt: skip
    try:
        outline.check(replace(place, budget=both))
    except Gemma4Error as error:
        needs = outline.needs(place)
        if error.code != "memory_too_small" or not taken or needs > alone:
            raise
        largest = max(others, key=lambda other: other.bytes)
        raise Gemma4Error(
            "model_held",
            "Another program holds a model",
            f"{largest.program} (process {largest.pid}) holds {largest.model} with "
            f"{largest.bytes / 1e9:.1f} GB; {outline.name} needs {needs / 1e9:.1f} GB beside it, "
            f"and {place.name} has {max(both, 0) / 1e9:.1f} GB left.",
            "Close that program, or use its model: /serve in the terminal program lets others in. "
            "To load it all the same: force=True, or --force.",
            {"pid": largest.pid, "model": largest.model, "bytes": largest.bytes},
        ) from error


def _available() -> int:
    """Bytes that programs may still take: MemAvailable of proc_meminfo(5); on a Mac, half."""
    if _MEMINFO.is_file():
        for line in _MEMINFO.read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    if (memory := memory_of_mac()) is not None:
        return memory // 2
    raise Gemma4Error(
        "memory_unknown",
        "The free memory is not known",
        f"There is no MemAvailable in {_MEMINFO}.",
        "Set the memory with --memory.",
    )


def is_mac() -> bool:
    return platform.system() == "Darwin"


def macos() -> tuple[int, ...]:
    """The version of macOS, as (26, 1); empty elsewhere.

    Python's own answer differs where Python was built for an older macOS.
    """
    version = _ask("sw_vers", "-productVersion") if is_mac() else None
    return tuple(int(part) for part in (version or "").split(".") if part.isdigit())


def memory_of_mac() -> int | None:
    """Bytes of memory that are built in (sysctl hw.memsize); None where it is unknown."""
    return _number(_ask("sysctl", "-n", "hw.memsize"))


def wired_limit() -> int | None:
    """Bytes that the GPU may keep from being swapped (sysctl iogpu.wired_limit_mb).

    0 where macOS chooses, None where it is unknown.
    """
    megabytes = _number(_ask("sysctl", "-n", "iogpu.wired_limit_mb"))
    return None if megabytes is None else megabytes * 2**20


def wheel_tag(package: str) -> str | None:
    """The platform of an installed wheel, as "macosx_26_0_arm64"; None where it is not known."""
    from importlib.metadata import PackageNotFoundError, distribution  # loading a model needs none

    try:
        wheel = distribution(package).read_text("WHEEL") or ""
    except PackageNotFoundError:
        return None
    tags = [line.split("-")[-1] for line in wheel.splitlines() if line.startswith("Tag:")]
    return tags[0] if tags else None


def _ask(*command: str) -> str | None:
    """What a program prints; None if it is not there, fails, or takes longer than 5 seconds."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdigit() else None
