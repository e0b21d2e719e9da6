"""Score the demonstration model on fresh held-out items: `python -m tools.score_tiny`.

Everything goes through the library's own front door, `mlx_gemma4.Session`, at temperature 0, which
resizes and cuts the pictures and the sounds. Names, numbers, sentences and offsets are drawn from
the part of the small world that training never saw (`mlx_gemma4/evaluate/tiny/words.py`).
Needs the `score` extra and espeak-ng; one process a core.
"""

import argparse
import json
import multiprocessing
import os
import platform
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mlx_gemma4.evaluate.statistics import share
from mlx_gemma4.evaluate.tiny.speech import OTHER_VOICES
from mlx_gemma4.evaluate.tiny.tasks import EXAMINATION, Exchange, Tasks, World
from tools.tiny.conversation import Writer

ROOT = Path(__file__).resolve().parent.parent
START, END = "<!-- made by tools.score_tiny -->", "<!-- end -->"
OPENBLAS = Path("/usr/lib/x86_64-linux-gnu/openblas-pthread/libblas.so.3")


@dataclass(frozen=True)
class Question:
    """One row of the table: how its items are made, and in which world."""

    name: str
    task: str
    kind: str = ""
    world: World = EXAMINATION
    errors: str = ""  # also count "characters" or "words"
    turn: int = 0  # which exchange is scored; those before it are answered by the model too


WIDE = replace(EXAMINATION, colour=1.0, anywhere=1.0, sizes=((288, 480), (336, 480), (288, 384)))
REQUIRED = (
    *(
        Question(f"receipt: {kind}", "asked", kind)
        for kind in ("total", "tax", "date", "shop", "count")
    ),
    Question("receipt: all lines", "asked", "lines", errors="characters"),
    Question("1 to 6 spoken digits", "digits", errors="words"),
    Question("spoken command", "commands", errors="words"),
    Question("picture + spoken question", "mixed"),
    Question("second question, later turn", "mixed", turn=1),
)
WIDENED = (
    Question("receipt: price of an item, or that it is not there", "asked", "price"),
    Question("picture in the second turn", "later", turn=1),
    Question("total, any place, colour, dark, other sizes", "asked", "total", WIDE),
    Question(
        "spoken command, three voices never heard",
        "commands",
        world=replace(EXAMINATION, voices=OTHER_VOICES),
        errors="words",
    ),
)


@dataclass(frozen=True)
class Result:
    """What was wanted, what came, and edits over length of what was wanted."""

    wanted: str
    given: str
    edits: int = 0
    length: int = 0


def items(question: Question, count: int, seed: int) -> Iterator[list[Exchange]]:
    """Fresh conversations for one question, each up to the exchange that is scored."""
    tasks = Tasks(seed, question.world)
    while count:
        if question.task == "asked":
            conversation = tasks.asked(question.kind)
        else:
            conversation = getattr(tasks, question.task)()
        if len(conversation) > question.turn:
            count -= 1
            yield conversation[: question.turn + 1]


def answer(model: object, conversation: list[Exchange]) -> str:
    """The model's last reply in a conversation."""
    import mlx_gemma4 as g4

    reply = ""
    session = g4.Session(model, image_tokens=_budget(conversation))  # type: ignore[arg-type]
    for exchange in conversation:
        if exchange.drawing is not None:
            session.add_image(exchange.drawing.image)
        if exchange.question:
            session.add_text(exchange.question)
        if exchange.sound is not None:
            session.add_audio(exchange.sound, 16000)
        reply = "".join(
            e.text for e in session.reply(160, temperature=0.0) if isinstance(e, g4.Token)
        )
    return reply


def greedy_gives(model: Any, writer: Writer, conversation: list[Exchange]) -> bool:
    """Whether greedy decoding would give the last answer, from one forward over all of it.

    It would when every id of the answer is the likeliest after those before it. Long answers are
    checked so first: most are right, and one forward is several times cheaper than decoding them.
    """
    example = writer.write(conversation)
    images = list(zip(example.patches, example.positions, strict=True))
    likeliest = np.array(model.forward(example.ids, images=images)[0].argmax(-1))
    learned = [row for row, learn in enumerate(example.learn) if learn]
    return all(likeliest[row - 1] == example.ids[row] for row in learned)


def score(model: Any, question: Question, count: int, seed: int) -> list[Result]:
    """Ask `count` items of one question."""
    import jiwer

    results = []
    writer = Writer(model.folder / "tokenizer.json")
    for conversation in items(question, count, seed):
        wanted = conversation[-1].answer
        right = question.kind == "lines" and greedy_gives(model, writer, conversation)
        given = wanted if right else answer(model, conversation)
        edits = length = 0
        if question.errors == "characters":
            counted = jiwer.process_characters(wanted, given)
        elif question.errors == "words":
            # Digits are words: `4071` is four of them.
            counted = jiwer.process_words(_words(wanted), _words(given))
        if question.errors:
            edits = counted.substitutions + counted.deletions + counted.insertions
            length = counted.hits + counted.substitutions + counted.deletions
        results.append(Result(wanted, given, edits, length))
    return results


