"""Names findings alike in every data set, in lower case, and marks what is uncertain or unknown.

A finding of a study is one of four: present (in `findings`), absent (not there), uncertain (named
in the metadata), or unknown because nobody labelled the study (`findings` is None). What an
evaluation makes of uncertain findings is decided here, by `resolved`, and nowhere else.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Literal

from training.data.study import ManifestStudy, Scalar

NO_FINDING = "no finding"
"""The finding that a data set asserts for a normal image."""

CHEXPERT = (
    "No Finding",
    "Enlarged Cardiomediastinum",
    "Cardiomegaly",
    "Lung Opacity",
    "Lung Lesion",
    "Edema",
    "Consolidation",
    "Pneumonia",
    "Atelectasis",
    "Pneumothorax",
    "Pleural Effusion",
    "Pleural Other",
    "Fracture",
    "Support Devices",
)
"""The 14 columns of the CheXpert labeller (Irvin et al. 2019, arXiv 1901.07031)."""

Uncertain = Literal["ignored", "present", "absent"]
"""What uncertain findings count as. Irvin et al. 2019 call them U-Ignore, U-Ones and U-Zeros."""

_UNCERTAIN = "uncertain"
_OLD_MARK = "labelled"
"""Metadata of a study, false where nobody labelled it: manifests of version 0.1 say it so."""


def as_uncertain(names: Iterable[str]) -> dict[str, Scalar]:
    """Returns metadata that name uncertain findings, as in `"edema; nodule"`; {} without any."""
    listed = "; ".join(names)
    return {_UNCERTAIN: listed} if listed else {}


def uncertain(study: ManifestStudy) -> frozenset[str]:
    """Returns the findings that the study's labeller was not sure about, in lower case."""
    names = str(study.metadata.get(_UNCERTAIN, "")).split(";")
    return frozenset(_alike(names)) - {""}


def present(study: ManifestStudy) -> frozenset[str]:
    """Returns the findings of the study, in lower case; nothing if nobody labelled it."""
    return frozenset(_alike(study.findings or ()))


def is_labelled(study: ManifestStudy) -> bool:
    """Returns whether anyone looked for findings. If not, the study counts for no label."""
    return study.findings is not None and study.metadata.get(_OLD_MARK, True) is not False


def resolved(study: ManifestStudy, policy: Uncertain) -> ManifestStudy:
    """Returns the study with its uncertain findings made present or absent, or left uncertain."""
    doubtful = uncertain(study)
    if policy == "ignored" or not doubtful or not is_labelled(study):
        return study
    found = present(study) | doubtful if policy == "present" else present(study) - doubtful
    metadata = {name: value for name, value in study.metadata.items() if name != _UNCERTAIN}
    return replace(study, findings=tuple(sorted(found)), metadata=metadata)


def _alike(names: Iterable[str]) -> Iterable[str]:
    return (" ".join(name.lower().split()) for name in names)
