"""`gemma4 tune`: trains an adapter on conversations with pictures and sound.

The folder that it wrote goes to stdout, everything else to stderr.
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import counted
from ..hub import catalog, disk, installed_adapters
from . import options as shared
from .options import Option, Subcommand, not_understood, out_of_range
from .streams import ProgressLine, inform, put

if TYPE_CHECKING:
    from ..footprint.estimate import Machine, Model
    from ..tune.job import TuningJob
    from ..tune.schedule import TuneSettings

AUTO = "auto"

OPTIONS = (
    Option("data", "what to learn", "DATA"),
    shared.MODEL,
    Option("-o", "the folder to write (adapter-NAME, after the data)", "FOLDER", shared.new_folder),
    Option("--rank", "rank of the adapter's matrices", "N", int, default=8),
    Option("--scale", "what the adapter's change is multiplied by", "X", float, default=2.0),
    Option(
        "--rate", "how fast it learns (by the model's width: 5e-4 for the tiny one)", "X", float
    ),
    Option("--steps", "so many steps instead of passes over the data", "N", int),
    Option("--epochs", "passes over the data (one, or what 600 conversations take)", "X", float),
    Option("--batch", "conversations a step", "N", int, default=8),
    Option("--batch-tokens", "at most so many tokens a step instead", "N", int),
    Option("--journal", "learn from the conversations that the program keeps, too"),
    Option(
        "--replay",
        "a file of old tasks to mix in, so that they are not forgotten; auto asks the model for it",
        "FILE|auto",
    ),
    Option("--replay-share", "how many of the conversations are old ones", "X", float, default=0.3),
    Option("--dora", "train the length of each row of a matrix beside its direction"),
    Option("--embedders", "train what pictures and sound pass through, too"),
    Option("--last-layers", "train so many layers at the end only", "N", int),
    Option("--longest", "the most tokens of a conversation", "N", int),
    shared.IMAGE_TOKENS,
    Option("--eval", "lines that are not learned, to measure on", "FILE"),
    Option("--seed", "with the same seed the weights are the same", "N", int, default=0),
    Option(
        "--format",
        "what reads it: own (this program, mlx-vlm, mlx-lm), or peft (transformers, this program)",
        "FORM",
        choices=("own", "peft"),
        default="own",
    ),
    Option("--install", "the name under which --adapter and MODEL:NAME find it", "NAME"),
    Option("--resume", "continue a run that was stopped"),
    Option("--dry-run", "check the data, and show what it holds; train nothing"),
    shared.FORCE,
)


def _tune(options: argparse.Namespace) -> None:
    _check_numbers(options)
    from ..footprint import device, summary
    from ..runtime.loading import load_noted
    from ..tune import state
    from ..tune.job import Lines, TuningJob, refuse_old
    from ..tune.replay import FILE as REPLAY
    from ..tune.summary import repeated, slow_blas

    folder = Path(options.o or f"adapter-{Path(options.data or 'journal').resolve().stem}")
    if options.resume:
        state.need(folder)
    elif not options.dry_run:
        refuse_old(folder, *([REPLAY] if options.replay == AUTO else []))
    if options.install:
        installed_adapters.check_name(options.install)
    name = shared.without_adapter(shared.model_of(options))
    data = [*read_lines(options.data, name), *(_conversations() if options.journal else [])]
    replay = [] if options.replay == AUTO else read_lines(options.replay, name)
    lines = Lines(data, replay, read_lines(options.eval, name))
    place, known = device.this(), summary.of(name).model  # before the weights take their part
    model, notes = load_noted(name, options.force)
    for note in (*notes, *repeated(lines.named())):
        inform(note)
    settings = _settings(options, model.config.text_config.hidden_size)
    job = TuningJob(model, str(name), lines, settings, options.image_tokens, options.longest)
    recompute, together = _checked(job, known, place, options)
    if options.dry_run:
        return
    if options.replay == AUTO:
        job.lines = replace(lines, replay=_drawn(job, folder, options))
        recompute, together = _checked(job, known, place, options)
    if not options.replay:
        inform(
            "Without --replay what the model could before is forgotten: mix in some of it "
            "(--replay FILE), or what it answers now (--replay auto)."
        )
    if warning := slow_blas():
        inform(warning)
    train(job, folder, recompute, together, options)
    put(str(installed_adapters.install(folder, options.install) if options.install else folder))


def _checked(
    job: "TuningJob", known: "Model", place: "Machine", options: argparse.Namespace
) -> tuple[bool, int]:
    """Read the lines that were not read yet; return how to train with so much memory."""
    from ..tune import memory
    from ..tune.summary import contents

    show, known_before = ProgressLine(), set(job.sets)
    job.check(lambda what, done, of: show.step(f"Checking {what.replace('_', '-')}", done, of))
    for line in contents({k: v for k, v in job.sets.items() if k not in known_before}):
        inform(line)
    own = (options.rank, options.last_layers)
    recompute, together = memory.way(known, place, job.longest, *own)
    need = memory.need(known, place, max(job.longest, together), *own, recompute)
    inform(f"A step takes up to {need.total / 1e9:.2f} GB, of {place.budget / 1e9:.2f} GB.")
    if not options.force:
        memory.check(known, place, job.longest, *own)
    return recompute, together


def _drawn(job: "TuningJob", folder: Path, options: argparse.Namespace) -> list[Any]:
    """The lines that the model wrote itself; a run that is resumed has them already."""
    from ..tune import replay
    from ..tune.sources import lines_of

    if not (options.resume and (folder / replay.FILE).is_file()):
        asked = replay.questions(job.model, job.sets["data"].lines, job.settings)
        show = ProgressLine()
        for done in replay.draw(job.model, asked, folder, options.image_tokens):
            show.step("Asking the model for replay", done, len(asked))
    return lines_of(folder / replay.FILE, "")


def _conversations() -> list[Any]:
    from ..hub import conversations
    from ..tune import journal

    lines, others = journal.lines(conversations.folder())
    if others:
        inform(f"Left out, with no finished answer to learn: {counted(others, 'conversation')}.")
    return lines


def train(
    job: "TuningJob", folder: Path, recompute: bool, together: int, options: argparse.Namespace
) -> None:
    from ..tune.plot import FILE
    from ..tune.summary import progress

    show, started, done, text = ProgressLine(), time.perf_counter(), 0, ""
    for step in job.train(folder, recompute, together, options.resume, options.format):
        done += step.conversations
        text = progress(step, done, time.perf_counter() - started)
        show.show(text)
    show.clear()
    inform(text)
    if not (folder / FILE).is_file():
        inform("For a plot of the losses: pip install 'mlx-gemma4[evaluate]'.")


def read_lines(source: str | None, model: str) -> list[Any]:
    """Read what the user named; sounds are asked about as the model is asked to transcribe."""
    if source is None:
        return []
    from ..chat.messages import INSTRUCTION
    from ..tune.sources import lines_of

    package = catalog.package_of(catalog.resolve(model))
    transcribe = (package and package.transcribe) or INSTRUCTION
    return lines_of(disk.expanded(source), transcribe)


def _settings(options: argparse.Namespace, hidden_size: int) -> "TuneSettings":
    from ..tune.schedule import TuneSettings, usual_rate

    return TuneSettings(
        rate=options.rate or usual_rate(hidden_size),
        rank=options.rank,
        scale=options.scale,
        kind="dora" if options.dora else "lora",
        embedders=options.embedders,
        last_layers=options.last_layers,
        steps=options.steps,
        epochs=options.epochs,
        batch=options.batch,
        batch_tokens=options.batch_tokens,
        replay_share=options.replay_share,
        seed=options.seed,
    )


def _check_numbers(options: argparse.Namespace) -> None:
    """Refuse numbers that no run can have, and a run without data."""
    if options.data is None and not options.journal:
        raise not_understood(
            "It names nothing to learn.", "Name a file or folder (docs/tune.md), or add --journal."
        )
    for name in ("rank", "scale", "rate", "steps", "epochs", "batch", "batch_tokens", "longest"):
        value = getattr(options, name)
        if value is not None and not 0 < value < 1e9:
            raise out_of_range(name, value, "a number above 0, and below 1e9")
    if not 0 < options.replay_share < 1:
        raise out_of_range("replay_share", options.replay_share, "more than 0 and less than 1")
    if options.steps is not None and options.epochs is not None:
        raise not_understood(
            "--steps and --epochs both set how long it trains.", "Leave one of them out."
        )


COMMAND = Subcommand(
    "tune",
    "train an adapter on your own conversations",
    "Train an adapter (LoRA) on conversations of text, pictures and sound at once. DATA is a "
    "file of JSON lines, a folder of pictures with answers.csv, or a folder of sounds with "
    "their transcripts; docs/tune.md describes them.",
    OPTIONS,
    _tune,
)
