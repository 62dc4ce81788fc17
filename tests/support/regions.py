"""Makes maps that point at a chosen place, and what reports read from them."""

import numpy as np

from service.arrays import FloatArray
from service.imaging.lungs import Box, LungFields
from service.reporting.regions import Pointing

WHOLE = Box(0, 0, 1, 1)
LUNGS = LungFields(Box(0.125, 0.125, 0.75, 0.75), found=True)


def spot(x: float, y: float) -> FloatArray:
    """Returns a map float32[16, 16] that is highest at a place in fractions of the image."""
    centres = (np.arange(16) + 0.5) / 16
    squared = (centres - x) ** 2 + ((centres - y) ** 2)[:, np.newaxis]
    return np.exp(-squared / 0.02).astype(np.float32)


def pointing(**maps: FloatArray) -> Pointing:
    """Returns where findings point. maps: finding, with `_` for a space → its map."""
    return Pointing(0, WHOLE, LUNGS, {name.replace("_", " "): grid for name, grid in maps.items()})
