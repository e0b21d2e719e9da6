"""mlx-gemma4 against mlx-vlm 0.7.10 on the same random checkpoints, in turns, in one run.

    python bench/peer.py [--parts speed load pictures] [--openblas] [--json FILE]

Needs mlx-vlm in an environment of its own (--peer-python); `make bench` makes it. The part
`pictures` takes long and is left out unless asked for. How to read the table: bench/README.md.
"""

import argparse
import json
import os
import random
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import checkpoint
import numpy as np
import processes
from processes import Worker, progress, use_openblas

from mlx_gemma4.cli.speed_result import spread

GIB = 2**30
PICTURE = 280  # patches: the model's default budget


@dataclass
class Figure:
    """One line of the table: a value a round and a side. `wanted` is the goal for ours."""

    name: str
    unit: str
    wanted: str
    ours: list[float] = field(default_factory=list)
    peer: list[float] = field(default_factory=list)

    def ratios(self) -> list[float]:
        """Ours over the peer's, round by round."""
        return [a / b for a, b in zip(self.ours, self.peer, strict=True)]

    def row(self) -> str:
        """Medians, with the least and the most of the rounds."""
        cells = [spread(self.ours), spread(self.peer), spread(self.ratios(), ".3f")]
        return f"| {self.name}, {self.unit} | {' | '.join(cells)} | {self.wanted} |"


HEAD = "| | mlx-gemma4 | mlx-vlm | ours / peer | wanted |\n|---|---|---|---|---|"


def speed(folder: Path, weights: str, options: argparse.Namespace) -> Iterator[Figure]:
    """Prefill and decode, both models loaded, after a check that they compute the same."""
    prefill = Figure(f"prefill, {weights}", "tok/s", "ratio >= 1.0")
    decode = Figure(f"decode, {weights}", "tok/s", "ratio >= 1.0")
    cache = Figure(f"full layers' cache, {weights}", "B a token", "ratio 0.625")
    prompt = text(options.prompt, options.shape)
    with (
        Worker("ours", options.peer_python) as ours,
        Worker("peer", options.peer_python) as peer,
    ):
        for side in (ours, peer):
            side.ask("load", folder=str(folder), dtype=options.dtype)
        check(ours, peer, prompt[: min(len(prompt), 64)])
        for number in range(options.rounds + 1):
            for side, name in ((ours, "ours"), (peer, "peer")):
                done = side.ask("generate", ids=prompt, count=options.tokens)["result"]
                if number:  # the first round warms up
                    getattr(prefill, name).append(len(prompt) / done["first"])
                    getattr(decode, name).append((options.tokens - 1) / done["rest"])
                    getattr(cache, name).append(done["kv_row_bytes"])
            progress(f"speed, {weights}: round {number} of {options.rounds}")
    yield from (prefill, decode, cache)


def load(folder: Path, weights: str, options: argparse.Namespace) -> Iterator[Figure]:
    """Start, load and answer in new processes, in turns."""
    figures = {
        "import": Figure(f"import, {weights}", "s", "ratio <= 1.0"),
        "load": Figure(f"load, {weights}", "s", "ratio <= 1.0"),
        "peak": Figure(f"MLX's peak while loading, {weights}", "GiB", "ratio <= 1.0"),
        "answer": Figure(f"MLX's peak while answering, {weights}", "GiB", "ratio <= 1.0"),
        "rss": Figure(f"process's peak, {weights}", "GiB", "ratio <= 1.0"),
    }
    prompt = text(options.prompt, options.shape)
    for number in range(options.rounds):
        for name in ("ours", "peer"):
            with Worker(name, options.peer_python) as side:
                imported = side.ask("import")
                loaded = side.ask("load", folder=str(folder), dtype=options.dtype)
                answered = side.ask("generate", ids=prompt, count=2)
            values = {
                "import": imported["seconds"],
                "load": loaded["seconds"],
                "peak": loaded["peak"] / GIB,
                "answer": answered["peak"] / GIB,
                "rss": answered["rss"] / GIB,
            }
            for key, value in values.items():
                getattr(figures[key], name).append(value)
        progress(f"load, {weights}: round {number + 1} of {options.rounds}")
    yield from figures.values()


