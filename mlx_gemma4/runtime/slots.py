"""The model and the sessions of open conversations: what each command does, in steps.

Used on the worker's one thread alone.
"""

import logging
import time
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from .. import exchange_adapter
from ..cluster.hosts import Sending
from ..errors import Gemma4Error
from ..events import Event
from ..footprint import held
from ..generation.prefill_decode import CHUNK
from ..model.gemma4 import Gemma4
from ..session.constrained import prepare_grammars, tokenizer_of
from ..session.prefix_store import PrefixStore
from ..session.reply import DrawnReplies
from ..session.rows import common
from ..session.session import Session
from ..session.transcriber import heard
from . import commands
from .loading import free_memory, load_noted
from .past import MediaCache, turns_of
from .reports import Failed, Figures, ImageAdded, Loaded, Noted, Reading, Rereading, WorkerEvent

Reporting = Generator[Event | WorkerEvent | None]
"""Work in steps that yields what there is to report, or None."""

log = logging.getLogger(__name__)

SHORT_CHUNK = 256
"""Tokens in a prefill chunk while, in another conversation, somebody speaks, may speak, or waits
for a spoken reply."""

FEW = 64
"""Fewer rows than this are not taken over: reading them again takes no longer."""
LOSS = 512
"""The most rows that a closed conversation may lose when it is taken over; else it is copied."""

_CHANGES = (commands.Open, commands.Reply, commands.Discard)


@dataclass(eq=False)
class Slot:
    """An open conversation.

    Attributes:
        owner: the name under which its rows are parked.
        rereading: tokens of the turns that were not read when it was opened; 0 when they are.
        parked: nothing has changed since its rows were parked.
        kept: it is closed; only its rows are left.
        waits: nothing is read before a reply is asked for.
    """

    session: Session
    settings: commands.SessionSettings
    owner: str
    rereading: int = 0
    parked: bool = True
    kept: bool = False
    waits: bool = False

    def take_over(self, other: "Slot") -> None:
        """Continue with another's rows, which must not be used again."""
        self.session.use(other.session.release())
        self.owner, self.parked = other.owner, other.parked


