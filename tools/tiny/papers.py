"""What is printed in the small world besides the first receipts: other layouts, dialogs, tables."""

import random

from mlx_gemma4.evaluate.tiny.receipts import ALPHABET, ITEMS, Receipt
from mlx_gemma4.evaluate.tiny.words import WORDS, held_out

_VERBS = ("Delete", "Save", "Close", "Open", "Replace", "Move", "Copy", "Send", "Print", "Share",
          "Rename", "Restore")  # fmt: skip
_THINGS = ("file", "folder", "window", "note", "picture", "message", "document", "page", "tab",
           "account", "project", "list")  # fmt: skip
_DETAILS = ("This cannot be undone.", "It has unsaved changes.", "It will be lost.",
            "Are you sure?", "It is still in use.", "There is no space left.",
            "You can do it later.")  # fmt: skip
_BUTTONS = (("Cancel", "OK"), ("No", "Yes"), ("Cancel", "Delete"), ("Cancel", "Save"), ("OK",),
            ("Close",), ("Later", "Now"), ("Back", "Next"), ("Retry", "Cancel"), ("Cancel", "Open"),
            ("Skip", "Stop"), ("No", "Cancel", "Yes"), ("Keep", "Replace"),
            ("Help", "OK"))  # fmt: skip
_NAMES = ("north", "south", "east", "west", "red", "green", "blue", "white", "speed", "height",
          "width", "weight", "price", "stock", "rain", "wind", "memory", "disk", "power", "level",
          "anna", "david", "maria", "peter", "room", "table", "door", "lamp")  # fmt: skip
Rows = tuple[tuple[str, str], ...]


def receipt_rows(receipt: Receipt, rng: random.Random) -> Rows:
    """The rows of a receipt, sometimes in another order: the date below, the count last."""
    items = tuple(receipt.items)
    head: Rows = ((receipt.shop, ""), (receipt.date, ""))
    foot: Rows = (("items", str(len(items))), ("tax", receipt.tax), ("total", receipt.total))
    kind = rng.random()
    if kind < 0.15:
        return ((receipt.shop, ""), *items, *foot, (receipt.date, ""))
    if kind < 0.3:
        return ((receipt.shop, ""), (receipt.date, ""), *items, foot[1], foot[2], foot[0])
    return (*head, *items, *foot)


def list_text(rng: random.Random, rows: int) -> tuple[str, ...]:
    """Lines of common words, random words, numbers and capitals."""
    small = ALPHABET.lower()
    lines = []
    for _ in range(rows):
        kind = rng.random()
        if kind < 0.35:
            line = " ".join(rng.choices((*WORDS, *ITEMS), k=rng.randint(1, 3)))
            line = rng.choice((line, line.capitalize(), line.upper()))
        else:
            pool = rng.choice(
                ("0123456789.-", ALPHABET, small, ALPHABET + small + "0123456789.,:-?!")
            )
            line = " ".join(
                "".join(rng.choices(pool, k=rng.randint(1, 7))) for _ in range(rng.randint(1, 3))
            )
        lines.append(line[:17].strip())
    return tuple(lines)


def dialog_text(rng: random.Random, examination: bool) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The lines of a message and the buttons below it."""
    while held_out(first := f"{rng.choice(_VERBS)} {rng.choice(_THINGS)}?") != examination:
        pass
    message = [first]
    if rng.random() < 0.5:
        message.append(rng.choice(_DETAILS))
    return tuple(message), rng.choice(_BUTTONS)


def table_rows(rng: random.Random) -> Rows:
    """Names with values."""
    names = rng.sample(_NAMES, rng.randint(2, 6))
    return tuple((name, _value(rng)) for name in names)


def _value(rng: random.Random) -> str:
    kind = rng.random()
    if kind < 0.5:
        return str(rng.randrange(10 ** rng.randint(1, 4)))
    if kind < 0.8:
        return f"{rng.randrange(100)}.{rng.randrange(10)}"
    return f"{rng.randrange(100)}%"
