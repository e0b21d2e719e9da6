"""One response of the Realtime API: events of a reply in, server events out, in the API's order.

Pure. Where the answer is spoken, its sound comes from elsewhere, sentence by sentence (`sound`),
and what follows a sentence in the response waits for it.
"""

import base64
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from ...capture.sentences import Sentences
from ...errors import Gemma4Error
from ...events import CallText, Done, Token, ToolCall
from ...runtime.commands import AddText
from ..call_stream import CallBroken, CallDelta, CallEnded, CallStarted, CallStream
from .items import RealtimeItem, shown_item
from .refusals import Event
from .session_object import RATE

Object = dict[str, Any]

# the type of an answer's part, the field with its words, and the start of their events
_SPOKEN = ("audio", "transcript", "response.output_audio_transcript")
_WRITTEN = ("text", "text", "response.output_text")
_INCOMPLETE = {"length": "max_output_tokens", "context": "max_output_tokens"}


class ResponseInProgress:
    """Makes the events of a response.

    Args:
        session: the session's object, with this response's own options.
        metadata: echoed.
        spoken: whether the answer is spoken; else it is text.
        new_id: makes the ids of items.
        place: puts an item into the conversation, and returns the id of the item before it.

    Attributes:
        items: what it has added so far.
        unspoken: sentences to be spoken, for whoever speaks them; `sound` takes the sound of each.
        over: whether its last event was made.
        done: the end of its reply; None while it is drawn, and where it failed.
        cut: whether a call that was drawn is not shown, for the text before it was not spoken.
    """

    def __init__(
        self,
        response_id: str,
        session: Mapping[str, Any],
        metadata: object,
        spoken: bool,
        new_id: Callable[[str], str],
        place: Callable[[RealtimeItem], str | None],
    ) -> None:
        self.id = response_id
        self.items: list[RealtimeItem] = []
        self.unspoken: deque[str] = deque()
        self.over = self.cut = False
        self.done: Done | None = None
        self._session, self._metadata, self._spoken = session, metadata, spoken
        self._new_id, self._place = new_id, place
        self._kind, self._key, self._delta = _SPOKEN if spoken else _WRITTEN
        self._text = ""  # of the message that is open
        self._bytes = 0  # of its sound
        self._open = False
        self._sentences = Sentences()
        self._before: str | None = None  # the item before the last one
        self._awaited = 0  # sentences whose sound is not complete
        self._later: deque[Callable[[], list[Event]]] = deque()
        self._drawn = CallStream()

    def start(self) -> list[Event]:
        """Return the first event."""
        return [{"type": "response.created", "response": self._object("in_progress", None, None)}]

    def on(self, event: Token | CallText | ToolCall) -> list[Event]:
        """Return the events for a piece of the reply."""
        return [made for one in self._drawn.take(event) for made in self._on(one)]

    def _on(self, event: object) -> list[Event]:
        if not isinstance(event, Token):
            return self._after_sound(lambda: self._call(event))
        events = [] if self._open else self._open_message()
        self._text += event.text
        events.append(self._part(f"{self._delta}.delta", delta=event.text))
        if self._spoken:
            self._speak(self._sentences.add(event.text))
        return events

    def sound(self, pcm: bytes, whole: bool) -> list[Event]:
        """Take sound of the sentence that is being spoken.

        Args:
            pcm: 16-bit, 24 kHz; may be empty.
            whole: whether it is the last of its sentence.
        """
        events: list[Event] = []
        if not self._open:
            return events
        if pcm:
            self._bytes += len(pcm)
            delta = base64.b64encode(pcm).decode()
            events.append(self._part("response.output_audio.delta", delta=delta))
        if whole:
            self._awaited -= 1
            events += self._go_on()
        return events

    def finish(self, done: Done, usage: Object | None) -> list[Event]:
        """End the response after its reply, which was not cancelled."""
        self.done = done
        reason = _INCOMPLETE.get(done.reason)
        status = "incomplete" if reason else "completed"
        details = {"type": "incomplete", "reason": reason} if reason else None
        return self._after_sound(lambda: self._end(status, details, usage))

    def cancel(self, reason: str, done: Done | None, usage: Object | None) -> list[Event]:
        """End the response as cancelled.

        Args:
            reason: "turn_detected" or "client_cancelled".
            done: the reply's end, where it has one.
        """
        self._drop()
        self.done = done or self.done
        return self._end("cancelled", {"type": "cancelled", "reason": reason}, usage)

    def fail(self, error: Gemma4Error) -> list[Event]:
        """End the response as failed."""
        self._drop()
        details = {
            "type": "failed",
            "error": {"type": "server_error", "code": error.code, "message": str(error)},
        }
        return self._end("failed", details, None)

    def _drop(self) -> None:
        self.cut = len(self._later) > (self.done is not None)  # its end waits, too
        self.unspoken.clear()
        self._later.clear()

    def _after_sound(self, what: Callable[[], list[Event]]) -> list[Event]:
        if self._spoken:
            self._speak(self._sentences.finish())
        self._later.append(what)
        return self._go_on()

    def _go_on(self) -> list[Event]:
        events: list[Event] = []
        while self._later and not self._awaited:
            events += self._later.popleft()()
        return events

    def _speak(self, sentences: list[str]) -> None:
        self.unspoken += sentences
        self._awaited += len(sentences)

    def _open_message(self) -> list[Event]:
        message = {"type": "message", "role": "assistant", "content": []}
        shown = shown_item(self._new_id("item"), **message, status="in_progress")
        self._open, self._text, self._bytes = True, "", 0
        part = {"type": self._kind, self._key: ""}
        return [
            *self._added(RealtimeItem(shown["id"], "model", (), shown)),
            self._part("response.content_part.added", part=part),
        ]

    def _close_message(self, status: str) -> list[Event]:
        if not self._open:
            return []
        self._open = False
        item, text = self.items[-1], self._text
        written = {self._key: text}
        events = [self._part("response.output_audio.done")] if self._spoken else []
        events.append(self._part(f"{self._delta}.done", **written))
        part = {"type": self._kind, **written}
        events.append(self._part("response.content_part.done", part=part))
        content = {"type": f"output_{self._kind}", **written}
        shown = {**item.shown, "status": status, "content": [content]}
        milliseconds = self._bytes * 1000 // (2 * RATE)
        words = (AddText(text),) if text else ()
        return events + self._item_done(RealtimeItem(item.id, "model", words, shown, milliseconds))

    def _call(self, event: object) -> list[Event]:
        """Return the events for a piece of a call; the text before it has been spoken."""
        match event:
            case CallStarted(call_id, name):
                call = {"type": "function_call", "name": name, "call_id": call_id, "arguments": ""}
                shown = shown_item(self._new_id("item"), **call, status="in_progress")
                item = RealtimeItem(shown["id"], "model", (), shown)
                return [*self._close_message("completed"), *self._added(item)]
            case CallDelta(text):
                return [self._arguments("delta", delta=text)]
            case CallEnded(call, arguments):
                done = self._arguments("done", name=call.name, arguments=arguments)
                return [done, *self._call_over(arguments, "completed", call)]
            case CallBroken(text, arguments) if self._calls:
                return self._call_over(arguments, "incomplete", AddText(text))
        return []

    @property
    def _calls(self) -> bool:
        """Whether the last item is a call that is being drawn."""
        shown = self.items[-1].shown if self.items else {}
        return shown.get("type") == "function_call" and shown["status"] == "in_progress"

    def _arguments(self, kind: str, **fields: object) -> Event:
        item = self.items[-1]
        return {
            "type": f"response.function_call_arguments.{kind}",
            "response_id": self.id,
            "item_id": item.id,
            "output_index": len(self.items) - 1,
            "call_id": item.shown["call_id"],
            **fields,
        }

    def _call_over(self, arguments: str, status: str, part: ToolCall | AddText) -> list[Event]:
        item = self.items[-1]
        shown = {**item.shown, "status": status, "arguments": arguments}
        empty = isinstance(part, AddText) and not part.text
        return self._item_done(RealtimeItem(item.id, "model", () if empty else (part,), shown))

    def _added(self, item: RealtimeItem) -> list[Event]:
        self.items.append(item)
        self._before = self._place(item)
        return self._about_item("added")

    def _item_done(self, item: RealtimeItem) -> list[Event]:
        self.items[-1] = item
        return self._about_item("done")

    def _about_item(self, what: str) -> list[Event]:
        """Return the two events for the last item."""
        item = self.items[-1].shown
        place = {"response_id": self.id, "output_index": len(self.items) - 1}
        before = {"previous_item_id": self._before}
        return [
            {"type": f"response.output_item.{what}", **place, "item": item},
            {"type": f"conversation.item.{what}", **before, "item": item},
        ]

    def _part(self, kind: str, **fields: object) -> Event:
        return {
            "type": kind,
            "response_id": self.id,
            "item_id": self.items[-1].id,
            "output_index": len(self.items) - 1,
            "content_index": 0,
            **fields,
        }

    def _end(self, status: str, details: Object | None, usage: Object | None) -> list[Event]:
        self.over = True
        events = [made for one in self._drawn.take(None) for made in self._call(one)]
        events += self._close_message("completed" if status == "completed" else "incomplete")
        finished = self._object(status, details, usage)
        return [*events, {"type": "response.done", "response": finished}]

    def _object(self, status: str, details: Object | None, usage: Object | None) -> Object:
        sound = self._session["audio"]["output"]
        return {
            "object": "realtime.response",
            "id": self.id,
            "status": status,
            "status_details": details,
            "output": [item.shown for item in self.items],
            "conversation_id": self._session["conversation_id"],
            "output_modalities": ["audio" if self._spoken else "text"],
            "max_output_tokens": self._session["max_output_tokens"],
            "audio": {"output": {"format": sound["format"], "voice": sound["voice"]}},
            "usage": usage,
            "metadata": self._metadata,
        }


def usage_of(done: Done, sound_tokens: int, image_tokens: int) -> Object:
    """Return a response's `usage`; `cached_tokens` is what was cached when speech ended.

    Args:
        done: the end of its reply.
        sound_tokens: how many tokens of the prompt are sound: one per frame of 40 ms.
        image_tokens: how many are pictures.
    """
    prompt = int(done.stats.get("prompt_tokens", 0))
    cached = prompt - int(done.stats.get("new_prompt_tokens", prompt))
    drawn = int(done.stats.get("reply_tokens", 0))
    sound, pictures = min(sound_tokens, prompt), min(image_tokens, prompt)
    text = max(prompt - sound - pictures, 0)
    return {
        "total_tokens": prompt + drawn,
        "input_tokens": prompt,
        "output_tokens": drawn,
        "input_token_details": {
            "text_tokens": text,
            "audio_tokens": sound,
            "image_tokens": pictures,
            "cached_tokens": cached,
        },
        "output_token_details": {"text_tokens": drawn, "audio_tokens": 0},
    }
