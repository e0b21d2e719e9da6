"""The one exception of the project: what went wrong, why, and what to do about it."""

from collections.abc import Mapping


class Gemma4Error(Exception):
    """An error that the user can act on.

    Args:
        code: which error it is, for programs: lower case words joined by underscores, stable
            over versions ("picture_unreadable"). Several causes may share a code.
        title: what failed, in a few words ("The picture cannot be read").
        cause: why, with the numbers and names that were met.
        remedy: what to do next, as an instruction.
        facts: values that a program may need beside the text (a path, bytes, a command).
    """

    def __init__(
        self,
        code: str,
        title: str,
        cause: str,
        remedy: str,
        facts: Mapping[str, str | int | float] | None = None,
    ) -> None:
        super().__init__(f"{title}: {cause} {remedy}")
        self.code = code
        self.title = title
        self.cause = cause
        self.remedy = remedy
        self.facts = dict(facts or {})


def counted(number: int, what: str) -> str:
    """Write how many there are of something, for a message: 1 token, 2,048 tokens."""
    return " ".join((format(number, ","), what if number == 1 else what + "s"))
