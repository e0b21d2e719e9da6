"""Conversion against mlx-vlm 0.7.10: time, memory, disk, and what a killed run leaves.

    python bench/make_checkpoint.py out/12b
    python bench/convert.py out/12b [--parts time kill low-disk] [--rounds 1] [--peer-python PYTHON]
    python bench/make_checkpoint.py out/lattice --lattice --layers 6 --shards 3
    python bench/convert.py out/lattice --parts qat
    python bench/convert.py assets/tiny --parts peer-loads

Each conversion is a process of its own, and starts with an empty page cache where this program may
empty it (root on Linux). Memory is the peak resident set that the system counted. Needed on the
disk: about a third of the checkpoint for each part, and for "kill" two thirds.
"""

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import mlx.core as mx
import numpy as np
from processes import BENCH, PEER_PYTHON, Worker, need_peer

sys.path.insert(0, str(BENCH.parent))

from mlx_gemma4.checkpoint.load import sanitize
from mlx_gemma4.checkpoint.recipes import RECIPES
from mlx_gemma4.model.config import load_config

GIB = 2**30
SLOW = 250e6  # a kill comes before so many bytes a second could all have been written
REPO = "bench/checkpoint"


@dataclass(frozen=True)
class Run:
    """What a finished conversion took."""

    seconds: float
    peak: int

    def __str__(self) -> str:
        return f"{self.seconds:.1f} s, {self.peak / GIB:.2f} GiB"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--parts", nargs="+", default=["time", "kill", "low-disk"])
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--work", type=Path, help="for the output (beside the checkpoint)")
    parser.add_argument("--peer-python", type=Path, default=PEER_PYTHON)
    options = parser.parse_args()
    work = options.work or options.checkpoint.resolve().with_name("converted")
    work.mkdir(exist_ok=True)
    fresh(work / "mlx-gemma4")  # another version may have made it
    if "time" in options.parts:
        need_peer(options.peer_python)
        compare(options.checkpoint, work, options.peer_python, options.rounds)
    if "kill" in options.parts:
        kill(options.checkpoint, work, options.kills)
    if "low-disk" in options.parts:
        low_disk(options.checkpoint, work)
    if "qat" in options.parts:
        qat(options.checkpoint, work)
    if "peer-loads" in options.parts:
        need_peer(options.peer_python)
        peer_loads(options.checkpoint, work, options.peer_python)


def compare(checkpoint: Path, work: Path, peer_python: Path, rounds: int) -> None:
    """Convert to 4 bits by either program, in turns."""
    runs: dict[str, list[Run]] = {"mlx-gemma4": [], "mlx-vlm": []}
    for _ in range(rounds):
        for name, made in runs.items():
            target = fresh(work / name)
            command = ours(str(checkpoint), target)
            if name == "mlx-vlm":
                command = [str(peer_python), "-m", "mlx_vlm", "convert", "-q"]
                command += ["--hf-path", str(checkpoint), "--mlx-path", str(target)]
            made.append(run(command))
            size = sum(file.stat().st_size for file in target.glob("*.safetensors"))
            print(f"{name}: {made[-1]}, {size / 1e9:.2f} GB", flush=True)
    mine, theirs = ([r.seconds for r in made] for made in runs.values())
    ratio = statistics.median(a / b for a, b in zip(mine, theirs, strict=True))
    print(f"time, ours / peer: {ratio:.3f}")
    memory = [max(r.peak for r in made) / GIB for made in runs.values()]
    print(f"peak memory: {memory[0]:.2f} GiB, peer {memory[1]:.2f} GiB")
    shutil.rmtree(work / "mlx-vlm")


def kill(checkpoint: Path, work: Path, kills: int) -> None:
    """Kill a conversion at random moments until it is done, and compare with one that was not."""
    whole, target = work / "mlx-gemma4", fresh(work / "killed")
    if not whole.exists():
        print(f"in one piece: {run(ours(str(checkpoint), whole))}")
    took = json.loads((whole / "conversion.json").read_text())["files"]
    size = sum(file["bytes"] for file in took.values())
    clock, longest = random.Random(0), max(1.0, size / SLOW)
    started, killed = time.monotonic(), 0
    while not target.exists():
        process = subprocess.Popen(ours(str(checkpoint), target), env=environment())
        try:
            process.wait(clock.uniform(0.5, longest) if killed < kills else None)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            killed += 1
        if process.wait() not in (0, -signal.SIGKILL):
            sys.exit("The conversion failed.")
    same = digests(target) == digests(whole)
    print(
        f"killed {killed} times, done after {time.monotonic() - started:.0f} s; same bytes: {same}"
    )
    shutil.rmtree(target)


