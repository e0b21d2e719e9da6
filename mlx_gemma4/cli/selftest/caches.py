"""The check that caches hold what one prefill of the whole conversation would hold."""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from unittest import mock

from ...evaluate.models import OurModel
from .check import Outcome, judged
from .schedules import failure, world

SCHEDULES = 200
_PROCESSES = 8
_WORTH = 20  # schedules: fewer take less time than the start of a process


def schedules(_: OurModel) -> Outcome:
    """Run random schedules on the small random model; their seeds are 0 to 199."""
    count = min(_PROCESSES, os.cpu_count() or 1) if SCHEDULES >= _WORTH else 1
    shares = [range(first, SCHEDULES, count) for first in range(count)]
    if count == 1:
        wrong = failed(shares[0])
    else:  # BLAS would take all cores in each
        with (
            mock.patch.dict(os.environ, OPENBLAS_NUM_THREADS="1"),
            ProcessPoolExecutor(count, get_context("spawn")) as pool,  # MLX survives no fork
        ):
            wrong = sorted(seed for seeds in pool.map(failed, shares) for seed in seeds)
    seen = f"{SCHEDULES} random schedules, {len(wrong)} failed"
    seen += f": seeds {', '.join(map(str, wrong[:5]))}" * bool(wrong)
    return judged(not wrong, seen, failed=len(wrong))


def failed(seeds: range) -> list[int]:
    """Run the schedules of these seeds; return those that failed."""
    with world() as model:
        return [seed for seed in seeds if failure(model, seed) is not None]
