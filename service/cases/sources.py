"""Reads the studies of a source with their images, ready to be ingested.

What a source is and which studies it holds, `service.studies.sources` says.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from service.cases.own_ids import own_ids
from service.cases.records import NewStudy, StudyRecord
from service.errors import EclipError, StudyInvalid
from service.studies.images import place_of_images
from service.studies.line import StudyLine
from service.studies.samples import Read
from service.studies.sources import Studies, open_studies, unseen
from service.studies.tables import Found

REPEATED = "lines that repeat an earlier study_id"
_OTHER_PATIENT = (
    "study_id: an earlier study has the same id and another patient. Give each study an id of its "
    "own."
)
_TWICE = (
    "study_id: an earlier study has the same id. Give each study an id of its own, or put its "
    "files together."
)
_RECORD = StudyRecord.model_fields.keys() - {"findings"}


@dataclass(frozen=True, slots=True)
class Entry:
    """A study to be ingested, or what is wrong with it.

    `place` is a line's number or the operator's own file name, which may name a person.
    """

    place: str
    study: NewStudy | EclipError


@dataclass(frozen=True, slots=True)
class Source:
    """The studies of one source. Each is read when it is taken."""

    entries: Iterator[Entry]
    count: int
    """Number of studies, those that cannot be read included."""
    passed: Mapping[str, int] = field(default_factory=dict)
    """Files and lines that are no study: reason → how many. Complete once all were taken."""


def open_source(path: Path, looked: Callable[[], None] = unseen) -> Source:
    """Opens a source by its kind. Raises SourceUnreadable for any other file or folder.

    looked: called after each file of a folder or tar that is looked at.
    """
    studies = open_studies(path, looked=looked)
    is_manifest = place_of_images(path) != path
    return source_of([studies], studies.count, studies.passed, may_repeat=is_manifest)


def source_of(
    parts: Iterable[Studies], count: int, passed: Counter[str], *, may_repeat: bool = False
) -> Source:
    """Returns the studies of all parts as one source. A part is taken when the last one is read.

    count: number of studies. passed: what is counted as passed over. may_repeat: whether a later
    version of a study of the same patient is another study like any.
    """
    found = ((each, part.read) for part in parts for each in part.found)
    distinct = _distinct(found, passed, may_repeat=may_repeat)
    entries = (Entry(each.place, _new(each.study, read)) for each, read in distinct)
    return Source(entries, count, passed)


def _distinct(
    found: Iterable[tuple[Found, Read]], passed: Counter[str], *, may_repeat: bool
) -> Iterator[tuple[Found, Read]]:
    """Yields the studies, and refuses one that has the id of an earlier one of another patient.

    A library knows a study by its id alone.
    """
    patients: dict[str, str | None] = {}
    for each, read in found:
        if isinstance(each.study, StudyInvalid):
            yield each, read
            continue
        study_id, patient = each.study.study_id, each.study.patient_id
        repeats = study_id in patients
        if repeats and None not in (others := {patient, patients[study_id]}) and len(others) > 1:
            yield Found(each.place, StudyInvalid(_OTHER_PATIENT)), read
        elif repeats and not may_repeat:
            yield Found(each.place, StudyInvalid(_TWICE)), read
        else:
            passed.update([REPEATED] if repeats else [])
            patients[study_id] = patient
            yield each, read


def _new(line: StudyLine | StudyInvalid, read: Read) -> NewStudy | EclipError:
    """Returns the study of a line with its images' bytes. Gaze and split are not ingested."""
    if isinstance(line, StudyInvalid):
        return line
    try:
        images = tuple(map(read, line.images))
        ids = own_ids(images, line.patient_id, line.study_id)
    except OSError as error:
        return StudyInvalid(
            f"An image cannot be read: {error.strerror}. Check the path and its permissions."
        )
    except EclipError as error:
        return error
    fields = line.model_dump(include=_RECORD) | {"findings": list(line.findings or ())}
    record = StudyRecord(**fields | {"patient_id": ids.patient_id})
    return NewStudy(line.study_id, record, images, moment=ids.latest)
