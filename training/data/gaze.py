"""Turns fixations into heatmaps."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from service.bundle.preprocess import ImageSpec, preprocess, scaled_size
from training.data.study import DataError, Gaze

_WHOLE = ((0.0, 0.0, 1.0, 1.0),)


@dataclass(frozen=True, slots=True)
class Sigma:
    """The spread of a fixation: a standard deviation in degrees of visual angle or in pixels."""

    size: float
    unit: Literal["degree", "pixel"]

    def __post_init__(self) -> None:
        if not (math.isfinite(self.size) and self.size > 0.0):
            raise ValueError("sigma must be finite and positive")

    def in_pixels(self, reading: Gaze, height: int, width: int) -> npt.NDArray[np.float64]:
        """Returns (down, across) at each fixation, in pixels: float64[fixations, 2].

        Raises DataError if sigma is in degrees and the reading does not say what a degree spans.
        """
        if self.unit == "pixel":
            return np.full((len(reading), 2), self.size)
        if len(reading.degree) < len(reading):
            raise DataError(
                "a reading does not say what a degree spans; give expert.sigma in pixels"
            )
        across_down = np.reshape(reading.degree, (-1, 2)) * (width, height)
        return self.size * across_down[:, ::-1]


def heatmap(
    readings: Sequence[Gaze], height: int, width: int, sigma: Sigma
) -> npt.NDArray[np.float32]:
    """Draws where the readers of one image looked: float32[height, width], at most 1.

    A fixation is a Gaussian whose mass is its duration, cut off at the edge of what the screen
    showed of the image at that moment. Each reader's map is scaled to unit mass before the maps are
    averaged, so a slow reader counts as much as a quick one. The highest value is 1. Without any
    fixation on the image, all values are 0.
    """
    looked = np.zeros((height, width))
    for reading in readings:
        dwell = _dwell(reading, height, width, sigma)
        mass = dwell.sum()
        if mass > 0.0:
            looked += dwell / mass
    peak = looked.max()
    return np.asarray(looked / peak if peak > 0.0 else looked, np.float32)


def aligned_heatmap(
    readings: Sequence[Gaze], image_height: int, image_width: int, spec: ImageSpec, sigma: Sigma
) -> npt.NDArray[np.float32]:
    """Draws the heatmap that lies on `preprocess(image, spec)`: float32[spec.height, spec.width].

    It is drawn at the size that the image is scaled to, then cropped or padded by `preprocess`
    itself, and has 256 levels. A crop may remove the highest value. Padding is 0.
    """
    width, height = scaled_size((image_width, image_height), spec)
    drawn = heatmap(readings, height, width, sigma)
    deep = np.rint(drawn * 65535).astype(np.uint16)
    levels = preprocess(deep, spec.model_copy(update={"fill": 0}))
    return np.asarray(levels / 255, np.float32)


def _dwell(reading: Gaze, height: int, width: int, sigma: Sigma) -> npt.NDArray[np.float64]:
    """Returns one reader's dwell density, up to a constant: float64[height, width]."""
    spread = sigma.in_pixels(reading, height, width)
    shown = np.reshape(reading.shown or _WHOLE * len(reading), (-1, 4))
    rows = _profiles(np.asarray(reading.y), shown[:, 1::2], spread[:, 0], height)
    columns = _profiles(np.asarray(reading.x), shown[:, ::2], spread[:, 1], width)
    weighted = rows * np.asarray(reading.duration)[:, None]
    return np.asarray(weighted.T @ columns)


def _profiles(
    centres: npt.NDArray[np.float64],
    shown: npt.NDArray[np.float64],
    sigmas: npt.NDArray[np.float64],
    size: int,
) -> npt.NDArray[np.float64]:
    """Samples 1-D Gaussian densities at the pixel centres: float64[fixations, size].

    centres, shown[fixations, 2]: fractions of `size`. sigmas: pixels. The density is 0 outside of
    what was shown.
    """
    pixels = np.arange(size) + 0.5
    offsets = (pixels - size * centres[:, None]) / sigmas[:, None]
    seen = (pixels >= size * shown[:, :1]) & (pixels < size * shown[:, 1:])
    return np.where(seen, np.exp(-0.5 * offsets**2) / sigmas[:, None], 0.0)
