"""Cross-modal retrieval: recall@k with identical texts grouped, bootstrap intervals, chance."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

KS = (1, 5, 10)


@dataclass(frozen=True, slots=True)
class Recall:
    """Recall at k with its 95 % bootstrap interval over groups, and what guessing would give."""

    k: int
    value: float
    low: float
    high: float
    chance: float


def image_to_report(
    images: npt.NDArray[np.float32],
    reports: npt.NDArray[np.float32],
    texts: Sequence[str],
    groups: Sequence[str],
    *,
    ks: Sequence[int] = KS,
    seed: int = 0,
) -> list[Recall]:
    """Each image searches the distinct reports; the one it was filed with is correct.

    Reports that score alike share their ranks, so that a collapsed embedding measures at chance.
    images, reports: unit float32[N,D], row i of both from the same study; texts: the N reports;
    groups: what is resampled together (the patient).
    """
    distinct, gallery, correct = _group(texts)
    scores = images @ reports[gallery].T
    own = np.take_along_axis(scores, correct[:, None], axis=1)
    better, alike = (scores > own).sum(axis=1), (scores == own).sum(axis=1)
    resamples = _cluster_bootstrap(np.asarray(groups), seed)
    found = {k: np.clip((k - better) / alike, 0, 1) for k in ks}
    return [_recall(found[k], k, min(1.0, k / len(distinct)), resamples) for k in ks]


def _group(
    texts: Sequence[str],
) -> tuple[npt.NDArray[np.str_], npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Distinct texts, the row that stands for each, and each row's index among them."""
    distinct, gallery, correct = np.unique(
        np.asarray(texts, dtype=np.str_), return_index=True, return_inverse=True
    )
    return distinct, gallery, correct


def _recall(
    found: npt.NDArray[np.float64], k: int, chance: float, resamples: list[npt.NDArray[np.intp]]
) -> Recall:
    low, high = np.quantile([found[rows].mean() for rows in resamples], [0.025, 0.975])
    return Recall(k, float(found.mean()), float(low), float(high), chance)


def _cluster_bootstrap(
    groups: npt.NDArray[np.generic], seed: int, count: int = 2000
) -> list[npt.NDArray[np.intp]]:
    """`count` resamples of the rows, whole groups drawn with replacement."""
    rng = np.random.default_rng(seed)
    members = [np.flatnonzero(groups == group) for group in np.unique(groups)]
    draws = rng.integers(0, len(members), (count, len(members)))
    return [np.concatenate([members[group] for group in draw]) for draw in draws]
