"""Fits probabilities to scores on a validation split: Platt scaling and abstention."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression

from service.arrays import Bools
from service.bundle.labels import Calibration, Label, LabelSets, Prompts
from training.evaluate.encode import EmbeddedPairs
from training.evaluate.findings import Findings
from training.evaluate.prompts import label_scores

TOLERATED_ERROR = 0.1
"""Fraction of the decisions on one side of the band that may be wrong."""
LEAST_STUDIES = 5
"""Studies with a finding, and as many without, that a fit needs; also the least decisions on a side
of the band, since the error of fewer says little."""

Floats = npt.NDArray[np.floating]


class Uncalibrated(ValueError):
    """These studies cannot calibrate a label; the message says why."""


def calibrate(
    validation: EmbeddedPairs, prompts: Mapping[str, Prompts]
) -> tuple[dict[str, Label], dict[str, str]]:
    """Returns ({label: Label with its calibration}, {label: why it has none}).

    Every label is in the first, whether it has a calibration or not.
    """
    findings = Findings.of(validation.pairs.studies, prompts)
    score = label_scores(validation.encoder, validation.images, prompts.values())
    labels, left = {}, {}
    for at, (name, prompt) in enumerate(prompts.items()):
        known = findings.known[:, at]
        try:
            calibration = fit(score[known, at], findings.there[known, at])
        except Uncalibrated as reason:
            calibration, left[name] = None, str(reason)
        labels[name] = Label(present=prompt.present, absent=prompt.absent, calibration=calibration)
    return labels, left


def calibrate_sets(
    validation: EmbeddedPairs, label_sets: LabelSets
) -> tuple[LabelSets, dict[str, str]]:
    """Calibrates every set, as `calibrate` does. Reasons are by `set: label`."""
    done = {name: calibrate(validation, labels) for name, labels in label_sets.root.items()}
    return (
        LabelSets({name: labels for name, (labels, _) in done.items()}),
        {
            f"{name}: {label}": why
            for name, (_, left) in done.items()
            for label, why in left.items()
        },
    )


def fit(score: Floats, truth: Bools) -> Calibration:
    """Fits Platt's two parameters and the band to the N scores of a label; raises Uncalibrated."""
    fewer = min(int(truth.sum()), int((~truth).sum()))
    if fewer < LEAST_STUDIES:
        raise Uncalibrated(
            f"only {fewer} studies have it, or do not have it; {LEAST_STUDIES} are needed"
        )
    platt = LogisticRegression(C=1e6).fit(score[:, None], truth)
    slope, offset = float(platt.coef_[0, 0]), float(platt.intercept_[0])
    if slope <= 0:
        raise Uncalibrated("its score is not higher in studies with the finding")
    probability = platt.predict_proba(score[:, None])[:, 1]
    return Calibration(slope=slope, offset=offset, abstain=abstention_band(probability, truth))


def abstention_band(probability: Floats, truth: Bools) -> tuple[float, float]:
    """Returns (low, high): at most `TOLERATED_ERROR` of the decisions beyond either are wrong.

    Each side is the value nearest to 0.5, in steps of 0.05, that keeps to this limit. Each has its
    own, so that many right denials do not excuse wrong findings. If no value keeps to it with at
    least `LEAST_STUDIES` decisions, the side decides nothing: it is 0 or 1.
    """
    return 1 - _side(1 - probability, ~truth), _side(probability, truth)


def _side(probability: Floats, truth: Bools) -> float:
    """Returns the least threshold from 0.5 up above which few of the decisions are wrong."""
    for step in range(10):
        threshold = (50 + 5 * step) / 100
        called = probability >= threshold
        if called.sum() >= LEAST_STUDIES and np.mean(~truth[called]) <= TOLERATED_ERROR:
            return threshold
    return 1.0
