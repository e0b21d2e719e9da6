"""Runs checks in a process of their own, so that a crash is a row that fails.

    python -m mlx_gemma4.cli.selftest.processes MODEL FORCE NAME ...

The child writes a line of JSON when a check starts (its name) and one when it has ended. Where it
dies in between, that row has failed, and another child goes on with the next one.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from .check import Outcome

SETTINGS = {
    "MLX_ENABLE_TF32": "0",  # else float32 has 11 bits on an M5
    "METAL_DEVICE_WRAPPER_TYPE": "1",
    "METAL_DEBUG_ERROR_MODE": "0",
}


@dataclass(frozen=True)
class FinishedCheck:
    """A row of the table, as it is printed and reported."""

    name: str
    outcome: Outcome
    seconds: float


def run(
    model: str, force: bool, names: Sequence[str], on_start: Callable[[str], None]
) -> Iterator[FinishedCheck]:
    """Run checks by name, one after another; `on_start` is called with the name of each.

    The first check asks MLX for its device: where that ends the process, all other rows fail at
    once, for MLX cannot be loaded.
    """
    left = list(names)
    while left:
        started = time.monotonic()
        with subprocess.Popen(
            [sys.executable, "-P", "-m", __spec__.name, model, str(int(force)), *left],
            env={**os.environ, **SETTINGS},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        ) as child:
            assert child.stdout is not None
            for line in child.stdout:
                message = json.loads(line)
                if "started" in message:
                    on_start(left[0])
                    started = time.monotonic()
                else:
                    yield FinishedCheck(left.pop(0), Outcome(**message), time.monotonic() - started)
        if left:
            crashed = f"its process ended with status {child.returncode}"
            failed = left if left[0] == "device" else left[:1]
            for name in failed:
                yield FinishedCheck(name, Outcome("fail", crashed, code="process_ended"), 0.0)
            left = left[len(failed) :]


def _main(model: str, forced: str, *names: str) -> None:
    from ...evaluate.models import OurModel
    from .table import CHECKS

    report = os.dup(1)  # whatever else prints goes to stderr
    os.dup2(2, 1)
    subject, checks = OurModel(model, forced == "1"), {check.name: check for check in CHECKS}

    def write(line: dict[str, Any]) -> None:
        os.write(report, (json.dumps(line) + "\n").encode())

    for name in names:
        write({"started": name})
        write(asdict(checks[name].run(subject)))


if __name__ == "__main__":
    _main(*sys.argv[1:])
