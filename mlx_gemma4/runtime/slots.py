"""The model and the sessions of open conversations: what each command does, in steps.

Lives on the worker's one thread.
"""

import gc
import logging
import time
import warnings
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from .. import load
from ..errors import Gemma4Error
from ..events import Event, Heard
from ..generation.prefill_decode import CHUNK
from ..media.audio import RATE, read_sound
from ..model.gemma4 import Gemma4
from ..session.constrained import prepare_grammars
from ..session.prefix_store import PrefixStore
from ..session.session import Session
from . import commands
from .past import MediaCache, turns_of
from .reports import Figures, ImageAdded, Loaded, Noted, Reading, Rereading, WorkerEvent

Reporting = Generator[Event | WorkerEvent | None]
"""Work in steps that yields what there is to report, or None."""

log = logging.getLogger(__name__)

SLOTS = 8
"""The most conversations that can be open at once."""
SHORT_CHUNK = 256
"""Tokens in a chunk of prefill while somebody speaks, or waits for a spoken reply, elsewhere."""

_CHANGES = (commands.Open, commands.Reply, commands.Discard)


@dataclass(eq=False)
class Slot:
    """An open conversation.

    Attributes:
        rereading: tokens of the turns that were not read when it was opened; 0 when they are.
        parked: nothing has changed since its rows were parked.
    """

    session: Session
    settings: commands.SessionSettings
    rereading: int = 0
    parked: bool = True


