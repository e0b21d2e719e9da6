"""Speculation: one forward checks several proposed ids, and keeps those that would have been drawn.

The model is fed the next id and the proposals after it, and an id is drawn from each row with the
key that the row would have had (`Sampler.ahead`). As long as a draw is what was proposed, the row
after it is valid too; at the first that differs, the rows of the rest are dropped. So whoever
proposes cannot change what is drawn, nor its distribution. (Leviathan et al. 2023,
arXiv:2211.17192, accept by a ratio of probabilities; for the one id of a greedy proposer that rule
is this one, with other random numbers.)
"""

from dataclasses import dataclass
from typing import cast

import mlx.core as mx
import numpy as np

from ..errors import Gemma4Error
from ..model.cache import Cache, SlidingCache
from ..model.gemma4 import Gemma4
from ..model.inputs import Inputs
from .sampler import Sampler


@dataclass(frozen=True)
class Place:
    """Where a reply has got to.

    Attributes:
        following: (1,) the next id: drawn, not yet fed, perhaps not yet computed.
        hidden: (1, 1, hidden) of the cache's last row, from which it was drawn.
        known: the next id where it is computed.
    """

    following: mx.array
    hidden: mx.array
    known: int | None = None


def after(model: Gemma4, cache: Cache, sampler: Sampler, token: mx.array) -> Place:
    """Feed one id (1,), which need not be computed yet, and draw the next, lazily."""
    hidden = feed(model, cache, token)
    return Place(sampler(model.language_model.logits(hidden)[:, 0]), hidden)


def verify(
    model: Gemma4, cache: Cache, sampler: Sampler, place: Place, drafts: mx.array
) -> tuple[Place, list[int]]:
    """Feed the next id and proposals; wait once.

    Returns:
        Where the reply has got to, and the ids on the way: the next one, and the proposals that
        were drawn. The cache holds these, and nothing else.

    Raises:
        Gemma4Error: there are more proposals than rows that a sliding layer can always drop.
    """
    before, count = cache.offset, len(drafts)
    slack = min((c.slack for c in cache.layers if isinstance(c, SlidingCache)), default=count)
    if count > slack:
        raise Gemma4Error(
            "setting_out_of_range",
            "Too many tokens are proposed at a time",
            f"There are {count}, and the cache can always drop {slack} rows.",
            "Propose fewer (draft).",
        )
    fed = mx.concatenate([place.following, drafts.astype(place.following.dtype)])
    hidden = feed(model, cache, fed)
    draws = sampler.ahead(model.language_model.logits(hidden)[0])
    found = cast(list[int], mx.concatenate([fed, draws.ids.astype(fed.dtype)]).tolist())
    ids, drawn = found[: count + 1], found[count + 1 :]
    accepted = 0
    while accepted < count and drawn[accepted] == ids[accepted + 1]:
        accepted += 1
    sampler.keep(draws, accepted + 1)
    if accepted < count:
        cache.rewind_to(before + 1 + accepted)
    row = slice(accepted, accepted + 1)
    return Place(draws.ids[row], hidden[:, row], drawn[accepted]), ids[: accepted + 1]


def feed(model: Gemma4, cache: Cache, ids: mx.array) -> mx.array:
    """Feed drawn ids (n,), which need not be computed yet; (1, n, hidden) of `Gemma4.final`."""
    embeddings = model.language_model.model.embed(ids)
    return model.final(model.hidden(Inputs(embeddings, np.zeros(len(ids), np.int32)), cache))
