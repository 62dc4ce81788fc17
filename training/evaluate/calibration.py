"""From margins to probabilities: Platt scaling and abstention, fitted on a validation split."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression

from service.arrays import Bools
from service.bundle.labels import Calibration, Label, LabelSets, Prompts
from training.evaluate.encode import EmbeddedPairs
from training.evaluate.findings import Findings
from training.evaluate.prompts import margins

TOLERATED_ERROR = 0.1
LEAST_STUDIES = 5
"""Studies with a finding, and as many without, that a fit needs; and calls that a side of the band
needs before its error says anything."""

Floats = npt.NDArray[np.floating]


class Uncalibrated(ValueError):
    """A label that these studies cannot calibrate; the message says why."""


def calibrate(
    validation: EmbeddedPairs, prompts: Mapping[str, Prompts]
) -> tuple[dict[str, Label], dict[str, str]]:
    """({label: with its calibration}, {label: why it has none}); every label is in the first."""
    findings = Findings.of(validation.pairs.studies, prompts)
    margin = margins(validation.encoder, validation.images, prompts.values())
    labels, left = {}, {}
    for at, (name, prompt) in enumerate(prompts.items()):
        known = findings.known[:, at]
        try:
            calibration = fit(margin[known, at], findings.there[known, at])
        except Uncalibrated as reason:
            calibration, left[name] = None, str(reason)
        labels[name] = Label(present=prompt.present, absent=prompt.absent, calibration=calibration)
    return labels, left


def calibrate_sets(
    validation: EmbeddedPairs, label_sets: LabelSets
) -> tuple[LabelSets, dict[str, str]]:
    """`calibrate` for every set; the reasons are by `set: label`."""
    done = {name: calibrate(validation, labels) for name, labels in label_sets.root.items()}
    return (
        LabelSets({name: labels for name, (labels, _) in done.items()}),
        {
            f"{name}: {label}": why
            for name, (_, left) in done.items()
            for label, why in left.items()
        },
    )


def fit(margin: Floats, truth: Bools) -> Calibration:
    """Platt's two parameters and the band, of N margins; raises Uncalibrated."""
    fewer = min(int(truth.sum()), int((~truth).sum()))
    if fewer < LEAST_STUDIES:
        raise Uncalibrated(f"only {fewer} studies are on one side, of {LEAST_STUDIES} needed")
    platt = LogisticRegression(C=1e6).fit(margin[:, None], truth)
    slope, offset = float(platt.coef_[0, 0]), float(platt.intercept_[0])
    if slope <= 0:
        raise Uncalibrated("its margin is no higher where the finding is")
    probability = platt.predict_proba(margin[:, None])[:, 1]
    return Calibration(slope=slope, offset=offset, abstain=abstention_band(probability, truth))


def abstention_band(probability: Floats, truth: Bools) -> tuple[float, float]:
    """(low, high): of the calls beyond either side, at most `TOLERATED_ERROR` are wrong.

    Each side is the nearest to 0.5, in steps of 0.05, that holds this, so that many right denials
    do not excuse wrong findings. A side that never does, or has fewer than `LEAST_STUDIES` calls,
    is withheld: 0 or 1.
    """
    return 1 - _side(1 - probability, ~truth), _side(probability, truth)


def _side(probability: Floats, truth: Bools) -> float:
    """The least threshold from 0.5 up at and above which few of the calls are wrong."""
    for step in range(10):
        threshold = (50 + 5 * step) / 100
        called = probability >= threshold
        if called.sum() >= LEAST_STUDIES and np.mean(~truth[called]) <= TOLERATED_ERROR:
            return threshold
    return 1.0
