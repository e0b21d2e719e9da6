"""The table of commands as Textual's bindings; the keymap of the settings changes keys by id."""

from textual.binding import Binding

from . import commands

NO_KEY = "f63"
"""The key of a command without one: no keyboard has it."""
EVERYWHERE = ("resume", "model", "settings", "voices", "doctor", "log", "help", "palette", "quit")
"""Commands that any screen has."""


def everywhere() -> list[Binding]:
    return [_binding(commands.BY_ID[name]) for name in EVERYWHERE]


def of_the_chat() -> list[Binding]:
    others = {*EVERYWHERE, *commands.OF_THE_PROMPT}
    return [_binding(command) for command in commands.COMMANDS if command.id not in others]


def _binding(command: commands.Command) -> Binding:
    return Binding(
        ",".join(command.keys) or NO_KEY,
        f"app.do('{command.id}')",
        command.title,
        show=False,
        priority=True,
        id=command.id,
    )
