"""Sentences for what happens without being asked for. Knows nothing of MLX."""

from ..events import ContextLow, Dropped, Moved
from .reports import FellBehind, Noted


def sentence(event: object) -> str:
    """Say what an event tells; empty for one that is not told in words."""
    match event:
        case Noted(text):
            return text
        case Moved(where="relay"):
            return "The sound was written down first: so far on the model would not understand it."
        case Moved(what, where):
            return f"The {what} went to another place: {where}."
        case Dropped(turns):
            return f"The oldest {turns} turns were dropped: the context was full."
        case ContextLow(left):
            return f"The context is nearly full: {left:,} tokens are left."
        case FellBehind(speed):
            return (
                f"This machine hears {speed:.2f} s of sound in a second: the rest is heard when "
                "nobody speaks any more."
            )
    return ""
