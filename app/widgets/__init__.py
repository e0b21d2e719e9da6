"""What the screens are made of. Widgets draw what they are given, and report what was pressed."""

from mlx_gemma4.terminal_text import clean

MUTED = "$foreground 60%"
"""The colour of what is less important, within a line."""

GLUE = "\u2800"
"""Looks like a space, and no line is broken at it."""


def drawn(text: str) -> str:
    """Return what the terminal gets of a text: nothing that it obeys, and spaces for GLUE.

    Textual leaves ESC in.
    """
    return clean(text).replace(GLUE, " ")
