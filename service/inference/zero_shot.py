"""Zero-shot findings from prompt ensembles, with calibrated probabilities and abstention."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from service.arrays import FloatArray
from service.bundle.labels import Calibration, Label, Prompts
from service.deadline import Deadline
from service.errors import LabelsEmpty, LabelsInvalid
from service.inference.encoder import Encoder

MAX_LABELS = 128


@dataclass(frozen=True, slots=True)
class Finding:
    """A label's verdict on one image.

    similarity: cosine to the present prompts. probability: calibrated where `calibrated`, else the
    softmax of present against absent prompts, and None where there are no absent prompts.
    """

    label: str
    similarity: float
    probability: float | None
    calibrated: bool
    abstained: bool


@dataclass(frozen=True, slots=True)
class _Scorer:
    label: str
    present: FloatArray
    absent: FloatArray | None
    calibration: Calibration | None


class Classifier:
    """A label set made ready: prompts embedded once, then one dot product an image."""

    def __init__(self, labels: Mapping[str, Prompts], encoder: Encoder, deadline: Deadline) -> None:
        check_labels(labels)
        self._scale = encoder.bundle.manifest.logit_scale
        self._scorers = [
            _Scorer(
                name,
                _ensemble(prompts.present, encoder, deadline),
                _ensemble(prompts.absent, encoder, deadline) if prompts.absent else None,
                prompts.calibration if isinstance(prompts, Label) else None,
            )
            for name, prompts in labels.items()
        ]

    def __call__(self, vector: FloatArray) -> list[Finding]:
        """Unit float32[D] → one finding a label, in the label set's order."""
        return [self._score(scorer, vector) for scorer in self._scorers]

    def _score(self, scorer: _Scorer, vector: FloatArray) -> Finding:
        similarity = float(scorer.present @ vector)
        margin = similarity - (float(scorer.absent @ vector) if scorer.absent is not None else 0.0)
        calibration = scorer.calibration
        if calibration is not None:
            probability = _sigmoid(calibration.slope * margin + calibration.offset)
            low, high = calibration.abstain
            return Finding(scorer.label, similarity, probability, True, low < probability < high)
        raw = _sigmoid(self._scale * margin) if scorer.absent is not None else None
        return Finding(scorer.label, similarity, raw, False, False)


def check_labels(labels: Mapping[str, Prompts]) -> None:
    """Raise LabelsEmpty or LabelsInvalid when the label set cannot be used."""
    if not labels:
        raise LabelsEmpty("`labels` is empty. Send at least one label with a positive prompt.")
    if len(labels) > MAX_LABELS:
        raise LabelsInvalid(f"{len(labels)} labels are over the bound of {MAX_LABELS}.")


def _ensemble(prompts: tuple[str, ...], encoder: Encoder, deadline: Deadline) -> FloatArray:
    mean = encoder.text_matrix(prompts, deadline).mean(axis=0)
    unit: FloatArray = mean / np.linalg.norm(mean)
    return unit


def _sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value)) if value > -700 else 0.0
