"""How long the command line takes to start: the help, and the tiny model's first token.

Each round runs both as fresh processes, one after the other. The time of the first token is from
the start of the process to the first byte on stdout, loading the model and the picture included.

    python bench/startup.py [--rounds 9] [--model FOLDER]
"""

import argparse
import platform
import statistics
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parents[1]
GEMMA4 = [sys.executable, "-c", "import sys; from mlx_gemma4.cli import main; sys.exit(main())"]


def seconds_to_first_byte(*arguments: str) -> float:
    """Run `gemma4 ARGUMENTS`; return the seconds until its first byte on stdout."""
    started = time.perf_counter()
    process = subprocess.Popen(
        [*GEMMA4, *arguments], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=ROOT
    )
    assert process.stdout is not None
    first = process.stdout.read(1)
    elapsed = time.perf_counter() - started
    process.stdout.read()
    if process.wait() != 0 or not first:
        raise SystemExit(f"gemma4 {' '.join(arguments)} failed with status {process.returncode}")
    return elapsed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--model", default="tiny")
    options = parser.parse_args()
    question = ["ask", "what is the total?", "--model", options.model, "--temperature", "0"]
    runs = {
        "gemma4 --help": ["--help"],
        "first token, text": question,
        "first token, picture": [*question, "--image", "assets/demo/receipt.png"],
    }
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(options.rounds):
        for name, arguments in runs.items():
            times[name].append(seconds_to_first_byte(*arguments))
    python = f"Python {platform.python_version()}"
    print(f"{platform.platform()}, {python}, mlx {version('mlx')}, {options.rounds} rounds")
    for name, measured in times.items():
        median, least, most = statistics.median(measured), min(measured), max(measured)
        print(f"{name:21}  {median:.3f} s  ({least:.3f} to {most:.3f})")


if __name__ == "__main__":
    main()
