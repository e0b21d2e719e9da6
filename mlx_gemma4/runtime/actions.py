"""What each command does to a model and its conversation. Lives on the engine's one thread."""

import gc
import time
import warnings
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from .. import load
from ..errors import Gemma4Error
from ..events import Event
from ..media.audio import RATE, read_sound
from ..model.gemma4 import Gemma4
from ..session.session import Session
from ..session.session import SessionMark as Mark
from . import commands as do
from .reports import EngineEvent, Figures, ImageAdded, Loaded, Marked, Noted, Reading

Tell = Callable[[Event | EngineEvent], None]

_CHANGES = (do.Load, do.New, do.Reply, do.Discard, do.Rewind, do.Forget, do.Restore)


class Actions:
    """A model, a conversation with it, and marks in it by number.

    Args:
        stopped: asked between tokens and chunks whether to stop.
    """

    def __init__(self, stopped: Callable[[], bool]) -> None:
        self._stopped = stopped
        self._model: Gemma4 | None = None
        self._session: Session | None = None
        self._settings = do.Settings()
        self._marks: dict[int, Mark] = {}
        self._marked = 0

    def perform(self, command: do.Command, tell: Tell) -> None:
        """Do a command and tell what comes of it.

        Raises:
            Gemma4Error: if it cannot be done.
        """
        match command:
            case do.Load():
                self._load(command, tell)
            case do.New(settings):
                self._begin(settings or self._settings)
            case do.AddText(text):
                self._open().add_text(text)
            case do.AddImage(image, image_tokens):
                picture = self._open().add_image(image, image_tokens)
                tokens = len(picture.patches)
                tell(ImageAdded(picture.original, picture.size, tokens, picture.notes))
            case do.AddSound(path):
                recording = read_sound(path)
                for note in recording.notes:
                    tell(Noted(note))
                self._open().add_audio(recording.samples, RATE, "split")
            case do.AddVideo(video):
                self._open().add_video(video)
            case do.Reply():
                self._reply(command, tell)
            case do.Discard():
                self._open().discard()
            case do.Mark():
                self._marked += 1
                self._marks[self._marked] = self._open().mark()
                tell(Marked(self._marked))
            case do.Rewind(number):
                self._open().rewind(self._mark(number))
            case do.Forget(number):
                self._mark(number)
                del self._marks[number]
            case do.Save(path, cache):
                self._open().save(path, cache=cache)
            case do.Restore(path):
                self._restore(path)
            case do.Hear() | do.EndSpeech() | do.Stop():
                pass  # the engine's own: they are about when, not about what
        self.notices(tell)
        if isinstance(command, _CHANGES):
            self.figures(tell)

    def hear(self, frames: NDArray[np.float32]) -> None:
        """Read frames now."""
        self._open().hear(frames)

    def hold(self, frames: NDArray[np.float32]) -> None:
        """Take frames that are read with what comes next."""
        self._open().hold(frames)

    def idle(self, interrupted: Callable[[], bool]) -> bool:
        """Do a piece of deferred work; say whether there may be more."""
        return self._session is not None and self._session.idle(interrupted)

    def notices(self, tell: Tell) -> None:
        """Tell what has happened unasked."""
        if self._session is not None:
            for notice in self._session.notices():
                tell(notice)

    def figures(self, tell: Tell) -> None:
        """Tell what the conversation takes up, if there is one."""
        if self._session is not None:
            used, context = self._session.context
            memory = mx.get_active_memory(), mx.get_peak_memory()
            tell(Figures(used, context, self._session.nbytes, *memory))

    def close(self) -> None:
        """Free everything, so that nothing of MLX is left for another thread to free."""
        self._marks.clear()
        self._session = self._model = None
        gc.collect()
        mx.synchronize()
        mx.clear_cache()

    def _load(self, command: do.Load, tell: Tell) -> None:
        self.close()  # two models need not fit beside each other
        began = time.perf_counter()
        self._model, notes = load_noted(command.model, command.force)
        for note in notes:
            tell(Noted(note))
        self._begin(command.settings)
        config = self._model.config
        tell(
            Loaded(
                str(self._model.folder),
                time.perf_counter() - began,
                config.text_config.max_position_embeddings,
                config.vision_config is not None,
                config.audio_config is not None,
            )
        )

    def _begin(self, settings: do.Settings) -> None:
        session = Session(
            self._loaded(),
            system=settings.system,
            image_tokens=settings.image_tokens,
            hearing=settings.hearing,
            kv_bits=settings.kv_bits,
            thinking=settings.thinking,
            when_full=settings.when_full,
        )
        self._marks.clear()
        self._session, self._settings = session, settings

    def _restore(self, path: str | Path) -> None:
        settings = self._settings
        session = Session.restore(
            self._loaded(),
            path,
            hearing=settings.hearing,
            kv_bits=settings.kv_bits,
            when_full=settings.when_full,
        )
        self._marks.clear()
        self._session = session

    def _reply(self, command: do.Reply, tell: Tell) -> None:
        reply = self._open().reply(
            max_tokens=command.max_tokens,
            temperature=command.temperature,
            top_p=command.top_p,
            top_k=command.top_k,
            seed=command.seed,
            heard=command.heard,
            progress=lambda done, total: tell(Reading(done, total)),
            cancelled=self._stopped,
        )
        with closing(reply):
            for event in reply:
                tell(event)

    def _loaded(self) -> Gemma4:
        if self._model is None:
            raise _nothing_loaded()
        return self._model

    def _open(self) -> Session:
        if self._session is None:
            raise _nothing_loaded()
        return self._session

    def _mark(self, number: int) -> Mark:
        if number not in self._marks:
            raise Gemma4Error(
                "mark_missing",
                "There is no such mark",
                f"Mark {number} was forgotten, or belongs to an earlier conversation.",
                "Use a mark of this conversation.",
            )
        return self._marks[number]


def load_noted(model: str | Path, force: bool) -> tuple[Gemma4, list[str]]:
    """Load a model, and give what it warned of; arguments and errors are those of `load`."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", UserWarning)
        loaded = load(model, force=force)
    return loaded, [str(warning.message) for warning in caught]


def _nothing_loaded() -> Gemma4Error:
    return Gemma4Error(
        "model_not_loaded",
        "No model is loaded",
        "The engine was not told to load one.",
        "Load a model first.",
    )
