"""/voices: the voices of this computer, to be heard and chosen."""

from textual.app import ComposeResult
from textual.binding import Binding
from textual.content import Content
from textual.widgets import OptionList, Static

from mlx_gemma4.errors import Gemma4Error, counted

from ..devices import voices
from ..devices.speech import SpeechOutput
from ..devices.voices import SystemVoice
from ..state import Problem
from ..widgets import MUTED
from .page import Listing

OWN = SystemVoice("", "the system's own")


class VoicesScreen(Listing[SystemVoice]):
    """A list; the better voices first."""

    HEADING = "Voices"
    KEYS = (("enter", "Take"), ("s", "Play a sample"))
    BINDINGS = [Binding("s", "sample", show=False)]

    _speech: SpeechOutput | None = None

    def content(self) -> ComposeResult:
        yield OptionList(id="list", compact=True)
        yield Static(id="progress", markup=False)

    async def on_mount(self) -> None:
        self.subtitle("looking ...")
        found = await self.in_thread(self.workspace.devices.voices)
        self.remark(found.words if isinstance(found, Problem) else voices.how_to_get())
        found = [] if isinstance(found, Problem) else found
        now = self.workspace.settings.voice
        listed = [OWN, *found]
        self.fill(listed, lambda one: line(one, one.name == now))
        better = sum(one.better for one in found)
        self.subtitle(f"{counted(len(found), 'voice')}, {better} of them premium or enhanced")
        self.query_one(OptionList).focus()

    def on_option_list_option_selected(self) -> None:
        if (chosen := self.chosen) is not None:
            try:
                self.workspace.change(voice=chosen.name)
            except (OSError, Gemma4Error) as error:
                self.problem(error)
            self.dismiss()

    def action_sample(self) -> None:
        chosen = self.chosen
        if chosen is None:
            return
        self._silence()
        try:
            speaks = self.workspace.devices.voice(chosen.name, self.workspace.settings.rate)
        except Gemma4Error as error:
            self.remark(Problem.of(error).words)
            return
        self._speech = SpeechOutput(speaks, self._spoken)
        self._speech.add(voices.SAMPLE)
        self._speech.finish()

    def on_unmount(self) -> None:
        self._silence()

    def _spoken(self) -> None:
        """Show, from the speaker's thread, what kept it from speaking."""
        speech = self._speech
        if speech is not None and speech.problem is not None:
            self.app.call_later(self.remark, Problem.of(speech.problem).words)

    def _silence(self) -> None:
        if self._speech is not None:
            self._speech.close()
            self._speech = None


def line(one: SystemVoice, chosen: bool) -> Content:
    mark = "● " if chosen else "  "
    name = one.name or "System voice"
    better = ("  ★ premium", "$text-accent") if one.better else ("", "")
    return Content.assemble(
        (mark, "$text-success"), (name, "bold"), (f"  {one.language}", MUTED), better
    )
