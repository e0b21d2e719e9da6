"""Training an adapter here and with mlx-vlm's own trainer: speed, memory, answers afterwards.

    python -m tools.tune_example example                                   # needs espeak-ng
    python bench/tune_peer.py example [--openblas] [--part costs|answers] [--held 240]

Both sides get the same ids, pixels and frames, the same first adapter, the same conversations in
the same order, and Adam with the same rate; every step is done by one side and then by the other.
The picture comes before the question, after it, between words, or in a later turn, by turns.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from items import Item, write
from processes import BENCH, Worker, options, progress, start

from mlx_gemma4.chat.tokenizer import Tokenizer
from mlx_gemma4.checkpoint.load import load_folder
from mlx_gemma4.evaluate.statistics import paired, share
from mlx_gemma4.tune.data import Writer
from mlx_gemma4.tune.schedule import TuneSettings, batches, rate_at
from mlx_gemma4.tune.sources import Line, lines_of

PLACES = ("picture first", "picture last", "picture between words", "picture in a later turn")
RANK, SCALE, RATE, LIMIT = 8, 2.0, 5e-4, 24
SIDES: dict[str, dict[str, int]] = {
    "ours, one at a time": {"together": 1},
    "peer, one at a time": {"batch": 1},
    "ours, side by side": {"together": 448},  # about 4 conversations
    "peer, batches of 4": {"batch": 4},
}
TRAINED = ("ours, side by side", "peer, one at a time")
"""The sides that are trained to the end, each in its faster way."""
WAYS = (("peer, generate", "whole"), ("peer, server", "server"))


def placed(line: Line, number: int) -> dict[str, Any]:
    """A line's content with its picture in one of the places."""
    question, answer = line.content["messages"]
    picture, *asked = question["content"]
    text = {"type": "text", "text": "look at this"}
    before: list[dict[str, Any]] = []
    match number % len(PLACES):
        case 0:
            parts = [picture, *asked]
        case 1:
            parts = [*asked, picture]
        case 2:
            parts = [text, picture, *asked]
        case _:
            before = [
                {"role": "user", "content": "hello"},
                {"role": "assistant", "content": "hello, ask me about a picture or a sound."},
            ]
            parts = [picture, *asked]
    return {"messages": [*before, {"role": "user", "content": parts}, answer]}


def items(lines: list[Line], writer: Writer) -> Iterator[Item]:
    """The lines as both sides read them; `earlier` is where the answer starts."""
    for number, line in enumerate(lines):
        example = writer.examples(Line(line.place, line.folder, placed(line, number)))[-1]
        prompt, (start, _) = example.prompt, example.answers[-1]
        pictures = [(np.asarray(p) / np.float32(255), np.asarray(q)) for p, q in prompt.images]
        answer = str(line.content["messages"][1]["content"])
        yield Item(
            PLACES[number % len(PLACES)], answer, start, prompt.token_ids, pictures, prompt.audio
        )


def asked(item: Item) -> Item:
    """An item without its answer."""
    return Item(item.question, item.answer, 0, item.ids[: item.earlier], item.pictures, item.clips)


def started(
    stack: ExitStack, name: str, own: dict[str, int], chosen: argparse.Namespace, **more: Any
) -> Worker:
    """A side that has loaded the model and is ready to train it."""
    worker = stack.enter_context(Worker(name.split(",")[0], chosen.peer_python, "tuning"))
    worker.ask("load", folder=str(chosen.model.resolve()), dtype=chosen.dtype)
    worker.ask("start", rank=RANK, scale=SCALE, **own, **more)
    return worker


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("example", type=Path, help="what tools.tune_example wrote")
    parser.add_argument("--model", type=Path, default=BENCH.parent / "assets" / "tiny")
    parser.add_argument("--epochs", type=float, default=1.0)
    parser.add_argument("--held", type=int, default=240, help="lines to ask")
    parser.add_argument("--part", choices=["costs", "answers"], help="one of the two alone")
    chosen = parser.parse_args()
    around = start(chosen)
    model = load_folder(chosen.model)
    tokenizer = Tokenizer.from_folder(chosen.model)
    writer = Writer(model.config, tokenizer, 70, 4096)
    learned = list(items(lines_of(chosen.example / "new.jsonl", ""), writer))
    held = [line for line in lines_of(chosen.example / "held.jsonl", "") for _ in PLACES]
    tests = [asked(item) for item in items(held, writer)][: chosen.held]
    folder = chosen.folder.resolve() / "tune"
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / "learned.npz", learned)
    write(folder / "asked.npz", tests)
    settings = TuneSettings(rate=RATE, rank=RANK, scale=SCALE, epochs=chosen.epochs)
    plan = [[n for _, n in picks] for picks in batches(settings, [len(i.ids) for i in learned], [])]
    record: dict[str, Any] = {"surroundings": around}
    own = {"file": str(folder / "learned.npz")}
    parts = [
        (label, checkpoints, plan[: chosen.rounds], [*SIDES])
        for label, checkpoints in (
            ("layers computed again", True),
            ("no layer computed again", False),
        )
        if chosen.part != "answers"
    ]
    if chosen.part != "costs":
        parts.append(("to the end", False, plan, [*TRAINED]))
    for label, checkpoints, steps, names in parts:
        with ExitStack() as stack:
            more = {"steps": len(steps), "checkpoints": checkpoints, **own}
            sides = {name: started(stack, name, SIDES[name], chosen, **more) for name in names}
            record[label] = trained(sides, steps, settings, label)
            print_costs(label, record[label])
            if steps is plan:
                record["right"] = answers(sides, tests, folder / "asked.npz", tokenizer)
                print_answers(tests, record["right"])
    if chosen.json:
        chosen.json.write_text(json.dumps(record, indent=1) + "\n")


