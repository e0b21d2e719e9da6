"""A conversation as it is shown: turns and what waits, made by folding journal entries.

Knows nothing of workers, files or terminals.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from mlx_gemma4.errors import counted

from ..state import Kind
from . import entries as note
from .entries import Attachment, Entry, Role

TurnState = Literal["recording", "thinking", "answering", "done", "interrupted", "failed"]
"""A user's turn is recording, then done; a model's is thinking until its first piece comes."""

OPEN = ("recording", "thinking", "answering")


@dataclass(frozen=True)
class ShownTurn:
    """One turn; it is replaced when something about it changes.

    Attributes:
        at: when it was started, in seconds since 1970.
        text: the question, or the answer as far as it goes.
        thought: the model's thinking.
        heard: what the model understood of the turn's sound.
        relayed: the model knows that text instead of the sound.
        attachments: what was sent with the question.
        remarks: sentences that the user may want to know.
        reason: why the answer ended, as in `events.Done`.
        stats: numbers of the answer, as there.
        error: code, title, cause and remedy of what failed.
        ids: the answer's tokens, as the worker's conversation keeps them.
    """

    id: int
    role: Role
    state: TurnState
    at: float
    text: str = ""
    thought: str = ""
    heard: str = ""
    relayed: bool = False
    attachments: tuple[Attachment, ...] = ()
    remarks: tuple[str, ...] = ()
    reason: str = ""
    stats: Mapping[str, float] = field(default_factory=dict)
    error: tuple[str, str, str, str] | None = None
    ids: tuple[int, ...] = ()

    @property
    def over(self) -> bool:
        return self.state not in OPEN

    @property
    def facts(self) -> str:
        """The dim line under an answer: tokens, speed, and how long the first one took."""
        parts = []
        if "reply_tokens" in self.stats:
            parts.append(counted(round(self.stats["reply_tokens"]), "token"))
        if "tokens_per_second" in self.stats:
            parts.append(f"{self.stats['tokens_per_second']:.1f} tok/s")
        if "seconds_to_first_token" in self.stats:
            parts.append(f"first token {self.stats['seconds_to_first_token']:.2f} s")
        if self.state == "interrupted":
            parts.append("stopped")
        elif self.error is not None:
            parts.append(f"failed: {self.error[1]}")
        elif self.reason == "length":
            parts.append("cut at the limit of tokens")
        elif self.reason == "context":
            parts.append("cut: the context is full")
        return " · ".join(parts)


class History:
    """The conversation so far.

    Attributes:
        turns: by id, in order.
        waiting: attachments that are not sent yet, by id, in order.
        watched: the ids of those that show a screen that is watched.
        model: the name of the one that answers.
    """

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self.turns: dict[int, ShownTurn] = {}
        self.waiting: dict[int, Attachment] = {}
        self.watched: set[int] = set()
        self.model = ""
        self._last_turn = self._last_attachment = 0
        self._numbers: dict[Kind, int] = {}
        self._sent: dict[int, int] = {}  # attachment -> turn
        for entry in entries:
            self.apply(entry)

    def apply(self, entry: Entry) -> set[int]:
        """Take an entry in; return the ids of the turns that changed, appeared or went.

        An entry about a turn that is not there changes nothing.
        """
        match entry:
            case note.TurnStarted(number, role, at):
                self._last_turn = max(self._last_turn, number)
                state: TurnState = "recording" if role == "user" else "thinking"
                self.turns[number] = ShownTurn(number, role, state, at)
                return {number}
            case note.AttachmentAdded(attachment, watched):
                (self.watched.add if watched else self.watched.discard)(attachment.id)
                return self._attach(attachment)
            case note.AttachmentRemoved(attachment):
                self.waiting.pop(attachment, None)
                return set()
            case note.QuestionSent(number, text) if number in self.turns:
                sent = tuple(self.waiting.values())
                self.waiting.clear()
                self._sent |= {one.id: number for one in sent}
                return self._change(number, text=text, attachments=sent, state="done")
            case note.TextAdded(number, piece, text, relayed) if number in self.turns:
                turn = self.turns[number]
                state = "answering" if turn.state == "thinking" else turn.state
                changed = {piece: getattr(turn, piece) + text}
                relayed = relayed or turn.relayed
                self.turns[number] = replace(turn, state=state, relayed=relayed, **changed)
                return {number}
            case note.NoteAdded(number, text) if number in self.turns:
                return self._change(number, remarks=(*self.turns[number].remarks, text))
            case note.TurnEnded(number, outcome, reason, stats, error, ids) if number in self.turns:
                facts = {"state": outcome, "reason": reason, "stats": stats, "error": error}
                return self._change(number, **facts, ids=ids)
            case note.TurnsRemoved(number):
                gone = {one for one in self.turns if one >= number}
                for one in gone:
                    del self.turns[one]
                return gone
            case note.ModelChosen(model):
                self.model = model
        return set()

    def next_turn(self) -> int:
        """Return the id of the next turn; ids are never used twice."""
        return self._last_turn + 1

    def next_attachment(self, kind: Kind) -> tuple[int, int]:
        """Return the id of the next attachment, and which of its kind it will be."""
        return self._last_attachment + 1, self._numbers.get(kind, 0) + 1

    def last(self, role: Role) -> ShownTurn | None:
        return next((turn for turn in reversed(self.turns.values()) if turn.role == role), None)

    @property
    def attachments(self) -> list[Attachment]:
        """All that were sent or wait."""
        sent = [one for turn in self.turns.values() for one in turn.attachments]
        return [*sent, *self.waiting.values()]

    @property
    def files(self) -> set[str]:
        """The names of all files that are shown or wait."""
        return set().union(*(one.files for one in self.attachments))

    def _attach(self, attachment: Attachment) -> set[int]:
        self._last_attachment = max(self._last_attachment, attachment.id)
        kind = attachment.kind
        self._numbers[kind] = max(self._numbers.get(kind, 0), attachment.number)
        number = self._sent.get(attachment.id, 0)
        if number not in self.turns:
            self.waiting[attachment.id] = attachment
            return set()
        parts = self.turns[number].attachments
        changed = tuple(attachment if one.id == attachment.id else one for one in parts)
        return self._change(number, attachments=changed)

    def _change(self, number: int, **facts: object) -> set[int]:
        self.turns[number] = replace(self.turns[number], **facts)  # type: ignore[arg-type]
        return {number}
