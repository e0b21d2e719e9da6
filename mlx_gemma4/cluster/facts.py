"""What a worker finds out about its own computer."""

from __future__ import annotations

import os
import platform
import time
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version

import mlx.core as mx

from ..footprint import device, held
from ..footprint.estimate import Machine
from . import links, mac
from .control import PROTOCOL
from .hosts import Facts

_ROWS, _COLUMNS = 4096, 2048  # 16 MB in bfloat16 or 32 MB in float32: more than a cache holds


def gather() -> Facts:
    leader, address = link()
    place, taken = machine()
    return Facts(
        PROTOCOL,
        installed("mlx-gemma4"),
        installed("mlx"),
        system(),
        place,
        address,
        leader,
        link_name(address),
        mac.firewall(),
        speed(),
        taken,
    )


def machine() -> tuple[Machine, str]:
    """What a model may take here beside those of other programs, and which these are."""
    place, others = device.this(), held.others()
    if place.backend == "metal":  # whose budget does not know of other programs
        left = place.budget - sum(other.bytes for other in others)
        place = replace(place, budget=max(left, 0))
    words = [f"{one.program} (process {one.pid}) holds {one.bytes / 1e9:.1f} GB" for one in others]
    return place, "; ".join(words)


def link() -> tuple[str, str]:
    """The addresses of the leader and of this computer on the link that ssh came by."""
    client, _, own, *_ = os.environ.get("SSH_CONNECTION", "127.0.0.1 0 127.0.0.1").split()
    return client, own


def link_name(address: str) -> str:
    """The network interface of an address, and what macOS calls it."""
    interface = links.interface(address)
    service = mac.network_service(interface)
    return f"{interface}, {service}" if service else interface


def installed(package: str) -> str:
    """The installed version of a package, or "unknown"."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


def system() -> str:
    """The operating system, its build and the processor."""
    if device.is_mac():
        return mac.system()
    return f"{platform.system()} {platform.release()}, {platform.machine()}"


def speed() -> float:
    """Bytes of weights that are read in a second, as one token's projections read them."""
    weight = mx.random.normal((_ROWS, _COLUMNS))
    row = mx.random.normal((1, _COLUMNS))
    mx.eval(weight, row)
    best = float("inf")
    for _ in range(3):
        started = time.perf_counter()
        mx.eval(weight @ row.T)
        best = min(best, time.perf_counter() - started)
    return weight.nbytes / best
