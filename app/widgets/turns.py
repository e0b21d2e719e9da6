"""The turns of a conversation as widgets: what was asked, with pictures, and what was answered."""

import asyncio
import time
from pathlib import Path

from textual.app import ComposeResult
from textual.containers import ItemGrid, Vertical
from textual.content import Content
from textual.widgets import Markdown, Static

from mlx_gemma4.errors import counted
from mlx_gemma4.media.images import BUDGETS
from mlx_gemma4.media.video import FRAME_TOKENS
from mlx_gemma4.terminal_text import clean

from ..conversation.entries import Attachment, clock
from ..conversation.history import ShownTurn
from ..devices.screen import caption, tokens_of
from . import GLUE, MUTED
from .preview import COLUMN, Preview

SHARE = 4
"""Drawing what has come of an answer takes at most one part in so many of the time."""
LONGEST = 4_000
"""Characters of a question that are shown; the file of the conversation has them all."""
MANY = 3
"""Pictures of a question from which on they are drawn small, side by side."""
LEAST = 1 / 30
"""Seconds between two drawings of an answer: nobody reads faster."""


class QuestionView(Vertical):
    """What the user asks, or is about to ask; `hint` is behind the caption of the last picture."""

    def __init__(self, media: Path, hint: str = "") -> None:
        super().__init__(classes="turn question")
        self.text, self.heard = "", ""
        self.attachments: dict[int, Attachment] = {}
        self._media, self._hint = media, hint
        self._previews: dict[int, Preview] = {}

    def compose(self) -> ComposeResult:
        yield Static(classes="words")
        yield ItemGrid(min_column_width=COLUMN, classes="previews")
        yield _empty("heard")
        yield _empty("remarks")

    async def show(
        self,
        attachments: tuple[Attachment, ...],
        text: str = "",
        heard: str = "",
        remarks: tuple[str, ...] = (),
    ) -> None:
        self.text, self.heard = text, heard
        self.attachments = {one.id: one for one in attachments}
        self.query_one(".words", Static).update(self._line())
        said = Content.assemble(("Heard: ", MUTED), (self.heard, "italic")) if self.heard else ""
        _fill(self.query_one(".heard", Static), said)
        _fill(self.query_one(".remarks", Static), "\n".join(remarks))
        for gone in self._previews.keys() - self.attachments.keys():
            await self._previews.pop(gone).remove()
        pictures = [one for one in attachments if one.kind == "image" or one.frames]
        small = len(pictures) >= MANY
        self.set_class(small, "many")
        last = next((one for one in reversed(pictures) if one.kind == "image"), None)
        for one in pictures:
            words = _caption(one) + (f" · {self._hint}" if one is last and self._hint else "")
            words = f"#{one.number} · {one.tokens or '…'} tokens" if small else words
            if one.id in self._previews:
                self._previews[one.id].change(words, small)
            else:
                preview = self._previews[one.id] = Preview(words, small)
                await self.query_one(ItemGrid).mount(preview)
                self.run_worker(preview.load(self._media / one.file), exit_on_error=False)

    def _line(self) -> Content:
        text = self.text if len(self.text) <= LONGEST else f"{self.text[:LONGEST]} …"
        parts: list[str | tuple[str, str]] = [("You", "bold"), (" ❯ ", MUTED), text]
        for number, one in enumerate(self.attachments.values()):
            parts += ["  " if number == 0 and self.text else " " if number else ""]
            style = f"{MUTED} bold" if one.kind == "image" else MUTED
            parts.append((one.chip.replace(" ", GLUE), style))
        return Content.assemble(*parts)


class AnswerView(Vertical):
    """An answer, while it comes and afterwards; `speaker` names who answers."""

    def __init__(self, speaker: str) -> None:
        super().__init__(classes="turn answer")
        self._speaker = speaker
        self.text = self.drawn = ""
        self._over = False
        self._pieces = 0  # that were drawn one after another
        self._drawing: asyncio.Task[None] | None = None

    def compose(self) -> ComposeResult:
        yield Static(self._speaker, classes="speaker", markup=False)
        yield _empty("thought")
        yield Markdown(open_links=False)
        yield _empty("remarks")
        yield _empty("facts")

    def show(self, turn: ShownTurn, facts: str) -> None:
        """Show a turn of the model as it is now, and the dim line `facts` under it.

        A piece of the answer is drawn soon, with what else comes.
        """
        self.text = clean(turn.text)
        self._over = turn.over
        _fill(self.query_one(".thought", Static), _thought(turn))
        _fill(self.query_one(".remarks", Static), "\n".join(turn.remarks))
        _fill(self.query_one(".facts", Static), facts)
        late = self.drawn != self.text or (self._over and self._pieces > 1)
        if late and (self._drawing is None or self._drawing.done()):
            self._drawing = asyncio.create_task(self._draw())

    async def _draw(self) -> None:
        """Draw what has come, as often as the machine likes; at the end all of it, once."""
        markdown = self.query_one(Markdown)
        while self.drawn != self.text and self.is_attached:
            piece, self.drawn = self.text[len(self.drawn) :], self.text
            started = time.perf_counter()
            await markdown.append(piece)
            took = time.perf_counter() - started
            self._pieces += 1
            # a long table or listing is laid out again each time: then rather seldom
            await asyncio.sleep(max(LEAST, (SHARE - 1) * took))
        if self._over and self._pieces > 1 and self.is_attached:
            self._pieces = 0
            await markdown.update(self.text)

    @property
    def settled(self) -> bool:
        return self.drawn == self.text and (self._drawing is None or self._drawing.done())


def _caption(one: Attachment) -> str:
    """What the model gets of a picture: as the worker reports, and as computed here until then."""
    if one.frames and one.size is not None:
        count = len(one.frames)
        times = " to ".join(dict.fromkeys(clock(one.frames[at][0]) for at in (0, -1)))
        tokens = count * tokens_of(one.size, FRAME_TOKENS)
        pictures = counted(count, "picture")
        return f"{one.name} as video · {pictures}, {times} → {tokens} image tokens"
    if one.size is None or (one.budget is None and one.tokens is None):
        return one.name
    budget = one.budget or next(
        (each for each in BUDGETS if each >= (one.tokens or 0)), BUDGETS[-1]
    )
    tokens = one.tokens if one.tokens is not None else tokens_of(one.size, budget)
    return caption(one.name, one.size, tokens, budget)


def _thought(turn: ShownTurn) -> str:
    if not turn.thought:
        return ""
    words = turn.thought.split()
    end = f": … {' '.join(words[-12:])}" if turn.state == "answering" else ""
    return f"thought, {counted(len(words), 'word')}{end}"


def _empty(name: str) -> Static:
    """Make a line that is hidden until it has a text."""
    line = Static(classes=name, markup=False)
    line.display = False
    return line


def _fill(line: Static, content: Content | str) -> None:
    """Change a line, and show it if it has a text."""
    if line.content != content:  # a piece of an answer changes none of them, mostly
        line.update(content)
    line.display = bool(content)
