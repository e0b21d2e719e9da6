"""One conversation on disk: a folder with events.jsonl, and media files named by their content.

    events.jsonl     a head with the version, then one entry a line
    <sha256>.png     and other media; the entries name them
    recording.raw    what is being recorded: 16-bit mono, 16 kHz
    title.txt        only where the user gave a title

An entry is written at once, so that a program that is killed loses nothing. Waiting for the disk
(fsync) takes 1 to 30 ms: a thread does that at the borders of turns, and a power cut loses no more
than the turn in flight. A last line that is torn is cut off when the journal is opened again.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import threading
import time
import wave
from collections.abc import Callable, Iterator, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.hub import disk
from mlx_gemma4.media.audio import RATE

from .entries import (
    AttachmentAdded,
    Entry,
    QuestionSent,
    TurnEnded,
    TurnsRemoved,
    from_json,
    to_json,
)

VERSION = 1
"""Of the format. A later one is refused, an earlier one is brought up to date by `MIGRATIONS`."""

Line = dict[str, Any]
MIGRATIONS: dict[int, Callable[[list[Line]], list[Line]]] = {}
"""Version -> what makes the next version's lines of all its lines but the head."""

EVENTS, RECORDING = "events.jsonl", "recording.raw"
_BORDERS = (QuestionSent, AttachmentAdded, TurnEnded, TurnsRemoved)


