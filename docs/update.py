"""Write the tables of the documentation again from the program: `python -m docs.update`."""

from pathlib import Path

from app import commands
from mlx_gemma4 import cli
from mlx_gemma4.cli import machines
from mlx_gemma4.cli.options import DEBUG, Subcommand
from mlx_gemma4.serve import client_settings
from tools import licences

KEYS = Path(__file__).parent / "keys.md"
KEYS_OPENING, KEYS_END = "<!-- keys: made by docs/update.py -->\n", "<!-- end of keys -->\n"
PAGE = Path(__file__).parent / "cli.md"
COMMANDS = [command for command in cli.COMMANDS if command.name != "worker"]  # nobody types it
OPENING, END = "<!-- options of {}: made by docs/update.py -->\n", "<!-- end of options -->\n"


def updated(page: str) -> str:
    """Return the page with the tables of options as they should be."""
    for command in COMMANDS:
        opening = OPENING.format(command.name)
        before, rest = page.split(opening)
        _, after = rest.split(END, 1)
        page = before + opening + table(command) + END + after
    return page


def table(command: Subcommand) -> str:
    """Return the table of a command's options."""
    rows = ["| option | what it does |", "|---|---|"]
    for option in (*command.options, DEBUG):
        if option.is_positional:
            continue
        value = f" {option.metavar}{' ...' if option.many else ''}" if option.metavar else ""
        needed = " (needed)" if option.required else ""
        text = f"| `{option.flag}{value}` | {option.help}{needed} |"
        rows.append(text.replace("NAME|", r"NAME\|"))
    return "\n".join(rows) + "\n"


def keys_updated(page: str) -> str:
    """Return the page with the tables of keys as they should be."""
    before, rest = page.split(KEYS_OPENING)
    _, after = rest.split(KEYS_END)
    return before + KEYS_OPENING + "\n" + keys_table() + KEYS_END + after


def keys_table() -> str:
    """Return the tables of keys: one a group."""
    lines = []
    for group, entries in commands.groups():
        lines += [f"## {group}", "", "| key | id | what it does | when |", "|---|---|---|---|"]
        for command in entries:
            keys = ", ".join(f"`{commands.shown(key)}`" for key in command.keys) or "-"
            lines.append(f"| {keys} | `{command.id}` | {command.help} | {command.when} |")
        lines.append("")
    return "\n".join(lines)


ROOT = Path(__file__).parents[1]
BLOCKS = {
    ("README.md", "machines"): lambda: machines.markdown() + "\n",
    ("docs/get.md", "machines"): lambda: machines.markdown() + "\n",
    ("docs/licences.md", "licences"): licences.markdown,
    ("docs/serve.md", "clients"): client_settings.markdown,
}
"""Parts of pages that a program prints, by page and name."""


def block_updated(page: str, name: str) -> str:
    """Return the page with what a program prints in the place of this name."""
    opening, end = f"<!-- {name}: made by docs/update.py -->\n", f"<!-- end of {name} -->"
    before, rest = page.split(opening)
    _, after = rest.split(end)
    made = next(make for (_, known), make in BLOCKS.items() if known == name)
    return f"{before}{opening}\n{made()}\n{end}{after}"


if __name__ == "__main__":
    for file, block in BLOCKS:
        path = ROOT / file
        path.write_text(block_updated(path.read_text("utf-8"), block), encoding="utf-8")
    KEYS.write_text(keys_updated(KEYS.read_text(encoding="utf-8")), encoding="utf-8")
    PAGE.write_text(updated(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
