"""Write the tables of the documentation anew from the program: `python -m docs.update`."""

from pathlib import Path

from mlx_gemma4.cli import OPTIONS

PAGE = Path(__file__).parent / "cli.md"
BEGIN, END = "<!-- options: made by docs/update.py -->\n", "<!-- end of options -->\n"


def updated(page: str) -> str:
    """Give the page with the table of options as it should be."""
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    rows = ["| option | what it does |", "|---|---|"]
    for option in OPTIONS:
        value = f" {option.metavar}{' ...' if option.many else ''}" if option.metavar else ""
        rows.append(f"| `{option.flag}{value}` | {option.help} |".replace("NAME|", r"NAME\|"))
    return before + BEGIN + "\n".join(rows) + "\n" + END + after


if __name__ == "__main__":
    PAGE.write_text(updated(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
