"""Whatever comes in whatever order: a worker holds what the items are whenever it answers."""

import base64
import random
from collections.abc import Iterable
from typing import Any

import pytest

from mlx_gemma4.errors import Gemma4Error
from mlx_gemma4.events import Token, ToolCall
from mlx_gemma4.runtime.commands import (
    AddSound,
    AddText,
    AddToolResult,
    Command,
    EndSpeech,
    Hear,
    Open,
    Reply,
    Stop,
    Transcribe,
)
from mlx_gemma4.runtime.reports import Failed, Finished, Report
from mlx_gemma4.serve.realtime.answering import OPENING
from tests.realtime.talking import Event, Talk, done, quiet, tone

Run = tuple[str, str, tuple[object, ...]]
LOST = Failed("worker_not_running", "It is lost", "It ended.", "Wait.")
SOUNDS = [base64.b64encode(pcm).decode() for pcm in (tone(0.6), tone(0.1), quiet(0.2), quiet(1))]
DETECTIONS: list[Event | None] = [
    None, {"type": "server_vad"}, {"type": "semantic_vad"},
    {"type": "server_vad", "create_response": False, "interrupt_response": False},
]  # fmt: skip


def runs(parts: Iterable[tuple[str, Any]]) -> list[Run]:
    """Runs of one role: their texts together, and what else they have, results and calls first.

    Instructions are left out.
    """
    found: list[Run] = []
    for role, part in parts:
        text, others = "", ()
        match part:
            case AddText(words) if words.startswith("The tool call "):  # a result that comes late
                others = (words.split()[3],)
            case AddText(words) | Token(words):
                text = "" if words.startswith("Instruction") or words == OPENING else words
            case AddToolResult(identity) | ToolCall(identity):
                others = (identity,)
            case AddSound(frames):
                others = (len(frames),)
        if not text and not others:
            continue
        if not found or found[-1][0] != role:
            found.append((role, "", ()))
        _, before, rest = found[-1]
        others = tuple(sorted(rest + others, key=lambda one: one if isinstance(one, str) else "~"))
        found[-1] = (role, before + text, others)
    return found


def who(role: str) -> str:
    return "model" if role == "model" else "user"


class OneByOne:
    """A worker that does one thing at a step, and what a client has seen of it."""

    def __init__(self, rng: random.Random) -> None:
        self.talk = Talk(speaks=rng.random() < 0.5, hearing=rng.choice(["auto", "off"]))
        self.ids: list[str] = []  # of items
        self.calls: list[str] = []
        self.active = ""  # the response in progress
        self._rng = rng
        self._queue: list[tuple[int, Command, list[Run]]] = []
        self._parts: list[tuple[str, Any]] | None = None
        self._answerable: set[str] = set()
        self._frames = 0
        self._script: list[Any] | None = None  # what is left of the first command
        self._asked: list[Run] = []  # the items when the last reply was asked for
        feed = self.talk.protocol._feed
        self._reply, feed.reply = feed.reply, self._ask  # type: ignore[method-assign]
        self.flush()

    def _ask(self, reply: Reply, extra: str = "") -> list[Command]:
        items = self.talk.protocol._feed.items
        self._asked = runs((who(item.role), part) for item in items for part in item.parts)
        return self._reply(reply, extra)

    def flush(self) -> None:
        """Take what the protocol has made."""
        events, commands = self.talk.protocol.take()
        for command in commands:
            number = next(self.talk._numbers)
            self.talk.protocol.answers.sent(number, command)
            if isinstance(command, Stop) and self._script:
                self._script = [done("cancelled")]
            self._queue.append((number, command, self._asked))
        for event in events:
            self._see(event)

    def _see(self, event: Event) -> None:
        match event:
            case {"type": "response.created", "response": {"id": str(identity)}}:
                assert not self.active
                self.active = identity
            case {"type": "response.done", "response": response}:
                assert response["id"] == self.active
                assert all(item["status"] != "in_progress" for item in response["output"])
                self.active = ""
            case {"type": "conversation.item.added", "item": {"id": str(identity)}}:
                self.ids.append(identity)
            case {"type": "response.output_item.done", "item": {"call_id": str(identity)}}:
                self.calls.append(identity)
            case {"response_id": str(identity)}:
                assert identity == self.active

    def crash(self) -> None:
        """The worker loses everything."""
        lost, self._queue, self._script, self._parts = self._queue, [], None, None
        for number, *_ in lost:
            self._report(number, LOST)

    def step(self) -> bool:
        """Do one thing; whether there was one."""
        if not self._queue:
            return False
        number, command, items = self._queue[0]
        if self._script is None and self._parts is None and not isinstance(command, Open | Stop):
            self._queue.pop(0)
            self._report(number, LOST)
            return True
        if self._script is None:
            self._script = self._begin(command, items)
        if self._script:
            event = self._script.pop(0)
            if isinstance(event, Token | ToolCall) and self._parts is not None:
                self._parts.append(("model", event))
                self._answerable |= {event.id} if isinstance(event, ToolCall) else set()
            self._report(number, event)
        else:
            self._script = None
            self._queue.pop(0)
            self._report(number, Finished())
        return True

    def _begin(self, command: Command, items: list[Run]) -> list[Any]:
        match command:
            case Open(turns):
                self._parts = [(who(turn.role), part) for turn in turns for part in turn.parts]
                last = turns[-1].parts if turns and turns[-1].role == "model" else ()
                self._answerable = {part.id for part in last if isinstance(part, ToolCall)}
                self._frames = 0
            case Hear(frames):
                self._frames += len(frames)
            case Stop() | Transcribe():
                return []
            case Reply():
                assert self._parts is not None and runs(self._parts) == items
                self._answerable = set()
                words = [Token(word, n) for n, word in enumerate(("Yes", ", sir", ". And", "."))]
                script: list[Any] = words[: self._rng.randint(0, 4)]
                if command.must_call or self._rng.random() < 0.3:
                    name = f"call{self._rng.random()}"
                    script.append(ToolCall(name, "weather", {"city": "Rome"}))
                return [*script, done()]
            case _:
                part = AddSound([0] * self._frames) if isinstance(command, EndSpeech) else command
                if isinstance(part, AddToolResult):
                    assert part.call_id in self._answerable
                self._frames -= self._frames * isinstance(command, EndSpeech)
                assert self._parts is not None
                self._parts.append(("user", part))
        return []

    def _report(self, number: int, event: Any) -> None:
        self.talk.protocol.answers.report(Report(number, event, "talk"))
        self.flush()

    def speak(self) -> bool:
        """Speak a sentence of an answer; whether there was one."""
        response = self.talk.protocol.response
        if response is None or not response.unspoken:
            return False
        response.unspoken.popleft()
        self.talk.protocol.answers.sound(response, bytes(4800), True)
        self.flush()
        return True

    def lose_voice(self) -> None:
        if (response := self.talk.protocol.response) is not None:
            error = Gemma4Error("voice_missing", "a", "b", "c")
            self.talk.protocol.answers.failed(response, error)


