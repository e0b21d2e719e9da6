"""Run random schedules of a conversation: the caches must hold what one prefill would.

    python -m tools.schedules [--schedules 10000] [--processes 2] [--seed 0]

Schedule n depends on its seed, seed + n, alone.
Prints each that fails, with its seed and steps; the exit status is 1 if there are any.
"""

import argparse
import sys
import time

from mlx_gemma4.cli.selftest.caches import in_processes
from mlx_gemma4.cli.selftest.schedules import failure, world


def shard(seeds: range) -> int:
    """Run the schedules of these seeds; return how many failed."""
    failed, said = 0, time.monotonic()
    with world() as model:
        for done, seed in enumerate(seeds, 1):
            found = failure(model, seed)
            if found is not None:
                failed += 1
                print(f"seed {seed}: {found[0]}\n{found[1]}", flush=True)
            if time.monotonic() - said > 60:
                said = time.monotonic()
                print(f"{done} of a process are done", file=sys.stderr)
    return failed


def main() -> None:
    """Divide the schedules among processes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--schedules", type=int, default=10_000)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0, help="of the first schedule")
    options = parser.parse_args()
    seeds = range(options.seed, options.seed + options.schedules)
    failed = sum(in_processes(shard, seeds, options.processes))
    print(f"{options.schedules} schedules from seed {options.seed}: {failed} failed")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
