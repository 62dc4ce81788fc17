"""Names findings alike in every data set, in lower case, and marks what is uncertain."""

from collections.abc import Mapping

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

_UNCERTAIN = "uncertain"
_OLD_MARK = "labelled"
"""Metadata of a study, false where nobody labelled it: manifests of version 0.1 say it so."""
_SEPARATOR = "; "


def chexpert_findings(row: Mapping[str, str]) -> tuple[str, ...]:
    """Returns the columns that are 1. Not: 0 (denied), -1 (uncertain), blank (not mentioned)."""
    return _columns_at(row, 1.0)


def chexpert_metadata(row: Mapping[str, str]) -> dict[str, Scalar]:
    """Returns the columns that are -1, under the key that `uncertain` reads."""
    names = _columns_at(row, -1.0)
    return {_UNCERTAIN: _SEPARATOR.join(names)} if names else {}


def uncertain(study: ManifestStudy) -> frozenset[str]:
    """Returns the findings that the study's labeller was not sure about."""
    names = study.metadata.get(_UNCERTAIN)
    return frozenset(str(names).split(_SEPARATOR)) if names else frozenset()


def is_labelled(study: ManifestStudy) -> bool:
    """Returns whether anyone looked for findings. If not, the study counts for no label."""
    return study.findings is not None and study.metadata.get(_OLD_MARK, True) is not False


def _columns_at(row: Mapping[str, str], value: float) -> tuple[str, ...]:
    return tuple(name.lower() for name in CHEXPERT if row[name] and float(row[name]) == value)
