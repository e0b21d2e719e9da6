"""The figures of the example in docs/tune.md: `python -m tools.tune_measure OUT [--limit N]`.

It makes the data where they are not there (tools/tune_example.py, needs espeak-ng), trains an
adapter on the tiny model and one on tiny-4bit with `gemma4 tune`, and prints the CPU seconds of
each, what is right without and with it, and the second less the first, item by item.
"""

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

import mlx_gemma4
from mlx_gemma4.checkpoint import adapted, adapters
from mlx_gemma4.cli.tuned import table
from mlx_gemma4.evaluate.statistics import paired, share
from mlx_gemma4.tune.comparison import right
from mlx_gemma4.tune.job import held_data
from mlx_gemma4.tune.sources import lines_of
from tools import openblas, tune_example

SHARE = 0.25
"""Of the conversations that are replay: with the usual 0.3 more is kept, in a fifth more time."""
MODELS = ("tiny", "tiny-4bit")
FILES = ("held", "old-total", "old-shop", "old-mixed")


def train(example: Path, model: str, folder: Path, replay: float) -> float:
    """Train as docs/tune.md does; the CPU seconds that it took."""
    shutil.rmtree(folder, ignore_errors=True)
    own = ("--replay", "auto", "--eval", str(example / "held.jsonl"), "-o", str(folder))
    own += ("--replay-share", str(replay))
    program = (sys.executable, "-m", "mlx_gemma4")
    before = os.times()
    command = (*program, "tune", str(example / "new.jsonl"), "--model", model, *own)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = os.times()
    return sum(after[2:4]) - sum(before[2:4])


def answers(example: Path, model: str, folder: Path, limit: int) -> list[tuple[list[bool], ...]]:
    """For each file, which lines are right without and with the adapter."""
    loaded, adapter, found = mlx_gemma4.load(model), adapters.read(folder), []
    for name in FILES:
        data = held_data(loaded, lines_of(example / f"{name}.jsonl", "")[:limit])
        before = right(loaded, data)
        adapted.attach(loaded, adapter)
        found.append((before, right(loaded, data)))
        adapted.detach(loaded)
    return found


def main() -> None:
    """Train, ask and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("example", type=Path)
    parser.add_argument("--limit", type=int, default=tune_example.HELD, help="lines of each file")
    parser.add_argument("--replay-share", type=float, default=SHARE, help="as of gemma4 tune")
    options = parser.parse_args()
    openblas.start_again("tools.tune_measure")
    if not (options.example / "old-mixed.jsonl").is_file():
        tune_example.main(options.example)
    afters = []
    for model in MODELS:
        folder = options.example / f"adapter-{model}"
        seconds = train(options.example, model, folder, options.replay_share)
        load = os.getloadavg()[0]
        found = answers(options.example, model, folder, options.limit)
        named = zip(FILES, found, strict=True)
        rows = [(name, share(a), share(b), paired(b, a)) for name, (a, b) in named]
        print(f"\n{model}: {seconds:.0f} s of CPU at load {load:.1f}", *table(rows), sep="\n")
        afters.append([after for _, after in found])
    print(f"\n{MODELS[1]} less {MODELS[0]}, each with its adapter, item by item:")
    for name, one, other in zip(FILES, *afters, strict=True):
        print(f"{name}: {paired(other, one).estimate:+.3f}")


if __name__ == "__main__":
    main()
