"""`gemma4 eval QUESTION`: asks a question about models, and writes what came of it."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import Gemma4Error
from ..evaluate import NAMES
from ..hub import catalog, conversations
from . import hosting, tuned
from . import options as shared
from .options import Option, Subcommand, not_understood, out_of_range, swallowed
from .streams import ProgressLine, inform, put

if TYPE_CHECKING:
    from ..evaluate.question import Question, Subject

TUNED = "tuned"
ASKED = (*NAMES, TUNED)
RECIPES_OF = ("quant", "memory")
"""The questions that quantize models in memory."""
OPTIONS = (
    Option("question", ", ".join(ASKED), "QUESTION", choices=ASKED),
    Option(
        "--model",
        "models' folders, or names of Package.toml; without it the tiny demonstration model",
        "NAME|FOLDER",
        many=True,
    ),
    Option(
        "--against",
        "rivals on the same items: tesseract, pocketsphinx, faster-whisper, mlx-whisper, "
        "mlx-vlm:MODEL",
        "BASELINE",
        many=True,
    ),
    Option("--python", "the Python of the environment in which the rivals are", "FILE"),
    Option("--limit", "the most items of each kind", "N", int),
    Option("--sets", "sets of items; those that suit the models without it", "SET", many=True),
    Option("--folder", "your own items; docs/evaluate.md describes its layout", "FOLDER"),
    Option("--journal", "drafter: what you asked in the program, instead of a folder"),
    shared.DRAFTER,
    Option("--recipes", "quant, memory: recipes to compare", "RECIPE", many=True),
    Option(
        "--out", "a folder for results and report (out/eval/QUESTION)", "FOLDER", shared.new_folder
    ),
    shared.ADAPTER,
    Option(
        "--data",
        "tuned: files of held-out lines, of the new task and of old ones",
        "FILE",
        many=True,
    ),
    Option("--seed", "other items of the same kinds", "N", int, default=20261124),
    *hosting.OPTIONS,
    shared.FORCE,
)


def _run(options: argparse.Namespace) -> None:
    chosen = options.question or swallowed(options, lambda value: value in ASKED)
    if chosen is None:
        raise not_understood(
            "It does not name a question.", f"Name one of {', '.join(ASKED)}: gemma4 eval ocr."
        )
    if options.limit is not None and options.limit < 1:
        raise out_of_range("limit", options.limit, "1 or more")
    if chosen != TUNED and (options.adapter or options.data):
        raise not_understood(
            "--adapter and --data are for the question tuned.",
            "Name an adapter with its model: --model MODEL:ADAPTER.",
        )
    try:
        import matplotlib  # noqa: F401
        import scipy  # noqa: F401

        if chosen == TUNED:
            tuned.run(options)
            return
        from ..evaluate import named
        from ..evaluate.question import Choice
        from ..evaluate.run import RESULTS, run, write

        question = named(chosen)
    except ModuleNotFoundError as error:
        raise Gemma4Error(
            "evaluation_unavailable",
            "The questions cannot be asked",
            f"The Python package {error.name} is not installed.",
            "pip install 'mlx-gemma4[evaluate]'",
        ) from error
    if options.hosts is not None and question.name in RECIPES_OF:
        cause = (
            f"The question {question.name} quantizes a whole model in the memory of one computer."
        )
        raise not_understood(cause, "Leave --hosts out.")
    if unknown := [name for name in options.sets if name not in question.sets]:
        raise Gemma4Error(
            "set_unknown",
            f"There is no set {unknown[0]}",
            f"The question {question.name} has none of that name.",
            "Sets: " + (", ".join(question.sets) or "none") + ".",
        )
    folder = Path(options.out or Path("out", "eval", question.name))
    given = Path(options.folder) if options.folder else None
    own = conversations.folder() if options.journal else given
    subjects = _subjects(question, options)
    choice = Choice(
        options.limit,
        options.seed,
        tuple(options.sets),
        own,
        tuple(options.recipes),
        folder,
        all(getattr(subject, "is_tiny", True) for subject in subjects),  # rivals do not count
        options.drafter,
        tuple(subject.name for subject in subjects if hasattr(subject, "is_tiny")),
    )
    if options.model == [] and options.against == []:
        inform("No --model given: this asks the tiny demonstration model, not Gemma.")
    rows = run(question, subjects, choice, folder, ProgressLine().step)
    parts = question.report([row for row in rows if not row.failed])
    path = write(f"{chosen}: {NAMES[chosen]}", rows, parts, folder)
    put(path.read_text("utf-8"))
    inform(f"The report is {path}, with its plots; every result is in {folder / RESULTS}.")
    if all(row.failed for row in rows):
        raise Gemma4Error(
            "nothing_measured",
            "Nothing could be measured",
            "Every item failed." if rows else "There were no items.",
            f"See {path}.",
        )


def _subjects(question: "Question", options: argparse.Namespace) -> "list[Subject]":
    from ..evaluate.baselines.rival import Rival
    from ..evaluate.models import OurModel

    # rivals first: one that is not there is reported before anything is measured
    rivals: list[Subject] = []
    for name in options.against:
        rival = Rival(name, *([options.python] if options.python else []))
        if not question.needs <= rival.takes:
            raise Gemma4Error(
                "evaluation_unavailable",
                f"{name} cannot be asked this",
                f"The question {question.name} needs {' and '.join(sorted(question.needs))}, and "
                f"it takes {' and '.join(sorted(rival.takes))}.",
                "Ask it another question.",
            )
        rivals.append(rival)
    names = options.model or [catalog.DEMONSTRATION]
    hosts = hosting.chosen(options)
    ours = [OurModel(name, options.force, hosts=hosts) for name in dict.fromkeys(names)]
    if hosts is not None:
        show = hosting.sending()
        for model in ours:
            model.progress = show
    return [*ours, *rivals]


COMMAND = Subcommand(
    "eval",
    "ask a question about models, with figures",
    "Ask one question about models, and write figures with intervals, tables and plots. Each "
    "result is on the disk at once: a run that was killed goes on where it was. "
    + " ".join(f"{name}: {about}" for name, about in NAMES.items())
    + " tuned: what has an adapter changed, on lines of your own?",
    OPTIONS,
    _run,
)
