"""A question and a subject without a model, for the tests of what asks and reports."""

from collections.abc import Mapping, Sequence
from typing import Any

from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.evaluate.question import Asked, Choice, Item, Part, Row, Subject, Table
from mlx_gemma4.evaluate.scores import accuracy, by_subject, score


class Parrot:
    """Answers what is wanted, but for the items in `silent` and those in `wrong`."""

    recipe = ""
    takes = frozenset({"text"})

    def __init__(
        self,
        name: str = "parrot",
        revision: str = "1",
        silent: Sequence[str] = (),
        wrong: Sequence[str] = (),
        stop_at: int | None = None,
    ) -> None:
        self.name, self.revision = name, revision
        self.versions: Mapping[str, str] = {"parrot": "1.0"}
        self.silent, self.wrong, self.stop_at = silent, wrong, stop_at
        self.asked: list[str] = []
        self.closed = 0

    def answer(self, asked: Asked) -> str:
        """Answer; Ctrl-C comes at the item `stop_at`."""
        if len(self.asked) == self.stop_at:
            raise KeyboardInterrupt
        self.asked.append(asked.wanted)
        if asked.wanted in self.silent:
            raise Gemma4Error(
                "silent", "It is silent", f"{asked.wanted} cannot be said.", "Ask again."
            )
        return "nothing" if asked.wanted in self.wrong else asked.wanted

    def close(self) -> None:
        """Count."""
        self.closed += 1


class Counting:
    """Asks for numbers, or for given items."""

    name = "counting"
    sets = ("numbers",)
    needs = frozenset({"text"})

    def __init__(self, items: Sequence[Item] | None = None) -> None:
        self._items = items

    def items(self, choice: Choice, subject: Subject) -> Sequence[Item]:
        """As many numbers as the limit."""
        if self._items is not None:
            return self._items
        return [
            Item(f"numbers-{choice.seed}-{n}", {"number": n}, lambda n=n: Asked(f"number {n}"))  # type: ignore[misc]
            for n in range(choice.limit or 6)
        ]

    def measure(self, subject: Subject, item: Item) -> Mapping[str, Any]:
        """Score the answer."""
        assert item.make is not None
        asked = item.make()
        return score(asked.wanted, subject.answer(asked))

    def report(self, rows: Sequence[Row]) -> Sequence[Part]:
        """A table of accuracies."""
        lines = []
        for name in by_subject(rows):
            found = accuracy([row for row in rows if row.subject == name])
            lines.append([name, f"{found}", str(found.n)])
        return [Table("Exact", ["subject", "accuracy", "n"], lines)]
