"""What is shown to the model beside words: pictures of the screen and the clipboard, and files.

Everything that takes a while is done in threads; what comes back is attached here.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path

from mlx_gemma4.limits import PICTURE_TOKENS
from mlx_gemma4.media.images import BUDGETS

from ..conversation import attachments
from ..conversation.attachments import Ready
from ..conversation.journal import Journal
from ..devices.screen import WORDS, Shot
from ..devices.screen_watcher import ScreenChanged, ScreenWatcher
from ..state import Problem, ScreenArea
from ..workspace import Workspace

MOST = PICTURE_TOKENS // BUDGETS[-1]
"""The most files that wait: as many screenshots as memory is reckoned with."""
FRAMES = 8
"""The most pictures of a watched screen that wait, where all are shown; the oldest go."""


class MediaInput:
    """Attaches what the user shows.

    Args:
        post: called, from a thread, with what the watcher reports.

    Attributes:
        notify: shows a sentence at once.
        came: called when one of several files is attached, or the user is waited for.
        insert: writes a text into the prompt, as if it was pasted there.
        choosing: what the user is to do with the pointer meanwhile; empty for nothing.
    """

    def __init__(
        self, workspace: Workspace, post: Callable[[ScreenChanged | Problem], object]
    ) -> None:
        self._workspace, self._post = workspace, post
        self._watcher: ScreenWatcher | None = None
        self.notify: Callable[[str], object] = lambda _: None
        self.came: Callable[[], object] = lambda: None
        self.insert: Callable[[str], object] = lambda _: None
        self.choosing = ""
        self._journal: Journal | None = None  # whose screen was watched,
        self._first = 0.0  # and when its first picture was seen

    async def screen(self, area: ScreenArea) -> str:
        """Take a picture of the screen; return a remark.

        Raises:
            Gemma4Error: it cannot be taken.
        """
        self.choosing = "" if area == "screen" else f"choose a {WORDS[area]}"
        self.came()
        try:
            shot = await asyncio.to_thread(self._workspace.devices.capture, area)
        finally:
            self.choosing = ""
        return "" if shot is None else await self.attach(shot)

    async def clipboard(self) -> str:
        """Attach or insert what the clipboard holds; return a remark.

        Raises:
            Gemma4Error: it cannot be read.
        """
        held = await asyncio.to_thread(self._workspace.devices.clipboard)
        if held is None:
            return "The clipboard holds neither a picture, nor a file or a text."
        if isinstance(held, str):
            self.insert(held)
            return ""
        return await self.attach(held) if isinstance(held, Shot) else await self.files(held)

    async def files(self, paths: list[Path]) -> str:
        """Attach files, as many as a question takes; return remarks.

        Raises:
            Gemma4Error: one of them cannot be attached; those before it are.
        """
        room = max(0, MOST - len(self._workspace.conversation.history.waiting))
        remarks = []
        if len(paths) > room:
            left = len(paths) - room
            self.notify(f"A question takes {MOST} files: {left} of {len(paths)} are left out.")
        for number, path in enumerate(paths[:room]):
            if number and not number % 5:
                self.notify(f"Attaching: {number} of {min(len(paths), room)} files.")
            remarks.append(await self.attach(path))
            self.came()
        return " ".join(filter(None, remarks))

    @property
    def watching(self) -> bool:
        return self._watcher is not None

    def watch(self, on: bool) -> None:
        """Watch the screen or not.

        Off means gone: a picture of it that waits is not sent.
        """
        if self._watcher is not None:
            self._watcher.close()
            self._watcher = None
        if on:
            devices = self._workspace.devices
            self._watcher = ScreenWatcher(
                self._post,
                self._workspace.settings.watch_seconds,
                lambda: devices.capture("screen"),
            )
        else:
            self._workspace.conversation.unwatch()

    async def seen(self, shot: Shot, at: float) -> None:
        """Attach what the watcher saw, in the place of what it saw before or, as a video, after it.

        `at` counts seconds from any time; a video's, from its first picture in this conversation.
        """
        conversation, journal = self._workspace.conversation, self._workspace.journal
        ready = None
        if self.watching and conversation.recording is None:
            ready = await asyncio.to_thread(self._store, journal, shot)
        if self._watcher is None or journal is not self._workspace.journal:
            return
        if ready is None or conversation.recording is not None:
            # a picture would come in the middle of what is spoken: one after it is shown
            self._watcher.forget()
            return
        if journal is not self._journal:
            self._journal, self._first = journal, at
        before = conversation.history.waiting.get(conversation.watched)
        if self._workspace.settings.watch_as == "video":
            frames = before.frames if before is not None else ()
            frames = (*frames, (at - self._first, ready.file))[-FRAMES:]
            ready = Ready("video", ready.file, ready.name, ready.size, frames=frames)
        conversation.show_screen(ready)

    async def attach(self, shown: Path | Shot | str) -> str:
        journal = self._workspace.journal
        ready = await asyncio.to_thread(self._store, journal, shown)
        if journal is self._workspace.journal:  # no other conversation was opened meanwhile
            self._workspace.conversation.attach(ready)
        return ready.note

    def _store(self, journal: Journal, shown: Path | Shot | str) -> Ready:
        """Store a file, a picture or a text; in a thread."""
        settings = self._workspace.of_pictures
        if isinstance(shown, str):
            return attachments.pasted_text(journal, shown)
        if isinstance(shown, Shot):
            budgets = self._workspace.conversation.budgets
            return attachments.shot(journal, shown, settings, budgets)
        return attachments.file(journal, shown, settings)
