"""What the lines of the chat say, made of the conversation; of widgets only their data."""

from pathlib import Path

from mlx_gemma4.hub import catalog

from .. import commands
from ..desk import Desk
from ..state import ESCAPE, WORDS, Problem, State
from ..widgets import MUTED
from ..widgets.card import Way
from ..widgets.footer import Key
from ..widgets.gauges import Gauge

COLOURS: dict[State, str] = {
    "empty": "$text-error",
    "loading": "$text-warning",
    "ready": "$text-success",
    "listening": "$text-error",
    "thinking": "$text-warning",
    "answering": "$text-accent",
    "speaking": "$text-accent",
}
LONG = 1024
"""Tokens of a prompt from which on it is told how much of it has been read."""


def gauge(desk: Desk, watching: bool) -> Gauge:
    """What the line on top says."""
    conversation = desk.conversation
    gauges, state = conversation.gauges, conversation.state
    words = WORDS[state]
    if state == "thinking" and gauges.to_read >= LONG:
        words = f"reading {100 * gauges.read // gauges.to_read} %"
    name = conversation.model_name
    return Gauge(
        model=Path(name).name,
        detail="demonstration" if name == catalog.DEMONSTRATION else "",
        state=words,
        escape=ESCAPE[state],
        colour=COLOURS.get(state, MUTED),
        used=gauges.used,
        context=gauges.context,
        memory=gauges.active_bytes,
        budget=desk.machine.budget if desk.machine else 0,
        speed=gauges.speed,
        watching=watching,
    )


def footer(desk: Desk, empty: bool) -> tuple[Key, ...]:
    """What the last line says."""
    shown = commands.footer(desk.conversation.situation(empty), desk.keys)
    return tuple(Key(key, command.footer, command.id) for key, command in shown)


def hint(desk: Desk, command: str, words: str) -> str:
    """What stands behind a line that a key is for: the key, and what it does."""
    keys = desk.keys[command]
    return f"{commands.shown(keys[0]).lower()} {words}" if keys else ""


def ways(desk: Desk, problem: Problem) -> list[Way]:
    """Ways out of a problem; the first is what `mend` does."""
    said = f"{problem.title} {problem.cause} {problem.remedy}".lower()
    found: list[tuple[str, str]] = []
    if problem.crashed:
        found.append(("restart", "start it again"))
    if problem.link:
        found.append((f"open {problem.link}", "open System Settings"))
    if "load a model" in said or "does not fit" in said or "no model" in said:
        found.append(("model", "choose a model"))
    if "settings" in said and not problem.link:
        found.append(("settings", "settings"))
    found.append(("log", "log"))
    listed = []
    for number, (command, label) in enumerate(found):
        keys = desk.keys.get(command) or (desk.keys["mend"] if number == 0 else ())
        listed.append(Way(commands.short(keys[0]) if keys else "enter", label, command))
    return listed
