"""Draws the subsets that published comparisons use, or reads the lists of those who publish them.

5x200, 8x200 and 14x100 are images with exactly one finding, equally many of each. The authors drew
theirs at random, so only their own list gives their very images. What is drawn here follows their
rule and is another draw: numbers on it compare with each other, and with theirs up to chance.

An image belongs to a finding's class if its study has this one of the subset's `labels`, and the
labeller was sure of all the others: neither present nor uncertain. Each image is a study of its
own. Drawn are those with the smallest sha256 of `SEED:study_id`, so the draw depends neither on the
order of the files nor on a random generator. They become test studies. A model that is measured on
them must not have been trained on their patients.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from training.data.labels import CHEXPERT, NO_FINDING, present, uncertain
from training.data.study import DataError, ManifestStudy, Split
from training.data.subset_lists import listed, names_of, one_image_each

SEED = 0


class SubsetError(DataError):
    """A subset that cannot be drawn from these studies."""


@dataclass(frozen=True, slots=True)
class Subset:
    """`each` images of the data set `source` for each finding of `findings`.

    labels: what no image may have besides its one finding. split: the published split that is drawn
    from; None for all.
    """

    source: str
    findings: tuple[str, ...]
    each: int
    labels: tuple[str, ...]
    split: Split | None = None


_FIVE = ("atelectasis", "cardiomegaly", "consolidation", "edema", "pleural effusion")
"""Findings that the CheXpert competition scored."""
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
_ALL = tuple(name.lower() for name in CHEXPERT)
_DISEASE = tuple(name for name in _ALL if name != NO_FINDING)

SUBSETS = {
    "chexpert-5x200": Subset("chexpert", _FIVE, 200, _DISEASE, "train"),
    "chexpert-8x200": Subset("chexpert", _EIGHT, 200, _ALL, "train"),
    "mimic-5x200": Subset("mimic_cxr", _FIVE, 200, _DISEASE),
    "mimic-8x200": Subset("mimic_cxr", _EIGHT, 200, _ALL),
    "chestxray14-14x100": Subset("nih_cxr14", _FOURTEEN, 100, (*_FOURTEEN, "hernia")),
}
"""Name → what is drawn.

- 5x200: Huang et al. 2021 (GLoRIA), frontal images of `train.csv`; one of five findings is 1, the
  other four and the eight further columns but No Finding are 0 or blank. On MIMIC-CXR the same.
- 8x200: Zhang et al. 2020 (ConVIRT, arXiv 2010.00747); one of eight is 1, all other columns 0.
- 14x100: Kumar and Marttinen 2024 (eCLIP, arXiv 2403.10153); all labels of ChestX-ray14 but the
  rare hernia, and none.
"""


def choose(name_or_list: str, source: str, studies: Sequence[ManifestStudy]) -> list[ManifestStudy]:
    """Returns the subset of that name, or the one that a file lists, of the data set `source`."""
    if name_or_list in SUBSETS:
        subset = SUBSETS[name_or_list]
        if subset.source != source:
            raise SubsetError(f"{name_or_list} is a subset of {subset.source}, not of {source}")
        chosen = draw(subset, studies)
    elif Path(name_or_list).is_file():
        chosen = listed(names_of(Path(name_or_list)), studies)
    else:
        raise SubsetError(
            f"no subset or file {name_or_list!r}; the subsets are {', '.join(SUBSETS)}"
        )
    return [replace(study, split="test") for study in chosen]


def draw(subset: Subset, studies: Iterable[ManifestStudy]) -> list[ManifestStudy]:
    """Returns `subset.each` images for each finding; raises SubsetError if one has too few."""
    classes: dict[str, list[ManifestStudy]] = {finding: [] for finding in subset.findings}
    for finding, study in _exclusive(subset, studies):
        classes[finding] += one_image_each(study, study.images)
    few = {name: len(members) for name, members in classes.items() if len(members) < subset.each}
    if few:
        counts = ", ".join(f"{name} {count}" for name, count in few.items())
        raise SubsetError(
            f"the subset needs {subset.each} images for each finding; too few have: {counts}"
        )
    return [
        study for members in classes.values() for study in sorted(members, key=_lot)[: subset.each]
    ]


def _exclusive(
    subset: Subset, studies: Iterable[ManifestStudy]
) -> Iterator[tuple[str, ManifestStudy]]:
    """Yields (finding, study) for each study that has one finding and surely no other."""
    labels = frozenset(subset.labels)
    for study in studies:
        found = present(study) & labels
        if len(found) == 1 and not uncertain(study) & labels:
            (finding,) = found
            if finding in subset.findings and subset.split in (None, study.split):
                yield finding, study


def _lot(study: ManifestStudy) -> str:
    return hashlib.sha256(f"{SEED}:{study.study_id}".encode()).hexdigest()
