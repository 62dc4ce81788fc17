"""Defines a study as training holds it, its JSON form, and the split of patients by hash."""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from service.errors import SourceUnreadable, StudyInvalid
from service.studies.fields import Split as Split
from service.studies.gaze import Gaze as Gaze
from service.studies.line import StudyLine
from service.studies.sources import open_studies
from training.errors import TrainingError

_LOG = logging.getLogger(__name__)
Scalar = str | int | float | bool


class DataError(TrainingError, ValueError):
    """Data that cannot be used as they are."""


@dataclass(frozen=True, slots=True)
class ManifestStudy:
    """One examination, as a manifest holds it: images, report, and gaze on its first image.

    images: paths relative to the manifest. findings: None if nobody labelled the study; () if it
    was labelled and nothing was found. gaze: one entry a reader; empty if none was recorded.
    split: the split that the data set's authors published; None if they published none.
    """

    study_id: str
    patient_id: str
    source: str
    images: tuple[str, ...]
    report: str
    view: str | None = None
    findings: tuple[str, ...] | None = None
    gaze: tuple[Gaze, ...] = ()
    split: Split | None = None
    metadata: dict[str, Scalar] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Skipped:
    """A study that a source leaves out. Reasons are counted, so a reason names no study."""

    reason: str


_ABSENT = {"findings": None, "gaze": (), "split": None}
"""Values that a JSON record leaves out. Findings of () say that nothing was found, and stay."""


def read_studies(path: Path) -> Iterator[ManifestStudy]:
    """Yields the studies of a manifest, a tar or a folder: of all that `eclip index` takes.

    Raises DataError, with the number of the line or row, for what is not a study.
    """
    try:
        studies = open_studies(path)
        for found in studies.found:
            try:
                yield _study(found.study)
            except DataError as error:
                raise DataError(f"{path.name}, {found.place}: {error}") from None
    except SourceUnreadable as error:
        raise DataError(f"{path.name}: {error.detail}") from None
    for reason, count in sorted((+studies.passed).items()):
        _LOG.warning("%s: %d %s", path.name, count, reason)


def _study(line: StudyLine | StudyInvalid) -> ManifestStudy:
    if isinstance(line, StudyInvalid):
        raise DataError(line.detail)
    if line.patient_id is None:
        raise DataError(
            "patient_id: training needs one, so that no patient is in two splits. Where each study "
            "is of another patient, repeat the study_id"
        )
    fields = {name: getattr(line, name) for name in StudyLine.model_fields}
    return ManifestStudy(**fields | {"report": line.report or ""})


def write_studies(path: Path, studies: Iterable[ManifestStudy]) -> None:
    """Writes one JSON record a line, without `findings`, `gaze` or `split` where it has none."""
    with path.open("w", encoding="utf-8") as file:
        for study in studies:
            file.write(json.dumps(record_of(study), ensure_ascii=False) + "\n")


def split_of(
    patient_id: str, fractions: tuple[float, float, float] = (0.8, 0.1, 0.1), salt: str = ""
) -> Split:
    """Returns a patient's split, by hash: all studies of a patient fall into the same."""
    if min(fractions) < 0.0 or not math.isclose(sum(fractions), 1.0):
        raise ValueError("fractions must be non-negative and sum to 1")
    digest = hashlib.sha256(f"{salt}:{patient_id}".encode()).digest()
    position = int.from_bytes(digest[:8], "big") / 2**64
    train, validation, _ = fractions
    if position < train:
        return "train"
    return "validation" if position < train + validation else "test"


def record_of(study: ManifestStudy) -> dict[str, object]:
    """Returns the study as its JSON form has it."""
    record = asdict(study)
    return {name: value for name, value in record.items() if value != _ABSENT.get(name, ...)}
