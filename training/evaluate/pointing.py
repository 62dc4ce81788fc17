"""Scores a map against a region of its image, and makes priors, which do not look at the image.

Chance is a map that is the same everywhere. `centre_prior` knows radiographs, but not this one, and
`mean_gaze` knows where readers look on average. A map that does no better is of no use.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from service.arrays import Bools
from training.data.pairs import Levels
from training.evaluate.encode import BATCH

PRIOR_SPREAD = 0.25
"""Standard deviation of the centre prior, in sides of the image."""
SHARES = (0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.5)
"""Fractions of an image that a map's highest pixels may mark; validation studies choose one."""

Floats = npt.NDArray[np.floating]


class Pointing(NamedTuple):
    """How well one map fits one region. All three are 1 at best."""

    pointing_game: float
    """Fraction of the map's highest pixels that are inside (Zhang et al. 2018)."""
    pixel_auc: float
    energy_inside: float
    """Fraction of the map above its minimum that is inside (Wang et al. 2020, Score-CAM)."""


@dataclass(frozen=True)
class Heat:
    """A map float[H,W], sorted once however many regions it is scored against.

    A region is bool[H,W], neither empty nor full.
    """

    pixels: Floats

    def pointing(self, inside: Bools) -> Pointing:
        """Scores the map against a region."""
        mass = self._above.sum()
        return Pointing(
            pointing_game=float(inside[self._highest].mean()),
            pixel_auc=self._auc(self.pixels[inside]),
            energy_inside=float(self._above[inside].sum() / mass)
            if mass > 0
            else float(inside.mean()),
        )

    def overlaps(self, inside: Bools) -> npt.NDArray[np.float64]:
        """Returns the intersection over union of a region and the highest pixels, for each share.

        Pixels as high as the lowest of them are marked too, so a constant map marks the image.
        """
        region = np.sort(self.pixels[inside])
        levels = self._rising[[-max(round(share * self._rising.size), 1) for share in SHARES]]
        hits, marked = (len(v) - np.searchsorted(v, levels) for v in (region, self._rising))
        return np.asarray(hits / (marked + region.size - hits))

    def _auc(self, region: Floats) -> float:
        """Returns the area under the ROC curve, by the ranks of the region's R pixels."""
        below = np.searchsorted(self._rising, region, "left").astype(np.int64)
        ranks = (below + np.searchsorted(self._rising, region, "right") + 1) / 2
        outside = self._rising.size - region.size
        least = region.size * (region.size + 1) / 2
        return float((ranks.sum() - least) / (region.size * outside))

    @cached_property
    def _rising(self) -> Floats:
        return np.sort(self.pixels, axis=None)

    @cached_property
    def _above(self) -> Floats:
        return np.asarray(self.pixels - self.pixels.min())

    @cached_property
    def _highest(self) -> Bools:
        return np.asarray(self.pixels == self.pixels.max())


def pointing(heat: Floats, inside: Bools) -> Pointing:
    """Scores a map float[H,W] against a region bool[H,W] that is neither empty nor full."""
    return Heat(heat).pointing(inside)


def centre_prior(height: int, width: int) -> Floats:
    """Returns a Gaussian in the middle, float64[height,width]."""
    down, across = (np.arange(size) + 0.5 for size in (height, width))
    y, x = down / height - 0.5, across / width - 0.5
    return np.asarray(np.exp(-(y[:, None] ** 2 + x**2) / (2 * PRIOR_SPREAD**2)))


def mean_gaze(heatmaps: Levels) -> Floats | None:
    """Returns the mean of those of N heatmaps uint8[N,H,W] that have gaze, float64[H,W].

    None if none of them has.
    """
    total, gazed = np.zeros(heatmaps.shape[1:]), 0
    for start in range(0, len(heatmaps), BATCH):
        batch = heatmaps[start : start + BATCH]
        total += batch.sum(axis=0, dtype=np.float64)
        gazed += int(batch.any(axis=(1, 2)).sum())
    return total / gazed if gazed else None
