"""From a downloaded data set to a folder of images and manifests, and what is in it."""

import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np
import open_clip

from training.data.manifest import write_manifest
from training.data.study import DataError, Gaze, Skipped, Study, write_studies
from training.model.tokenizer import from_open_clip

MODEL = "ViT-B-32"
"""Whose tokenizer measures reports; it comes with open_clip."""
PARQUET, JSONL = "studies.parquet", "studies.jsonl"


@dataclass(frozen=True, slots=True)
class Lengths:
    """Of all reports that are not empty; `truncated` is the share over `context` tokens."""

    distinct: int
    median_words: float
    words_95th: float
    truncated: float
    context: int


@dataclass(frozen=True, slots=True)
class Summary:
    """What a data set holds. A pair is a study with an image and a report."""

    studies: int
    pairs: int
    patients: int
    views: Counter[str]
    reports: Lengths | None
    """None where there is no report."""


def gather(found: Iterable[Study | Skipped]) -> tuple[list[Study], Counter[str]]:
    """The studies of a source, and how many were skipped for each reason."""
    studies: list[Study] = []
    skipped: Counter[str] = Counter()
    for one in found:
        if isinstance(one, Skipped):
            skipped[one.reason] += 1
        else:
            studies.append(one)
    return studies, skipped


def with_gaze(studies: Sequence[Study], gazed: Iterable[Study]) -> list[Study]:
    """The studies, with the gaze that another data set recorded on their images.

    Images are matched by their name without its ending, as EGD-CXR and REFLACX share MIMIC-CXR's
    dicom ids; the one that was looked at becomes its study's first. Raises DataError when none is.
    """
    gaze_of = {_name(study.images[0]): study.gaze for study in gazed if study.images and study.gaze}
    joined = [_joined(study, gaze_of) for study in studies]
    if not any(study.gaze for study in joined):
        raise DataError("none of these images has gaze in the other manifest")
    return joined


def _joined(study: Study, gaze_of: Mapping[str, tuple[Gaze, ...]]) -> Study:
    looked_at = next((image for image in study.images if _name(image) in gaze_of), None)
    if looked_at is None:
        return study
    others = (image for image in study.images if image != looked_at)
    return replace(study, images=(looked_at, *others), gaze=gaze_of[_name(looked_at)])


def _name(image: str) -> str:
    return PurePosixPath(image).stem


def place(image: Path, target: Path) -> None:
    """Put an image at `target`: as a hard link where the file system allows it, else as a copy."""
    if target.exists() and target.samefile(image):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)  # an older link must not be written through
    try:
        target.hardlink_to(image.resolve())
    except OSError:
        shutil.copyfile(image, target)


def write_manifests(folder: Path, studies: Sequence[Study]) -> None:
    """Write studies.parquet for training, and studies.jsonl, without gaze, for the service."""
    folder.mkdir(parents=True, exist_ok=True)
    write_manifest(folder / PARQUET, studies)
    write_studies(folder / JSONL, (replace(study, gaze=()) for study in studies))


def summarise(studies: Sequence[Study]) -> Summary:
    """Count studies, pairs, patients and views, and measure the reports."""
    return Summary(
        studies=len(studies),
        pairs=sum(bool(study.images and study.report) for study in studies),
        patients=len({study.patient_id for study in studies}),
        views=Counter(study.view or "not stated" for study in studies if study.images),
        reports=_lengths([study.report for study in studies if study.report]),
    )


def _lengths(reports: Sequence[str]) -> Lengths | None:
    if not reports:
        return None
    original = open_clip.get_tokenizer(MODEL)
    words = [len(report.split()) for report in reports]
    return Lengths(
        distinct=len(set(reports)),
        median_words=float(np.median(words)),
        words_95th=float(np.percentile(words, 95)),
        truncated=float(from_open_clip(original)(reports).truncated.mean()),
        context=original.context_length,
    )
