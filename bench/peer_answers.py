"""What a wrong attention mask costs in answers: the tiny model in mlx-gemma4 and in mlx-vlm.

    python bench/peer_answers.py [--model FOLDER] [--items N] [--peer-python PYTHON]

Questions from the held-out part of the tiny model's world (`mlx_gemma4/evaluate/tiny`): a picture
with a spoken question in one turn, and a picture that comes in the second turn. They are made once
by our own input code, and both sides are fed the same ids, pixels and frames, the right answers in
the earlier turns. Replies are the likeliest tokens; one counts if it is the wanted text, exactly.
Needs espeak-ng and matplotlib's fonts for the items; bench/README.md explains the columns.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from items import Item, read, write
from processes import BENCH, PEER_PYTHON, Worker, need_peer, surroundings, use_openblas

from mlx_gemma4.evaluate.statistics import share
from mlx_gemma4.evaluate.tiny.tasks import EXAMINATION
from tools.tiny.conversation import Writer
from tools.tiny.first_world import FirstWorld

ROOT = BENCH.parent
LIMIT = 48  # tokens in a reply; the longest wanted one is shorter
COLUMNS = (
    ("mlx-gemma4", "ours", "cached"),
    ("mlx-vlm generate", "peer", "whole"),
    ("mlx-vlm server", "peer", "server"),
    ("mlx-vlm, cached prefix", "peer", "cached"),
)
ONE_TURN, LATER = "picture + spoken question", "picture in the second turn"


def make_items(tokenizer: Path, count: int, seed: int) -> Iterator[Item]:
    """Fresh questions, `count` of each kind."""
    tasks, writer = FirstWorld(seed, EXAMINATION), Writer(tokenizer)
    for name, make, turns in ((ONE_TURN, tasks.mixed, 1), (LATER, tasks.later, 2)):
        for _ in range(count):
            exchanges = make()[:turns]
            written = writer.write(exchanges, open_reply=True)
            earlier = len(writer.write(exchanges[:-1]).ids) if turns > 1 else 0
            pictures = list(zip(written.patches, written.positions, strict=True))
            answer = exchanges[-1].answer
            yield Item(name, answer, earlier, written.ids, pictures, written.frames)


def rows(items: list[Item]) -> dict[str, list[int]]:
    """The table's rows: which items each counts."""
    later = [n for n, item in enumerate(items) if item.question == LATER]
    return {
        ONE_TURN: [n for n, item in enumerate(items) if item.question == ONE_TURN],
        LATER: later,
        "- with sound in the conversation": [n for n in later if items[n].clips],
        "- without sound": [n for n in later if not items[n].clips],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=ROOT / "assets" / "tiny")
    parser.add_argument("--items", type=int, default=512, help="items of each kind")
    parser.add_argument("--seed", type=int, default=20261125)
    parser.add_argument("--peer-python", type=Path, default=PEER_PYTHON)
    parser.add_argument(
        "--folder", type=Path, default=Path("out/bench"), help="for the items' file"
    )
    parser.add_argument("--json", type=Path, help="write every reply and the table to this file")
    options = parser.parse_args()
    need_peer(options.peer_python)
    use_openblas(threads=1)
    from tokenizers import Tokenizer

    tokenizer_file = options.model / "tokenizer.json"
    options.folder.mkdir(parents=True, exist_ok=True)
    file = (options.folder / f"items-{options.seed}-{options.items}.npz").resolve()
    if not file.is_file():
        write(file, list(make_items(tokenizer_file, options.items, options.seed)))
    items, tokenizer = read(file), Tokenizer.from_file(str(tokenizer_file))
    replies: dict[str, list[str]] = {title: [] for title, _, _ in COLUMNS}
    with Worker("ours", options.peer_python) as ours, Worker("peer", options.peer_python) as peer:
        sides = {"ours": ours, "peer": peer}
        for side in sides.values():
            side.ask("load", folder=str(options.model.resolve()), dtype="float32")
        for number in range(len(items)):
            for title, side, way in COLUMNS:
                asked = {"file": str(file), "number": number, "way": way, "limit": LIMIT}
                ids = sides[side].ask("answer", **asked)["result"]
                replies[title].append(tokenizer.decode(ids))
            print(f"\r{number + 1} of {len(items)} items", end="", file=sys.stderr)
    print(file=sys.stderr)
    right = {
        title: [given == item.answer for given, item in zip(replies[title], items, strict=True)]
        for title in replies
    }
    table = ["| items | n | " + " | ".join(right) + " |", "|---|---|" + "---|" * len(right)]
    for name, counted in rows(items).items():
        cells = []
        for hits in right.values():
            cells.append(f"{share([hits[n] for n in counted])}" if counted else "")
        table.append(f"| {name} | {len(counted)} | " + " | ".join(cells) + " |")
    print("\n".join(table))
    around = surroundings(options.peer_python)
    print(f"\nGreedy, float32, 95 % Wilson intervals; seed {options.seed}.")
    for key, value in around.items():
        print(f"{key}: {value}")
    if options.json:
        wanted = [item.answer for item in items]
        record = {"surroundings": around, "table": table, "wanted": wanted, "given": replies}
        options.json.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
