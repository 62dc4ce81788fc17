"""Measures what is called by the nearest prompts: one label of several, or a finding or none."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from sklearn.metrics import accuracy_score, f1_score

from service.arrays import Bools
from training.evaluate.bootstrap import Counts, f1_scores, interval, means
from training.evaluate.findings import Findings
from training.evaluate.result import Estimate

Floats = npt.NDArray[np.floating]


class Measured(NamedTuple):
    """A number, its values under resampling float64[B], and its chance."""

    value: float
    resampled: npt.NDArray[np.float64] | None
    chance: float | None


def estimate(measured: Measured, studies: int) -> Estimate:
    """Returns the number over `studies` studies, with its interval."""
    low, high = (None, None) if measured.resampled is None else interval(measured.resampled)
    return Estimate(value=measured.value, n=studies, low=low, high=high, chance=measured.chance)


def two_class(called: Bools, truth: Bools, counts: Counts) -> dict[str, Measured]:
    """Returns accuracy and F1 of a finding, over all studies in which it is known.

    called: bool[N], nearer to the present prompts than to the absent ones. Chance of accuracy:
    every study gets the commoner class.
    """
    prevalence = float(truth.mean())
    accuracy = float(accuracy_score(truth, called))
    return {
        "two_class_accuracy": Measured(
            accuracy, means(counts, called == truth), max(prevalence, 1 - prevalence)
        ),
        "two_class_f1": f1_of(called, truth, counts),
    }


def f1_of(called: Bools, truth: Bools, counts: Counts) -> Measured:
    """Returns F1. Chance: as many calls at random (precision: prevalence; recall: their rate)."""
    rate, prevalence = called.mean(), truth.mean()
    chance = float(2 * rate * prevalence / (rate + prevalence))
    return Measured(float(f1_score(truth, called)), f1_scores(counts, truth, called), chance)


def single_label(
    present: Floats, findings: Findings, counts: Counts
) -> tuple[dict[str, Estimate], tuple[str, ...]]:
    """Returns accuracy and macro-F1 of the studies with exactly one label, or a note why not.

    present: float32[N,L], similarity to each label's present prompts; the nearest is called.
    Chance: every study gets the commonest label.
    """
    single = findings.known.all(axis=1) & (findings.there.sum(axis=1) == 1)
    truth = findings.there[single].argmax(axis=1)
    classes = np.unique(truth)
    if len(classes) < 2:
        return {}, ("no single-label numbers: two labels must each be alone in some study",)
    called, drawn = present[single].argmax(axis=1), counts[:, single]
    commonest = np.full_like(truth, np.bincount(truth).argmax())
    f1s = np.mean([f1_scores(drawn, truth == c, called == c) for c in classes], axis=0)
    resampled: dict[str, npt.NDArray[np.float64]] = {
        "accuracy": means(drawn, truth == called),
        "macro_f1": f1s,
    }
    score: dict[str, Callable[[npt.NDArray[np.intp]], float]] = {
        "accuracy": lambda calls: float(accuracy_score(truth, calls)),
        "macro_f1": lambda calls: float(
            f1_score(truth, calls, labels=classes, average="macro", zero_division=0)
        ),
    }
    return {
        f"single_label/{name}": estimate(
            Measured(score[name](called), resampled[name], score[name](commonest)),
            int(single.sum()),
        )
        for name in score
    }, ()
