"""What the screens are made of. Widgets draw what they are given, and report what was pressed."""

MUTED = "$foreground 60%"
"""The colour of what is less important, within a line."""

GLUE = "\u2800"
"""Looks like a space, and no line is broken at it."""

_CONTROLS = {code: None for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"}


def clean(text: str) -> str:
    """Take out control characters: a terminal would obey those that a model or a file name has.

    Textual leaves ESC in. C0 and C1 are those of ECMA-48, 5.2 and 5.3; tab and line feed stay.
    """
    return text.translate(_CONTROLS)


def drawn(text: str) -> str:
    """Return what the terminal gets of a text: nothing that it obeys, and spaces for GLUE."""
    return clean(text).replace(GLUE, " ")
