"""Chunks of a prompt stream: while the second computer works, the first begins the next chunk."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from mlx_gemma4.cluster.hosts import Hosts
from mlx_gemma4.cluster.spread import load_spread
from mlx_gemma4.generation.prefill_decode import prefill
from tests.cluster.processes import lead


def stream(folder: str) -> dict[str, Any]:
    """In a leader: when each rank began and ended each of six chunks (seconds of one clock)."""
    hosts = Hosts(("local",), patience=120)
    model = load_spread(Path(folder), hosts, trace=True)
    theirs: list[tuple[float, float]] = []
    model.crew.arrived = lambda rank, message: theirs.append((message[2], message[3]))
    inputs = model.embed(np.arange(6 * 256) % 400 + 20)
    began = [time.time()]
    for _ in prefill(model, inputs, model.make_cache(), 256):
        began.append(time.time())
    while len(theirs) < 6:
        model.crew.check()
        time.sleep(0.01)
    return {"leader begins": began[:6], "worker": theirs}


def test_the_leader_begins_a_chunk_before_the_worker_ends_the_one_before(
    folders: dict[str, str],
) -> None:
    trace = lead("tests.cluster.test_overlap", "stream", folders["wide fp32"])
    begins, ends = trace["leader begins"], [end for _, end in trace["worker"]]
    assert len(begins) == len(ends) == 6
    assert all(begins[n + 1] < ends[n] for n in range(5))
