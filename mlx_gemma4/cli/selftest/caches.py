"""The check that caches hold what one prefill of the whole conversation would hold."""

import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TypeVar
from unittest import mock

from ...evaluate.models import OurModel
from .check import Outcome, judged
from .schedules import failure, world

SCHEDULES = 200
_PROCESSES = 8
Result = TypeVar("Result")
_WORTH = 20  # schedules: fewer take less time than the start of a process


def schedules(_: OurModel) -> Outcome:
    """Run random schedules on the small random model; their seeds are 0 to 199."""
    count = min(_PROCESSES, os.cpu_count() or 1) if SCHEDULES >= _WORTH else 1
    seeds = range(SCHEDULES)
    found = [failed(seeds)] if count == 1 else in_processes(failed, seeds, count)
    wrong = sorted(seed for some in found for seed in some)
    seen = f"{SCHEDULES} random schedules, {len(wrong)} failed"
    if wrong:
        seen += f": seeds {', '.join(map(str, wrong[:5]))}"
    return judged(not wrong, seen, failed=len(wrong))


def in_processes(work: Callable[[range], Result], seeds: range, count: int) -> list[Result]:
    """Do work on a share of the seeds in each of so many processes."""
    with (
        mock.patch.dict(os.environ, OPENBLAS_NUM_THREADS="1"),  # else each would take all cores
        ProcessPoolExecutor(count, get_context("spawn")) as pool,  # MLX survives no fork
    ):
        return list(pool.map(work, [seeds[first::count] for first in range(count)]))


def failed(seeds: range) -> list[int]:
    """Run the schedules of these seeds; return the seeds that failed."""
    with world() as model:
        return [seed for seed in seeds if failure(model, seed) is not None]