class Slots:
    """A model and the conversations with it.

    Args:
        urgent: whether somebody speaks, or waits for a spoken reply, besides a conversation.
    """

    def __init__(self, urgent: Callable[[str], bool]) -> None:
        self._urgent = urgent
        self._model: Gemma4 | None = None
        self._slots: dict[str, Slot] = {}
        self._media = MediaCache()

    def load(self, command: commands.Load) -> Reporting:
        """Load a model.

        Raises:
            Gemma4Error: it cannot be loaded.
        """
        self.close()  # two models need not fit beside each other
        yield None
        began = time.perf_counter()
        self._model, notes = load_noted(command.model, command.force)
        for note in notes:
            yield Noted(note)
        if command.grammars:
            prepare_grammars(self._model)
        config = self._model.config
        yield Loaded(
            str(self._model.folder),
            time.perf_counter() - began,
            config.text_config.max_position_embeddings,
            config.vision_config is not None,
            config.audio_config is not None,
            config.image_tokens,
        )

    def work(self, command: commands.InConversation, cancelled: Callable[[], bool]) -> Reporting:
        """Carry out a command to a conversation.

        Args:
            command: what to do.
            cancelled: asked between tokens and chunks whether to stop.

        Raises:
            Gemma4Error: it cannot be carried out.
        """
        conversation = command.conversation
        match command:
            case commands.Open():
                yield from self._open(command)
            case commands.Close():
                self._close(conversation)
            case commands.Park():
                self._park(conversation, self._slot(conversation))
            case commands.AddText(text):
                self._session(conversation).add_text(text)
            case commands.AddImage(image, image_tokens):
                yield self._add_image(conversation, image, image_tokens)
            case commands.AddSound(path):
                if isinstance(path, np.ndarray):
                    self._session(conversation).add_frames(path)
                else:
                    recording = read_sound(path)
                    for note in recording.notes:
                        yield Noted(note)
                    self._session(conversation).add_audio(recording.samples, RATE, "split")
            case commands.AddVideo(video):
                self._session(conversation).add_video(video)
            case commands.AddToolResult(call_id, content):
                self._session(conversation).add_tool_result(call_id, content)
            case commands.Reply():
                yield from self._reply(command, cancelled)
            case commands.Transcribe(frames):
                yield from self._transcribe(conversation, frames, cancelled)
            case commands.Discard():
                self._session(conversation).discard()
        yield from self.notices(conversation)
        if isinstance(command, _CHANGES):
            yield from self.figures(conversation)

    def hear(self, conversation: str, frames: NDArray[np.float32]) -> Generator[object]:
        """Read frames, in steps."""
        return self._session(conversation).listening(frames)

    def hold(self, conversation: str, frames: NDArray[np.float32]) -> None:
        """Take frames that are read with what comes next."""
        self._session(conversation).hold(frames)

    def idle(self, conversation: str) -> Reporting:
        """Do what nobody waits for yet: read what is left to read, then park the rows."""
        slot = self._slots.get(conversation)
        more = slot is not None
        while slot is not None and more:
            with closing(slot.session.reading()) as steps:
                while True:
                    try:
                        done, total = next(steps)
                    except StopIteration as end:
                        more = end.value
                        break
                    slot.parked = False
                    yield Reading(done, total) if slot.rereading else None
            yield from self.notices(conversation)
            slot.rereading = 0
        if slot is not None and not slot.parked:
            self._park(conversation, slot)

    def rereads(self, conversation: str) -> bool:
        """Whether turns with which it was opened are not read yet."""
        slot = self._slots.get(conversation)
        return slot is not None and slot.rereading > 0

    def notices(self, conversation: str) -> list[Event]:
        """What has happened unasked."""
        slot = self._slots.get(conversation)
        return [*slot.session.notices()] if slot is not None else []

    def figures(self, conversation: str) -> list[WorkerEvent]:
        """What the conversation takes up, if it is open."""
        if (slot := self._slots.get(conversation)) is None:
            return []
        used, context = slot.session.context
        memory = mx.get_active_memory(), mx.get_peak_memory()
        return [Figures(used, context, slot.session.nbytes, *memory)]

    def close(self) -> None:
        """Free everything, so that nothing of MLX is left for another thread to free."""
        for conversation in [*self._slots]:
            try:
                self._close(conversation)
            except Gemma4Error as error:  # nobody waits for this any more
                log.warning("The conversation %s was not parked: %s", conversation, error)
        self._model = None
        gc.collect()
        mx.synchronize()
        mx.clear_cache()

    def _open(self, command: commands.Open) -> Reporting:
        if self._model is None:
            raise _nothing_loaded()
        conversation, settings = command.conversation, command.settings
        config = self._model.config
        tokens = settings.image_tokens or config.image_tokens
        turns, missing = turns_of(command.turns, self._media, config, tokens)
        for sentence in missing:
            yield Noted(sentence)
        slot = self._slots.get(conversation)
        if slot is None or slot.settings != settings:
            if slot is None and len(self._slots) >= SLOTS:
                raise Gemma4Error(
                    "slots_full",
                    "Too many conversations are open",
                    f"{SLOTS} are.",
                    "Close one of them.",
                )
            slot = Slot(self._new_session(conversation, settings), settings)
            self._slots[conversation] = slot
        slot.session.open(turns, command.tools)
        slot.rereading = slot.session.unread if turns else 0
        if slot.rereading:
            yield Rereading(slot.rereading)

    def _new_session(self, conversation: str, settings: commands.SessionSettings) -> Session:
        assert self._model is not None
        store = None
        if settings.park is not None:
            store = PrefixStore(settings.park, settings.park_bytes)
        session = Session(
            self._model,
            system=settings.system,
            image_tokens=settings.image_tokens,
            hearing=settings.hearing,
            kv_bits=settings.kv_bits,
            thinking=settings.thinking,
            when_full=settings.when_full,
            store=store,
        )
        session.set_chunk(lambda: SHORT_CHUNK if self._urgent(conversation) else CHUNK)
        return session

    def _close(self, conversation: str) -> None:
        slot = self._slots.pop(conversation, None)
        if slot is not None and not slot.parked:
            self._park(conversation, slot)

    def _park(self, conversation: str, slot: Slot) -> None:
        slot.parked = True
        slot.session.park(conversation)

    def _add_image(
        self, conversation: str, image: commands.Pictures, image_tokens: int | None
    ) -> ImageAdded:
        slot = self._slot(conversation)
        picture = slot.session.add_image(image, image_tokens)
        assert self._model is not None
        tokens = image_tokens or slot.settings.image_tokens or self._model.config.image_tokens
        self._media.keep(image, tokens, picture)  # opening the conversation reads it again
        return ImageAdded(picture.original, picture.size, len(picture.patches), picture.notes)

    def _transcribe(
        self, conversation: str, frames: NDArray[np.float32], cancelled: Callable[[], bool]
    ) -> Reporting:
        with closing(self._session(conversation).transcribing(frames)) as steps:
            while not cancelled():
                try:
                    next(steps)
                except StopIteration as end:
                    yield Heard(end.value)
                    return
                yield None

    def _reply(self, command: commands.Reply, cancelled: Callable[[], bool]) -> Reporting:
        slot = self._slot(command.conversation)
        slot.rereading, slot.parked = 0, False
        reply = slot.session.replying(
            max_tokens=command.max_tokens,
            temperature=command.temperature,
            top_p=command.top_p,
            top_k=command.top_k,
            seed=command.seed,
            heard=command.heard,
            cancelled=cancelled,
            grammar=command.grammar,
            must_call=command.must_call,
        )
        with closing(reply):
            for step in reply:
                yield Reading(*step) if isinstance(step, tuple) else step

    def _session(self, conversation: str) -> Session:
        return self._slot(conversation).session

    def _slot(self, conversation: str) -> Slot:
        if self._model is None:
            raise _nothing_loaded()
        if conversation not in self._slots:
            raise Gemma4Error(
                "conversation_not_open",
                "The conversation is not open",
                f"The worker has none called {conversation!r}.",
                "Open it first.",
            )
        return self._slots[conversation]


def load_noted(model: str | Path, force: bool) -> tuple[Gemma4, list[str]]:
    """Load a model, and return what it warned of; arguments and errors are those of `load`."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", UserWarning)
        loaded = load(model, force=force)
    return loaded, [str(warning.message) for warning in caught]


def _nothing_loaded() -> Gemma4Error:
    return Gemma4Error(
        "model_not_loaded",
        "No model is loaded",
        "The worker was not asked to load one.",
        "Load a model first.",
    )
