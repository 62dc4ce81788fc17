"""Decides whether an answer to a query has an asked value, as PS3.4 C.2.2.2 matches values.

Archives ignore attributes that they cannot be asked by, and answer with what was not asked for.
"""

import re
from collections.abc import Sequence

from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

_RANGE = re.compile(r"(\d{8})?-(\d{8})?")


def values_of(answer: Dataset, keyword: str) -> list[str]:
    """Returns the attribute's values as text, without those that are empty."""
    value = answer.get(keyword)
    each = value if isinstance(value, MultiValue) else [value]
    return [text for one in each if one is not None and (text := str(one).strip())]


def matches(keyword: str, wanted: Sequence[str], found: Sequence[str]) -> bool:
    """Tells whether one of the found values is one of those that are wanted.

    A wanted value may have `*` and `?`. A date may be a range: `20260101-20260131`, `20260101-`.
    """
    dates = dictionary_VR(keyword) == "DA"
    return any(
        _in_range(value, each) if dates and _RANGE.fullmatch(value) else _like(value, each)
        for value in wanted
        for each in found
    )


def _in_range(wanted: str, found: str) -> bool:
    earliest, _, latest = wanted.partition("-")
    return earliest <= found.replace(".", "") <= (latest or "99991231")


def _like(wanted: str, found: str) -> bool:
    pattern = re.escape(wanted.strip()).replace(r"\*", ".*").replace(r"\?", ".")
    return re.fullmatch(pattern, found, re.IGNORECASE | re.DOTALL) is not None
