"""Run random schedules of a conversation: the caches must hold what one prefill would.

    python -m tools.schedules [--schedules 10000] [--processes 2] [--seed 0]

The steps are those of tests/live/test_schedule.py. Schedule n depends on its seed, seed + n, alone.
Prints each that fails, with its seed and steps; the exit status is 1 if there are any.
"""

import argparse
import random
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path

import mlx_gemma4
from mlx_gemma4.checkpoint.load import save_folder
from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.model.gemma4 import Gemma4
from mlx_gemma4.testing.doubles import tiny_model
from tests.conftest import CONTROLS
from tests.live import test_schedule as schedules
from tests.unit.small_tokenizer import small_backend

BACK_AND_FORTH = (
    "text", "hear", "hear", "idle", "mark", "mark", "rewind", "rewind", "rewind",
)  # fmt: skip
"""Steps that feed a little between marks: a third of the schedules is made of these alone."""

Step = tuple[str, int]


@contextmanager
def world() -> Iterator[Gemma4]:
    """A model with random weights, and the small buffers and clips of the tests."""
    with tempfile.TemporaryDirectory() as folder:
        save_folder(tiny_model(), folder)
        small_backend(CONTROLS).save(str(Path(folder) / "tokenizer.json"))
        model = mlx_gemma4.load(folder)
        with schedules.small_numbers(model):
            yield model


def failure(model: Gemma4, seed: int) -> tuple[list[Step], str] | None:
    """Run the schedule of a seed: its steps so far and the error, or None if all is right."""
    rng = random.Random(seed)
    schedules.use_slack(rng.choice(schedules.SLACKS))
    talk = schedules.Talk(model, rng.choice(("direct", "relay", "auto")))
    names = rng.choice((schedules.STEPS, schedules.STEPS, BACK_AND_FORTH))
    steps: list[Step] = []
    try:
        for _ in range(rng.randint(4, 18)):
            steps.append((rng.choice(names), rng.randrange(100)))
            talk.do(*steps[-1])
        talk.check()
    except (AssertionError, Gemma4Error, ValueError):
        return steps, traceback.format_exc(limit=-2)
    return None


def shard(job: tuple[int, int, int]) -> int:
    """Run every schedule from `first` on in steps of `every`; return how many failed."""
    first, end, every = job
    failed, said = 0, time.monotonic()
    with world() as model:
        for seed in range(first, end, every):
            found = failure(model, seed)
            if found is not None:
                failed += 1
                print(f"seed {seed}: {found[0]}\n{found[1]}", flush=True)
            if time.monotonic() - said > 60:
                said = time.monotonic()
                print(f"{(seed - first) // every + 1} of a process are done", file=sys.stderr)
    return failed


def main() -> None:
    """Divide the schedules among processes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--schedules", type=int, default=10_000)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0, help="of the first schedule")
    options = parser.parse_args()
    end, count = options.seed + options.schedules, options.processes
    jobs = [(options.seed + number, end, count) for number in range(count)]
    with get_context("spawn").Pool(count) as pool:  # MLX does not survive a fork
        failed = sum(pool.map(shard, jobs, chunksize=1))
    print(f"{options.schedules} schedules from seed {options.seed}: {failed} failed")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
