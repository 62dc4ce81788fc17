"""Classifies images without training: by prompts, with calibrated probabilities and abstention."""

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
"""Labels in one label set."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The verdict on one label for one image.

    similarity: cosine to the mean of the present prompts. probability: calibrated if `calibrated`;
    else the softmax of present against absent prompts, and None without absent prompts.
    abstained: the probability lies strictly inside the calibration's interval of doubt.
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
    """A label set with its prompts encoded, so that an image costs two dot products a label.

    Raises LabelsEmpty or LabelsInvalid, or what `Encoder.texts` raises.
    """

    def __init__(self, labels: Mapping[str, Prompts], encoder: Encoder, deadline: Deadline) -> None:
        check_labels(labels)
        self._scale = encoder.bundle.manifest.logit_scale
        self._scorers = [
            _Scorer(
                name,
                ensemble(prompts.present, encoder, deadline),
                ensemble(prompts.absent, encoder, deadline) if prompts.absent else None,
                prompts.calibration if isinstance(prompts, Label) else None,
            )
            for name, prompts in labels.items()
        ]

    @property
    def stated(self) -> dict[str, FloatArray]:
        """Label → the vector of the prompts that state it, unit float32[D]."""
        return {scorer.label: scorer.present for scorer in self._scorers}

    def __call__(self, vector: FloatArray) -> list[Finding]:
        """Returns one finding for each label, in the label set's order, for a unit float32[D]."""
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
    """Raises LabelsEmpty for no label, LabelsInvalid for more than `MAX_LABELS`."""
    if not labels:
        raise LabelsEmpty("`labels` is empty. Send at least one label with a positive prompt.")
    if len(labels) > MAX_LABELS:
        raise LabelsInvalid(
            f"{len(labels)} labels are over the limit of {MAX_LABELS}. Send them in parts."
        )


def ensemble(prompts: tuple[str, ...], encoder: Encoder, deadline: Deadline) -> FloatArray:
    """Returns the prompts' mean embedding, scaled to unit length, float32[D]."""
    mean = encoder.text_matrix(prompts, deadline).mean(axis=0)
    unit: FloatArray = mean / np.linalg.norm(mean)
    return unit


def _sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value)) if value > -700 else 0.0
