"""What the computers of a cluster report, and what their links measure: for `fit` and `doctor`."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

import mlx.core as mx

from .crew import Crew, WorkerProcess
from .hosts import Facts, Hosts

BYTES = 16 << 20
"""Bytes that are sent there and back to measure a link."""
_ROUNDS = 12


@dataclass(frozen=True)
class Link:
    """A link to a computer as MLX's ring has it.

    Attributes:
        seconds: for a small tensor, there and back.
        bytes_per_second: of a large one, in one direction.
    """

    seconds: float
    bytes_per_second: float


def gather(hosts: Hosts) -> list[Facts]:
    """Ask each computer what it is; nothing is connected.

    Raises:
        Gemma4Error: one cannot be used.
    """
    found: list[Facts] = []
    workers: list[WorkerProcess] = []
    try:
        for rank, host in enumerate(hosts.names, start=1):
            workers.append(WorkerProcess(host, rank, hosts))
        for worker in workers:
            worker.greet()
            found.append(worker.facts)
    finally:
        for worker in workers:
            worker.close()
    return found


def measure(crew: Crew) -> list[Link]:
    """Measure the link to each computer of a crew.

    Raises:
        Gemma4Error: one is lost.
    """
    links = []
    for worker in crew.workers:
        small = [_bounce(crew, worker, 1024) for _ in range(_ROUNDS)]
        large = min(_bounce(crew, worker, BYTES) for _ in range(2))
        links.append(Link(statistics.median(small), 2 * BYTES / large))
    return links


def _bounce(crew: Crew, worker: WorkerProcess, size: int) -> float:
    tensor = mx.zeros(size, mx.uint8)
    mx.eval(tensor)
    started = time.perf_counter()
    crew.send(worker, "bounce", [[[size], "uint8", 0]])
    crew.ring.send(tensor, worker.rank)
    crew.ring.receive([size], mx.uint8, worker.rank)
    return time.perf_counter() - started
