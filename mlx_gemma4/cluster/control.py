"""The control line between a leader and a worker: JSON in frames over two pipes, which ssh joins.

A frame is 4 bytes of length (big-endian), then a JSON list whose first entry is what it is about.
Only shapes, numbers of blocks and settings travel here; tensors go over the ring. Knows no MLX.
"""

import json
import struct
import threading
from typing import IO, Any

PROTOCOL = 3
"""Both sides must have the same one."""
BANNER = b"gemma4 worker\n"
"""What a worker writes first: a login shell may have printed something before."""
LONGEST = 1 << 24
"""Bytes of the longest frame that is read."""
PRINTED = 1 << 16
"""Bytes that a login shell may print before the worker starts."""

Message = list[Any]


class ControlLine:
    """Frames in both directions. Any thread may send, one receives.

    Args:
        reader: what the other side writes.
        writer: what it reads; not buffered, so that closing it waits for nobody.
    """

    def __init__(self, reader: IO[bytes], writer: IO[bytes]) -> None:
        self._reader, self._writer = reader, writer
        self._lock = threading.Lock()

    def announce(self) -> None:
        """Write what `find` looks for."""
        self._write(BANNER)

    def find(self) -> bool:
        """Skip what comes before the first frame; return whether the other side was found."""
        seen = b""
        while not seen.endswith(BANNER):
            byte = self._reader.read(1)
            if not byte or len(seen) > PRINTED:
                return False
            seen += byte
        return True

    def send(self, *message: object) -> None:
        """Send a message.

        Raises:
            OSError: the other side is gone.
        """
        data = json.dumps(message).encode()
        self._write(struct.pack(">I", len(data)) + data)

    def _write(self, data: bytes) -> None:
        with self._lock:
            try:
                while data:  # a signal may cut what is written
                    data = data[self._writer.write(data) :]
            except ValueError as error:
                raise BrokenPipeError("the control line was closed here") from error

    def receive(self) -> Message | None:
        """Wait for a message; None where the other side is gone, or sends something else."""
        try:
            head = self._read(4)
            if len(head) < 4 or (length := struct.unpack(">I", head)[0]) > LONGEST:
                return None
            data = self._read(length)
            message = json.loads(data) if len(data) == length else None
        except (OSError, ValueError, RecursionError):
            return None
        return message if isinstance(message, list) and message else None

    def _read(self, count: int) -> bytes:
        """So many bytes, or fewer where the other side is gone."""
        data = b""
        while len(data) < count and (piece := self._reader.read(count - len(data))):
            data += piece
        return data
