"""Measures whether images still look as they did when the bundle was validated."""

import threading

import numpy as np

from service.arrays import FloatArray
from service.telemetry import DRIFT

WINDOW = 256
"""Images after which one image's weight in the moving mean has fallen to 1/e."""


class Drift:
    """The distance of the latest images' mean embedding from the validation images' mean.

    reference: the validation mean, float32[D], at which the moving mean starts. Without one the
    gauge stays not a number. Thread-safe.
    """

    def __init__(self, reference: FloatArray | None) -> None:
        self._reference, self._mean = reference, reference
        self._lock = threading.Lock()
        DRIFT.set(float("nan") if reference is None else 0.0)

    def note(self, vectors: list[FloatArray]) -> None:
        """Moves the mean by the unit vectors, each float32[D], of images just encoded."""
        with self._lock:
            mean = self._mean
            if mean is None or self._reference is None:
                return
            for vector in vectors:
                mean = mean + (vector - mean) / np.float32(WINDOW)
            self._mean = mean
            DRIFT.set(distance(mean, self._reference))


def distance(a: FloatArray, b: FloatArray) -> float:
    """Returns 1 − cosine of two vectors, each float32[D]."""
    return float(1 - a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))
