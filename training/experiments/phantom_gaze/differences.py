"""Compares arms: differences paired by seed, their intervals and tests, and Holm's correction."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
from scipy.stats import bootstrap, permutation_test, ttest_rel

PRIMARY = "auroc_present/macro"
PROBE, PROBE_10 = "linear_probe/100%", "linear_probe/10%"
SECONDARY = {
    PRIMARY: "AUROC",
    "auroc_margin/macro": "margin AUROC",
    "single_label/macro_f1": "F1",
    "recall@5/image-to-report": "R@5 i→r",
    "recall@5/report-to-image": "R@5 r→i",
    "precision@10/image-to-report": "P@10",
    "linear_probe/1%": "probe 1 %",
    PROBE_10: "probe 10 %",
    PROBE: "probe 100 %",
    "alignment": "alignment",
    "uniformity/image": "uniformity",
    "modality_gap": "gap",
}
GUIDED = tuple(
    ("gaze_attention", control)
    for control in ("duplicate", "shuffled_attention", "duplicate_always")
)
QUESTIONS = (
    ("main", PRIMARY, (("eclip", "duplicate"), ("eclip", "shuffled_gaze"))),
    (
        "main",
        PRIMARY,
        (("eclip_primed", "duplicate"), ("eclip_primed", "shuffled_gaze_primed")),
    ),
    ("guidance", PRIMARY, GUIDED),
    ("confirmation", PRIMARY, GUIDED),
    ("confirmation", PROBE, GUIDED),
    ("replication", PRIMARY, GUIDED),
    ("replication", PROBE_10, GUIDED),
)
"""The contrasts of PREREGISTRATION.md: (part, metric, pairs that are corrected together)."""
BASELINES = {
    "secondary": "main",
    "doses": "main",
    "shares": "main",
    "guidance_secondary": "guidance",
}
"""Part → the part whose `duplicate` is its control, on the same seeds."""
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


class Results:
    """Every arm, seed and metric that was run."""

    def __init__(self, path: Path) -> None:
        self._values: dict[tuple[str, str, str], dict[int, float]] = {}
        for row in pq.read_table(path).to_pylist():
            key = row["part"], row["arm"], row["metric"]
            self._values.setdefault(key, {})[row["seed"]] = row["value"]

    def arms(self) -> list[tuple[str, str]]:
        """Returns (part, arm) of all that was run."""
        return sorted({(part, arm) for part, arm, _ in self._values})

    def of(self, part: str, arm: str, metric: str = PRIMARY) -> BySeed:
        """Returns {seed: value}; {} if nothing was run or measured."""
        return self._values.get((part, arm, metric), {})

    def baseline(self, part: str, metric: str = PRIMARY) -> BySeed:
        """Returns the `duplicate` that the arms of a part are compared with."""
        return self.of(BASELINES.get(part, part), "duplicate", metric)


def compared(results: Results, metric: str = PRIMARY) -> Iterator[tuple[str, str, Difference]]:
    """Yields every arm's difference from `duplicate` on the seeds that both have."""
    for part, arm in results.arms():
        share = arm.partition(" at ")[2]
        control = (
            results.of(part, f"duplicate at {share}", metric)
            if share
            else results.baseline(part, metric)
        )
        if not arm.startswith("duplicate at") and arm != "duplicate":
            difference = Difference.of(results.of(part, arm, metric), control)
            if difference is not None:
                yield part, arm, difference


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
