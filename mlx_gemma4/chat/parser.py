"""A reply's token ids -> events: answer, thoughts and tool calls, one id at a time.

Works on ids, so a `<|channel>` that the model spells out in ordinary characters stays text, and a
control token never appears as text. Notation: ai.google.dev, "Gemma 4 Prompt Formatting".
"""

import json
import re
import secrets

from ..events import CallText, Event, Thought, Token, ToolCall
from ..json_reader import is_deep
from .tokenizer import TextStream, Tokenizer

_CHANNEL, _CALL, _QUOTE = "<|channel>", "<|tool_call>", '<|"|>'
_ENDS = ("<channel|>", "<tool_call|>", "<turn|>", "<eos>")
_HEADER = "thought\n"
_CALL_FORM = re.compile(r"\s*call:([^\s{]+)\s*(\{.*\})\s*", re.DOTALL)
BARE_KEY = re.compile(r'([{,]\s*)([^\s{}\[\],:"][^{}\[\],:"]*?)\s*:')
"""A key without quotes, after what comes before it."""


class ReplyParser:
    """Parses one reply. Use: `add` every id, then `finish` once.

    A thought goes from `<|channel>` to `<channel|>`, or to where a call or the reply ends. A call
    that is malformed or unfinished cannot be carried out: it comes as one `Token` that holds what
    the model wrote (its string marks as `"`) and the id that ended it. Control tokens that mean
    nothing at their place are dropped. With `pieces`, calls also come as `CallText`.

    Attributes:
        inside: the control token that opened what we are in; "" is the answer.
    """

    def __init__(self, tokenizer: Tokenizer, pieces: bool = False) -> None:
        self._pieces = pieces
        self._call_id = ""
        self._names = {token_id: name for name, token_id in tokenizer.controls.items()}
        self._stream = TextStream(tokenizer)
        self._last_id = -1
        self.inside = ""
        self._header: str | None = None  # a channel's first line while it may still be its name
        self._call: list[str] = []  # a call, split at the string marks: every second is a string

    def add(self, token_id: int) -> list[Event]:
        """Take the next id of the reply; return what it completes."""
        self._last_id = token_id
        name = self._names.get(token_id)
        if name is None:
            return self._take(self._stream.add(token_id))
        if name == _QUOTE and self.inside == _CALL:
            before = self._take(self._stream.finish())
            self._call.append("")
            return [*before, *self._piece("")]
        elif name in (_CHANNEL, _CALL, *_ENDS):
            events = self._close(complete=name == "<tool_call|>")
            self.inside = "" if name in _ENDS else name
            self._header, self._call = "", [""]
            self._call_id = f"call_{secrets.token_hex(12)}"
            return events
        return []

    @property
    def thinking(self) -> bool:
        return self.inside == _CHANNEL

    def finish(self) -> list[Event]:
        """End the reply; return what was still held back."""
        return self._close(complete=False)

    def _take(self, text: str) -> list[Event]:
        if self.inside == _CALL:
            self._call[-1] += text
            return self._piece(text) if text else []
        if self.inside == _CHANNEL and self._header is not None:
            self._header += text
            if _HEADER.startswith(self._header) and self._header != _HEADER:
                return []
            text, self._header = self._header.removeprefix(_HEADER), None
        if not text:
            return []
        return [Thought(text) if self.inside == _CHANNEL else Token(text, self._last_id)]

    def _piece(self, text: str) -> list[Event]:
        piece = CallText(self._call_id, text, in_string=len(self._call) % 2 == 0)
        return [piece] if self._pieces else []

    def _close(self, complete: bool) -> list[Event]:
        """End what is open; `complete` if it is a call that was ended as calls are."""
        events = self._take(self._stream.finish())
        if self.inside == _CALL:
            written = '"'.join(self._call)
            call = _tool_call(self._call, self._call_id) if complete else None
            events += [call] if call else [Token(written, self._last_id)] if written else []
        return events


def _tool_call(pieces: list[str], call_id: str) -> ToolCall | None:
    """Read `call:name{...}` by making JSON of it; None if it is malformed."""
    text = "".join(
        json.dumps(piece) if index % 2 else BARE_KEY.sub(r'\1"\2":', piece)
        for index, piece in enumerate(pieces)
    )
    form = _CALL_FORM.fullmatch(text)
    if form is None or len(pieces) % 2 == 0:  # even: a string was never closed
        return None
    try:
        arguments = json.loads(form[2])
        json.dumps(arguments, allow_nan=False)  # NaN is none, nor what is beyond a float
    except (ValueError, RecursionError):
        return None
    return None if is_deep(arguments) else ToolCall(call_id, form[1], arguments)