class Slots:
    """A model and the conversations with it.

    Args:
        urgent: whether somebody speaks, or waits for a spoken reply, in any other conversation.
        report: called, perhaps from a thread, with what happens to the model itself.
    """

    def __init__(
        self, urgent: Callable[[str], bool], report: Callable[[WorkerEvent], object]
    ) -> None:
        self._urgent = urgent
        self._report = report
        self._model: Gemma4 | None = None
        self._slots: dict[str, Slot] = {}
        self._media = MediaCache()
        self._limit = commands.SLOTS
        self._drawn: DrawnReplies | None = None
        self._beside: tuple[object, ...] = ()  # what else the model was loaded with

    def load(self, command: commands.Load) -> Reporting:
        """Load a model, or raise Gemma4Error; where only the adapter differs, the weights stay."""
        beside = command.hosts, command.drafter, command.draft
        same = command.hosts is None and beside == self._beside
        kept, notes = self._model if same else None, list[str]()
        self.close()  # two models need not fit beside each other
        yield None
        started = time.perf_counter()
        try:
            if kept is None or not exchange_adapter(kept, command.model):
                kept = None
                free_memory()
                kept, notes = load_noted(
                    command.model,
                    command.force,
                    command.hosts,
                    lambda *sent: self._report(Sending(*sent)),
                    command.drafter,
                    command.draft,
                )
        except BaseException:
            held.release()  # the model before it is freed, too
            raise
        self._model = kept
        self._limit, self._drawn, self._beside = command.slots, None, beside
        for note in notes:
            yield Noted(note)
        if (crew := getattr(self._model, "crew", None)) is not None:
            crew.watchers.add(lambda error: self._report(Failed.of(error)))
        if command.grammars:
            prepare_grammars(self._model)
        config = self._model.config
        yield Loaded(
            str(self._model.folder),
            time.perf_counter() - started,
            config.text_config.max_position_embeddings,
            config.vision_config is not None,
            config.audio_config is not None,
            config.image_tokens,
        )

    def work(self, command: commands.InConversation, cancelled: Callable[[], bool]) -> Reporting:
        """Carry out a command to a conversation, or raise Gemma4Error.

        Args:
            cancelled: asked between tokens and chunks whether to stop.
        """
        conversation = command.conversation
        match command:
            case commands.Open():
                yield from self._open(command)
            case commands.Close(keep):
                self._close(conversation, keep)
            case commands.Park():
                self._park(self._slot(conversation))
            case commands.AddText(text):
                self.session(conversation).add_text(text)
            case commands.AddImage(image, image_tokens):
                yield self._add_image(conversation, image, image_tokens)
            case commands.AddSound(path):
                if isinstance(path, np.ndarray):
                    self.session(conversation).add_frames(path)
                else:
                    added = self.session(conversation).add_audio(path, long="split")
                    yield from map(Noted, added)
            case commands.AddVideo(video):
                yield from map(Noted, self.session(conversation).add_video(video))
            case commands.AddToolResult(call_id, content):
                self.session(conversation).add_tool_result(call_id, content)
            case commands.Reply():
                yield from self._reply(command, cancelled)
            case commands.Transcribe(frames):
                yield from heard(self.session(conversation).transcribing(frames), cancelled)
            case commands.Discard():
                self.session(conversation).discard()
        yield from self.notices(conversation)
        if isinstance(command, _CHANGES):
            yield from self.figures(conversation)

    def idle(self, conversation: str) -> Reporting:
        """Do what nobody waits for yet: read what is left to read, then park the rows."""
        slot = self._slots.get(conversation)
        if slot is None or slot.waits:
            return
        more = True
        while more:
            with closing(slot.session.reading()) as steps:
                while True:
                    try:
                        done, total = next(steps)
                    except StopIteration as end:
                        more = end.value
                        break
                    slot.parked = False
                    yield Reading(done, total) if slot.rereading else None
            if self._slots.get(conversation) is not slot:
                return  # another conversation has its rows now
            yield from self.notices(conversation)
            slot.rereading = 0
        if not (slot.parked or slot.kept):
            self._park(slot)

    def rereads(self, conversation: str) -> bool:
        """Whether some of the turns that it was opened with are not read yet."""
        slot = self._slots.get(conversation)
        return slot is not None and slot.rereading > 0

    def notices(self, conversation: str) -> list[Event]:
        """Return what has happened without a command for it."""
        slot = self._slots.get(conversation)
        return [*slot.session.notices()] if slot is not None else []

    def figures(self, conversation: str) -> list[WorkerEvent]:
        """Return how much context and memory the conversation takes; nothing if it is not open."""
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
        self._model = self._drawn = None
        free_memory()

    def _open(self, command: commands.Open) -> Reporting:
        conversation, settings = command.conversation, command.settings
        config = self._loaded().config
        tokens = settings.image_tokens or config.image_tokens
        turns, missing = turns_of(command.turns, self._media, config, tokens)
        for sentence in missing:
            yield Noted(sentence)
        slot = before = self._slots.get(conversation)
        if slot is None or slot.settings != settings:
            slot = Slot(self._new_session(conversation, settings), settings, conversation)
        slot.session.open(turns, command.tools)
        slot.kept = False  # it may have been closed
        if before is None:
            self._find_rows(slot)
        elif before is not slot and before.settings.kv_bits == settings.kv_bits:
            slot.take_over(before)
        self._slots[conversation] = slot
        slot.waits = not command.read_ahead
        slot.rereading = slot.session.unread if turns else 0
        slot.owner = slot.session.owner or slot.owner
        if slot.rereading:
            yield Rereading(slot.rereading)

    def _find_rows(self, slot: Slot) -> None:
        """Use the rows of the conversation with the longest common prefix, and make room.

        The rows of a closed one are taken over where few of them are lost; else they are copied.
        """
        rows = slot.session.rows
        others = [
            (other.session.cache.reaches(common(rows, other.session.cache.rows)), name)
            for name, other in self._slots.items()
            if other.settings.kv_bits == slot.settings.kv_bits
        ]
        reach, name = max(others, default=(0, ""))
        best = self._slots.get(name)
        lost = len(best.session.cache) - reach if best else 0
        worth = reach >= FEW or (reach > lost and best is not None and best.kept)
        if best is None or not worth or slot.session.parked >= reach + FEW:
            self._make_room()
            return
        alone = len(self._slots) >= self._limit and not self._dispensable(besides=best)
        if best.kept and (lost <= LOSS or alone):
            if lost > LOSS:
                self._park(best)
            del self._slots[name]
            slot.take_over(best)
            slot.parked = False
        else:
            self._make_room(besides=best)
            slot.session.use(best.session.cache.fork(reach))

    def _make_room(self, besides: Slot | None = None) -> None:
        """Park and drop the rows that were used least recently, where no slot is free."""
        while len(self._slots) >= self._limit:
            kept = self._dispensable(besides)
            if not kept:
                raise Gemma4Error(
                    "slots_full",
                    "Too many conversations are open",
                    f"{self._limit} are.",
                    "Close one of them.",
                )
            self._close(kept[0])

    def _dispensable(self, besides: Slot | None) -> list[str]:
        """Return the closed conversations whose rows are left, the one closed first at first."""
        return [name for name, slot in self._slots.items() if slot.kept and slot is not besides]

    def _new_session(self, conversation: str, settings: commands.SessionSettings) -> Session:
        model, store = self._loaded(), None
        if settings.park is not None:
            store = PrefixStore(settings.park, settings.park_bytes)
        if self._drawn is None:
            self._drawn = DrawnReplies(tokenizer_of(model), model.config)
        session = Session(
            model,
            system=settings.system,
            image_tokens=settings.image_tokens,
            hearing=settings.hearing,
            kv_bits=settings.kv_bits,
            thinking=settings.thinking,
            when_full=settings.when_full,
            store=store,
            context=settings.context,
            drawn=self._drawn,
        )
        session.set_chunk(lambda: SHORT_CHUNK if self._hurries(conversation) else CHUNK)
        return session

    def _hurries(self, conversation: str) -> bool:
        """Whether somebody else speaks or may at any time, or waits for a spoken reply."""
        live = (
            slot.settings.live and not slot.kept
            for name, slot in self._slots.items()
            if name != conversation
        )
        return self._urgent(conversation) or any(live)

    def _close(self, conversation: str, keep: bool = False) -> None:
        slot = self._slots.pop(conversation, None)
        if slot is not None and keep:
            slot.kept = True
            slot.session.discard()
            slot.waits = slot.session.unread > CHUNK  # who asked for it has left
            self._slots[conversation] = slot  # behind all that were closed before
        elif slot is not None and not slot.parked:
            self._park(slot)

    def _park(self, slot: Slot) -> None:
        slot.parked = True
        slot.session.park(slot.owner)

    def _add_image(
        self, conversation: str, image: commands.Pictures, image_tokens: int | None
    ) -> ImageAdded:
        slot = self._slot(conversation)
        picture = slot.session.add_image(image, image_tokens)
        tokens = image_tokens or slot.settings.image_tokens or self._loaded().config.image_tokens
        self._media.keep(image, tokens, picture)  # opening the conversation reads it again
        return ImageAdded(picture.original, picture.size, len(picture.patches), picture.notes)

    def _reply(self, command: commands.Reply, cancelled: Callable[[], bool]) -> Reporting:
        slot = self._slot(command.conversation)
        slot.rereading, slot.parked, slot.waits = 0, False, False
        asked = {name: value for name, value in vars(command).items() if name != "conversation"}
        reply = slot.session.replying(cancelled=cancelled, **asked)
        with closing(reply):
            for step in reply:
                yield Reading(*step) if isinstance(step, tuple) else step

    def session(self, conversation: str) -> Session:
        """Return an open conversation's session. Raises Gemma4Error where there is none."""
        return self._slot(conversation).session

    def _loaded(self) -> Gemma4:
        if self._model is None:
            raise Gemma4Error(
                "model_not_loaded",
                "No model is loaded",
                "The worker was not asked to load one.",
                "Load a model first.",
            )
        return self._model

    def _slot(self, conversation: str) -> Slot:
        self._loaded()
        if conversation not in self._slots:
            raise Gemma4Error(
                "conversation_not_open",
                "The conversation is not open",
                f"The worker has none called {conversation!r}.",
                "Open it first.",
            )
        return self._slots[conversation]
