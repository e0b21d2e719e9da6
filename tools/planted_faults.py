"""Plant faults into the KV cache, and count the random schedules until the tests find each.

    python -m tools.planted_faults [--schedules 400] [--seed 0]

The schedules are those of tools/schedules.py. The exit status is 1 where a fault is not
found, or where one is found that nobody planted.
"""

import argparse
import sys
from collections.abc import Callable, Sequence

import pytest

from mlx_gemma4.cli.selftest.schedules import failure, world
from mlx_gemma4.model import cache as kv
from mlx_gemma4.model.gemma4 import Gemma4
from mlx_gemma4.session import prefix_cache
from mlx_gemma4.session.rows import Row, common


def keep_a_differing_row(patch: pytest.MonkeyPatch) -> None:
    """The first row that differs from the prompt is taken for an equal one."""

    def one_more(left: Sequence[Row], right: Sequence[Row]) -> int:
        return min(common(left, right) + 1, len(left), len(right))

    patch.setattr(prefix_cache, "common", one_more)


def overwrite_a_marked_row(patch: pytest.MonkeyPatch) -> None:
    """Going back leaves the buffers writable that a mark ahead still needs."""
    patch.setattr(kv.Cache, "_go_to", lambda cache, offset: setattr(cache, "offset", offset))


def reach_back_too_far(patch: pytest.MonkeyPatch) -> None:
    """A sliding layer is asked for three rows that it no longer holds."""
    earliest = kv.Cache.earliest.fget
    assert earliest is not None
    patch.setattr(kv.Cache, "earliest", property(lambda cache: max(0, earliest(cache) - 3)))


FAULTS: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "none": lambda patch: None,
    "a differing row is kept": keep_a_differing_row,
    "a marked row is overwritten": overwrite_a_marked_row,
    "reach back 3 rows too far": reach_back_too_far,
}


def found_after(model: Gemma4, most: int, seed: int) -> int | None:
    """How many schedules it took until one failed; None where none did."""
    runs = (number for number in range(most) if failure(model, seed + number) is not None)
    return next((number + 1 for number in runs), None)


def main() -> None:
    """Run the schedules without a fault and with each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--schedules", type=int, default=400, help="the most for each fault")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    wrong = False
    with world() as model:
        for name, plant in FAULTS.items():
            with pytest.MonkeyPatch.context() as patch:
                plant(patch)
                after = found_after(model, options.schedules, options.seed)
            wrong |= (after is None) != (name == "none")
            said = "not found" if after is None else f"found by schedule {after}"
            print(f"{name:28} {said} (of at most {options.schedules})", flush=True)
    sys.exit(wrong)


if __name__ == "__main__":
    main()
