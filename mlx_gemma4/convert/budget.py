"""A recipe for a number of bytes: bits go where they save most.

The loss of each matrix at each number of bits is estimated (`sensitivity.py`). Every matrix starts
with the fewest; then, again and again, the one whose next step saves most per byte takes it. As
each step saves less per byte than the one before, no other choice of the same size loses less, up
to the size of one step.
"""

import heapq
import json
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ..checkpoint.recipes import Recipe, Storage, uniform
from ..errors import Gemma4Error
from ..hub import disk
from ..hub.progress import Progress, Speed
from ..hub.sources import Source
from ..json_reader import read_object
from ..model.config import load_config
from .plan import make_plan
from .sensitivity import losses

BITS = (3, 4, 5, 6, 8)
"""Bits that a matrix may get, in MLX's affine mode."""

_GROUP_SIZE = 64


def within(
    source: Source, size: int, keep: Path, report: Callable[[Progress], None] | None = None
) -> Recipe | None:
    """Make a recipe whose weights take at most `size` bytes and lose as little as that allows.

    Args:
        keep: a file for what was measured; it is not measured again for the same source.
        report: called with the bytes of the source that were examined.

    Returns:
        The recipe, the same for the same source and size; None if opening a file was cancelled.

    Raises:
        Gemma4Error: see `make_plan`; or fewer than 3 bits would be needed.
    """
    plans = [make_plan(source, uniform(bits, _GROUP_SIZE)) for bits in BITS]
    storages: dict[str, list[Storage]] = {}
    sizes: dict[str, list[int]] = {}
    for part in (part for plan in plans for file in plan.files for part in file.parts):
        if part.storage is not None:
            path = part.name.removesuffix(".weight")
            storages.setdefault(path, []).append(part.storage)
            sizes.setdefault(path, []).append(part.nbytes)
    if plans[0].nbytes > size:
        raise Gemma4Error(
            "budget_too_small",
            "The budget is too small",
            f"With {BITS[0]} bits for every matrix the weights take {plans[0].nbytes / 1e6:.2f} MB,"
            f" and {size / 1e6:.2f} MB are allowed.",
            f"Allow at least {math.ceil(plans[0].nbytes / 1e6)}MB.",
        )
    lost = _kept(source, keep)
    if lost is None:
        total = sum(part.source.nbytes for file in plans[0].files for part in file.parts)
        speed = Speed(total, 0)

        def on_progress(count: int) -> None:
            speed.add(count)
            if report is not None:
                report(speed.progress())

        config = load_config(source.settings).text_config
        lost = losses(source, config, plans[0].files, storages, on_progress)
        if lost is None:
            return None
        disk.save(keep, json.dumps({"source": source.identity, "losses": lost}).encode())
    taken = spend(sizes, lost, size - plans[0].nbytes)
    rule = Counter(BITS[step] for step in taken.values()).most_common(1)[0][0]
    own = {path: Storage(_GROUP_SIZE, BITS[step]) for path, step in taken.items()}
    return Recipe(
        Storage(_GROUP_SIZE, rule), own={path: s for path, s in own.items() if s.bits != rule}
    )


def spend(
    sizes: Mapping[str, Sequence[int]], losses: Mapping[str, Sequence[float]], room: int
) -> dict[str, int]:
    """Choose one of several sizes for each of several things, so that little is lost.

    Args:
        sizes: of each thing, rising.
        losses: with each of these sizes, falling.
        room: how much all may take beyond their smallest sizes.

    Returns:
        Which of its sizes each gets.
    """
    taken = dict.fromkeys(sizes, 0)

    def next_step(name: str) -> tuple[float, str]:
        step = taken[name]
        saved = losses[name][step] - losses[name][step + 1]
        return -saved / (sizes[name][step + 1] - sizes[name][step]), name

    steps = [next_step(name) for name, choices in sizes.items() if len(choices) > 1]
    heapq.heapify(steps)
    while steps:
        _, name = heapq.heappop(steps)
        cost = sizes[name][taken[name] + 1] - sizes[name][taken[name]]
        if cost <= room:
            room -= cost
            taken[name] += 1
            if taken[name] + 1 < len(sizes[name]):
                heapq.heappush(steps, next_step(name))
    return taken


def _kept(source: Source, path: Path) -> dict[str, list[float]] | None:
    written = read_object(path) or {}
    return written.get("losses") if written.get("source") == source.identity else None
