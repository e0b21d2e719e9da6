"""What a conversation's journal is made of: one frozen dataclass for each thing that can happen.

The same entries build the conversation while it is held and when it is read back (`history.py`).
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from ..state import Kind

Role = Literal["user", "model"]

Piece = Literal["text", "thought", "heard"]
Outcome = Literal["done", "interrupted", "failed"]


@dataclass(frozen=True)
class Attachment:
    """A file that belongs to a question.

    Attributes:
        id: unique in the conversation.
        kind: what it is.
        number: which of its kind it is in the conversation, from 1.
        file: its name in the conversation's folder; empty while a recording goes on.
        name: what the user calls it: a file's name, "window", "clipboard".
        size: of a picture, (width, height) in pixels; of a watched screen, that of the newest.
        seconds: of a sound.
        budget: the most tokens that a picture may take; None for the model's own default.
        tokens: what the model gets of a picture, as the engine says; None until it has.
        frames: of a video that is a watched screen, (seconds since its first picture in the
            conversation, file) of each; `file` is the newest.
    """

    id: int
    kind: Kind
    number: int
    file: str
    name: str
    size: tuple[int, int] | None = None
    seconds: float = 0.0
    budget: int | None = None
    tokens: int | None = None
    frames: tuple[tuple[float, str], ...] = ()

    @property
    def chip(self) -> str:
        """What stands for it in the prompt: [Image #1], [Audio 0:04], [notes.txt]."""
        if self.kind == "image":
            return f"[Image #{self.number}]"
        if self.kind == "sound":
            return f"[Audio {clock(self.seconds)}]"
        return f"[{self.name}]"


@dataclass(frozen=True)
class TurnStarted:
    """A turn begins, `at` seconds since 1970: the user records or asks, the model is asked."""

    turn: int
    role: Role
    at: float


@dataclass(frozen=True)
class AttachmentAdded:
    """Something waits to be sent; a second time, its facts have changed."""

    attachment: Attachment


@dataclass(frozen=True)
class AttachmentRemoved:
    """It does not wait any more, and was not sent."""

    attachment: int


@dataclass(frozen=True)
class QuestionSent:
    """The user's turn is sent, with these words and everything that waited."""

    turn: int
    text: str


@dataclass(frozen=True)
class TextAdded:
    """A piece of what is said in a turn."""

    turn: int
    piece: Piece
    text: str


@dataclass(frozen=True)
class NoteAdded:
    """A sentence about a turn that the user may want to know."""

    turn: int
    text: str


@dataclass(frozen=True)
class TurnEnded:
    """A turn is over.

    Attributes:
        reason: as in `events.Done`; empty where the program ended it.
        stats: as there.
        error: title, cause and remedy of a turn that failed.
    """

    turn: int
    outcome: Outcome
    reason: str = ""
    stats: Mapping[str, float] = field(default_factory=dict)
    error: tuple[str, str, str] | None = None


@dataclass(frozen=True)
class TurnsRemoved:
    """This turn and all after it do not belong to the conversation any more."""

    turn: int


@dataclass(frozen=True)
class Remembered:
    """The engine saved what it knows, up to this turn: so far it can go on where this was left."""

    turn: int


@dataclass(frozen=True)
class ModelChosen:
    """A model is there that answers from now on."""

    model: str


Entry = (
    TurnStarted
    | AttachmentAdded
    | AttachmentRemoved
    | QuestionSent
    | TextAdded
    | NoteAdded
    | TurnEnded
    | TurnsRemoved
    | Remembered
    | ModelChosen
)

_TAGS: Mapping[str, type[Any]] = {
    "begun": TurnStarted,
    "attached": AttachmentAdded,
    "detached": AttachmentRemoved,
    "asked": QuestionSent,
    "said": TextAdded,
    "remarked": NoteAdded,
    "ended": TurnEnded,
    "removed": TurnsRemoved,
    "remembered": Remembered,
    "using": ModelChosen,
}
_ALLOWED = {"role": get_args(Role), "piece": get_args(Piece), "outcome": get_args(Outcome)}
_NAMES = {kind: tag for tag, kind in _TAGS.items()}


def clock(seconds: float) -> str:
    """Write seconds as 0:07."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"


def to_json(entry: Entry) -> dict[str, Any]:
    """Write an entry down; `is` says which one it is."""
    return {"is": _NAMES[type(entry)], **asdict(entry)}


def from_json(value: Mapping[str, Any]) -> Entry:
    """Read an entry.

    Raises:
        KeyError, TypeError, ValueError: it is none.
    """
    facts = {key: one for key, one in value.items() if key != "is"}
    kind = _TAGS[value["is"]]
    for name, allowed in _ALLOWED.items():
        if name in facts and facts[name] not in allowed:
            raise ValueError(f"{name} is {facts[name]!r}")
    if not isinstance(facts.get("turn", 0), int) or not isinstance(facts.get("text", ""), str):
        raise TypeError("a turn is a number, and a text a text")
    if kind is AttachmentAdded:
        known = dict(facts["attachment"])
        if known.get("size") is not None:
            known["size"] = (int(known["size"][0]), int(known["size"][1]))
        frames = known.get("frames", ())
        known["frames"] = tuple((float(seconds), str(file)) for seconds, file in frames)
        return AttachmentAdded(Attachment(**known))
    if kind is TurnEnded and facts.get("error") is not None:
        title, cause, remedy = facts["error"]
        facts["error"] = (str(title), str(cause), str(remedy))
    entry: Entry = kind(**facts)
    return entry
