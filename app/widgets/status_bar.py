"""The line on top: the model, what it does now and what Escape would do, and what it takes up."""

from collections.abc import Iterator
from dataclasses import dataclass

from textual.content import Content
from textual.reactive import reactive
from textual.widget import Widget

from ..state import Usage
from . import MUTED

BAR = 8
"""Cells of the context's bar."""
GAP = Content("   ")


@dataclass(frozen=True)
class Status:
    """What the line shows.

    Attributes:
        model: its name; empty where none is loaded.
        detail: what it is, as "demonstration".
        state: what is done now, as "ready".
        escape: what Escape would do now; empty for nothing.
        colour: of the state's dot, as a variable of the theme.
        usage: what the conversation takes up.
        budget: bytes that a model may take; 0 where it is not known.
        watching: whether the screen is being watched.
        job: the model that is on its way, as "↓ 41 %"; empty for none.
    """

    model: str = ""
    detail: str = ""
    state: str = "starting"
    escape: str = ""
    colour: str = MUTED
    usage: Usage = Usage()
    budget: int = 0
    watching: bool = False
    job: str = ""


class StatusBar(Widget):
    """Draws a `Status` on one line; what does not fit is left out, the least important first."""

    status = reactive(Status())

    def render(self) -> Content:
        width = self.content_size.width
        for left, right in _choices(self.status):
            room = width - left.cell_length - right.cell_length
            if room >= 2 or not right:
                return Content.assemble(left, " " * max(0, room), right)
        raise AssertionError("the last choice is nothing on the right")


def _choices(status: Status) -> Iterator[tuple[Content, Content]]:
    """Yield what may be on the left and on the right, from most to least."""
    left = _left(status, status.escape)
    memory, speed = _memory(status), []
    if status.usage.speed:
        speed = [Content.assemble((f"{status.usage.speed:.1f} tok/s", MUTED))]
    yield left, GAP.join([_context(status, bar=True), *memory, *speed])
    context = _context(status, bar=False)
    for parts in ([context, *memory, *speed], [context, *memory], [context]):
        yield left, GAP.join(parts)
    yield _left(status, ""), context
    yield _left(status, ""), Content()


def _left(status: Status, escape: str) -> Content:
    parts: list[tuple[str, str]] = []
    if status.model:
        parts += [(status.model, "bold"), (f" {status.detail}".rstrip() + "   ", "")]
    parts += [("● ", status.colour), (status.state, "")]
    if escape:
        parts.append((f" · esc {escape}", MUTED))
    if status.job:
        parts.append((f"   {status.job}", "$text-accent"))
    if status.watching:
        parts.append(("   ● screen", "$text-error bold"))
    return Content.assemble(*parts)


def _context(status: Status, bar: bool) -> Content:
    used, context = status.usage.used, status.usage.context
    if not context:
        return Content()
    filled = min(BAR, -(-used * BAR // context))
    drawn = "█" * filled + "░" * (BAR - filled) + " " if bar else ""
    colour = "$text-warning" if used > 7 / 8 * context else MUTED
    return Content.assemble((f"ctx {drawn}{short(used)}/{short(context)}", colour))


def _memory(status: Status) -> list[Content]:
    if not status.usage.active_bytes:
        return []
    budget = f"/{status.budget / 1e9:.0f}" if status.budget else ""
    held = status.usage.active_bytes / 1e9
    over = status.budget and status.usage.active_bytes > 0.95 * status.budget
    colour = "$text-warning" if over else MUTED
    return [Content.assemble((f"mem {held:.{1 if held >= 0.1 else 2}f}{budget} GB", colour))]


def short(number: int) -> str:
    """Write a number of tokens in few characters: 812, 3.1k, 32k."""
    if number < 1000:
        return str(number)
    if number % 1024 == 0:
        return f"{number // 1024}k"
    return f"{number / 1000:.1f}k" if number < 9950 else f"{number / 1000:.0f}k"
