"""Reads how far apart rows and columns lie, and how high a pixel is for its width.

ImagerPixelSpacing, PixelSpacing or PixelAspectRatio say so (PS3.3 10.7, C.7.6.3.1.7).
"""

from pydicom.dataset import Dataset

from service.imaging import aspect
from service.imaging.dicom.elements import is_given, numbers
from service.imaging.radiograph import Scale

_SPACINGS = ("ImagerPixelSpacing", "PixelSpacing")
"""Distances of rows and columns in mm, on the detector if the file has it (PS3.3 10.7)."""


def spacing(dataset: Dataset) -> tuple[float, float] | None:
    """Returns the distance in mm of the stored rows and of the stored columns."""
    return next((pair for each in _SPACINGS if (pair := _pair(dataset, each))), None)


def scale(dataset: Dataset) -> Scale | None:
    """Returns what to measure the stored pixels with.

    PixelSpacing was calibrated where it differs from ImagerPixelSpacing, or where
    PixelSpacingCalibrationType is given (PS3.3 10.7.1.3).
    """
    detector, stated = (_pair(dataset, each) for each in _SPACINGS)
    if stated and (
        is_given(dataset, "PixelSpacingCalibrationType") or detector not in (None, stated)
    ):
        return Scale(stated, "calibrated")
    if detector:
        return Scale(detector, "detector")
    return Scale(stated, "unstated") if stated else None


def pixel_ratio(dataset: Dataset) -> float:
    """Returns a pixel's height divided by its width; 1 where the header says nothing else.

    Raises ImageUndecodable, which names the attributes, for pixels that are far too long.
    """
    height, width = spacing(dataset) or _pair(dataset, "PixelAspectRatio") or (1, 1)
    source = f"header ({', '.join(_SPACINGS)} or PixelAspectRatio)"
    return aspect.pixel_ratio(height, width, source)


def _pair(dataset: Dataset, keyword: str) -> tuple[float, float] | None:
    """Two numbers over 0; None if the element has anything else."""
    values = numbers(dataset, keyword)
    return (values[0], values[1]) if len(values) == 2 and min(values) > 0 else None