def trained(
    sides: dict[str, Worker], steps: list[list[int]], settings: TuneSettings, label: str
) -> dict[str, list[dict[str, Any]]]:
    """Every side's replies to every step."""
    replies: dict[str, list[dict[str, Any]]] = {name: [] for name in sides}
    for number, numbers in enumerate(steps):
        rate = rate_at(settings, number, len(steps))
        for name, worker in sides.items():
            replies[name].append(worker.ask("train", numbers=numbers, rate=rate))
        losses = ", ".join(f"{name} {of[-1]['result']:.3f}" for name, of in replies.items())
        progress(f"{label}: step {number + 1} of {len(steps)}: loss {losses}")
    return replies


def print_costs(label: str, replies: dict[str, list[dict[str, Any]]]) -> None:
    """Print what a step takes, without the first one; a ratio is ours to the row after it."""
    names = [*replies]
    print(f"\n| {label} | CPU s a step | ratio | s a step | ratio | MB more at the most | ratio |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    for name, other in zip(names[::2], names[1::2], strict=True):
        rows: list[list[str]] = [[], []]
        for key in ("cpu_seconds", "seconds", "above"):
            ours, theirs = ([_value(one, key) for one in replies[n][1:]] for n in (name, other))
            pair = (max(ours) / 1e6, max(theirs) / 1e6)
            ratio = pair[0] / pair[1]
            if key != "above":
                pair = (median(ours), median(theirs))
                ratio = median(a / b for a, b in zip(ours, theirs, strict=True))
            for row, value, shown in zip(rows, pair, (f"{ratio:.2f}", ""), strict=True):
                row += [f"{value:.3f}", shown]
        for title, row in zip((name, other), rows, strict=True):
            print(f"| {title} | {' | '.join(row)} |")


def _value(reply: dict[str, Any], key: str) -> float:
    return float(reply["peak"] - reply["active"] if key == "above" else reply[key])


def answers(
    sides: dict[str, Worker], tests: list[Item], file: Path, tokenizer: Any
) -> dict[str, list[bool]]:
    """Which items each side answers right."""
    ours, peer = TRAINED
    ways = [("ours", ours, "whole"), *((title, peer, way) for title, way in WAYS)]
    right: dict[str, list[bool]] = {title: [] for title, _, _ in ways}
    for number, item in enumerate(tests):
        for title, side, way in ways:
            own = {"file": str(file), "number": number, "way": way, "limit": LIMIT}
            ids = sides[side].ask("answer", **own)["result"]
            text = tokenizer.decode([n for n in ids if n not in tokenizer.controls.values()])
            right[title].append(text.strip() == item.answer)
        print(f"\r{number + 1} of {len(tests)} items", end="", file=sys.stderr)
    print(file=sys.stderr)
    return right


def print_answers(tests: list[Item], right: dict[str, list[bool]]) -> None:
    """Print a table of right answers by the picture's place, with ours less theirs."""
    peers = [name for name in right if name != "ours"]
    heads = [*right, *(f"ours - {name}" for name in peers)]
    print(f"\n| held-out lines | n | {' | '.join(heads)} |")
    print("|---|--:|" + "---|" * len(heads))
    for place in ("all", *PLACES):
        counted = [n for n, item in enumerate(tests) if place in ("all", item.question)]
        mine = [right["ours"][n] for n in counted]
        cells = [f"{share([hits[n] for n in counted])}" for hits in right.values()]
        gaps = [paired(mine, [right[name][n] for n in counted]).estimate for name in peers]
        cells += [f"{gap:+.3f}" for gap in gaps]
        print(f"| {place} | {len(counted)} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
