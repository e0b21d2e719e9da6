"""`gemma4 get`: Gemma 4 12B, or another model of the Hub, in the form that suits this computer.

Questions, figures and progress go to stderr; the folder, or with --json all of it, to stdout.
"""

import argparse
import json
import shlex
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from ..checkpoint import recipes
from ..errors import Gemma4Error
from ..hub import catalog, disk, installed
from ..hub.disk import words
from ..hub.progress import minutes_for
from .options import Option, Subcommand, gigabytes
from .program import open_program
from .streams import ProgressLine, agreed, inform, put

if TYPE_CHECKING:
    from ..convert.get import GetProgress
    from ..convert.get_plan import GetPlan

BAR = 24
"""Cells of the progress bar."""

OPTIONS = (
    Option(
        "model",
        f"a name of Package.toml, or owner/name on the Hub ({catalog.USUAL})",
        "MODEL",
        default=catalog.USUAL,
    ),
    Option("--memory", "what a Mac with so much memory would get, as 16GB (this computer)", "SIZE"),
    Option("--recipe", f"instead of the recommended one: {', '.join(recipes.RECIPES)}", "NAME"),
    Option("--to", "the folder to write (in the data folder, or the Hub's cache)", "FOLDER"),
    Option("--revision", "branch, tag or commit of the repository (the catalogue's)", "NAME"),
    Option("--dry-run", "show what it would do, and download nothing"),
    Option("--yes", "do it without asking, and do not ask to open it"),
    Option("--json", "print one JSON object a line: the plan, the progress, the folder"),
)


def _get(options: argparse.Namespace) -> None:
    try:
        _run(options)
    except Gemma4Error as error:
        if options.json:
            own = {"code": error.code, "title": error.title, "cause": error.cause}
            put(json.dumps({"error": own | {"remedy": error.remedy}}))
        raise


def _run(options: argparse.Namespace) -> None:
    from ..convert import get, get_plan
    from ..footprint import device, estimate

    package = catalog.known(options.model)
    name = package.name if package else options.model
    if options.memory is None and not options.dry_run and (here := _here(options, name)):
        _finish(options, name, here, "is on this machine already")
        return
    place = device.this() if options.memory is None else estimate.mac(gigabytes(options.memory))
    only_shown = options.dry_run or (options.memory is not None and not options.yes)
    wanted = get_plan.plan(
        name,
        place,
        options.recipe,
        disk.expanded(options.to) if options.to else None,
        options.revision,
        guess=only_shown,
    )
    if options.json:
        shown = ("name", "recipe", "download", "held", "kept", "most", "memory", "context")
        figures = {figure: getattr(wanted, figure) for figure in shown}
        put(json.dumps({"plan": {**figures, "folder": str(wanted.folder)}}))
    else:
        for line in described(wanted):
            (put if only_shown else inform)(line)
    if only_shown:
        if not options.json:
            put(_next_step(wanted, options))
        return
    get.need_room(wanted)
    if not options.yes and not agreed("Download it?", True):
        inform("Nothing was downloaded.")
        return
    _finish(options, name, _fetched(wanted, options.json), "is ready")


def described(wanted: "GetPlan") -> list[str]:
    """What getting a model means, in two lines: the model in numbers, and where it goes."""
    place, how = wanted.machine, f"as {wanted.recipe}" if wanted.recipe else "as it is"
    came = ", from the copy in the Hub's cache" if not wanted.download else ""
    first = (
        f"{wanted.name} {how} for {place.name}: {words(wanted.download)} to download{came}, "
        f"{words(wanted.kept)} kept on the disk, {words(wanted.memory)} of "
        f"{place.budget / 1e9:.2f} GB memory"
    )  # a drafter has no conversation
    first += f", room for {wanted.context:,} tokens of conversation" * bool(wanted.context)
    second = f"It goes to {wanted.folder}, where {words(wanted.free)} are free"
    if wanted.most:
        second += f" and {words(wanted.most)} are needed on the way"
    if wanted.held:
        second += f"; {words(wanted.held)} are there from a former try"
    if wanted.outdated:
        second += "; the Hub has another version of what came so far"
    if wanted.download:
        second += f"; about {minutes_for(wanted.download - wanted.held)} min at 100 Mbit/s"
    return [f"{first}.", f"{second}."]


