"""The answering side of a Realtime session: responses and transcripts, from a worker's reports.

Pure: commands to a worker and events for the client are appended to lists that `protocol.py` takes.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

from ...errors import Gemma4Error
from ...events import CallText, Done, Heard, Token, ToolCall
from ...runtime.commands import Command, Reply, SessionSettings, Stop, Transcribe
from ...runtime.reports import Failed, Finished, Report
from .feed import ConversationFeed
from .items import RealtimeItem, heard_as
from .refusals import Event, error_event, refused
from .response import ResponseInProgress, usage_of
from .session_object import (
    must_call,
    need_current,
    need_same_sound,
    need_supported,
    temperature_of,
    text_only,
    token_limit,
    tools_of,
    without_nulls,
)
from .sound_input import FRAME_MS

HearingChoice = Literal["auto", "direct", "relay", "off"]


OPENING = "Start the conversation."
"""What is answered where a client asks for a response in an empty conversation."""
_LOST = frozenset(
    "worker_crashed worker_not_running worker_closed worker_busy hearing_backlog".split()
)
"""Codes of errors after which a worker's conversation differs from what was sent."""


class RealtimeAnswering:
    """Makes the responses of a conversation, one at a time.

    Args:
        feed: the conversation.
        hearing: how it hears; "off": nothing is read before a reply is asked for.
        speaks: whether a voice is installed.
        settings: how the worker holds any conversation.
        conversation: the worker's name for it.
        new_id: makes an id from what it is for.

    Attributes:
        events: for the client, in order; whoever sends them takes them out.
        commands: for the worker, likewise.
        response: the response in progress, or the last one.
        session: the session's object; replaced when it is updated.
        later: events that wait for the end of a cancelled response: their types, and what they do.
    """

    def __init__(
        self,
        feed: ConversationFeed,
        hearing: HearingChoice,
        speaks: bool,
        settings: SessionSettings,
        conversation: str,
        new_id: Callable[[str], str],
    ) -> None:
        self.events: list[Event] = []
        self.commands: list[Command] = []
        self.response: ResponseInProgress | None = None
        self.session: dict[str, Any] = {}
        self.later: list[tuple[str, Callable[[], None]]] = []
        self._feed, self._hearing, self._speaks = feed, hearing, speaks
        self._settings, self._conversation, self._new_id = settings, conversation, new_id
        self._sent: dict[int, Command] = {}  # what is not finished
        self._wanted: dict[str, Any] | None = None  # options of a response that is to be made next
        self._cancelling = ""  # why the response in progress is cancelled
        self._drawing = False  # a reply, whose voice may go on when it is drawn
        self._ended: Done | None = None  # the end of the last one
        self._untranscribed: deque[str] = deque()
        self._transcribing = ""  # the id of an item

    @property
    def active(self) -> bool:
        return self.response is not None and not self.response.over

    @property
    def cancelling(self) -> bool:
        """Whether the response in progress was cancelled, and is about to end."""
        return bool(self._cancelling)

    def settle(self) -> None:
        """Have the worker use the session's settings and tools."""
        self.commands += self._feed.change(
            self.settings(), tools_of(self.session["tools"], "session.tools")
        )

    def sent(self, number: int, command: Command) -> None:
        """Note the number under which reports about a command come."""
        self._sent[number] = command

    def want(self, options: dict[str, Any]) -> None:
        """Make a response as soon as none is in progress."""
        self._wanted = options
        self._next()

    def create(self, options: dict[str, Any]) -> None:
        """Make a response.

        Raises:
            Gemma4Error: one is in progress, or an option asks for what cannot be done.
        """
        if self.active:
            raise refused(
                "conversation_already_has_active_response",
                "A response is in progress.",
                "Wait for response.done, or send response.cancel.",
            )
        if self._drawing:  # of a response that has failed: its reply is about to end
            self._wanted = options
            return
        if (options.get("conversation") or "auto") != "auto" or options.get("input") is not None:
            raise refused(
                "invalid_value",
                "A response outside the conversation is not supported.",
                "Leave out response.conversation and response.input.",
                "response.conversation",
            )
        options = without_nulls(options)
        need_current(options, "response")
        need_supported(options, "response")
        need_same_sound(self.session, options.get("audio") or {})
        modalities = options.get("output_modalities", self.session["output_modalities"])
        spoken = not text_only(modalities, self._speaks, "response.output_modalities")
        limit = options.get("max_output_tokens", self.session["max_output_tokens"])
        heat = options.get("temperature", self.session.get("temperature"))
        tools = tools_of(options.get("tools", self.session["tools"]), "response.tools")
        choice = options.get("tool_choice", self.session["tool_choice"])
        reply = Reply(
            max_tokens=token_limit(limit, "response.max_output_tokens"),
            temperature=temperature_of(heat, "response.temperature"),
            must_call=must_call(choice, tools, "response.tool_choice"),
            may_call=choice != "none",
        )
        system, extra = self._instructions(options.get("instructions"))
        if not (self._feed.items or extra) and system:
            extra = OPENING  # the instructions alone are no question
        shown = {**self.session, "max_output_tokens": limit}
        response = self.response = ResponseInProgress(
            self._new_id("resp"), shown, options.get("metadata"), spoken, self._new_id, self._place
        )
        self.events += response.start()
        if not (self._feed.answerable or extra):
            self.events += response.fail(
                refused("nothing_to_answer", "There is nothing to answer.", "Add an item first.")
            )
            return
        self.commands += self._feed.change(replace(self.settings(), system=system), tools)
        self.commands += self._feed.reply(reply, extra)
        self._drawing, self._wanted = True, None

    def cancel(self, reason: str) -> None:
        """Cancel the response in progress.

        Args:
            reason: "turn_detected" or "client_cancelled".
        """
        assert self.response is not None
        if not self._drawing:  # only its voice is left
            self.events += self.response.cancel(reason, None, self._usage(self.response.done))
            self._after_response(self.response)
        elif not self._cancelling:
            self._cancelling = reason
            self.commands.append(Stop(conversation=self._conversation))

    def interrupt_transcript(self) -> None:
        """Put off the transcript in progress, because somebody speaks."""
        if self._transcribing:
            self._untranscribed.appendleft(self._transcribing)
            self._transcribing = ""
            self.commands.append(Stop(conversation=self._conversation))

    def committed(self, item: RealtimeItem) -> None:
        """Queue the transcript of what somebody said, if the session asks for transcripts."""
        if self.session["audio"]["input"]["transcription"] is not None:
            self._untranscribed.append(item.id)

    def transcribe(self) -> None:
        """Start the next transcript, unless a reply or transcript is drawn or somebody speaks."""
        if self._drawing or self._transcribing or self._feed.draft:
            return
        while self._untranscribed:
            item = self._feed.find(self._untranscribed.popleft())
            if item is not None and len(item.speech):
                self._transcribing = item.id
                command = Transcribe(item.speech, conversation=self._conversation)
                self.commands.append(command)
                return

    def sound(self, response: ResponseInProgress, pcm: bytes, whole: bool) -> None:
        """Take sound of a response's voice, as `ResponseInProgress.sound` does."""
        if not response.over:  # else it was cancelled while this was spoken
            self.events += response.sound(pcm, whole)
            self._after_response(response)

    def failed(self, response: ResponseInProgress, error: Gemma4Error) -> None:
        """Fail a response whose voice has failed, unless it is over."""
        if not response.over:
            if self._drawing:
                self.commands.append(Stop(conversation=self._conversation))
            self.events += response.fail(error)
            self._after_response(response)

    def report(self, report: Report) -> None:
        event = report.event
        command = self._sent.get(report.command or 0)
        if isinstance(event, Failed) and event.code in _LOST:
            self._feed.lost(self._feed.answering and not isinstance(command, Reply))
        if isinstance(event, Finished | Failed):
            self._sent.pop(report.command or 0, None)
        if isinstance(command, Reply):
            self._replied(event)
        elif isinstance(command, Transcribe):
            self._transcribed(event)
        elif isinstance(event, Failed) and event.code not in _LOST:
            self.events.append(error_event(event.error(), None))

    def _replied(self, event: object) -> None:
        response = self.response
        assert response is not None
        if isinstance(event, Heard):
            self._heard_relayed(event.text)
        elif isinstance(event, Token | CallText | ToolCall) and not response.over:
            self.events += response.on(event)
        elif isinstance(event, Done):
            self._end(response, event)
        elif isinstance(event, Failed):
            if not response.over:
                self.events += response.fail(event.error())
            self._cancelling, self._drawing, self._ended = "", False, None
            self._after_response(response)

    def _end(self, response: ResponseInProgress, done: Done) -> None:
        reason, self._cancelling = self._cancelling, ""
        # what a failed response has not shown was drawn all the same
        self._drawing, self._ended = False, None if response.over else done
        usage = self._usage(done)
        if done.reason == "cancelled" and not response.over:
            reason = reason or "client_cancelled"
            self.events += response.cancel(reason, done, usage)
        elif not response.over:
            self.events += response.finish(done, usage)
            if reason:  # the reply had ended before; its voice has not
                self.events += [] if response.over else response.cancel(reason, done, usage)
        self._after_response(response)

    def _after_response(self, response: ResponseInProgress) -> None:
        if not response.over or self._drawing:
            return
        for item in response.items:  # they are whole now, and not before
            if self._feed.find(item.id):
                self._feed.swap(item)
        if self._feed.answering:
            ended = None if response.cut else self._ended
            self.commands += self._feed.answered(response.items, ended)
        self.settle()
        later, self.later = self.later, []
        for _, handle in later:
            handle()
        self._next()
        self.transcribe()

    def _next(self) -> None:
        if self._wanted is None or self.active or self._feed.answering:
            return
        wanted, self._wanted = self._wanted, None
        try:
            self.create(wanted)
        except Gemma4Error as error:
            self.events.append(error_event(error, None))

    def _place(self, item: RealtimeItem) -> str | None:
        self._feed.draw(item)
        return self._feed.before(item.id)

    def _transcribed(self, event: object) -> None:
        item = self._feed.find(self._transcribing)
        if isinstance(event, Heard) and item is not None:
            self._transcript(item, event.text, relayed=False)
        elif isinstance(event, Failed) and item is not None:
            error = {"type": "server_error", "code": event.code, "message": event.cause}
            self._about_transcript(item, "failed", error=error)
        if isinstance(event, Finished | Failed):
            self._transcribing = ""
            self.transcribe()

    def _heard_relayed(self, text: str) -> None:
        """Note that what was said since the last answer entered the conversation as this text."""
        place = self._feed.question_start()
        heard = [item for item in self._feed.items[place:] if len(item.speech)]
        for item in heard:
            self._transcript(item, text if item is heard[-1] else "", relayed=True)

    def _transcript(self, item: RealtimeItem, text: str, relayed: bool) -> None:
        seconds = len(item.speech) * FRAME_MS / 1000
        self._feed.swap(heard_as(item, text, relayed))
        if item.id in self._untranscribed:
            self._untranscribed.remove(item.id)
        if self.session["audio"]["input"]["transcription"] is None:
            return
        usage = {"type": "duration", "seconds": seconds}
        self._about_transcript(item, "completed", transcript=text, usage=usage)

    def _about_transcript(self, item: RealtimeItem, what: str, **more: object) -> None:
        kind = f"conversation.item.input_audio_transcription.{what}"
        at = next(n for n, p in enumerate(item.shown["content"]) if p["type"] == "input_audio")
        self.events.append({"type": kind, "item_id": item.id, "content_index": at, **more})

    def _usage(self, done: Done | None) -> dict[str, Any] | None:
        if done is None or "prompt_tokens" not in done.stats:
            return None
        sound = sum(len(item.speech) for item in self._feed.items)
        return usage_of(done, sound, sum(item.picture_tokens for item in self._feed.items))

    def settings(self) -> SessionSettings:
        return replace(
            self._settings,
            system=self.session["instructions"] or None,
            hearing="auto" if self._hearing == "off" else self._hearing,
            when_full="stop" if self.session["truncation"] == "disabled" else "drop",
        )

    def _instructions(self, given: object) -> tuple[str | None, str]:
        """Return the system instruction of a response, and what is added to its question.

        Instructions that only extend the session's are added to the question: the conversation
        before it stays as it was read.
        """
        own = self.session["instructions"]
        if given is None or given == own:
            return own or None, ""
        if not isinstance(given, str):
            raise refused(
                "invalid_value",
                "The instructions are no text.",
                "Send text.",
                "response.instructions",
            )
        if given.startswith(own):
            return own or None, given[len(own) :].strip()
        return given, ""
