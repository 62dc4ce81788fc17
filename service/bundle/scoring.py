"""Turns the similarities of an image and prompts into a score, and a score into a probability.

CLIP learns to choose among texts (softmax), so that only differences of similarities mean
something. SigLIP learns whether one text belongs to one image (sigmoid), so that one similarity
means something on its own.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from service.arrays import FloatArray

ScoringKind = Literal["softmax", "sigmoid"]
Probabilities = npt.NDArray[np.float64]
"""Numbers from 0 to 1, of the shape of the scores; () for a single one."""


@dataclass(frozen=True, slots=True)
class Scorer:
    """Scores a label in an image, as a bundle does.

    kind: softmax: the score is the similarity to the present prompts less that to the absent
    prompts, and its probability sigmoid(scale · score), which is the softmax over the two. sigmoid:
    the score is the similarity to the present prompts, and its probability
    sigmoid(scale · score + bias). A label's calibration is fitted to the same score.

    scale: the learned factor on cosines. bias: the learned number that sigmoid adds.

    Reference: X. Zhai et al. (2023), Sigmoid loss for language image pre-training.
    """

    kind: ScoringKind
    scale: float
    bias: float

    @property
    def needs_absent(self) -> bool:
        """Whether a score has a probability only where the label has absent prompts."""
        return self.kind == "softmax"

    def direction(self, present: FloatArray, absent: FloatArray | None) -> FloatArray:
        """Returns the float32[D] whose dot product with an image's vector is the score.

        present, absent: unit vectors of the prompts, float32[D]; absent is None without any.
        """
        return present if absent is None or self.kind == "sigmoid" else present - absent

    def probability(self, score: npt.ArrayLike) -> Probabilities:
        """Returns the probability of each score, before any calibration."""
        logits = self.scale * np.asarray(score, np.float64)
        return sigmoid(logits + self.bias if self.kind == "sigmoid" else logits)


def sigmoid(logits: npt.ArrayLike) -> Probabilities:
    """Returns 1 / (1 + exp(−logits)), also for logits whose exponential no number can hold."""
    return np.exp(-np.logaddexp(0.0, -np.asarray(logits, np.float64)))
