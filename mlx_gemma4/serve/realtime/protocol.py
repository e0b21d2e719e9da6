"""The Realtime API as a state machine: client events and a worker's reports in, lists out. Pure.

https://platform.openai.com/docs/api-reference/realtime in its shape of August 2025. Sound is sent
to the worker while it comes, whatever else goes on; items are sent when they are created.
"""

import secrets
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import Gemma4Error
from ...runtime.commands import Command, SessionSettings
from ...runtime.live import Gate
from .answering import HearingChoice, RealtimeAnswering
from .feed import ConversationFeed
from .items import ReadPicture, RealtimeItem, created, spoken_item, truncated
from .refusals import Event, error_event, refused
from .response import ResponseInProgress
from .session_object import new_session, updated
from .sound_input import (
    FRAME_MS,
    SoundInput,
    SpeechFrames,
    SpeechStarted,
    SpeechStopped,
    pcm_of,
)

MOST_ITEMS = 2_000
"""The most items of a conversation."""
_CHANGES = ("conversation.item.delete", "conversation.item.truncate", "response.create")
SHORTEST_MS, LONGEST_MS = 100, 600_000
"""The shortest utterance that can be committed by hand, and the longest."""


class RealtimeProtocol:
    """One session of one client.

    Args:
        model: the model's name.
        conversation: the worker's name for the conversation.
        read_picture: reads the pictures of items.
        settings: how the worker holds any conversation.
        hearing: see `RealtimeAnswering`.
        speaks: whether a voice is installed.
        expires_at: when the session ends, in seconds since 1970.
        make_gate: see `SoundInput`.
        new_id: makes an id from what it is for.

    Attributes:
        answers: takes what the worker reports, and the sound of the voice; what it and the client's
            events make, `take` takes out.
    """

    def __init__(
        self,
        model: str,
        conversation: str,
        read_picture: ReadPicture,
        settings: SessionSettings | None = None,
        hearing: HearingChoice = "auto",
        speaks: bool = False,
        expires_at: int = 0,
        make_gate: Callable[[dict[str, Any] | None], Gate] | None = None,
        new_id: Callable[[str], str] | None = None,
    ) -> None:
        self._new_id = new_id or (lambda kind: f"{kind}_{secrets.token_hex(8)}")
        self._read_picture = read_picture
        self._feed = ConversationFeed(conversation, SessionSettings(), live=hearing != "off")
        self.answers = RealtimeAnswering(
            self._feed, hearing, speaks, settings or SessionSettings(), conversation, self._new_id
        )
        self._speaks = speaks
        session = new_session(self._new_id("sess"), model, expires_at, speaks)
        self.answers.session = session | {"conversation_id": self._new_id("conv")}
        self._feed.settings = self.answers.settings()
        self._sound = SoundInput(session["audio"]["input"]["turn_detection"], make_gate)
        self._draft = ""  # the id of the item that is spoken
        self._event = 0
        self._send({"type": "session.created", "session": session})
        self._handlers: dict[str, Callable[[Event], None]] = {
            "session.update": self._update,
            "input_audio_buffer.append": lambda event: self.append(pcm_of(event.get("audio"))),
            "input_audio_buffer.commit": lambda event: self._commit_by_hand(),
            "input_audio_buffer.clear": lambda event: self._clear(),
            "conversation.item.create": self._create_item,
            "conversation.item.retrieve": self._retrieve_item,
            "conversation.item.delete": self._delete_item,
            "conversation.item.truncate": self._truncate_item,
            "response.create": self._create_response,
            "response.cancel": self._cancel_response,
        }

    @property
    def response(self) -> ResponseInProgress | None:
        """The response in progress, for whoever speaks its sentences; None where there is none."""
        return self.answers.response if self.answers.active else None

    @property
    def voice(self) -> tuple[str, float]:
        """The voice's name, and how fast it speaks: 1 is its usual speed."""
        sound = self.answers.session["audio"]["output"]
        return str(sound["voice"]), float(sound["speed"])

    def take(self) -> tuple[list[Event], list[Command]]:
        """Take out what is to be sent; the events get their ids."""
        events, self.answers.events = self.answers.events, []
        commands, self.answers.commands = self.answers.commands, []
        for event in events:
            self._event += 1
            event["event_id"] = f"event_{self._event}"
        return events, commands

    def receive(self, event: object) -> None:
        """Handle a client's event; an error in it becomes an event, too."""
        self._handle(event, self._take)

    def append(self, pcm: bytes) -> None:
        """Take sound: 16-bit PCM of 24 kHz.

        Raises:
            Gemma4Error: the utterance is longer than LONGEST_MS.
        """
        heard: list[NDArray[np.float32]] = []
        for event in self._sound.add(pcm):
            match event:
                case SpeechStarted(at_ms):
                    self._speech_starts(at_ms)
                case SpeechFrames(frames):
                    heard.append(frames)
                case SpeechStopped(at_ms):
                    self._hear(heard)
                    heard = []
                    self._speech_stops(at_ms)
        self._hear(heard)

    def refuse(self, error: Event) -> None:
        """Send an error (from `error_event`) about a client's event that did not come here."""
        self._send(error)

    def _take(self, event: Any) -> None:
        kind = event.get("type") if isinstance(event, dict) else None
        handler = self._handlers.get(str(kind))
        if handler is None:
            raise refused(
                "unknown_event",
                f"There is no client event {str(kind)[:80]!r}.",
                f"Known are {', '.join(self._handlers)}.",
                "type",
            )
        if kind == "conversation.item.create":  # at once: its pictures are not there later
            item = created(event.get("item"), self._new_id("item"), self._read_picture)
            event = {**event, "item": item}
        if self._waits(str(kind)):
            self.answers.later.append((str(kind), lambda: self._handle(event, handler)))
        else:
            handler(event)

    def _handle(self, event: Any, handler: Callable[[Event], None]) -> None:
        try:
            handler(event)
        except Gemma4Error as error:
            named = event.get("event_id") if isinstance(event, dict) else None
            self._send(error_event(error, None if named is None else str(named)))

    def _waits(self, kind: str) -> bool:
        """Whether an event waits for a cancelled response's end: the first, and what follows it."""
        before = [name for name, _ in self.answers.later]
        if kind == "response.cancel":
            return "response.create" in before
        follows = bool(before) and kind.startswith("conversation.item.")
        return self.answers.cancelling and (follows or kind in _CHANGES)

    def _update(self, event: Event) -> None:
        before = self.answers.session
        session = updated(before, event.get("session"), self._speaks)
        self.answers.session = session
        self._send({"type": "session.updated", "session": _shown(session)})
        turn_detection = session["audio"]["input"]["turn_detection"]
        if _gated(turn_detection) != _gated(before["audio"]["input"]["turn_detection"]):
            by_hand = self._sound.by_hand
            self._hear(self._sound.set(turn_detection))
            if self._draft and by_hand:  # it started before nothing was detected
                self._speech_stops(self._sound.heard_ms)
        if not self.answers.active:
            self.answers.settle()

    def _hear(self, heard: list[NDArray[np.float32]]) -> None:
        if not heard:
            return
        if self._feed.draft_frames * FRAME_MS > LONGEST_MS:
            self._clear()
            raise refused(
                "input_audio_buffer_full",
                f"More than {LONGEST_MS // 1000} s were said without a pause.",
                "Commit the sound earlier; what was said is forgotten.",
            )
        self.answers.commands += self._feed.hear(np.concatenate(heard))

    def _speech_starts(self, at_ms: int) -> None:
        self._draft = self._new_id("item")
        started = {"audio_start_ms": at_ms, "item_id": self._draft}
        self._send({"type": "input_audio_buffer.speech_started", **started})
        if self._detects("interrupt_response") and self.answers.active:
            self.answers.cancel("turn_detected")
        self.answers.interrupt_transcript()

    def _speech_stops(self, at_ms: int) -> None:
        stopped = {"audio_end_ms": at_ms, "item_id": self._draft}
        self._send({"type": "input_audio_buffer.speech_stopped", **stopped})
        self._commit()
        if self._detects("create_response"):
            self.answers.want({})

    def _detects(self, what: str) -> bool:
        detection = self.answers.session["audio"]["input"]["turn_detection"] or {}
        return bool(detection.get(what, True))

    def _commit_by_hand(self) -> None:
        self._hear([event.frames for event in self._sound.commit()])
        if self._feed.draft_frames * FRAME_MS < SHORTEST_MS:
            self._draft = ""
            self.answers.commands += self._feed.clear()
            raise refused(
                "input_audio_buffer_commit_empty",
                f"Less than {SHORTEST_MS} ms were said since the last commit.",
                "Append some sound first.",
            )
        self._commit()

    def _commit(self) -> None:
        item = spoken_item(self._draft or self._new_id("item"), self._feed.speech())
        self._draft = ""
        self._need_room()
        self.answers.commands += self._feed.commit(item)
        where = {"previous_item_id": self._feed.before(item.id)}
        self._send({"type": "input_audio_buffer.committed", **where, "item_id": item.id})
        self._send_item(item)
        self.answers.committed(item)

    def _send_item(self, item: RealtimeItem) -> None:
        where = {"previous_item_id": self._feed.before(item.id), "item": item.shown}
        self._send({"type": "conversation.item.added", **where})
        self._send({"type": "conversation.item.done", **where})

    def _clear(self) -> None:
        self._sound.clear()
        self._draft = ""
        self.answers.commands += self._feed.clear()
        self._send({"type": "input_audio_buffer.cleared"})

    def _create_item(self, event: Event) -> None:
        self._need_room()
        item: RealtimeItem = event["item"]
        if self._feed.find(item.id):
            raise refused(
                "invalid_value",
                f"There is an item {item.id} already.",
                "Leave out the id, or choose another.",
                "item.id",
            )
        after = event.get("previous_item_id")
        if after is None:
            place = len(self._feed.items)
        elif after == "root":
            place = 0
        else:
            place = self._feed.items.index(self._item(after, "previous_item_id")) + 1
        self.answers.commands += self._feed.add(item, place)
        self._send_item(item)

    def _retrieve_item(self, event: Event) -> None:
        item = self._item(event.get("item_id"), "item_id")
        self._send({"type": "conversation.item.retrieved", "item": item.shown})

    def _delete_item(self, event: Event) -> None:
        item = self._item(event.get("item_id"), "item_id", finished=True)
        self.answers.commands += self._feed.delete(item.id)
        self._send({"type": "conversation.item.deleted", "item_id": item.id})

    def _truncate_item(self, event: Event) -> None:
        item = self._item(event.get("item_id"), "item_id", finished=True)
        end = event.get("audio_end_ms")
        if not isinstance(end, int):
            raise refused(
                "invalid_value", "audio_end_ms is no number.", "Send milliseconds.", "audio_end_ms"
            )
        self.answers.commands += self._feed.replace(truncated(item, end))
        where = {"item_id": item.id, "content_index": 0, "audio_end_ms": end}
        self._send({"type": "conversation.item.truncated", **where})

    def _create_response(self, event: Event) -> None:
        options = event.get("response") or {}
        if not isinstance(options, dict):
            raise refused("invalid_value", "response is no object.", "Send an object.", "response")
        self.answers.create(options)

    def _cancel_response(self, event: Event) -> None:
        response = self.response
        if response is None or event.get("response_id") not in (None, response.id):
            raise refused(
                "response_cancel_not_active",
                "No such response is in progress.",
                "There is nothing to do.",
                "response_id",
            )
        self.answers.cancel("client_cancelled")

    def _item(self, item_id: object, param: str, finished: bool = False) -> Any:
        item = self._feed.find(str(item_id))
        if item is None:
            raise refused(
                "item_not_found", f"There is no item {item_id!r}.", "Send the id of one.", param
            )
        if finished and item.shown["status"] == "in_progress":
            raise refused(
                "item_in_progress",
                f"The item {item_id} is being written.",
                "Wait for response.done, or send response.cancel.",
                param,
            )
        return item

    def _need_room(self) -> None:
        if len(self._feed.items) >= MOST_ITEMS:
            raise refused(
                "conversation_full",
                f"The conversation has {MOST_ITEMS} items.",
                "Delete some, or open another session.",
            )

    def _send(self, event: Event) -> None:
        self.answers.events.append(event)


def _gated(turn_detection: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return what of turn detection changes which sound is speech."""
    return turn_detection and {**turn_detection, "create_response": 0, "interrupt_response": 0}


def _shown(session: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in session.items() if name != "conversation_id"}
