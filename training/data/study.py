"""Defines a study with its gaze, its JSON form, and the split of patients by hash."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError

from training.errors import TrainingError

Scalar = str | int | float | bool
Split = Literal["train", "validation", "test"]


class DataError(TrainingError, ValueError):
    """Data that cannot be used as they are."""


@dataclass(frozen=True, slots=True)
class Gaze:
    """One reader's fixations on one image. All lengths are fractions of its width and height."""

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)

    x: tuple[float, ...] = ()
    y: tuple[float, ...] = ()
    duration: tuple[float, ...] = ()
    """Milliseconds."""
    degree: tuple[tuple[float, float], ...] = ()
    """Span of one degree of visual angle at each fixation: (width, height). Empty if unknown."""
    shown: tuple[tuple[float, float, float, float], ...] = ()
    """Part of the image on the screen at each fixation: (left, top, right, bottom). Empty if the
    whole image was always shown."""

    def __post_init__(self) -> None:
        if not len(self.x) == len(self.y) == len(self.duration):
            raise ValueError("x, y and duration must have one value for each fixation")
        if not all(0.0 <= value <= 1.0 for value in (*self.x, *self.y)):
            raise ValueError("x and y must be fractions of the image in [0, 1]")
        if not all(math.isfinite(value) and value >= 0.0 for value in self.duration):
            raise ValueError("durations must be finite and not negative")
        if {len(self.degree), len(self.shown)} - {0, len(self)}:
            raise ValueError("degree and shown must be empty or have one entry for each fixation")
        if not all(math.isfinite(value) and value > 0.0 for each in self.degree for value in each):
            raise ValueError("degrees must be finite and positive")
        if not all(
            0.0 <= left < right <= 1.0 and 0.0 <= top < bottom <= 1.0
            for left, top, right, bottom in self.shown
        ):
            raise ValueError("shown must be (left, top, right, bottom) inside [0, 1]")

    def __len__(self) -> int:
        return len(self.duration)


@dataclass(frozen=True, slots=True)
class ManifestStudy:
    """One examination, as a manifest holds it: images, report, and gaze on its first image.

    images: paths relative to the manifest. findings: None if nobody labelled the study; () if it
    was labelled and nothing was found. gaze: one entry a reader; empty if none was recorded.
    split: the split that the data set's authors published; None if they published none.
    """

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)

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


_STUDY = TypeAdapter(ManifestStudy)
_ABSENT = {"findings": None, "gaze": (), "split": None}
"""Values that a JSON record leaves out. Findings of () say that nothing was found, and stay."""


def read_studies(path: Path) -> Iterator[ManifestStudy]:
    """Yields the studies of a `studies.jsonl`. Raises DataError, with the number of a bad line."""
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                yield _STUDY.validate_json(line)
            except ValidationError as error:
                raise DataError(f"{path.name}, line {number}: {_faults(error)}") from None


def _faults(error: ValidationError) -> str:
    """What is wrong with which fields, without their values: these may be a patient's."""
    return "; ".join(
        f"{'.'.join(map(str, fault['loc'])) or 'the line'}: {fault['msg']}"
        for fault in error.errors(include_url=False, include_input=False)
    )


def write_studies(path: Path, studies: Iterable[ManifestStudy]) -> None:
    """Writes one JSON record a line, without `findings`, `gaze` or `split` where it has none."""
    with path.open("w", encoding="utf-8") as file:
        for study in studies:
            file.write(json.dumps(_record(study), ensure_ascii=False) + "\n")


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


def _record(study: ManifestStudy) -> dict[str, object]:
    record = asdict(study)
    return {name: value for name, value in record.items() if value != _ABSENT.get(name, ...)}
