"""Prompt lookup: what followed, earlier in the conversation, where the last ids were the same.

A document that is quoted, a list that is written again or a picture that is read twice is proposed
without any weights (https://github.com/apoorvumang/prompt-lookup-decoding). Where a repetition
differs in an id or a few, the text that it repeats continues after them. Knows nothing of MLX.
"""

from collections.abc import Iterable, Sequence
from functools import reduce

SHORTEST = 3
"""Ids that must be the same."""
LONG = 16
"""So many are more likely a repetition than chance, or the same question about another picture."""
_LONGEST = 32  # more equal ids make a place no better
_NEAR = 24  # ids that a repetition may leave out, and those for which it is followed if it differs
_PLACES = 4  # of the same ids, the latest; they are compared by how many ids before are equal too

Held = int | str | bytes
"""A token's id, or what a row of a picture or sound is known by; that is not proposed."""


class Lookup:
    """The rows of a conversation so far, with the places of each `SHORTEST` ids in a row."""

    def __init__(self) -> None:
        self._ids: list[Held] = []
        self._places: dict[tuple[Held, ...], list[int]] = {}
        self._repeated, self._until = 0, 0  # where the text that is repeated goes on, and how long

    def hold(self, ids: Sequence[Held]) -> None:
        """Hold these rows and no others; only what differs from what was held is read."""
        pairs = enumerate(zip(self._ids, ids, strict=False))
        shorter = min(len(self._ids), len(ids))
        same = next((n for n, (one, other) in pairs if one != other), shorter)
        self._until = 0
        del self._ids[same:]  # their places stay, and are found out by comparing
        self.add(ids[same:])

    def add(self, ids: Iterable[Held]) -> None:
        held = self._ids
        for token_id in ids:
            self._repeated = self._past(self._repeated, token_id)
            held.append(token_id)
            last = tuple(held[-SHORTEST:])
            if len(last) == SHORTEST and all(isinstance(row, int) for row in last):
                places = self._places.setdefault(last, [])
                places.append(len(held))
                del places[:-_PLACES]

    def after(self, known: Sequence[int], most: int) -> tuple[list[int], int]:
        """What may follow the ids that are held and these, at most so many; often nothing.

        Returns:
            The ids, and how many rows before them were the same; 0 after a difference.
        """
        ids = [*self._ids[-_LONGEST:], *known]
        best, place = 0, 0
        for at in reversed(self._places.get(tuple(ids[-SHORTEST:]), ())):
            if at < len(self._ids) + len(known) and (equal := self._equal(ids, at)) > best:
                best, place = equal, at
        if best >= LONG:
            self._repeated, self._until = place - len(known), len(self._ids) + _NEAR
        if best < SHORTEST:
            best, place = 0, reduce(self._past, known, self._repeated)
            most = most if len(self._ids) <= self._until else 0
        found: list[int] = []
        while len(found) < most and place < len(self._ids) + len(known):
            at = place + len(found) - len(self._ids)  # past the end it repeats itself
            follows = self._ids[at] if at < 0 else [*known, *found][at]
            if not isinstance(follows, int):
                break
            found.append(follows)
        return found, best

    def _past(self, place: int, token_id: Held) -> int:
        """The place after this id where it is near, else after the one that it replaces."""
        near = self._ids[place : place + _NEAR]
        return place + 1 + (near.index(token_id) if token_id in near else 0)

    def _equal(self, ids: Sequence[Held], at: int) -> int:
        """How many rows before a place are the last of `ids`."""
        before = self._ids[max(0, at - len(ids)) : at]
        equal = 0
        while equal < len(before) and before[-1 - equal] == ids[-1 - equal]:
            equal += 1
        return equal
