"""What a conversation's journal is made of: one frozen dataclass for each thing that can happen.

The same entries make the conversation while it is held and when it is read back (`history.py`).
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from ..state import Kind

Role = Literal["user", "model"]
Piece = Literal["text", "thought", "heard"]
Outcome = Literal["done", "interrupted", "failed"]
Number = TypeVar("Number", int, float)


@dataclass(frozen=True)
class Attachment:
    """A file that belongs to a question.

    Attributes:
        id: unique in the conversation.
        kind: what it is.
        number: which of its kind it is in the conversation, from 1.
        file: its name in the conversation's folder.
        name: what the user calls it: a file's name, "window", "clipboard".
        size: of a picture, (width, height) in pixels; of a watched screen, that of the newest.
        seconds: of a sound.
        budget: the most tokens that a picture may take; None for the model's own default.
        tokens: what the model gets of a picture, as the worker reports; None until it has.
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
        """Its placeholder in the prompt: [Image #1], [Audio 0:04], [notes.txt]."""
        if self.kind == "image":
            return f"[Image #{self.number}]"
        if self.kind == "sound":
            return f"[Audio {clock(self.seconds)}]"
        return f"[{self.name}]"

    @property
    def files(self) -> set[str]:
        return {self.file, *(file for _, file in self.frames)}


@dataclass(frozen=True)
class TurnStarted:
    """A turn, `at` seconds since 1970: the user records or asks, the model is asked."""

    turn: int
    role: Role
    at: float


@dataclass(frozen=True)
class AttachmentAdded:
    """An attachment waits to be sent; a second entry of the same id has its changed facts.

    Attributes:
        watched: it shows a screen that is watched: nobody attached it by hand.
    """

    attachment: Attachment
    watched: bool = field(default=False, compare=False)  # no part of what waits


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
    """A piece of a turn's text.

    Attributes:
        relayed: of what was heard: the conversation holds this text instead of the sound.
    """

    turn: int
    piece: Piece
    text: str
    relayed: bool = False


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
        error: code, title, cause and remedy of a turn that failed.
        ids: as there: the tokens of the answer as they stay in the conversation.
    """

    turn: int
    outcome: Outcome
    reason: str = ""
    stats: Mapping[str, float] = field(default_factory=dict)
    error: tuple[str, str, str, str] | None = None
    ids: tuple[int, ...] = ()


@dataclass(frozen=True)
class TurnsRemoved:
    """This turn and all after it do not belong to the conversation any more."""

    turn: int


@dataclass(frozen=True)
class ModelChosen:
    """A model answers from now on."""

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
    | ModelChosen
)

_TAGS: Mapping[str, type[Any]] = {  # those of the first version of the program
    "begun": TurnStarted,
    "attached": AttachmentAdded,
    "detached": AttachmentRemoved,
    "asked": QuestionSent,
    "said": TextAdded,
    "remarked": NoteAdded,
    "ended": TurnEnded,
    "removed": TurnsRemoved,
    "using": ModelChosen,
}
_NAMES = {kind: tag for tag, kind in _TAGS.items()}
_PLAIN = {int: int, float: int | float, str: str, bool: bool}
_ALLOWED = {
    kind: {
        name: (get_args(hint) if get_origin(hint) is Literal else (), _PLAIN.get(hint, object))
        for name, hint in get_type_hints(kind).items()
    }
    for kind in (*_NAMES, Attachment)
}
"""Kind of entry -> field -> the values it may have (empty for any), and its type."""
_MOST = 10**11
"""No number of a conversation is larger: seconds since 1970, pixels, tokens."""


def clock(seconds: float) -> str:
    """Write seconds as 0:07."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"


def to_json(entry: Entry) -> dict[str, Any]:
    """Return an entry for JSON; `is` names its kind.

    `relayed`, `ids` and `watched` are left out where they are empty or False.
    """
    facts = asdict(entry)
    for name in ("relayed", "ids", "watched"):
        if not facts.get(name, True):
            del facts[name]
    return {"is": _NAMES[type(entry)], **facts}


def from_json(value: Mapping[str, Any]) -> Entry:
    """Read an entry.

    Raises:
        KeyError, TypeError, ValueError: it is none.
    """
    facts = {key: one for key, one in value.items() if key != "is"}
    kind = _TAGS[value["is"]]
    if kind is AttachmentAdded:
        return AttachmentAdded(_attachment(facts["attachment"]), bool(facts.get("watched")))
    _check(kind, facts)
    if kind is TurnEnded:
        if facts.get("error") is not None:
            code, title, cause, remedy = ["", *map(str, facts["error"])][-4:]
            facts["error"] = (code, title, cause, remedy)
        facts["ids"] = tuple(map(int, facts.get("ids", ())))
        stats = facts.get("stats", {})
        facts["stats"] = {str(name): _in_range(float(one)) for name, one in stats.items()}
    entry: Entry = kind(**facts)
    return entry


def _attachment(value: Mapping[str, Any]) -> Attachment:
    known = dict(value)
    _check(Attachment, known)
    for name in ("budget", "tokens"):
        if known.get(name) is not None:
            known[name] = _in_range(int(known[name]), 1)
    if known.get("size") is not None:
        width, height = known["size"]
        known["size"] = (_in_range(int(width), 1), _in_range(int(height), 1))
    frames = known.get("frames", ())
    known["frames"] = tuple((_in_range(float(seconds)), str(file)) for seconds, file in frames)
    return Attachment(**known)


def _check(kind: type[Any], facts: Mapping[str, Any]) -> None:
    """Raise ValueError or TypeError where a field has a value that is never written."""
    for name, (values, plain) in _ALLOWED[kind].items():
        if name in facts and values and facts[name] not in values:
            raise ValueError(f"{name} is {facts[name]!r}")
        if name in facts and not isinstance(facts[name], plain):
            raise TypeError(f"{name} is {facts[name]!r}")
        if name in facts and plain in (int, int | float):
            _in_range(facts[name])


def _in_range(value: Number, least: int = 0) -> Number:
    """Return a number, or raise ValueError where a damaged line has a wild one, or NaN."""
    if not least <= value <= _MOST:
        raise ValueError(f"{value} is out of range")
    return value
