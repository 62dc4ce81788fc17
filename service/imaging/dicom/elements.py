"""Reads optional elements of a DICOM dataset and forgives values that are malformed."""

import numpy as np
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue


def numbers(dataset: Dataset, keyword: str) -> list[float]:
    """Returns an element's values; none if it is absent, malformed or not finite."""
    try:
        value = dataset.get(keyword)
        values = [float(each) for each in (value if isinstance(value, MultiValue) else [value])]
    except (TypeError, ValueError):
        return []
    return values if np.isfinite(values).all() else []


def number(dataset: Dataset, keyword: str) -> float | None:
    """Returns an element's first value; None if it is absent, malformed or not finite."""
    return next(iter(numbers(dataset, keyword)), None)


def text(dataset: Dataset, keyword: str) -> str:
    """Returns an element's value without padding and in upper case; empty if it is absent."""
    return str(dataset.get(keyword, "")).strip().upper()


def is_signed(dataset: Dataset) -> bool:
    """Decides whether stored values are two's complement (Pixel Representation, PS3.3 C.7.6.3)."""
    return bool(dataset.PixelRepresentation == 1)