def low_disk(checkpoint: Path, work: Path) -> None:
    """Convert from a local Hub, and watch the disk."""
    from tests.hub import server

    print("The server hashes the checkpoint ...", file=sys.stderr)
    hub = server.Hub(files={REPO: {path.name: path for path in checkpoint.iterdir()}}, chunk=2**20)
    for name, path in hub.files[REPO].items():
        if server.is_large(name):
            server.oid(name, path)  # once, and before a client waits for it
        else:
            hub.files[REPO][name] = path.read_bytes()
    server.start(hub)
    target = fresh(work / "streamed")
    held, done = [0], threading.Event()

    def watch() -> None:
        while not done.wait(0.05):
            held.append(max(held[-1], used(target) + used(Path(f"{target}.partial"))))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    made = run(ours(REPO, target), HF_ENDPOINT=hub.url, HF_HUB_CACHE=str(work / "cache"))
    done.set()
    watcher.join()
    shards = sorted(path.stat().st_size for path in checkpoint.glob("*.safetensors"))
    limit = used(target) + sum(shards[-2:])
    print(f"--low-disk: {made}; at most {held[-1] / 1e9:.2f} GB on the disk")
    print(f"output and two shards: {limit / 1e9:.2f} GB; held to it: {held[-1] <= limit}")
    shutil.rmtree(target)


def qat(checkpoint: Path, work: Path) -> None:
    """Print how much recipes of 4 bits lose of weights that were trained for q4_0."""
    original = tensors(checkpoint)
    print("| recipe | RMSE, all matrices | worst matrix |\n|---|---|---|")
    for recipe in ("4bit", "4bit-small", "qat-4bit"):
        target = fresh(work / recipe)
        run([*ours(str(checkpoint), target), "--recipe", recipe])
        made, config = tensors(target), load_config(target)
        assert (settings := config.quantization) is not None
        rule = {key: settings[key] for key in ("group_size", "bits", "mode")}
        lost, total, worst = 0.0, 0.0, 0.0
        for path in (name.removesuffix(".scales") for name in made if name.endswith(".scales")):
            packed = [made[f"{path}.{kind}"] for kind in ("weight", "scales", "biases")]
            mx.eval(packed)
            own, whole = {**rule, **settings.get(path, {})}, original[f"{path}.weight"]
            wrong = size = 0.0
            for start in range(0, len(whole), 4096):
                rows = slice(start, start + 4096)
                weight, scales, biases = (part[rows] for part in packed)
                floats = scales.astype(mx.float32), biases.astype(mx.float32)
                expected = whole[rows].astype(mx.float32)
                back = mx.dequantize(weight, *floats, **own)
                wrong += mx.square(back - expected).sum().item()
                size += mx.square(expected).sum().item()
            lost, total = lost + wrong, total + size
            worst = max(worst, (wrong / size) ** 0.5)
        print(f"| {recipe} | {(lost / total) ** 0.5:.2%} | {worst:.2%} |", flush=True)
        shutil.rmtree(target)


def tensors(folder: Path) -> dict[str, mx.array]:
    """All tensors of a folder by the names of the module tree; none is read yet."""
    found: dict[str, mx.array] = {}
    for file in sorted(folder.glob("*.safetensors")):
        found |= mx.load(str(file))
    return sanitize(found)


def peer_loads(checkpoint: Path, work: Path, peer_python: Path) -> None:
    """Load what every recipe makes with mlx-vlm, and compare the logits of a text."""
    count = load_config(checkpoint).text_config.vocab_size
    ids = np.random.default_rng(0).integers(count // 2, count, 100).tolist()
    print("| recipe | largest difference of a logit | their standard deviation | same first |")
    print("|---|---|---|---|")
    for recipe in RECIPES:
        target = fresh(work / recipe)
        run([*ours(str(checkpoint), target), "--recipe", recipe])
        both = []
        for name in ("ours", "peer"):
            with Worker(name, peer_python) as worker:
                worker.ask("load", folder=str(target), dtype="float32")
                both.append(np.array(worker.ask("logits", ids=ids)["result"]))
        mine, theirs = both
        same = (mine.argmax(-1) == theirs.argmax(-1)).mean()
        print(f"| {recipe} | {np.abs(mine - theirs).max():.1e} | {mine.std():.1f} | {same:.0%} |")
        shutil.rmtree(target)


def ours(source: str, target: Path) -> list[str]:
    """Our command; a repository is converted with --low-disk."""
    command = [sys.executable, str(BENCH.parent / "convert.py"), source, "-o", str(target)]
    return command + (["--low-disk"] if source == REPO else [])


def run(command: list[str], **settings: str) -> Run:
    """Run a conversion to its end, from an empty page cache if possible."""
    os.sync()
    caches = Path("/proc/sys/vm/drop_caches")
    if os.access(caches, os.W_OK):
        caches.write_text("3")
    started = time.monotonic()
    process = subprocess.Popen(command, env=environment() | settings, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"It failed: {' '.join(command)}")
    scale = 1 if sys.platform == "darwin" else 1024
    return Run(time.monotonic() - started, usage.ru_maxrss * scale)


def environment() -> dict[str, str]:
    """The environment of both sides."""
    return {**os.environ, "PYTHONPATH": str(BENCH.parent), "MLX_DISABLE_COMPILE": "1"}


def fresh(folder: Path) -> Path:
    """Remove what a former run left."""
    for old in (folder, Path(f"{folder}.partial")):
        shutil.rmtree(old, ignore_errors=True)
    return folder


def used(folder: Path) -> int:
    """Bytes on the disk; files may come and go meanwhile."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_blocks * 512 if path.is_file() else 0
        except FileNotFoundError:
            continue
    return total


def digests(folder: Path) -> dict[str, str]:
    """The SHA-256 of every file, by its name."""
    result = {}
    for path in sorted(folder.iterdir()):
        with path.open("rb") as file:
            result[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return result


if __name__ == "__main__":
    main()
