"""Asks before the program ends while a model is on its way."""

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Static

from ..state import Download


class QuitScreen(ModalScreen[bool]):
    """A question with two keys; `at` is how far the download is."""

    BINDINGS = [
        Binding("enter,ctrl+q,ctrl+c", "answer(True)", show=False, priority=True),
        Binding("escape", "answer(False)", show=False, priority=True),
    ]

    def __init__(self, at: Download) -> None:
        super().__init__()
        self._at = at

    def compose(self) -> ComposeResult:
        with Vertical():
            yield Static(f"{self._at.name} is still on its way", classes="title", markup=False)
            yield Static(
                f"{self._at.words}\nWhat has come is kept, and the rest comes the next time that "
                "you open gemma4.",
                markup=False,
            )
            yield Static(
                "[b $footer-key-foreground]enter[/] Quit   [b $footer-key-foreground]esc[/] Stay"
            )

    def action_answer(self, quits: bool) -> None:
        self.dismiss(quits)
