"""A client of the Realtime API over a WebSocket, in real time or as fast as it goes."""

import base64
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import soundfile
import soxr
from websockets.sync.client import ClientConnection, connect

from tests.serve.serving import RECEIPT, base64_of

Event = dict[str, Any]
DEMO = RECEIPT.parent
PIECE = 0.1
"""Seconds of sound in an event, as clients send it."""


def pcm(path: Path) -> bytes:
    """A sound file as clients send it: 16 bits, 24 kHz."""
    samples, rate = soundfile.read(path, dtype="float32")
    return (soxr.resample(samples, rate, 24_000) * 32767).astype("<i2").tobytes()


def silence(seconds: float) -> bytes:
    return np.zeros(int(24_000 * seconds), "<i2").tobytes()


class Call:
    """One session."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.events: list[Event] = []

    def send(self, kind: str, **fields: Any) -> None:
        self.socket.send(json.dumps({"type": kind, **fields}))

    def update(self, **session: Any) -> Event:
        self.send("session.update", session={"type": "realtime", **session})
        return self.until("session.updated")

    def item(self, *content: Event) -> Event:
        item = {"type": "message", "role": "user", "content": list(content)}
        self.send("conversation.item.create", item=item)
        return self.until("conversation.item.done")

    def append(self, sound: bytes, real_time: bool = False) -> None:
        size = 2 * int(24_000 * PIECE)
        for at in range(0, len(sound), size):
            audio = base64.b64encode(sound[at : at + size]).decode()
            self.send("input_audio_buffer.append", audio=audio)
            if real_time:
                time.sleep(PIECE)

    def until(self, kind: str, seconds: float = 60) -> Event:
        """The next event of a kind, or an error; all that came before are kept too."""
        while True:
            event: Event = json.loads(self.socket.recv(timeout=seconds))
            self.events.append(event)
            if event["type"] in (kind, "error"):
                return event

    def types(self) -> list[str]:
        return [event["type"] for event in self.events]


@contextmanager
def call(client: httpx2.Client, **options: Any) -> Iterator[Call]:
    address = str(client.base_url).replace("http", "ws", 1).rstrip("/") + "/v1/realtime?model=any"
    with connect(address, max_size=None, **options) as socket:
        one = Call(socket)
        one.until("session.created")
        yield one


def receipt() -> Event:
    return {"type": "input_image", "image_url": f"data:image/png;base64,{base64_of(RECEIPT)}"}


def answer(done: Event) -> str:
    """The text of a response."""
    parts = [part for item in done["response"]["output"] for part in item.get("content", [])]
    return "".join(part.get("text", part.get("transcript", "")) for part in parts)