def pictures(folder: Path, options: argparse.Namespace) -> Iterator[Figure]:
    """Peak memory above the weights of long prompts full of pictures, each in a new process."""
    for length, count in ((4096, 14), (8192, 28)):
        wanted = "ours <= 0.6 GiB"
        figure = Figure(f"{length} tokens, {count} pictures: peak above the weights", "GiB", wanted)
        prompt = with_pictures(length, count, options.wide_shape)
        for name in ("ours", "peer"):
            with Worker(name, options.peer_python) as side:
                side.ask("load", folder=str(folder), dtype=options.dtype)
                weights = side.ask("weight_bytes")["result"]
                done = side.ask("generate", ids=prompt, count=2, pictures=count)
            getattr(figure, name).append((done["peak"] - weights) / GIB)
            progress(f"{length} tokens, {count} pictures, {name}: {done['seconds']:.0f} s")
        yield figure


def check(ours: Worker, peer: Worker, ids: list[int]) -> None:
    """Stop where the two do not compute the same logits: such a comparison means nothing."""
    a, b = (np.array(side.ask("logits", ids=ids)["result"]) for side in (ours, peer))
    off = np.abs(a - b).max()
    best = np.sort(b, axis=-1)
    sure = best[:, -1] - best[:, -2] > 2 * off
    if off > 2e-3 or (a.argmax(-1) != b.argmax(-1))[sure].any():
        sys.exit(f"The two do not compute the same: logits differ by up to {off:.2g}.")
    print(f"same logits on {len(ids)} tokens: largest difference {off:.1e}", file=sys.stderr)


def text(length: int, shape: str) -> list[int]:
    """Random ids that are no special tokens."""
    generator = random.Random(0)
    ordinary = checkpoint.SHAPES[shape].vocabulary - len(checkpoint.SPECIAL)
    return [generator.randrange(8, ordinary) for _ in range(length)]


def with_pictures(length: int, count: int, shape: str) -> list[int]:
    """A prompt of `length` ids with `count` pictures spread over it."""
    keys = checkpoint.config(checkpoint.SHAPES[shape])
    block = [keys["boi_token_id"], *[keys["image_token_id"]] * PICTURE, keys["eoi_token_id"]]
    words = text(length - count * len(block), shape)
    ids: list[int] = []
    for n in range(count):
        ids += words[n * len(words) // count : (n + 1) * len(words) // count] + block
    return ids


def main() -> None:
    parser = processes.options(__doc__)
    parts = ["speed", "load", "pictures"]
    parser.add_argument("--parts", nargs="+", choices=parts, default=parts[:2])
    parser.add_argument("--prompt", type=int, default=128, help="tokens to prefill")
    parser.add_argument("--tokens", type=int, default=32, help="tokens to decode")
    parser.add_argument("--shape", choices=checkpoint.SHAPES, default="middle", help="but pictures")
    parser.add_argument("--wide-shape", choices=checkpoint.SHAPES, default="wide", help="pictures")
    options = parser.parse_args()
    around = processes.start(options)
    print(f"activations: {options.dtype}; prompt {options.prompt}, then {options.tokens} tokens\n")
    print(HEAD, flush=True)
    dense, wide = options.folder / options.shape, options.folder / options.wide_shape
    quantized = dense.with_name(dense.name + "-4bit")
    checkpoint.make(dense, checkpoint.SHAPES[options.shape])
    checkpoint.make_4bit(quantized, dense)
    measure: dict[str, Callable[[], Iterator[Figure]]] = {
        "speed": lambda: (
            f for p in ((dense, "dense"), (quantized, "4-bit")) for f in speed(*p, options)
        ),
        "load": lambda: (
            f for p in ((dense, "dense"), (quantized, "4-bit")) for f in load(*p, options)
        ),
        "pictures": lambda: pictures(wide, options),
    }
    figures = []
    for part in options.parts:
        if part == "pictures":
            use_openblas(threads=os.cpu_count() or 1)  # memory does not depend on it
            checkpoint.make(wide, checkpoint.SHAPES[options.wide_shape])
        for figure in measure[part]():
            figures.append(figure)
            print(figure.row(), flush=True)
    if options.json:
        record = {"surroundings": around, "figures": [asdict(figure) for figure in figures]}
        options.json.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
