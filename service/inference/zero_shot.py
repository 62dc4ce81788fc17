"""Classifies images without training: by prompts, with calibrated probabilities and abstention."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from service.arrays import FloatArray
from service.bundle.labels import Calibration, Label, Prompts
from service.bundle.scoring import ScoringKind
from service.deadline import Deadline
from service.errors import LabelsEmpty, LabelsInvalid
from service.inference.encoder import Encoder

MAX_LABELS = 128
"""Labels in one label set."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The verdict on one label for one image.

    similarity: cosine to the mean of the present prompts. probability: calibrated if `calibrated`;
    else as the bundle scores (`service.bundle.scoring.Scorer`); None where that needs absent
    prompts and the label has none.
    abstained: the probability lies strictly inside the calibration's interval of doubt.
    """

    label: str
    similarity: float
    probability: float | None
    calibrated: bool
    abstained: bool


@dataclass(frozen=True, slots=True)
class _ScoredLabel:
    label: str
    present: FloatArray
    direction: FloatArray
    has_probability: bool
    calibration: Calibration | None


class Classifier:
    """A label set with its prompts encoded, so that an image costs two dot products a label.

    Raises LabelsEmpty or LabelsInvalid, or what `Encoder.texts` raises.
    """

    def __init__(self, labels: Mapping[str, Prompts], encoder: Encoder, deadline: Deadline) -> None:
        check_labels(labels)
        self._scorer = encoder.bundle.manifest.scorer
        self._labels = [
            self._scored(name, prompts, encoder, deadline) for name, prompts in labels.items()
        ]

    @property
    def scoring(self) -> ScoringKind:
        """How uncalibrated probabilities are made."""
        return self._scorer.kind

    @property
    def stated(self) -> dict[str, FloatArray]:
        """Label → the vector of the prompts that state it, unit float32[D]."""
        return {scored.label: scored.present for scored in self._labels}

    def __call__(self, vector: FloatArray) -> list[Finding]:
        """Returns one finding for each label, in the label set's order, for a unit float32[D]."""
        return [self._finding(scored, vector) for scored in self._labels]

    def _scored(
        self, label: str, prompts: Prompts, encoder: Encoder, deadline: Deadline
    ) -> _ScoredLabel:
        scorer, present = self._scorer, ensemble(prompts.present, encoder, deadline)
        weighed = prompts.absent and scorer.needs_absent
        absent = ensemble(prompts.absent, encoder, deadline) if weighed else None
        return _ScoredLabel(
            label=label,
            present=present,
            direction=scorer.direction(present, absent),
            has_probability=absent is not None or not scorer.needs_absent,
            calibration=prompts.calibration if isinstance(prompts, Label) else None,
        )

    def _finding(self, scored: _ScoredLabel, vector: FloatArray) -> Finding:
        similarity, score = float(scored.present @ vector), float(scored.direction @ vector)
        if scored.calibration is not None:
            probability = float(scored.calibration.probability(score))
            low, high = scored.calibration.abstain
            return Finding(scored.label, similarity, probability, True, low < probability < high)
        raw = float(self._scorer.probability(score)) if scored.has_probability else None
        return Finding(scored.label, similarity, raw, False, False)


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
