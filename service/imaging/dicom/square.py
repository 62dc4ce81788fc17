"""Makes the pixels of a radiograph square.

A pixel may be higher than wide, or wider than high: ImagerPixelSpacing, PixelSpacing or
PixelAspectRatio say so (PS3.3 10.7, C.7.6.3.1.7). The side on which it is longer gets more pixels,
so that no detail is lost. Example: 256 rows of 0.2 mm and 224 columns of 0.1 mm become 512 × 224.
"""

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydicom.dataset import Dataset

from service.errors import ImageUndecodable
from service.imaging.dicom.elements import numbers

_SPACINGS = ("ImagerPixelSpacing", "PixelSpacing")
"""Distances of rows and columns in mm, on the detector if the file has it (PS3.3 10.7)."""
_TOLERANCE = 0.01
"""Share by which the sides of a pixel may differ and count as equal."""
_MAX_RATIO = 10
"""The longer side of a pixel divided by the shorter one; more cannot be."""


def spacing(dataset: Dataset) -> tuple[float, float] | None:
    """Returns the distance in mm of the stored rows and of the stored columns."""
    return next((pair for each in _SPACINGS if (pair := _pair(dataset, each))), None)


def square_size(dataset: Dataset, rows: int, columns: int) -> tuple[int, int]:
    """Returns rows and columns of the image once its pixels are square.

    Raises ImageUndecodable, which names the attributes, for pixels that are far too long.
    """
    height, width = spacing(dataset) or _pair(dataset, "PixelAspectRatio") or (1, 1)
    ratio = height / width
    if not 1 / _MAX_RATIO <= ratio <= _MAX_RATIO:
        raise ImageUndecodable(
            "The DICOM's pixels are more than 10 times as long as wide, according to its "
            f"{', '.join(_SPACINGS)} or PixelAspectRatio. Correct it."
        )
    if abs(ratio - 1) <= _TOLERANCE:
        return rows, columns
    return (round(rows * ratio), columns) if ratio > 1 else (rows, round(columns / ratio))


def resized(pixels: npt.NDArray[np.uint16], rows: int, columns: int) -> npt.NDArray[np.uint16]:
    """Returns uint16[rows, columns]; values between pixels are interpolated."""
    if pixels.shape == (rows, columns):
        return pixels
    return np.array(Image.fromarray(pixels).resize((columns, rows), Image.Resampling.BILINEAR))


def _pair(dataset: Dataset, keyword: str) -> tuple[float, float] | None:
    """Two numbers over 0; None if the element has anything else."""
    values = numbers(dataset, keyword)
    return (values[0], values[1]) if len(values) == 2 and min(values) > 0 else None
