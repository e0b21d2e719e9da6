"""The last line: the keys that matter now. What does not fit is left out from the right."""

from dataclasses import dataclass

from textual import events
from textual.content import Content
from textual.reactive import reactive
from textual.widget import Widget

from ..messages import RunCommand


@dataclass(frozen=True)
class Key:
    """One key of the line: how it is written, what it does, and the command's id."""

    key: str
    label: str
    command: str

    @property
    def width(self) -> int:
        return len(self.key) + 1 + len(self.label)


class Footer(Widget):
    """Draws keys; each can be clicked. The last one is always on the right."""

    keys: reactive[tuple[Key, ...]] = reactive(())

    def render(self) -> Content:
        drawn: list[str | tuple[str, str]] = []
        column = 0
        for start, key in self._places():
            last = key is self.keys[-1]
            before = "│ " if last and start >= 2 else ""
            drawn += [" " * (start - column - len(before)), (before, "$foreground 30%")]
            drawn += [(key.key, "$footer-key-foreground bold"), f" {key.label}"]
            column = start + key.width
        return Content.assemble(*drawn)

    def on_click(self, event: events.Click) -> None:
        column = event.x - self.styles.padding.left
        for start, key in self._places():
            if start <= column < start + key.width:
                self.post_message(RunCommand(key.command))

    def _places(self) -> list[tuple[int, Key]]:
        """Return the keys that fit, each with the column where it starts."""
        if not self.keys:
            return []
        *others, last = self.keys
        end = max(0, self.content_size.width - last.width)
        places, column = [], 0
        for key in others:
            if column + key.width + 2 > end:
                break
            places.append((column, key))
            column += key.width + 2
        return [*places, (end, last)]
