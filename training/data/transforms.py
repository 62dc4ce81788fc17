"""Augmentation: an image and its heatmap through one and the same change of place.
from service.arrays import UInt8

No flips: left and right are words of the report.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from PIL import Image

from service.arrays import UInt8

LEAST_SIDE, MOST_TURN, MOST_CONTRAST = 0.85, 5.0, 0.2


@dataclass(frozen=True, slots=True)
class Placement:
    """A crop of `side` (share of the image) at (left, top) in shares of what is left, turned."""

    side: float
    left: float
    top: float
    degrees: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Self:
        """A slight crop and turn."""
        side, left, top = rng.uniform(LEAST_SIDE, 1.0), rng.random(), rng.random()
        return cls(side, left, top, rng.uniform(-MOST_TURN, MOST_TURN))

    def __call__(self, levels: UInt8) -> UInt8:
        """uint8[H,W] → uint8[H,W], bilinear; what lies outside is black."""
        height, width = levels.shape
        cosine, sine = np.cos(np.radians(self.degrees)), np.sin(np.radians(self.degrees))
        middle = np.array([width, height]) / 2
        matrix = self.side * np.array([[cosine, -sine], [sine, cosine]])
        corner = np.array([width, height]) * (1 - self.side) * np.array([self.left, self.top])
        offset = corner + self.side * middle - matrix @ middle
        coefficients = np.column_stack([matrix, offset]).ravel().tolist()
        image = Image.fromarray(levels).transform(
            (width, height), Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR
        )
        placed: UInt8 = np.asarray(image)
        return placed


def exposure(levels: UInt8, rng: np.random.Generator) -> UInt8:
    """uint8[H,W] with slightly other contrast and brightness."""
    gain, shift = 1 + rng.uniform(-MOST_CONTRAST, MOST_CONTRAST, 2)
    changed = gain * (levels.astype(np.float32) - 127.5) + 127.5 * shift
    exposed: UInt8 = np.rint(np.clip(changed, 0, 255)).astype(np.uint8)
    return exposed


def augmented(
    image: UInt8, heatmap: UInt8 | None, rng: np.random.Generator
) -> tuple[UInt8, UInt8 | None]:
    """An image and, where it has one, its heatmap; both uint8[H,W], placed alike."""
    placement = Placement.draw(rng)
    placed = None if heatmap is None else placement(heatmap)
    return exposure(placement(image), rng), placed
