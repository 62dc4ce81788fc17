"""Augments an image and its heatmap alike: a slight crop, turn and change of exposure.

There are no flips, because reports say left and right.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from PIL import Image

from service.arrays import UInt8

LEAST_SIDE = 0.85
"""Fraction of the image's side: the smallest crop."""
MOST_TURN = 5.0
"""Degrees, either way."""
MOST_CONTRAST = 0.2
"""Relative change of contrast and brightness, either way."""


@dataclass(frozen=True, slots=True)
class Placement:
    """A turned crop. side: fraction of the image; left, top: fractions of the rest of it."""

    side: float
    left: float
    top: float
    degrees: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Self:
        """Draws a slight crop and turn."""
        side, left, top = rng.uniform(LEAST_SIDE, 1.0), rng.random(), rng.random()
        return cls(side, left, top, rng.uniform(-MOST_TURN, MOST_TURN))

    def __call__(self, levels: UInt8) -> UInt8:
        """Crops and turns uint8[H,W] to uint8[H,W], bilinear. What lies outside is black."""
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
    """Returns uint8[H,W] with slightly changed contrast and brightness."""
    gain, shift = 1 + rng.uniform(-MOST_CONTRAST, MOST_CONTRAST, 2)
    changed = gain * (levels.astype(np.float32) - 127.5) + 127.5 * shift
    exposed: UInt8 = np.rint(np.clip(changed, 0, 255)).astype(np.uint8)
    return exposed


def augmented(
    image: UInt8, heatmap: UInt8 | None, rng: np.random.Generator
) -> tuple[UInt8, UInt8 | None]:
    """Returns an image and its heatmap, both uint8[H,W], cropped and turned alike."""
    placement = Placement.draw(rng)
    placed = None if heatmap is None else placement(heatmap)
    return exposure(placement(image), rng), placed
