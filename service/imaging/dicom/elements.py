"""Reads elements of a DICOM dataset: it forgives malformed optional values and names bad others."""

import numpy as np
from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.valuerep import STR_VR

from service.errors import ImageUndecodable


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


def one_number(dataset: Dataset, keyword: str) -> float | None:
    """Returns an element's only value; None if it is absent or empty.

    Raises ImageUndecodable, which names the element, if its value is not one finite number.
    """
    if not is_given(dataset, keyword):
        return None
    values = numbers(dataset, keyword)
    if len(values) != 1:
        raise ImageUndecodable(
            f"The DICOM's {keyword} is not one finite number. Correct it or leave it out."
        )
    return values[0]


def count(dataset: Dataset, keyword: str) -> int | None:
    """Returns an element's only value as a whole number; None if it is absent or empty.

    Raises ImageUndecodable, which names the element, for any other value.
    """
    value = one_number(dataset, keyword)
    return None if value is None else int(value)


def is_given(dataset: Dataset, keyword: str) -> bool:
    """Decides whether an element is there and not empty, without reading its value."""
    element = dataset.get_item(keyword)
    value = None if element is None else element.value
    if isinstance(value, bytes) and dictionary_VR(keyword) not in STR_VR:
        return bool(value)  # whose bytes may be those of blanks: 2316 is a form feed and a tab
    if isinstance(value, bytes | str):
        return bool(value.strip())
    return value is not None and value != []


def text(dataset: Dataset, keyword: str) -> str:
    """Returns an element's value without padding and in upper case; empty if it is absent."""
    return str(dataset.get(keyword, "")).strip().upper()
