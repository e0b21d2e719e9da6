"""The conversation: questions and answers, errors as cards, and what is about to be asked.

Only the newest entries are widgets. The view follows what comes while it is at the end.
"""

from collections.abc import Sequence
from pathlib import Path

from textual.containers import VerticalScroll
from textual.widget import Widget
from textual.widgets import Static

from mlx_gemma4.hub import catalog

from ..conversation.entries import Attachment
from ..conversation.history import History, ShownTurn
from ..state import Problem, Source
from .card import ErrorCard, Way
from .turns import AnswerView, QuestionView

KEPT = 24
"""The most entries that are widgets; the conversation's file has them all."""

ONE_CAUSE = ("microphone", "screen", "voice", "job")
"""Sources whose problems share one card, whatever their codes."""


class Transcript(VerticalScroll, can_focus=True):
    """All of it, with the newest at the end.

    Attributes:
        history: of the conversation.
        media: the folder with the files of the attachments.
    """

    def __init__(self) -> None:
        super().__init__()
        self.history, self.media = History(), Path()
        self._turns: dict[int, QuestionView | AnswerView] = {}
        self._draft: QuestionView | None = None
        self._longer = False

    def watch_virtual_size(self) -> None:
        """Follow the end from when there is more than fits; Textual's anchor would push less down.

        Whoever scrolls up is left there until they are back at the end.
        """
        longer = self.virtual_size.height > self.size.height
        if longer != self._longer:
            self._longer = longer
            self.anchor(longer)
            if not longer:
                self.scroll_to(y=0, animate=False, immediate=True, release_anchor=False)

    def follow(self) -> None:
        self.anchor(self._longer)

    async def open(self, history: History, media: Path) -> None:
        """Show the end of another conversation."""
        self.history, self.media = history, media
        self._turns.clear()
        self._draft = None
        await self.remove_children()
        await self.update(set(list(history.turns)[-KEPT:]))
        if len(history.turns) > KEPT:
            await self._mark_earlier()
        self.follow()

    async def update(self, changed: set[int], hint: str = "") -> None:
        """Show the turns that changed; `hint` is shown under the last answer when it is done."""
        for number in sorted(changed):
            turn = self.history.turns.get(number)
            if turn is None:
                if number in self._turns:
                    await self._turns.pop(number).remove()
            elif turn.role == "model":
                await self._show_answer(turn, hint)
            elif turn.state != "recording":
                question = await self._turn(number, QuestionView(self.media))
                assert isinstance(question, QuestionView)
                await question.show(turn.attachments, turn.text, turn.heard, turn.remarks)

    async def draft(self, waiting: tuple[Attachment, ...], hint: str) -> None:
        """Show what waits to be asked."""
        if not waiting:
            if self._draft is not None:
                await self._draft.remove()
                self._draft = None
            return
        if self._draft is None:
            self._draft = QuestionView(self.media, hint)
            self._draft.add_class("draft")
            await self.mount(self._draft)
        await self._draft.show(waiting)

    async def add(self, entry: Widget) -> None:
        """Add an entry at the end, before what waits to be asked, and let go of the oldest."""
        entry.add_class("entry")
        await self.mount(entry, before=self._draft) if self._draft else await self.mount(entry)
        entries = [child for child in self.children if child.has_class("entry")]
        old = entries[: max(0, len(entries) - KEPT)]
        if old:
            self._turns = {n: widget for n, widget in self._turns.items() if widget not in old}
            await self.remove_children(old)
            await self._mark_earlier()

    async def note(self, text: str) -> None:
        await self.add(Static(text, classes="note", markup=False))

    async def show_problem(self, problem: Problem, ways: Sequence[Way]) -> None:
        """Show an error at the end; if it has a card already, change that instead."""
        for card in self.query(ErrorCard):
            same = problem.source in ONE_CAUSE and card.problem.source == problem.source
            if same or card.problem.code == problem.code:
                await card.change(problem, ways)
                card.scroll_visible(animate=False)
                return
        await self.add(ErrorCard(problem, ways))
        await self.close()

    async def withdraw(self, source: Source) -> None:
        """Remove the errors about something that works again."""
        await self.close(*(card for card in self.query(ErrorCard) if card.problem.source == source))

    async def close(self, *cards: ErrorCard) -> None:
        """Remove cards; the newest that is left shows the keys that are for it alone."""
        await self.remove_children(cards)
        last = self.last_card()
        for card in self.query(ErrorCard):
            card.newest = card is last

    def last_card(self) -> ErrorCard | None:
        cards = self.query(ErrorCard)
        return cards.last() if cards else None

    def answer(self, number: int) -> AnswerView | None:
        """Return the widget of a turn if it is one of the model."""
        widget = self._turns.get(number)
        return widget if isinstance(widget, AnswerView) else None

    async def _show_answer(self, turn: ShownTurn, hint: str) -> None:
        tiny = catalog.is_demonstration(self.history.model)
        answer = await self._turn(turn.id, AnswerView("Tiny model" if tiny else "Gemma"))
        assert isinstance(answer, AnswerView)
        last = turn is self.history.last("model")
        facts = " · ".join(filter(None, (turn.facts, hint if last and turn.over else "")))
        answer.show(turn, facts)

    async def _turn(
        self, number: int, fresh: QuestionView | AnswerView
    ) -> QuestionView | AnswerView:
        """Return the widget of a turn; add `fresh` where there is none yet."""
        if number not in self._turns:
            self._turns[number] = fresh
            await self.add(fresh)
        return self._turns[number]

    async def _mark_earlier(self) -> None:
        if not self.query(".earlier"):
            line = "Earlier turns are kept, but not shown: export writes all of them."
            await self.mount(Static(line, classes="earlier"), before=0)
