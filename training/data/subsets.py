"""Draws evaluation subsets with equally many studies for each finding: 5x200, 8x200, 14x100.

If the authors of a comparison published which images they drew, give their list as a file. A subset
drawn here is another draw, so numbers on it compare with each other, but not with theirs.

A finding's class holds the studies with an image that have this finding, none of the subset's
others, and none of them uncertain. They may have findings that the subset does not list. Drawn are
the studies with the smallest sha256 of `SEED:study_id`, so the draw depends neither on the order of
the files nor on a random generator. They become test studies. A model that is measured on them must
not have been trained on their patients.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from training.data.labels import NO_FINDING, uncertain
from training.data.study import DataError, ManifestStudy

SEED = 0


class SubsetError(DataError):
    """A subset that cannot be drawn from these studies."""


@dataclass(frozen=True, slots=True)
class Subset:
    """`each` studies of the data set `source` for each finding of `findings`."""

    source: str
    findings: tuple[str, ...]
    each: int


_FIVE = ("atelectasis", "cardiomegaly", "consolidation", "edema", "pleural effusion")
"""Findings that the CheXpert competition scored. 5x200: Huang et al. 2021 (GLoRIA)."""
_EIGHT = (
    "atelectasis",
    "cardiomegaly",
    "edema",
    "fracture",
    "pleural effusion",
    "pneumonia",
    "pneumothorax",
    NO_FINDING,
)
"""Categories of CheXpert 8x200 (Zhang et al. 2020, ConVIRT, arXiv 2010.00747)."""
_FOURTEEN = (
    NO_FINDING,
    "atelectasis",
    "cardiomegaly",
    "pleural effusion",
    "infiltration",
    "mass",
    "nodule",
    "pneumonia",
    "pneumothorax",
    "consolidation",
    "edema",
    "emphysema",
    "fibrosis",
    "pleural thickening",
)
"""The 14 classes that eCLIP was scored on: no finding, and all labels except the rare hernia."""

SUBSETS = {
    "chexpert-5x200": Subset("chexpert", _FIVE, 200),
    "mimic-5x200": Subset("mimic_cxr", _FIVE, 200),
    "mimic-8x200": Subset("mimic_cxr", _EIGHT, 200),
    "chestxray14-14x100": Subset("nih_cxr14", _FOURTEEN, 100),
}


def choose(name_or_list: str, source: str, studies: Sequence[ManifestStudy]) -> list[ManifestStudy]:
    """Returns the subset of that name, or the one that a file lists, of the data set `source`."""
    if name_or_list in SUBSETS:
        subset = SUBSETS[name_or_list]
        if subset.source != source:
            raise SubsetError(f"{name_or_list} is a subset of {subset.source}, not of {source}")
        chosen = draw(subset, studies)
    elif Path(name_or_list).is_file():
        chosen = listed(Path(name_or_list).read_text(encoding="utf-8").split("\n"), studies)
    else:
        raise SubsetError(
            f"no subset or file {name_or_list!r}; the subsets are {', '.join(SUBSETS)}"
        )
    return [replace(study, split="test") for study in chosen]


def draw(subset: Subset, studies: Iterable[ManifestStudy]) -> list[ManifestStudy]:
    """Returns `subset.each` studies for each finding; raises SubsetError if one has too few."""
    classes: dict[str, list[ManifestStudy]] = {finding: [] for finding in subset.findings}
    for study in studies:
        present = set(study.findings or ()) & classes.keys()
        if study.images and len(present) == 1 and not uncertain(study) & classes.keys():
            classes[present.pop()].append(study)
    few = {name: len(members) for name, members in classes.items() if len(members) < subset.each}
    if few:
        counts = ", ".join(f"{name} {count}" for name, count in few.items())
        raise SubsetError(
            f"the subset needs {subset.each} studies for each finding; too few have: {counts}"
        )
    return [
        study for members in classes.values() for study in sorted(members, key=_lot)[: subset.each]
    ]


def listed(lines: Iterable[str], studies: Iterable[ManifestStudy]) -> list[ManifestStudy]:
    """Returns the studies that `lines` name, each by its study id or by an image.

    An image is named by its path, which may begin with the data set's own folder, or by its file
    name if each study has one image. A study named by images keeps only those. Raises SubsetError
    if a line names nothing.
    """
    wanted = {line.strip() for line in lines if line.strip()}
    line_of = {key: line for line in wanted for key in _keys(line)}
    chosen, matched = [], set()
    for study in studies:
        images = tuple(image for image in study.images if image in line_of)
        if images or study.study_id in line_of:
            chosen.append(replace(study, images=images or study.images))
            matched |= {line_of[name] for name in (*images, study.study_id) if name in line_of}
    if missing := len(wanted - matched):
        raise SubsetError(
            f"{missing} of the {len(wanted)} lines name no study or image of the data set"
        )
    return chosen


def _keys(line: str) -> tuple[str, ...]:
    path = PurePosixPath(line)
    if len(path.parts) == 1:
        return (line, path.stem)
    return (line, str(PurePosixPath(*path.parts[1:])))


def _lot(study: ManifestStudy) -> str:
    return hashlib.sha256(f"{SEED}:{study.study_id}".encode()).hexdigest()
