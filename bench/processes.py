"""Both sides as processes that take turns: start, ask, stop; and what they ran on."""

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any, Self

from mlx_gemma4.evaluate.surroundings import environment, machine

BENCH = Path(__file__).resolve().parent
PEER = "mlx-vlm==0.7.10"
PEER_PYTHON = Path(".venv-peer/bin/python")
OPENBLAS = Path("/usr/lib/x86_64-linux-gnu/openblas-pthread/libblas.so.3")


def use_openblas(threads: int) -> None:
    """Let the sides that are started from now on multiply with Debian's OpenBLAS, if it is there.

    On a Linux CPU, MLX's own wheels come with the reference BLAS, which is many times slower.
    """
    if OPENBLAS.is_file():
        os.environ["LD_PRELOAD"] = str(OPENBLAS)
        os.environ.setdefault("OPENBLAS_NUM_THREADS", str(threads))


def need_peer(python: Path) -> None:
    """Stop with the commands that make the peer's environment where it is not there."""
    if not python.is_file():
        mlx = '"mlx[cpu]==0.32.4"' if platform.system() == "Linux" else "mlx==0.32.4"
        sys.exit(
            f"mlx-vlm's environment is not there ({python}). It is made by\n"
            f"  python3 -m venv {python.parent.parent}\n"
            f"  {python.parent}/pip install {PEER} {mlx}"
        )


def options(description: str) -> argparse.ArgumentParser:
    """Make a parser with what the comparisons have in common."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--openblas", action="store_true", help="Debian's OpenBLAS on both sides")
    parser.add_argument("--peer-python", type=Path, default=PEER_PYTHON)
    parser.add_argument("--folder", type=Path, default=BENCH.parent / "out" / "bench")
    parser.add_argument("--json", type=Path, help="write every value to this file too")
    return parser


def start(chosen: argparse.Namespace) -> dict[str, object]:
    """Prepare a comparison; print and return what its figures depend on."""
    need_peer(chosen.peer_python)
    if chosen.openblas:
        use_openblas(threads=1)
    around = surroundings(chosen.peer_python)
    for key, value in around.items():
        print(f"{key}: {value}")
    return around


def progress(line: str) -> None:
    """Print a line on stderr."""
    print(line, file=sys.stderr, flush=True)


class Worker:
    """A side in a process of its own. `name` is "ours" or "peer"; `kind` is as in worker.py."""

    def __init__(self, name: str, peer_python: Path, *kind: str) -> None:
        self.name = name
        python = sys.executable if name == "ours" else str(peer_python)
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        if name == "ours":
            environment["PYTHONPATH"] = str(BENCH.parent)
        self.process = subprocess.Popen(
            [python, str(BENCH / "worker.py"), name, *kind],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def ask(self, command: str, **arguments: object) -> dict[str, Any]:
        """Run a command; its `result`, wall and CPU `seconds`, and the memory after it."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps({"command": command, "arguments": arguments}) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"The process of {self.name} ended during {command}.")
        reply: dict[str, Any] = json.loads(line)
        return reply

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def surroundings(peer_python: Path) -> dict[str, object]:
    """What the figures depend on: machine, versions, threads, settings, date."""
    result: dict[str, object] = {
        "date": datetime.datetime.now().astimezone().isoformat(timespec="minutes"),
        "machine": machine(),
        "load average": os.getloadavg()[0],
        "settings": environment(),
    }
    for name in ("ours", "peer"):
        with Worker(name, peer_python) as worker:
            result[name] = worker.ask("versions")["result"]
    return result
