"""One conversation on disk: a folder with events.jsonl, and media files named by their content.

    events.jsonl     a head with the version, then one entry a line
    <sha256>.png     and other media, by half of their hash; the entries name them
    recording.raw    what is being recorded: 16-bit mono, 16 kHz
    title.txt        only where the user set a title

An entry is written at once, so that a program that is killed loses nothing. Waiting for the disk
(fsync) takes 1 to 30 ms: a thread does that at the borders of turns, and a power cut loses no more
than the turn in flight. A last line that is torn is cut off when the journal is opened again, and
the pieces of an answer become one line when it is closed.
"""

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import threading
import time
import wave
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.hub import disk
from mlx_gemma4.media.audio import LIMIT_SECONDS, RATE
from mlx_gemma4.runtime.threads import start_thread

from . import entries as note
from . import journal_file, private_files
from .journal_file import EVENTS, Line, dumped, merged, parsed, read_lines, unwritable

RECORDING = "recording.raw"
_STORED = re.compile(r"[0-9a-f]{32}(\..*)?")
_BORDERS = (note.QuestionSent, note.AttachmentAdded, note.TurnEnded, note.TurnsRemoved)


class Journal:
    """A conversation's folder, open for writing; it is made when there is something to write.

    Attributes:
        damaged: lines that could not be read, and were left out.

    Raises:
        Gemma4Error: another program has it open, a later version of the program wrote it, or it
            cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.damaged = 0
        self._file: int | None = None
        self._entries: list[note.Entry] = []
        self._pieces = False  # whether lines could be merged
        self._recorded = 0  # samples
        self._media: list[Path] = []  # written, and the disk was not waited for
        self._wanted = threading.Condition()
        self._due = self._closing = False
        self._syncer: threading.Thread | None = None
        with unwritable(folder, "conversation_unreadable", "The conversation cannot be opened"):
            if (folder / EVENTS).is_file():
                try:
                    self._open()
                    self._read()
                except BaseException:
                    self._unlock()
                    raise

    def entries(self) -> Iterator[note.Entry]:
        """What was written before it was opened."""
        return iter(self._entries)

    def append(self, entry: note.Entry) -> None:
        """Write an entry down.

        Raises:
            Gemma4Error: it cannot be written; the journal is as it was.
        """
        with unwritable(self.folder):
            self._open()
            self._write(dumped(note.to_json(entry)))
        self._pieces = self._pieces or isinstance(entry, note.TextAdded)
        if isinstance(entry, _BORDERS):
            self._sync_soon()

    def put(self, content: bytes, suffix: str) -> str:
        """Store a file, from any thread; return its name: the hash of its content, and the suffix.

        Raises:
            Gemma4Error: it cannot be written.
        """
        name = hashlib.sha256(content).hexdigest()[:32] + suffix
        path = self.folder / name
        with unwritable(self.folder):
            if not path.is_file():
                disk.make_private(self.folder)
                private_files.write(path, content)
                with self._wanted:
                    self._media.append(path)
        return name

    def drop(self, name: str) -> None:
        """Delete a stored file: nothing in the conversation shows it any more."""
        if name and Path(name).name == name:  # a video has a path of its own, outside
            with contextlib.suppress(OSError):
                (self.folder / name).unlink()

    def drop_all_but(self, names: set[str]) -> None:
        """Delete all that `put` stored but these: a program that was killed left it."""
        if self.folder.is_dir():
            for name in [path.name for path in self.folder.iterdir()]:
                if _STORED.fullmatch(name) and name not in names:
                    self.drop(name)

    def record(self, frames: NDArray[np.float32]) -> None:
        """Add (n, 640) frames to the recording, which survives a crash; from any thread.

        Raises:
            Gemma4Error: it cannot be written.
        """
        samples = np.round(np.clip(frames, -1, 1) * 32767).astype("<i2").tobytes()
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        with unwritable(self.folder):
            disk.make_private(self.folder)
            with os.fdopen(os.open(self.folder / RECORDING, flags, disk.PRIVATE), "ab") as file:
                file.write(samples)
        self._recorded += frames.size

    @property
    def recorded_seconds(self) -> float:
        return self._recorded / RATE

    def end_recording(self) -> list[tuple[str, float]]:
        """Store the recording as wav files of at most 30 s; return their names and seconds.

        Raises:
            Gemma4Error: they cannot be written; the recording stays.
        """
        raw = self.folder / RECORDING
        content = raw.read_bytes() if raw.is_file() else b""
        content = content[: len(content) // 2 * 2]
        most = 2 * round(LIMIT_SECONDS * RATE)
        clips = [content[at : at + most] for at in range(0, len(content), most)]
        stored = [(self.put(_wav(clip), ".wav"), len(clip) / 2 / RATE) for clip in clips]
        self.drop_recording()
        return stored

    def drop_recording(self) -> None:
        with contextlib.suppress(OSError):
            (self.folder / RECORDING).unlink()
        self._recorded = 0

    def close(self) -> None:
        """Wait until all is on the disk, and let others open it."""
        with self._wanted:
            self._closing = True
            self._wanted.notify()
        if self._syncer is not None:
            self._syncer.join()
        if self._file is not None:
            self._sync()
            with contextlib.suppress(Gemma4Error, OSError):  # it is whole as it is
                if self._pieces:
                    self._compact()
            self._unlock()

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self) -> None:
        if self._closing:
            raise ValueError("the journal is closed")
        if self._file is None:
            disk.make_private(self.folder)
            self._file = locked(self.folder / EVENTS)
            for path in self.folder.iterdir():
                disk.restrict(path)
                # what this program does not write itself, a program that was killed was writing
                if path.name.endswith(".new") and not path.name.endswith(private_files.NEW):
                    path.unlink(missing_ok=True)
        if not os.fstat(self._file).st_size:
            self._write(dumped({"version": journal_file.VERSION, "at": time.time()}))

    def _unlock(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _write(self, content: bytes) -> None:
        assert self._file is not None
        size = os.fstat(self._file).st_size
        try:
            if os.write(self._file, content) != len(content):
                os.write(self._file, b"\n")  # fails with the reason
                raise OSError("the line was cut")
        except OSError:
            os.ftruncate(self._file, size)
            raise

    def _read(self) -> None:
        path = self.folder / EVENTS
        content = path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            assert self._file is not None
            os.ftruncate(self._file, whole)
        head, lines, self.damaged = read_lines(content[:whole], path)
        self._entries, unknown = parsed(lines)
        self.damaged += unknown
        if head.get("version", journal_file.VERSION) < journal_file.VERSION:
            self._replace(head, lines)
            # format 1 had a second copy here, of what the worker knew
            shutil.rmtree(self.folder / "memory", ignore_errors=True)

    def _compact(self) -> None:
        """Write the pieces of each answer as one line."""
        content = (self.folder / EVENTS).read_bytes()
        head, lines, damaged = read_lines(content, self.folder / EVENTS)
        if not damaged:  # what cannot be read stays as it is
            self._replace(head, merged(lines))

    def _replace(self, head: Line, lines: list[Line]) -> None:
        """Write the file again, and keep the one of an earlier version."""
        path = self.folder / EVENTS
        before = head.get("version", journal_file.VERSION)
        if before != journal_file.VERSION:
            with contextlib.suppress(FileExistsError):
                os.link(path, self.folder / f"events-version-{before}.jsonl")
        times = path.stat()
        head = {**head, "version": journal_file.VERSION}
        private_files.write(path, b"".join(map(dumped, [head, *lines])), sync=True)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
        self._unlock()
        self._file = locked(path)

    def _sync_soon(self) -> None:
        with self._wanted:
            self._due = True
            self._wanted.notify()
        if self._syncer is None:
            # where the disk fails, the next write reports it
            self._syncer = start_thread(self._serve, "journal")

    def _serve(self) -> None:
        while True:
            with self._wanted:
                self._wanted.wait_for(lambda: self._due or self._closing)
                if self._closing:
                    return  # `close` does it
                self._due = False
            self._sync()

    def _sync(self) -> None:
        """Wait until the media, and then the entries that name them, are on the disk."""
        with self._wanted:
            media, self._media = self._media, []
        for path in media:
            with contextlib.suppress(OSError), path.open("rb") as file:
                os.fsync(file.fileno())
        with contextlib.suppress(OSError):  # if the disk fails, the next write does
            if self._file is not None:
                os.fsync(self._file)


def _wav(samples: bytes) -> bytes:
    content = BytesIO()
    with wave.open(content, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(samples)
    return content.getvalue()


def locked(path: Path) -> int:
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
    file = os.open(path, flags, disk.PRIVATE)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(file)
        raise Gemma4Error(
            "conversation_locked",
            "The conversation is open elsewhere",
            f"Another gemma4 writes into {path.parent}.",
            "Continue there, or close it first.",
        ) from error
    return file
