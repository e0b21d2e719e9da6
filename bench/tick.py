"""How late a 60 Hz tick of the interface comes while the engine's process reads and answers.

    python bench/tick.py [--seconds 30] [--json FILE]

The program runs in a pseudo-terminal of 120x40 over a worker with a small random model,
which answers far faster than a 12B does: hundreds of tokens a second are to be drawn. A tick is a
task that sleeps for 1/60 s; how much longer that took is how long the interface was busy with
something else. Wanted: a 95th percentile under 30 ms.
"""

import argparse
import asyncio
import json
import os
import pty
import select
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

MAKE = """
import sys
from pathlib import Path
from mlx_gemma4.checkpoint.load import save_folder
from mlx_gemma4.testing.doubles import tiny_model
from tests.conftest import CONTROLS
from tests.unit.small_tokenizer import small_backend
folder = Path(sys.argv[1])
save_folder(tiny_model(), folder)
small_backend(CONTROLS).save(str(folder / "tokenizer.json"))
"""
PERIOD = 1 / 60
QUESTION = "the quick brown fox jumps over the lazy dog " * 60


def run(folder: Path, seconds: float) -> None:
    """Run the program, in a process of its own, and write what was measured."""
    from app.app import TerminalApp
    from app.conversation.store import ConversationStore
    from app.devices.system import Devices
    from mlx_gemma4.runtime.subprocess_worker import SubprocessWorker

    late: dict[str, list[float]] = {}
    counts = {"answers": 0, "tokens": 0.0}

    class Ticking(TerminalApp):
        def on_ready(self) -> None:
            self.run_worker(self.tick())
            self.run_worker(self.drive())

        async def tick(self) -> None:
            while True:
                started = time.perf_counter()
                await asyncio.sleep(PERIOD)
                state = self.workspace.conversation.state
                late.setdefault(state, []).append(time.perf_counter() - started - PERIOD)

        async def drive(self) -> None:
            conversation = self.workspace.conversation
            while conversation.state == "loading":
                await asyncio.sleep(0.05)
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                self.chat.send(QUESTION)
                await asyncio.sleep(0.05)
                while conversation.state in ("thinking", "answering"):
                    await asyncio.sleep(0.02)
                counts["answers"] += 1
                last = conversation.history.last("model")
                counts["tokens"] += last.stats.get("reply_tokens", 0) if last else 0
            self.exit()

    config = folder / "config"
    config.mkdir()
    settings = f'model = "{folder / "model"}"\nmax_tokens = 400\ntemperature = 1.0\n'
    (config / "settings.toml").write_text(settings)
    worker = SubprocessWorker(config / "gemma4.log")
    Ticking(worker, ConversationStore(folder / "c"), config, Devices(machine=lambda: None)).run()
    (folder / "late.json").write_text(json.dumps({"late": late, **counts}))


def measure(seconds: float) -> dict[str, object]:
    """Start the program in a pseudo-terminal and read what it draws."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "model").mkdir()
        subprocess.run(
            [sys.executable, "-c", MAKE, str(folder / "model")],
            check=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        child, terminal = pty.fork()
        if child == 0:
            os.environ |= {"COLUMNS": "120", "LINES": "40", "TERM": "xterm-256color"}
            os.environ["PYTHONPATH"] = str(ROOT)
            run(folder, seconds)
            os._exit(0)
        drawn = 0
        while True:
            if not select.select([terminal], [], [], 60)[0]:
                raise SystemExit("Nothing was drawn for a minute.")
            try:
                drawn += len(os.read(terminal, 65536))
            except OSError:
                break
        os.waitpid(child, 0)
        result: dict[str, object] = json.loads((folder / "late.json").read_text())
        return {**result, "bytes": drawn}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found = measure(options.seconds)
    late = found["late"]
    assert isinstance(late, dict)
    busy = [tick for state in ("thinking", "answering") for tick in late.get(state, [])]
    print(
        f"{found['answers']} answers, {found['tokens']:.0f} tokens, {found['bytes']} bytes drawn\n"
    )
    print("| while | ticks | median ms | 95 % ms | 99 % ms | most ms |\n|---|---|---|---|---|---|")
    for name, ticks in (*late.items(), ("**both**", busy)):
        if ticks:
            print(f"| {name} | {len(ticks)} | {' | '.join(figures(ticks))} |")
    if options.json:
        options.json.write_text(json.dumps(found))


def figures(ticks: list[float]) -> list[str]:
    """Median, percentiles and maximum in ms."""
    ordered = sorted(ticks)
    places = [0.5, 0.95, 0.99, 1.0]
    return [f"{1000 * ordered[min(len(ordered) - 1, int(p * len(ordered)))]:.1f}" for p in places]


if __name__ == "__main__":
    main()
