"""Turns a downloaded data set into a folder of images and manifests."""

import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from training.data.manifest import write_manifest
from training.data.study import DataError, Gaze, ManifestStudy, Skipped, write_studies

PARQUET, JSONL = "studies.parquet", "studies.jsonl"


def gather(entries: Iterable[ManifestStudy | Skipped]) -> tuple[list[ManifestStudy], Counter[str]]:
    """Returns the studies of a source, and how many were skipped for each reason.

    A study that is repeated in every field is skipped. Raises DataError for two different studies
    of one id, and for an image outside of the data set's folder.
    """
    studies: dict[str, ManifestStudy] = {}
    skipped: Counter[str] = Counter()
    for study in entries:
        if isinstance(study, Skipped):
            skipped[study.reason] += 1
            continue
        _check_inside(study)
        if study == studies.get(study.study_id):
            skipped["repeated"] += 1
        elif study.study_id in studies:
            raise DataError(
                f"two different studies have the id {study.study_id!r}; download the published "
                "files again, or leave one of the two out"
            )
        else:
            studies[study.study_id] = study
    return list(studies.values()), skipped


def with_gaze(
    studies: Sequence[ManifestStudy], gazed: Iterable[ManifestStudy]
) -> list[ManifestStudy]:
    """Returns the studies with the gaze that another data set recorded on their images.

    Images are matched by file name without its ending: EGD-CXR and REFLACX share MIMIC-CXR's DICOM
    ids. The image with gaze becomes its study's first. Raises DataError if no image has gaze.
    """
    gaze_of = {_name(study.images[0]): study.gaze for study in gazed if study.images and study.gaze}
    joined = [_joined(study, gaze_of) for study in studies]
    if not any(study.gaze for study in joined):
        raise DataError(
            "the manifest with gaze names none of these images; both must be of one data set"
        )
    return joined


def without_patients(
    studies: Sequence[ManifestStudy], others: Iterable[ManifestStudy]
) -> list[ManifestStudy]:
    """Returns the studies of patients who have none among `others`."""
    patients = {study.patient_id for study in others}
    return [study for study in studies if study.patient_id not in patients]


def _check_inside(study: ManifestStudy) -> None:
    for image in map(PurePosixPath, study.images):
        if image.is_absolute() or ".." in image.parts:
            raise DataError(
                f"study {study.study_id!r} has the image {str(image)!r}, which is outside of the "
                "data set's folder; download the published file again"
            )


def _joined(study: ManifestStudy, gaze_of: Mapping[str, tuple[Gaze, ...]]) -> ManifestStudy:
    looked_at = next((image for image in study.images if _name(image) in gaze_of), None)
    if looked_at is None:
        return study
    others = (image for image in study.images if image != looked_at)
    return replace(study, images=(looked_at, *others), gaze=gaze_of[_name(looked_at)])


def _name(image: str) -> str:
    return PurePosixPath(image).stem


def place(image: Path, target: Path) -> None:
    """Puts an image at `target`: as a hard link if the file system allows it, else as a copy."""
    if target.exists() and target.samefile(image):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)  # an older link must not be written through
    try:
        target.hardlink_to(image.resolve())
    except OSError:
        shutil.copyfile(image, target)


def write_manifests(folder: Path, studies: Sequence[ManifestStudy]) -> None:
    """Writes studies.parquet for training, and studies.jsonl, without gaze, for the service."""
    folder.mkdir(parents=True, exist_ok=True)
    write_manifest(folder / PARQUET, studies)
    write_studies(folder / JSONL, (replace(study, gaze=()) for study in studies))
