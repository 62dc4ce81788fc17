"""Computes the patient bootstrap: how far a number would move with other patients.

Whole patients are drawn with replacement (Efron & Tibshirani 1993), so a resample is a count for
each study: how often its patient was drawn. Statistics are computed under all counts at once, as
scikit-learn does under `sample_weight`. A resample without both answers gives NaN.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from service.arrays import Bools

RESAMPLES = 1000

Counts = npt.NDArray[np.float64]
Floats = npt.NDArray[np.float64]


def patient_counts(patients: Sequence[str], *, seed: int = 0, resamples: int = RESAMPLES) -> Counts:
    """Returns float64[B,N]: how often each of N studies is in each of B resamples."""
    _, patient = np.unique(np.asarray(patients), return_inverse=True)
    number = int(patient.max()) + 1
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(number, np.full(number, 1 / number), size=resamples)
    return drawn[:, patient].astype(np.float64)


def interval(resampled: Floats) -> tuple[float, float] | tuple[None, None]:
    """Returns the middle 95 % of float64[B] without NaN; (None, None) if all are NaN."""
    if np.isnan(resampled).all():
        return None, None
    low, high = np.nanquantile(resampled, [0.025, 0.975])
    return float(low), float(high)


def means(counts: Counts, values: npt.NDArray[np.floating] | Bools) -> Floats:
    """Returns the mean of N values under each of B counts."""
    return _ratio(counts @ values, counts.sum(axis=1))


def f1_scores(counts: Counts, truth: Bools, called: Bools) -> Floats:
    """Returns F1 under each of B counts; 0 if nothing is there and nothing was called."""
    hits = counts @ (truth & called)
    return np.nan_to_num(_ratio(2 * hits, counts @ truth + counts @ called))


def aurocs(counts: Counts, truth: Bools, score: npt.NDArray[np.floating]) -> Floats:
    """Returns the area under the ROC curve under each of B counts; ties count half."""
    positives, negatives = _by_rising_score(counts, truth, score)
    below = np.cumsum(negatives, axis=1) - negatives / 2
    return _ratio((positives * below).sum(axis=1), positives.sum(axis=1) * negatives.sum(axis=1))


def average_precisions(counts: Counts, truth: Bools, score: npt.NDArray[np.floating]) -> Floats:
    """Returns the average precision under each of B counts."""
    positives, negatives = _by_rising_score(counts, truth, -score)
    hits = np.cumsum(positives, axis=1)
    precision = np.nan_to_num(_ratio(hits, hits + np.cumsum(negatives, axis=1)))
    return _ratio((positives * precision).sum(axis=1), positives.sum(axis=1))


def _by_rising_score(
    counts: Counts, truth: Bools, score: npt.NDArray[np.floating]
) -> tuple[Counts, Counts]:
    """Returns counts of positives and negatives at each distinct score, float64[B,S] each."""
    order = np.argsort(score, kind="stable")
    starts = np.flatnonzero(np.diff(score[order], prepend=-np.inf))
    drawn, there = counts[:, order], truth[order]
    positives = np.add.reduceat(drawn * there, starts, axis=1)
    return positives, np.add.reduceat(drawn * ~there, starts, axis=1)


def _ratio(above: Floats, below: Floats) -> Floats:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(above / below)
