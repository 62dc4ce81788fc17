"""Fixations → heatmaps."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from training.data.study import Gaze


def heatmap(gaze: Gaze, height: int, width: int, sigma: float) -> npt.NDArray[np.float32]:
    """Sum a Gaussian a fixation, weighted by its duration and scaled to a maximum of 1.

    `sigma` is a fraction of the image width. Returns float32[height, width]; no gaze is all zeros.
    """
    spread = sigma * width
    rows = _profiles(np.asarray(gaze.y) * height, height, spread)
    columns = _profiles(np.asarray(gaze.x) * width, width, spread)
    dwell = (rows * np.asarray(gaze.duration)[:, None]).T @ columns
    peak = dwell.max()
    return np.asarray(dwell / peak if peak > 0.0 else dwell, np.float32)


def _profiles(centres: npt.NDArray[np.float64], size: int, sigma: float) -> npt.NDArray[np.float64]:
    """Sample a 1-D Gaussian a centre at the pixel centres: float64[fixations, size]."""
    pixels = np.arange(size) + 0.5
    return np.exp(-0.5 * ((pixels - centres[:, None]) / sigma) ** 2)
