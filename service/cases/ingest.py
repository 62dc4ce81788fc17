"""Bulk ingestion of a studies.jsonl: idempotent, resumable, one bad study harms no other.

Resuming needs no state of its own: a study whose digest the store already holds is skipped.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Annotated

from pydantic import Field, JsonValue, ValidationError

from service.cases.library import CaseLibrary, Identifier, NewStudy, StudyRecord
from service.errors import EclipError, StudyInvalid
from service.inference.batching import Deadline

BATCH = 16
BATCH_DEADLINE_S = 600.0


class ManifestRecord(StudyRecord):
    """One line of a studies.jsonl; `images` are paths relative to the manifest."""

    study_id: Identifier
    images: Annotated[list[str], Field(max_length=16)] = []
    gaze: JsonValue = None
    split: JsonValue = None
    """Both are training's; not ingested."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """A line that was not ingested, and why."""

    line: int
    reason: str


@dataclass(slots=True)
class Outcome:
    """What an ingestion did."""

    stored: int = 0
    rejected: list[Rejected] = field(default_factory=list)


def ingest(
    library: CaseLibrary, manifest: Path, on_progress: Callable[[int], None] = lambda _: None
) -> Outcome:
    """Ingest every line of `manifest`; `on_progress` is given the number of lines just done."""
    outcome = Outcome()
    for batch in _batches(_read(manifest)):
        new = [(line, study) for line, study in batch if isinstance(study, NewStudy)]
        stored = library.put_many(
            [study for _, study in new], Deadline(BATCH_DEADLINE_S, bulk=True)
        )
        results = dict(zip((line for line, _ in new), stored, strict=True))
        for line, study in batch:
            result = results.get(line, study)
            if isinstance(result, EclipError):
                outcome.rejected.append(Rejected(line, result.detail))
            else:
                outcome.stored += 1
        on_progress(len(batch))
    return outcome


def count_lines(manifest: Path) -> int:
    """Number of records in a manifest, for a progress bar."""
    with manifest.open("rb") as lines:
        return sum(1 for _ in lines)


def _read(manifest: Path) -> Iterator[tuple[int, NewStudy | EclipError]]:
    with manifest.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                yield number, _new_study(line, manifest.parent)
            except EclipError as error:
                yield number, error


def _new_study(line: bytes, folder: Path) -> NewStudy:
    try:
        record = ManifestRecord.model_validate_json(line)
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "line"
        raise StudyInvalid(f"{where}: {first['msg']}") from None
    return NewStudy(
        study_id=record.study_id,
        record=StudyRecord(**record.model_dump(exclude={"study_id", "images", "gaze", "split"})),
        images=tuple(_image_bytes(folder, name) for name in record.images),
    )


def _image_bytes(folder: Path, name: str) -> bytes:
    try:
        path = (folder / name).resolve()
        if not path.is_relative_to(folder.resolve()):
            raise StudyInvalid("An image path leaves the manifest's folder. Use relative paths.")
        return path.read_bytes()
    except OSError as error:
        raise StudyInvalid(f"An image cannot be read: {error.strerror}.") from None
    except ValueError:
        raise StudyInvalid("An image path is no path.") from None


def _batches(
    lines: Iterator[tuple[int, NewStudy | EclipError]],
) -> Iterator[list[tuple[int, NewStudy | EclipError]]]:
    while batch := list(islice(lines, BATCH)):
        yield batch
