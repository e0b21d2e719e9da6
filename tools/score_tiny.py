"""Score the demonstration model on fresh held-out items: `python -m tools.score_tiny`.

Everything goes through the library's own front door, `mlx_gemma4.Session`, at temperature 0, which
resizes and cuts the pictures and the sounds. The items are those of `tools/examination`, made by
other code than the training's. Needs the `evaluate` extra, espeak-ng, flite and the fonts of
Debian's packages fonts-dejavu, -liberation2, -freefont-ttf, -hack and -noto-mono. Human speech is
that of asterisk-core-sounds-en-g722 and pocketsphinx-testdata, the product's own ways in need
PulseAudio, Xvfb, xterm and tk: rows whose packages are missing are left out. One process a core.
"""

import argparse
import json
import multiprocessing
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

from tools import openblas
from tools.examination import first_world, listening, products, reading, talking
from tools.examination.ask import Result, item, load, result
from tools.examination.item import Row
from tools.examination.table import reached, table

ROOT = Path(__file__).resolve().parent.parent
START, END = "<!-- made by tools.score_tiny -->", "<!-- end -->"
PART = 32  # items a job

Job = tuple[tuple[str, ...], Path, str, int, int, int]
_models: dict[tuple[str, Path], Any] = {}


def all_rows() -> dict[str, Row]:
    """Every row of the table by its name, in its order."""
    parts = (first_world, reading, listening, talking, products)
    found = [row for part in parts for row in part.rows()]
    return {row.name: row for row in found}


def _work(job: Job) -> tuple[str, dict[str, list[Result]]]:
    """Ask one part of a row's items at each precision."""
    from mlx_gemma4.chat.tokenizer import Tokenizer

    precisions, folder, name, first, count, seed = job
    row = all_rows()[name]
    asked = [item(row, number, seed) for number in range(first, first + count)]
    tokenizer = Tokenizer.from_folder(folder)
    found = {}
    for precision in precisions:
        if (precision, folder) not in _models:
            _models[precision, folder] = load(precision, folder)
        model = _models[precision, folder]
        found[precision] = [result(model, tokenizer, row, one) for one in asked]
    return name, found


def _jobs(options: argparse.Namespace, rows: dict[str, Row]) -> list[Job]:
    first = {row.name for row in first_world.rows()}
    jobs = []
    for name, row in rows.items():
        count = max(1, round(options.items * row.count))
        for done in range(0, count, PART):
            # the other precisions are compared with full on a part of the first world
            others = name in first and done < options.items // 2
            chosen = tuple(options.precision) if others else (options.precision[0],)
            size = min(PART, count - done)
            jobs.append((chosen, options.model, name, done, size, options.seed))
    waiting = {row.name for row in products.rows()}  # for a screen or a sound: not last, alone
    return sorted(jobs, key=lambda job: job[2] not in waiting)


def main() -> None:
    """Score every row and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=ROOT / "assets" / "tiny")
    parser.add_argument(
        "--precision", nargs="+", default=["full", "8bit", "4bit"], choices=["full", "8bit", "4bit"]
    )
    parser.add_argument("--items", type=int, default=256, help="items a row")
    parser.add_argument(
        "--rows", nargs="+", default=[], help="only rows whose names hold one of these"
    )
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--seed", type=int, default=20261128)
    parser.add_argument(
        "--readme", action="store_true", help="put the table into the model's README"
    )
    parser.add_argument(
        "--wrong", type=Path, help="write the wrong answers to this file, as JSON lines"
    )
    options = parser.parse_args()
    openblas.start_again("tools.score_tiny", MLX_DISABLE_COMPILE="1")
    started = time.monotonic()
    rows = {
        name: row
        for name, row in all_rows().items()
        if not options.rows or any(part in name for part in options.rows)
    }
    jobs = _jobs(options, rows)
    results: dict[tuple[str, str], list[Result]] = {}
    with multiprocessing.get_context("spawn").Pool(options.workers) as pool:
        for number, (name, found) in enumerate(pool.imap(_work, jobs), 1):
            for precision, part in found.items():
                results.setdefault((precision, name), []).extend(part)
            spent = time.monotonic() - started
            print(f"\r{number} of {len(jobs)} parts, {spent:.0f} s", end="", file=sys.stderr)
    print(file=sys.stderr)
    text = _text(options, rows, results, time.monotonic() - started)
    print(text)
    if options.readme:
        readme = options.model / "README.md"
        before, _, rest = readme.read_text(encoding="utf-8").partition(START)
        after = rest.partition(END)[2]
        readme.write_text(f"{before}{START}\n{text}\n{END}{after}", encoding="utf-8")
    if options.wrong:
        _write_wrong(options.wrong, results)


def _text(
    options: argparse.Namespace,
    rows: dict[str, Row],
    results: dict[tuple[str, str], list[Result]],
    seconds: float,
) -> str:
    full = options.precision[0]
    verdicts = [
        reached(row, results[full, name], results.get((full, row.beside)))
        for name, row in rows.items()
        if (full, name) in results and (not row.beside or (full, row.beside) in results)
    ]
    met, set_ = verdicts.count(True), verdicts.count(True) + verdicts.count(False)
    lines = table(list(rows.values()), results, options.precision)
    return "\n".join(lines) + (
        f"\n\n{met} of {set_} targets are reached. Greedy decoding through `Session`, seed "
        f"{options.seed}, 95 % Wilson intervals; `paired` and `less full` are differences over the "
        "same items with their bootstrapped intervals; CER and WER are edits over length.\n"
        f"Took {seconds:.0f} s in {options.workers} processes "
        f"({platform.system()} {platform.machine()})."
    )


def _write_wrong(path: Path, results: dict[tuple[str, str], list[Result]]) -> None:
    with path.open("w") as file:
        for (precision, name), found in results.items():
            for one in found:
                if not one.right:
                    record = {
                        "precision": precision,
                        "row": name,
                        "wanted": one.wanted,
                        "given": one.given,
                    }
                    print(json.dumps(record), file=file)


if __name__ == "__main__":
    main()
