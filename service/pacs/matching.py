"""Decides whether an answer to a query has an asked value, as PS3.4 C.2.2.2 matches values.

Archives ignore attributes that they cannot be asked by, and answer with what was not asked for.
"""

import re
from collections.abc import Sequence

from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue


def values_of(answer: Dataset, keyword: str) -> list[str]:
    """Returns the attribute's values as text, without those that are empty."""
    value = answer.get(keyword)
    each = value if isinstance(value, MultiValue) else [value]
    return [text for one in each if one is not None and (text := str(one).strip())]


def matches(keyword: str, wanted: Sequence[str], found: Sequence[str]) -> bool:
    """Tells whether one of the found values is one of those that are wanted.

    A wanted value may have `*` and `?`, and letter case does not count. A date or time may be a
    range with both its ends: `20260101-20260131`, `20260101-`.
    """
    ranges = dictionary_VR(keyword) in ("DA", "TM", "DT")
    return any(
        _in_range(value, each) if ranges and "-" in value else _like(value, each)
        for value in wanted
        for each in found
    )


def _in_range(wanted: str, found: str) -> bool:
    first, _, last = wanted.partition("-")
    return first <= found and (not last or found <= last or found.startswith(last))


def _like(wanted: str, found: str) -> bool:
    pattern = re.escape(wanted.strip()).replace(r"\*", ".*").replace(r"\?", ".")
    return re.fullmatch(pattern, found, re.IGNORECASE | re.DOTALL) is not None
