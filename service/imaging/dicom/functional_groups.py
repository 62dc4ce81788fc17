"""Takes what a multi-frame object says of its only frame from its functional groups.

Multi-frame SOP classes keep windows, the rescale and the spacing there (PS3.3 C.7.6.16.2).
"""

from collections.abc import Iterable

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from service.imaging.dicom.elements import is_given

GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
"""Sequences of functional groups: those of all frames, and those of each."""
_TAKEN = {
    "PixelMeasuresSequence": ("PixelSpacing",),
    "PixelValueTransformationSequence": ("RescaleSlope", "RescaleIntercept"),
    "FrameVOILUTSequence": ("WindowCenter", "WindowWidth", "VOILUTFunction", "VOILUTSequence"),
    "FrameAnatomySequence": ("AnatomicRegionSequence",),
}
"""Functional group → elements that decoding needs of it."""


def take_first_frame(dataset: Dataset, items: Iterable[Dataset]) -> None:
    """Copies the elements of functional groups to the dataset, where it has none of them itself.

    items: the first of each sequence of `GROUPS`.
    """
    for item in items:
        for group, keywords in _TAKEN.items():
            macros = item.get(group)
            for macro in macros[:1] if isinstance(macros, Sequence) else []:
                if not any(is_given(dataset, keyword) for keyword in keywords):
                    _copy(macro, dataset, keywords)


def _copy(source: Dataset, target: Dataset, keywords: Iterable[str]) -> None:
    for keyword in keywords:
        if is_given(source, keyword):
            target[keyword] = source[keyword]
