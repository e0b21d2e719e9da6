"""Sentences for what happens without being asked for."""

from mlx_gemma4.events import ContextLow, Dropped, Moved
from mlx_gemma4.reports import FellBehind, Noted


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
                f"This machine hears {speed:.1f} s of sound in a second: the rest is heard later."
            )
    return ""
