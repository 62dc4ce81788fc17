"""Makes the pixels of an image square, where its file says that they are not."""

import numpy as np
from PIL import Image

from service.errors import ImageUndecodable
from service.imaging.radiograph import Pixels

_TOLERANCE = 0.01
"""Share by which the sides of a pixel may differ and count as equal: files round densities."""
_MAX_RATIO = 10
"""The longer side of a pixel divided by the shorter one; more cannot be."""


def pixel_ratio(height: float, width: float, source: str) -> float:
    """Returns a pixel's height divided by its width; 1 where they are equal, or one is unknown (0).

    Examples: 0.2 and 0.1 → 2.0; 0.1 and 0.1002 → 1.0. source: what says so, such as "density".

    Raises ImageUndecodable for pixels that are far too long.
    """
    if min(height, width) <= 0:
        return 1.0
    ratio = height / width
    if not 1 / _MAX_RATIO <= ratio <= _MAX_RATIO:
        raise ImageUndecodable(
            f"The file's {source} says that its pixels are more than {_MAX_RATIO} times as long as "
            "wide. Correct it, or save the image again without it."
        )
    return ratio if abs(ratio - 1) > _TOLERANCE else 1.0


def square_shape(rows: int, columns: int, ratio: float) -> tuple[int, int]:
    """Returns rows and columns of the same picture in square pixels, never fewer of either."""
    return (round(rows * ratio), columns) if ratio > 1 else (rows, round(columns / ratio))


def squared(pixels: Pixels, ratio: float) -> Pixels:
    """Returns the pixels interpolated along the side on which they are longer.

    ratio: a pixel's height divided by its width.
    """
    if ratio == 1:
        return pixels
    rows, columns = square_shape(pixels.shape[0], pixels.shape[1], ratio)
    return np.array(Image.fromarray(pixels).resize((columns, rows), Image.Resampling.BILINEAR))


def correction(ratio: float) -> str:
    """Returns the sentence that tells the caller of it."""
    return f"The pixels were made square: the file has them {ratio:.3g} times as high as wide."
