"""`gemma4 bench --draft`: whether proposing tokens pays on this machine, by kind of work.

Every prompt is answered without proposals and with them, in this order and back, with pauses: a
machine that becomes warm and slow slows both alike.
"""

import platform
from dataclasses import replace
from statistics import fmean

from ..errors import Gemma4Error
from ..evaluate.drafter import AGAIN, MODES, attach, items_for, reply, speeds
from ..evaluate.models import OurModel
from ..evaluate.question import Choice, Table
from ..hub.speculation import MeasuredGain
from .speed import Progress

PAUSE = 0.25  # of the time that an answer took
MOST = 96  # tokens of an answer

Times = dict[str, dict[str | int, list[tuple[float, float]]]]
"""Kind of work -> mode -> (seconds a token, tokens a forward) of each answer."""


def measure_gain(
    subject: OurModel, drafter: str | None, rounds: int, progress: Progress
) -> tuple[MeasuredGain, Table]:
    """Measure a model with its drafter, if there is one on this machine, and with lookup.

    Args:
        drafter: the folder or name of a drafter; None for the model's own.
        rounds: prompts of each kind of work.

    Raises:
        Gemma4Error: the chosen drafter is not there, or the model cannot be loaded.
    """
    try:
        folder = attach(subject, drafter)
    except Gemma4Error as error:
        if drafter or error.code != "drafter_missing":
            raise
        folder = ""
    modes = MODES if folder else MODES[::2]
    items = items_for(Choice(rounds, tiny=subject.is_tiny), subject)
    times: Times = {}
    for number, item in enumerate(items):
        kind, again = str(item.facts["kind"]), bool(item.facts[AGAIN])
        progress(kind, number, len(items))
        asked = item.make()
        asked = replace(asked, most=min(asked.most, MOST))
        for mode in modes if number == 0 else ():  # the first of all takes longer
            reply(subject, asked, again, mode)
        for mode, seconds, tokens, forwards in speeds(subject, asked, again, modes, PAUSE):
            of = times.setdefault(kind, {}).setdefault(mode, [])
            of.append((seconds / tokens, (tokens + 1) / max(1, forwards)))
    progress("", len(items), len(items))
    gains: dict[str | int, dict[str, float]] = {mode: {} for mode in modes[1:]}
    rows = []
    for kind, answers in times.items():
        means = {how: [*map(fmean, zip(*some, strict=True))] for how, some in answers.items()}
        seconds, _ = means["off"]
        cells = [kind, f"{1 / seconds:.1f}"]
        for how, by_kind in gains.items():
            by_kind[kind] = seconds / means[how][0]
            cells.append(f"{by_kind[kind]:.2f} ({means[how][1]:.2f})")
        rows.append(cells)
    heads = ["kind of work", "tok/s without", *(f"{mode} (a forward)" for mode in modes[1:])]
    gain = MeasuredGain(platform.node(), folder, gains.get("auto", {}), gains["lookup"])
    return gain, Table("", heads, rows)


def verdict(gain: MeasuredGain) -> str:
    if gain.drafter_pays:
        return "The drafter pays here: it is used from now on (--draft off leaves it out)."
    if gain.lookup_is_free:
        why = "The drafter does not pay here" if gain.drafter else "There is no drafter here"
        return f"{why}, and lookup costs nothing: lookup is used from now on."
    return "Proposals do not pay here: none are made (with --drafter and --draft they are)."
