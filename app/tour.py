"""The first run: a receipt and a question about it, then a spoken one, both ready to be sent."""

from pathlib import Path

from mlx_gemma4.hub import catalog

WELCOME = (
    "Welcome. This is the tiny model that comes with the program: it reads receipts like this one "
    "and hears digits and simple questions, and nothing else. F2 is for Gemma 4 12B itself."
)
GREETING = "Welcome. Two questions to start with: about this receipt, and the same by voice."
"""Where another model than the tiny one answers."""
STEPS = (
    ("receipt.png", "what is the total?", "Press Enter to ask about this receipt."),
    (
        "question.wav",
        "",
        "Now the same by voice: a recorded question is attached. Press Enter to send it.",
    ),
)
AFTER = "That is all it takes. Space talks, Ctrl+S shows your screen, F1 has all keys."


def demo(name: str) -> Path:
    """Say where a file of the demonstration is."""
    return catalog.shipped("assets/demo") / name


class Tour:
    """Where the newcomer is."""

    def __init__(self) -> None:
        self.step: int | None = None

    def begin(self) -> None:
        """Begin, or go on."""
        self.step = 0 if self.step is None else min(self.step + 1, len(STEPS))
        if self.step == len(STEPS):
            self.step = None

    @property
    def files(self) -> list[Path]:
        """What is to be attached now: a spoken question stands with the receipt again."""
        if self.step is None:
            return []
        return [demo(STEPS[0][0])] if self.step == 0 else [demo(STEPS[0][0]), demo(STEPS[1][0])]

    @property
    def words(self) -> str:
        """What is to be written into the prompt."""
        return "" if self.step is None else STEPS[self.step][1]

    @property
    def remark(self) -> str:
        """What is told."""
        return AFTER if self.step is None else STEPS[self.step][2]