class Journal:
    """A conversation's folder, open for writing; it is made when there is something to write.

    Args:
        folder: of the conversation.

    Attributes:
        damaged: lines that could not be read, and were left out.

    Raises:
        Gemma4Error: another program has it open, or a later version of the program wrote it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.damaged = 0
        self._file: int | None = None
        self._lines: list[Line] = []
        self._recorded = 0  # samples
        self._media: list[Path] = []  # written, and the disk was not waited for
        self._wanted = threading.Condition()
        self._due = self._closing = False
        self._syncer: threading.Thread | None = None
        if (folder / EVENTS).is_file():
            self._open()
            self._read()

    def entries(self) -> Iterator[Entry]:
        """Give what was written before it was opened."""
        for line in self._lines:
            try:
                yield from_json(head(line))
            except (KeyError, TypeError, ValueError):
                self.damaged += 1

    def append(self, entry: Entry) -> None:
        """Write an entry down.

        Raises:
            Gemma4Error: the disk is full. The journal is as it was.
            OSError: it cannot be written for another reason.
        """
        self._open()
        self._write(to_json(entry))
        if isinstance(entry, _BORDERS):
            self._sync_soon()

    def put(self, content: bytes, suffix: str) -> str:
        """Store a file, from any thread, and give its name, which is the hash of its content.

        Args:
            content: of the file.
            suffix: as ".png".
        """
        name = hashlib.sha256(content).hexdigest()[:32] + suffix
        path = self.folder / name
        if not path.is_file():
            self.folder.mkdir(parents=True, exist_ok=True)
            new = path.with_name(f"new-{threading.get_ident()}-{name}")
            with disk.explained():
                new.write_bytes(content)
            new.replace(path)
            with self._wanted:
                self._media.append(path)
        return name

    def path(self, name: str) -> Path:
        """Say where a stored file is."""
        return self.folder / name

    def record(self, frames: NDArray[np.float32]) -> None:
        """Add (n, 640) frames to the recording, which survives a crash."""
        self.folder.mkdir(parents=True, exist_ok=True)
        samples = np.round(np.clip(frames, -1, 1) * 32767).astype("<i2").tobytes()
        with disk.explained(), (self.folder / RECORDING).open("ab") as file:
            file.write(samples)
        self._recorded += frames.size

    @property
    def recorded_seconds(self) -> float:
        """How long the recording is."""
        return self._recorded / RATE

    def end_recording(self) -> tuple[str, float] | None:
        """Store the recording as a wav file; give its name and seconds, None if there is none."""
        raw = self.folder / RECORDING
        if not raw.is_file():
            return None
        samples = raw.read_bytes()
        samples = samples[: len(samples) // 2 * 2]
        content = BytesIO()
        with wave.open(content, "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(RATE)
            file.writeframes(samples)
        name = self.put(content.getvalue(), ".wav") if samples else ""
        self.drop_recording()
        return (name, len(samples) / 2 / RATE) if samples else None

    def drop_recording(self) -> None:
        """Forget the recording."""
        (self.folder / RECORDING).unlink(missing_ok=True)
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
            os.close(self._file)
            self._file = None

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self) -> None:
        if self._file is not None:
            return
        if self._closing:
            raise ValueError("the journal is closed")
        self.folder.mkdir(parents=True, exist_ok=True)
        self._file = _locked(self.folder / EVENTS)
        if not os.fstat(self._file).st_size:
            self._write({"version": VERSION, "at": time.time()})

    def _write(self, line: Line) -> None:
        assert self._file is not None
        content = _dumped(line)
        size = os.fstat(self._file).st_size
        try:
            with disk.explained():
                if os.write(self._file, content) != len(content):
                    os.write(self._file, b"\n")  # it says why there was no room
                    raise OSError("the line was cut")
        except (OSError, Gemma4Error):
            os.ftruncate(self._file, size)
            raise

    def _read(self) -> None:
        path = self.folder / EVENTS
        content = path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            assert self._file is not None
            os.ftruncate(self._file, whole)
        lines = []
        for line in content[:whole].splitlines():
            try:
                lines.append(json.loads(line))
            except ValueError:
                self.damaged += 1
        version = head(lines[0]).get("version", VERSION) if lines else VERSION
        if lines and "version" in head(lines[0]):
            lines = lines[1:]
        if version > VERSION:
            self.close()
            raise Gemma4Error(
                "conversation_unreadable",
                "The conversation cannot be opened",
                f"A later version of the program wrote it (format {version}, known is {VERSION}).",
                "Update the program: pip install --upgrade mlx-gemma4.",
            )
        if version < VERSION:
            while version < VERSION:
                lines = MIGRATIONS[version](lines)
                version += 1
            self._replace(lines)
        self._lines = lines

    def _replace(self, lines: list[Line]) -> None:
        """Write the file anew, and keep the old one."""
        path, new = self.folder / EVENTS, self.folder / "new.jsonl"
        old = head(json.loads(path.read_bytes().split(b"\n", 1)[0]))
        assert self._file is not None
        with new.open("wb") as file:
            for line in [{**old, "version": VERSION}, *lines]:
                file.write(_dumped(line))
            file.flush()
            os.fsync(file.fileno())
        kept = self.folder / f"events-version-{old['version']}.jsonl"
        with contextlib.suppress(FileExistsError):
            os.link(path, kept)
        new.replace(path)
        os.close(self._file)
        self._file = _locked(path)

    def _sync_soon(self) -> None:
        with self._wanted:
            self._due = True
            self._wanted.notify()
        if self._syncer is None:
            self._syncer = threading.Thread(target=self._serve, name="journal", daemon=True)
            self._syncer.start()

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
        with contextlib.suppress(OSError):  # of a disk that fails the next write tells
            for path in media:
                with path.open("rb") as file:
                    os.fsync(file.fileno())
            if self._file is not None:
                os.fsync(self._file)


def head(line: Any) -> Mapping[str, Any]:
    """Give the head of a journal; of a line that is no object, nothing."""
    return line if isinstance(line, dict) else {}


def _dumped(line: Line) -> bytes:
    return json.dumps(line, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _locked(path: Path) -> int:
    file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(file)
        raise Gemma4Error(
            "conversation_locked",
            "The conversation is open elsewhere",
            f"Another gemma4 writes into {path.parent}.",
            "Go on there, or close it first.",
        ) from error
    return file
