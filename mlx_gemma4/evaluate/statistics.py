"""Figures with 95 % intervals, and tests of the difference between two models on the same items.

The intervals show how far a figure would move with other items of the same kind; they know nothing
of how well the items represent the world.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

DRAWS = 2000
"""Times that items are drawn again: enough for two digits of an interval."""


@dataclass(frozen=True)
class Estimate:
    """A figure, its 95 % interval, and from how many items it comes."""

    value: float
    low: float
    high: float
    n: int

    def __format__(self, form: str) -> str:
        """Write it as 0.91 [0.88, 0.94]; `form` is that of a number."""
        form = form or ".3f"
        return f"{self.value:{form}} [{self.low:{form}}, {self.high:{form}}]"


@dataclass(frozen=True)
class Difference:
    """One model's mean less the other's, over the same items, with its interval."""

    estimate: Estimate
    p: float  # how often chance alone would make as large a difference (permutation of signs)


def share(hits: Sequence[bool]) -> Estimate:
    """A share of hits (E. B. Wilson, 1927, https://doi.org/10.2307/2276774).

    The bootstrap would claim that all right means certainly right.
    """
    n, count = len(hits), int(np.sum(hits))
    from scipy import stats  # takes a second to import

    ends = stats.binomtest(count, n).proportion_ci(method="wilson")
    return Estimate(count / n, float(ends.low), float(ends.high), n)


def mean(values: ArrayLike) -> Estimate:
    """A mean; its interval by drawing items again (B. Efron, 1979,
    https://doi.org/10.1214/aos/1176344552)."""
    return ratio(values, np.ones(len(np.asarray(values))))


def ratio(tops: ArrayLike, bottoms: ArrayLike) -> Estimate:
    """A sum over a sum, such as edits over characters; items are drawn again in pairs."""
    pairs = np.array([tops, bottoms], np.float64)
    top, bottom = pairs[:, pairs.any(axis=0)]  # without items that have neither: 0 / 0 if drawn
    value, n = float(top.sum() / bottom.sum()), len(pairs[0])
    if len(top) < 2 or np.ptp(top / np.where(bottom, bottom, 1)) == 0:
        return Estimate(value, value, value, n)
    from scipy import stats

    drawn = stats.bootstrap(
        (top, bottom),
        lambda a, b, axis: a.sum(axis) / b.sum(axis),
        paired=True,
        n_resamples=DRAWS,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return Estimate(value, float(drawn.low), float(drawn.high), n)


def paired(ours: ArrayLike, theirs: ArrayLike) -> Difference:
    """Compare two models item by item: (n,) figures each, of the same items in the same order."""
    gaps = np.asarray(ours, np.float64) - np.asarray(theirs, np.float64)
    if len(gaps) < 2 or not gaps.any():
        return Difference(mean(gaps), 1.0)
    from scipy import stats

    test = stats.permutation_test(
        (gaps,),
        lambda values, axis: values.mean(axis),
        permutation_type="samples",
        n_resamples=DRAWS,
        rng=np.random.default_rng(0),
    )
    return Difference(mean(gaps), float(test.pvalue))
