"""Who proposes in a conversation: the model's drafter, lookup, or both, as a policy chooses."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal, cast

import mlx.core as mx

from ..errors import Gemma4Error
from ..limits import SLACK
from ..model.cache import Cache
from ..model.config import unknown_setting
from ..model.drafter import Drafter
from ..model.gemma4 import Gemma4
from .lookup import LONG, Held, Lookup
from .policy import LONGEST, Policy
from .speculate import Place

Draft = Literal["off", "auto", "lookup"] | int
"""How to speculate: "auto" chooses by what pays, "lookup" does so without the drafter, and a number
is that many tokens of the drafter each time; 0 is "off"."""


def check_draft(draft: Draft, model: Gemma4) -> None:
    """Raise Gemma4Error if there is no such setting, or no drafter for it."""
    number = type(draft) is int and 0 <= draft <= SLACK
    if not number and draft not in ("off", "auto", "lookup"):
        choices = f"off, auto, lookup, or a number of tokens up to {SLACK}"
        raise unknown_setting("draft", draft, choices)
    if type(draft) is int and draft and model.drafter is None:
        raise Gemma4Error(
            "drafter_missing",
            "There is no drafter",
            f"draft is {draft}, and the model was loaded without a drafter.",
            "Load one with it (drafter=, --drafter), or use lookup.",
        )


class Drafting:
    """Proposes for one KV cache what may follow the next id, and counts what came of it.

    Attributes:
        draft: the setting, 0 for "off".
        rounds: (tokens that were proposed, those accepted) of each forward since `start`.
    """

    def __init__(
        self, model: Gemma4, draft: Draft, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        check_draft(draft, model)
        self._model = model
        self.draft: Draft = 0 if draft == "off" else draft
        names = ["repetition", "lookup"] if self.draft in ("auto", "lookup") else []
        if self.draft == "auto" and model.drafter is not None:
            names.append("drafter")
        # conversations with a model learn together
        self._policy: Policy = model.policies.setdefault(tuple(names), Policy(names))
        self._clock = clock
        self._lookup = Lookup() if names else None
        self._chosen: str | None = None
        self.start([])

    def start(self, rows: Sequence[Held]) -> None:
        """A reply starts after these rows."""
        self.rounds: list[tuple[int, int]] = []
        self._unmade: tuple[str, list[int], list[int]] | None = None
        if self._lookup is not None:
            self._lookup.hold(rows)
        self._started, self._under_way = self._clock(), False

    @property
    def stats(self) -> dict[str, float]:
        """What was counted of the last reply, as in `Done.stats`."""
        return {
            "drafted": sum(drafted for drafted, _ in self.rounds),
            "accepted": sum(accepted for _, accepted in self.rounds),
            "target_forwards": len(self.rounds),
        }

    def propose(self, place: Place, cache: Cache, most: int) -> mx.array | None:
        """(n,) ids after the next one, at most `most` and lazily; None for no proposal."""
        self._chosen = None
        drafter: Drafter | None = self._model.drafter
        if isinstance(self.draft, int):
            name, count = "drafter", min(self.draft, most)
        else:
            found, source = self._looked_up(place, most)
            offered = [source, "drafter"] if found else ["drafter"]
            name, count = self._policy.choose(offered, most) or ("", 0)
            if found and self._unmade is None:
                self._unmade = source, found[:LONGEST], []
            if count and place.known is None:
                # the time of the forward that is under way is not that of the next
                place = replace(place, known=cast(int, place.following.item()))
                self._started, self._under_way = self._clock(), False
                if name != "drafter":  # nothing need be guessed any more
                    found, name = self._looked_up(place, most)
                    count = min(count, len(found))
        if not count:
            return None
        self._chosen = name
        if name != "drafter":
            self._unmade = None
            return mx.array(found[:count], mx.uint32)
        assert drafter is not None
        return drafter.draft(self._model, cache, place.following, place.hidden, count)

    def observe(self, ids: Sequence[int], drafted: int) -> None:
        """Take the ids of a forward; all but the first were among its `drafted` proposals."""
        accepted, now = len(ids) - 1, self._clock()
        self.rounds.append((drafted, accepted))
        if not isinstance(self.draft, int):
            # Without proposals a token is computed while the one before is handled: the first of
            # such forwards takes as long as starting it.
            seconds = now - self._started if drafted or self._under_way else None
            self._policy.observe(self._chosen, drafted, accepted, seconds)
        self._started, self._under_way = now, not drafted
        if self._lookup is not None:
            self._lookup.add(ids)
            self._compare(ids)

    def _compare(self, ids: Sequence[int]) -> None:
        """Find out what would have come of what lookup found, where that was not proposed."""
        if self._unmade is None:
            return
        source, found, drawn = self._unmade
        drawn += ids
        pairs = list(zip(found, drawn[1:], strict=False))  # the first is the one they follow
        right = next((n for n, (one, other) in enumerate(pairs) if one != other), len(pairs))
        if right < len(pairs) or len(pairs) == len(found):
            self._policy.unmade(source, len(found), right)
            self._unmade = None

    def _looked_up(self, place: Place, most: int) -> tuple[list[int], str]:
        """What follows the next id, by lookup, and what kind of match that is.

        Where the next id is not computed yet, it is guessed too.
        """
        if self._lookup is None:
            return [], ""
        guessed = place.known is None
        known = [] if place.known is None else [place.known]
        found, equal = self._lookup.after(known, most + guessed)
        return found[guessed:], "repetition" if equal >= LONG else "lookup"
