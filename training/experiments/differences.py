"""Compares arms: differences paired by seed, their intervals and tests, and Holm's correction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
from scipy.stats import bootstrap, permutation_test, ttest_rel

RESAMPLES = 9999
Floats = npt.NDArray[np.float64]
BySeed = Mapping[int, float]
"""Seed → value."""


@dataclass(frozen=True)
class Difference:
    """One arm minus another over the seeds that both have."""

    n: int
    mean: float
    low: float
    high: float
    """95 % t interval."""
    bootstrap: tuple[float, float]
    """95 % percentile bootstrap, which is too narrow for few seeds."""
    t: float
    """p of the paired t test."""
    flips: float
    """p of the sign-flip permutation test."""

    @classmethod
    def of(cls, arm: BySeed, control: BySeed) -> Self | None:
        """Returns the difference, paired by seed; None if fewer than two seeds are common."""
        seeds = sorted(arm.keys() & control.keys())
        if len(seeds) < 2:
            return None
        ours, theirs = (np.array([values[seed] for seed in seeds]) for values in (arm, control))
        test = ttest_rel(ours, theirs)
        flips = permutation_test(
            (ours - theirs,), np.mean, permutation_type="samples", n_resamples=RESAMPLES, rng=0
        )
        return cls(
            n=len(seeds),
            mean=float(np.mean(ours - theirs)),
            low=float(test.confidence_interval().low),
            high=float(test.confidence_interval().high),
            bootstrap=resampled(ours - theirs),
            t=float(test.pvalue),
            flips=float(flips.pvalue),
        )


Compared = tuple[str, str, Difference]
"""Part and arm, and the arm's difference from its control."""


def resampled(values: Floats) -> tuple[float, float]:
    """Returns the 95 % percentile bootstrap interval of the mean of float64[n]."""
    drawn = bootstrap((values,), np.mean, method="percentile", n_resamples=RESAMPLES, rng=0)
    return float(drawn.confidence_interval.low), float(drawn.confidence_interval.high)


def holm(p: Sequence[float]) -> list[float]:
    """Returns p values corrected as one family (Holm 1979)."""
    order = np.argsort(p)
    stepped = np.asarray(p)[order] * np.arange(len(p), 0, -1)
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(np.maximum.accumulate(stepped), 1)
    return [float(value) for value in corrected]
