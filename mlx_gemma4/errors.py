"""The one exception of the project: what went wrong, why, and what to do about it."""


class Gemma4Error(Exception):
    """An error that the user can act on.

    Args:
        title: what failed, in a few words ("The picture cannot be read").
        cause: why, with the numbers and names that were met.
        remedy: what to do next, as an instruction.
    """

    def __init__(self, title: str, cause: str, remedy: str) -> None:
        super().__init__(f"{title}: {cause} {remedy}")
        self.title = title
        self.cause = cause
        self.remedy = remedy
