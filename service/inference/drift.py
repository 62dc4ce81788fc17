"""Whether images still look as they did where the bundle was validated."""

import threading

import numpy as np

from service.arrays import FloatArray
from service.telemetry import DRIFT

WINDOW = 256
"""Images over which the moving mean forgets."""


class Drift:
    """How far the mean of the latest image embeddings has moved from that of validation.

    reference: float32[D], where the moving mean starts; None where the bundle has none, and the
    gauge stays not a number. Thread-safe.
    """

    def __init__(self, reference: FloatArray | None) -> None:
        self._reference, self._mean = reference, reference
        self._lock = threading.Lock()
        DRIFT.set(float("nan") if reference is None else 0.0)

    def note(self, vectors: list[FloatArray]) -> None:
        """Take in the unit vectors, each float32[D], of images just embedded."""
        with self._lock:
            mean = self._mean
            if mean is None or self._reference is None:
                return
            for vector in vectors:
                mean = mean + (vector - mean) / np.float32(WINDOW)
            self._mean = mean
            DRIFT.set(distance(mean, self._reference))


def distance(one: FloatArray, other: FloatArray) -> float:
    """1 − cosine of two vectors."""
    return float(1 - one @ other / (np.linalg.norm(one) * np.linalg.norm(other)))
