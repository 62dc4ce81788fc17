"""Makes the pixels of an image square, where its file says that they are not."""

import numpy as np
from PIL import Image

from service.imaging.radiograph import Pixels

_TOLERANCE = 0.01
"""Relative difference of a pixel's height and width that rounding may have made."""
_MOST = 4.0
"""A pixel that is said to be longer than this many times its width is a fault of the header."""


def pixel_ratio(height: float, width: float) -> float:
    """Returns a pixel's height divided by its width; 1 where it is square or cannot be true.

    The unit of both does not matter. Examples: 0.2 and 0.1 → 2.0, 0.1 and 0.1002 → 1.0, 0 and 1 →
    1.0.
    """
    if not (height > 0 and width > 0):
        return 1.0
    ratio = height / width
    is_square = abs(ratio - 1) <= _TOLERANCE
    return 1.0 if is_square or not 1 / _MOST <= ratio <= _MOST else ratio


def squared_shape(rows: int, columns: int, ratio: float) -> tuple[int, int]:
    """Returns rows and columns of the same picture in square pixels, never more of either."""
    if ratio >= 1:
        return rows, max(round(columns / ratio), 1)
    return max(round(rows * ratio), 1), columns


def squared(pixels: Pixels, ratio: float) -> Pixels:
    """Returns the pixels resampled to squares: averages along the axis that has more of them.

    ratio: a pixel's height divided by its width.
    """
    rows, columns = squared_shape(pixels.shape[0], pixels.shape[1], ratio)
    if (rows, columns) == pixels.shape:
        return pixels
    image = Image.fromarray(pixels).resize((columns, rows), Image.Resampling.BILINEAR)
    return np.asarray(image)


def correction(ratio: float) -> str:
    """Returns the sentence that tells the caller of it."""
    return f"The pixels are {ratio:.3g} times as high as wide; they were resampled to squares."
