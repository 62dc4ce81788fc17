"""Finds the values that are padding: pixels outside of the exposed image (PS3.3 C.7.5.1.1.2)."""

from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from service.arrays import Bools
from service.imaging.dicom.bits import Bits
from service.imaging.dicom.elements import number

_MOST_PIXELS = 0.9
"""Share of the pixels that is never padding."""
_MOST_VALUES = 0.1
"""Share of the values that a range of padding may take in; a single value always may be padding."""


def find_padding(
    dataset: Dataset,
    bits: Bits,
    stored: npt.NDArray[Any],
    shares: npt.NDArray[np.float64],
    at_edge: Bools,
) -> tuple[Bools, list[str]]:
    """Returns which values are padding, and a sentence if declared padding was taken as pixels.

    stored: the values that occur. shares: the share of the pixels that each has. at_edge: whether
    it occurs at the edge of the image, where padding begins.
    """
    none = np.zeros(stored.shape, dtype=bool)
    value = _stored_number(dataset, "PixelPaddingValue", bits)
    if value is None:
        return none, []
    limit = _stored_number(dataset, "PixelPaddingRangeLimit", bits)
    low, high = sorted((value, value if limit is None else limit))
    padding: Bools = (stored >= low) & (stored <= high)
    if not padding.any():
        return none, []
    found = np.count_nonzero(padding)
    why = {
        "it takes in most of the image": shares[padding].sum() > _MOST_PIXELS,
        "it takes in values of the image": found > max(_MOST_VALUES * len(stored), 1),
        "it does not occur at the edge of the image": not at_edge[padding].any(),
    }
    reason = next((each for each, holds in why.items() if holds), None)
    if reason is None:
        return padding, []
    return none, [f"PixelPaddingValue was left out: {reason}."]


def _stored_number(dataset: Dataset, keyword: str, bits: Bits) -> float | None:
    """A 16-bit stored value, signed if the pixels are, whatever VR the header gives it."""
    value = number(dataset, keyword)
    if value is None:
        return None
    value %= 2**16
    return value - 2**16 if bits.signed and value >= 2**15 else value
