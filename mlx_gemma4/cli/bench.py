"""`gemma4 bench`: how fast this machine is with a model, and which of two results is faster."""

import argparse
import datetime
import re
from pathlib import Path
from typing import TYPE_CHECKING

from ..hub import disk
from . import hosting
from . import options as shared
from .options import Option, Subcommand, not_understood, out_of_range
from .streams import ProgressLine, inform, put

if TYPE_CHECKING:
    from ..evaluate.question import Table

OPTIONS = (
    shared.MODEL,
    Option("--contexts", "tokens before a question (512, 2048, 8192)", "N", int, many=True),
    Option("--rounds", "how often; with --draft, prompts of each kind (3)", "N", int, default=3),
    Option("--kv-bits", "rows of the full layers in 8 or 4 bits", "N", int, (8, 4)),
    Option("--json", "the file of the result (one in out/bench)", "FILE", shared.new_file),
    Option("--compare", "measure nothing; set two results beside each other", "FILE", many=True),
    Option(
        "--draft",
        "measure instead whether proposing tokens pays, by kind of work; what is found is kept, "
        "and decides where nobody chooses",
    ),
    shared.DRAFTER,
    *hosting.OPTIONS,
    shared.FORCE,
)


def _run(options: argparse.Namespace) -> None:
    if options.compare:
        _compare([Path(name) for name in options.compare])
        return
    from ..evaluate.models import OurModel
    from .speed import bench
    from .speed_result import about, save, table

    hosts = hosting.chosen(options)
    if options.rounds < 1:
        raise out_of_range("rounds", options.rounds, "1 or more")
    if options.draft:
        if hosts is not None:
            raise not_understood(
                "--draft measures what pays on one computer.", "Leave --hosts out."
            )
        if options.contexts or options.kv_bits or options.json:
            cause = "--draft takes no --contexts, --kv-bits or --json."
            raise not_understood(cause, "Leave them out.")
        measure_drafts(shared.model_of(options), options.drafter, options.rounds, options.force)
        return
    model = OurModel(shared.model_of(options), options.force, hosts=hosts)
    if hosts is not None:
        model.progress = hosting.sending()
    name = re.sub(r"[^\w.-]+", "-", model.name).strip("-.")
    now = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    file = Path(options.json or shared.new_file(f"out/bench/{name}-{now}.json"))
    result = bench(model, options.contexts, options.rounds, options.kv_bits, ProgressLine().step)
    for line in about(result):
        put(line)
    put("\nMedian of the rounds (least to most).\n")
    _print(table(result))
    save(result, file)
    inform(f"The result is {file}: gemma4 bench --compare {file} OTHER.json")


def measure_drafts(
    name: str, drafter: str | None = None, rounds: int = 3, force: bool = False
) -> None:
    """Measure whether proposing tokens pays with a model, print it, and keep it."""
    from ..evaluate.models import OurModel
    from ..hub import speculation
    from .draft_speed import measure_gain, verdict

    model = OurModel(name, force)
    disk.need_writable(speculation.file().parent)
    gain, lines = measure_gain(model, drafter, rounds, ProgressLine().step)
    put("Times as fast as without proposals, and in brackets tokens a forward of the model.\n")
    _print(lines)
    put(f"\n{verdict(gain)}")
    speculation.keep(model.folder, gain)
    inform(f"Kept in {speculation.file()}.")


def _compare(files: list[Path]) -> None:
    from .speed_result import compared, differing, load

    if len(files) != 2:
        cause = f"Two results are compared, and --compare has {len(files)}."
        raise not_understood(cause, "Name two files.")
    one, other = map(load, files)
    lines = compared(one, other)
    put(f"A: {files[0]}\nB: {files[1]}\n\nWhat differs besides the figures\n")
    _print(differing(one, other))
    put("\nMedians (least to most of the rounds); better only where all rounds agree.\n")
    _print(lines)


def _print(table: "Table") -> None:
    from ..evaluate.run import table as lines

    for line in lines(table):
        put(line)


COMMAND = Subcommand(
    "bench",
    "measure how fast this machine is",
    "Measure on this machine: reading and answering (tokens a second), and the time to an "
    "answer's first token after text, a picture at each budget, sound, and sound that was "
    "heard while it was spoken, each after contexts of several lengths. A table on stdout, and "
    "a JSON result that can be compared with somebody else's.",
    OPTIONS,
    _run,
)
