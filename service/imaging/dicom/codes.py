"""Reads coded concepts of a DICOM header as the words that the standard gives to their codes.

A code's own text (Code Meaning) counts only for codes that pydicom's dictionary does not know.
"""

from functools import cache

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.sr._snomed_dict import mapping  # pydicom has no public name for it
from pydicom.sr.codedict import codes

from service.imaging.dicom.elements import text

_MAX_ITEMS = 16
"""Items that are read of one sequence."""
_OLD_SCHEMES = frozenset({"SRT", "SNM3", "99SDM"})
"""Names under which files give SNOMED RT codes, such as T-D3000 (PS3.16 8.1)."""


def meanings(dataset: Dataset, keyword: str) -> list[str]:
    """Returns what each item of a code sequence means; none if it is absent or malformed."""
    try:
        items = dataset.get(keyword)
    except Exception:  # damaged items of unknown type make pydicom raise anything
        return []
    if not isinstance(items, Sequence):
        return []
    return [_standard_meaning(item) or text(item, "CodeMeaning") for item in items[:_MAX_ITEMS]]


def _standard_meaning(item: Dataset) -> str:
    """All names of a SNOMED code in the dictionary; empty if it does not know the code."""
    scheme, code = text(item, "CodingSchemeDesignator"), text(item, "CodeValue")
    if scheme in _OLD_SCHEMES:
        code = mapping["SRT"].get(code, "")
    elif scheme != "SCT":
        return ""
    return _names().get(code, "")


@cache
def _names() -> dict[str, str]:
    """SNOMED CT code → its names. Example: "816094009" → "Chest / Thorax"."""
    names: dict[str, str] = {}
    for concept in codes.SCT.concepts.values():
        before = names.get(concept.value)
        names[concept.value] = f"{before} / {concept.meaning}" if before else concept.meaning
    return names
