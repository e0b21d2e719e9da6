"""Where the user writes: several lines, a history, and attachments as chips in the text.

A chip like `[Image #1]` is deleted as one, and its attachment goes with it.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from textual import events
from textual.binding import Binding
from textual.document import _wrapped_document
from textual.message import Message
from textual.widgets import TextArea
from textual.widgets.text_area import Selection

from mlx_gemma4.terminal_text import clean

from ..devices.files import pasted
from ..messages import RunCommand
from . import GLUE

_CHIP = re.compile(r"\[Image #\d+\]|\[Audio \d+:\d+\]")
_wrap = _wrapped_document.compute_wrap_offsets  # type: ignore[attr-defined]


def _wrap_chips_whole(
    text: str,
    width: int,
    tab_size: int,
    fold: bool = True,
    precomputed_tab_sections: list[tuple[str, int]] | None = None,
) -> list[int]:
    """As Textual wraps a line, but never within a chip."""
    glued = _CHIP.sub(lambda chip: chip[0].replace(" ", GLUE), text)
    return _wrap(glued, width, tab_size, fold, precomputed_tab_sections)


# it has no hook for this
_wrapped_document.compute_wrap_offsets = _wrap_chips_whole  # type: ignore[attr-defined]

LONG = 8_000
"""A pasted text of more characters is attached: laying out megabytes takes seconds."""


class PromptInput(TextArea):
    """The text area of the chat."""

    BINDINGS = [
        Binding("enter", "send", show=False, priority=True, id="send"),
        Binding("shift+enter,ctrl+j", "new_line", show=False, priority=True, id="newline"),
        Binding("tab", "complete", show=False, priority=True),
        Binding("up", "earlier", show=False),
        Binding("down", "later", show=False),
        Binding("end", "end_or_newest", show=False, id="newest"),
        Binding("backspace", "delete_left", show=False),
        Binding("delete", "delete_right", show=False),
    ]

    @dataclass
    class Sent(Message):
        """The user wants it sent; the text is without chips, and may be empty."""

        text: str

    @dataclass
    class ChipsDeleted(Message):
        """The chips of these attachments were deleted."""

        attachments: list[int]

    @dataclass
    class Attached(Message):
        """Paths of files were pasted, or a text that is too long to be edited here."""

        pasted: list[Path] | str

    @dataclass
    class Choosing(Message):
        """A key for the list of suggestions; `key` is up, down, tab or enter."""

        key: str

    def __init__(self, placeholder: str) -> None:
        super().__init__(
            placeholder=placeholder, compact=True, highlight_cursor_line=False, id="prompt"
        )
        self.sent: list[str] = []
        self._place = 0  # in the history; its end is what is being written
        self._draft = ""
        self.chips: dict[int, str] = {}
        """What attachments that wait look like in the text, by their id."""
        self.choosing = False
        """Whether suggestions are shown: then keys are for them."""

    async def _on_key(self, event: events.Key) -> None:
        if event.key == "space" and not self.text:
            event.stop()
            event.prevent_default()
            self._do("talk")
            return
        await super()._on_key(event)

    async def _on_paste(self, event: events.Paste) -> None:
        event.stop()
        event.prevent_default()
        # a terminal pastes what Enter types: lines end with a carriage return
        text = event.text.replace("\r\n", "\n").replace("\r", "\n")
        if not text.strip():
            self._do("paste")  # perhaps it is a picture
        elif paths := pasted(text):
            self.post_message(self.Attached(paths))
        elif len(text) > LONG:
            self.post_message(self.Attached(text))
        else:
            self.insert(clean(text))

    def action_send(self) -> None:
        # Enter is looked at before letters that are typed faster than they are drawn
        self.call_later(self._send)

    def _send(self) -> None:
        if self.choosing:
            self.post_message(self.Choosing("enter"))
            return
        text = self.words
        self.remember()
        self.post_message(self.Sent(text))

    def remember(self) -> None:
        """Have Up bring back what is written."""
        if (text := self.words) and self.sent[-1:] != [text]:
            self.sent.append(text)
        self._place = len(self.sent)

    def action_new_line(self) -> None:
        self.insert("\n")

    def action_end_or_newest(self) -> None:
        before = self.cursor_location
        self.action_cursor_line_end()
        if self.cursor_location == before:
            self._do("newest")

    def action_complete(self) -> None:
        if self.choosing:
            self.post_message(self.Choosing("tab"))
        else:
            self.screen.focus_next()

    def action_earlier(self) -> None:
        if self.choosing:
            self.post_message(self.Choosing("up"))
        elif self.cursor_at_first_line and self._place > 0:
            if self._place == len(self.sent):
                self._draft = self.words
            self._place -= 1
            self.write_words(self.sent[self._place])
        else:
            self.action_cursor_up()

    def action_later(self) -> None:
        if self.choosing:
            self.post_message(self.Choosing("down"))
        elif self.cursor_at_last_line and self._place < len(self.sent):
            self._place += 1
            end = self._place == len(self.sent)
            self.write_words(self._draft if end else self.sent[self._place])
        else:
            self.action_cursor_down()

    def action_delete_left(self) -> None:
        if not self._delete_chip(before=True):
            super().action_delete_left()

    def action_delete_right(self) -> None:
        if not self._delete_chip(before=False):
            super().action_delete_right()

    def _delete_chip(self, before: bool) -> bool:
        """Delete the chip that ends or starts at the cursor; return whether there was one."""
        if self.selected_text in self.chips.values():
            self.selection = Selection.cursor(max(self.selection))
            before = True
        row, column = self.cursor_location
        for chip in self.chips.values() if self.selection.is_empty else ():
            start = column - len(chip) if before else column
            if start >= 0 and self.document[row].startswith(chip, start):
                alike = [number for number, one in self.chips.items() if one == chip]
                if self.text.count(chip) == len(alike):  # none was typed
                    earlier = self.get_text_range((0, 0), (row, start)).count(chip)
                    del self.chips[alike[earlier]]
                    self.post_message(self.ChipsDeleted([alike[earlier]]))
                self.delete((row, start), (row, start + len(chip)))
                return True
        return False

    @property
    def words(self) -> str:
        return self.without_chips.strip()

    @property
    def without_chips(self) -> str:
        text = self.text
        for chip in self.chips.values():
            text = _without(text, chip)
        return text

    def clear_sent(self) -> None:
        self.chips = {}
        self.write("")

    def wait(self, chips: dict[int, str]) -> None:
        """Have chips for what waits now: new ones where the cursor is, and no others."""
        for gone in self.chips.keys() - chips.keys():
            if (chip := self.chips[gone]) in self.text:
                self.write(_without(self.text, chip))
        new = [chip for number, chip in chips.items() if number not in self.chips]
        self.chips = dict(chips)
        for chip in new:
            row, column = self.cursor_location
            before = self.document[row][:column]
            space = "" if not before or before.endswith(" ") else " "
            self.insert(f"{space}{chip} ")

    def on_text_area_changed(self) -> None:
        left, gone = self.text, []
        for number, chip in self.chips.items():
            if chip in left:
                left = left.replace(chip, "", 1)
            else:
                gone.append(number)
        for number in gone:
            del self.chips[number]
        if gone:
            self.post_message(self.ChipsDeleted(gone))

    def _do(self, command: str) -> None:
        self.app.post_message(RunCommand(command))

    def write(self, text: str) -> None:
        self.load_text(text)
        self.move_cursor(self.document.end)

    def write_words(self, words: str) -> None:
        """Replace the words: what is attached stays."""
        self.write("".join(f"{chip} " for chip in self.chips.values()) + words)


def as_typed(words: str) -> str:
    """Write a question as it is typed: two slashes send one."""
    return f"/{words}" if words.startswith("/") else words


def _without(text: str, chip: str) -> str:
    """Take a chip out once, with the space that follows it."""
    return text.replace(f"{chip} " if f"{chip} " in text else chip, "", 1)
