"""The recording: its level, how long it is, from where, and how far the worker is behind."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from textual.content import Content
from textual.reactive import reactive
from textual.widget import Widget

from mlx_gemma4.media.audio import LIMIT_SECONDS

from ..conversation.entries import clock
from ..state import RecordingState
from . import MUTED

QUIETEST = -60.0
"""dB of full scale that draw an empty bar. The scale is fixed: quiet looks quiet."""
WARNING = 25.0
"""Seconds from which on the clip's end is announced."""
LATE = 0.4
"""Seconds behind from which on that is shown: the shortest chunk."""
BLOCKS = " ▁▂▃▄▅▆▇█"


@dataclass(frozen=True)
class TalkStatus:
    """What the bar shows.

    Attributes:
        label: what is done: "rec", "listening" or "opening"; empty hides the bar.
        levels: the last ones, in dB of full scale.
        recording: what is being recorded.
        device: the microphone's name.
        hint: what ends it, as "space sends".
        heard: what was understood; empty for nothing yet.
    """

    label: str = ""
    levels: tuple[float, ...] = ()
    recording: RecordingState = RecordingState()
    device: str = ""
    hint: str = ""
    heard: str = ""


class TalkBar(Widget):
    """Draws a `TalkStatus` on one line, and a second one for what was heard."""

    talk: reactive[TalkStatus] = reactive(TalkStatus(), layout=True)

    def watch_talk(self, talk: TalkStatus) -> None:
        self.display = bool(talk.label or talk.heard)
        self.set_class(talk.label == "rec", "recording")

    def render(self) -> Content:
        lines = []
        if self.talk.label:
            lines.append(_line(self.talk, self.content_size.width))
        if self.talk.heard:
            lines.append(Content.assemble(("Heard: ", MUTED), (self.talk.heard, "italic")))
        return Content("\n").join(lines)


def bars(levels: tuple[float, ...], width: int) -> str:
    """Draw the newest levels, one a cell."""
    drawn = ""
    for level in levels[-width:]:
        share = 0.0 if level == -math.inf else (level - QUIETEST) / -QUIETEST
        drawn += BLOCKS[round(max(0.0, min(1.0, share)) * (len(BLOCKS) - 1))]
    return drawn.rjust(width)


def _line(talk: TalkStatus, width: int) -> Content:
    dot = "$text-error" if talk.label == "rec" else MUTED
    left = Content.assemble(("● ", dot), (talk.label, f"{dot} bold"), " ")
    for right in _choices(talk):
        room = width - left.cell_length - right.cell_length - 1
        if room >= 8:
            return Content.assemble(left, bars(talk.levels, min(room, 40)), " ", right)
    return left


def _choices(talk: TalkStatus) -> Iterator[Content]:
    """Yield what may be on the right, from most to least."""
    level = talk.levels[-1] if talk.levels else -math.inf
    loud = " -∞ dB" if level == -math.inf else f"{level:4.0f} dB"
    recording = talk.recording
    colour = "$text-warning bold" if recording.seconds >= WARNING else "bold"
    time = (f"{clock(recording.seconds)} / {clock(LIMIT_SECONDS)}", colour)
    figures = Content.assemble((loud, MUTED), "  ", time)
    if recording.clip > 1:
        figures = Content.assemble(figures, (f"  clip {recording.clip}", MUTED))
    if recording.behind >= LATE:
        figures = Content.assemble(figures, (f"  {recording.behind:.1f} s behind", "$text-warning"))
    hint = (f" · {talk.hint}" if talk.hint else "", MUTED)
    yield Content.assemble(figures, "   ", (talk.device, MUTED), hint)
    device = talk.device if len(talk.device) <= 16 else talk.device[:15] + "…"
    yield Content.assemble(figures, "   ", (device, MUTED), hint)
    yield Content.assemble(figures, " ", hint)
    yield figures
    yield Content.assemble(time)
