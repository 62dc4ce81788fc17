"""Fixations → heatmaps."""

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
    """Standard deviation of a fixation: in degrees of visual angle or in pixels of the heatmap."""

    size: float
    unit: Literal["degree", "pixel"]

    def __post_init__(self) -> None:
        if not (math.isfinite(self.size) and self.size > 0.0):
            raise ValueError("sigma must be finite and positive")

    def in_pixels(self, reading: Gaze, height: int, width: int) -> npt.NDArray[np.float64]:
        """(down, across) at each fixation: float64[fixations, 2].

        Raises DataError where degrees are asked of a reading that does not say what one spans.
        """
        if self.unit == "pixel":
            return np.full((len(reading), 2), self.size)
        if len(reading.degree) < len(reading):
            raise DataError("a reading has no `degree`: give sigma in pixels")
        across_down = np.reshape(reading.degree, (-1, 2)) * (width, height)
        return self.size * across_down[:, ::-1]


def heatmap(
    readings: Sequence[Gaze], height: int, width: int, sigma: Sigma
) -> npt.NDArray[np.float32]:
    """Where the readers of one image looked: float32[height, width], at most 1.

    A fixation is a Gaussian whose mass is its duration, cut off at the edge of what the screen
    showed of the image at that moment. Each reader's map is scaled to unit mass before the maps are
    averaged, so that a slow reader does not outvote a quick one. The highest value is 1; a map
    without any dwell is all zeros.
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
    """The heatmap that lies on `preprocess(image, spec)`: float32[spec.height, spec.width].

    It is drawn at the size that the image is scaled to, cropped or padded by `preprocess` itself,
    and holds 256 levels. A crop may take the highest value away; padding was never looked at.
    """
    width, height = scaled_size((image_width, image_height), spec)
    drawn = heatmap(readings, height, width, sigma)
    deep = np.rint(drawn * 65535).astype(np.uint16)
    levels = preprocess(deep, spec.model_copy(update={"fill": 0}))
    return np.asarray(levels / 255, np.float32)


def _dwell(reading: Gaze, height: int, width: int, sigma: Sigma) -> npt.NDArray[np.float64]:
    """Dwell density of one reader, up to a constant: float64[height, width]."""
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
    """Sample 1-D Gaussian densities at the pixel centres: float64[fixations, size].

    centres and shown[fixations, 2] are fractions of `size`, sigmas are pixels; outside what was
    shown the density is 0.
    """
    pixels = np.arange(size) + 0.5
    offsets = (pixels - size * centres[:, None]) / sigmas[:, None]
    seen = (pixels >= size * shown[:, :1]) & (pixels < size * shown[:, 1:])
    return np.where(seen, np.exp(-0.5 * offsets**2) / sigmas[:, None], 0.0)
