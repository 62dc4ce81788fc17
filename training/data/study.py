"""Defines a study as training holds it, its JSON form, and the split of patients by hash."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from service.studies.fields import Split as Split
from service.studies.gaze import Gaze as Gaze
from training.errors import TrainingError

Scalar = str | int | float | bool
LATERAL = "-lateral"
"""What stands behind the id of a study of lateral images, so that its frontal ones keep theirs."""


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
