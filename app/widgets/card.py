"""An error as a card: what failed, why, what to do, and keys that help."""

from collections.abc import Sequence
from dataclasses import dataclass

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.message import Message
from textual.reactive import reactive
from textual.widgets import Static

from ..state import Problem


@dataclass(frozen=True)
class Way:
    """A way out of an error.

    Attributes:
        key: that does it, as the footer writes keys.
        label: what it does, in few words.
        command: the id of a command; or `open URL`, or `restart`.
        newest: the key is for the newest card alone; on others Tab and Enter do it.
    """

    key: str
    label: str
    command: str
    newest: bool = False


CLOSE = Way("esc", "close", "close", True)


class WayOut(Static, can_focus=True):
    """One way out of an error, to click, or to press Enter on."""

    BINDINGS = [Binding("enter", "take", show=False)]

    def __init__(self, way: Way, key: str) -> None:
        words = Content.assemble((key, "$footer-key-foreground bold"), f" {way.label}")
        super().__init__(words, classes="way")
        self.way = way

    def on_click(self) -> None:
        self.action_take()

    def action_take(self) -> None:
        card = next(one for one in self.ancestors if isinstance(one, ErrorCard))
        self.post_message(ErrorCard.Taken(self.way, card))


class ErrorCard(Vertical):
    """One error in the transcript."""

    newest = reactive(True, recompose=True)

    @dataclass
    class Taken(Message):
        """Somebody chose a way out."""

        way: Way
        card: "ErrorCard"

    def __init__(self, problem: Problem, ways: Sequence[Way]) -> None:
        super().__init__(classes="card good" if problem.good else "card")
        self.problem, self.ways = problem, (*ways, CLOSE)

    def compose(self) -> ComposeResult:
        for name in ("title", "cause", "remedy"):
            yield Static(getattr(self.problem, name), classes=name, markup=False)
        with Horizontal(classes="ways"):
            for way in self.ways:
                yield WayOut(way, way.key if self.newest or not way.newest else "enter")

    async def change(self, problem: Problem, ways: Sequence[Way]) -> None:
        if problem != self.problem or (*ways, CLOSE) != self.ways:
            self.problem, self.ways = problem, (*ways, CLOSE)
            await self.recompose()
