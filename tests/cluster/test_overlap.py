"""Chunks of a prompt stream: while the second computer works, the first starts the next chunk."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np

from mlx_gemma4.cluster.hosts import Hosts
from mlx_gemma4.cluster.spread import load_spread
from mlx_gemma4.generation.prefill_decode import prefill
from tests.cluster.processes import lead


def stream(folder: str) -> list[int]:
    """In a leader: how many of six chunks the worker has ended when each is behind the leader.

    The worker is frozen while the leader works.
    """
    model = load_spread(Path(folder), Hosts(("local",), patience=120), trace=True)
    (worker,) = model.crew.workers
    ended: list[object] = []
    model.crew.arrived = lambda rank, message: ended.append(message)
    inputs = model.embed(np.arange(6 * 256) % 400 + 20)
    chunks, counts = prefill(model, inputs, model.make_cache(), 256), []
    for number in range(6):
        os.kill(worker.pid, signal.SIGSTOP)
        next(chunks)
        counts.append(len(ended))
        os.kill(worker.pid, signal.SIGCONT)
        while len(ended) <= number:
            model.crew.check()
            time.sleep(0.01)
    return counts


def test_the_leader_begins_a_chunk_before_the_worker_ends_the_one_before(
    folders: dict[str, str],
) -> None:
    assert lead("tests.cluster.test_overlap", "stream", folders["wide fp32"]) == [*range(6)]
