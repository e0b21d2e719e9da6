"""Sentences for events that no command asked for. Knows nothing of MLX."""

from ..errors import counted
from ..events import ContextLow, Dropped, Moved
from .reports import FellBehind, Noted, Rereading


def sentence(event: object) -> str:
    """Return what an event means for the user; empty for one that needs no words."""
    match event:
        case Noted(text):
            return text
        case Moved(where="relay"):
            return "The sound is transcribed first: so late in the context it is heard badly."
        case Moved(what, where):
            return f"The {what} was moved: {where}."
        case Dropped(turns):
            return f"The context was full. Dropped: the oldest {counted(turns, 'turn')}."
        case ContextLow(left):
            return f"The context is nearly full, with room for {counted(left, 'token')}."
        case FellBehind(speed):
            return (
                f"This machine hears {speed:.2f} s of sound in a second: the rest is heard when "
                "nobody speaks any more."
            )
        case Rereading(tokens):
            return f"The conversation is read again: {counted(tokens, 'token')}."
    return ""