def event_of(rng: random.Random, at: int, worker: OneByOne) -> Event:
    """Anything that a client may send."""
    typed = {"type": "message", "role": "user"}
    words = rng.choice(["", f"word{at} "])
    role, kind, text = rng.choice([
        ("user", "input_text", words), ("assistant", "output_text", f"own{at} "),
        ("system", "input_text", f"Instruction {at}"),
    ])  # fmt: skip
    sound = {"type": "input_audio", "audio": SOUNDS[0]}
    call = {"type": "function_call", "call_id": f"own{at}", "name": "weather", "arguments": "{}"}
    result = {"type": "function_call_output", "output": "sun"}
    item = rng.choice([
        {**typed, "role": role, "content": [{"type": kind, "text": text}]},
        {**typed, "content": [{"type": "input_text", "text": words}, sound]},
        call,
        {**result, "call_id": rng.choice([*worker.calls, f"own{at - 3}"])},
    ])  # fmt: skip
    place = rng.choice([{}, {}, {"previous_item_id": rng.choice(["root", *worker.ids])}])
    named = {"item_id": rng.choice([*worker.ids, "none"]), "audio_end_ms": rng.choice([0, 50, 999])}
    session = rng.choice([
        {"audio": {"input": {"turn_detection": rng.choice(DETECTIONS)}}},
        {"audio": {"input": {"transcription": {"model": "any"}}}},
        {"instructions": f"Instruction {at}"},
        {"tools": [{"type": "function", "name": "weather", "parameters": {"type": "object"}}]},
    ])  # fmt: skip
    options = rng.choice([{}, {"instructions": "Instruction"}, {"tool_choice": "required"}])
    return rng.choice([
        *({"type": "input_audio_buffer.append", "audio": pcm} for pcm in SOUNDS),
        {"type": "input_audio_buffer.commit"}, {"type": "input_audio_buffer.clear"},
        *2 * [{"type": "conversation.item.create", "item": item, **place}],
        *2 * [{"type": "response.create", "response": options}], {"type": "response.cancel"},
        {"type": f"conversation.item.{rng.choice(['delete', 'truncate', 'retrieve'])}", **named},
        {"type": "session.update", "session": {"type": "realtime", **session}},
    ])  # fmt: skip


@pytest.mark.parametrize("seed", range(25))
def test_a_worker_answers_what_the_items_are_in_any_order(seed: int) -> None:
    rng = random.Random(seed)
    worker = OneByOne(rng)
    protocol = worker.talk.protocol

    def settle() -> None:
        while worker.step() or worker.speak():
            pass

    actions = [worker.step, worker.step, worker.speak, settle, protocol.answers.transcribe]
    for at in range(rng.randint(5, 60)):
        if rng.random() < 0.6:
            protocol.receive(event_of(rng, at, worker))
        elif rng.random() < 0.05:
            rng.choice([worker.crash, worker.lose_voice])()
        else:
            rng.choice(actions)()
        worker.flush()
    settle()
    for _ in range(2):  # the first one finds out about a crash
        assert not worker.active
        content = [{"type": "input_text", "text": "last "}]
        item = {"type": "message", "role": "user", "content": content}
        protocol.receive({"type": "conversation.item.create", "item": item})
        worker.flush()
        protocol.receive({"type": "response.create"})
        worker.flush()
        settle()