def load(precision: str, folder: Path) -> object:
    """Load the model at a precision.

    Quantized weights are multiplied as the dense numbers they stand for.
    """
    import mlx_gemma4 as g4
    from mlx_gemma4.checkpoint.quantize import RECIPES, quantize
    from mlx_gemma4.evaluate.dense import spread

    if precision == "full":
        return g4.load(folder)
    if precision == "4bit":
        model = g4.load(folder.with_name(folder.name + "-4bit"))
    else:
        model = g4.load(folder)
        quantize(model, RECIPES[precision])
    spread(model)
    return model


def _budget(conversation: list[Exchange]) -> int:
    return next((e.budget for e in conversation if e.drawing is not None), 70)


def _words(text: str) -> str:
    return " ".join(text) if text.isdigit() else text


def _work(job: tuple[str, Path, Question, int, int]) -> tuple[str, Question, list[Result]]:
    precision, folder, question, count, seed = job
    key = (precision, folder)
    if key not in _models:
        _models.clear()
        _models[key] = load(precision, folder)
    return precision, question, score(_models[key], question, count, seed)


_models: dict[tuple[str, Path], object] = {}


def _table(results: dict[tuple[str, Question], list[Result]], precisions: list[str]) -> list[str]:
    lines = [
        "| held-out items | n | " + " | ".join(precisions) + " |",
        "|---|---|" + "---|" * len(precisions),
    ]
    for question in (*REQUIRED, *WIDENED):
        cells = []
        for precision in precisions:
            rows = results.get((precision, question), [])
            if not rows:
                cells.append("")
                continue
            cell = f"{share([r.wanted == r.given for r in rows])}"
            if question.errors:
                name = {"characters": "CER", "words": "WER"}[question.errors]
                cell += f", {name} {sum(r.edits for r in rows) / sum(r.length for r in rows):.1%}"
            cells.append(cell)
        count = len(results[precisions[0], question])
        lines.append(f"| {question.name} | {count} | " + " | ".join(cells) + " |")
    return lines


def main() -> None:
    """Score every question (what goes beyond the promise: full precision only); print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=ROOT / "assets" / "tiny")
    parser.add_argument(
        "--precision", nargs="+", default=["full", "4bit"], choices=["full", "8bit", "4bit"]
    )
    parser.add_argument(
        "--items",
        type=int,
        default=512,
        help="items a question; a quarter of it for those beyond the promise",
    )
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--seed", type=int, default=20261124)
    parser.add_argument(
        "--readme", action="store_true", help="put the table into the model's README"
    )
    parser.add_argument(
        "--wrong", type=Path, help="write the wrong answers to this file, as JSON lines"
    )
    options = parser.parse_args()
    _use_openblas()
    began = time.monotonic()
    part = 64
    jobs = [
        (precision, options.model, question, min(part, options.items - done), options.seed + done)
        for precision in options.precision
        for question in (*REQUIRED, *(WIDENED if precision == options.precision[0] else ()))
        for done in range(0, options.items if question in REQUIRED else options.items // 4, part)
    ]
    results: dict[tuple[str, Question], list[Result]] = {}
    with multiprocessing.get_context("spawn").Pool(options.workers) as pool:
        for number, (precision, question, rows) in enumerate(pool.imap(_work, jobs), 1):
            results.setdefault((precision, question), []).extend(rows)
            print(
                f"\r{number} of {len(jobs)} parts, {time.monotonic() - began:.0f} s",
                end="",
                file=sys.stderr,
            )
    print(file=sys.stderr)
    took = f"Took {time.monotonic() - began:.0f} s in {options.workers} processes"
    table = "\n".join(_table(results, options.precision)) + (
        f"\n\nGreedy decoding through `Session`, seed {options.seed}, 95 % Wilson intervals; "
        f"CER and WER are edits over length.\n{took} ({platform.system()} {platform.machine()})."
    )
    print(table)
    if options.readme:
        readme = options.model / "README.md"
        before, _, rest = readme.read_text(encoding="utf-8").partition(START)
        after = rest.partition(END)[2]
        readme.write_text(f"{before}{START}\n{table}\n{END}{after}", encoding="utf-8")
    if options.wrong:
        with options.wrong.open("w") as file:
            for (precision, question), rows in results.items():
                for row in rows:
                    if row.wanted != row.given:
                        record = {
                            "precision": precision,
                            "question": question.name,
                            "wanted": row.wanted,
                            "given": row.given,
                        }
                        print(json.dumps(record), file=file)


def _use_openblas() -> None:
    """Start again with Debian's OpenBLAS if it is there: forty times the reference BLAS's speed."""
    if OPENBLAS.exists() and str(OPENBLAS) not in os.environ.get("LD_PRELOAD", ""):
        fast = {
            "LD_PRELOAD": str(OPENBLAS),
            "OPENBLAS_NUM_THREADS": "1",
            "MLX_DISABLE_COMPILE": "1",
        }
        command = [sys.executable, "-m", "tools.score_tiny", *sys.argv[1:]]
        os.execve(sys.executable, command, {**os.environ, **fast})


if __name__ == "__main__":
    main()
