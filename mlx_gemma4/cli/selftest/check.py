"""One check of the self-test, and what it found. Knows no MLX."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from ...errors import Gemma4Error

if TYPE_CHECKING:
    from ...evaluate.models import OurModel

Status = Literal["pass", "fail", "not here"]


@dataclass(frozen=True)
class Outcome:
    """What a check found.

    Attributes:
        seen: for whoever looks at the table. It may quote an error, so it is not in the report.
        figures: what was measured, by name: numbers alone, for the report.
        code: the code of the error that ended it.
    """

    status: Status
    seen: str
    figures: Mapping[str, float] = field(default_factory=dict)
    code: str = ""


@dataclass(frozen=True)
class SelfCheck:
    """One row of the table: a name, and what is asked.

    Attributes:
        about: what it shows, in a few words.
        find: takes the model that was chosen; a Gemma4Error or another exception is a failure.
        asked: whether it runs only where `--devices` asks for it.
    """

    name: str
    about: str
    find: Callable[["OurModel"], Outcome]
    asked: bool = False

    def run(self, model: "OurModel") -> Outcome:
        """Run it; what it raises is its outcome."""
        try:
            return self.find(model)
        except Gemma4Error as error:
            return Outcome("fail", f"{error.title}: {error.cause}", code=error.code)
        except Exception as error:
            code = type(error).__name__
            return Outcome("fail", f"{code}: {error}".splitlines()[0], code=code)


def judged(holds: bool, seen: str, **figures: float) -> Outcome:
    return Outcome("pass" if holds else "fail", seen, figures)
