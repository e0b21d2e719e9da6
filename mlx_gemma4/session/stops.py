"""Texts that end an answer, found wherever tokens cut them. Knows nothing of MLX."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from ..events import Event, Token


class StopTexts:
    """Passes an answer on until one of these texts comes; a possible start of one is held back.

    Args:
        texts: none of them empty.

    Attributes:
        found: the one that has come, or nothing.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        self.found = ""
        self._texts = texts
        self._held: Token | None = None

    @property
    def holds(self) -> bool:
        return self._held is not None

    def passed(self, events: Iterable[Event], last: bool = False) -> list[Event]:
        """Return the events without what is held back; if these are the `last`, nothing is."""
        result: list[Event] = []
        for event in events if not self.found else ():
            if isinstance(event, Token) and self._texts:
                result += self._add(event)
                if self.found:
                    return result
            else:
                result += [*self._flushed(), event]
        return [*result, *self._flushed()] if last else result

    def _add(self, token: Token) -> list[Event]:
        before = self._held.text if self._held else ""
        whole, self._held = before + token.text, None
        found = [(at, text) for text in self._texts if (at := whole.find(text)) >= 0]
        if found:
            at, self.found = min(found)
            return [replace(token, text=whole[:at])] if at else []
        held = max(n for text in self._texts for n in range(len(text)) if whole.endswith(text[:n]))
        if held:
            self._held = replace(token, text=whole[len(whole) - held :])
        free = whole[: len(whole) - held]
        return [replace(token, text=free)] if free else []

    def _flushed(self) -> list[Event]:
        held, self._held = self._held, None
        return [held] if held else []