def bar(at: "GetProgress") -> str:
    """The line of progress: a bar over the download, its bytes, and what is done now."""
    progress = at.download
    filled = BAR * progress.done // max(progress.total, 1)
    drawn = f"[{'#' * filled}{'-' * (BAR - filled)}]"
    if at.stage == "download":
        return f"{drawn} {progress.text}"
    what = f"quantizing, {at.share:.0%}" if at.stage == "quantize" else "checking"
    return f"{drawn} {progress.text.split(',')[0]}, {what}"


def _fetched(wanted: "GetPlan", as_json: bool) -> Path:
    from ..convert import get

    line = ProgressLine()

    def report(at: "GetProgress") -> None:
        if as_json:
            put(json.dumps(asdict(at)))
        else:
            line.show(bar(at))

    try:
        folder = get.fetch(wanted, report)
    except KeyboardInterrupt:
        line.clear()
        inform("Stopped. What has come is kept: the same command goes on where it was.")
        raise
    line.clear()
    assert folder is not None, "nothing cancels it"
    return folder


def _here(options: argparse.Namespace, name: str) -> Path | None:
    """The folder of a model that is on this machine already, in the form asked for."""
    package = catalog.known(name)
    if package is not None and package.path is not None:
        return package.path
    if options.to is not None:
        return None
    source, _ = catalog.repository_of(name)
    alike = [m for m in installed.made_of(source) if options.recipe in (None, m.recipe)]
    if alike and options.revision is not None:
        from ..hub import hub  # which takes a moment

        commit = hub.look_up(source, options.revision).commit
        alike = [model for model in alike if model.commit == commit]
    return alike[0].folder if alike else None


def _finish(options: argparse.Namespace, name: str, folder: Path, how: str) -> None:
    """Print where a model is, and offer to open it, or what a drafter is for."""
    if options.json:
        put(json.dumps({"folder": str(folder), "name": name}))
        return
    inform(f"{name} {how}.")
    put(str(folder))
    package = catalog.known(name)
    if package is not None and package.kind == "drafter":
        inform(
            f"To measure whether it pays here: gemma4 bench --draft --model {package.targets[0]}"
        )
        return
    asked = sys.stdin.isatty() and sys.stdout.isatty() and sys.stderr.isatty() and not options.yes
    drafter = catalog.drafter_to_get(name)
    if catalog.resolve(name).resolve() != folder.resolve():  # of several of this name another one
        name = str(folder)
    if drafter is not None:
        _offer_drafter(drafter, name, asked)
    if asked and agreed("Open it now?", True):
        open_program(name)
    else:
        chosen = "" if name == catalog.default() else f" --model {shlex.quote(name)}"
        inform(f"To open it: gemma4{chosen}")


def _offer_drafter(drafter: catalog.Package, name: str, asked: bool) -> None:
    """Offer what may make a model's answers faster, and to measure whether it does."""
    quoted = shlex.quote(name)
    what = f"{drafter.name} ({words(drafter.bytes or 0)}) may make its answers faster"
    if not asked:
        inform(f"{what}: gemma4 get {drafter.name}, then gemma4 bench --draft --model {quoted}")
    elif agreed(f"{what}. Download it too?", True):
        from ..convert import get, get_plan
        from ..footprint import device
        from .bench import measure_drafts

        try:
            wanted = get_plan.plan(drafter.name, device.this())
            get.need_room(wanted)
            _fetched(wanted, False)
            if agreed("Measure now whether it does? That takes some minutes.", True):
                measure_drafts(name)
        except Gemma4Error as error:  # the model is ready without it
            inform(f"{error.title}: {error.cause} {error.remedy}")


def _next_step(wanted: "GetPlan", options: argparse.Namespace) -> str:
    if options.memory is not None:
        return "Nothing was downloaded; --yes gets this form here."
    given = {f"--{name}": getattr(options, name) for name in ("recipe", "to", "revision")}
    own = [word for pair in given.items() if pair[1] for word in pair]
    return f"Nothing was downloaded. To do it: {shlex.join(['gemma4', 'get', wanted.name, *own])}"


COMMAND = Subcommand(
    "get",
    "get Gemma 4 12B for this computer",
    "Download a model of the Hugging Face Hub in the form that suits this computer: quantized "
    "on the way, checked, and found by its name from then on. A download that was stopped "
    "goes on where it was when the same command is run again.",
    OPTIONS,
    _get,
)
