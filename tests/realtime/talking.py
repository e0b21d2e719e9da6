"""A Realtime session without a server: what a client sends, and what a worker reports."""

import base64
from collections.abc import Iterable
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mlx_gemma4.capture.speechgate import SpeechGate
from mlx_gemma4.events import Done, Token
from mlx_gemma4.events import Event as ReplyEvent
from mlx_gemma4.media.images import patches
from mlx_gemma4.runtime.commands import AddImage, Command
from mlx_gemma4.runtime.live import EverythingGate, Gate
from mlx_gemma4.runtime.reports import Finished, Report, WorkerEvent
from mlx_gemma4.serve.realtime.protocol import RealtimeProtocol
from mlx_gemma4.serve.realtime.sound_input import gate_of

Event = dict[str, Any]
PICTURE = patches(Image.new("RGB", (96, 144)), 70)


def loud(samples: NDArray[np.float32]) -> float:
    return 1.0 if np.abs(samples).max() > 0.1 else 0.0


def gate(detection: Event | None) -> Gate:
    """The gate of a turn detection, over a detector that goes by loudness."""
    real = gate_of(detection)
    if isinstance(real, EverythingGate):
        return real
    assert isinstance(real, SpeechGate)
    real._probability = loud
    return real


def tone(seconds: float) -> bytes:
    """A loud sound: 16-bit PCM of 24 kHz."""
    at = np.arange(int(seconds * 24_000)) / 24_000
    return (8000 * np.sin(2 * np.pi * 440 * at)).astype("<i2").tobytes()


def quiet(seconds: float) -> bytes:
    return bytes(2 * int(seconds * 24_000))


class Talk:
    """A protocol, what it answered, and the commands under their numbers."""

    def __init__(self, **arguments: Any) -> None:
        numbers = count(1)
        self.protocol = RealtimeProtocol(
            "tiny",
            "talk",
            lambda url, param: AddImage(PICTURE),
            make_gate=gate,
            new_id=lambda kind: f"{kind}{next(numbers)}",
            **arguments,
        )
        self.commands: dict[int, Command] = {}
        self._numbers = count(1)

    def take(self) -> list[Event]:
        events, commands = self.protocol.take()
        for command in commands:
            number = next(self._numbers)
            self.commands[number] = command
            self.protocol.answers.sent(number, command)
        return events

    def send(self, kind: str, **fields: Any) -> list[Event]:
        self.protocol.receive({"type": kind, **fields})
        return self.take()

    def update(self, **session: Any) -> list[Event]:
        return self.send("session.update", session={"type": "realtime", **session})

    def say(self, text: str, **fields: Any) -> list[Event]:
        content = [{"type": "input_text", "text": text}]
        item = {"type": "message", "role": "user", "content": content}
        return self.send("conversation.item.create", item=item, **fields)

    def append(self, pcm: bytes) -> list[Event]:
        return self.send("input_audio_buffer.append", audio=base64.b64encode(pcm).decode())

    def report(self, kind: type, events: Iterable[ReplyEvent | WorkerEvent]) -> list[Event]:
        """Report about the last command of a kind, to its end."""
        number = max(n for n, command in self.commands.items() if isinstance(command, kind))
        for event in [*events, Finished()]:
            self.protocol.answers.report(Report(number, event, "talk"))
        return self.take()

    def names(self) -> list[str]:
        """The commands so far, by their names; they are forgotten."""
        names = [type(command).__name__ for command in self.commands.values()]
        self.commands.clear()
        return names


def types(events: list[Event]) -> list[str]:
    return [event["type"] for event in events]


def done(reason: str = "stop", ids: tuple[int, ...] = (7, 8), **stats: float) -> Done:
    numbers = {"prompt_tokens": 100.0, "new_prompt_tokens": 12.0, "reply_tokens": 3.0, **stats}
    return Done(reason, numbers, ids)


COMMITTED = [
    "input_audio_buffer.committed",
    "conversation.item.added",
    "conversation.item.done",
]
MESSAGE = [
    "response.output_item.added",
    "conversation.item.added",
    "response.content_part.added",
]
MESSAGE_DONE = [
    "response.output_text.done",
    "response.content_part.done",
    "response.output_item.done",
    "conversation.item.done",
]
YES = [Token("Yes", 1), Token(", sir.", 2)]


def by_hand(**session: Any) -> Talk:
    talk = Talk()
    talk.update(audio={"input": {"turn_detection": None}}, **session)
    return talk


def find(events: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    return next(event for event in events if event["type"] == kind)


def last(talk: Talk, kind: type) -> Any:
    return [one for one in talk.commands.values() if isinstance(one, kind)][-1]
