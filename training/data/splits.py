"""Splits studies by patient, and checks that the splits share nothing."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations

from training.data.study import DataError, ManifestStudy, Split, split_of


class LeakageError(DataError):
    """Two splits share a patient, a study or an image."""


def split_studies(
    studies: Iterable[ManifestStudy], fractions: tuple[float, float, float]
) -> dict[Split, list[ManifestStudy]]:
    """Returns the studies of each split: the published split, else the patient's by hash.

    Raises LeakageError if two splits share anything, DataError if a split has a study twice.
    """
    splits: dict[Split, list[ManifestStudy]] = {"train": [], "validation": [], "test": []}
    for study in studies:
        splits[study.split or split_of(study.patient_id, fractions)].append(study)
    check_disjoint(splits)
    for members in splits.values():
        _check_unique(members)
    return splits


def check_disjoint(splits: Mapping[Split, Sequence[ManifestStudy]]) -> None:
    """Raises LeakageError if two splits share a patient, a study or an image.

    Patients are compared by id alone, across sources: data sets made from one another keep their
    patients' ids, and a false alarm costs less than a leak. The message has counts, no ids.
    """
    shared = []
    for (first, in_first), (second, in_second) in combinations(splits.items(), 2):
        patients = len(_patients(in_first) & _patients(in_second))
        studies = len(_studies(in_first) & _studies(in_second))
        images = len(_images(in_first) & _images(in_second))
        if patients or studies or images:
            shared.append(
                f"{first} and {second} share {patients} patients, {studies} studies, "
                f"{images} images"
            )
    if shared:
        raise LeakageError(f"{'; '.join(shared)}. Correct the splits in the manifest")


def _check_unique(studies: Sequence[ManifestStudy]) -> None:
    counts = Counter((study.source, study.study_id) for study in studies)
    twice = [study_id for (_, study_id), count in counts.items() if count > 1]
    if twice:
        raise DataError(
            f"{len(twice)} study ids are in the manifest more than once, such as {twice[0]!r}. "
            "Name all images of a study in one line, and give every study an id of its own"
        )


def _patients(studies: Sequence[ManifestStudy]) -> set[str]:
    return {study.patient_id for study in studies}


def _studies(studies: Sequence[ManifestStudy]) -> set[tuple[str, str]]:
    return {(study.source, study.study_id) for study in studies}


def _images(studies: Sequence[ManifestStudy]) -> set[str]:
    return {image for study in studies for image in study.images}
