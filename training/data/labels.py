"""Names of findings, lower-case and the same in every data set, and what is uncertain."""

from collections.abc import Mapping

from training.data.study import ManifestStudy, Scalar

NO_FINDING = "no finding"
"""A finding like any other where a data set asserts it; no findings at all assert nothing."""

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
_LABELLED = "labelled"
UNLABELLED: dict[str, Scalar] = {_LABELLED: False}
"""Metadata of a study that its data set has yet to label."""
_SEPARATOR = "; "


def chexpert_findings(row: Mapping[str, str]) -> tuple[str, ...]:
    """The columns that are 1; 0 (denied), -1 (uncertain) and blank (not mentioned) are not."""
    return _columns_at(row, 1.0)


def chexpert_metadata(row: Mapping[str, str]) -> dict[str, Scalar]:
    """The columns that are -1, under the key that `uncertain` reads."""
    names = _columns_at(row, -1.0)
    return {_UNCERTAIN: _SEPARATOR.join(names)} if names else {}


def uncertain(study: ManifestStudy) -> frozenset[str]:
    """The findings of which the study's labeller was not sure."""
    names = study.metadata.get(_UNCERTAIN)
    return frozenset(str(names).split(_SEPARATOR)) if names else frozenset()


def is_labelled(study: ManifestStudy) -> bool:
    """Whether anyone looked for findings; without, that there are none means nothing."""
    return bool(study.metadata.get(_LABELLED, True))


def _columns_at(row: Mapping[str, str], value: float) -> tuple[str, ...]:
    return tuple(name.lower() for name in CHEXPERT if row[name] and float(row[name]) == value)
