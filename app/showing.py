"""What is shown to the model beside words: pictures of the screen and the clipboard, and files.

Everything that takes a while is done in threads; what comes back is attached here.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path

from textual.message import Message

from .conversation import attachments
from .conversation.attachments import Ready
from .conversation.journal import Journal
from .desk import Desk
from .devices.screen import Shot
from .devices.screen_area import What
from .devices.watcher import Watcher

FRAMES = 8
"""Pictures of a watched screen that wait at most, where all are shown; the oldest go."""


class Showing:
    """Attaches.

    Args:
        desk: what all screens share.
        post: called, from a thread, with the watcher's messages.

    Attributes:
        watched: the id of the attachment that the watcher made last; 0 for none.
    """

    def __init__(self, desk: Desk, post: Callable[[Message], object]) -> None:
        self._desk, self._post = desk, post
        self._watcher: Watcher | None = None
        self.watched = 0
        self._journal: Journal | None = None  # whose screen was watched,
        self._began = 0.0  # and when its first picture was seen

    async def screen(self, what: What) -> str:
        """Take a picture of the screen; give a remark.

        Raises:
            Gemma4Error: it cannot be taken.
        """
        shot = await asyncio.to_thread(self._desk.devices.capture, what)
        return "" if shot is None else await self._show(shot)

    async def clipboard(self) -> str | None:
        """Attach what the clipboard holds; None where that is neither a picture nor files.

        Raises:
            Gemma4Error: it cannot be read.
        """
        held = await asyncio.to_thread(self._desk.devices.clipboard)
        if held is None:
            return None
        return await self._show(held) if isinstance(held, Shot) else await self.files(held)

    async def files(self, paths: list[Path]) -> str:
        """Attach files; give remarks.

        Raises:
            Gemma4Error: one of them cannot be attached; those before it are.
        """
        remarks = [await self._show(path) for path in paths]
        return " ".join(filter(None, remarks))

    @property
    def watching(self) -> bool:
        """Whether the screen is being watched."""
        return self._watcher is not None

    def watch(self, on: bool) -> None:
        """Watch the screen or not; `Seen` comes whenever it has changed."""
        if self._watcher is not None:
            self._watcher.close()
            self._watcher = None
        if on:
            devices = self._desk.devices
            self._watcher = Watcher(
                self._post, self._desk.settings.watch_seconds, lambda: devices.capture("screen")
            )

    async def seen(self, shot: Shot, at: float) -> None:
        """Attach what the watcher saw, in the place of what it saw before or, as a video, after it.

        A video's times are since the first picture that was seen in this conversation.

        Args:
            shot: the newest picture.
            at: when it was seen, in seconds since some time or other.
        """
        conversation, journal = self._desk.conversation, self._desk.journal
        if self._watcher is None or conversation.recording is not None:
            return  # while somebody speaks a picture would have to be heard around
        ready = await asyncio.to_thread(self._store, journal, shot)
        if journal is not self._desk.journal or conversation.recording is not None:
            return
        if journal is not self._journal:
            self._journal, self._began, self.watched = journal, at, 0
        before = conversation.history.waiting.get(self.watched)
        if self._desk.settings.watch_as == "video":
            frames = before.frames if before is not None else ()
            frames = (*frames, (at - self._began, ready.file))[-FRAMES:]
            ready = Ready("video", ready.file, ready.name, ready.size, frames=frames)
        if before is not None:
            conversation.detach(before.id)
        self.watched = conversation.attach(ready).id

    async def _show(self, shown: Path | Shot) -> str:
        journal = self._desk.journal
        ready = await asyncio.to_thread(self._store, journal, shown)
        self._attach(journal, ready)
        return ready.note

    def _store(self, journal: Journal, shown: Path | Shot) -> Ready:
        """Store a file or a picture; in a thread."""
        how, budgets = self._desk.of_pictures, self._desk.conversation.budgets
        if isinstance(shown, Shot):
            return attachments.shot(journal, shown, how, budgets)
        return attachments.file(journal, shown, how)

    def _attach(self, journal: Journal, ready: Ready) -> None:
        if journal is self._desk.journal:  # not where another conversation was opened meanwhile
            self._desk.conversation.attach(ready)
