"""Run random schedules of a conversation: the caches must hold what one prefill would.

    python -m tools.schedules [--schedules 10000] [--processes 2] [--seed 0]

Schedule n depends on its seed, seed + n, alone.
Prints each that fails, with its seed and steps; the exit status is 1 if there are any.
"""

import argparse
import sys
import time
from multiprocessing import get_context

from mlx_gemma4.cli.selftest.schedules import failure, world


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
