"""What a terminal may be given of a text that a model wrote, or that a file is called."""

_CONTROLS = {code: None for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"}


def clean(text: str) -> str:
    """Take out control characters: a terminal would obey those that a model or a file name has.

    C0 and C1 are those of ECMA-48, 5.2 and 5.3; tab and line feed stay.
    """
    return text.translate(_CONTROLS)
