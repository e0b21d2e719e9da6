"""The first run: a receipt and a question about it, then a spoken one, both ready to be sent."""

from pathlib import Path

from mlx_gemma4.hub import catalog

WELCOME = (
    "Welcome. This is the tiny model that comes with the program: it reads receipts like this one "
    "and hears digits and simple questions, and nothing else. F2 is for Gemma 4 12B itself."
)
GREETING = "Welcome. Two questions to start with: about this receipt, and the same by voice."
"""Where another model than the tiny one answers."""
STEPS: tuple[tuple[tuple[str, ...], str, str], ...] = (
    (("receipt.png",), "what is the total?", "Press Enter to ask about this receipt."),
    (
        ("receipt.png", "question.wav"),
        "",
        "Now the same by voice: a recorded question is attached. Press Enter to send it.",
    ),
    ((), "", "That is all it takes. Space talks, Ctrl+S shows your screen, F1 has all keys."),
)
"""What is attached, written into the prompt, and shown as a remark."""


class Tour:
    """Where the newcomer is; after the last step it may be taken once more."""

    def __init__(self) -> None:
        self._step = len(STEPS) - 1

    @property
    def goes_on(self) -> bool:
        """Whether a tour that was started has steps left."""
        return self._step < len(STEPS) - 1

    def next(self) -> tuple[list[Path], str, str]:
        """Go to the next step; return its files, words and remark."""
        self._step = (self._step + 1) % len(STEPS)
        names, words, remark = STEPS[self._step]
        return [catalog.shipped("assets/demo") / name for name in names], words, remark
