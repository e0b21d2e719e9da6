"""`gemma4 selftest`: the table, the report, and `--record`."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import Gemma4Error
from ...hub import catalog, disk
from .. import options as shared
from ..options import Option, Subcommand, not_understood
from ..streams import ProgressLine, inform, put

if TYPE_CHECKING:
    from ...evaluate.models import OurModel

FILE = "gemma4-selftest.json"
OPTIONS = (
    shared.MODEL,
    Option("--devices", "try the microphone and the screen, too; the system may ask you"),
    Option("--only", "run these rows alone, by their names in the table", "ROW", many=True),
    Option("--json", f"the file of the report ({FILE})", "FILE", shared.new_file, default=FILE),
    Option(
        "--record",
        "compute no table, but a model's reference numbers with transformers, and keep them here",
    ),
    shared.FORCE,
)


def _run(options: argparse.Namespace) -> None:
    from ...evaluate.models import OurModel

    subject = OurModel(shared.model_of(options), options.force)
    if options.record:
        _record(subject)
        return
    from .check import Outcome
    from .processes import FinishedCheck, run
    from .report import report, write
    from .table import CHECKS, NAMES

    unknown = [name for name in options.only if name not in NAMES]
    if unknown:
        raise not_understood(f"There is no row {unknown[0]}.", f"Rows: {'; '.join(NAMES)}.")
    chosen = [check for check in CHECKS if not options.only or check.name in options.only]
    wanted = [c.name for c in chosen if options.devices or options.only or not c.asked]
    put(f"mlx-gemma4 selftest, {subject.name} ({subject.recipe})\n")
    rows: list[FinishedCheck] = []
    line = ProgressLine()
    about = {check.name: check.about for check in CHECKS}
    widths = [max(map(len, column)) for column in zip(*about.items(), strict=True)]

    def show(row: FinishedCheck) -> None:
        line.clear()
        rows.append(row)
        outcome = row.outcome
        put(
            f"{outcome.status:8}  {row.name:{widths[0]}}  {about[row.name]:{widths[1]}}"
            f"  {outcome.seen}"
        )

    for row in run(str(subject.folder), options.force, wanted, lambda n: line.show(f"{n} ...")):
        show(row)
    for check in chosen:
        if check.name not in wanted:
            show(FinishedCheck(check.name, Outcome("not here", "asked with --devices only"), 0.0))
    counts = {s: sum(row.outcome.status == s for row in rows) for s in ("pass", "fail", "not here")}
    seconds = sum(row.seconds for row in rows)
    put("\n" + ", ".join(f"{n} {status}" for status, n in counts.items()) + f"; {seconds:.0f} s")
    write(report(rows, _described(subject)), Path(options.json))
    inform(
        f"The report is {options.json}: attach it to an issue. It holds no text, media or names."
    )
    if failed := [row.name for row in rows if row.outcome.status == "fail"]:
        raise Gemma4Error(
            "selftest_failed",
            "The self-test has failed",
            f"Rows that failed: {'; '.join(failed)}.",
            f"Report it with {options.json}, and run one again: gemma4 selftest --only ROW.",
        )


def _described(subject: "OurModel") -> dict[str, str]:
    """The model without a user's own names: its shipped package and recipe, and its revision."""
    name = subject.package.name if subject.package else ""
    is_shipped = name in catalog.read(catalog.shipped("Package.toml"))
    package, recipe = (name, subject.recipe) if is_shipped else ("", "")
    return {"package": package, "recipe": recipe, "revision": subject.revision}


def _record(subject: "OurModel") -> None:
    from .record import record
    from .reference import recorded

    file = recorded() / f"{subject.revision}.npz"
    disk.need_writable(file.parent)
    inform("transformers computes a few prompts; a 12B takes minutes and 24 GB of memory ...")
    reference = record(subject.folder)
    reference.save(file)
    put(str(file))
    inform(
        "From now on `gemma4 selftest` compares this model with it. Please attach it to an issue."
    )


COMMAND = Subcommand(
    "selftest",
    "prove this installation, row by row",
    "Prove on this machine that what is installed computes, answers and remembers what it "
    "should: known answers, logits against those of transformers, caches, memory, speeds. "
    "A table on stdout, and a JSON report for an issue, without text, media, names or paths. "
    "The exit status is 2 where a row fails.",
    OPTIONS,
    _run,
)
