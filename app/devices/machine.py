"""What this computer can take, asked of other processes: MLX must not be in the interface's."""

import json
import subprocess
import sys
from dataclasses import dataclass
from typing import Literal

from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.footprint.estimate import Machine

PATIENCE = 60.0
"""Seconds that an answer may take; starting MLX on a cold disk takes several."""

GEMMA4 = (sys.executable, "-P", "-m", "mlx_gemma4")
"""The command line, in this Python; its arguments follow."""

_MACHINE = (
    "import dataclasses, json; from mlx_gemma4.footprint import device; "
    "print(json.dumps(dataclasses.asdict(device.this())))"
)


@dataclass(frozen=True)
class DoctorFinding:
    """What `gemma4 doctor --json` prints of one thing: `name`, and what was `said` of it.

    `remedy` is empty where nothing is to be done.
    """

    level: Literal["ok", "warning", "problem"]
    name: str
    said: str
    remedy: str = ""


def machine() -> Machine | None:
    """Find out what a model may take here; None where MLX does not report it.

    Waits: call it in a thread.
    """
    try:
        return Machine(**json.loads(_run([sys.executable, "-P", "-c", _MACHINE])))
    except (Gemma4Error, ValueError, TypeError):
        return None


def findings() -> list[DoctorFinding]:
    """Ask the doctor. Waits: call it in a thread. Raises Gemma4Error where it does not answer."""
    return [DoctorFinding(**one) for one in json.loads(_run([*GEMMA4, "doctor", "--json"]))]


def _run(command: list[str]) -> str:
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE
        )
        if not done.stdout:  # where it found a problem, its exit status is 1
            done.check_returncode()
    except (OSError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", "") or str(error)
        raise Gemma4Error(
            "computer_unreadable",
            "This computer cannot be examined",
            f"{said.strip().splitlines()[-1] if said.strip() else type(error).__name__}.",
            "Run `gemma4 doctor --debug` in a terminal to see why.",
        ) from error
    return done.stdout
