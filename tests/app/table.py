"""A conversation over a fake engine that remembers, for tests of `app.session`."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from app.conversation.attachments import shot
from app.conversation.controller import ConversationController
from app.conversation.entries import Attachment
from app.conversation.history import ShownTurn
from app.conversation.journal import Journal
from app.devices.screen import Shot
from app.devices.speech import SpeechOutput
from app.settings import DEFAULTS
from mlx_gemma4.runtime import commands as do
from mlx_gemma4.testing.scripted_worker import Answer, ScriptedWorker

SECOND = np.full((25, 640), 0.25, np.float32)


class Recorder(ScriptedWorker):
    """A fake engine that remembers its commands."""

    def __init__(self, answers: Sequence[Answer] = ("Yes.",), speed: float = math.inf) -> None:
        self.commands: list[do.Command] = []
        super().__init__(answers, speed)

    def _accept(self, number: int, command: do.Command) -> None:
        self.commands.append(command)
        super()._accept(number, command)

    def received(self, *kinds: type) -> list[do.Command]:
        """The commands of these kinds, in order."""
        return [one for one in self.commands if isinstance(one, kinds)]


class Silent(SpeechOutput):
    """A speaker that only remembers."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.busy = False

    @property
    def speaking(self) -> bool:
        return self.busy

    def add(self, piece: str) -> None:
        self.busy = True
        self.heard.append(piece)

    def finish(self) -> None:
        self.heard.append("<end>")

    def stop(self) -> None:
        self.busy = False
        self.heard.append("<stop>")


class Table:
    """A conversation, its engine and its folder."""

    def __init__(self, folder: Path, *answers: Answer, speed: float = math.inf) -> None:
        self.folder = folder
        self.engine = Recorder(answers or ("Yes.",), speed)
        self.talk = self.sit()

    def sit(self, speaker: SpeechOutput | None = None) -> ConversationController:
        self.talk = ConversationController(self.engine, Journal(self.folder), DEFAULTS, speaker)
        self.talk.start()
        return self.talk

    def until(self, condition: Callable[[], object]) -> set[int]:
        """Fold reports until something is so; return the ids of the turns that changed."""
        changed: set[int] = set()
        end = time.monotonic() + 10
        while not condition():
            if (report := self.engine.read(0.05)) is not None:
                changed |= self.talk.fold([report])
            assert time.monotonic() < end, "it did not come to that"
        return changed

    def hear(self, frames: NDArray[np.float32]) -> set[int]:
        """What the microphone does with frames that are spoken."""
        changed = self.talk.start_recording()
        self.talk.record(frames)
        self.talk.watch_recording()
        self.engine.send(do.Hear(frames, conversation=self.talk.id))
        return changed

    def settle(self) -> set[int]:
        return self.until(lambda: not self.talk.pending)

    def turns(self) -> list[ShownTurn]:
        return list(self.talk.history.turns.values())

    def picture(self, name: str = "window") -> Attachment:
        image = Image.new("RGB", (640, 400), name.encode().hex()[:6].rjust(7, "#"))
        journal = self.talk._journaled.journal
        return self.talk.attach(shot(journal, Shot(image, name), DEFAULTS))

    def again(self) -> list[ShownTurn]:
        """What somebody sees who opens the same folder, after the program was killed."""
        journal = self.talk._journaled.journal
        journal.close()
        self.talk = ConversationController(self.engine, Journal(self.folder), DEFAULTS)
        return self.turns()


@pytest.fixture
def table(tmp_path: Path) -> Iterator[Callable[..., Table]]:
    made: list[Table] = []

    def make(*answers: Answer, speed: float = math.inf) -> Table:
        made.append(Table(tmp_path / "talk", *answers, speed=speed))
        return made[-1]

    yield make
    for one in made:
        one.talk.close()
        one.engine.close()


Make = Callable[..., Table]
